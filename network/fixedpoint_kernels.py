"""Twin of `fixedpoint` in numba, in int32 without a branch, and what it does to whole maps.

Arrays are flat.  numba makes int64 of most integer steps; where 32 bits wrap it is said.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Arithmetic
from ..kernels import kernel
from .arrays import I8, I32, I64
from .fixedpoint import ADDS_HALF, DROPS_ABOVE, REQUANTISED, limits, rules_handled
from .layers import Layer

Int32 = Any  # a number, which numba gives its type
rules_handled(
    ("half_up", "floor"), ("slice", "saturate"), "network/fixedpoint_kernels.py: finish_of"
)


class Finish(NamedTuple):
    """What the vector unit does to values of a layer; a step that the layer lacks does nothing."""

    unused: Int32  #: 32 - acc_bits: shifted out and in again, a sum wraps
    shift: Int32
    below: Int32  #: place of the bit that rounds
    rounds: Int32  #: 1 if it does
    dropped: Int32  #: 32 - act_bits under slice: upper bits that requantisation drops; else 0
    kept_lo: Int32  #: of a requantised value
    kept_hi: Int32
    unused_stored: Int32  #: 32 - act_bits
    left_a: Int32
    left_b: Int32
    half: Int32  #: added before `add_shift`
    add_shift: Int32
    lowest: Int32  #: of an activation
    highest: Int32
    act_lo: Int32
    act_hi: Int32


def finish_of(layer: Layer, a: Arithmetic) -> Finish:
    """The constants of a layer."""
    half_up = ADDS_HALF[a.rounding]
    requantise = (0, 0, 0, 0, 0, *limits(32))
    if REQUANTISED[layer.op]:
        requantise = (
            32 - a.acc_bits,
            layer.shift,
            max(layer.shift - 1, 0),
            int(half_up and layer.shift > 0),
            32 - a.act_bits if DROPS_ABOVE[a.overflow] else 0,
            *limits(a.act_bits),
        )
    values = (
        *requantise,
        32 - a.act_bits,
        layer.lshift_a,
        layer.lshift_b,
        1 << (layer.add_shift - 1) if half_up and layer.add_shift else 0,
        layer.add_shift,
        *limits(a.act_bits),
        layer.act_lo,
        layer.act_hi,
    )
    return Finish(*(np.int32(v) for v in values))


@kernel
def finish_row(row: I32) -> Finish:
    """The constants from a row of a table."""
    return Finish(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10],
        row[11], row[12], row[13], row[14], row[15],
    )  # fmt: skip


@kernel
def left(value: Int32, places: Int32) -> Int32:
    """int32 << 0..31; that it is less than 32 has to be seen, or 64 bits are shifted."""
    return np.int32(np.int32(value) << np.int32(places & 31))


@kernel
def right(value: Int32, places: Int32) -> Int32:
    """int32 >> 0..31."""
    return np.int32(np.int32(value) >> np.int32(places & 31))


@kernel
def wrap(value: Int32, unused: Int32) -> Int32:
    """The low 32 - `unused` bits in two's complement."""
    return right(left(value, unused), unused)


@kernel
def signed(value: int, bits: int) -> int:
    """Twin of `fixedpoint.wrap` in 64 bits, for sums on their way; `wrap` is the one for maps."""
    sign = 1 << (bits - 1)
    return ((value + sign) & (2 * sign - 1)) - sign


@kernel
def requantise(acc: Int32, f: Finish) -> Int32:
    """Wrapped sum -> value before residual and clamp."""
    kept = wrap(right(acc, f.shift), f.dropped)
    kept = np.int32(kept + np.int32(right(acc, f.below) & f.rounds))
    return np.int32(min(max(kept, f.kept_lo), f.kept_hi))


@kernel
def add(value: Int32, residual: Int32, f: Finish) -> Int32:
    """Twin of `fixedpoint.add`."""
    total = np.int32(left(value, f.left_a) + left(residual, f.left_b))
    total = right(np.int32(total + f.half), f.add_shift)
    return np.int32(min(max(total, f.lowest), f.highest))


@kernel
def vector_unit(
    value: Int32, residual: Int32 | None, f: Finish, wrong: tuple[Int32, Int32] | None
) -> Int32:
    """Twin of `fixedpoint.vector_unit`. A None is compiled away, with the steps that it spares."""
    acc = wrap(value, f.unused)
    if wrong is not None:
        acc = wrap(acc ^ wrong[0], f.unused)
    value = requantise(acc, f)
    if wrong is not None:
        value = wrap(value ^ wrong[1], f.unused_stored)
    if residual is not None:
        value = add(value, residual, f)
    return np.int32(min(max(value, f.act_lo), f.act_hi))


@kernel
def finish(values: NDArray[np.generic], residual: I8, out: I8, f: Finish) -> None:
    """Values (integers that fit int32) -> what the layer stores. residual : as `out`, or empty."""
    if len(residual):
        for i in range(len(out)):
            out[i] = vector_unit(np.int32(values[i]), np.int32(residual[i]), f, None)
    else:
        for i in range(len(out)):
            out[i] = vector_unit(np.int32(values[i]), None, f, None)


@kernel
def finish_marked(
    values: NDArray[np.generic],
    residual: I8,
    out: I8,
    f: Finish,
    at: I64,
    acc_masks: I32,
    value_masks: I32,
) -> None:
    """`finish` of the elements `at`, their wrapped sums and requantised values XORed with masks."""
    for j in range(len(at)):
        i = at[j]
        wrong = (acc_masks[j], value_masks[j])
        if len(residual):
            out[i] = vector_unit(np.int32(values[i]), np.int32(residual[i]), f, wrong)
        else:
            out[i] = vector_unit(np.int32(values[i]), None, f, wrong)


@kernel
def correct_sums(
    sums: NDArray[np.generic],
    values: NDArray[np.int8],
    elements: I64,
    sources: I64,
    by: I32,
) -> None:
    """sums (images, elements) += by * values (images, input elements), for each correction.

    sums : int32, or float32 that holds every sum on the way.
    """
    for n in range(len(sums)):
        own, read = sums[n], values[n]
        for j in range(len(elements)):
            own[elements[j]] += np.int32(np.int32(read[sources[j]]) * by[j])
