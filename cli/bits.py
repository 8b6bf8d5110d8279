"""``flexhyca bits``: how many top bits to protect (paper, Algorithm 2)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FlexhycaError
from ..faults.campaign.lock import check_free
from . import output
from .busy import busy
from .options import (
    DEFAULT_CONFIG,
    MOST_COUNT,
    ConfigOption,
    DaskOption,
    DataOption,
    ImagesOption,
    JsonOption,
    MeanOption,
    ModelArgument,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    WorkersOption,
    check_workers,
)

if TYPE_CHECKING:
    from ..dse.bits import BitChoice, TriedBits

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca bits digits --ber 2e-3 --goal 0.97\n"
    "  flexhyca bits resnet20 --weights w.npz --data images.npz --ber 1e-4 \\\n"
    "      --set protection.s_th=0.1\n"
)


def command(
    model: ModelArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    images: ImagesOption = None,
    ber: Annotated[
        float, typer.Option(help="Probability that a stored bit is wrong in an inference.")
    ] = 1e-4,
    goal: Annotated[
        float, typer.Option(help="Accuracy to exceed, relative to acc0, the fault-free accuracy.")
    ] = 0.97,
    patterns: Annotated[
        int,
        typer.Option(
            min=20, max=MOST_COUNT, metavar="N", help="Patterns of wrong bits of each pair; tens."
        ),
    ] = 100,
    no_prune: Annotated[
        bool,
        typer.Option(
            "--no-prune", help="Evaluate also what protects less than a pair that clearly misses."
        ),
    ] = False,
    workers: WorkersOption = 1,
    dask: DaskOption = None,
    study: Annotated[
        Path | None,
        typer.Option(metavar="FILE.db", help="Keep what is evaluated, and go on from there."),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Find the cheapest ib_th and nb_th whose accuracy under faults is above a goal.

    Pairs are tried in ascending area, all on the same patterns of wrong bits, so the first that is
    above the goal is the cheapest of all. The rest of the machine is the configuration's.
    """
    from .. import exploration

    output.check_target(json, studies=[study] if study else [])
    if study is not None:
        check_free(study)
    check_workers("bits", workers, dask)
    try:
        with busy() as say:
            say("quantising")
            found = exploration.bits(
                model,
                config,
                changes=set_ or (),
                weights=weights,
                data=data,
                mean=mean,
                std=std,
                images=images,
                ber=ber,
                goal=goal,
                patterns=patterns,
                prune=not no_prune,
                workers=workers,
                dask=dask,
                study=study,
                seed=seed,
                say=lambda tried: say(_line(tried)),
            )
    except KeyboardInterrupt:
        kept = f"what is evaluated is kept in {study}" if study else "give --study to keep it"
        output.note(f"interrupted: {kept}")
        raise typer.Exit(130) from None
    output.write_json(json, _report(model, ber, goal, patterns, seed, found))
    if json != output.STDOUT:
        _show(ber, goal, patterns, found)
    if found.best is None:
        raise FlexhycaError(_nothing(ber, goal, found))


def _line(tried: TriedBits) -> str:
    return f"ib_th {tried.pair.ib_th} nb_th {tried.pair.nb_th}: {tried.accuracy:.4f} of acc0"


def _report(
    model: str, ber: float, goal: float, patterns: int, seed: int, found: BitChoice
) -> dict[str, Any]:
    rows = [
        {
            **_bits(own),
            "accuracy": own.accuracy,
            "margin": own.margin.to_dict(),
            "above goal": own.above,
        }
        for own in found.tried
    ]
    return {
        "model": model,
        "ber": ber,
        "goal": goal,
        "patterns": patterns,
        "seed": seed,
        "pairs": len(found.pairs),
        "best": None if found.best is None else _bits(found.best),
        "tried": rows,
    }


def _bits(own: TriedBits) -> dict[str, Any]:
    return {"ib_th": own.pair.ib_th, "nb_th": own.pair.nb_th, "area_overhead": own.pair.cost}


def _show(ber: float, goal: float, patterns: int, found: BitChoice) -> None:
    print(
        f"accuracy above {goal:g} acc0 at bit error rate {ber:g}, {patterns} patterns a pair: "
        f"{len(found.tried)} of {len(found.pairs)} pairs evaluated, {len(found.out)} left out as "
        "they protect less than one that clearly misses\n"
    )
    output.print_table(
        ("ib_th", "nb_th", "area", "of acc0", "above the goal, points", ""),
        [
            (
                own.pair.ib_th,
                own.pair.nb_th,
                f"{own.pair.cost:+.1%}",
                f"{own.accuracy:.4f}",
                own.margin.brief,
                "best" if own is found.best else "above" if own.above else "",
            )
            for own in sorted(found.tried, key=lambda own: own.pair.cost)
        ],
    )


def _nothing(ber: float, goal: float, found: BitChoice) -> str:
    near = max(found.tried, key=lambda own: own.margin.estimate)
    return (
        f"bits: no pair is above {goal:g} acc0 at bit error rate {ber:g}; the nearest, ib_th "
        f"{near.pair.ib_th} nb_th {near.pair.nb_th}, keeps {near.accuracy:.4f} "
        f"({abs(100 * near.margin.estimate):.2f} points too little); lower the goal, or protect "
        "more with --set protection.s_th or a lower protection.q_scale"
    )
