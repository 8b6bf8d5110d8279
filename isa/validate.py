"""Checks of a loaded program: every index, size and offset, before anything is executed.

The tables are checked here, the instructions in `validate_text`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ProgramError
from ..network.layers import LayerOp
from .descriptors import LAYER_COLUMNS, Redundancy
from .instructions import WINDOW_FIELDS, Engine
from .protection import redundancy_of
from .validate_text import validate_text

if TYPE_CHECKING:
    from .program import Program

#: Regions of the DRAM memory map in address order.
REGIONS = ("weights", "bias", "positions", "activations", "text", "descriptors")
#: Elements that padding may add to a small map (to a large one it may add sixteen times its size).
_MOST_PADDING = 1 << 22
#: Tokens a semaphore can begin with; a compiled program needs one a buffer half or output slot.
MOST_CREDITS = 65535


def validate(program: Program, where: str) -> None:
    """Check every index, size and offset of `program` (raises ProgramError).

    What passes can be executed without an access outside the tables, the buffers or DRAM.
    """

    def check(ok: bool | np.bool_, what: str) -> None:
        if not ok:
            raise ProgramError(f"{where}: {what}; recompile the program")

    p = program
    check(1 <= p.batch <= 65535, f"batch {p.batch} is not in 1..65535")
    check(p.credits.shape[0] == len(Engine), "tensor 'credits' must be 4 x 4")
    check(
        (p.credits >= 0).all() and (p.credits <= MOST_CREDITS).all(),
        f"a semaphore credit is not in 0..{MOST_CREDITS}",
    )
    check(len(p.layer_names) == len(p.layers) > 0, "layer names and layer table differ in length")
    check(
        len(p.tensor_names) == len(p.scales) == len(p.tensors) > 0,
        "tensor names, scales and tensor table differ in length",
    )
    for name in (p.name, *p.layer_names, *p.tensor_names):
        check(name.isprintable(), f"name {name!r} cannot be printed")
    for name, scale in zip(p.tensor_names, p.scales, strict=True):
        check(0 < scale < math.inf, f"tensor {name}: scale {scale} is not a positive number")
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
    _validate_order(p, check)
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
    validate_text(p, where)


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
        _validate_reach(p, v, where, check)
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
        conv = v["op"] == LayerOp.CONV
        wanted = redundancy_of(p.config, name) if conv else Redundancy.NONE
        check(
            v["redundancy"] == wanted,
            f"{where}: redundancy={v['redundancy']}, the configuration asks for {int(wanted)}",
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


def _validate_reach(p: Program, v: dict[str, int], where: str, check: Any) -> None:
    """What lies under the windows is of the size of the maps; steps that are not taken are 1."""
    copies = v["op"] in (LayerOp.ADD, LayerOp.COPY)
    one = ["kernel_h", "kernel_w"] if copies else []
    one += ["stride_h", "stride_w"] if v["op"] == LayerOp.ADD else []
    zero = ["pad_top", "pad_left"] if v["op"] == LayerOp.ADD else []
    zero += ["c_offset"] if v["op"] != LayerOp.COPY else []
    for keys, value in ((one, 1), (zero, 0)):
        for key in keys:
            check(v[key] == value, f"{where}: {key}={v[key]} must be {value} in {_name(v)}")
    if v["op"] == LayerOp.COPY:
        return
    source, out = ([int(x) for x in p.tensors[v[t]][:3]] for t in ("input", "output"))
    covered = source[2]
    for axis, have, count, pad in (
        ("h", source[0], out[0], v["pad_top"]),
        ("w", source[1], out[1], v["pad_left"]),
    ):
        reach = (count - 1) * v[f"stride_{axis}"] + 1
        reach += (v[f"kernel_{axis}"] - 1) * v[f"dilation_{axis}"]
        check(-have < pad < reach, f"{where}: a padding of {pad} moves its windows off the map")
        covered *= reach
    limit = _MOST_PADDING + 16 * (math.prod(source) + math.prod(out))
    check(covered <= limit, f"{where}: its windows cover {covered} elements, at most {limit}")


def _name(v: dict[str, int]) -> str:
    return LayerOp(v["op"]).name


def _validate_order(p: Program, check: Any) -> None:
    """Layers stand in order of execution: each reads what an earlier one or nobody writes."""
    written = {int(t): i for i, t in reversed(list(enumerate(p.column("output"))))}
    for i, name in enumerate(p.layer_names):
        source, output, residual = (int(p.column(f)[i]) for f in ("input", "output", "residual"))
        for t in (source, residual):
            check(
                t == -1 or written.get(t, -1) < i,
                f"layer {name} reads tensor {p.tensor_names[t]} before it is written",
            )
        check(
            written[output] == i and output != p.input,
            f"layer {name} writes tensor {p.tensor_names[output]}, which has its values already",
        )
    last = int(p.column("output")[-1])
    check(last == p.output, f"the last layer writes tensor {last}, the output is {p.output}")


def _validate_windows(p: Program, check: Any) -> None:
    """Windows lie in their buffers and reduce over something."""
    if not len(p.windows):
        return
    names = [name for name, _ in WINDOW_FIELDS]
    w = {name: p.windows[:, i].astype(np.int64) for i, name in enumerate(names)}
    check((p.windows >= 0).all(), "a window has a negative field")
    ifmap = p.config.buffers.ifmap_bytes
    # Each factor first: their product could pass 2**64 and look small.
    fits = all((w[f] <= ifmap).all() for f in ("rows", "cols", "cc"))
    held = w["rows"] * w["cols"]
    check(fits and (held <= ifmap).all(), "a window ends outside the ifmap buffer")
    held = held * w["cc"]
    check((w["a_base"] + held <= ifmap).all(), "a window ends outside the ifmap buffer")
    check(((w["nky"] > 0) & (w["kcc"] > 0)).all(), "a window reduces over nothing")
    largest = max(ifmap, p.config.buffers.weight_bytes)
    check(((w["b_base"] < largest) & (w["bias_base"] < largest)).all(), "a window's base is wrong")
