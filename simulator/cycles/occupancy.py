"""What lies in the buffers and what waits for the DPPU, over the time of a recorded run.

A program's text says who uses what from when to when (`leases`); a `Recorder` says when that was
(`levels`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import (
    BY_OPCODE,
    INSTRUCTIONS,
    WINDOW_FIELDS,
    Buffer,
    Engine,
    KeptMemory,
    Source,
    Table,
)
from ...isa.program import Program
from ...isa.sizes import buffer_bytes
from ...isa.validate_text import configured
from ...network.layers import NO_TENSOR, LayerOp
from ...tables import complete
from ..text.activations import fetched, moved_by
from .trace import Recorder

#: What is counted, and its unit.
COUNTERS = {
    "ifmap buffer": "bytes",
    "weight buffer": "bytes",
    "position buffer": "bytes",
    "scratchpad": "bytes",
    "activation memory": "bytes",
    "output buffer": "words",
    "residual slots": "bytes",
    "DPPU backlog": "neurons",
}
_BUFFERS = {
    Buffer.IFMAP: "ifmap buffer",
    Buffer.WEIGHT: "weight buffer",
    Buffer.POSITION: "position buffer",
}
#: In place of the first two, on a machine that has one.
_SCRATCHPAD = "scratchpad"
_ACTIVATION = "activation memory"
complete(
    "KeptMemory in isa/instructions.py",
    KeptMemory,
    [KeptMemory.ACTIVATION],
    "simulator/cycles/occupancy.py: _kept",
)
complete(
    "Buffer in isa/instructions.py",
    Buffer,
    [*_BUFFERS, Buffer.OUTPUT],  # whose residual slots are counted one by one
    "simulator/cycles/occupancy.py: _BUFFERS",
)


class Lease(NamedTuple):
    """`amount` of `counter`, from when the first of `begins` works until all of `ends` have ended.

    Both are pcs.
    """

    counter: str
    amount: int
    begins: tuple[int, ...]
    ends: tuple[int, ...]


class _Half:
    """Half a buffer: what was loaded since its last reader, and the last readers since."""

    def __init__(self) -> None:
        self.loads: dict[int, tuple[int, int]] = {}  # address -> (pc, bytes)
        self.readers: dict[Engine, int] = {}

    def close(self, counter: str) -> Iterator[Lease]:
        for pc, nbytes in self.loads.values():
            yield Lease(counter, nbytes, (pc,), tuple(self.readers.values()))
        self.loads, self.readers = {}, {}


class _Loaded:
    """What a LOAD has brought into a scratchpad: its pc, its bytes, and their last readers."""

    def __init__(self, pc: int, begin: int, end: int) -> None:
        self.pc, self.begin, self.end = pc, begin, end
        self.readers: dict[Engine, int] = {}

    def lease(self) -> Lease:
        amount = self.end - self.begin
        return Lease(_SCRATCHPAD, amount, (self.pc,), tuple(self.readers.values()))


class _Scratchpad:
    """What lies in a scratchpad, whose blocks have no fixed places: LOAD by LOAD."""

    def __init__(self) -> None:
        self.held: list[_Loaded] = []

    def load(self, pc: int, begin: int, nbytes: int) -> Iterator[Lease]:
        end = begin + nbytes
        met = [old for old in self.held if old.begin < end and begin < old.end]
        if any((old.begin, old.end, old.readers) == (begin, end, {}) for old in met):
            return  # the same bytes once more (redundancy time_refetch) take no more room
        for old in met:
            self.held.remove(old)
            yield old.lease()
        self.held.append(_Loaded(pc, begin, end))

    def read(self, engine: Engine, pc: int, begin: int, nbytes: int) -> None:
        for loaded in self.held:
            if loaded.begin < begin + nbytes and begin < loaded.end:
                loaded.readers[engine] = pc


class _Walk:
    """The text from its beginning to its end, which is a valid order of execution."""

    def __init__(self, program: Program) -> None:
        self.c = {name: column.tolist() for name, column in program.columns.items()}
        self.tile = program.debug_tile.tolist()
        self.middle = {b: size // 2 for b, size in buffer_bytes(program.config).items()}
        self.halves = {(buffer, late): _Half() for buffer in _BUFFERS for late in (False, True)}
        self.slots: dict[int, int] = {}  # slot -> pc that began to fill it
        self.residuals: dict[int, int] = {}  # residual byte -> pc of the LOAD that begins there
        self.gemm = -1  # the last GEMM
        self.scratchpad = _Scratchpad() if program.config.buffers.scratchpad_bytes else None
        found = {engine: configured(program, engine)[Table.WINDOW] for engine in Engine}
        self.windows = {
            (engine, field): program.windows[window, i].tolist() if len(program.windows) else []
            for engine, window in found.items()
            for i, (field, _) in enumerate(WINDOW_FIELDS)
        }
        layer = configured(program, Engine.STORE)[Table.LAYER]
        op = program.column("op")[layer]
        self.conv, self.add = (op == LayerOp.CONV).tolist(), (op == LayerOp.ADD).tolist()
        self.residual = (program.column("residual")[layer] != NO_TENSOR).tolist()
        self.words = program.column("slot_words")[layer].tolist()
        self.kernel_w = program.column("kernel_w")[program.debug_layer].tolist()

    def run(self) -> Iterator[Lease]:
        for pc, op in enumerate(self.c["op"]):
            step = STEPS[BY_OPCODE[op].name]
            if step is not None:
                yield from step(self, pc)
        for (buffer, _), half in self.halves.items():
            yield from half.close(_BUFFERS[buffer])
        for loaded in self.scratchpad.held if self.scratchpad else ():
            yield loaded.lease()

    def _half(self, buffer: Buffer, address: int) -> _Half:
        return self.halves[buffer, address >= self.middle[buffer]]

    def _load(self, pc: int) -> Iterator[Lease]:
        c = self.c
        buffer, address = Buffer(c["buffer"][pc]), c["buf_addr"][pc]
        if buffer == Buffer.OUTPUT:
            self.residuals[address] = pc
            return
        nbytes = c["row_bytes"][pc] * c["count"][pc]
        if self.scratchpad and buffer == Buffer.SCRATCHPAD:
            yield from self.scratchpad.load(pc, address, nbytes)
            return
        half = self._half(buffer, address)
        if half.readers:
            yield from half.close(_BUFFERS[buffer])
        # The same bytes once more (redundancy time_refetch) take no more room.
        half.loads.setdefault(address, (pc, nbytes))

    def _inputs(self, engine: Engine, pc: int, *bases: str) -> None:
        """A tile's instruction reads the blocks that begin at some fields of its window."""
        w = {name: self.windows[engine, name][pc] for name in (*bases, "rows", "cols", "cc")}
        for base in bases:
            if self.scratchpad:
                self.scratchpad.read(engine, pc, w[base], w["rows"] * w["cols"] * w["cc"])
            else:
                self._half(Buffer.IFMAP, w[base]).readers[engine] = pc

    def _weights(self, engine: Engine, pc: int) -> None:
        """A tile's instruction reads its weights, and its biases if it begins at them."""
        fields = ("b_base", "bias_base", "n_base", "nky", "kcc")
        w, c = {name: self.windows[engine, name][pc] for name in fields}, self.c
        if not self.scratchpad:
            self._half(Buffer.WEIGHT, w["b_base"]).readers[engine] = pc
            return
        depth = w["nky"] * w["kcc"] * self.kernel_w[pc]
        channel, n = c["n0"][pc] - w["n_base"], c["n"][pc]
        self.scratchpad.read(engine, pc, w["b_base"] + channel * depth, n * depth)
        if c["first"][pc]:
            self.scratchpad.read(engine, pc, w["bias_base"] + 4 * channel, 4 * n)

    def _gemm(self, pc: int) -> Iterator[Lease]:
        self.gemm = pc
        self._inputs(Engine.ARRAY, pc, "a_base")
        self._weights(Engine.ARRAY, pc)
        self.slots.setdefault(self.c["slot"][pc], pc)
        yield from ()

    def _dppu(self, pc: int) -> Iterator[Lease]:
        self._half(Buffer.POSITION, self.c["pos_addr"][pc]).readers[Engine.DPPU] = pc
        if Source(self.c["source"][pc]).from_buffers:
            self._inputs(Engine.DPPU, pc, "a_base")
            self._weights(Engine.DPPU, pc)
        same = self.gemm >= 0 and self.tile[self.gemm] == self.tile[pc]
        yield Lease("DPPU backlog", self.c["count"][pc], (self.gemm, pc) if same else (pc,), (pc,))

    def _vec(self, pc: int) -> Iterator[Lease]:
        self.slots.setdefault(self.c["slot"][pc], pc)
        if not self.conv[pc]:
            # Of an ADD both blocks lie in one half.
            second = ("b_base",) if self.add[pc] else ()
            self._inputs(Engine.STORE, pc, "a_base", *second)
        elif self.residual[pc]:
            at = self.c["res_slot"][pc] * self.words[pc]
            if at in self.residuals:
                yield Lease("residual slots", self.words[pc], (self.residuals.pop(at),), (pc,))

    def _store(self, pc: int) -> Iterator[Lease]:
        slot = self.c["slot"][pc]
        if slot in self.slots:
            yield Lease("output buffer", self.words[pc], (self.slots.pop(slot),), (pc,))


