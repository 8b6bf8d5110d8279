"""Does the order of designs depend on how area is counted? Pairs of rows that change places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from ..netlist.multipliers import MULTIPLIERS
from .pe_area import Point, Row


class Swaps(NamedTuple):
    """Pairs of designs with one multiplier. policy : of both, or `all` (unprotected ones too).

    optimised, sky130 : how many stand in the other order than by the area of their cells, after
    logic optimisation and with the cell ratios of another library; equal areas do not count.
    """

    multiplier: str
    policy: str
    pairs: int
    optimised: int
    sky130: int


def swaps(table: Mapping[Point, Row]) -> Iterator[Swaps]:
    """The counts for each multiplier and protection policy of a table."""
    for multiplier in MULTIPLIERS:
        for policy in ("direct", "configurable", "all"):
            rows = [
                row
                for point, row in table.items()
                if point.multiplier == multiplier and policy in (point.policy, "all")
            ]
            pairs = list(combinations(rows, 2))
            yield Swaps(
                multiplier,
                policy,
                len(pairs),
                sum(
                    (a.area_ge - b.area_ge) * (a.optimised_ge - b.optimised_ge) < 0
                    for a, b in pairs
                ),
                sum((a.area_ge - b.area_ge) * (a.sky130_ge - b.sky130_ge) < 0 for a, b in pairs),
            )
