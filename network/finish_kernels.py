"""Numba kernels of what follows a sum; their slow twins are in `functional_steps`, in torch.

Arrays are flat.  numba makes int64 of most integer steps; where 32 bits wrap it is said.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..config import Arithmetic
from .layers import Layer

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Int32 = Any  # a number, which numba gives its type


class Finish(NamedTuple):
    """What happens to a sum of a CONV layer, in int32 without a branch (`network.fixedpoint`)."""

    unused: Int32  #: 32 - acc_bits: shifted out and in again, a sum wraps
    shift: Int32
    below: Int32  #: place of the bit that rounds
    rounds: Int32  #: 1 if it does
    dropped: Int32  #: 32 - act_bits under slice: upper bits that requantisation drops; else 0
    lowest: Int32
    highest: Int32
    left_a: Int32
    left_b: Int32
    half: Int32  #: added before `add_shift`
    add_shift: Int32
    act_lo: Int32
    act_hi: Int32


def finish_of(layer: Layer, a: Arithmetic) -> Finish:
    """The constants of a CONV layer."""
    half_up = a.rounding == "half_up"
    top = 1 << (a.act_bits - 1)
    values = (
        32 - a.acc_bits,
        layer.shift,
        max(layer.shift - 1, 0),
        int(half_up and layer.shift > 0),
        32 - a.act_bits if a.overflow == "slice" else 0,
        -top,
        top - 1,
        layer.lshift_a,
        layer.lshift_b,
        1 << (layer.add_shift - 1) if half_up and layer.add_shift else 0,
        layer.add_shift,
        layer.act_lo,
        layer.act_hi,
    )
    return Finish(*(np.int32(v) for v in values))


@njit(cache=True, nogil=True)
def finish_row(row: I32) -> Finish:
    """The constants from a row of a table."""
    return Finish(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10],
        row[11], row[12],
    )  # fmt: skip


@njit(cache=True, nogil=True)
def left(value: Int32, places: Int32) -> Int32:
    """int32 << 0..31; that it is less than 32 has to be seen, or 64 bits are shifted."""
    return np.int32(np.int32(value) << np.int32(places & 31))


@njit(cache=True, nogil=True)
def right(value: Int32, places: Int32) -> Int32:
    """int32 >> 0..31."""
    return np.int32(np.int32(value) >> np.int32(places & 31))


@njit(cache=True, nogil=True)
def wrap(value: Int32, unused: Int32) -> Int32:
    """The low 32 - `unused` bits in two's complement."""
    return right(left(value, unused), unused)


@njit(cache=True, nogil=True)
def requantise(acc: Int32, f: Finish) -> Int32:
    """Wrapped sum -> stored value, before residual and clamp."""
    kept = wrap(right(acc, f.shift), f.dropped)
    kept = np.int32(kept + np.int32(right(acc, f.below) & f.rounds))
    return np.int32(min(max(kept, f.lowest), f.highest))


@njit(cache=True, nogil=True)
def add(value: Int32, residual: Int32, f: Finish) -> Int32:
    """Twin of network.fixedpoint.add."""
    total = np.int32(left(value, f.left_a) + left(residual, f.left_b))
    total = right(np.int32(total + f.half), f.add_shift)
    return np.int32(min(max(total, f.lowest), f.highest))


@njit(cache=True, nogil=True)
def clamp(value: Int32, f: Finish) -> Int32:
    """What a layer does last."""
    return np.int32(min(max(value, f.act_lo), f.act_hi))


@njit(cache=True, nogil=True)
def finish(sums: NDArray[np.generic], residual: I8, out: I8, f: Finish) -> None:
    """Sums (float32 or int32, integers) -> what the layer stores. residual : as `out`, or empty."""
    if len(residual):
        for i in range(len(out)):
            value = requantise(wrap(np.int32(sums[i]), f.unused), f)
            out[i] = clamp(add(value, np.int32(residual[i]), f), f)
    else:
        for i in range(len(out)):
            out[i] = clamp(requantise(wrap(np.int32(sums[i]), f.unused), f), f)


@njit(cache=True, nogil=True)
def finish_marked(
    sums: NDArray[np.generic],
    residual: I8,
    out: I8,
    f: Finish,
    act_unused: int,
    at: I64,
    acc_masks: I32,
    value_masks: I32,
) -> None:
    """`finish` of the elements `at`, their wrapped sums and requantised values XORed with masks.

    act_unused : 32 - act_bits.
    """
    for j in range(len(at)):
        i = at[j]
        acc = wrap(wrap(np.int32(sums[i]), f.unused) ^ acc_masks[j], f.unused)
        value = wrap(requantise(acc, f) ^ value_masks[j], act_unused)
        if len(residual):
            value = add(value, np.int32(residual[i]), f)
        out[i] = clamp(value, f)


@njit(cache=True, nogil=True)
def correct(
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
