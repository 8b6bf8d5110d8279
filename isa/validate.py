"""Checks of a loaded program: every index, size and offset, before anything is executed.

The tables are checked here, the instructions in `validate_text`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..config.accelerator import ADDRESSES
from ..network.layers import LayerOp
from .descriptors import LAYER_COLUMNS, Redundancy
from .instructions import WINDOW_FIELDS, Buffer, Engine
from .protection import redundancy_of
from .rules import ADVICE, BrokenRule, InvalidProgramError, Rule
from .sizes import buffer_bytes, operand_memory
from .validate_text import validate_text

if TYPE_CHECKING:
    from .program import Program

#: Regions of the DRAM memory map in address order.
REGIONS = ("weights", "bias", "positions", "activations", "text", "descriptors")
#: Elements that padding may add to a small map (to a large one it may add sixteen times its size).
_MOST_PADDING = 1 << 22
#: Tokens a semaphore can begin with; a compiled program needs one a buffer half or output slot.
MOST_CREDITS = 65535


class Check(Protocol):
    """How a rule of the tables is checked."""

    def __call__(self, ok: bool | np.bool_, rule: Rule, **values: object) -> None:
        """Raise InvalidProgramError unless `ok`; values : those that the rule's text names."""


def validate(program: Program, where: str) -> None:
    """Check every index, size and offset of `program` (raises InvalidProgramError).

    What passes can be executed without an access outside the tables, the buffers or DRAM.
    """

    def check(ok: bool | np.bool_, rule: Rule, **values: object) -> None:
        if not ok:
            text = BrokenRule(rule, values).text
            raise InvalidProgramError(f"{where}: {text}", ADVICE, rule)

    p = program
    check(1 <= p.batch <= 65535, Rule.BATCH, batch=p.batch)
    check(p.credits.shape[0] == len(Engine), Rule.CREDITS_SHAPE)
    check(
        (p.credits >= 0).all() and (p.credits <= MOST_CREDITS).all(),
        Rule.CREDITS,
        most=MOST_CREDITS,
    )
    check(len(p.layer_names) == len(p.layers) > 0, Rule.LAYER_NAMES)
    check(
        len(p.tensor_names) == len(p.scales) == len(p.tensors) > 0,
        Rule.TENSOR_NAMES,
    )
    moved = [(order, row) for order, row in zip(p.orders, p.tensors, strict=False) if order]
    check(
        len(p.orders) in (0, len(p.tensors))
        and all(sorted(order) == list(range(row[2])) for order, row in moved),
        Rule.CHANNEL_ORDER,
    )
    for name in (p.name, *p.layer_names, *p.tensor_names):
        check(name.isprintable(), Rule.NAME, name=name)
    for name, scale in zip(p.tensor_names, p.scales, strict=True):
        check(0 < scale < math.inf, Rule.SCALE, name=name, scale=scale)
    _validate_memory_map(p, check)
    base, size = p.memory_map["activations"]
    check((p.tensors[:, :3] > 0).all() and (p.tensors[:, :3] < 2**24).all(), Rule.EMPTY_TENSOR)
    elements = p.tensors[:, :3].astype(object).prod(axis=1)
    kept = p.config.activation_base
    homes = (base, base + size), (kept, ADDRESSES)
    for name, row, count in zip(p.tensor_names, p.tensors, elements, strict=True):
        first, end = int(row[3]), int(row[3]) + int(count) * p.batch
        inside = any(low <= first and end <= high for low, high in homes)
        check(inside, Rule.TENSOR_PLACE, name=name, at=first)
    for name, value in (("input", p.input), ("output", p.output)):
        check(0 <= value < len(p.tensors), Rule.IN_AND_OUTPUT, name=name, number=value)
        tensor, at = p.tensor_names[value], int(p.tensors[value, 3])
        check(at < kept, Rule.IN_AND_OUTPUT_PLACE, name=name, tensor=tensor, at=at)
    _validate_layers(p, check)
    _validate_order(p, check)
    check(
        p.positions_indptr.size > 0
        and p.positions_indptr[0] == 0
        and p.positions_indptr[-1] == p.positions.size
        and (np.diff(p.positions_indptr) >= 0).all(),
        Rule.POSITION_ROWS,
    )
    check(len(p.debug_layer) == len(p.debug_tile) == len(p.text), Rule.DEBUG_LENGTH)
    check(
        (p.debug_layer >= 0).all() and (p.debug_layer < len(p.layers)).all(),
        Rule.DEBUG_LAYER,
    )
    _validate_windows(p, check)
    validate_text(p, where)


