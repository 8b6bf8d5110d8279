"""Machines side by side, as plain values and as one flat row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..dse.costs import row

if TYPE_CHECKING:
    from ..dse.compare import ComparedRow, RateResult, SideBySide
    from ..dse.costs import Costs
    from ..faults.campaign.statistics import Interval

#: Scope of an area -> its column.
AREAS = {
    "computing array": "area_overhead",
    "with register files": "area_with_register_files",
    "with buffers": "area_with_buffers",
}

_INTERVALS = ("accuracy", "loss", "minus_tmr_cl", "minus_before")


def comparison_report(found: SideBySide) -> dict[str, Any]:
    """Everything, for JSON. Shares are 0..1; accuracies of rows are relative to acc0."""
    plan, workload = found.plan, found.workload
    asked = plan.request.search
    return {
        "model": found.subject.network.name,
        "machine": plan.settings.name,
        "batch": found.subject.batch,
        "seed": asked.options.seed,
        "placement": found.placement,
        "weight_bytes": found.subject.weight_bytes,
        "protected_layers": list(found.protected),
        "protected_macs": found.protected_share,
        "limits": plan.limits.model_dump(),
        "acc0": found.acc0,
        "patterns": None if workload is None else asked.options.patterns,
        "images": None if workload is None else len(workload.images["confirm"]),
        "images_per_pattern": None if workload is None else _drawn(found),
        "rates": None
        if found.rates is None
        else dict(zip(("I'", "II'"), found.rates, strict=True)),
        "rows": [_row(own, found) for own in found.rows],
        "computed": found.computed,
    }


def _drawn(found: SideBySide) -> int:
    """Images of a pattern."""
    loss = next(own.rates[0].loss for own in found.rows if own.rates)
    return loss.trials // loss.clusters


def _row(own: ComparedRow, found: SideBySide) -> dict[str, Any]:
    head = {"name": own.machine.name, "paper": own.machine.paper}
    if own.costs is None or own.areas is None:
        return {**head, "reason": own.machine.reason, "verdict": None}
    return {
        **head,
        "reason": None,
        "verdict": _verdict(own),
        **{column: own.areas[scope] for scope, column in AREAS.items()},
        **_costs(own.costs),
        "limits": _limits(own, found),
        "fault_free": own.fault_free,
        "before": own.before,
        "rates": [_rate(result) for result in own.rates],
    }


def _costs(costs: Costs) -> dict[str, Any]:
    return {"depth_over_base": costs.depth, "time_over_base": costs.cycles("time"), **row(costs)}


def _limits(own: ComparedRow, found: SideBySide) -> dict[str, Any]:
    """Limit -> what it is, what the row has, by how much it keeps it (negative: breaks it)."""
    assert own.room is not None
    values = {"cycles": own.cycles, "traffic": own.traffic}
    return {
        name: {
            "limit": getattr(found.plan.limits, name),
            "value": values[name],
            "room": left,
            "verdict": "met" if left >= 0 else "missed",
        }
        for name, left in own.room.items()
    }


def _verdict(own: ComparedRow) -> str:
    """Over all constraints: missed if one is, else open if one is."""
    assert own.room is not None
    said = {result.verdict for result in own.rates}
    if "missed" in said or any(left < 0 for left in own.room.values()):
        return "missed"
    return "open" if "open" in said else "met"


def _rate(own: RateResult) -> dict[str, Any]:
    intervals = own.accuracy, own.loss, own.minus_cl, own.minus_before
    return {
        "ber": own.goal.ber,
        "goal": own.goal.accuracy,
        "verdict": own.verdict,
        **{
            name: None if interval is None else interval.to_dict()
            for name, interval in zip(_INTERVALS, intervals, strict=True)
        },
    }


def comparison_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A flat row a machine, for CSV and DataFrames; columns of a rate end in @RATE.

    All rows have all columns; those of an impossible machine are empty but for its reason.
    """
    found = [dict(_flat(own)) for own in report["rows"]]
    columns = dict.fromkeys(name for own in found for name in own)
    return [{name: own.get(name) for name in columns} for own in found]


def _flat(own: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in own.items():
        if name == "limits":
            for limit, judged in value.items():
                yield f"{limit}_limit", judged["limit"]
                yield f"{limit}_room", judged["room"]
                yield f"{limit}_verdict", judged["verdict"]
        elif name == "rates":
            for rate in value:
                yield from _flat_rate(rate)
        else:
            yield name, value


def _flat_rate(rate: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    at = f"@{rate['ber']:g}"
    yield f"goal{at}", rate["goal"]
    yield f"verdict{at}", rate["verdict"]
    for name in _INTERVALS:
        values = rate[name] or {}
        yield f"{name}{at}", values.get("estimate")
        yield f"{name}_low{at}", values.get("low")
        yield f"{name}_high{at}", values.get("high")


def interval_of(values: Mapping[str, Any]) -> Interval:
    """An interval of the report again."""
    from ..faults.campaign.statistics import Interval

    return Interval(**values)
