"""What the instructions of a program amount to, found once before a run by walking its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..isa.instructions import BY_NAME, WINDOW_FIELDS, Buffer, Engine, Source, Table
from ..isa.layers import LAYER_COLUMNS
from ..isa.program import Program
from ..isa.validate import configured
from .kernels import decode_positions

_WINDOW = {name: i for i, (name, _) in enumerate(WINDOW_FIELDS)}


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


Strided = tuple[int, int, int, int]  #: (address, bytes of a row, rows, bytes from row to row)


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
    out = {}
    for pc in pcs.tolist():
        positions = decode_positions(
            held[pc],
            int(c["format"][pc]),
            int(c["count"][pc]),
            int(c["n"][pc]),
            config.position_column_bits,
            config.position_bits,
        )
        row = program.layers[tables[Table.LAYER][pc]].tolist()
        layer = dict(zip(LAYER_COLUMNS, row, strict=True))
        window = program.windows[tables[Table.WINDOW][pc]]
        patches = _patches(program, layer, window, int(c["m0"][pc]) + np.unique(positions[:, 0]))
        columns = np.unique(positions[:, 1])
        channels = [int(c["n0"][pc] + column) for column in columns]
        reads = patches + [
            (weight_address(program, layer, window, n), k[pc], 1, 0) for n in channels
        ]
        nbytes = sum(row * rows for _, row, rows, _ in reads)
        out[pc] = Excess(nbytes, -(-k[pc] // config.dppu.width), reads)
    return out


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


def _patches(
    program: Program,
    layer: Mapping[str, int],
    window: NDArray[np.int32],
    pixels: NDArray[np.int64],
) -> list[Strided]:
    """Reads of the operands of `pixels` inside the map: one strided read a pixel."""
    in_h, in_w, channels, base = program.tensors[layer["input"]].tolist()
    out_h, out_w = program.tensors[layer["output"], :2].tolist()
    ky0, nky, kc0, kcc = (int(window[_WINDOW[f]]) for f in ("ky0", "nky", "kc0", "kcc"))
    reads = []
    for pixel in pixels.tolist():
        image, rest = divmod(pixel, out_h * out_w)
        y, x = divmod(rest, out_w)
        top = y * layer["stride_h"] - layer["pad_top"]
        left = x * layer["stride_w"] - layer["pad_left"]
        row, rows = _inside(top, layer["dilation_h"], ky0, nky, in_h)
        col, cols = _inside(left, layer["dilation_w"], 0, layer["kernel_w"], in_w)
        if not rows or not cols:
            continue
        at = base + ((image * in_h + row) * in_w + col) * channels + kc0
        step = layer["dilation_h"] * in_w * channels
        if kcc == channels and layer["dilation_w"] == 1:
            reads.append((at, cols * kcc, rows, step))
        else:
            across = layer["dilation_w"] * channels
            reads += [(at + i * step, kcc, cols, across) for i in range(rows)]
    return reads


def _inside(start: int, dilation: int, first: int, count: int, size: int) -> tuple[int, int]:
    """(first coordinate, number) of kernel elements [first, first + count) within 0..size-1."""
    low = max(first, -(start // dilation))
    high = min(first + count - 1, (size - 1 - start) // dilation)
    return start + low * dilation, max(0, high - low + 1)


def _position_contents(program: Program) -> dict[int, np.ndarray]:
    """The bytes that each DPPU instruction finds at its table's address, by following the LOADs."""
    c, base = program.columns, program.memory_map["positions"][0]
    buffer = np.zeros(program.config.buffers.position_bytes, np.uint8)
    load, dppu = BY_NAME["LOAD"].opcode, BY_NAME["DPPU"].opcode
    wanted = (c["op"] == dppu) | ((c["op"] == load) & (c["buffer"] == Buffer.POSITION))
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
