"""All bits that a machine has, each once: what is stuck for ever is a bit of the hardware.

A flip has a moment, so that transient faults weigh a bit by the cycles in which it stands there
(`population`).  A defect has none: whatever is scheduled on a bit meets it, and a bit that few
layers use is as likely to be defective as any other.  Memories have far more bits than registers,
so each of the two is a population of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import BY_NAME, KeptMemory
from ...isa.registers import BY_UNIT, DPPU_UNITS, Register, users
from ...network.arrays import I64
from ...simulator.array.dataflows import DATAFLOWS
from ...simulator.inject.fault_plan import (
    alike,
    copies_in_a_layer,
    copies_of,
    has_register,
    is_used_by,
)
from ...simulator.inject.sites import ALL, EVERY, Site, units_of
from ...simulator.inject.units import all_places
from ...simulator.text.activations import moved_by
from ...simulator.text.spans import Span, Spans
from .part import Part


@dataclass(frozen=True)
class HardwareBits:
    """The bits of a register.

    units : that use it, of which it belongs to the first: the groups' registers of the DPPU are one
    set for both of its units, and a part of what can be hit is never counted twice. bits :
    (bit, copy) of a word; a copy that is routed to several bits counts for each. places : (p, 2).
    used : (p,), whether some tile stores something there.
    """

    register: Register
    units: tuple[str, ...]
    bits: list[tuple[int, int]]
    places: I64
    used: NDArray[np.bool_]

    def count(self, live: bool) -> int:
        """How many bits there are, or are used."""
        return len(self.bits) * (int(self.used.sum()) if live else len(self.places))


class StuckBit(NamedTuple):
    """A defect. site : its name. sites : what it is in the layers in question, perhaps nothing."""

    site: Site
    sites: tuple[Site, ...]


class Hardware:
    """Random bits of a machine, all equally likely, that are stuck at 0 or 1 for ever."""

    def __init__(self, spans: Spans, kind: str, part: Part, live: bool = False) -> None:
        """kind : `register` or `memory`. live : only bits that are used.

        part : what is drawn from; of layers, those in which a bit is stuck.
        """
        self.spans, self.part, self.live = spans, part, live
        self._layers = part.layers_of(spans)
        rows = _hardware(spans, self._layers, kind)
        self.strata = [row for row in rows if part.has(row.register)]
        self._ends = np.cumsum([row.count(live) for row in self.strata])

    @property
    def bits(self) -> int:
        """How many there are to draw from."""
        return self.bits_of(self.live)

    def bits_of(self, live: bool) -> int:
        """How many there are, or are used."""
        return sum(row.count(live) for row in self.strata)

    def draw(self, rng: np.random.Generator) -> StuckBit:
        """One of them."""
        at = int(np.searchsorted(self._ends, rng.integers(self._ends[-1]), side="right"))
        row = self.strata[at]
        places = row.places[row.used] if self.live else row.places
        r, c = places[int(rng.integers(len(places)))].tolist()
        bit, copy = row.bits[int(rng.integers(len(row.bits)))]
        value, name = int(rng.integers(2)), row.register.name
        each = [Site(ALL, EVERY, 0, r, c, name, bit, copy, unit, value) for unit in row.units]
        if self.part.layers:
            return StuckBit(each[0], tuple(s for site in each for s in self._in_layers(site)))
        return StuckBit(each[0], tuple(each))

    def _in_layers(self, site: Site) -> Iterator[Site]:
        for layer in self._layers:
            own = self.spans.own[layer][:1]
            if not own or not is_used_by(site, own[0], self.spans):
                continue
            name = self.spans.program.layer_names[layer]
            parts = [site]
            if site.unit != "buffer":
                parts = list(copies_in_a_layer(site, own[0], self.spans))
            yield from (replace(there, layer=name) for there in parts)


def _hardware(spans: Spans, layers: Sequence[int], kind: str) -> Iterator[HardwareBits]:
    """layers : that matter to what is used."""
    config = spans.program.config
    tiles = [span for i in layers for span in spans.own[i]]
    for unit in units_of(config):
        for register in BY_UNIT[unit].values():
            if register.model != kind:
                continue
            there = users(register, config)
            if not there or unit != there[0]:
                continue
            for cols in alike(register, config):
                places = all_places(register, register.rows(config), register.cols(config), cols)
                bits = _bits(spans, layers, register, cols.start if cols else 0)
                if len(places) and bits:
                    used = _used(unit)(spans, tiles, register, places)
                    yield HardwareBits(register, there, bits, places, used)


def _bits(
    spans: Spans, layers: Sequence[int], register: Register, col: int
) -> list[tuple[int, int]]:
    """Bits with the copies that they have in any of the layers that have the register.

    col : that of a place.
    """
    firsts = [spans.own[i][0] for i in layers if spans.own[i]]
    firsts = [span for span in firsts if has_register(register, span)]

    def copies(bit: int) -> int:
        return max(copies_of(spans, s, register.unit, register.name, bit, col)[1] for s in firsts)

    width = register.bits(spans.program.network.arithmetic) if firsts else 0
    return [(bit, copy) for bit in range(width) for copy in range(copies(bit))]


# ---- what is used -----------------------------------------------------------------------------


def _in_array(
    spans: Spans, own: Sequence[Span], register: Register, places: I64
) -> NDArray[np.bool_]:
    """Places of PEs and delay lines in which a tile of some size has an operand or a sum."""
    used = np.zeros(len(places), np.bool_)
    flow = DATAFLOWS[spans.program.config.array.dataflow]
    for shape in {visit.shape for span in own for visit in spans.visits(span)}:
        there = places
        if shape.cols < spans.program.config.array.cols and not register.feeds_rows:
            there = places.copy()  # of a third of the array
            there[:, 1] %= shape.cols
        inside = [register.exists(row, col) for row, col in there.tolist()]
        busy: NDArray[np.bool_] = np.any(flow.count(shape, register, there).steps > 0, 0)
        used |= busy & np.array(inside)
    return used


def _in_dppu(
    spans: Spans, own: Sequence[Span], register: Register, places: I64
) -> NDArray[np.bool_]:
    """Places that tiles with as many neurons reach; an upper bound."""
    units = DPPU_UNITS if register.shared else (register.unit,)
    work = [(span, spans.dppu(span, unit == DPPU_UNITS[1])) for span in own for unit in units]
    busy = [(span, done.neurons) for span, done in work if done.neurons]
    neurons = max((count for _, count in busy), default=0)
    limits = {
        "file_act": (max((span.m for span, _ in busy), default=0), 1 << 62),
        "file_wgt": (1 << 62, max((span.n for span, _ in busy), default=0)),
    }
    rows, cols = limits.get(register.name, (neurons, 1 << 62))
    used: NDArray[np.bool_] = (places[:, 0] < rows) & (places[:, 1] < cols) & (neurons > 0)
    return used


def _in_buffer(
    spans: Spans, own: Sequence[Span], register: Register, places: I64
) -> NDArray[np.bool_]:
    """Bytes that a LOAD or STORE writes, words that a tile has."""
    if register.buffer is None:
        there = [span.m * span.n for span in own if has_register(register, span)]
        words = max(there, default=0)
        used: NDArray[np.bool_] = places[:, 0] < words
        return used
    c = spans.program.columns
    mine = np.zeros(len(spans.program.text), np.bool_)
    for span in own:
        mine[span.begin : span.end] = True
    change = np.zeros(len(places) + 1, np.int64)
    if register.buffer == KeptMemory.ACTIVATION:
        for pc, first, row, rows, stride in zip(*moved_by(spans.program, "STORE"), strict=True):
            starts = first + np.arange(rows if mine[pc] else 0) * stride
            np.add.at(change, starts, 1)
            np.add.at(change, starts + row, -1)
        return np.cumsum(change)[:-1] > 0
    mine &= (c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == register.buffer)
    np.add.at(change, c["buf_addr"][mine], 1)
    np.add.at(change, c["buf_addr"][mine] + c["row_bytes"][mine] * c["count"][mine], -1)
    return np.cumsum(change)[:-1] > 0


_Used: TypeAlias = Callable[[Spans, Sequence[Span], Register, I64], NDArray[np.bool_]]


def _used(unit: str) -> _Used:
    if unit == "buffer":
        return _in_buffer
    return _in_dppu if unit in DPPU_UNITS else _in_array
