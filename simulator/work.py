"""What the instructions of a program amount to, found once before a run by walking its tables."""

from __future__ import annotations

import numpy as np

from ..isa.instructions import BY_NAME, WINDOW_FIELDS, Buffer, Engine, Source, Table
from ..isa.program import LAYER_COLUMNS, Program
from .kernels import decode_positions

_WINDOW = {name: i for i, (name, _) in enumerate(WINDOW_FIELDS)}


def configured(program: Program, engine: Engine) -> dict[Table, np.ndarray]:
    """Descriptor that each instruction finds configured in `engine`, by pc; -1 before the first."""
    c = program.columns
    mine = (c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == engine)
    out = {}
    for table in Table:
        pcs = np.flatnonzero(mine & (c["table"] == table))
        values = np.concatenate([[-1], c["index"][pcs]])
        out[table] = values[np.searchsorted(pcs, np.arange(len(c["op"])), side="right")]
    return out


def reductions(program: Program) -> list[int]:
    """Operands K that each GEMM and DPPU instruction runs over, by pc (0 elsewhere)."""
    c = program.columns
    out = np.zeros(len(c["op"]), np.int64)
    kernel_w = program.column("kernel_w")
    lengths = program.windows[:, _WINDOW["nky"]] * program.windows[:, _WINDOW["kcc"]]
    for name, engine in (("GEMM", Engine.ARRAY), ("DPPU", Engine.DPPU)):
        pcs = np.flatnonzero(c["op"] == BY_NAME[name].opcode)
        tables = configured(program, engine)
        out[pcs] = kernel_w[tables[Table.LAYER][pcs]] * lengths[tables[Table.WINDOW][pcs]]
    return [int(x) for x in out]


def excess_work(program: Program, k: list[int]) -> tuple[list[int], list[int]]:
    """Bytes to fetch and cycles of one neuron in one group, for each DPPU instruction from DRAM.

    Every distinct row (the part of its patch inside the map) and every distinct column of a tile's
    excess neurons is fetched once.
    """
    c, config = program.columns, program.config
    nbytes, cycles = [0] * len(k), [0] * len(k)
    pcs = np.flatnonzero((c["op"] == BY_NAME["DPPU"].opcode) & (c["source"] == Source.DRAM))
    if not pcs.size:
        return nbytes, cycles
    tables = configured(program, Engine.DPPU)
    held = _position_contents(program)
    for pc in pcs.tolist():
        positions = decode_positions(
            held[pc],
            int(c["format"][pc]),
            int(c["count"][pc]),
            int(c["n"][pc]),
            config.position_column_bits,
            config.position_bits,
        )
        layer = dict(
            zip(LAYER_COLUMNS, program.layers[tables[Table.LAYER][pc]].tolist(), strict=True)
        )
        window = program.windows[tables[Table.WINDOW][pc]]
        rows = np.unique(positions[:, 0])
        columns = len(np.unique(positions[:, 1]))
        patches = _patch_bytes(program, layer, window, int(c["m0"][pc]) + rows)
        nbytes[pc] = patches + columns * k[pc]
        cycles[pc] = -(-k[pc] // config.dppu.width)
    return nbytes, cycles


def _patch_bytes(
    program: Program, layer: dict[str, int], window: np.ndarray, pixels: np.ndarray
) -> int:
    """Bytes of the operands of `pixels` that lie inside the map."""
    in_h, in_w = (int(x) for x in program.tensors[layer["input"], :2])
    out_h, out_w = (int(x) for x in program.tensors[layer["output"], :2])
    y, x = np.divmod(pixels % (out_h * out_w), out_w)
    ky = window[_WINDOW["ky0"]] + np.arange(window[_WINDOW["nky"]])
    kx = np.arange(layer["kernel_w"])
    iy = y[:, None] * layer["stride_h"] + ky * layer["dilation_h"] - layer["pad_top"]
    ix = x[:, None] * layer["stride_w"] + kx * layer["dilation_w"] - layer["pad_left"]
    inside = ((iy >= 0) & (iy < in_h)).sum(1) * ((ix >= 0) & (ix < in_w)).sum(1)
    return int(inside.sum()) * int(window[_WINDOW["kcc"]])


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
