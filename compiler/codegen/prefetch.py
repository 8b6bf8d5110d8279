"""Filling the buffers: the loads of each unit, and what lies in the halves once they are emitted.

Loads are emitted in pieces, one unit ahead of the tiles that use them, so that LOAD runs ahead of
ARRAY. A new block takes the other half of its buffer, which LOAD may overwrite when all who read
the old one have ended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...config import Config
from ...isa.descriptors import Redundancy
from ...isa.instructions import Buffer, Engine, Kind
from ...network.layers import LayerOp, Network
from ..tiling.loads import (
    PIECES,
    ABlock,
    BBlock,
    Load,
    ifmap_loads,
    weight_loads,
)
from ..tiling.tiles import Tile
from .buffers import Halves, Readers, Slots
from .constants import Constants
from .memory_map import MemoryMap
from .text import NO_PC, TextBuilder
from .units import Unit

#: Pieces that a round of loads has at most: tables, weights, operands.
MOST_LOADS = 1 + 2 * PIECES


class HeldOperands(NamedTuple):
    """An input block in its half; `pieces` are (end row, pc of the LOAD that completes it)."""

    block: ABlock
    base: int
    readers: Readers
    pieces: list[tuple[int, int]]


class HeldWeights(NamedTuple):
    """A weight block in its half; `pieces` are (end channel, pc of the LOAD that completes it)."""

    block: BBlock
    base: int
    readers: Readers
    bias_bytes: int
    pieces: list[tuple[int, int]]


class HeldTables(NamedTuple):
    """Position tables in their half, and the pc of their LOAD."""

    base: int
    readers: Readers
    ready: int


class Placed(NamedTuple):
    """What a unit finds in the buffers."""

    a: HeldOperands
    b: HeldWeights | None
    p: HeldTables | None


def ready(pieces: list[tuple[int, int]], end: int) -> int:
    """The pc of the LOAD that completes everything below `end`."""
    return pieces[bisect_left(pieces, (end, NO_PC))][1]


class Prefetch:
    """Emits loads into `text`; knows what each half holds and who has read it.

    stored : tensor -> pc of its last STORE, which a load of it must wait for.
    residuals : slots of residual operands, whose last users are VECs.
    positions : the tables of the units so far, as they lie in DRAM.
    """

    def __init__(
        self,
        network: Network,
        config: Config,
        text: TextBuilder,
        memory: MemoryMap,
        constants: Constants,
        redundancy: Sequence[Redundancy],
    ) -> None:
        self.network, self.config, self.text = network, config, text
        self.memory, self.constants, self.redundancy = memory, constants, redundancy
        self.a = Halves(config.buffers.ifmap_bytes // 2, Engine.ARRAY)
        self.b = Halves(config.buffers.weight_bytes // 2, Engine.ARRAY)
        self.p = Halves(config.buffers.position_bytes // 2, Engine.DPPU)
        self.held_a: HeldOperands | None = None
        self.held_b: HeldWeights | None = None
        self.held_p: HeldTables | None = None
        self.positions: list[bytes] = []
        self.position_bytes = 0
        self.residuals = Slots(config)
        written = {layer.output for layer in network.layers}
        unwritten = set(range(len(network.tensors))) - written  # inputs: several in a topology
        self.stored = dict.fromkeys(unwritten, NO_PC)

    def _load(self, loads: list[Load], buffer: Buffer, at: int, dram: int, layer: int) -> int:
        """Emit `loads` into `buffer` from byte `at` on; returns the pc of the last one."""
        pc = NO_PC
        times = 1 if buffer == Buffer.OUTPUT else self.redundancy[layer].copies.loads
        for _ in range(times):
            to = at
            for load in loads:
                pc = self.text.emit(
                    "LOAD",
                    Engine.LOAD,
                    layer,
                    load.kind,
                    buffer,
                    to,
                    dram + load.offset,
                    load.row_bytes,
                    load.rows,
                    load.stride,
                )
                to += load.row_bytes * load.rows
        return pc

    def _release(self, pc: int, readers: Readers) -> None:
        """LOAD `pc` overwrites what `readers` read."""
        for engine, reader in readers.items():
            self.text.need(pc, engine, reader)

    def constants_of(self, unit: Unit) -> Iterator[None]:
        """Weights, biases and position tables of a unit, where it brings new ones, in pieces."""
        if unit.table_bytes and unit.first_chunk:
            base, last = self.p.flip()
            size = len(unit.table_bytes)
            load = Load(Kind.POSITION_TABLE, self.position_bytes, size, 1, 0)
            pc = self._load(
                [load], Buffer.POSITION, base, self.memory.base("positions"), unit.layer
            )
            self._release(pc, last)
            self.held_p = HeldTables(base, self.p.readers, pc)
            self.positions.append(unit.table_bytes)
            self.position_bytes += size
            yield
        if unit.b is None:
            return
        base, last = self.b.flip()
        first, at = len(self.text.engine), base
        bias, pieces = weight_loads(unit.b, unit.first_chunk)
        bias_bytes = sum(x.row_bytes for x in bias)
        if bias:
            dram = self.memory.base("bias") + self.constants.bias_at[unit.layer]
            self._load(bias, Buffer.WEIGHT, at, dram, unit.layer)
            at += bias_bytes
        done: list[tuple[int, int]] = []
        dram = self.memory.base("weights") + self.constants.weight_at[unit.layer]
        for end, loads in pieces:
            pc = self._load(loads, Buffer.WEIGHT, at, dram, unit.layer)
            if not done:
                self._release(first, last)
            at += sum(x.row_bytes for x in loads)
            done.append((end, pc))
            yield
        self.held_b = HeldWeights(unit.b, base, self.b.readers, bias_bytes, done)

    def operands_of(self, unit: Unit) -> Iterator[None]:
        """The input block of a unit, where it brings a new one, a run of rows at a time.

        An ADD has two of them, loaded side by side.
        """
        if unit.a is None:
            return
        layer = self.network.layers[unit.layer]
        tensors = [layer.input] + ([layer.residual] if layer.op == LayerOp.ADD else [])
        base, last = self.a.flip()
        first, source = len(self.text.engine), self.network.tensors[layer.input]
        done: list[tuple[int, int]] = []
        before = 0
        for piece in unit.a.pieces(self.config.dram.grant_bytes):
            pc = NO_PC
            for i, t in enumerate(tensors):
                at = base + i * unit.a.nbytes + before
                loads = ifmap_loads(piece, source)
                pc = self._load(loads, Buffer.IFMAP, at, self.memory.tensors[t], unit.layer)
            if not done:
                self._release(first, last)
                for t in tensors:
                    self.text.need(first, Engine.STORE, self.stored[t])
            done.append((piece.end_row, pc))
            before += piece.nbytes
            yield
        self.held_a = HeldOperands(unit.a, base, self.a.readers, done)

    def residual_of(self, index: int, tile: Tile) -> tuple[int, int]:
        """Bring the residual's words of `tile` into the next residual slot: (slot, pc)."""
        tensor = self.network.layers[index].residual
        c = self.network.tensors[tensor].c
        slot = self.residuals.take()
        at = slot * self.residuals.words
        load = Load(Kind.IFMAP, tile.m0 * c + tile.n0, tile.n, tile.m, c)
        pc = self._load([load], Buffer.OUTPUT, at, self.memory.tensors[tensor], index)
        self.text.need(pc, Engine.STORE, self.residuals.user(slot))
        self.text.need(pc, Engine.STORE, self.stored[tensor])
        return slot, pc

    def placed(self, unit: Unit) -> Placed:
        """What is in the buffers once the loads of `unit` are emitted."""
        assert self.held_a is not None
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        return Placed(self.held_a, self.held_b if conv else None, self.held_p)