def _validate_memory_map(p: Program, check: Check) -> None:
    check(set(p.memory_map) == set(REGIONS), Rule.REGIONS, regions=", ".join(REGIONS))
    end = 0
    for name in REGIONS:
        base, size = p.memory_map[name]
        check(base >= end and size >= 0, Rule.REGION_OVERLAP, name=name, base=base)
        end = base + size
    limit = p.config.dram_end
    check(end <= limit, Rule.DRAM_END, end=end, limit=limit)
    for name, nbytes in (
        ("text", p.text.nbytes),
        ("weights", p.weights.nbytes),
        ("bias", p.bias.nbytes),
        ("positions", p.positions.nbytes),
    ):
        size = p.memory_map[name][1]
        check(size == nbytes, Rule.REGION_BYTES, name=name, size=size, nbytes=nbytes)


def _validate_layers(p: Program, check: Check) -> None:
    for name, row in zip(p.layer_names, p.layers, strict=True):
        v = dict(zip(LAYER_COLUMNS, (int(x) for x in row), strict=True))
        own = partial(check, layer=name)
        _validate_fields(p, v, own)
        _validate_reach(p, v, own)
        (_, _, cin, _), (oh, ow, cout, _) = p.tensors[v["input"]], p.tensors[v["output"]]
        if v["residual"] >= 0:
            other = tuple(p.tensors[v["residual"]][:3])
            own(other == (oh, ow, cout), Rule.RESIDUAL_SHAPE)
        if v["op"] in (LayerOp.MAXPOOL, LayerOp.AVGPOOL, LayerOp.ADD):
            own(cin == cout, Rule.SAME_CHANNELS, cin=cin, cout=cout)
        if v["op"] == LayerOp.ADD:
            same = (p.tensors[v["input"]][:3] == p.tensors[v["output"]][:3]).all()
            own(same, Rule.SAME_SHAPE)
        conv = v["op"] == LayerOp.CONV
        wanted = redundancy_of(p.config, name) if conv else Redundancy.NONE
        asked = v["redundancy"] == wanted
        own(asked, Rule.REDUNDANCY, value=v["redundancy"], wanted=int(wanted))
        if conv:
            _validate_constants(p, v, own)


def _validate_fields(p: Program, v: dict[str, int], check: Check) -> None:
    """Each field of a layer by itself."""
    arithmetic = p.config.arithmetic
    spare = arithmetic.acc_bits - arithmetic.act_bits
    check(v["op"] in LayerOp._value2member_map_, Rule.OP, op=v["op"])
    ids = [v["input"], v["output"]] + ([v["residual"]] if v["residual"] != -1 else [])
    check(all(0 <= i < len(p.tensors) for i in ids), Rule.LAYER_TENSOR)
    check(v["op"] != LayerOp.ADD or v["residual"] >= 0, Rule.SECOND_OPERAND)

    def within(least: int, most: int, *fields: str) -> None:
        for field in fields:
            value = v[field]
            ok = least <= value <= most
            check(ok, Rule.FIELD_RANGE, field=field, value=value, least=least, most=most)

    within(1, 4096, "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w")
    within(-65535, 65535, "pad_top", "pad_left")
    check(abs(v["c_offset"]) < 2**24, Rule.CHANNEL_OFFSET, value=v["c_offset"])
    within(0, 16, "lshift_a", "lshift_b", "add_shift")
    within(0, spare, "shift")
    within(1, 2**24 if v["op"] == LayerOp.CONV else 1, "packed")
    within(1, p.config.tile_words, "slot_words")
    check(-128 <= v["act_lo"] <= v["act_hi"] <= 127, Rule.CLAMP)


