"""Code generation: plans of all layers -> one program.

Blocks alternate between the two halves of a buffer.  Each layer's loads are emitted one unit ahead
of the tiles that use them, so LOAD runs ahead of ARRAY; what may not be overwritten or read yet is
said with tokens, which `_Text.need` derives from the dependences: wait number k of a consumer
always meets post number k of the producer.  Text order is itself a valid order of execution, so
bounded queues cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import CompileError
from ..isa.encoding import encode_text
from ..isa.instructions import (
    BY_NAME,
    LAYER_DESCRIPTOR_BYTES,
    WINDOW_DESCRIPTOR_BYTES,
    Buffer,
    Engine,
    Kind,
    Source,
    Table,
)
from ..isa.layers import LAYER_FIELDS, NO_TENSOR, LayerOp, Network
from ..isa.program import LAYER_COLUMNS, Program, chunks
from .plan import ABlock, BBlock, Load, Plan, Run, Tile, ifmap_loads, plan_layer, weight_loads
from .positions import Positions, pack, split

Masks = Mapping[int, NDArray[np.bool_]]  #: layer index -> (h, w, c), True where important

_ALIGN = 64
_NONE = -(2**31)  # no instruction: nothing to wait for
_WORD = 4  # position tables start at multiples of this


def compile_network(
    network: Network, config: Config, important: Masks | None = None, batch: int = 1
) -> Program:
    """Compile `network` for the machine of `config`.

    important : neurons that the DPPU recomputes; None or a missing layer means none. The network's
    arithmetic must be that of `config`. Raises CompileError with layer, value and limit.
    """
    return _Emitter(network, config, important or {}, batch).program()


class _Text:
    """The growing text: rows of fields by opcode, and the tokens between engines."""

    def __init__(self) -> None:
        self.engine: list[int] = []
        self.name: list[str] = []
        self.wait: list[int] = []
        self.post: list[int] = []
        self.layer: list[int] = []
        self.tile: list[int] = []
        self.rows: dict[str, list[tuple[int, ...]]] = {name: [] for name in BY_NAME}
        self.credits = np.zeros((len(Engine), len(Engine)), np.int64)
        # newest instruction of each engine whose token each engine has taken: [consumer][producer]
        self.covered = [[_NONE] * len(Engine) for _ in Engine]
        self.source: dict[tuple[int, Engine], int] = {}  # (consumer pc, producer) -> producer pc

    def emit(self, name: str, engine: Engine, layer: int, tile: int, *values: int) -> int:
        """Append an instruction; `values` in table order without the header. Returns its pc."""
        pc = len(self.engine)
        self.engine.append(engine)
        self.name.append(name)
        self.wait.append(0)
        self.post.append(0)
        self.layer.append(layer)
        self.tile.append(tile)
        self.rows[name].append((pc, *values))
        return pc

    def need(self, pc: int, producer: Engine, producer_pc: int) -> None:
        """Instruction `pc` must not start before `producer_pc` of engine `producer` has ended.

        A negative `producer_pc` is an event before the program: it becomes an initial credit.
        """
        consumer = self.engine[pc]
        if consumer == producer or producer_pc <= self.covered[consumer][producer]:
            return
        self.covered[consumer][producer] = producer_pc
        earlier = self.source.get((pc, producer))
        if earlier is not None:  # this instruction waits already; the later event covers both
            self._give(consumer, producer, earlier, take_back=True)
        self.source[pc, producer] = producer_pc
        self.wait[pc] |= 1 << producer
        self._give(consumer, producer, producer_pc)

    def _give(self, consumer: int, producer: int, pc: int, take_back: bool = False) -> None:
        if pc < 0:
            self.credits[producer, consumer] += -1 if take_back else 1
        else:
            self.post[pc] ^= 1 << consumer

    def release(self) -> None:
        """Give back every initial credit, so that semaphores end as they began.

        The tokens are posted by the producer's last instructions, all of them after its last post
        that somebody waits for; where there are too few, a SYNC of the producer alone posts.
        """
        for producer in Engine:
            for consumer in Engine:
                bit = 1 << consumer
                left = int(self.credits[producer, consumer])
                pc = len(self.engine) - 1
                while left and pc >= 0:
                    if self.engine[pc] == producer:
                        if self.post[pc] & bit:
                            break
                        if self.name[pc] not in ("SETCFG", "VEC"):
                            self.post[pc] |= bit
                            left -= 1
                    pc -= 1
                for _ in range(left):
                    layer, tile = self.layer[-1], self.tile[-1]
                    pc = self.emit("SYNC", producer, layer, tile, 1 << producer)
                    self.post[pc] |= bit

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """One column per field, for `encode_text`."""
        count = len(self.engine)
        out = {
            "op": np.zeros(count, np.int64),
            "wait": np.array(self.wait, np.int64),
            "post": np.array(self.post, np.int64),
        }
        for name, rows in self.rows.items():
            if not rows:
                continue
            table = np.array(rows, np.int64)
            out["op"][table[:, 0]] = BY_NAME[name].opcode
            for i, f in enumerate(BY_NAME[name].fields, start=1):
                out.setdefault(f.name, np.zeros(count, np.int64))[table[:, 0]] = table[:, i]
        return out


class _Half(NamedTuple):
    """The last reader of a buffer half: LOAD may overwrite it when that has ended."""

    engine: Engine
    pc: int


@dataclass
class _Halves:
    """The two halves of a buffer, filled in turn."""

    nbytes: int
    reader: Engine
    current: int = 1
    last: list[_Half] = field(init=False)

    def __post_init__(self) -> None:
        self.last = [_Half(self.reader, -2), _Half(self.reader, -1)]

    def flip(self) -> tuple[int, _Half]:
        """Take the other half: (its first byte, its last reader)."""
        self.current ^= 1
        return self.current * self.nbytes, self.last[self.current]

    def read(self, engine: Engine, pc: int) -> None:
        """Instruction `pc` reads the current half."""
        self.last[self.current] = _Half(engine, pc)


class _Work(NamedTuple):
    """A tile with the part of its run, and its position tables: (source, positions)."""

    run: Run
    tile: Tile
    tables: list[tuple[Source, Positions]]


class _Unit(NamedTuple):
    """Tiles that one round of loads serves; the unit of prefetching."""

    layer: int
    a: ABlock | None
    b: BBlock | None
    first_chunk: bool
    works: list[_Work]
    packed: list[tuple[int, int]]  #: (format, offset in the position half) of every table, in order
    table_bytes: bytes


class _Placed(NamedTuple):
    """Where a unit's blocks are, and the tokens that its first readers take."""

    a_base: int
    b_base: int
    a: ABlock
    b: BBlock | None
    a_half: int
    b_half: int
    p_half: int
    p_base: int
    operands_ready: int  #: pc of the last LOAD of operands, or _NONE
    tables_ready: int  #: pc of the LOAD of the position tables, or _NONE


