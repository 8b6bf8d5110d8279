"""What the instructions of a program amount to, found once before a run by walking its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.descriptors import LAYER_COLUMNS, Redundancy
from ...isa.instructions import (
    BY_NAME,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    WINDOW_FIELDS,
    Buffer,
    Engine,
    Kind,
    Source,
    Table,
)
from ...isa.program import Program
from ...isa.sizes import DESCRIPTOR_BYTES, table_bytes
from ...isa.validate_text import configured, takers
from ...network.layers import LayerOp
from ...tables import complete
from ..array.roles import ROLES
from ..array.timing import (
    fold_cycles,
    fold_follows,
    idle_channels,
    os_tile_cycles,
    restore_steps,
)
from .kernels import excess_reads

#: Cycles of the vector unit's pipeline, from the first word in to the first word out.
VEC_LATENCY = 4

#: Layer fields of a gather's geometry, after the maps' sizes.
_GATHERED = (
    "kernel_w",
    "stride_h",
    "stride_w",
    "pad_top",
    "pad_left",
    "dilation_h",
    "dilation_w",
)
_WINDOW = {name: i for i, (name, _) in enumerate(WINDOW_FIELDS)}
#: Window columns of the part of the input in the buffer, in the order of `gather`.
HELD = ("row0", "rows", "row_step", "col0", "cols", "col_step", "c0", "cc")
#: Window columns of a part of the reduction: ky0, nky, kc0, kcc.
REDUCTION = [_WINDOW[f] for f in ("ky0", "nky", "kc0", "kcc")]


def reductions(program: Program) -> NDArray[np.int64]:
    """Operands K that each GEMM and DPPU instruction runs over, by pc (0 elsewhere)."""
    c = program.columns
    out = np.zeros(len(c["op"]), np.int64)
    kernel_w = program.column("kernel_w")
    windows = program.windows.astype(np.int64)
    lengths = windows[:, _WINDOW["nky"]] * windows[:, _WINDOW["kcc"]]
    for name, engine in PRODUCTS.items():
        pcs = np.flatnonzero(c["op"] == BY_NAME[name].opcode)
        tables = configured(program, engine)
        whole = kernel_w[tables[Table.LAYER][pcs]] * lengths[tables[Table.WINDOW][pcs]]
        out[pcs] = np.where(c["k"][pcs] > 0, c["k"][pcs], whole) if name == "GEMM" else whole
    return out


def queues(program: Program) -> NDArray[np.bool_]:
    """Which engine takes which instruction: (engines, instructions)."""
    taken = takers(program.columns)
    return np.array([taken >> e & 1 for e in Engine], np.bool_)


def _vec_cycles(program: Program) -> NDArray[np.int64]:
    c = program.columns
    window = np.where(
        program.column("op") == LayerOp.CONV,
        1,
        program.column("kernel_h") * program.column("kernel_w"),
    )
    elements = c["m"].astype(np.int64) * c["n"] * window[program.debug_layer]
    return -(-elements // program.config.vec.lanes) + VEC_LATENCY


#: Cycles, at least 1, of instructions that always take the same; by pc.
FIXED: dict[str, Callable[[Program], NDArray[np.int64]]] = {
    "VEC": _vec_cycles,
    "SETCFG": lambda program: np.ones(len(program.text), np.int64),
}
#: Instructions that move bytes through the DRAM channel (`transfers`).
MOVES = ("LOAD", "STORE")
#: Those whose time is made of products (`reductions`), and those that only wait for engines.
PRODUCTS, WAITS = {"GEMM": Engine.ARRAY, "DPPU": Engine.DPPU}, ("SYNC", "HALT")
#: Kinds of bytes that a LOAD names; and those that only one instruction moves.
_LOADED = (Kind.IFMAP, Kind.WEIGHT, Kind.BIAS, Kind.POSITION_TABLE)
_MOVED_BY = {Kind.OFMAP: "STORE", Kind.DPPU_OPERAND: "DPPU"}
complete(
    "Kind in isa/instructions.py",
    Kind,
    [*_LOADED, *_MOVED_BY, Kind.INSTRUCTION],  # which the fetch unit moves
    "simulator/text/work.py: _LOADED, _MOVED_BY",
)
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    [*FIXED, *MOVES, *PRODUCTS, *WAITS],
    "simulator/text/work.py: FIXED, MOVES, PRODUCTS, WAITS",
)


def fixed_cycles(program: Program) -> NDArray[np.int64]:
    """Cycles of the instructions that always take the same; else 0. By pc."""
    op = program.columns["op"]
    out = np.zeros(len(op), np.int64)
    for name, cycles in FIXED.items():
        out = np.where(op == BY_NAME[name].opcode, cycles(program), out)
    return out


class GemmTime(NamedTuple):
    """How long GEMMs take without stalls of the DPPU, by pc.

    The last four are about the column buses, over which results leave, and parked sums come back,
    underneath other operands with double-buffered accumulators; without those they are 0. So they
    are with stationary arrays, but for `under` with overlapped preload: the end of the stream, too.
    """

    blocks: NDArray[np.int64]  #: before the first operand, for blocks of channels that are not full
    cycles: NDArray[np.int64]  #: from the first operand to the last sum
    leaves: NDArray[np.int64]  #: to the end of the first results on the buses, 0 without any
    under: NDArray[np.int64]  #: the last of `cycles`, underneath the next GEMM
    waits: NDArray[np.int64]  #: those of `cycles` in which operands of a copy wait for the buses
    buses: NDArray[np.int64]  #: in which sums move over the buses, of one copy


def gemm_time(program: Program, k: NDArray[np.int64]) -> GemmTime:
    """The time of each GEMM. k : its operands (`reductions`)."""
    c, array = program.columns, program.config.array
    m, n, none = c["m"].astype(np.int64), c["n"].astype(np.int64), np.zeros(len(k), np.int64)
    if not array.keeps_sums:
        pcs = np.flatnonzero((c["op"] == BY_NAME["GEMM"].opcode) & (k > 0))
        vectors, held = ROLES[array.dataflow].by_role(m[pcs], n[pcs])
        fold, under = none.copy(), none.copy()
        fold[pcs] = fold_cycles(vectors, k[pcs], held)
        if array.overlapped_preload:  # of the next fold, whatever tile or layer it is of
            follows = fold_follows(vectors[:-1], k[pcs][:-1], held[:-1], k[pcs][1:])
            under[pcs[:-1]] = fold[pcs[:-1]] - follows
        return GemmTime(none, fold, none, under, none, none)
    code = program.column("redundancy")[program.debug_layer]
    copies = [row.copies for row in Redundancy]
    runs = np.array([own.runs for own in copies])[code]
    repeated = runs > 1
    first, last, resumed = c["first"] != 0, c["last"] != 0, c["resume"] != 0
    tail = np.where(last | repeated, os_tile_cycles(0, m, n), 0)
    double = array.double_buffered_accumulators
    again = repeated & ~first | resumed & (repeated | (not double))
    start = np.where(again, restore_steps(m), 0)
    run = start + k + tail
    cycles, blocks = runs * run, runs * _blocks(program)
    if not double:
        return GemmTime(blocks, cycles, none, none, none, none)
    # The copies of an uncut tile follow at once, as other tiles do, a step of the buses apart.
    uncut = repeated & first & last
    cycles = np.where(uncut, run + (runs - 1) * np.maximum(k, m), cycles)
    waits = np.where(uncut, (runs - 1) * np.maximum(0, m - k), 0)
    buses = m + np.where(resumed & ~repeated, restore_steps(m), 0)
    leaves, under = np.where(tail > 0, run, 0), np.where(last, tail, 0)
    return GemmTime(blocks, cycles, leaves, under, waits, buses)


def _blocks(program: Program) -> NDArray[np.int64]:
    """Cycles for what the last blocks of channels lack (`array.channel_block`), by pc of a GEMM."""
    block = program.config.array.channel_block
    pcs = np.flatnonzero(program.columns["op"] == BY_NAME["GEMM"].opcode)
    out = np.zeros(len(program.text), np.int64)
    if block > 1:
        tables = configured(program, Engine.ARRAY)
        window = program.windows[tables[Table.WINDOW][pcs]].astype(np.int64)
        channels = window[:, _WINDOW["kcc"]]
        positions = window[:, _WINDOW["nky"]] * program.column("kernel_w")[tables[Table.LAYER][pcs]]
        out[pcs] = positions * idle_channels(channels, block)
    return out


Strided = Sequence[int]  #: (address, bytes of a row, rows, bytes from row to row)


def transfers(program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kind, and of LOAD and STORE (address, row bytes, rows, stride), by pc; nonsense elsewhere."""
    c = program.columns
    store = c["op"] == BY_NAME["STORE"].opcode
    outputs = program.tensors[program.column("output")].astype(np.int64)
    channels, base = outputs[program.debug_layer, 2], outputs[program.debug_layer, 3]
    tile = base + c["m0"].astype(np.int64) * channels + c["n0"]
    columns = (
        np.where(store, tile, c["dram_addr"]),
        np.where(store, c["n"], c["row_bytes"]),
        np.where(store, c["m"], c["count"]),
        np.where(store, channels, c["stride"]),
    )
    kinds = c["kind"].astype(np.int64)
    for kind, name in _MOVED_BY.items():
        kinds[c["op"] == BY_NAME[name].opcode] = kind
    return kinds, np.stack(columns, 1).astype(np.int64)


