"""What a search found, as plain values, as a configuration file with its evidence, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import to_yaml
from ..dse.search.front import SENSES, Sense, pareto, running_hypervolume
from ..hdl.area.machine import machine_area

if TYPE_CHECKING:
    from ..dse.designs import Design, Designs
    from ..dse.request import Found
    from ..dse.search.confirm import Walked
    from ..dse.search.optimise import SearchOutcome


def report(found: Found) -> dict[str, Any]:
    """Everything, for JSON. `best` is the winner of the problem with the most goals, or null."""
    designs, search = found.designs, found.request.options
    names = designs.space.names
    return {
        "model": found.workload.model.name,
        "machine": designs.space.base.name,
        "space": found.request.space,
        "limits": designs.limits.model_dump(),
        "rates": None
        if found.rates is None
        else dict(zip(("I'", "II'"), found.rates, strict=True)),
        "designs": {
            "all": len(designs.every),
            "within limits": len(designs.within()),
            "not built": dict(designs.impossible),
            "by s_policy": {
                policy: {"designs": every, "within limits": kept, "least traffic": least}
                for policy, (every, kept, least) in designs.by_policy().items()
            },
        },
        "images": {name: len(data) for name, data in found.workload.images.items()},
        "seed": search.seed,
        "alpha": search.alpha,
        "best": winner_of(found.best, designs),
        "problems": [_problem(outcome, found) for outcome in found.outcomes],
        "evaluations": [
            {
                "problem": outcome.problem.name,
                "ber": outcome.problem.goals[0].ber,
                "goal": outcome.problem.goals[0].accuracy,
                **_parameters(own.design, names),
                **own.to_dict(),
                "verdict": outcome.verdicts.get(own.observation.number),
                "winner": own.design is outcome.winner,
            }
            for outcome in found.outcomes
            for own in outcome.searched
        ],
        "computed": found.computed,
    }


def _front(outcome: SearchOutcome, objectives: Sequence[str]) -> dict[str, Any] | None:
    """Which evaluations no other beats in all objectives, and the hypervolume as they came.

    The hypervolume is that beyond the worst value of each objective among all evaluations.
    """
    if not objectives:
        return None
    rows = [
        [
            getattr(own.observation if name == "accuracy" else own.design, name)
            for name in objectives
        ]
        for own in outcome.searched
    ]
    senses = [SENSES[name] for name in objectives]
    worst = [
        (min if sense is Sense.MOST else max)(column)
        for sense, column in zip(senses, zip(*rows, strict=True), strict=True)
    ]
    return {
        "objectives": list(objectives),
        "evaluations": np.flatnonzero(pareto(rows, senses)).tolist(),
        "reference": worst,
        "hypervolume": running_hypervolume(rows, worst, senses).tolist(),
    }


def _problem(outcome: SearchOutcome, found: Found) -> dict[str, Any]:
    designs = found.designs
    walked = outcome.confirmation.walked if outcome.confirmation else ()
    return {
        "name": outcome.problem.name,
        "goals": [goal.model_dump() for goal in outcome.problem.goals],
        "best": winner_of(outcome, designs),
        "evaluations": len(outcome.searched),
        "front": _front(outcome, found.request.options.front),
        "candidates": len(outcome.chosen),
        "left out": len(outcome.out),
        "not examined": outcome.cut,
        "passed over": [own.design.area for own in outcome.passed_over],
        "searched for": outcome.limit,
        "confirmations": [
            {
                **_parameters(outcome.chosen[one.number], designs.space.names),
                "area_overhead": outcome.chosen[one.number].area,
                **one.to_dict(),
            }
            for one in walked
        ],
    }


def winner_of(outcome: SearchOutcome, designs: Designs) -> dict[str, Any] | None:
    """The design that a search ends with; None where none is confirmed.

    accuracy, interval : relative to acc0, at the goal with the least margin.
    """
    design, confirmation = outcome.winner, outcome.confirmation
    if design is None or confirmation is None or confirmation.winner is None:
        return None
    judged: Walked = confirmation.winner
    tight = min(judged.judgements, key=lambda own: own.margin.low)
    area = machine_area(design.point.config)
    return {
        **_parameters(design, designs.space.names),
        "area_overhead": design.area,
        "areas": {scope.name: scope.relative - 1 for scope in area.scopes},
        "confirmed": True,
        "accuracy": tight.accuracy.estimate,
        "interval": [tight.accuracy.low, tight.accuracy.high],
        "cycles_ratio": design.cycles,
        "extra_traffic": design.traffic,
        "patterns": judged.patterns,
        "goals": [own.to_dict() for own in judged.judgements],
    }


def _parameters(design: Design, names: Sequence[str]) -> dict[str, Any]:
    return {"parameters": dict(zip(names, design.point.values, strict=True))}


def winner_yaml(found: Found, command: str) -> str:
    """The winner as a configuration that `simulate` takes, its evidence in comments."""
    outcome = found.best
    best, design = winner_of(outcome, found.designs), outcome.winner
    assert best is not None
    assert design is not None
    scopes = ", ".join(f"{value:+.1%} {name}" for name, value in best["areas"].items())
    workload, search = found.workload, found.request.options
    lines = [
        f"The cheapest confirmed design for {workload.model.name}: {outcome.problem.name}.",
        f"Made by: {command}",
        f"flexhyca {version('flexhyca')}, seed {search.seed}",
        f"area: {scopes}, over the unprotected machine",
        f"cycles: {best['cycles_ratio']:.4f} of the unprotected machine's "
        f"(as {found.designs.limits.perf}), extra traffic {best['extra_traffic']:.4f} "
        f"(of {found.designs.limits.bandwidth})",
        *(
            f"goal {goal.accuracy:g} acc0 at bit error rate {goal.ber:g}: accuracy "
            f"{own['accuracy']['estimate']:.4f} [{own['accuracy']['low']:.4f}, "
            f"{own['accuracy']['high']:.4f}] of acc0, {own['accuracy']['confidence']:.4f} sure, "
            f"{best['patterns']} patterns of wrong bits"
            for goal, own in zip(outcome.problem.goals, best["goals"], strict=True)
        ),
        f"confirmed on {len(workload.images['confirm'])} images that the search "
        f"({len(outcome.searched)} evaluations, {len(workload.images['search'])} images) "
        f"never saw; calibrated and ranked on {len(workload.calibration)} others",
    ]
    config = design.point.config.model_copy(
        update={"name": f"{found.workload.model.name}-optimised"}
    )
    return "".join(f"# {line}\n" for line in lines) + to_yaml(config)


def evaluation_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A flat row an evaluation, for CSV and DataFrames."""
    return [
        {
            "problem": row["problem"],
            **row["parameters"],
            **{k: v for k, v in row.items() if k not in ("problem", "parameters", "values")},
            "patterns": " ".join(map(str, row["patterns"])),
        }
        for row in report["evaluations"]
    ]
