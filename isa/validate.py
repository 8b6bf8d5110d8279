"""Checks of a loaded program: every index, size and offset, before anything is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import ProgramError
from .instructions import BY_NAME, WINDOW_FIELDS, Buffer, Engine, Table
from .layers import LAYER_COLUMNS, LayerOp

if TYPE_CHECKING:
    from .program import Program

#: Regions of the DRAM memory map in address order.
REGIONS = ("weights", "bias", "positions", "activations", "text", "descriptors")


_TILE_ENGINES = {
    Engine.ARRAY: ("GEMM",),
    Engine.DPPU: ("DPPU",),
    Engine.STORE: ("VEC", "STORE"),
}


def validate(program: Program, where: str) -> None:
    """Check every index, size and offset of `program` (raises ProgramError).

    What passes can be executed without an access outside the tables, the buffers or DRAM.
    """

    def check(ok: bool | np.bool_, what: str) -> None:
        if not ok:
            raise ProgramError(f"{where}: {what}; recompile the program")

    cfg, p = program.config, program
    check(1 <= p.batch <= 65535, f"batch {p.batch} is not in 1..65535")
    check(p.credits.shape[0] == len(Engine), "tensor 'credits' must be 4 x 4")
    check((p.credits >= 0).all() and (p.credits < 2**31).all(), "a semaphore credit is negative")
    check(len(p.layer_names) == len(p.layers) > 0, "layer names and layer table differ in length")
    check(
        len(p.tensor_names) == len(p.scales) == len(p.tensors) > 0,
        "tensor names, scales and tensor table differ in length",
    )
    _validate_memory_map(p, check)
    base, size = p.memory_map["activations"]
    check((p.tensors[:, :3] > 0).all() and (p.tensors[:, :3] < 2**24).all(), "a tensor is empty")
    elements = p.tensors[:, :3].astype(object).prod(axis=1)
    for name, row, count in zip(p.tensor_names, p.tensors, elements, strict=True):
        check(
            base <= row[3] and int(row[3]) + int(count) * p.batch <= base + size,
            f"tensor {name} at {row[3]} lies outside the activations' memory",
        )
    for name, value in (("input", p.input), ("output", p.output)):
        check(0 <= value < len(p.tensors), f"{name} tensor {value} does not exist")
    _validate_layers(p, check)
    check(
        p.positions_indptr.size > 0
        and p.positions_indptr[0] == 0
        and p.positions_indptr[-1] == p.positions.size
        and (np.diff(p.positions_indptr) >= 0).all(),
        "tensor 'positions_indptr' does not partition 'positions'",
    )
    check(len(p.debug_layer) == len(p.debug_tile) == len(p.text), "debug tensors differ in length")
    check(
        (p.debug_layer >= 0).all() and (p.debug_layer < len(p.layers)).all(),
        "'debug.layer' names a layer that does not exist",
    )
    _validate_windows(p, check)
    _validate_text(p, cfg, where)


def configured(program: Program, engine: Engine) -> dict[Table, NDArray[np.int64]]:
    """Descriptor that each instruction finds configured in `engine`, by pc; -1 before the first."""
    c = program.columns
    mine = (c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == engine)
    out = {}
    for table in Table:
        pcs = np.flatnonzero(mine & (c["table"] == table))
        values = np.concatenate([[-1], c["index"][pcs]])
        out[table] = values[np.searchsorted(pcs, np.arange(len(c["op"])), side="right")]
    return out


def _validate_memory_map(p: Program, check: Any) -> None:
    check(set(p.memory_map) == set(REGIONS), f"the memory map needs {', '.join(REGIONS)}")
    end = 0
    for name in REGIONS:
        base, size = p.memory_map[name]
        check(base >= end and size >= 0, f"memory region {name} at {base} overlaps another one")
        end = base + size
    limit = p.config.dram.size_bytes
    check(end <= limit, f"memory map ends at {end}, DRAM has {limit} bytes")
    for name, nbytes in (
        ("text", p.text.nbytes),
        ("weights", p.weights.nbytes),
        ("bias", p.bias.nbytes),
        ("positions", p.positions.nbytes),
    ):
        check(
            p.memory_map[name][1] == nbytes,
            f"memory region {name} has {p.memory_map[name][1]} bytes, its tensor {nbytes}",
        )


def _validate_layers(p: Program, check: Any) -> None:
    arithmetic = p.config.arithmetic
    spare = arithmetic.acc_bits - arithmetic.act_bits
    wbase, wsize = p.memory_map["weights"]
    bbase, bsize = p.memory_map["bias"]
    for name, row in zip(p.layer_names, p.layers, strict=True):
        v = dict(zip(LAYER_COLUMNS, (int(x) for x in row), strict=True))
        where = f"layer {name}"
        check(v["op"] in LayerOp._value2member_map_, f"{where}: op {v['op']} is unknown")
        ids = [v["input"], v["output"]] + ([v["residual"]] if v["residual"] != -1 else [])
        check(all(0 <= i < len(p.tensors) for i in ids), f"{where}: a tensor does not exist")
        check(
            v["op"] != LayerOp.ADD or v["residual"] >= 0, f"{where}: an ADD needs a second operand"
        )
        for key in ("kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w"):
            check(1 <= v[key] <= 4096, f"{where}: {key}={v[key]} is not in 1..4096")
        for key in ("pad_top", "pad_left"):
            check(abs(v[key]) <= 65535, f"{where}: {key}={v[key]} is not in -65535..65535")
        check(abs(v["c_offset"]) < 2**24, f"{where}: c_offset={v['c_offset']} is out of range")
        for key in ("lshift_a", "lshift_b", "add_shift"):
            check(0 <= v[key] <= 16, f"{where}: {key}={v[key]} is not in 0..16")
        check(0 <= v["shift"] <= spare, f"{where}: shift={v['shift']} is not in 0..{spare}")
        check(-128 <= v["act_lo"] <= v["act_hi"] <= 127, f"{where}: clamp limits are wrong")
        (_, _, cin, _), (oh, ow, cout, _) = p.tensors[v["input"]], p.tensors[v["output"]]
        if v["residual"] >= 0:
            check(
                tuple(p.tensors[v["residual"]][:3]) == (oh, ow, cout),
                f"{where}: the residual's shape is not the output's",
            )
        if v["op"] in (LayerOp.MAXPOOL, LayerOp.AVGPOOL, LayerOp.ADD):
            check(cin == cout, f"{where}: {cin} input channels, {cout} output channels")
        if v["op"] == LayerOp.ADD:
            check(
                (p.tensors[v["input"]][:3] == p.tensors[v["output"]][:3]).all(), f"{where}: shape"
            )
        if v["op"] != LayerOp.CONV:
            continue
        check(
            v["groups"] >= 1 and cin % v["groups"] == 0 and cout % v["groups"] == 0,
            f"{where}: {v['groups']} groups do not divide {cin} and {cout} channels",
        )
        check(
            1 <= v["chunk_ky"] <= v["kernel_h"] and 1 <= v["chunk_c"] <= cin // v["groups"],
            f"{where}: chunk sizes are out of range",
        )
        size = int(cout) * v["kernel_h"] * v["kernel_w"] * (int(cin) // v["groups"])
        check(
            wbase <= v["weight_addr"] and v["weight_addr"] + size <= wbase + wsize,
            f"{where}: its weights lie outside the weights' memory",
        )
        at = v["bias_addr"] - bbase
        check(at >= 0 and at % 4 == 0 and at + 4 * int(cout) <= bsize, f"{where}: bias address")


def _validate_windows(p: Program, check: Any) -> None:
    """Windows lie in their buffers and reduce over something."""
    if not len(p.windows):
        return
    names = [name for name, _ in WINDOW_FIELDS]
    w = {name: p.windows[:, i].astype(np.int64) for i, name in enumerate(names)}
    check((p.windows >= 0).all(), "a window has a negative field")
    check(all((w[f] < 2**24).all() for f in ("rows", "cols", "cc", "kcc")), "a window is too large")
    held = w["rows"] * w["cols"] * w["cc"]
    ifmap = p.config.buffers.ifmap_bytes
    check((w["a_base"] + held <= ifmap).all(), "a window ends outside the ifmap buffer")
    check(((w["nky"] > 0) & (w["kcc"] > 0)).all(), "a window reduces over nothing")
    check((w["nky"] <= 4096).all(), "a window has more kernel rows than a kernel")
    largest = max(ifmap, p.config.buffers.weight_bytes)
    check(((w["b_base"] < largest) & (w["bias_base"] < largest)).all(), "a window's base is wrong")


def _validate_text(p: Program, cfg: Config, where: str) -> None:
    try:
        c = p.columns
    except ProgramError as error:
        raise ProgramError(f"{where}: {error}") from None

    def check(bad: NDArray[np.bool_], what: str) -> None:
        at = np.flatnonzero(bad)
        if at.size:
            raise ProgramError(f"{where}: instruction {at[0]}: {what}; recompile the program")

    op = c["op"]
    dram_end = sum(p.memory_map["activations"])
    sizes = np.zeros(len(Buffer), np.int64)
    sizes[Buffer.IFMAP] = cfg.buffers.ifmap_bytes
    sizes[Buffer.WEIGHT] = cfg.buffers.weight_bytes
    sizes[Buffer.POSITION] = cfg.buffers.position_bytes
    sizes[Buffer.OUTPUT] = cfg.residual_slots_bytes
    load = op == BY_NAME["LOAD"].opcode
    check(
        load & (c["buf_addr"] + c["row_bytes"] * c["count"] > sizes[c["buffer"]]),
        "LOAD ends outside its buffer",
    )
    last = c["dram_addr"] + c["stride"] * np.maximum(c["count"] - 1, 0) + c["row_bytes"]
    check(load & (last > dram_end), "LOAD reads outside the program's memory")
    check(load & ((c["count"] == 0) | (c["row_bytes"] == 0)), "LOAD of no bytes")
    tile = np.isin(op, [BY_NAME[n].opcode for n in ("GEMM", "DPPU", "VEC", "STORE")])
    check(tile & ((c["m"] == 0) | (c["n"] == 0)), "empty tile")
    check(
        tile & (c["m"] * c["n"] > cfg.tile_words),
        "the tile has more words than a slot",
    )
    check(tile & (c["slot"] >= cfg.output_slots), f"slot does not exist ({cfg.output_slots} slots)")
    gemm = op == BY_NAME["GEMM"].opcode
    check(
        gemm & ((c["m"] > cfg.tile_rows) | (c["n"] > cfg.tile_cols)), "the tile exceeds the array"
    )
    folded = cfg.array.dataflow != "os"
    check(
        gemm & ((c["k"] > cfg.array.rows) | ((c["k"] > 0) != folded)),
        f"a GEMM of {c['k'][gemm].max(initial=0)} operands a fold does not suit dataflow "
        f"{cfg.array.dataflow} with {cfg.array.rows} rows",
    )
    check(
        (op == BY_NAME["VEC"].opcode) & (c["res_slot"] >= cfg.output_slots),
        "residual slot does not exist",
    )
    dppu = op == BY_NAME["DPPU"].opcode
    check(dppu & (c["count"] > c["m"] * c["n"]), "position table is larger than its tile")
    nbytes = np.where(
        c["format"] == 1,
        (c["m"] * c["n"] + 7) // 8,
        (c["count"] * cfg.position_bits + 7) // 8,
    )
    check(dppu & (c["pos_addr"] + nbytes > sizes[Buffer.POSITION]), "table ends outside its buffer")
    setcfg = op == BY_NAME["SETCFG"].opcode
    rows = np.where(c["table"] == 0, len(p.layers), len(p.windows))
    check(setcfg & (c["index"] >= rows), "SETCFG of a descriptor that does not exist")
    layer = p.debug_layer
    vector = p.column("op")[layer] != LayerOp.CONV
    for engine, names in _TILE_ENGINES.items():
        mine = np.isin(op, [BY_NAME[n].opcode for n in names])
        tables = configured(p, engine)
        check(mine & (tables[Table.LAYER] != layer), "the configured layer is not the tile's")
        needs_window = mine & ((engine != Engine.STORE) | vector)
        check(needs_window & (tables[Table.WINDOW] < 0), "no window is configured")
    out = p.tensors[p.column("output")[layer]]
    check(tile & (c["m0"] + c["m"] > p.batch * out[:, 0] * out[:, 1]), "tile beyond the last pixel")
    check(tile & (c["n0"] + c["n"] > out[:, 2]), "tile beyond the last channel")