class Excess(NamedTuple):
    """Operands of the DPPU instructions that do not take them from the taps.

    Every distinct row (the part of its patch inside the map) and every distinct column of a tile's
    neurons is read once.
    """

    pcs: NDArray[np.int64]
    nbytes: NDArray[np.int64]
    reads: NDArray[np.int64]  #: `Strided`, in DRAM
    begins: NDArray[np.int64]  #: where those of each pc begin; one more at the end


def excess_work(program: Program, k: NDArray[np.int64]) -> Excess:
    """What each DPPU instruction from DRAM or buffers reads."""
    c, config = program.columns, program.config
    fetched = np.isin(c["source"], [source for source in Source if source.fetched])
    pcs = np.flatnonzero((c["op"] == BY_NAME["DPPU"].opcode) & fetched)
    configured_by = configured(program, Engine.DPPU)
    layers, windows = (configured_by[table][pcs] for table in (Table.LAYER, Table.WINDOW))
    held, first = position_contents(program, pcs)
    geometry = np.zeros((len(pcs), 4 + len(_GATHERED)), np.int64)
    weights = np.zeros(len(pcs), np.int64)
    for i in np.unique(layers).tolist():
        named = dict(zip(LAYER_COLUMNS, program.layers[i].tolist(), strict=True))
        own = layers == i
        geometry[own] = gather_geometry(program, named)
        window = program.windows[windows[own]].astype(np.int64)
        weights[own] = weight_address(program, named, window, c["n0"][pcs[own]])
    inputs = program.tensors[program.column("input")[layers]].astype(np.int64)
    reads, begins = excess_reads(
        held,
        first,
        np.stack([c[f][pcs] for f in ("format", "count", "m0", "m", "n")], 1).astype(np.int64),
        config.position_column_bits,
        config.position_bits,
        geometry,
        program.windows[windows][:, REDUCTION].astype(np.int64),
        inputs[:, 2:4],
        weights,
        k[pcs],
    )
    before = np.concatenate([[0], np.cumsum(reads[:, 1] * reads[:, 2])])
    return Excess(pcs, np.diff(before[begins]), reads, begins)


