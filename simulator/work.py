"""What the instructions of a program amount to, found once before a run by walking its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..isa.instructions import BY_NAME, WINDOW_FIELDS, Buffer, Engine, Source, Table
from ..isa.layers import LAYER_COLUMNS
from ..isa.program import Program
from ..isa.validate import configured
from .kernels import decode_positions, excess_reads

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
_REDUCTION = [_WINDOW[f] for f in ("ky0", "nky", "kc0", "kcc")]


def reductions(program: Program) -> list[int]:
    """Operands K that each GEMM and DPPU instruction runs over, by pc (0 elsewhere)."""
    c = program.columns
    out = np.zeros(len(c["op"]), np.int64)
    kernel_w = program.column("kernel_w")
    lengths = program.windows[:, _WINDOW["nky"]] * program.windows[:, _WINDOW["kcc"]]
    for name, engine in (("GEMM", Engine.ARRAY), ("DPPU", Engine.DPPU)):
        pcs = np.flatnonzero(c["op"] == BY_NAME[name].opcode)
        tables = configured(program, engine)
        whole = kernel_w[tables[Table.LAYER][pcs]] * lengths[tables[Table.WINDOW][pcs]]
        out[pcs] = np.where(c["k"][pcs] > 0, c["k"][pcs], whole) if name == "GEMM" else whole
    return [int(x) for x in out]


Strided = Sequence[int]  #: (address, bytes of a row, rows, bytes from row to row)


class Excess(NamedTuple):
    """Operands of a DPPU instruction that does not take them from the taps.

    Every distinct row (the part of its patch inside the map) and every distinct column of a tile's
    neurons is read once.
    """

    nbytes: int
    cycles: int  #: of one neuron in one group
    reads: list[Strided]  #: in DRAM


def excess_work(program: Program, k: list[int]) -> dict[int, Excess]:
    """What each DPPU instruction from DRAM or buffers reads, by pc."""
    c, config = program.columns, program.config
    pcs = np.flatnonzero((c["op"] == BY_NAME["DPPU"].opcode) & (c["source"] != Source.ARRAY))
    if not pcs.size:
        return {}
    tables = configured(program, Engine.DPPU)
    held = _position_contents(program)
    layers = tables[Table.LAYER][pcs].tolist()
    named = {i: dict(zip(LAYER_COLUMNS, program.layers[i].tolist(), strict=True)) for i in layers}
    geometry = {i: gather_geometry(program, row) for i, row in named.items()}
    inputs = {i: program.tensors[row["input"]].tolist() for i, row in named.items()}
    c = {f: c[f].tolist() for f in ("m0", "m", "n0", "n", "count", "format")}
    column_bits, bits = config.position_column_bits, config.position_bits
    out = {}
    for pc, i in zip(pcs.tolist(), layers, strict=True):
        fmt, count, n = c["format"][pc], c["count"][pc], c["n"][pc]
        window = program.windows[tables[Table.WINDOW][pc]]
        reads = excess_reads(
            decode_positions(held[pc], fmt, count, n, column_bits, bits),
            np.array((c["m0"][pc], c["m"][pc], n), np.int64),
            geometry[i],
            window[_REDUCTION].astype(np.int64),
            inputs[i][3],
            inputs[i][2],
            weight_address(program, named[i], window, c["n0"][pc]),
            k[pc],
        ).tolist()
        nbytes = sum(row * rows for _, row, rows, _ in reads)
        out[pc] = Excess(nbytes, -(-k[pc] // config.dppu.width), reads)
    return out


def gather_geometry(program: Program, layer: Mapping[str, int]) -> NDArray[np.int64]:
    """Map sizes, then kernel, stride, pad and dilation of a layer, as the kernels take them."""
    (in_h, in_w, _, _), (out_h, out_w, _, _) = (
        program.tensors[layer[t]].tolist() for t in ("input", "output")
    )
    return np.array([in_h, in_w, out_h, out_w, *(layer[f] for f in _GATHERED)], np.int64)


def weight_address(
    program: Program, layer: Mapping[str, int], window: NDArray[np.int32], channel: int
) -> int:
    """DRAM address of a channel's weights over the window's part of the reduction."""
    cin, cout = (int(program.tensors[layer[t], 2]) for t in ("input", "output"))
    width, per_group = cout // layer["groups"], cin // layer["groups"]
    group, within = divmod(channel, width)
    depth = layer["kernel_h"] * layer["kernel_w"] * per_group
    ky0, nky, kc0, kcc = (int(window[_WINDOW[f]]) for f in ("ky0", "nky", "kc0", "kcc"))
    before = (ky0 * per_group + nky * (kc0 - group * per_group)) * layer["kernel_w"]
    length = nky * layer["kernel_w"] * kcc
    return layer["weight_addr"] + (group * depth + before) * width + within * length


def _position_contents(program: Program) -> dict[int, np.ndarray]:
    """The tables that DPPU instructions from DRAM or buffers find, by following the LOADs."""
    c, base = program.columns, program.memory_map["positions"][0]
    buffer = np.zeros(program.config.buffers.position_bytes, np.uint8)
    load, dppu = BY_NAME["LOAD"].opcode, BY_NAME["DPPU"].opcode
    wanted = (c["op"] == dppu) & (c["source"] != Source.ARRAY)
    wanted |= (c["op"] == load) & (c["buffer"] == Buffer.POSITION)
    bits = program.config.position_bits
    out = {}
    for pc in np.flatnonzero(wanted).tolist():
        if c["op"][pc] == load:
            at, size = int(c["buf_addr"][pc]), int(c["row_bytes"][pc] * c["count"][pc])
            first = int(c["dram_addr"][pc]) - base
            buffer[at : at + size] = program.positions[first : first + size]
            continue
        at = int(c["pos_addr"][pc])
        tile = int(c["m"][pc] * c["n"][pc])
        size = (tile + 7) // 8 if c["format"][pc] else (int(c["count"][pc]) * bits + 7) // 8
        out[pc] = buffer[at : at + size].copy()
    return out
