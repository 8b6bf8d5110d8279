"""The byte-accurate machine with wrong bits: the reference of every fault in it.

Faults act where the machine holds the bits: on bytes of the buffers before an operand is read, on
words of the output buffer, on registers that are stepped.  What they do to later values follows by
execution, and by nothing else; `fault_run` has to come to the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...errors import ProgramError
from ...isa.instructions import BY_OPCODE, Engine, Source
from ...isa.program import Program
from ...isa.registers import DPPU_UNITS
from ...network import fixedpoint
from ..array.dataflows import DATAFLOWS
from ..array.flips import Flip
from ..machine.memory import (
    Memory,
    Operands,
    Resident,
    within,
)
from ..text.spans import Span, Spans
from .array_unit import corrected, of_visit, stepped, tile_steps
from .dppu_unit import DppuPart, run_dppu
from .fault_plan import (
    Key,
    Moment,
    Plan,
    Sum,
    Word,
    force,
)
from .sites import FLIP

Event = tuple[int, Callable[[], None]]  #: step, and what happens before it


def _key(span: Span) -> Key:
    return span.layer, span.number


class FaultyMemory(Memory):
    """`Memory` under a plan of faults."""

    def __init__(
        self,
        program: Program,
        inputs: NDArray[np.int8],
        plan: Plan,
        spans: Spans,
        registers_true: bool = True,
    ) -> None:
        """registers_true : step the registers of every tile, or use their exact fast twins."""
        super().__init__(program, inputs, registers_true)
        self.plan, self.spans = plan, spans
        self.dppu_parts: dict[str, list[DppuPart]] = {}  # of tiles with wrong registers
        self.held: list[Word] = []  # bits that are stuck now
        self.over: list[Word] = []  # that were, or by damaged instructions never will be
        self.events: dict[int, list[Event]] = {}
        # Of one moment: what is stuck no longer, flips, what is stuck at 0, and at 1.
        for word in plan.words:
            if word.end is not None:
                self._at(word.end, partial(self._end, word))
        for word in plan.words:
            self._at(word.begin, partial(self._begin, word))
        for events in self.events.values():
            events.sort(key=lambda event: event[0])
        for _, happen in self.events.pop(-1, []):
            happen()

    def _at(self, moment: Moment, happen: Callable[[], None]) -> None:
        self.events.setdefault(moment[0], []).append((moment[1], happen))

    def _begin(self, word: Word) -> None:
        if word.stuck == FLIP:
            self.buffers[word.buffer].view(np.uint8)[word.address] ^= np.uint8(word.mask)
        elif word not in self.over:
            self.held.append(word)
            self.held.sort(key=lambda word: word.stuck)
        self._hold()

    def _end(self, word: Word) -> None:
        if word in self.held:
            self.held.remove(word)
        else:  # damaged instructions have another order than the program
            self.over.append(word)
        self._hold()  # of two that held one bit, the other one has it now

    def _hold(self) -> None:
        """Stuck bits are what they are, whatever has been written."""
        for word in self.held:
            cells = self.buffers[word.buffer].view(np.uint8)
            value = int(cells[word.address])
            cells[word.address] = value | word.mask if word.stuck else value & ~word.mask

    def end(self, pc: int) -> None:
        """See `Memory.end`."""
        streams = BY_OPCODE[int(self.program.columns["op"][pc])].name == "GEMM"
        if not streams:
            for _, happen in self.events.get(pc, []):
                happen()
        super().end(pc)
        self._hold()

    # ---- operands -----------------------------------------------------------------------------

    def _stream(self, i: dict[str, int]) -> Operands:
        act, wgt, bias = super()._stream(i)
        array, (m, k) = self.config.array, act.shape
        act_steps, wgt_steps = DATAFLOWS[array.dataflow].read_steps(m, k, len(wgt))
        for step, happen in self.events.get(i["pc"], []):
            happen()
            new_act, new_wgt, new_bias = super()._stream(i)
            act = np.where(act_steps >= step, new_act, act)
            wgt = np.where(wgt_steps >= step, new_wgt, wgt)
            if step == 0:
                bias = new_bias
        last = int(max(act_steps.max(), wgt_steps.max()))
        for step, new_act, new_wgt in self._early(i, last):
            act = np.where(act_steps >= step, new_act, act)
            wgt = np.where(wgt_steps >= step, new_wgt, wgt)
        return act, wgt, bias

    def _early(
        self, i: dict[str, int], last: int
    ) -> Iterator[tuple[int, NDArray[np.int8], NDArray[np.int8]]]:
        """What the first steps of the tile's next GEMM change of what this one reads until `last`.

        (step, act, wgt) each; they overlap with `array.overlapped_preload`. What happens then is
        undone, as it happens in the text's order to everything else.
        """
        span = self._tile(i["pc"])
        following = span.next_gemm(i["pc"]) if span is not None else None
        if following is None:
            return
        after, later = following
        events = [(later + step, happen) for step, happen in self.events.get(after, [])]
        events = [event for event in events if event[0] <= last]
        if not events:
            return
        held, over = self.held.copy(), self.over.copy()
        buffers = {buffer: cells.copy() for buffer, cells in self.buffers.items()}
        for step, happen in events:
            happen()
            act, wgt, _ = super()._stream(i)
            yield step, act, wgt
        self.held, self.over = held, over
        for buffer, cells in buffers.items():
            self.buffers[buffer][:] = cells

    def _operands(
        self, engine: Engine, pixels: NDArray[np.int64], source: Source = Source.BUFFER
    ) -> NDArray[np.int8]:
        read = super()._operands(engine, pixels, source)
        return fixedpoint.wrap(read, self.arithmetic.act_bits).astype(np.int8)

    def _weights(
        self, engine: Engine, channels: NDArray[np.int64], k: int, source: Source
    ) -> NDArray[np.int8]:
        read = super()._weights(engine, channels, k, source)
        return fixedpoint.wrap(read, self.arithmetic.weight_bits).astype(np.int8)

    def _bias(
        self, engine: Engine, channels: NDArray[np.int64], source: Source
    ) -> NDArray[np.int32]:
        read = super()._bias(engine, channels, source)
        return fixedpoint.wrap(read, self.arithmetic.acc_bits).astype(np.int32)

    # ---- registers ----------------------------------------------------------------------------

    def _at_once(self, pc: int) -> bool:
        if self.registers_true or (self.plan.instructions and self.plan.flips):
            return True
        span = self._tile(pc)
        return span is not None and _key(span) in self.plan.flips

    def _registers(
        self,
        act: NDArray[np.int8],
        wgt: NDArray[np.int8],
        start: NDArray[np.int32],
        pc: int,
        folds: list[int],
    ) -> NDArray[np.int32]:
        span = self._tile(pc)
        of_tile = self.plan.flips.get(_key(span)) if span else None
        if span is None or of_tile is None:
            if self.registers_true:
                return super()._registers(act, wgt, start, pc, folds)
            return self._product(act, wgt, start, pc)
        size = tile_steps(self.spans, span, len(act), len(wgt), folds)
        runs = of_visit(of_tile, self.spans.visits(span)[self._visit(span, pc)], size)
        if self.plan.instructions:  # the tile may be smaller than that of the sites
            runs = [tuple(f for f in own if self._exists(f, size, start.size)) for own in runs]
        unit = stepped if self.registers_true else corrected
        return unit(act, wgt, start, self.spans, span, runs, folds)

    def _exists(self, flip: Flip, size: int, words: int) -> bool:
        return flip.step < size and (flip.unit != "buffer" or flip.row < words)

    def _visit(self, span: Span, pc: int) -> int:
        """Which visit of its tile a GEMM is of."""
        return bisect_right(span.visits, span.gemms.index(pc)) - 1

    def _tile(self, pc: int) -> Span | None:
        """The tile of a GEMM; None for what is one by mistake."""
        span = self.spans.by_pc.get(pc)
        return span if span is not None and pc in span.gemms else None

    def _dppu_sums(
        self, i: dict[str, int], source: Source, held: Resident, tapped: Operands | None
    ) -> Resident:
        span, unit = self.spans.by_pc.get(i["pc"]), DPPU_UNITS[source.fetched]
        flips = self.plan.dppu.get((*_key(span), unit)) if span else None
        if span is None or flips is None:
            return super()._dppu_sums(i, source, held, tapped)
        if tapped is None:
            tapped = self._fetched(i, source, np.arange(i["m"]), np.arange(i["n"]))
        if i["first"]:
            self.dppu_parts[unit] = []
        act, wgt, bias = tapped
        parts = self.dppu_parts.setdefault(unit, [])
        parts.append(DppuPart(act, wgt, bias.astype(np.int64), held.positions))
        if not i["last"]:
            return held
        if len({(len(p.act), len(p.wgt), len(p.positions)) for p in parts}) > 1:
            raise ProgramError("the parts of a tile differ in size")
        sums, positions = run_dppu(parts, flips, self.spans, span, unit, self.registers_true)
        return Resident(positions, within(positions, i["m"], i["n"]), sums)

    # ---- the output buffer --------------------------------------------------------------------

    def _gemm(self, i: dict[str, int]) -> None:
        super()._gemm(i)
        span = self._tile(i["pc"])
        if span is not None and i["last"]:
            self._wrong_sums(Engine.ARRAY, i, span, self._visit(span, i["pc"]))

    def _wrong_sums(self, engine: Engine, i: dict[str, int], span: Span, moment: int) -> None:
        own = self.sums[self._slot(engine, i)]
        for fault in self.plan.sums.get(_key(span), []):
            if fault.moment == moment:
                self._wrong(own, fault, self.arithmetic.acc_bits)

    def _wrong(self, own: NDArray[np.generic], fault: Sum, bits: int) -> None:
        """A wrong bit of a tile's words; nobody reads what else its slot has."""
        if fault.word < len(own):
            own[fault.word] = force(int(own[fault.word]), fault.bit, fault.stuck, bits)

    def _vec(self, i: dict[str, int]) -> None:
        span = self.spans.by_pc.get(i["pc"])
        if span is None or i["pc"] != span.vec:
            super()._vec(i)
            return
        self._wrong_sums(Engine.STORE, i, span, span.moments - 1)
        super()._vec(i)
        own = self.results[self._slot(Engine.STORE, i)]
        for fault in self.plan.results.get(_key(span), []):
            self._wrong(own, fault, self.arithmetic.act_bits)