class _Emitter:
    def __init__(self, network: Network, config: Config, important: Masks, batch: int) -> None:
        self.network, self.config, self.batch = network, config, batch
        self.important = important
        self.text = _Text()
        self.a = _Halves(config.buffers.ifmap_bytes // 2, Engine.ARRAY)
        self.b = _Halves(config.buffers.weight_bytes // 2, Engine.ARRAY)
        self.p = _Halves(config.buffers.position_bytes // 2, Engine.DPPU)
        self.windows: dict[tuple[int, ...], int] = {}
        self.positions: list[bytes] = []
        self.position_bytes = 0
        self.slots = config.output_slots
        self.slot_user = [i - self.slots for i in range(self.slots)]
        self.residual_user = [i - self.slots for i in range(self.slots)]
        self.next_slot = self.next_residual = self.slot = 0
        self.configured: dict[tuple[Engine, Table], int] = {}
        self.stored = {network.input: _NONE}  # tensor -> pc of its last STORE
        self.plans = [plan_layer(network, i, config, batch) for i in range(len(network.layers))]
        self._place_constants()
        self.tile_number = 0
        self.now_a: tuple[int, ABlock] | None = None
        self.now_b: tuple[int, BBlock] | None = None
        self.now_p = 0

    # ---- DRAM ---------------------------------------------------------------------------------

    def _place_constants(self) -> None:
        """Lay out weights ([group][chunk][channel][k]) and biases; offsets within their regions."""
        self.weight_at, self.bias_at = {}, {}
        weights, biases = [], []
        at = bias_at = 0
        for i, weight in self.network.weights.items():
            layer, plan = self.network.layers[i], self.plans[i]
            self.weight_at[i], self.bias_at[i] = at, bias_at
            width = weight.shape[0] // layer.groups
            for n in range(0, weight.shape[0], width):
                for ky, nky, c, cc in chunks(
                    layer.kernel_h, weight.shape[3], plan.chunk_ky, plan.chunk_c
                ):
                    part = weight[n : n + width, ky : ky + nky, :, c : c + cc]
                    weights.append(np.ascontiguousarray(part).reshape(-1))
            at += weight.size
            biases.append(np.asarray(self.network.biases[i], np.int32))
            bias_at += 4 * len(biases[-1])
        self.weights = np.concatenate(weights) if weights else np.zeros(0, np.int8)
        self.bias = np.concatenate(biases) if biases else np.zeros(0, np.int32)

    def _tensor_offsets(self) -> tuple[list[int], int]:
        offsets, at = [], 0
        for t in self.network.tensors:
            offsets.append(at)
            at += -(-t.elements * self.batch // _ALIGN) * _ALIGN
        return offsets, at

    # ---- units --------------------------------------------------------------------------------

    def _units(self) -> list[_Unit]:
        return [unit for i, plan in enumerate(self.plans) for unit in self._units_of_layer(i, plan)]

    def _tables(self, index: int, tile: Tile) -> list[tuple[Source, Positions]]:
        """The position tables of a tile in DPPU order: what comes from DRAM is started first."""
        mask = self.important.get(index)
        config = self.config
        if mask is None or not config.dppu.size:
            return []
        flat = mask.reshape(-1, mask.shape[-1])
        rows = np.arange(tile.m0, tile.m0 + tile.m) % len(flat)
        found = np.argwhere(flat[rows, tile.n0 : tile.n0 + tile.n])
        tapped, excess = found, found[:0]
        if config.dppu.data_reuse == "hybrid":
            tapped, excess = split(found, tile.m, tile.n, config.tap_capacity)
        pairs = [(Source.DRAM, excess), (Source.ARRAY, tapped)]
        return [(source, positions) for source, positions in pairs if len(positions)]

    def _units_of_layer(self, index: int, plan: Plan) -> list[_Unit]:
        column_bits, bits = self.config.position_column_bits, self.config.position_bits
        units: list[_Unit] = []
        for step in plan.steps:
            a, b, first = step.a, step.b, step.runs[0].first
            works: list[_Work] = []
            packed: list[tuple[int, int]] = []
            table = bytearray()
            for run in step.runs:
                for tile in run.tiles:
                    tables = self._tables(index, tile)
                    new = [pack(p, tile.m, tile.n, column_bits, bits) for _, p in tables]
                    size = sum(-(-len(data) // _WORD) * _WORD for _, data in new)
                    if works and len(table) + size > self.p.nbytes:
                        units.append(_Unit(index, a, b, first, works, packed, bytes(table)))
                        a, b, works, packed, table = None, None, [], [], bytearray()
                    works.append(_Work(run, tile, tables))
                    for fmt, data in new:
                        packed.append((fmt, len(table)))
                        table += data + bytes(-len(data) % _WORD)
            units.append(_Unit(index, a, b, first, works, packed, bytes(table)))
        return units

    # ---- loads --------------------------------------------------------------------------------

    def _emit_loads(self, loads: list[Load], buffer: Buffer, at: int, dram: int, layer: int) -> int:
        pc = _NONE
        for load in loads:
            pc = self.text.emit(
                "LOAD",
                Engine.LOAD,
                layer,
                self.tile_number,
                load.kind,
                buffer,
                at,
                dram + load.offset,
                load.row_bytes,
                load.rows,
                load.stride,
            )
            at += load.row_bytes * load.rows
        return pc

    def _fill(
        self, halves: _Halves, buffer: Buffer, loads: list[tuple[int, list[Load]]], layer: int
    ) -> tuple[int, int]:
        """Fill the other half of a buffer: (its first byte, pc of the last LOAD)."""
        base, last = halves.flip()
        first = len(self.text.engine)
        at, pc = base, _NONE
        for dram, part in loads:
            pc = self._emit_loads(part, buffer, at, dram, layer)
            at += sum(x.row_bytes * x.rows for x in part)
        self.text.need(first, last.engine, last.pc)
        return base, pc

    def _load_constants(self, unit: _Unit) -> tuple[int, int]:
        """Weights, biases and position tables of a unit: pcs of the last LOAD of each."""
        ready = tables = _NONE
        if unit.b is not None:
            loads = weight_loads(unit.b, unit.first_chunk)
            homes = {
                Kind.BIAS: self.base["bias"] + self.bias_at[unit.layer],
                Kind.WEIGHT: self.base["weights"] + self.weight_at[unit.layer],
            }
            parts = [(homes[load.kind], [load]) for load in loads]
            base, ready = self._fill(self.b, Buffer.WEIGHT, parts, unit.layer)
            self.now_b = (base, unit.b)
        if unit.table_bytes and unit.first_chunk:
            load = Load(Kind.POSITION_TABLE, self.position_bytes, len(unit.table_bytes), 1, 0)
            self.now_p, tables = self._fill(
                self.p, Buffer.POSITION, [(self.base["positions"], [load])], unit.layer
            )
            self.positions.append(unit.table_bytes)
            self.position_bytes += len(unit.table_bytes)
        return ready, tables

    def _load_operands(self, unit: _Unit) -> int:
        """Input block(s) of a unit: pc of the last LOAD."""
        if unit.a is None:
            return _NONE
        layer = self.network.layers[unit.layer]
        operands = [layer.input] + ([layer.residual] if layer.op == LayerOp.ADD else [])
        loads = [
            (self.tensor_at[t], ifmap_loads(unit.a, self.network.tensors[t])) for t in operands
        ]
        first = len(self.text.engine)
        base, pc = self._fill(self.a, Buffer.IFMAP, loads, unit.layer)
        for t in operands:
            self.text.need(first, Engine.STORE, self.stored[t])
        self.now_a = (base, unit.a)
        return pc

    # ---- tiles --------------------------------------------------------------------------------

    def _configure(self, engine: Engine, table: Table, index: int, layer: int) -> None:
        if self.configured.get((engine, table)) != index:
            self.configured[engine, table] = index
            self.text.emit("SETCFG", engine, layer, self.tile_number, engine, table, index)

    def _window(self, unit: _Unit, placed: _Placed, run: Run) -> int:
        layer = self.network.layers[unit.layer]
        a = placed.a
        if layer.op == LayerOp.ADD:
            b_base, n_base, bias_base = placed.a_base + a.nbytes, 0, 0
        elif placed.b is not None:
            n_base, bias_base = placed.b.n_base, placed.b_base
            b_base = bias_base + 4 * placed.b.n
            if not unit.first_chunk:
                b_base, bias_base = placed.b_base, 0
        else:
            b_base = n_base = bias_base = 0
        row = (
            placed.a_base,
            *a,
            run.ky0,
            run.nky,
            run.kc0,
            run.kcc,
            b_base,
            n_base,
            bias_base,
        )
        return self.windows.setdefault(row, len(self.windows))

    def _emit_unit(self, unit: _Unit, placed: _Placed) -> None:
        text, layer = self.text, self.network.layers[unit.layer]
        conv = layer.op == LayerOp.CONV
        operands_ready, tables_ready = placed.operands_ready, placed.tables_ready
        packed = iter(unit.packed)
        for run, tile, tables in unit.works:
            window = self._window(unit, placed, run)
            if run.first:
                self.slot = self.next_slot
                self.next_slot = (self.next_slot + 1) % self.slots
                self.tile_number += 1
            where = (unit.layer, self.tile_number)
            fields = (*tile, self.slot)
            residual = self.next_residual
            residual_pc = gemm = dppu = _NONE
            if conv and run.last and layer.residual != NO_TENSOR:
                residual_pc = self._load_residual(unit.layer, tile)
            if conv:
                self._configure(Engine.ARRAY, Table.LAYER, unit.layer, unit.layer)
                self._configure(Engine.ARRAY, Table.WINDOW, window, unit.layer)
                tap = sum(len(p) for source, p in tables if source == Source.ARRAY)
                gemm = text.emit("GEMM", Engine.ARRAY, *where, run.first, run.last, tap, *fields)
                text.need(gemm, Engine.LOAD, operands_ready)
                if run.first:
                    text.need(gemm, Engine.STORE, self.slot_user[self.slot])
                self._read(placed, Engine.ARRAY, gemm)
            for source, positions in tables:
                self._configure(Engine.DPPU, Table.LAYER, unit.layer, unit.layer)
                self._configure(Engine.DPPU, Table.WINDOW, window, unit.layer)
                fmt, offset = next(packed)
                dppu = text.emit(
                    "DPPU",
                    Engine.DPPU,
                    *where,
                    run.first,
                    run.last,
                    source,
                    fmt,
                    placed.p_base + offset,
                    len(positions),
                    *fields,
                )
                text.need(dppu, Engine.LOAD, tables_ready)
                if source == Source.DRAM:
                    text.need(dppu, Engine.STORE, self.stored[layer.input])
                if source == Source.ARRAY or run.last:
                    text.need(dppu, Engine.ARRAY, gemm)
                self.p.last[placed.p_half] = _Half(Engine.DPPU, dppu)
            if not run.last:
                continue
            self._configure(Engine.STORE, Table.LAYER, unit.layer, unit.layer)
            if not conv:
                self._configure(Engine.STORE, Table.WINDOW, window, unit.layer)
            vec = text.emit(
                "VEC", Engine.STORE, *where, *fields, residual if residual_pc >= 0 else 0
            )
            if conv:
                text.need(vec, Engine.ARRAY, gemm)
                text.need(vec, Engine.DPPU, dppu)
                text.need(vec, Engine.LOAD, residual_pc)
            else:
                text.need(vec, Engine.LOAD, operands_ready)
                self._read(placed, Engine.STORE, vec)
            if residual_pc >= 0:
                self.residual_user[residual] = vec
            store = text.emit("STORE", Engine.STORE, *where, *fields)
            self.slot_user[self.slot] = store
            self.stored[layer.output] = store

    def _read(self, placed: _Placed, engine: Engine, pc: int) -> None:
        self.a.last[placed.a_half] = _Half(engine, pc)
        if placed.b is not None:
            self.b.last[placed.b_half] = _Half(engine, pc)

    def _load_residual(self, index: int, tile: Tile) -> int:
        """Bring the residual's words of `tile` into the next residual slot."""
        tensor = self.network.layers[index].residual
        c = self.network.tensors[tensor].c
        slot = self.next_residual
        self.next_residual = (slot + 1) % self.slots
        at = slot * self.config.array.rows * self.config.array.cols
        load = Load(Kind.IFMAP, tile.m0 * c + tile.n0, tile.n, tile.m, c)
        pc = self._emit_loads([load], Buffer.OUTPUT, at, self.tensor_at[tensor], index)
        self.text.need(pc, Engine.STORE, self.residual_user[slot])
        self.text.need(pc, Engine.STORE, self.stored[tensor])
        return pc

    # ---- the whole ----------------------------------------------------------------------------

    def program(self) -> Program:
        """Emit everything and assemble the program."""
        network, config = self.network, self.config
        # The sizes of text and descriptors are known at the end only, so these regions come last.
        offsets, activation_bytes = self._tensor_offsets()
        units = self._units()
        table_bytes = sum(len(u.table_bytes) for u in units if u.first_chunk)
        self.base, at = {}, 0
        sizes = {
            "weights": self.weights.nbytes,
            "bias": self.bias.nbytes,
            "positions": table_bytes,
            "activations": activation_bytes,
        }
        for region, size in sizes.items():
            self.base[region] = at
            at += -(-size // _ALIGN) * _ALIGN
        self.tensor_at = [self.base["activations"] + x for x in offsets]
        self._check_memory(at)

        ready = self._prefetch(units[0])
        for i, unit in enumerate(units):
            placed = ready
            after = units[i + 1] if i + 1 < len(units) else None
            if after is None:
                self._emit_unit(unit, placed)
                break
            late = after.layer != unit.layer and unit.layer in self._producers(after.layer)
            constants = self._load_constants(after)
            operands = _NONE if late else self._load_operands(after)
            if not late:
                ready = self._placed(after, constants, operands)
                self._emit_unit(unit, placed)
            else:
                self._emit_unit(unit, placed)
                operands = self._load_operands(after)
                ready = self._placed(after, constants, operands)
        self.text.release()
        self.text.emit("HALT", Engine.STORE, len(network.layers) - 1, self.tile_number)

        text = encode_text(self.text.columns())
        memory = {region: (self.base[region], size) for region, size in sizes.items()}
        memory["text"] = (at, text.nbytes)
        at += -(-text.nbytes // _ALIGN) * _ALIGN
        descriptors = (
            len(network.layers) * LAYER_DESCRIPTOR_BYTES
            + len(self.windows) * WINDOW_DESCRIPTOR_BYTES
        )
        memory["descriptors"] = (at, descriptors)
        self._check_memory(at + descriptors)
        return Program(
            name=network.name,
            config=config,
            batch=self.batch,
            text=text,
            layers=self._layer_table(),
            windows=np.array(list(self.windows), np.int32).reshape(len(self.windows), -1),
            tensors=np.array(
                [
                    (t.h, t.w, t.c, base)
                    for t, base in zip(network.tensors, self.tensor_at, strict=True)
                ],
                np.int64,
            ),
            weights=self.weights,
            bias=self.bias,
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

    def _check_memory(self, end: int) -> None:
        limit = self.config.dram.size_bytes
        if end > limit:
            raise CompileError(
                f"{self.network.name}: the program needs {end} bytes of DRAM, dram.size_bytes is "
                f"{limit}; use a smaller batch or enlarge it (4 GiB at most)"
            )

    def _producers(self, index: int) -> set[int]:
        layer = self.network.layers[index]
        return {
            i
            for i, other in enumerate(self.network.layers)
            if other.output in (layer.input, layer.residual)
        }

    def _prefetch(self, unit: _Unit) -> _Placed:
        constants = self._load_constants(unit)
        return self._placed(unit, constants, self._load_operands(unit))

    def _placed(self, unit: _Unit, constants: tuple[int, int], operands: int) -> _Placed:
        weights, tables = constants
        assert self.now_a is not None
        base_b, block_b = self.now_b if self.now_b is not None else (0, None)
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        return _Placed(
            self.now_a[0],
            base_b,
            self.now_a[1],
            block_b if conv else None,
            self.a.current,
            self.b.current,
            self.p.current,
            self.now_p,
            max(weights, operands),
            tables,
        )

    def _layer_table(self) -> NDArray[np.int64]:
        rows = []
        for i, layer in enumerate(self.network.layers):
            own = [int(getattr(layer, f)) for f in LAYER_FIELDS]
            if i in self.weight_at:
                own += [
                    self.base["weights"] + self.weight_at[i],
                    self.base["bias"] + self.bias_at[i],
                    self.plans[i].chunk_ky,
                    self.plans[i].chunk_c,
                ]
            else:
                own += [0, 0, 1, 1]
            rows.append(own)
        assert len(rows[0]) == len(LAYER_COLUMNS)
        return np.array(rows, np.int64)
