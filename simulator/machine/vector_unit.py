"""What the vector unit of the byte-accurate machine reads for a layer without weights.

What it makes of that is `network.fixedpoint.vector_unit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...errors import ProgramError
from ...isa.program import Program
from ...network.arrays import I64
from ...network.layers import WITHOUT_WEIGHTS, LayerOp
from ...tables import complete
from ..text.work import gather_geometry

#: Operation -> what it makes of the elements of a window that lie inside the map, (y, x, channels).
REDUCE: dict[LayerOp, Callable[[I64], I64]] = {
    LayerOp.MAXPOOL: lambda part: part.max((0, 1)),
    LayerOp.AVGPOOL: lambda part: part.sum((0, 1)),
    LayerOp.ADD: lambda part: part.sum((0, 1)),  # of one element
    LayerOp.COPY: lambda part: part.sum((0, 1)),  # of one element
}
complete(
    "LayerOp in network/layers.py",
    WITHOUT_WEIGHTS,
    REDUCE,
    "simulator/machine/vector_unit.py: REDUCE",
)


def window_operands(
    program: Program,
    layer: dict[str, int],
    w: Mapping[str, int],
    i: Mapping[str, int],
    read: Callable[[int, int], I64],
) -> tuple[I64, I64 | None]:
    """Value and residual of a tile's elements: (m, n) each.

    layer, w, i : descriptors of the layer and the window, and the instruction. read : elements of
    the ifmap buffer, from a byte on. Raises ProgramError for what the window does not hold.
    """
    op = LayerOp(layer["op"])
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
        out[row, exists] = REDUCE[op](part)
    if op == LayerOp.ADD:
        other = read(w["b_base"], size).reshape(-1, w["cc"])
        first = i["m0"] - w["row0"] * ow
        if first < 0 or first + i["m"] > len(other):
            raise ProgramError(f"pixel {i['m0']} needs operands that its window does not hold")
        return out, other[first : first + i["m"], at]
    return out, None


def _inside(first: int, step: int, count: int, size: int) -> range:
    """Of `count` places from `first` on, `step` apart, those in 0..size-1."""
    begin = max(0, -(first // step))
    end = min(count, (size - 1 - first) // step + 1)
    return range(first + begin * step, first + end * step, step) if begin < end else range(0)
