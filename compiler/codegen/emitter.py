"""The emitter: plans of all layers -> the instructions of one program.

Each unit's loads (`prefetch`) are emitted among the tiles of the one before, so LOAD runs ahead of
ARRAY; what may not be overwritten or read yet is said with tokens, which `TextBuilder.need` derives
from the dependences.  A tile waits only for the pieces of a block that it reads.  Text order is
itself a valid order of execution, so bounded queues cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...isa.descriptors import LAYER_COLUMNS, Redundancy
from ...isa.encoding import encode_text
from ...isa.instructions import (
    LAYER_DESCRIPTOR_BYTES,
    WINDOW_DESCRIPTOR_BYTES,
    Engine,
    Table,
)
from ...isa.pe_map import PeMap
from ...isa.program import Program
from ...isa.protection import redundancy_of
from ...network.layers import (
    LAYER_FIELDS,
    NO_TENSOR,
    LayerOp,
    Network,
)
from ...simulator.inject.repair import Repair
from ..on_chip import KeptPlaces, overwritten
from ..tiling.tiles import Geometry, LayerPlan, Tile, TileRun
from .constants import Constants, place_constants
from .memory_map import MemoryMap
from .prefetch import MOST_LOADS, Placed, Prefetch, ready
from .slots import Slots
from .text import NO_PC, TextBuilder
from .units import TileSumsToRepair, TileWork, Unit, units_of_layer

Masks = Mapping[int, NDArray[np.bool_]]  #: layer index -> (h, w, c), True where important


class Emitter:
    """Emits a network's tiles.

    plans : of the layers. important : what the DPPU computes. kept : tensors that stay on chip, and
    where (`compiler.on_chip`). pe_map : of the chip. repair : what the DPPU computes besides.
    """

    def __init__(
        self,
        network: Network,
        config: Config,
        plans: Sequence[LayerPlan],
        important: Masks,
        batch: int,
        kept: KeptPlaces,
        pe_map: PeMap = (),
        repair: Repair | None = None,
    ) -> None:
        self.network, self.config, self.batch = network, config, batch
        self.plans, self.pe_map, self.repaired = plans, pe_map, repair is not None
        wrong: dict[int, TileSumsToRepair] = {}
        if repair is not None:
            wrong = {i: partial(repair.sums, network.layers[i]) for i in network.weights}
        self.units = [
            unit
            for i, plan in enumerate(self.plans)
            for unit in units_of_layer(i, plan, important.get(i), config, wrong.get(i))
        ]
        self.geometry = [Geometry.of(network, i, batch) for i in range(len(network.layers))]
        self.redundancy = [
            redundancy_of(config, la.name) if la.op == LayerOp.CONV else Redundancy.NONE
            for la in network.layers
        ]
        self.constants: Constants = place_constants(network, self.plans)
        table_bytes = sum(len(u.table_bytes) for u in self.units if u.first_chunk)
        self.memory = MemoryMap.of(network, config, batch, self.constants, table_bytes, kept)
        self.text = TextBuilder()
        self.prefetch = Prefetch(
            network, config, self.text, self.memory, self.constants, self.redundancy, plans
        )
        self.overwritten = overwritten(network, batch, kept)
        self.windows: dict[tuple[int, ...], int] = {}
        self.slots = Slots(config)
        self.slot = self.tiles = 0
        self.begun: dict[Tile, tuple[int, int]] = {}  # slot and number of tiles that are not done
        self.residuals: dict[Tile, tuple[int, int]] = {}  # slot, and the LOAD that fills it
        self.configured: dict[tuple[Engine, Table], int] = {}

    # ---- tiles --------------------------------------------------------------------------------

    def _configure(self, engine: Engine, table: Table, index: int, layer: int) -> None:
        if self.configured.get((engine, table)) != index:
            self.configured[engine, table] = index
            self.text.emit("SETCFG", engine, layer, engine, table, index)

    def _window(self, layer: int, placed: Placed, run: TileRun) -> int:
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

    def _operands_ready(self, layer: int, placed: Placed, work: TileWork) -> int:
        """The pc of the LOAD after which all input rows of a tile are there."""
        run, tile, a = work.run, work.tile, placed.a
        rows = self.geometry[layer].rows(tile.m0, tile.m0 + tile.m, run.ky0, run.nky)
        # A tile that needs none names one that the block may have left out.
        return ready(a.pieces, min(rows.last + 1, a.block.end_row))

    def _emit_unit(self, unit: Unit, placed: Placed, ahead: list[Iterator[None]]) -> None:
        """The tiles of a unit, and between them the loads `ahead` for the next one.

        Spread evenly, the loads for later tiles do not hold up the residual operands of these.
        """
        packed = iter(unit.packed)
        tables = [[next(packed) for _ in work.tables] for work in unit.works]
        conv = self.network.layers[unit.layer].op == LayerOp.CONV
        for slots in (self.slots, self.prefetch.residuals):
            slots.resize(self.plans[unit.layer].slot_words)
        loads = chain.from_iterable(ahead)
        pace = -(-MOST_LOADS // len(unit.works))
        for work, table in zip(unit.works, tables, strict=True):
            for _ in islice(loads, pace):
                pass
            if work.run.first:
                self.tiles += 1
                self.begun[work.tile] = self.slots.take(), self.tiles
            self.slot, self.text.now = self.begun[work.tile]
            if work.run.last:
                del self.begun[work.tile]
            if conv:
                self._emit_product(unit.layer, placed, work, table)
            else:
                self._emit_vector(unit.layer, placed, work)
        for _ in loads:
            pass

    def _emit_product(
        self, index: int, placed: Placed, work: TileWork, packed: list[tuple[int, int]]
    ) -> None:
        """A tile of a CONV layer over one chunk: GEMM, DPPU and, at the end, VEC and STORE."""
        text, layer, b = self.text, self.network.layers[index], placed.b
        run, tile = work.run, work.tile
        assert b is not None
        window = self._window(index, placed, run)
        fields = (*tile, self.slot)
        if work.residual is not None and layer.residual != NO_TENSOR:
            self.residuals[work.residual] = self.prefetch.residual_of(index, work.residual)
        self._configure(Engine.ARRAY, Table.LAYER, index, index)
        self._configure(Engine.ARRAY, Table.WINDOW, window, index)
        tap = sum(len(p) for source, p in work.tables if not source.fetched)
        operands = self._operands_ready(index, placed, work)
        loaded = max(operands, ready(b.pieces, tile.n0 + tile.n))
        gemm, folds = NO_PC, self._folds(run, layer.kernel_w)
        for at, (k0, k) in enumerate(folds):
            begins, ends = at == 0, at == len(folds) - 1
            first, resume = run.first and begins, run.parked and not run.first and begins
            last = (run.last or run.parked) and ends
            gemm = text.emit("GEMM", Engine.ARRAY, index, first, last, resume, tap, *fields, k0, k)
            text.need(gemm, Engine.LOAD, loaded)
            if first:
                text.need(gemm, Engine.STORE, self.slots.user(self.slot))
        placed.a.readers[Engine.ARRAY] = b.readers[Engine.ARRAY] = gemm
        dppu = self._emit_dppu(index, placed, work, packed, window, gemm, loaded)
        if not run.last:
            return
        self._configure(Engine.STORE, Table.LAYER, index, index)
        slot, residual = self.residuals.pop(tile, (0, NO_PC))
        vec = text.emit("VEC", Engine.STORE, index, *fields, slot)
        text.need(vec, Engine.ARRAY, gemm)
        text.need(vec, Engine.DPPU, dppu)
        text.need(vec, Engine.LOAD, residual)
        if residual != NO_PC:
            self.prefetch.residuals.use(slot, vec)
        self._emit_store(index, tile)

    def _folds(self, run: TileRun, kernel_w: int) -> list[tuple[int, int]]:
        """(first k, operands) of each fold; one whole run where the PEs keep the sums."""
        if self.config.array.keeps_sums:
            return [(0, 0)]
        depth = run.nky * run.kcc * kernel_w
        rows = self.config.array.rows
        return [(k, min(rows, depth - k)) for k in range(0, depth, rows)]

    def _emit_dppu(
        self,
        index: int,
        placed: Placed,
        work: TileWork,
        packed: list[tuple[int, int]],
        window: int,
        gemm: int,
        loaded: int,
    ) -> int:
        """The DPPU instructions of a tile; returns the pc of the last one, or NO_PC."""
        text, run, dppu = self.text, work.run, NO_PC
        for (source, positions), (fmt, offset) in zip(work.tables, packed, strict=True):
            assert placed.p is not None
            self._configure(Engine.DPPU, Table.LAYER, index, index)
            self._configure(Engine.DPPU, Table.WINDOW, window, index)
            dppu = text.emit(
                "DPPU",
                Engine.DPPU,
                index,
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
            if source.fetched and not source.from_buffers:
                source_tensor = self.network.layers[index].input
                text.need(dppu, Engine.STORE, self.prefetch.stored[source_tensor])
                self.prefetch.read[source_tensor][Engine.DPPU] = dppu
            if run.last or not source.fetched:
                text.need(dppu, Engine.ARRAY, gemm)
            if source.from_buffers:
                assert placed.b is not None
                text.need(dppu, Engine.LOAD, loaded)
                placed.a.readers[Engine.DPPU] = placed.b.readers[Engine.DPPU] = dppu
            placed.p.readers[Engine.DPPU] = dppu
        return dppu

    def _emit_vector(self, index: int, placed: Placed, work: TileWork) -> None:
        """A tile that only the vector unit computes: VEC and STORE."""
        window = self._window(index, placed, work.run)
        self._configure(Engine.STORE, Table.LAYER, index, index)
        self._configure(Engine.STORE, Table.WINDOW, window, index)
        vec = self.text.emit("VEC", Engine.STORE, index, *work.tile, self.slot, 0)
        self.text.need(vec, Engine.LOAD, self._operands_ready(index, placed, work))
        placed.a.readers[Engine.STORE] = vec
        self._emit_store(index, work.tile)

    def _emit_store(self, index: int, tile: Tile) -> None:
        store = self.text.emit("STORE", Engine.STORE, index, *tile, self.slot)
        self.slots.use(self.slot, store)
        tensor = self.network.layers[index].output
        for old in self.overwritten.pop(tensor, ()):  # the first STORE waits for all of them
            for engine, reader in self.prefetch.read[old].items():
                self.text.need(store, engine, reader)
        self.prefetch.stored[tensor] = store

    # ---- the whole ----------------------------------------------------------------------------

    def _reads(self, index: int, producer: int) -> bool:
        """Whether layer `index` loads what layer `producer` stores."""
        layer = self.network.layers[index]
        return self.network.layers[producer].output in (layer.input, layer.residual)

    def _loads(
        self, unit: Unit, before: Unit | None = None
    ) -> tuple[list[Iterator[None]], list[Iterator[None]]]:
        """The loads of a unit: those ahead of the tiles of the one before, and those behind them.

        What those tiles still read is not overwritten ahead of them, and operands that their layer
        is still computing are not loaded.
        """
        places = self.prefetch.places_of(unit)
        computed = (
            before is not None
            and before.layer != unit.layer
            and self._reads(unit.layer, before.layer)
        )
        ahead, behind = [self.prefetch.tables_of(unit)], list[Iterator[None]]()
        for load, place, late in (
            (self.prefetch.weights_of, places.weights, False),
            (self.prefetch.operands_of, places.inputs, computed),
        ):
            late = late or (place is not None and place.late)
            (behind if late else ahead).append(load(unit, place))
        return ahead, behind

    def program(self) -> Program:
        """Emit everything and assemble the program."""
        units, prefetch = self.units, self.prefetch
        for _ in chain(*self._loads(units[0])[0]):
            pass
        placed = prefetch.placed(units[0])
        for unit, after in pairwise([*units, None]):
            assert unit is not None
            if after is None:
                self._emit_unit(unit, placed, [])
                break
            ahead, behind = self._loads(after, unit)
            self._emit_unit(unit, placed, ahead)
            for _ in chain(*behind):
                pass
            placed = prefetch.placed(after)
        self.text.release()
        self.text.emit("HALT", Engine.STORE, len(self.network.layers) - 1)
        return self._assemble()

    def _assemble(self) -> Program:
        network, text = self.network, encode_text(self.text.columns())
        descriptors = (
            len(network.layers) * LAYER_DESCRIPTOR_BYTES
            + len(self.windows) * WINDOW_DESCRIPTOR_BYTES
        )
        memory = self.memory.whole(text.nbytes, descriptors)
        tensors = zip(network.tensors, self.memory.tensors, strict=True)
        orders = tuple(t.order for t in network.tensors)
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
            positions=np.frombuffer(b"".join(self.prefetch.positions), np.uint8),
            positions_indptr=np.cumsum([0, *map(len, self.prefetch.positions)], dtype=np.int64),
            credits=self.text.credits,
            debug_layer=np.array(self.text.layer, np.int32),
            debug_tile=np.array(self.text.tile, np.int32),
            layer_names=tuple(layer.name for layer in network.layers),
            tensor_names=tuple(t.name for t in network.tensors),
            scales=tuple(t.scale for t in network.tensors),
            orders=orders if any(orders) else (),
            memory_map=memory,
            input=network.input,
            output=network.output,
            pe_map=self.pe_map,
            repaired=self.repaired,
        )

    def _layer_table(self) -> NDArray[np.int64]:
        rows = []
        for i, layer in enumerate(self.network.layers):
            plan = self.plans[i]
            row = {f: int(getattr(layer, f)) for f in LAYER_FIELDS}
            row["slot_words"] = plan.slot_words
            if i in self.constants.weight_at:
                row |= {
                    "weight_addr": self.memory.base("weights") + self.constants.weight_at[i],
                    "bias_addr": self.memory.base("bias") + self.constants.bias_at[i],
                    "chunk_ky": plan.chunk_ky,
                    "chunk_c": plan.chunk_c,
                    "redundancy": self.redundancy[i],
                }
            rows.append([row.get(name, 0) for name in LAYER_COLUMNS])
        return np.array(rows, np.int64)
