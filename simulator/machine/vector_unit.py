"""What the vector unit of the byte-accurate machine reads for a layer without weights.

What it makes of that is `network.fixedpoint.vector_unit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...errors import ProgramError
from ...isa.program import Program
from ...network import fixedpoint
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
#: Operation -> what it makes of a window of which nothing lies inside the map, by `act_bits`.
_EMPTY: dict[LayerOp, Callable[[int], int]] = {
    LayerOp.MAXPOOL: lambda bits: fixedpoint.limits(bits)[0],
    LayerOp.AVGPOOL: lambda bits: 0,
    LayerOp.ADD: lambda bits: 0,
    LayerOp.COPY: lambda bits: 0,
}
for _where, _table in (("REDUCE", REDUCE), ("_EMPTY", _EMPTY)):
    complete(
        "LayerOp in network/layers.py",
        WITHOUT_WEIGHTS,
        _table,
        f"simulator/machine/vector_unit.py: {_where}",
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
    other = None
    if op == LayerOp.ADD:
        other = read(w["b_base"], size).reshape(held.shape)
    out, residual = np.zeros((2, i["m"], i["n"]), np.int64)
    out[:] = _EMPTY[op](program.config.arithmetic.act_bits)
    for row, pixel in enumerate(range(i["m0"], i["m0"] + i["m"])):
        image, rest = divmod(pixel, oh * ow)
        oy, ox = divmod(rest, ow)
        ys = _inside(oy * sh - pt, dh, layer["kernel_h"], ih)
        xs = _inside(ox * sw - pl, dw, kw, iw)
        if not ys or not xs:
            continue
        rows = _held(np.array(ys) + image * ih, w["row0"], w["row_step"], w["rows"])
        cols = _held(np.array(xs), w["col0"], w["col_step"], w["cols"])
        if rows is None or cols is None:
            raise ProgramError(f"pixel {pixel} needs operands that its window does not hold")
        place = np.ix_(rows, cols, at)
        out[row, exists] = REDUCE[op](held[place])
        if other is not None:
            residual[row, exists] = REDUCE[op](other[place])
    return out, residual if other is not None else None


def _held(wanted: I64, first: int, step: int, count: int) -> I64 | None:
    """Where rows or columns lie among the `count` of a window; None if one of them does not."""
    at, between = np.divmod(wanted - first, step)
    if between.any() or at.min() < 0 or at.max() >= count:
        return None
    return at


def _inside(first: int, step: int, count: int, size: int) -> range:
    """Of `count` places from `first` on, `step` apart, those in 0..size-1."""
    begin = max(0, -(first // step))
    end = min(count, (size - 1 - first) // step + 1)
    return range(first + begin * step, first + end * step, step) if begin < end else range(0)