def gather_geometry(program: Program, layer: Mapping[str, int]) -> NDArray[np.int64]:
    """Map sizes, then kernel, stride, pad and dilation of a layer, as the kernels take them."""
    (in_h, in_w, _, _), (out_h, out_w, _, _) = (
        program.tensors[layer[t]].tolist() for t in ("input", "output")
    )
    return np.array([in_h, in_w, out_h, out_w, *(layer[f] for f in _GATHERED)], np.int64)


def weight_address(
    program: Program, layer: Mapping[str, int], window: NDArray[np.int64], channel: Any
) -> Any:
    """DRAM address of a channel's weights over the window's part of the reduction.

    window : (..., fields) and channel : (...), integers; so is the result.
    """
    cin, cout = (int(program.tensors[layer[t], 2]) for t in ("input", "output"))
    width, per_group = cout // layer["groups"], cin // layer["groups"]
    group, within = divmod(channel, width)
    depth = layer["kernel_h"] * layer["kernel_w"] * per_group
    ky0, nky, kc0, kcc = (window[..., i] for i in REDUCTION)
    before = (ky0 * per_group + nky * (kc0 - group * per_group)) * layer["kernel_w"]
    length = nky * layer["kernel_w"] * kcc
    return layer["weight_addr"] + (group * depth + before) * width + within * length


