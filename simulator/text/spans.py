"""The tiles of a program as stretches of its text, in program order; every layer has them.

A span ends with its tile's STORE and begins after the one before, so that each instruction belongs
to one; loads of later tiles among them.  Faults of buffers and instructions are placed with it.
GEMMs of a tile whose sums are parked may stand before that, in the spans of other tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...isa.instructions import (
    BY_NAME,
    OF_TILE,
    Engine,
    Source,
    Table,
)
from ...isa.program import Program
from ...isa.protection import layer_columns
from ...isa.validate_text import configured
from ...network.layers import LayerOp
from ...tables import complete
from ..array.dataflows import DATAFLOWS
from ..array.tile import TileShape
from ..dppu.held import Neurons
from ..dppu.schedule import dppu_schedule, shape_of
from ..dppu.unit import DppuUnit
from .kernels import decode_positions
from .work import position_contents, reductions

#: The instructions that a span knows one by one.
_PARTS = ("GEMM", "DPPU", "VEC", "STORE")
complete("OF_TILE in isa/instructions.py", OF_TILE, _PARTS, "simulator/text/spans.py: Spans")


class Span(NamedTuple):
    """A tile and its instructions. number : within the layer. pcs begin..end-1 are its own.

    gemms : one for each part of the reduction (fold of a stationary array), none in a layer that
    only the vector unit computes. starts : the cycle of the tile in which each begins. visits :
    which of them begin at the bias or at parked sums; from there to the drain the tile is on the
    array. cycles : of all visits, 1 where there is none. moments : at which its sums in the output
    buffer can be hit. Of `os` after each drain, and after the DPPU's merge; the partial sums of a
    stationary array stand there in all of its cycles.
    """

    layer: int
    number: int
    m0: int
    m: int
    n0: int
    n: int
    begin: int
    end: int
    gemms: tuple[int, ...]
    starts: tuple[int, ...]
    visits: tuple[int, ...]
    dppus: tuple[int, ...]
    vec: int
    store: int
    cycles: int
    moments: int

    def next_gemm(self, pc: int) -> tuple[int, int] | None:
        """The tile's GEMM after the one at `pc`, and how many cycles later it begins."""
        at = self.gemms.index(pc) + 1
        if at == len(self.gemms):
            return None
        return self.gemms[at], self.starts[at] - self.starts[at - 1]


class Visit(NamedTuple):
    """A tile on the array, from its bias or parked sums to the drain.

    start : its first cycle, of the tile's. k0 : its first operand. shape : the tile, with the parts
    of the reduction of this visit.
    """

    start: int
    k0: int
    shape: TileShape


class DppuWork(NamedTuple):
    """One source's neurons of a tile. pcs : an instruction for each part of the reduction, of
    `parts` operands. steps : in which its registers can be hit.
    """

    pcs: tuple[int, ...]
    parts: tuple[int, ...]
    neurons: int
    steps: int


