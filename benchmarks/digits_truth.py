"""The truth about digits: the accuracy of every design of a space, for the benches of the search.

    python benchmarks/digits_truth.py truth.npz [--space table1] [--rate R ...] [--goal G ...]
                                      [--limits] [--study FILE.db] [--confirm FILE.npz]

Every accuracy key is evaluated on 60 patterns at each rate, and on 420 where it is within 3
standard errors of the goal of that rate; the others' 60 stand seven times in the table, so that all
rows are equally long and keep their means.  `--limits` leaves the designs that keep to the space's
limits on cycles and traffic.  A study is gone on with after a kill.

`--confirm` writes the patterns themselves, image by image, of the candidates at which a
confirmation at the first two goals has to choose, on the images of the confirmation:
benchmarks/bench_confirm.py draws its studies from them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flexhyca.config.search import Limits
from flexhyca.dse.designs import Design, candidates, work_out_designs
from flexhyca.dse.evaluate import Block, StageJob
from flexhyca.dse.labelled import Kept, working
from flexhyca.dse.request import SearchRequest, space_of
from flexhyca.dse.results import Results
from flexhyca.exploration import requested_images

ALL, NEAR, SIGMAS = 60, 420, 3.0  # patterns of each key, of those near a goal, standard errors
CONFIRM, MOST_CONFIRMED, PLAUSIBLE = 800, 40, 2.0  # patterns, candidates, share of allowed loss


def losses(block: Block) -> NDArray[np.float64]:
    """Of each pattern, relative to acc0; the mean over patterns is the loss."""
    found: NDArray[np.float64] = (block.right0.sum(1) - block.right.sum(1)) / block.right0.sum(
        1
    ).mean()
    return found


def table(
    results: Results, chosen: Sequence[Design], rates: Sequence[float], goals: Sequence[float]
) -> tuple[NDArray[np.float64], int]:
    """(rates, keys, NEAR), and how many evaluations were near a goal."""
    loss, near = np.zeros((len(rates), len(chosen), NEAR)), 0
    for r, (rate, goal) in enumerate(zip(rates, goals, strict=True)):
        for k, design in enumerate(chosen):
            config = design.point.config
            own = losses(results.patterns(config, rate, "search", ALL))
            error = own.std(ddof=1) / len(own) ** 0.5
            if abs(own.mean() - (1 - goal)) <= SIGMAS * error:
                own, near = (
                    losses(results.patterns(design.point.config, rate, "search", NEAR)),
                    near + 1,
                )
            loss[r, k] = np.tile(own, NEAR // len(own))
    return loss, near


def confirmation(
    results: Results,
    chosen: Sequence[Design],
    loss: NDArray[np.float64],
    rates: Sequence[float],
    goals: Sequence[float],
) -> dict[str, NDArray[np.generic]]:
    """The arrays that bench_confirm reads."""
    allowed = 1 - np.array(goals)
    ratio = (loss.mean(axis=2) / allowed[:, None]).max(axis=0)
    own = [chosen[k] for k in np.flatnonzero(ratio <= PLAUSIBLE)[:MOST_CONFIRMED]]
    found = [
        [results.patterns(d.point.config, rate, "confirm", CONFIRM) for rate in rates] for d in own
    ]
    return {
        "areas": np.array([design.area for design in own]),
        "goals": np.array(goals),
        "count": np.array(len(results.workload.images["confirm"])),
        "images": found[0][0].images,
        "right0": found[0][0].right0,
        "right": np.array([[block.right for block in goal] for goal in found]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--space", default="table1")
    parser.add_argument("--rate", type=float, action="append", help="default: I' and II'")
    parser.add_argument("--goal", type=float, action="append", help="of each rate: 0.97, 0.95")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--study", type=Path)
    parser.add_argument("--confirm", type=Path)
    args = parser.parse_args()
    start = time.process_time()

    def stamp(what: str) -> None:
        print(f"{time.process_time() - start:7.1f} s of CPU  {what}", flush=True)

    request = SearchRequest("digits", space=args.space)
    space = space_of(request)
    identity = {"truth": args.space}
    with working(
        requested_images(request), space.base, request.ber, 0, Kept(args.study), identity, {}
    ) as results:
        limits = Limits() if args.limits else Limits(cycles=None, traffic=None)
        designs = work_out_designs(space, limits, results)
        within = designs.within()
        field, chosen = candidates(within, space)
        stamp(f"{len(designs.every):,} designs, {len(within):,} of them within the limits")
        rates, goals = args.rate, args.goal or [0.97, 0.95]
        if not rates:
            job = StageJob("rates", results.workload.base, {"low": 0.1, "high": 0.4})
            rates = list(results.all([job])[0].values())
        for rate in rates:
            for design in chosen:
                results.patterns(design.point.config, rate, "search", ALL)
            stamp(f"{len(chosen):,} accuracy keys x {ALL} patterns at {rate:g}")
        loss, near = table(results, chosen, rates, goals)
        stamp(f"{near} keys near a goal x {NEAR} patterns")
        np.savez_compressed(
            args.out,
            features=np.array([c.features for c in field.candidates]),
            **{
                name: np.array([getattr(c, name) for c in field.candidates])
                for name in ("area", "cycles", "traffic")
            },
            stronger=field.stronger,
            rates=np.array(rates),
            goals=np.array(goals),
            loss=loss,
        )
        if args.confirm:
            pairs = rates[:2], goals[:2]
            np.savez_compressed(args.confirm, **confirmation(results, chosen, loss[:2], *pairs))
            stamp(f"confirmation's candidates x {CONFIRM} patterns")


if __name__ == "__main__":
    main()
