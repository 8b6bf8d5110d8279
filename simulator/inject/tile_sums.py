"""The sums of one tile of a CONV layer with faults: exact changes against the fault-free sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ...isa.descriptors import LAYER_COLUMNS
from ...isa.instructions import Engine, Source
from ...isa.registers import DPPU_UNITS
from ...network import fixedpoint
from ...network.arrays import I8, I64
from ..array.dataflows import DATAFLOWS
from ..array.flips import Flip
from ..text.kernels import gather
from ..text.spans import Span, Spans
from ..text.work import REDUCTION, gather_geometry
from .array_unit import Runs, changes, of_visit
from .buffer_faults import Read, positions_with
from .dppu_unit import DppuPart, run_dppu
from .fault_plan import Plan, Sum, force
from .tile_kernels import sums_at


@dataclass
class TileOperands:
    """What streams into a tile: act (m, k), wgt (n, k), start (n,): the biases."""

    act: I8
    wgt: I8
    start: I64

    def sums(self, rows: I64, cols: I64) -> I64:
        """Sums, not wrapped, of some neurons of the tile."""
        found: I64 = sums_at(self.act, self.wgt, self.start, rows, cols)
        return found

    def all_sums(self) -> I64:
        """Those of all neurons: (m, n)."""
        rows, cols = np.divmod(np.arange(len(self.act) * len(self.wgt)), len(self.wgt))
        return self.sums(rows, cols).reshape(len(self.act), len(self.wgt))

    def part(self, first: int, end: int) -> TileOperands:
        """Operands first..end-1 of each sum."""
        if end - first == self.act.shape[1]:
            return self
        act, wgt = (np.ascontiguousarray(x[:, first:end]) for x in (self.act, self.wgt))
        return TileOperands(act, wgt, self.start)

    def change(self, wrong: TileOperands) -> I64:
        """How much the sums of `wrong` differ from these: (m, n)."""
        out = np.zeros((len(self.act), len(self.wgt)), np.int64)
        if wrong is self:
            return out
        rows = cols = np.zeros(0, np.int64)
        if wrong.act is not self.act:
            rows = np.flatnonzero((self.act != wrong.act).any(1))
        if wrong.wgt is not self.wgt:
            cols = np.flatnonzero((self.wgt != wrong.wgt).any(1))
        if len(rows):
            by = wrong.act[rows].astype(np.int64) - self.act[rows]
            k = np.flatnonzero(by.any(0))
            out[rows] += by[:, k] @ wrong.wgt[:, k].T.astype(np.int64)
        if len(cols):
            by = wrong.wgt[cols].astype(np.int64) - self.wgt[cols]
            k = np.flatnonzero(by.any(0))
            out[:, cols] += self.act[:, k].astype(np.int64) @ by[:, k].T
        return out + (wrong.start - self.start)


@dataclass
class TileSums:
    """A tile whose sums faults change.

    by : (m, n), what they add to the fault-free sums that VEC finds. array : the same before the
    DPPU's results replaced some. overwritten : which.
    """

    span: Span
    clean: TileOperands
    by: I64
    array: I64
    overwritten: NDArray[np.bool_]


class Evaluator:
    """Evaluates tiles of a program."""

    def __init__(self, spans: Spans) -> None:
        self.spans, self.program = spans, spans.program
        self.network = self.program.network
        self.arithmetic = self.network.arithmetic
        self.flow = DATAFLOWS[self.program.config.array.dataflow]

    def __call__(self, span: Span, x: I8, plan: Plan, reads: Sequence[Read]) -> TileSums:
        """x : the layer's input (h, w, c) in this run, as it is in DRAM."""
        key, acc_bits = (span.layer, span.number), self.arithmetic.acc_bits
        clean = self.operands(span, x)
        wrong = self._read(span, x, clean, [r for r in reads if r.engine == Engine.ARRAY])
        by = clean.change(wrong)
        if key in plan.flips or key in plan.sums:
            by += self._array(span, wrong, plan.flips.get(key, ()), plan.sums.get(key, []))
        array, overwritten = by.copy() if span.dppus else by, np.zeros(by.shape, np.bool_)
        for source, positions in self._positions(span, reads):
            fetched = clean if source.fetched else wrong
            if source.fetched:
                own = [r for r in reads if r.engine == Engine.DPPU and r.what != "position"]
                fetched = self._read(span, x, clean, own)
            unit = DPPU_UNITS[source.fetched]
            faults = plan.dppu.get((*key, unit), [])
            if faults and len(positions):
                sums, positions = self._dppu(fetched, positions, faults, span, unit)
            inside = (positions >= 0).all(1) & (positions < by.shape).all(1)
            rows, cols = positions[inside].T
            if faults:
                by[rows, cols] = sums[inside] - clean.sums(rows, cols)
            else:
                by[rows, cols] = clean.change(fetched)[rows, cols]
            overwritten[rows, cols] = True
        self._wrong_sums(clean, by, plan.sums.get(key, []), span, moment=span.moments - 1)
        by = fixedpoint.wrap(by, acc_bits)
        array = fixedpoint.wrap(array, acc_bits) if span.dppus else by
        return TileSums(span, clean, by, array, overwritten)

    def _array(self, span: Span, operands: TileOperands, flips: Runs, sums: Sequence[Sum]) -> I64:
        """What wrong registers and parked sums add to the sums of these operands: (m, n)."""
        by = np.zeros((span.m, span.n), np.int64)
        for moment, visit in enumerate(self.spans.visits(span)):
            own = of_visit(flips, visit, self.flow.cycles(visit.shape))
            if any(own):
                before = operands.part(0, visit.k0)
                now = operands.part(visit.k0, visit.k0 + visit.shape.k)
                start = fixedpoint.wrap(before.all_sums() + by, self.arithmetic.acc_bits)
                by += changes(
                    now.act,
                    now.wgt,
                    start.astype(np.int32),
                    self.spans,
                    span,
                    own,
                    visit.shape.parts,
                )
            done = operands.part(0, visit.k0 + visit.shape.k)
            self._wrong_sums(done, by, sums, span, moment)
        return by

    def depth(self, span: Span) -> int:
        """TileOperands of each sum of a tile."""
        return int(self.spans.depth[list(span.gemms)].sum())

    # ---- operands -----------------------------------------------------------------------------

    def operands(self, span: Span, x: I8) -> TileOperands:
        """Fault-free operands of a tile. x : (h, w, c)."""
        wgt, start = self._constants(span.layer, span.n0, span.n, self._windows(span))
        return TileOperands(self._gather(span, x), wgt, start)

    @lru_cache(64)  # noqa: B019 -- one object a program; neighbours in a layer share them
    def _constants(self, index: int, n0: int, n: int, windows: tuple[int, ...]) -> tuple[I8, I64]:
        """Weights (n, k) and biases (n,) of some channels, only to be read."""
        weight, groups = self._weights[index], self.network.layers[index].groups
        per_out, per_in = len(weight) // groups, weight.shape[3]
        first = n0 // per_out * per_in  # input channels of the group
        own = weight[n0 : n0 + n]
        wgt = [
            own[:, ky0 : ky0 + nky, :, kc0 - first : kc0 - first + kcc].reshape(n, -1)
            for ky0, nky, kc0, kcc in self.program.windows[list(windows)][:, REDUCTION].tolist()
        ]
        return np.concatenate(wgt, 1), self.network.biases[index][n0 : n0 + n].astype(np.int64)

    def _windows(self, span: Span) -> tuple[int, ...]:
        """Window of each part of the reduction; folds of one window are one part."""
        index = self.spans.windows[Engine.ARRAY]
        return tuple(dict.fromkeys(index[pc] for pc in span.gemms))

    def _gather(self, span: Span, x: I8) -> I8:
        """Activations of all operands, (m, k), from an input (h, w, c)."""
        height, width, channels = x.shape
        geometry = self._geometry[span.layer]
        kernel_w = self.network.layers[span.layer].kernel_w
        pixels = np.arange(span.m0, span.m0 + span.m)
        memory = np.ascontiguousarray(x).reshape(-1)
        parts = []
        windows = self.program.windows[list(self._windows(span))][:, REDUCTION]
        for ky0, nky, kc0, kcc in windows.tolist():
            held = (0, height, 1, 0, width, 1, 0, channels, ky0, nky, kc0, kcc)
            out = np.empty((span.m, nky * kernel_w * kcc), np.int8)
            gather(memory, 0, np.array(held, np.int64), geometry, pixels, out)
            parts.append(out)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, 1)

    def _read(self, span: Span, x: I8, clean: TileOperands, reads: Sequence[Read]) -> TileOperands:
        """The operands as a unit reads them."""
        if not reads:
            return clean
        a = self.arithmetic
        wrong = TileOperands(clean.act, clean.wgt, clean.start)
        words: dict[int, int] = {}
        for read in reads:
            begin, length = self._part(span, read)
            steps = self.flow.read_steps(span.m, length, span.n)
            if read.engine == Engine.DPPU:  # it reads at once
                steps = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64)
            own = slice(begin, begin + length)
            channel, k = read.at
            if read.what == "input":
                if wrong.act is clean.act:
                    wrong.act = clean.act.copy()
                marker = np.zeros(x.size, np.int8)
                marker[channel] = 1
                mine = self._gather(span, marker.reshape(x.shape))[:, own] != 0
                value = int(x.reshape(-1)[channel])
                for step, bits in read.bits:
                    wrong.act[:, own][mine & (steps[0] >= step)] = bits.of(value, a.act_bits)
            elif read.what == "weight":
                if wrong.wgt is clean.wgt:
                    wrong.wgt = clean.wgt.copy()
                value = int(clean.wgt[channel, begin + k])
                when = int(np.broadcast_to(steps[1], (span.n, length))[channel, k])
                for step, bits in read.bits:
                    if when >= step:
                        wrong.wgt[channel, begin + k] = bits.of(value, a.weight_bits)
            else:  # a byte of a bias, read in step 0
                written = int(clean.start[channel]) & 0xFFFFFFFF
                word = words.get(channel, written)  # with other bytes wrong
                bits = [bits for step, bits in read.bits if step <= 0][-1]
                byte = bits.of(written >> 8 * k & 0xFF) & 0xFF
                words[channel] = word & ~(0xFF << 8 * k) | byte << 8 * k
        if words:
            wrong.start = clean.start.copy()
            for channel, word in words.items():
                wrong.start[channel] = fixedpoint.wrap(word, a.acc_bits)
        return wrong

    def _part(self, span: Span, read: Read) -> tuple[int, int]:
        """First operand and length of the part of the reduction in which a read is."""
        if read.engine == Engine.ARRAY:
            lengths = [int(self.spans.depth[pc]) for pc in span.gemms]
        else:
            source = self.program.columns["source"]
            own = [pc for pc in span.dppus if source[pc] == source[read.pc]]
            lengths = [int(self.spans.depth[pc]) for pc in own]
        return sum(lengths[: read.part]), lengths[read.part]

    # ---- the DPPU and the output buffer -------------------------------------------------------

    def _positions(self, span: Span, reads: Sequence[Read]) -> list[tuple[Source, I64]]:
        """Neurons of the tile that each DPPU instruction ends, as their tables are read."""
        c = self.program.columns
        found = []
        for pc in span.dppus:
            if not c["first"][pc]:
                continue
            own = [r for r in reads if r.what == "position" and r.pc == pc]
            table = positions_with(self.spans.table(pc), own)
            positions = self.spans.decode(pc, table)
            found.append((Source(int(c["source"][pc])), positions))
        return found

    def _dppu(
        self, operands: TileOperands, positions: I64, flips: Sequence[Flip], span: Span, unit: str
    ) -> tuple[I64, I64]:
        """Sums and positions of neurons that the DPPU computes with wrong registers."""
        ends = np.cumsum(self.spans.dppu(span, unit == DPPU_UNITS[1]).parts)[:-1]
        cut = (np.split(x, ends, 1) for x in (operands.act, operands.wgt))
        parts = [
            DppuPart(act, wgt, operands.start, positions) for act, wgt in zip(*cut, strict=True)
        ]
        return run_dppu(parts, flips, self.spans, span, unit, stepped=False)

    def _wrong_sums(
        self, clean: TileOperands, by: I64, faults: Sequence[Sum], span: Span, moment: int
    ) -> None:
        """Words of the output buffer: change `by`."""
        bits = self.arithmetic.acc_bits
        for fault in faults:
            row, col = divmod(fault.word, span.n)
            if row >= span.m or fault.moment != moment:
                continue
            exact = int(clean.sums(np.array([row]), np.array([col]))[0] + by[row, col])
            value = int(fixedpoint.wrap(exact, bits))
            by[row, col] += force(value, fault.bit, fault.stuck, bits) - value

    # ---- what a program says ------------------------------------------------------------------

    @cached_property
    def _geometry(self) -> list[I64]:
        return [
            gather_geometry(self.program, dict(zip(LAYER_COLUMNS, row, strict=True)))
            for row in self.program.layers.tolist()
        ]

    @cached_property
    def _weights(self) -> dict[int, I8]:
        return {i: np.asarray(self.network.weights[i]) for i in self.network.weights}
