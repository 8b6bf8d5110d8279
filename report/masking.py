"""Where faults end, by layer and register: shares of every outcome, never without an interval.

The rows are those of a campaign that hits one bit a trial; each trial belongs to the layer and
register that it hit.  Sites are drawn by exposure, so sums over layers or registers are weighted as
a real strike would be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FlexhycaError
from ..faults.campaign.experiment import quantity_of
from ..faults.campaign.statistics import CONFIDENCE, Interval, share
from ..faults.machine.outcomes import OUTCOMES, STAGES
from ..isa.registers import REGISTERS, UNIT_OF_DATAFLOW

#: Stands for all layers, or all registers, in a cell that sums over them.
TOTAL = "(all)"
#: The outcomes that are not masked and change the prediction or worse, put together.
FAILURE = "failure"
_NEEDED = ("layer", "register", "outcome")
#: Half width of an interval above which a share is not to be relied on.
WIDE = 0.05


@dataclass(frozen=True)
class MaskingCell:
    """The trials that hit one register while one layer ran. counts : by outcome."""

    layer: str
    register: str
    trials: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Breakdown:
    """All cells of a campaign, sums included.

    stages : outcomes that some trial had, from the first masking stage to the worst. failures :
    those of them that are failures.
    """

    cells: Mapping[tuple[str, str], MaskingCell]  #: (layer, register), or `TOTAL` of either
    layers: Sequence[str]
    registers: Sequence[str]
    stages: Sequence[str]
    failures: Sequence[str]
    trials: int
    seed: int
    confidence: float
    live: bool  #: only bits were hit that are still used

    def interval(self, cell: MaskingCell, stage: str) -> Interval:
        """The share of a cell's trials that ended in `stage` (or `FAILURE`)."""
        names = self.failures if stage == FAILURE else (stage,)
        count = sum(cell.counts.get(name, 0) for name in names)
        return share(count, cell.trials, self.seed, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "seed": self.seed,
            "confidence": self.confidence,
            "live": self.live,
            "trials": self.trials,
            "cells": [
                {
                    "layer": cell.layer,
                    "register": cell.register,
                    "trials": cell.trials,
                    "shares": {
                        stage: self.interval(cell, stage).to_dict()
                        for stage in (*self.stages, FAILURE)
                    },
                }
                for cell in self.cells.values()
            ],
        }


def breakdown(
    described: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    where: str,
    confidence: float = CONFIDENCE,
) -> Breakdown:
    """Count `rows` of a campaign. described : what its file says of it. where : for messages.

    Raises FlexhycaError for a campaign of another kind, of several bits a trial, or without trials.
    """
    missing = [name for name in _NEEDED if name not in described["columns"]]
    if missing:
        raise FlexhycaError(
            f"{where}: trials of {described['kind']} have no {missing[0]}; a masking breakdown "
            "needs a campaign of `flexhyca inject --faults register`"
        )
    flips = described["spec"].get("flips", 1)
    if flips != 1:
        raise FlexhycaError(
            f"{where}: each trial hits {flips} bits, so that no outcome belongs to one register; "
            "use a campaign with --flips 1"
        )
    if (images := described["spec"].get("images_per_fault", 1)) != 1:
        raise FlexhycaError(
            f"{where}: each fault is judged over {images} images, and a masking breakdown counts "
            "independent trials; use a campaign with --images-per-fault 1"
        )
    if len(kinds := described["spec"].get("kinds", {})) > 1:
        raise FlexhycaError(
            f"{where}: trials are drawn from {' and '.join(kinds)} apart, so that sums of both "
            "mean nothing; use a campaign of one of them (--unit, --register)"
        )
    counts: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        place, end = (str(row["layer"]), _register(row)), str(row["outcome"])
        for key in (
            place,
            (place[0], TOTAL),
            (TOTAL, place[1]),
            (TOTAL, TOTAL),
        ):
            counts.setdefault(key, Counter())[end] += 1
    if not counts:
        raise FlexhycaError(f"{where}: no trial is there yet; run the campaign")
    layers = sorted({layer for layer, _ in counts} - {TOTAL}, key=_natural)
    registers = sorted({register for _, register in counts} - {TOTAL}, key=_table_order)
    found = {
        key: MaskingCell(*key, counts[key].total(), counts[key])
        for key in ((a, b) for a in (*layers, TOTAL) for b in (*registers, TOTAL))
        if key in counts
    }
    stages = sorted(counts[TOTAL, TOTAL], key=_stage_order)
    good = _good(described)
    return Breakdown(
        found,
        layers,
        registers,
        stages,
        [stage for stage in stages if stage.partition(":")[0] not in good],
        counts[TOTAL, TOTAL].total(),
        int(described["spec"]["seed"]),
        confidence,
        bool(described["spec"].get("live", False)),
    )


def _good(described: Mapping[str, Any]) -> Sequence[str]:
    """The classes of outcomes that the campaign's own rate does not count as failures."""
    quantities = [quantity_of(quantity) for quantity in described["quantities"]]
    own = next(q for q in quantities if getattr(q, "column", None) == "outcome")
    good: Sequence[str] = own.good  # type: ignore[union-attr]
    return good


def _register(row: Mapping[str, Any]) -> str:
    unit, name = row.get("unit") or UNIT_OF_DATAFLOW["os"], str(row["register"])
    return name if unit in UNIT_OF_DATAFLOW.values() else f"{unit}.{name}"


def _natural(name: str) -> list[tuple[int, str]]:
    """conv2 before conv10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _table_order(register: str) -> tuple[int, str]:
    names = [_register({"unit": r.unit, "register": r.name}) for r in REGISTERS]
    return (names.index(register) if register in names else len(names)), register


def _stage_order(outcome: str) -> tuple[int, str]:
    """Masking stages first, in the order in which a difference meets them; the worst last."""
    known = [*(f"masked:{stage}" for stage in STAGES), "masked", *reversed(OUTCOMES)]
    if outcome in known:
        return known.index(outcome), outcome
    return (known.index("masked") if outcome.startswith("masked:") else len(known)), outcome


def short(interval: Interval) -> str:
    """`1.2 [0.4-3.1]`: a share and its interval in per cent, for a table with trials and seed."""
    digits = 0 if interval.margin >= WIDE else 1 if interval.margin >= 0.0005 else 3
    low, high = (f"{100 * x:.{digits}f}" for x in (interval.low, interval.high))
    return f"{100 * interval.estimate:.{digits}f} [{low}-{high}]"


def table(found: Breakdown) -> tuple[list[str], list[list[object]]]:
    """Head and rows for people: a row a cell, sums in the end; wide intervals are marked with ?."""
    head = ["layer", "register", "trials"]
    head += [stage.removeprefix("masked:") for stage in found.stages]
    rows: list[list[object]] = []
    for cell in found.cells.values():
        shares = [found.interval(cell, stage) for stage in found.stages]
        marks = ["?" if interval.margin > WIDE else "" for interval in shares]
        texts = [short(interval) + mark for interval, mark in zip(shares, marks, strict=True)]
        rows.append([cell.layer, cell.register, cell.trials, *texts])
    return head, rows


def caption(found: Breakdown) -> str:
    """What a table or picture of shares has to say of all of them."""
    which = " in what is still used" if found.live else ""
    return (
        f"per cent of the faults{which} [{100 * found.confidence:g} % interval], "
        f"each by its worst outcome, {found.trials:,} trials, seed {found.seed}; {_FEW}"
    )


_FEW = f"half width above {100 * WIDE:g} points: too few trials to rely on"
