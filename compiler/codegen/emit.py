"""Code generation: plans of all layers -> one program.

Blocks alternate between the two halves of a buffer.  Each layer's loads are emitted one unit ahead
of the tiles that use them, so LOAD runs ahead of ARRAY; what may not be overwritten or read yet is
said with tokens, which `Text.need` derives from the dependences.  A block is loaded in pieces, and
a tile waits only for the pieces it reads.  Text order is itself a valid order of execution, so
bounded queues cannot deadlock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import chain, islice, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...errors import CompileError, FlexhycaError
from ...isa.descriptors import LAYER_COLUMNS, Redundancy
from ...isa.encoding import encode_text
from ...isa.instructions import (
    LAYER_DESCRIPTOR_BYTES,
    WINDOW_DESCRIPTOR_BYTES,
    Buffer,
    Engine,
    Kind,
    Source,
    Table,
)
from ...isa.program import Program
from ...isa.protection import COPIES, redundancy_of
from ...network.layers import (
    LAYER_FIELDS,
    NO_TENSOR,
    LayerOp,
    Network,
)
from ...network.names import match_layers
from .buffers import Halves, Readers
from .constants import Constants, align, place_constants
from .loads import (
    PIECES,
    ABlock,
    BBlock,
    Load,
    ifmap_loads,
    weight_loads,
)
from .plan import plan_layer
from .plan_conv import tile_columns
from .text import NONE, Text
from .tiles import Geometry, Run, Tile
from .units import Unit, Work, units_of_layer

#: Pieces that a round of loads has at most: tables, weights, operands.
_MOST_LOADS = 1 + 2 * PIECES

#: Tiles of a program: about four instructions and two kilobytes of memory each.
_MOST_TILES = 1 << 22

Masks = Mapping[int, NDArray[np.bool_]]  #: layer index -> (h, w, c), True where important


def compile_network(
    network: Network, config: Config, important: Masks | None = None, batch: int = 1
) -> Program:
    """Compile `network` for the machine of `config`.

    important : neurons that the DPPU recomputes; None or a missing layer means none. The network's
    arithmetic must be that of `config`. Raises CompileError with layer, value and limit.
    """
    _check_redundant_layers(network, config)
    _check_tiles(network, config, batch)
    return _Emitter(network, config, important or {}, batch).program()


def _check_redundant_layers(network: Network, config: Config) -> None:
    """Refuse a name that no conv or linear layer has: what is asked for would not be protected."""
    if config.protection.redundancy == "none":
        return
    names = [network.layers[index].name for index in sorted(network.weights)]
    try:
        match_layers(config.protection.redundant_layers, names)
    except FlexhycaError as error:
        raise CompileError(f"{network.name}: protection.redundant_layers: {error}") from None


def _check_tiles(network: Network, config: Config, batch: int) -> None:
    """Refuse what would take hours and all memory, before it does."""
    count = 0
    for layer in network.layers:
        out = network.tensors[layer.output]
        pixels = batch * out.h * out.w
        if layer.op == LayerOp.CONV:
            count += -(-pixels // config.tile_rows) * -(-out.c // tile_columns(layer, config))
        else:
            count += -(-pixels * out.c // config.tile_words)
        if count > _MOST_TILES:
            raise CompileError(
                f"layer {layer.name}: {network.name} has {count} tiles up to here, at most "
                f"{_MOST_TILES} are compiled; use a smaller batch or a larger array"
            )


class _Operands(NamedTuple):
    """An input block in its half; `pieces` are (end row, pc of the LOAD that completes it)."""

    block: ABlock
    base: int
    half: int
    pieces: list[tuple[int, int]]


class _Weights(NamedTuple):
    """A weight block in its half; `pieces` are (end channel, pc of the LOAD that completes it)."""

    block: BBlock
    base: int
    half: int
    bias_bytes: int
    pieces: list[tuple[int, int]]


class _Tables(NamedTuple):
    """Position tables in their half, and the pc of their LOAD."""

    base: int
    half: int
    ready: int


class _Placed(NamedTuple):
    """What a unit finds in the buffers."""

    a: _Operands
    b: _Weights | None
    p: _Tables | None


def _ready(pieces: list[tuple[int, int]], end: int) -> int:
    """The pc of the LOAD that completes everything below `end`."""
    return pieces[bisect_left(pieces, (end, NONE))][1]


class _Emitter:
    def __init__(self, network: Network, config: Config, important: Masks, batch: int) -> None:
        self.network, self.config, self.batch = network, config, batch
        self.plans = [plan_layer(network, i, config, batch) for i in range(len(network.layers))]
        self.units = [
            unit
            for i, plan in enumerate(self.plans)
            for unit in units_of_layer(i, plan, important.get(i), config)
        ]
        self.geometry = [Geometry.of(network, i, batch) for i in range(len(network.layers))]
        self.redundancy = [
            redundancy_of(config, la.name) if la.op == LayerOp.CONV else Redundancy.NONE
            for la in network.layers
        ]
        self.constants: Constants = place_constants(network, self.plans)
        self.text = Text()
        self.a = Halves(config.buffers.ifmap_bytes // 2, Engine.ARRAY)
        self.b = Halves(config.buffers.weight_bytes // 2, Engine.ARRAY)
        self.p = Halves(config.buffers.position_bytes // 2, Engine.DPPU)
        self.held_a: _Operands | None = None
        self.held_b: _Weights | None = None
        self.held_p: _Tables | None = None
        self.windows: dict[tuple[int, ...], int] = {}
        self.positions: list[bytes] = []
        self.position_bytes = 0
        self.slots = config.output_slots
        self.slot_user = [i - self.slots for i in range(self.slots)]
        self.residual_user = [i - self.slots for i in range(self.slots)]
        self.next_slot = self.next_residual = self.slot = 0
        self.configured: dict[tuple[Engine, Table], int] = {}
        written = {layer.output for layer in network.layers}
        unwritten = set(range(len(network.tensors))) - written  # inputs: several in a topology
        self.stored = dict.fromkeys(unwritten, NONE)  # tensor -> pc of its last STORE
        self.tile_number = 0
        self._place()

    def _place(self) -> None:
        """DRAM regions; text and descriptors come last, their sizes are known only at the end."""
        offsets, at = [], 0
        for t in self.network.tensors:
            offsets.append(at)
            at += align(t.elements * self.batch)
        self.sizes = {
            "weights": self.constants.weights.nbytes,
            "bias": self.constants.bias.nbytes,
            "positions": sum(len(u.table_bytes) for u in self.units if u.first_chunk),
            "activations": at,
        }
        self.base, at = {}, 0
        for region, size in self.sizes.items():
            self.base[region] = at
            at += align(size)
        self.end = at
        self._check_memory(at)
        self.tensor_at = [self.base["activations"] + x for x in offsets]

    def _check_memory(self, end: int) -> None:
        limit = self.config.dram.size_bytes
        if end > limit:
            raise CompileError(
                f"{self.network.name}: the program needs {end} bytes of DRAM, dram.size_bytes is "
                f"{limit}; use a smaller batch or enlarge it (4 GiB at most)"
            )

    # ---- loads --------------------------------------------------------------------------------

    def _load(self, loads: list[Load], buffer: Buffer, at: int, dram: int, layer: int) -> int:
        """Emit `loads` into `buffer` from byte `at` on; returns the pc of the last one."""
        pc = NONE
        refetch = self.redundancy[layer] == Redundancy.TIME_REFETCH and buffer != Buffer.OUTPUT
        for _ in range(COPIES if refetch else 1):
            to = at
            for load in loads:
                pc = self.text.emit(
                    "LOAD",
                    Engine.LOAD,
                    layer,
                    self.tile_number,
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

    def _load_constants(self, unit: Unit) -> Iterator[None]:
        """Weights, biases and position tables of a unit, where it brings new ones, in pieces."""
        if unit.table_bytes and unit.first_chunk:
            base, last = self.p.flip()
            size = len(unit.table_bytes)
            load = Load(Kind.POSITION_TABLE, self.position_bytes, size, 1, 0)
            pc = self._load([load], Buffer.POSITION, base, self.base["positions"], unit.layer)
            self._release(pc, last)
            self.held_p = _Tables(base, self.p.current, pc)
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
            dram = self.base["bias"] + self.constants.bias_at[unit.layer]
            self._load(bias, Buffer.WEIGHT, at, dram, unit.layer)
            at += bias_bytes
        done: list[tuple[int, int]] = []
        dram = self.base["weights"] + self.constants.weight_at[unit.layer]
        for end, loads in pieces:
            pc = self._load(loads, Buffer.WEIGHT, at, dram, unit.layer)
            if not done:
                self._release(first, last)
            at += sum(x.row_bytes for x in loads)
            done.append((end, pc))
            yield
        self.held_b = _Weights(unit.b, base, self.b.current, bias_bytes, done)

    def _load_operands(self, unit: Unit) -> Iterator[None]:
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
        for piece in unit.a.pieces(self.config.dram.grant_bytes):
            pc = NONE
            for i, t in enumerate(tensors):
                at = base + i * unit.a.nbytes + (piece.row0 - unit.a.row0) * unit.a.row_bytes
                loads = ifmap_loads(piece, source)
                pc = self._load(loads, Buffer.IFMAP, at, self.tensor_at[t], unit.layer)
            if not done:
                self._release(first, last)
                for t in tensors:
                    self.text.need(first, Engine.STORE, self.stored[t])
            done.append((piece.row0 + piece.rows, pc))
            yield
        self.held_a = _Operands(unit.a, base, self.a.current, done)

    def _load_residual(self, index: int, tile: Tile) -> int:
        """Bring the residual's words of `tile` into the next residual slot."""
        tensor = self.network.layers[index].residual
        c = self.network.tensors[tensor].c
        slot = self.next_residual
        self.next_residual = (slot + 1) % self.slots
        at = slot * self.config.tile_words
        load = Load(Kind.IFMAP, tile.m0 * c + tile.n0, tile.n, tile.m, c)
        pc = self._load([load], Buffer.OUTPUT, at, self.tensor_at[tensor], index)
        self.text.need(pc, Engine.STORE, self.residual_user[slot])
        self.text.need(pc, Engine.STORE, self.stored[tensor])
        return pc

    def _placed(self, unit: Unit) -> _Placed:
        """What is in the buffers once the loads of `unit` are emitted."""
        assert self.held_a is not None
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        return _Placed(self.held_a, self.held_b if conv else None, self.held_p)

    # ---- tiles --------------------------------------------------------------------------------

    def _configure(self, engine: Engine, table: Table, index: int, layer: int) -> None:
        if self.configured.get((engine, table)) != index:
            self.configured[engine, table] = index
            self.text.emit("SETCFG", engine, layer, self.tile_number, engine, table, index)

    def _window(self, layer: int, placed: _Placed, run: Run) -> int:
        """The row of the window table for `run`, made if it is new."""
        a, b = placed.a, placed.b
        b_base = n_base = bias_base = 0
        if b is not None:
            b_base, n_base = b.base + b.bias_bytes, b.block.n_base
            bias_base = b.base if run.first else 0
        elif self.network.layers[layer].op == LayerOp.ADD:
            b_base = a.base + a.block.nbytes
        reduction = (run.ky0, run.nky, run.kc0, run.kcc)
        row = (a.base, *a.block, *reduction, b_base, n_base, bias_base)
        return self.windows.setdefault(row, len(self.windows))

    def _operands_ready(self, layer: int, placed: _Placed, work: Work) -> int:
        """The pc of the LOAD after which all input rows of a tile are there."""
        run, tile, a = work.run, work.tile, placed.a
        row, count = self.geometry[layer].rows(tile.m0, tile.m0 + tile.m, run.ky0, run.nky)
        return _ready(a.pieces, row + count)

    def _emit_unit(self, unit: Unit, placed: _Placed, ahead: list[Iterator[None]]) -> None:
        """The tiles of a unit, and between them the loads `ahead` for the next one.

        Spread evenly, the loads for later tiles do not hold up the residual operands of these.
        """
        packed = iter(unit.packed)
        tables = [[next(packed) for _ in work.tables] for work in unit.works]
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        loads = chain.from_iterable(ahead)
        pace = -(-_MOST_LOADS // len(unit.works))
        for work, table in zip(unit.works, tables, strict=True):
            for _ in islice(loads, pace):
                pass
            if work.run.first:
                self.slot = self.next_slot
                self.next_slot = (self.next_slot + 1) % self.slots
                self.tile_number += 1
            if conv:
                self._emit_product(unit.layer, placed, work, table)
            else:
                self._emit_vector(unit.layer, placed, work)
        for _ in loads:
            pass

    def _emit_product(
        self, index: int, placed: _Placed, work: Work, packed: list[tuple[int, int]]
    ) -> None:
        """A tile of a CONV layer over one chunk: GEMM, DPPU and, at the end, VEC and STORE."""
        text, layer, b = self.text, self.network.layers[index], placed.b
        run, tile = work.run, work.tile
        assert b is not None
        window = self._window(index, placed, run)
        where, fields = (index, self.tile_number), (*tile, self.slot)
        slot, residual = self.next_residual, NONE
        if run.last and layer.residual != NO_TENSOR:
            residual = self._load_residual(index, tile)
        self._configure(Engine.ARRAY, Table.LAYER, index, index)
        self._configure(Engine.ARRAY, Table.WINDOW, window, index)
        tap = sum(len(p) for source, p in work.tables if source == Source.ARRAY)
        operands = self._operands_ready(index, placed, work)
        loaded = max(operands, _ready(b.pieces, tile.n0 + tile.n))
        gemm, folds = NONE, self._folds(run, layer.kernel_w)
        for at, (k0, k) in enumerate(folds):
            first, last = run.first and at == 0, run.last and at == len(folds) - 1
            gemm = text.emit("GEMM", Engine.ARRAY, *where, first, last, tap, *fields, k0, k)
            text.need(gemm, Engine.LOAD, loaded)
            if first:
                text.need(gemm, Engine.STORE, self.slot_user[self.slot])
        self.a.last[placed.a.half][Engine.ARRAY] = gemm
        self.b.last[b.half][Engine.ARRAY] = gemm
        dppu = self._emit_dppu(index, placed, work, packed, window, gemm, loaded)
        if not run.last:
            return
        self._configure(Engine.STORE, Table.LAYER, index, index)
        used = slot if residual != NONE else 0
        vec = text.emit("VEC", Engine.STORE, *where, *fields, used)
        text.need(vec, Engine.ARRAY, gemm)
        text.need(vec, Engine.DPPU, dppu)
        text.need(vec, Engine.LOAD, residual)
        if residual != NONE:
            self.residual_user[slot] = vec
        self._emit_store(index, tile)

    def _folds(self, run: Run, kernel_w: int) -> list[tuple[int, int]]:
        """(first k, operands) of each fold of a stationary array; one whole run for `os`."""
        if self.config.array.dataflow == "os":
            return [(0, 0)]
        depth = run.nky * run.kcc * kernel_w
        rows = self.config.array.rows
        return [(k, min(rows, depth - k)) for k in range(0, depth, rows)]

    def _emit_dppu(
        self,
        index: int,
        placed: _Placed,
        work: Work,
        packed: list[tuple[int, int]],
        window: int,
        gemm: int,
        loaded: int,
    ) -> int:
        """The DPPU instructions of a tile; returns the pc of the last one, or NONE."""
        text, run, dppu = self.text, work.run, NONE
        for (source, positions), (fmt, offset) in zip(work.tables, packed, strict=True):
            assert placed.p is not None
            self._configure(Engine.DPPU, Table.LAYER, index, index)
            self._configure(Engine.DPPU, Table.WINDOW, window, index)
            dppu = text.emit(
                "DPPU",
                Engine.DPPU,
                index,
                self.tile_number,
                run.first,
                run.last,
                source,
                fmt,
                placed.p.base + offset,
                len(positions),
                *work.tile,
                self.slot,
            )
            text.need(dppu, Engine.LOAD, placed.p.ready)
            if source == Source.DRAM:
                text.need(dppu, Engine.STORE, self.stored[self.network.layers[index].input])
            if source == Source.ARRAY or run.last:
                text.need(dppu, Engine.ARRAY, gemm)
            if source == Source.BUFFER:
                assert placed.b is not None
                text.need(dppu, Engine.LOAD, loaded)
                self.a.last[placed.a.half][Engine.DPPU] = dppu
                self.b.last[placed.b.half][Engine.DPPU] = dppu
            self.p.last[placed.p.half][Engine.DPPU] = dppu
        return dppu

    def _emit_vector(self, index: int, placed: _Placed, work: Work) -> None:
        """A tile that only the vector unit computes: VEC and STORE."""
        window = self._window(index, placed, work.run)
        self._configure(Engine.STORE, Table.LAYER, index, index)
        self._configure(Engine.STORE, Table.WINDOW, window, index)
        where = (index, self.tile_number)
        vec = self.text.emit("VEC", Engine.STORE, *where, *work.tile, self.slot, 0)
        self.text.need(vec, Engine.LOAD, self._operands_ready(index, placed, work))
        self.a.last[placed.a.half][Engine.STORE] = vec
        self._emit_store(index, work.tile)

    def _emit_store(self, index: int, tile: Tile) -> None:
        where = (index, self.tile_number)
        store = self.text.emit("STORE", Engine.STORE, *where, *tile, self.slot)
        self.slot_user[self.slot] = store
        self.stored[self.network.layers[index].output] = store

    # ---- the whole ----------------------------------------------------------------------------

    def _reads(self, index: int, producer: int) -> bool:
        """Whether layer `index` loads what layer `producer` stores."""
        layer = self.network.layers[index]
        return self.network.layers[producer].output in (layer.input, layer.residual)

    def program(self) -> Program:
        """Emit everything and assemble the program."""
        units = self.units
        for _ in chain(self._load_constants(units[0]), self._load_operands(units[0])):
            pass
        ready = self._placed(units[0])
        for unit, after in pairwise([*units, None]):
            assert unit is not None
            if after is None:
                self._emit_unit(unit, ready, [])
                break
            # Operands that this layer is still computing cannot be loaded ahead of its tiles.
            late = after.layer != unit.layer and self._reads(after.layer, unit.layer)
            operands = self._load_operands(after)
            ahead = [self._load_constants(after)] + ([] if late else [operands])
            self._emit_unit(unit, ready, ahead)
            for _ in operands:
                pass
            ready = self._placed(after)
        self.text.release()
        self.text.emit("HALT", Engine.STORE, len(self.network.layers) - 1, self.tile_number)
        return self._assemble()

    def _assemble(self) -> Program:
        network, text = self.network, encode_text(self.text.columns())
        memory = {region: (self.base[region], size) for region, size in self.sizes.items()}
        memory["text"] = (self.end, text.nbytes)
        descriptors = (
            len(network.layers) * LAYER_DESCRIPTOR_BYTES
            + len(self.windows) * WINDOW_DESCRIPTOR_BYTES
        )
        memory["descriptors"] = (self.end + align(text.nbytes), descriptors)
        self._check_memory(sum(memory["descriptors"]))
        tensors = zip(network.tensors, self.tensor_at, strict=True)
        return Program(
            name=network.name,
            config=self.config,
            batch=self.batch,
            text=text,
            layers=self._layer_table(),
            windows=np.array(list(self.windows), np.int32).reshape(len(self.windows), -1),
            tensors=np.array([(t.h, t.w, t.c, base) for t, base in tensors], np.int64),
            weights=self.constants.weights,
            bias=self.constants.bias,
            positions=np.frombuffer(b"".join(self.positions), np.uint8),
            positions_indptr=np.cumsum([0, *map(len, self.positions)], dtype=np.int64),
            credits=self.text.credits,
            debug_layer=np.array(self.text.layer, np.int32),
            debug_tile=np.array(self.text.tile, np.int32),
            layer_names=tuple(layer.name for layer in network.layers),
            tensor_names=tuple(t.name for t in network.tensors),
            scales=tuple(t.scale for t in network.tensors),
            memory_map=memory,
            input=network.input,
            output=network.output,
        )

    def _layer_table(self) -> NDArray[np.int64]:
        rows = []
        for i, layer in enumerate(self.network.layers):
            row = [int(getattr(layer, f)) for f in LAYER_FIELDS]
            if i in self.constants.weight_at:
                row += [
                    self.base["weights"] + self.constants.weight_at[i],
                    self.base["bias"] + self.constants.bias_at[i],
                    self.plans[i].chunk_ky,
                    self.plans[i].chunk_c,
                    self.redundancy[i],
                ]
            rows.append(row + [0] * (len(LAYER_COLUMNS) - len(row)))
        return np.array(rows, np.int64)
