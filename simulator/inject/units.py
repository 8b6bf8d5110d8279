"""The units of the register table in a tile of a program: when their registers can be hit.

Here the array and the DPPU, which know numbers only, meet the tiles of a program.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from itertools import product

import numpy as np

from ...isa.registers import BY_UNIT, DPPU_UNITS, SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW, Register
from ...network.arrays import I64
from ...tables import complete
from ..array.dataflows import DATAFLOWS
from ..array.tile import Held, PlaceStep, TileShape, Uses, places_of
from ..dppu.held import Neurons
from ..dppu.schedule import shape_of
from ..dppu.unit import DppuUnit
from ..text.spans import Span, Spans, Visit


class TileUnit(ABC):
    """A unit in a tile. cycles : in which its registers can be hit, 0 where it does nothing."""

    cycles: int

    @abstractmethod
    def total(self, register: Register, cols: range | None = None) -> int:
        """How many (place, step) of a register are in use. cols : of the array; None: any place."""

    @abstractmethod
    def draw(
        self, register: Register, rng: np.random.Generator, cols: range | None = None
    ) -> PlaceStep:
        """One of them."""

    @abstractmethod
    def stretches(self, register: Register, row: int, col: int) -> list[tuple[int, int]]:
        """The steps in which a place is in use, as (first, last)."""

    @abstractmethod
    def hold(self, register: Register, row: int, col: int, step: int) -> Held | None:
        """What a place holds in a step of the fault-free tile, None for nothing that is used."""

    def owned(self, register: Register, row: int = 0, col: int = 0) -> list[tuple[int, int]]:
        """Stretches, (first step, steps), in which the tile has a place of a register."""
        return [(0, self.cycles)]


class ArrayInTile(TileUnit):
    """The array or its delay lines; and words of the output buffer where sums stand there."""

    def __init__(self, span: Span, spans: Spans) -> None:
        self.span, self.spans, self.cycles = span, spans, span.cycles
        self.array = spans.program.config.array
        self.flow = DATAFLOWS[self.array.dataflow]

    @cached_property
    def visits(self) -> list[Visit]:
        """Of the array."""
        return self.spans.visits(self.span)

    def _totals(self, register: Register, cols: range | None) -> list[int]:
        return [_total(self.array.dataflow, visit.shape, register, cols) for visit in self.visits]

    def total(self, register: Register, cols: range | None = None) -> int:
        """See `TileUnit.total`."""
        return sum(self._totals(register, cols))

    def draw(
        self, register: Register, rng: np.random.Generator, cols: range | None = None
    ) -> PlaceStep:
        """See `TileUnit.draw`."""
        visit = self.visits[0]
        if len(self.visits) > 1:
            ends = np.cumsum(self._totals(register, cols))
            slot = int(rng.integers(ends[-1]))
            visit = self.visits[int(np.searchsorted(ends, slot, side="right"))]
        row, col, step = _uses(self.array.dataflow, visit.shape, register, cols).draw(rng)
        return row, col, visit.start + step

    def stretches(self, register: Register, row: int, col: int) -> list[tuple[int, int]]:
        """See `TileUnit.stretches`."""
        place = np.array([[row, col]])
        return [
            (visit.start + first, visit.start + last)
            for visit in self.visits
            for first, last in self.flow.count(visit.shape, register, place).stretches()
        ]

    def hold(self, register: Register, row: int, col: int, step: int) -> Held | None:
        """See `TileUnit.hold`."""
        visit = [visit for visit in self.visits if visit.start <= step][-1]
        held = self.flow.hold(visit.shape, register, row, col, step - visit.start)
        if held is None:
            return None
        first = 0 if held.start else held.first + visit.k0
        return held._replace(first=first, end=held.end + visit.k0)

    def owned(self, register: Register, row: int = 0, col: int = 0) -> list[tuple[int, int]]:
        """See `TileUnit.owned`."""
        found = []
        for visit in self.visits:
            first, steps = self.flow.owned(visit.shape, register, row, col)
            found.append((visit.start + first, steps))
        return found


def _uses(dataflow: str, shape: TileShape, register: Register, cols: range | None) -> Uses:
    places = all_places(register, *places_of(register, shape.rows, shape.cols), cols)
    return DATAFLOWS[dataflow].count(shape, register, places)


@lru_cache(4096)
def _total(dataflow: str, shape: TileShape, register: Register, cols: range | None) -> int:
    return _uses(dataflow, shape, register, cols).total  # many tiles are alike


class _Dppu(TileUnit):
    """The DPPU with operands of one source."""

    def __init__(self, span: Span, spans: Spans, excess: bool) -> None:
        self.span, self.spans, self.excess = span, spans, excess
        self.cycles = spans.dppu(span, excess).steps
        self.dppu = DppuUnit(shape_of(spans.program.config, excess))

    @cached_property
    def neurons(self) -> Neurons:
        return self.spans.neurons(self.span, self.excess)

    def total(self, register: Register, cols: range | None = None) -> int:
        return self.dppu.count(self.neurons, register.name).total if self.cycles else 0

    def draw(
        self, register: Register, rng: np.random.Generator, cols: range | None = None
    ) -> PlaceStep:
        return self.dppu.count(self.neurons, register.name).draw(rng)

    def stretches(self, register: Register, row: int, col: int) -> list[tuple[int, int]]:
        return (
            self.dppu.count(self.neurons, register.name).stretches(row, col) if self.cycles else []
        )

    def hold(self, register: Register, row: int, col: int, step: int) -> Held | None:
        return self.dppu.hold(self.neurons, register.name, row, col, step) if self.cycles else None


_UNITS: dict[str, Callable[[Span, Spans], TileUnit]] = {
    **dict.fromkeys(UNIT_OF_DATAFLOW.values(), ArrayInTile),
    **dict.fromkeys(SKEW_OF_DATAFLOW.values(), ArrayInTile),
    **{unit: partial(_Dppu, excess=bool(i)) for i, unit in enumerate(DPPU_UNITS)},
}
complete(
    "units in isa/registers.py", BY_UNIT, [*_UNITS, "buffer"], "simulator/inject/units.py: _UNITS"
)


def unit_in_tile(unit: str, span: Span, spans: Spans) -> TileUnit:
    """A unit that has registers, not words of buffers, in a tile that has GEMMs."""
    return _UNITS[unit](span, spans)


def moments(register: Register, span: Span, spans: Spans) -> int:
    """Cycles of a tile in which a register can be hit, 0 where the tile does not use it."""
    if register.unit != "buffer":
        return unit_in_tile(register.unit, span, spans).cycles
    if register.name == "output":
        return span.moments
    return span.cycles if register.timed else 1


@lru_cache(64)
def all_places(register: Register, rows: int, cols: int, within: range | None = None) -> I64:
    """Places of a register of rows x cols, those that exist: (p, 2). within : columns of them."""
    columns = range(cols) if within is None else within
    found = [p for p in product(range(rows), columns) if register.exists(*p)]
    return np.array(found, np.int64).reshape(-1, 2)