class Spans:
    """All spans of a program. own : those of each layer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        c, config, names = program.columns, program.config, program.layer_names
        #: Operands of each GEMM and DPPU instruction, by pc.
        self.depth = k = reductions(program)
        kinds = {name: BY_NAME[name].opcode for name in _PARTS}
        self.all: list[Span] = []
        self.own: dict[int, list[Span]] = {i: [] for i in range(len(program.layers))}
        marked = np.flatnonzero(np.isin(c["op"], list(kinds.values())))
        ops = c["op"][marked].tolist()
        layers = program.debug_layer[marked].tolist()
        begin, vec = 0, -1
        gemms: dict[tuple[int, int], list[int]] = {}  # by first pixel and channel of the tile
        dppus: dict[tuple[int, int], list[int]] = {}
        places = list(zip(c["m0"][marked].tolist(), c["n0"][marked].tolist(), strict=True))
        for pc, op, layer, place in zip(marked.tolist(), ops, layers, places, strict=True):
            if op == kinds["GEMM"]:
                gemms.setdefault(place, []).append(pc)
            elif op == kinds["DPPU"]:
                dppus.setdefault(place, []).append(pc)
            elif op == kinds["VEC"]:
                vec = pc
            elif op == kinds["STORE"]:
                m0, m, n0, n = (int(c[f][pc]) for f in ("m0", "m", "n0", "n"))
                own = tuple(gemms.pop(place, ()))
                rows, columns = config.array.rows, layer_columns(config, names[layer])
                overlaps = config.array.overlaps
                visits = tuple(
                    i
                    for i, gemm in enumerate(own)
                    if c["first"][gemm] or c["resume"][gemm] or not i
                )
                shapes = [
                    TileShape(m, n, tuple(k[list(own[i:end])].tolist()), rows, columns, overlaps)
                    for i, end in pairwise((*visits, len(own)))
                ]
                starts, cycles, moments = _times(config.array.dataflow, shapes)
                span = Span(
                    layer,
                    len(self.own[layer]),
                    m0,
                    m,
                    n0,
                    n,
                    begin,
                    pc + 1,
                    own,
                    starts,
                    visits,
                    tuple(dppus.pop(place, ())),
                    vec,
                    pc,
                    cycles,
                    moments,
                )
                self.all.append(span)
                self.own[layer].append(span)
                begin, vec = pc + 1, -1
        if self.all:  # HALT
            last = self.all[-1]._replace(end=len(program.text))
            self.all[-1] = self.own[last.layer][-1] = last

    def array(self, span: Span) -> Config:
        """The machine with as many columns of PEs as compute the tile's layer."""
        config = self.program.config
        cols = layer_columns(config, self.program.layer_names[span.layer])
        if cols == config.array.cols:
            return config
        return config.model_copy(update={"array": config.array.model_copy(update={"cols": cols})})

    def visits(self, span: Span) -> list[Visit]:
        """A tile on the PEs that compute it, visit by visit."""
        array = self.program.config.array
        columns = layer_columns(self.program.config, self.program.layer_names[span.layer])
        parts, k0, found = self.depth[list(span.gemms)].tolist(), 0, []
        for i, end in pairwise((*span.visits, len(parts))):
            own = tuple(parts[i:end])
            shape = TileShape(span.m, span.n, own, array.rows, columns, array.overlaps)
            found.append(Visit(span.starts[i], k0, shape))
            k0 += shape.k
        return found

    def dppu(self, span: Span, excess: bool) -> DppuWork:
        """What the DPPU does in a tile, from the taps or of the excess."""
        c = self.program.columns
        pcs = [pc for pc in span.dppus if Source(c["source"][pc]).fetched == excess]
        parts = tuple(int(self.depth[pc]) for pc in pcs)
        neurons = int(c["count"][pcs[0]]) if pcs else 0
        return DppuWork(tuple(pcs), parts, neurons, self._dppu_steps(parts, neurons, excess))

    @lru_cache(4096)  # noqa: B019 -- one object a program
    def _dppu_steps(self, parts: tuple[int, ...], neurons: int, excess: bool) -> int:
        return DppuUnit(shape_of(self.program.config, excess)).cycles(parts, neurons)

    def neurons(self, span: Span, excess: bool) -> Neurons:
        """What the DPPU computes in a tile, from the taps or of the excess; there is something."""
        work = self.dppu(span, excess)
        shape = shape_of(self.program.config, excess)
        schedule = dppu_schedule(work.parts, work.neurons, shape)
        return Neurons(schedule, self.decode(work.pcs[0], self.table(work.pcs[0])))

    def table(self, pc: int) -> NDArray[np.uint8]:
        """The position table that a DPPU instruction finds."""
        held, begins = self._tables
        at = self._table_of[pc]
        return held[begins[at] : begins[at + 1]]

    def decode(self, pc: int, table: NDArray[np.uint8]) -> NDArray[np.int64]:
        """What a DPPU instruction makes of a table: (neurons, 2), -1 for none."""
        c, config = self.program.columns, self.program.config
        positions: NDArray[np.int64] = decode_positions(
            table,
            int(c["format"][pc]),
            int(c["count"][pc]),
            int(c["n"][pc]),
            config.position_column_bits,
            config.position_bits,
        )
        positions[positions[:, 0] >= config.array.rows] = -1
        return positions

    def important(self, span: Span) -> NDArray[np.int64]:
        """Rows and columns of a tile that the DPPU overwrites: (count, 2)."""
        found = [np.zeros((0, 2), np.int64)]
        for excess in (False, True):
            for pc in self.dppu(span, excess).pcs[:1]:
                found.append(self.decode(pc, self.table(pc)))
        positions = np.concatenate(found)
        return positions[positions[:, 0] >= 0]

    def elements(
        self, span: Span, rows: NDArray[np.int64], cols: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Flat elements (pixel of the batch, channel) of the layer's output."""
        channels = int(self.program.tensors[self.program.column("output")[span.layer], 2])
        return (span.m0 + rows) * channels + span.n0 + cols

    @cached_property
    def _dppus(self) -> NDArray[np.int64]:
        return np.array([pc for span in self.all for pc in span.dppus], np.int64)

    @cached_property
    def _table_of(self) -> dict[int, int]:
        return {pc: i for i, pc in enumerate(self._dppus.tolist())}

    @cached_property
    def _tables(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return position_contents(self.program, self._dppus)

    @cached_property
    def by_pc(self) -> dict[int, Span]:
        """GEMM, DPPU and VEC instructions -> their tiles."""
        return {pc: span for span in self.all for pc in (*span.gemms, *span.dppus, span.vec)}

    @cached_property
    def windows(self) -> dict[Engine, list[int]]:
        """Row of the window table that each instruction finds configured, by engine and pc."""
        return {e: configured(self.program, e)[Table.WINDOW].tolist() for e in Engine}

    def is_vector(self, layer: int) -> bool:
        """Whether only the vector unit computes the layer."""
        return bool(self.program.column("op")[layer] != LayerOp.CONV)


def _times(dataflow: str, visits: Sequence[TileShape]) -> tuple[tuple[int, ...], int, int]:
    """(starts, cycles, moments) of a tile.

    One that runs three times has the times of one run; one without GEMMs is not on the array.
    """
    if not visits:
        return (), 1, 0
    flow, starts, cycles = DATAFLOWS[dataflow], list[int](), 0
    for shape in visits:
        starts += (cycles + start for start in flow.starts(shape))
        cycles += flow.cycles(shape)
    return tuple(starts), cycles, flow.moments(visits)
