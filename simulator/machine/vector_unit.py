"""What the vector unit of the byte-accurate machine makes of the elements that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ...config import Arithmetic
from ...errors import ProgramError
from ...isa.program import Program
from ...network import fixedpoint
from ...network.layers import LayerOp
from ..text.work import gather_geometry

Int = NDArray[np.int64]


def add(a: Arithmetic, layer: Mapping[str, int], value: Int, other: Int) -> Int:
    """A value and the residual's, before the clamp."""
    left, right, down = (layer[name] for name in ("lshift_a", "lshift_b", "add_shift"))
    return fixedpoint.add(value, other, left, right, down, a.act_bits, a.rounding)


def window_values(
    program: Program,
    layer: dict[str, int],
    w: Mapping[str, int],
    i: Mapping[str, int],
    read: Callable[[int, int], Int],
) -> Int:
    """Pool, add or copy of a tile, before the clamp: (m, n).

    layer, w, i : descriptors of the layer and the window, and the instruction. read : elements of
    the ifmap buffer, from a byte on. Raises ProgramError for what the window does not hold.
    """
    a, op = program.network.arithmetic, LayerOp(layer["op"])
    size = w["rows"] * w["cols"] * w["cc"]
    held = read(w["a_base"], size).reshape(w["rows"], w["cols"], w["cc"])
    ih, iw, oh, ow, kw, sh, sw, pt, pl, dh, dw = gather_geometry(program, layer).tolist()
    channels = np.arange(i["n0"], i["n0"] + i["n"]) - layer["c_offset"]
    cin = int(program.tensors[layer["input"]][2])
    exists = (channels >= 0) & (channels < cin)
    at = channels[exists] - w["c0"]
    if at.size and (at.min() < 0 or at.max() >= w["cc"]):
        raise ProgramError("the vector unit needs channels that its window does not hold")
    out = np.zeros((i["m"], i["n"]), np.int64)
    for row, pixel in enumerate(range(i["m0"], i["m0"] + i["m"])):
        image, rest = divmod(pixel, oh * ow)
        oy, ox = divmod(rest, ow)
        ys = _inside(oy * sh - pt, dh, layer["kernel_h"], ih)
        xs = _inside(ox * sw - pl, dw, kw, iw)
        if not ys or not xs:
            continue
        top, left = image * ih - w["row0"], -w["col0"]
        if (
            min(ys[0] + top, xs[0] + left) < 0
            or ys[-1] + top >= w["rows"]
            or xs[-1] + left >= w["cols"]
        ):
            raise ProgramError(f"pixel {pixel} needs operands that its window does not hold")
        part = held[ys[0] + top : ys[-1] + top + 1 : dh, xs[0] + left : xs[-1] + left + 1 : dw][
            ..., at
        ]
        out[row, exists] = part.max((0, 1)) if op == LayerOp.MAXPOOL else part.sum((0, 1))
    if op == LayerOp.AVGPOOL:
        return fixedpoint.requantise(out, layer["shift"], a.act_bits, a.rounding, a.overflow)
    if op == LayerOp.ADD:
        other = read(w["b_base"], size).reshape(-1, w["cc"])
        first = i["m0"] - w["row0"] * ow
        if first < 0 or first + i["m"] > len(other):
            raise ProgramError(f"pixel {i['m0']} needs operands that its window does not hold")
        return add(a, layer, out, other[first : first + i["m"], at])
    return out


def _inside(first: int, step: int, count: int, size: int) -> range:
    """Of `count` places from `first` on, `step` apart, those in 0..size-1."""
    begin = max(0, -(first // step))
    end = min(count, (size - 1 - first) // step + 1)
    return range(first + begin * step, first + end * step, step) if begin < end else range(0)
