"""Filling the buffers: the loads of each unit, and what lies in them once they are emitted.

Loads are emitted in pieces, one unit ahead of the tiles that use them, so that LOAD runs ahead of
ARRAY. Where a new block goes says `buffers`; LOAD may overwrite what is there when all who read it
have ended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...config import Config
from ...isa.descriptors import Redundancy
from ...isa.instructions import Buffer, Engine, Kind
from ...isa.sizes import weight_buffer
from ...network.layers import LayerOp, Network
from ..tiling.loads import (
    PIECES,
    ABlock,
    BBlock,
    Load,
    ifmap_loads,
    weight_loads,
)
from ..tiling.tiles import LayerPlan, Tile, input_tensors
from .buffers import BlockPlaces, Halves, Place, Readers, Scratchpad, Split
from .constants import Constants
from .memory_map import MemoryMap
from .slots import Slots
from .text import NO_PC, TextBuilder
from .units import Unit

#: Pieces that a round of loads has at most: tables, weights, operands.
MOST_LOADS = 1 + 2 * PIECES


class HeldOperands(NamedTuple):
    """An input block in its place; `pieces` are (end row, pc of the LOAD that completes it)."""

    block: ABlock
    base: int
    readers: Readers
    pieces: list[tuple[int, int]]


class HeldWeights(NamedTuple):
    """A weight block in its place; `pieces` are (end channel, pc of the LOAD that completes it)."""

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
    """Emits loads into `text`; knows what lies where and who has read it.

    stored : tensor -> pc of its last STORE, which a load of it must wait for. read : of a tensor,
    who has read it last, which a STORE into its place must wait for.
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
        plans: Sequence[LayerPlan],
    ) -> None:
        self.network, self.config, self.text = network, config, text
        self.memory, self.constants, self.redundancy = memory, constants, redundancy
        self.operand_memory: Split | Scratchpad = Split(config)
        if size := config.buffers.scratchpad_bytes:
            own = zip(plans, network.layers, strict=True)
            self.operand_memory = Scratchpad(size, [plan.largest(layer) for plan, layer in own])
        self.weight_buffer = weight_buffer(config)
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
        self.read: list[Readers] = [{} for _ in network.tensors]

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

    def _release(self, pc: int, place: Place) -> None:
        """LOAD `pc` overwrites what lies in a place."""
        for readers in place.before:
            for engine, reader in readers.items():
                self.text.need(pc, engine, reader)

    def _inputs(self, layer: int) -> tuple[int, ...]:
        return input_tensors(self.network.layers[layer])

    def places_of(self, unit: Unit) -> BlockPlaces:
        """Where the new blocks of a unit go; of the next one, before the tiles of this."""
        inputs = None if unit.a is None else len(self._inputs(unit.layer)) * unit.a.nbytes
        weights = None if unit.b is None else unit.b.nbytes
        return self.operand_memory.take(unit.layer, inputs, weights)

    def tables_of(self, unit: Unit) -> Iterator[None]:
        """The position tables of a unit, where it brings new ones."""
        if unit.table_bytes and unit.first_chunk:
            place = self.p.take()
            size = len(unit.table_bytes)
            load = Load(Kind.POSITION_TABLE, self.position_bytes, size, 1, 0)
            base = self.memory.base("positions")
            pc = self._load([load], Buffer.POSITION, place.base, base, unit.layer)
            self._release(pc, place)
            self.held_p = HeldTables(place.base, place.readers, pc)
            self.positions.append(unit.table_bytes)
            self.position_bytes += size
            yield

    def weights_of(self, unit: Unit, place: Place | None) -> Iterator[None]:
        """Weights and biases of a unit, where it brings new ones, in pieces."""
        if unit.b is None:
            return
        assert place is not None
        first, at = len(self.text.engine), place.base
        bias, pieces = weight_loads(unit.b, unit.first_chunk)
        bias_bytes = sum(x.row_bytes for x in bias)
        if bias:
            dram = self.memory.base("bias") + self.constants.bias_at[unit.layer]
            self._load(bias, self.weight_buffer, at, dram, unit.layer)
            at += bias_bytes
        done: list[tuple[int, int]] = []
        dram = self.memory.base("weights") + self.constants.weight_at[unit.layer]
        for end, loads in pieces:
            pc = self._load(loads, self.weight_buffer, at, dram, unit.layer)
            if not done:
                self._release(first, place)
            at += sum(x.row_bytes for x in loads)
            done.append((end, pc))
            yield
        self.held_b = HeldWeights(unit.b, place.base, place.readers, bias_bytes, done)

    def operands_of(self, unit: Unit, place: Place | None) -> Iterator[None]:
        """The input block of a unit, where it brings a new one, a run of rows at a time."""
        if unit.a is None:
            return
        assert place is not None
        tensors = self._inputs(unit.layer)
        first, source = len(self.text.engine), self.network.tensors[tensors[0]]
        done: list[tuple[int, int]] = []
        before = 0
        for piece in unit.a.pieces(self.config.dram.grant_bytes):
            pc = NO_PC
            for i, t in enumerate(tensors):
                at = place.base + i * unit.a.nbytes + before
                loads = ifmap_loads(piece, source)
                pc = self._load(loads, Buffer.IFMAP, at, self.memory.tensors[t], unit.layer)
                self.read[t][Engine.LOAD] = pc
            if not done:
                self._release(first, place)
                for t in tensors:
                    self.text.need(first, Engine.STORE, self.stored[t])
            done.append((piece.end_row, pc))
            before += piece.nbytes
            yield
        self.held_a = HeldOperands(unit.a, place.base, place.readers, done)

    def residual_of(self, index: int, tile: Tile) -> tuple[int, int]:
        """Bring the residual's words of `tile` into the next residual slot: (slot, pc)."""
        tensor = self.network.layers[index].residual
        c = self.network.tensors[tensor].c
        slot = self.residuals.take()
        at = slot * self.residuals.words
        load = Load(Kind.IFMAP, tile.m0 * c + tile.n0, tile.n, tile.m, c)
        pc = self._load([load], Buffer.OUTPUT, at, self.memory.tensors[tensor], index)
        self.read[tensor][Engine.LOAD] = pc
        self.text.need(pc, Engine.STORE, self.residuals.user(slot))
        self.text.need(pc, Engine.STORE, self.stored[tensor])
        return slot, pc

    def placed(self, unit: Unit) -> Placed:
        """What is in the buffers once the loads of `unit` are emitted."""
        assert self.held_a is not None
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        return Placed(self.held_a, self.held_b if conv else None, self.held_p)
