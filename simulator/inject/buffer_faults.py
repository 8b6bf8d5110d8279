"""Wrong words of the buffers: which operand, of which tiles, a wrong byte is a copy of, and when.

The exact fast way of what `faulty_memory` finds by executing every byte.  A byte is wrong from its
fault until a LOAD writes it (a stuck bit, until it is free); whoever reads it meanwhile reads a
wrong copy of one element of a tensor, one weight, a byte of a bias or of a position table.  A byte
of the activation memory is wrong until a STORE writes it; a LOAD meanwhile brings a wrong copy into
a buffer, where a byte is wrong in the same way until the next LOAD there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import (
    BY_NAME,
    WINDOW_FIELDS,
    Buffer,
    Cells,
    Engine,
    KeptMemory,
    Source,
)
from ...isa.sizes import weight_buffer
from ...network.layers import NO_TENSOR, LayerOp
from ..array.dataflows import DATAFLOWS
from ..text.activations import moved_by
from ..text.spans import Span, Spans
from .fault_plan import Word
from .sites import FLIP
from .vector_faults import pixels_reading

_LAST = 1 << 62  # after every step of an instruction
ByteCell = tuple[Cells, int]  #: a byte of a memory
_WINDOW = {name: i for i, (name, _) in enumerate(WINDOW_FIELDS)}


class ByteChange(NamedTuple):
    """What has become of a byte: (byte & keep) ^ turn."""

    keep: int = 0xFF
    turn: int = 0

    def of(self, value: int, bits: int = 8) -> int:
        """A two's complement number of `bits` bits, read from the wrong byte."""
        word = ((value & self.keep) ^ self.turn) & ((1 << bits) - 1)
        return word - (1 << bits) if word >> (bits - 1) else word


_NOTHING: Mapping[int, ByteChange] = MappingProxyType({})


class Read(NamedTuple):
    """A reader of a wrong byte. pc : the instruction. part : of the tile's reduction, or 0.

    what : `input`, `other` (second operand of an ADD), `weight`, `bias`, `residual`, `position`.
    at : the element of the tensor; (channel in the tile, k in the part); (channel in the tile, byte
    of the bias); the word of the tile; the byte of the table. bits : (step, ByteChange) in order; a
    value that is read in a step has the bits of the last entry that is not later.

    There is one for each reader of a byte, with all that happens to it; `bits` are of what was
    written, and never of what another Read has made of it.
    """

    pc: int
    engine: Engine
    part: int
    what: str
    at: tuple[int, int]
    bits: tuple[tuple[int, ByteChange], ...]