def position_contents(
    program: Program, pcs: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Tables that the DPPU instructions `pcs` find, by following the LOADs: bytes, and starts."""
    c, base = program.columns, program.memory_map["positions"][0]
    buffer = np.zeros(program.config.buffers.position_bytes, np.uint8)
    load = c["op"] == BY_NAME["LOAD"].opcode
    wanted = load & (c["buffer"] == Buffer.POSITION)
    wanted[pcs] = True
    bits = program.config.position_bits
    tables = table_bytes(c["format"], c["count"], bits, c["m"].astype(np.int64) * c["n"])
    sizes = np.where(load, c["row_bytes"] * c["count"], tables)
    found = []
    walk = np.flatnonzero(wanted)
    columns = (load, c["buf_addr"], c["pos_addr"], c["dram_addr"], sizes)
    for is_load, to, at, source, size in zip(*(x[walk].tolist() for x in columns), strict=True):
        if is_load:
            buffer[to : to + size] = program.positions[source - base : source - base + size]
        else:
            found.append(buffer[at : at + size].copy())
    return np.concatenate([buffer[:0], *found]), np.cumsum([0, *map(len, found)])


class Work:
    """A program as both cycle models take it: by pc, what its instructions need and how long."""

    def __init__(self, program: Program) -> None:
        c, config = program.columns, program.config
        #: The DPPU takes the array's token itself, before it writes its sums.
        itself = np.where(c["op"] == BY_NAME["DPPU"].opcode, 1 << Engine.ARRAY, 0)
        self.array_token = c["wait"] & itself
        self.waits, self.posts = c["wait"] & ~itself, c["post"]  # masks of engines
        self.queued = queues(program)
        self.k = reductions(program)
        self.fixed = fixed_cycles(program)
        self.gemm = gemm_time(program, self.k)
        self.kinds, self.reads = transfers(program)
        self.excess = excess_work(program, self.k)
        #: Cycles of one neuron in one group of the DPPU.
        self.neuron_cycles = -(-self.k // config.dppu.width)
        #: Cycles of a DPPU instruction from its last operands to its sums.
        last = (self.k - 1) % config.dppu.window + 1
        rounds = -(-c["count"] // max(1, config.dppu.size // config.dppu.width))
        self.last_window_cycles = rounds * -(-last // config.dppu.width)
        #: Bytes of the instruction and of the descriptor that it names.
        descriptors = np.array([DESCRIPTOR_BYTES[table] for table in Table], np.int64)
        setcfg = c["op"] == BY_NAME["SETCFG"].opcode
        self.fetch_bytes = INSTRUCTION_BYTES + np.where(
            setcfg, descriptors[np.where(setcfg, c["table"], 0)], 0
        )
        buffer = config.buffers.instruction_bytes
        #: Instructions that are fetched together, and how many such chunks the buffer holds.
        self.chunk = max(1, min(config.dram.grant_bytes, buffer // 2) // INSTRUCTION_BYTES)
        self.held = max(2, buffer // (self.chunk * INSTRUCTION_BYTES))
        self.readers = self.queued.sum(0)
        starts = np.arange(0, len(self.readers), self.chunk)
        #: Times that an instruction of each chunk is taken.
        self.chunk_readers = np.add.reduceat(self.readers, starts)