#: What an instruction takes or gives back of what is counted; None: nothing.
STEPS: dict[str, Callable[[_Walk, int], Iterator[Lease]] | None] = {
    "LOAD": _Walk._load,
    "GEMM": _Walk._gemm,
    "DPPU": _Walk._dppu,
    "VEC": _Walk._vec,
    "STORE": _Walk._store,
    "SETCFG": None,
    "SYNC": None,
    "HALT": None,
}
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    STEPS,
    "simulator/cycles/occupancy.py: STEPS",
)


def leases(program: Program) -> Iterator[Lease]:
    """Who uses what: everything that `COUNTERS` count, in the order in which it is given back.

    Contents of a buffer are given back by half: what was loaded into a half is in use until its
    last readers (GEMM, DPPU, VEC) before the next LOAD into that half have ended.  A scratchpad has
    no halves: there, each LOAD's bytes are in use until their own last readers have ended.  So are
    in the activation memory those of a STORE; what nobody reads there is not counted.
    """
    yield from _Walk(program).run()
    yield from _kept(program)


def _kept(program: Program) -> Iterator[Lease]:
    """What lies in the activation memory, STORE by STORE."""
    stores = moved_by(program, "STORE")
    if not len(stores.pcs):
        return
    readers = moved_by(program, "LOAD"), fetched(program)
    tensors = program.column("output")[program.debug_layer[stores.pcs]]
    for tensor in np.unique(tensors).tolist():
        own = np.flatnonzero(tensors == tensor)
        begin, end = stores.first[own].min(), stores.end[own].max()
        since = stores.pcs[own[0]]
        # Up to where another tensor takes its place.
        others = (stores.first < end) & (begin < stores.end) & (tensors != tensor)
        until = stores.pcs[others & (stores.pcs > since)].min(initial=len(program.text))
        near = [moves.meeting(begin, end) for moves in readers]
        near = [moves.where((since < moves.pcs) & (moves.pcs < until)) for moves in near]
        for i in own.tolist():
            ends = list[int]()
            for moves in near:
                ends += moves.meeting(stores.first[i], stores.end[i]).pcs[-1:].tolist()
            if ends:
                amount = int(stores.row[i] * stores.rows[i])
                yield Lease(_ACTIVATION, amount, (int(stores.pcs[i]),), tuple(ends))


Level = tuple[NDArray[np.int64], NDArray[np.int64]]  #: cycles of change, and the level from then on


def levels(found: Iterable[Lease], recorder: Recorder) -> dict[str, Level]:
    """The course of each counter in a recorded run; all begin at 0 and are 0 before their first."""
    changes: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in COUNTERS}
    for counter, amount, begins, ends in found:
        times, amounts = changes[counter]
        times.append(min(recorder.begin[pc] for pc in begins))
        amounts.append(amount)
        if ends:  # else it is never read, and stays
            times.append(max(recorder.end[pc] for pc in ends))
            amounts.append(-amount)
    return {name: _course(*change) for name, change in changes.items()}


def _course(times: list[int], amounts: list[int]) -> Level:
    at, where = np.unique(np.array(times, np.int64), return_inverse=True)
    steps = np.zeros(len(at), np.int64)
    np.add.at(steps, where, amounts)
    changed = steps != 0
    return at[changed], np.cumsum(steps)[changed]