def _validate_constants(p: Program, v: dict[str, int], check: Check) -> None:
    """Groups, chunks, weights and biases of a CONV layer."""
    cin, cout = (int(p.tensors[v[t], 2]) for t in ("input", "output"))
    groups = v["groups"]
    whole = groups >= 1 and cin % groups == 0 and cout % groups == 0
    check(whole, Rule.GROUPS, groups=groups, cin=cin, cout=cout)
    check(1 <= v["chunk_ky"] <= v["kernel_h"] and 1 <= v["chunk_c"] <= cin // groups, Rule.CHUNKS)
    base, size = p.memory_map["weights"]
    nbytes = cout * v["kernel_h"] * v["kernel_w"] * (cin // groups)
    inside = base <= v["weight_addr"] and v["weight_addr"] + nbytes <= base + size
    check(inside, Rule.WEIGHTS_PLACE)
    base, size = p.memory_map["bias"]
    at = v["bias_addr"] - base
    check(at >= 0 and at % 4 == 0 and at + 4 * cout <= size, Rule.BIAS_PLACE)


def _validate_reach(p: Program, v: dict[str, int], check: Check) -> None:
    """What lies under the windows is of the size of the maps; steps that are not taken are 1."""
    copies = v["op"] in (LayerOp.ADD, LayerOp.COPY)
    one = ["kernel_h", "kernel_w"] if copies else []
    one += ["stride_h", "stride_w"] if v["op"] == LayerOp.ADD else []
    zero = ["pad_top", "pad_left"] if v["op"] == LayerOp.ADD else []
    zero += ["c_offset"] if v["op"] != LayerOp.COPY else []
    op = LayerOp(v["op"]).name
    for fields, wanted in ((one, 1), (zero, 0)):
        for field in fields:
            value = v[field]
            check(value == wanted, Rule.UNUSED_STEP, field=field, value=value, wanted=wanted, op=op)
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
        check(-have < pad, Rule.PADDING_REACH, pad=pad)  # all may lie in the padding
        covered *= reach
    limit = _MOST_PADDING + 16 * (math.prod(source) + math.prod(out))
    check(covered <= limit, Rule.COVERED, covered=covered, limit=limit)


def _validate_order(p: Program, check: Check) -> None:
    """Layers stand in order of execution: each reads what an earlier one or nobody writes."""
    written = {int(t): i for i, t in reversed(list(enumerate(p.column("output"))))}
    for i, name in enumerate(p.layer_names):
        source, output, residual = (int(p.column(f)[i]) for f in ("input", "output", "residual"))
        for t in (source, residual):
            check(
                t == -1 or written.get(t, -1) < i,
                Rule.READ_ORDER,
                layer=name,
                name=p.tensor_names[t],
            )
        check(
            written[output] == i and output != p.input,
            Rule.WRITE_ORDER,
            layer=name,
            name=p.tensor_names[output],
        )
    last = int(p.column("output")[-1])
    check(last == p.output, Rule.LAST_LAYER, number=last, output=p.output)


def _validate_windows(p: Program, check: Check) -> None:
    """Windows lie in their buffers and reduce over something."""
    if not len(p.windows):
        return
    names = [name for name, _ in WINDOW_FIELDS]
    w = {name: p.windows[:, i].astype(np.int64) for i, name in enumerate(names)}
    check((p.windows >= 0).all(), Rule.WINDOW_FIELD)
    sizes = buffer_bytes(p.config)
    ifmap, memory = sizes[Buffer.IFMAP], operand_memory(p.config, Buffer.IFMAP)
    # Each factor first: their product could pass 2**64 and look small.
    fits = all((w[f] <= ifmap).all() for f in ("rows", "cols", "cc"))
    held = w["rows"] * w["cols"]
    check(fits and (held <= ifmap).all(), Rule.WINDOW_PLACE, memory=memory)
    held = held * w["cc"]
    check((w["a_base"] + held <= ifmap).all(), Rule.WINDOW_PLACE, memory=memory)
    check(((w["row_step"] > 0) & (w["col_step"] > 0)).all(), Rule.WINDOW_STEP)
    check(((w["nky"] > 0) & (w["kcc"] > 0)).all(), Rule.WINDOW_REDUCTION)
    largest = max(ifmap, sizes[Buffer.WEIGHT])
    check(((w["b_base"] < largest) & (w["bias_base"] < largest)).all(), Rule.WINDOW_BASE)
