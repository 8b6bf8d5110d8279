"""How many accuracy runs each optimiser needs to find the cheapest candidate that keeps a goal.

    python benchmarks/bench_search.py [--table FILE --pair RATE:GOAL ...] [--optimiser NAME ...]
                                      [--seeds 10] [--budget 60] [--patterns 60] [--json FILE]

A table is an .npz file of one network: what all candidates lost under many patterns, so that a run
of the search is a look-up.  Without one, made-up tables of several shapes are used.

    features (n, f) 0..1, area (n,), cycles (n,), traffic (n,), stronger (n, n): as in
    dse.search.candidates, in ascending area. rates (r,). loss (r, n, patterns): lost, relative to
    that without faults

The truth is the mean over all patterns; a seed's evaluations see `--patterns` of them, the same for
each candidate, so that kind patterns are kind to all.  Candidates whose truth is within 3 standard
errors of the goal could be right or wrong by chance: they are left out, and counted.  As in a
study, candidates that pruning or area rule out are closed.

runs   : evaluations until one is seen to keep the goal that does, and costs at most 1 % more
         overhead than the cheapest one that does (-: not within the budget)
met    : seeds in which such a candidate was evaluated, whatever was seen of it
end    : evaluations when the optimiser stopped asking
regret : overhead of the best such candidate at the end, over that of the cheapest
false  : seeds whose cheapest candidate that seemed to keep the goal does not
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flexhyca.dse.search.candidates import Candidate, CandidateField, Observation
from flexhyca.dse.search.optimisers import OPTIMISERS
from flexhyca.dse.search.prune import dearer, pruned

Floats = NDArray[np.float64]
NEAR = 3.0  # standard errors of the truth
WITHIN = 0.01


@dataclass(frozen=True)
class Problem:
    """One goal at one rate. loss : (n, patterns). allowed : that may be lost."""

    name: str
    field: CandidateField
    loss: Floats
    allowed: float
    left_out: int = 0


def without_open(problem: Problem) -> Problem:
    """The same without candidates of which the truth is not sure."""
    loss, patterns = problem.loss, problem.loss.shape[1]
    error = loss.std(axis=1, ddof=1) / np.sqrt(patterns)
    keep = np.flatnonzero(np.abs(loss.mean(axis=1) - problem.allowed) > NEAR * error)
    old = problem.field
    candidates = [replace(old.candidates[k], number=i) for i, k in enumerate(keep)]
    field = CandidateField(candidates, old.stronger[np.ix_(keep, keep)])
    return replace(problem, field=field, loss=loss[keep], left_out=len(loss) - len(keep))


def field_of(
    features: Floats, area: Floats, cycles: Floats, traffic: Floats, stronger: Any
) -> CandidateField:
    rows = zip(features, area, cycles, traffic, strict=True)
    candidates = [
        Candidate(i, tuple(map(float, f)), float(a), float(c), float(t))
        for i, (f, a, c, t) in enumerate(rows)
    ]
    return CandidateField(candidates, np.asarray(stronger, bool))


def read(path: Path, pairs: Sequence[tuple[float, float]]) -> Iterator[Problem]:
    with np.load(path) as table:
        field = field_of(*(table[k] for k in ("features", "area", "cycles", "traffic", "stronger")))
        for rate, goal in pairs:
            (row,) = np.flatnonzero(np.isclose(table["rates"], rate))
            yield Problem(f"{path.stem} {rate:g}:{goal:g}", field, table["loss"][row], 1 - goal)


# Made-up tables


@dataclass(frozen=True)
class Shape:
    """What a made-up network is like; the defaults are about digits at rate II'.

    harm : of an unprotected network. important : the share of harm in the most important neurons,
    at s_th 5 %. ib, nb, q : by how much a protected bit, or a truncated one, changes harm (natural
    logarithms). exact : of quantisation, loss at the largest q. feasible : share of candidates that
    keep the goal. noise : of a pattern, in natural logarithms of loss.
    """

    harm: float = 1.0
    important: float = 0.3
    ib: float = 1.2
    nb: float = 1.0
    q: float = 0.25
    exact: float = 0.03
    uniform: float = 0.9
    rough: float = 0.05
    feasible: float = 0.05
    noise: float = 0.5


SHAPES = {
    "digits": Shape(),
    "s_th hardly matters": Shape(important=0.03),
    "s_th matters": Shape(important=0.7, ib=1.6),
    "ib matters": Shape(ib=2.0, nb=0.4),
    "q matters": Shape(q=0.6, exact=0.1),
    "q is free": Shape(q=0.0, exact=0.0),
    "rough": Shape(rough=0.25),
    "noisy": Shape(noise=1.2),
    "many keep it": Shape(feasible=0.4),
    "few keep it": Shape(feasible=0.012),
}
S_TH = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
PAIRS = ((2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3))
Q = (1, 4, 7, 8, 9, 11)


def made_up(name: str, shape: Shape, seed: int, patterns: int = 400) -> Problem:
    """A problem of about 300 candidates: s_th 8 x policy 2 x (ib, nb) 8 x q 6, as timing lets pass.

    Area and the order of protection are those of Table I's parameters; with ib = nb it does not
    matter which neurons are important, so such a candidate stands once.
    """
    rng = np.random.default_rng(seed)
    levels = {  # what a candidate's number is worth, not quite the nominal one
        "q": np.cumsum(rng.uniform(0.3, 1.7, len(Q))) / len(Q) * 4,
        "bit": rng.uniform(0.8, 1.2, 5),
    }
    rows = []
    for q, pair, policy, s in np.ndindex(len(Q), len(PAIRS), 2, len(S_TH)):
        important, ordinary = PAIRS[pair]
        same = important == ordinary
        if (same and (policy or s)) or (not same and s > (5 if policy else 4) - (important == 4)):
            continue
        rows.append((q, important, ordinary, policy, 0 if same else s, same))
    q, ib, nb, policy, s, same = (np.array(column) for column in zip(*rows, strict=True))
    share = np.array(S_TH)[s]
    caught = np.where(same, 0, shape.important * (share / 0.05) ** 0.5)
    caught = np.clip(caught * np.where(policy == 1, shape.uniform, 1), 0, 0.95)
    kept = caught * np.exp(-shape.ib * levels["bit"][ib] * ib)
    kept += (1 - caught) * np.exp(-shape.nb * levels["bit"][nb] * nb)
    log_harm = np.log(shape.harm * kept) + shape.q * levels["q"][q]
    log_harm += shape.rough * rng.normal(size=len(rows))
    loss = 0.9 * (1 - np.exp(-np.exp(log_harm))) + shape.exact * (q / q.max()) ** 3
    array = np.array([0.0, 0.17, 0.32, 0.48])[nb] * (1 - 0.055 * levels["q"][q])
    dppu = np.where(same, 0, 0.05 + 0.45 * share * (0.8 + 0.1 * ib) * np.where(policy == 1, 1.1, 1))
    area = array + dppu
    order = np.argsort(area, kind="stable")
    values = np.stack([-q, ib, nb, share])[:, order]
    stronger = np.all(values[:, :, None] <= values[:, None, :], axis=0)
    stronger &= (
        same[order][:, None] | same[order][None, :] | (policy[order][:, None] == policy[order])
    )
    features = np.stack(
        [q / 5, (ib - 2) / 2, (nb - 1) / 2, policy, np.where(same, 0, s / 7)], axis=1
    )
    shared = rng.normal(size=patterns) * shape.noise * 0.6
    own = rng.normal(size=(len(rows), patterns)) * shape.noise * 0.8
    seen = loss[order][:, None] * np.exp(shared + own - shape.noise**2 / 2)
    seen = np.round((seen + rng.normal(size=seen.shape) * 0.005) * 360) / 360  # of 360 images
    zeros = np.zeros(len(rows))
    field = field_of(features[order], area[order], zeros, zeros, stronger)
    allowed = float(np.quantile(seen.mean(axis=1), shape.feasible)) * 1.0001
    return Problem(name, field, seen, allowed)


# Running


@dataclass
class Outcome:
    """What a seed gave; `runs` is None where the optimum was not found."""

    runs: int | None
    met: bool
    end: int
    regret: float
    false: bool
    seconds: list[float]


def search(
    problem: Problem, optimiser: str, seed: int, budget: int, patterns: int, batch: int = 1
) -> Outcome:
    rng = np.random.default_rng([seed, 7])
    sample = rng.choice(problem.loss.shape[1], patterns, replace=False)
    ratio = problem.loss[:, sample].mean(axis=1) / problem.allowed
    error = problem.loss[:, sample].std(axis=1, ddof=1) / np.sqrt(patterns) / problem.allowed
    keeps = problem.loss.mean(axis=1) <= problem.allowed
    area = np.array([candidate.area for candidate in problem.field.candidates])
    optimum = area[keeps].min()
    history: list[Observation] = []
    seconds, runs, best = [], None, np.inf
    while len(history) < budget:
        closed = pruned(problem.field, history).keys() | dearer(problem.field, history).keys()
        start = time.perf_counter()
        asked = OPTIMISERS[optimiser].ask(problem.field, history, [], closed, batch, seed)
        seconds.append(time.perf_counter() - start)
        if not asked:
            break
        for i in asked:
            accuracy, its_error = 1 - problem.allowed * ratio[i], problem.allowed * error[i]
            history.append(Observation(i, ratio[i], error[i], accuracy, its_error))
            if keeps[i] and ratio[i] <= 1:
                best = min(best, area[i])
            if runs is None and best <= optimum * (1 + WITHIN):
                runs = len(history)
    seeming = [seen.number for seen in history if seen.ratio <= 1]
    false = bool(seeming) and not keeps[min(seeming, key=lambda i: area[i])]
    met = any(keeps[o.number] and area[o.number] <= optimum * (1 + WITHIN) for o in history)
    return Outcome(runs, met, len(history), best / optimum - 1, false, seconds)


def ask_seconds(problem: Problem, optimiser: str, observations: int = 60) -> float:
    """Median of five asks for one of the first 300 candidates when so many were evaluated."""
    field = CandidateField(problem.field.candidates[:300], problem.field.stronger[:300, :300])
    ratio = problem.loss.mean(axis=1) / problem.allowed
    history = [
        Observation(int(i), ratio[i], 0.05 * ratio[i], 1 - ratio[i] * problem.allowed, 0.003)
        for i in np.random.default_rng(0).permutation(len(field.candidates))[:observations]
    ]
    times = []
    for seed in range(6):
        start = time.perf_counter()
        OPTIMISERS[optimiser].ask(field, history, [], set(), 1, seed)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first one imports


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    runs = [np.inf if o.runs is None else o.runs for o in outcomes]
    seconds = [s for o in outcomes for s in o.seconds]
    return {
        "median_runs": statistics.median(runs),
        "within_25": sum(r <= 25 for r in runs),
        "found": sum(r < np.inf for r in runs),
        "met": sum(o.met for o in outcomes),
        "seeds": len(runs),
        "end": statistics.median(o.end for o in outcomes),
        "worst_regret": max(o.regret for o in outcomes),
        "false": sum(o.false for o in outcomes),
        "ask_seconds": statistics.median(seconds),
        "ask_seconds_most": max(seconds),
    }


def line(values: dict[str, Any]) -> str:
    v = {k: "-" if x == np.inf else x for k, x in values.items()}
    regret = "-" if v["worst_regret"] == "-" else f"{100 * v['worst_regret']:.0f} %"
    return (
        f"median {v['median_runs']!s:>5}  within 25: {v['within_25']:2}  found {v['found']:2} "
        f"(met {v['met']:2}) of {v['seeds']}  end {v['end']!s:>4}  worst regret {regret:>5}  "
        f"false {v['false']:2}  ask {v['ask_seconds']:.2f} s, at most {v['ask_seconds_most']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", type=Path)
    parser.add_argument("--pair", action="append", default=[], metavar="RATE:GOAL")
    parser.add_argument("--shape", action="append", choices=list(SHAPES))
    parser.add_argument("--draw", type=int, default=1, help="seed of the made-up tables")
    parser.add_argument("--optimiser", action="append", choices=list(OPTIMISERS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--patterns", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1, help="candidates asked for at once")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.table:
        pairs = [tuple(map(float, pair.split(":"))) for pair in args.pair]
        problems = list(read(args.table, pairs))
    else:
        shapes = args.shape or SHAPES
        problems = [made_up(name, SHAPES[name], args.draw) for name in shapes]
    found: dict[str, dict[str, Any]] = {}
    for problem in map(without_open, problems):
        keeps = problem.loss.mean(axis=1) <= problem.allowed
        print(
            f"{problem.name}: {len(keeps)} candidates ({problem.left_out} more too near the goal), "
            f"{keeps.sum()} keep it, the cheapest is number {int(np.argmax(keeps))}"
        )
        for optimiser in (args.optimiser or OPTIMISERS) if keeps.any() else ():
            outcomes = [
                search(problem, optimiser, seed, args.budget, args.patterns, args.batch)
                for seed in range(args.seeds)
            ]
            found.setdefault(problem.name, {})[optimiser] = summary(outcomes)
            print(f"  {optimiser:15} {line(summary(outcomes))}", flush=True)
    for optimiser in args.optimiser or OPTIMISERS:
        print(
            f"an ask after 60 evaluations: {optimiser:15} {ask_seconds(problem, optimiser):.2f} s"
        )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