class Reads:
    """Finds the readers of wrong bytes in a program."""

    def __init__(self, spans: Spans) -> None:
        self.spans, program = spans, spans.program
        c = program.columns
        self.load = np.flatnonzero(c["op"] == BY_NAME["LOAD"].opcode)
        self.buffer = c["buffer"][self.load]
        self.first = c["buf_addr"][self.load]
        self.end = self.first + c["row_bytes"][self.load] * c["count"][self.load]
        self.stores, self.loads = moved_by(program, "STORE"), moved_by(program, "LOAD")
        self.slot_words = program.column("slot_words").tolist()
        self.flow = DATAFLOWS[program.config.array.dataflow]
        self.weights_in = weight_buffer(program.config)
        self.span_ends = np.array([span.end for span in spans.all])
        #: Where the instructions of a tile begin, and those of it or any later one.
        self.begins = [min([span.begin, *span.gemms[:1]]) for span in spans.all]
        self.least = np.minimum.accumulate(self.begins[::-1])[::-1].tolist()

    def find(self, words: Iterable[Word]) -> dict[tuple[int, int], list[Read]]:
        """Every read of a wrong byte, by layer and tile."""
        cells: dict[ByteCell, list[Word]] = {}
        for word in words:
            cells.setdefault((word.buffer, word.address), []).append(word)
        copied: dict[ByteCell, dict[int, ByteChange]] = {}
        for (memory, address), own in list(cells.items()):
            if memory == KeptMemory.ACTIVATION:
                course = self._course((memory, address), own)
                for cell, pc, bits in self._copies(address, course):
                    copied.setdefault(cell, {})[pc] = bits
                    cells.setdefault(cell, [])
        found: dict[tuple[int, int], list[Read]] = {}
        for cell, own in cells.items():
            course = self._course(cell, own, copied.get(cell, {}))
            for span in self._reached(course):
                for read in self._of_tile(cell, span, course):
                    found.setdefault((span.layer, span.number), []).append(read)
        return found

    def _copies(
        self, address: int, course: Sequence[tuple[int, int, ByteChange]]
    ) -> Iterator[tuple[ByteCell, int, ByteChange]]:
        """(byte of a buffer, pc, bits) of LOADs that bring a wrong byte of the activation memory.

        What happens in the moment of a LOAD comes before it.
        """
        c = self.spans.program.columns
        for pc, numbers in self.loads.touching(address):
            bits = [bits for when, _, bits in course if when <= pc]
            if bits and bits[-1] != ByteChange():
                buffer, first = Buffer(int(c["buffer"][pc])), int(c["buf_addr"][pc])
                for number in numbers:
                    yield (buffer, first + number), pc, bits[-1]

    def writers(self, cell: ByteCell) -> list[int]:
        """The pcs of the instructions that write a byte, in order."""
        memory, address = cell
        if memory == KeptMemory.ACTIVATION:
            return [pc for pc, _ in self.stores.touching(address)]
        covers = (self.buffer == memory) & (self.first <= address) & (address < self.end)
        found: list[int] = self.load[covers].tolist()
        return found

    def _reached(self, course: Sequence[tuple[int, int, ByteChange]]) -> Iterator[Span]:
        """Tiles in which a byte is wrong; each once, however often it is right in between."""
        seen = set()
        for begin, end in _wrong(course):
            first = int(np.searchsorted(self.span_ends, begin, side="right"))
            for index in range(first, len(self.spans.all)):
                if self.least[index] > end:
                    break
                if self.begins[index] <= end and index not in seen:
                    seen.add(index)
                    yield self.spans.all[index]

    def _course(
        self, cell: ByteCell, words: Sequence[Word], copied: Mapping[int, ByteChange] = _NOTHING
    ) -> list[tuple[int, int, ByteChange]]:
        """(pc, step, bits from then on) of a byte, in program order.

        Of one moment: what is stuck no longer, flips, what is stuck at 0, and at 1. copied : what
        is wrong with the byte that a LOAD brings.
        """
        since = min([*(word.begin[0] for word in words), *copied])
        # None: the byte is written. Ends come before begins.
        events: list[tuple[int, int, Word | None, bool]] = [
            (*word.end, word, False) for word in words if word.end is not None
        ]
        events += [(*word.begin, word, True) for word in words]  # in the order of the plan
        events += [(pc, _LAST, None, False) for pc in self.writers(cell) if pc >= since]
        held: list[Word] = []
        bits, course = ByteChange(), []
        for pc, step, word, begins in sorted(events, key=lambda event: event[:2]):
            if word is None:
                bits = copied.get(pc, ByteChange())
            elif not begins:
                held.remove(word)
            elif word.stuck == FLIP:
                bits = ByteChange(bits.keep, bits.turn ^ word.mask)
            else:
                held.append(word)
                held.sort(key=lambda word: word.stuck)
            for stuck in held:
                on = stuck.mask if stuck.stuck else 0
                bits = ByteChange(bits.keep & ~stuck.mask, (bits.turn & ~stuck.mask) | on)
            course.append((pc, step, bits))
        return course

    def _of_tile(
        self, cell: ByteCell, span: Span, course: Sequence[tuple[int, int, ByteChange]]
    ) -> Iterator[Read]:
        """What the instructions of a tile read from the byte."""
        for engine, pc, part, what, at in self._readers(*cell, span):
            after, later, last = self._overlap(engine, pc, span)
            before = ByteChange()
            inside: list[tuple[int, ByteChange]] = []
            for when, step, bits in course:
                if when < pc or (when == pc and engine != Engine.ARRAY and step <= 0):
                    before = bits
                elif when == pc and engine == Engine.ARRAY:
                    inside.append((step, bits))
                elif when == after and later + step <= last:
                    inside.append((later + step, bits))
            if before != ByteChange() or any(bits != ByteChange() for _, bits in inside):
                yield Read(pc, engine, part, what, at, ((-1, before), *inside))

    def _overlap(self, engine: Engine, pc: int, span: Span) -> tuple[int, int, int]:
        """The GEMM that begins while this one still reads, in which of its steps; and its last one.

        Such are those of stationary arrays (`array.overlapped_preload`). The pc is -1 for none.
        """
        following = span.next_gemm(pc) if engine == Engine.ARRAY else None
        if following is None:
            return -1, 0, 0
        steps = self.flow.read_steps(span.m, int(self.spans.depth[pc]), span.n)
        return *following, int(max(own.max() for own in steps))

    def _readers(
        self, buffer: Cells, address: int, span: Span
    ) -> Iterator[tuple[Engine, int, int, str, tuple[int, int]]]:
        c = self.spans.program.columns
        layer = self.spans.program.network.layers[span.layer]
        if buffer == KeptMemory.ACTIVATION:
            yield from self._fetches(address, span)
            return
        if buffer == Buffer.POSITION:
            for pc in span.dppus:
                offset = address - int(c["pos_addr"][pc])
                if c["first"][pc] and offset >= 0:
                    yield Engine.DPPU, pc, 0, "position", (offset, 0)
            return
        if buffer == Buffer.OUTPUT:
            word = address - int(c["res_slot"][span.vec]) * self.slot_words[span.layer]
            if (
                layer.op == LayerOp.CONV
                and layer.residual != NO_TENSOR
                and 0 <= word < span.m * span.n
            ):
                yield Engine.STORE, span.vec, 0, "residual", (word, 0)
            return
        if layer.op != LayerOp.CONV:
            if buffer == Buffer.IFMAP:
                for what, base in (("input", "a_base"), ("other", "b_base")):
                    if what == "input" or layer.op == LayerOp.ADD:
                        at = self._element(Engine.STORE, span.vec, base, address, span)
                        if at is not None:
                            yield Engine.STORE, span.vec, 0, what, (at, 0)
            return
        for pc, part, source in self._dppu_parts(span):
            if source.from_buffers:
                yield from self._operand(Engine.DPPU, pc, part, buffer, address, span)
        for part, pc in enumerate(span.gemms):
            yield from self._operand(Engine.ARRAY, pc, part, buffer, address, span)

    def _dppu_parts(self, span: Span) -> Iterator[tuple[int, int, Source]]:
        """The DPPU's instructions, with the part of the reduction that each is of its source."""
        parts: dict[Source, int] = {}
        for pc in span.dppus:
            source = Source(int(self.spans.program.columns["source"][pc]))
            parts[source] = parts.get(source, -1) + 1
            yield pc, parts[source], source

    def _fetches(
        self, address: int, span: Span
    ) -> Iterator[tuple[Engine, int, int, str, tuple[int, int]]]:
        """The byte as the DPPU fetches it: an element of the layer's input for some pixel."""
        program = self.spans.program
        network, layer = program.network, program.network.layers[span.layer]
        base = int(program.tensors[layer.input, 3]) - program.config.activation_base
        element = address - base
        if base < 0 or not 0 <= element < network.tensors[layer.input].elements:
            return
        channel = element % network.tensors[layer.input].c
        for pc, part, source in self._dppu_parts(span):
            w = self._window(Engine.DPPU, pc)
            if not source.fetched or source.from_buffers:
                continue
            inside = w["kc0"] <= channel < w["kc0"] + w["kcc"]
            if inside and any(
                span.m0 <= pixel < span.m0 + span.m and w["ky0"] <= ky < w["ky0"] + w["nky"]
                for pixel, ky in pixels_reading(network, layer, element)
            ):
                yield Engine.DPPU, pc, part, "input", (element, 0)

    def _operand(
        self, engine: Engine, pc: int, part: int, buffer: Cells, address: int, span: Span
    ) -> Iterator[tuple[Engine, int, int, str, tuple[int, int]]]:
        """An operand of a sum, as one unit reads it."""
        if buffer == Buffer.IFMAP:
            at = self._element(engine, pc, "a_base", address, span)
            if at is not None:
                yield engine, pc, part, "input", (at, 0)
        if buffer != self.weights_in:
            return
        c, w = self.spans.program.columns, self._window(engine, pc)
        kernel_w = self.spans.program.network.layers[span.layer].kernel_w
        depth = w["nky"] * w["kcc"] * kernel_w
        offset = address - w["b_base"]
        channel, k = offset // depth + w["n_base"] - span.n0, offset % depth
        fold = int(c["k"][pc])
        if engine == Engine.ARRAY and fold:
            k -= int(c["k0"][pc])
            depth = fold
        if offset >= 0 and 0 <= channel < span.n and 0 <= k < depth:
            yield engine, pc, part, "weight", (channel, k)
        channel, byte = divmod(address - w["bias_base"], 4)
        channel += w["n_base"] - span.n0
        if c["first"][pc] and address >= w["bias_base"] and 0 <= channel < span.n:
            yield engine, pc, part, "bias", (channel, byte)

    def _element(self, engine: Engine, pc: int, base: str, address: int, span: Span) -> int | None:
        """The element of the layer's input (or second operand) that lies at an address."""
        w = self._window(engine, pc)
        offset = address - w[base]
        if not 0 <= offset < w["rows"] * w["cols"] * w["cc"]:
            return None
        place, channel = divmod(offset, w["cc"])
        row, column = divmod(place, w["cols"])
        network = self.spans.program.network
        tensor = network.tensors[network.layers[span.layer].input]
        row = w["row0"] + row * w["row_step"]
        column = w["col0"] + column * w["col_step"]
        return (row * tensor.w + column) * tensor.c + w["c0"] + channel

    def _window(self, engine: Engine, pc: int) -> dict[str, int]:
        row = self.spans.program.windows[self.spans.windows[engine][pc]].tolist()
        return {name: int(row[i]) for name, i in _WINDOW.items()}


def _wrong(course: Sequence[tuple[int, int, ByteChange]]) -> Iterator[tuple[int, int]]:
    """Runs of pcs in which the byte is not what was written: (first, last)."""
    begin: int | None = None
    for pc, _, bits in course:
        if bits != ByteChange() and begin is None:
            begin = pc
        elif bits == ByteChange() and begin is not None:
            yield begin, pc
            begin = None
    if begin is not None:
        yield begin, _LAST


def positions_with(table: NDArray[np.uint8], reads: Iterable[Read]) -> NDArray[np.uint8]:
    """A position table as it is read. table : as it was written."""
    found = table.copy()
    for read in reads:
        if read.at[0] < len(table):
            found[read.at[0]] = read.bits[-1][1].of(int(table[read.at[0]])) & 0xFF
    return found
