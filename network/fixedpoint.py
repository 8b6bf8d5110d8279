"""The fixed-point rules, once, in plain NumPy: the reference that every fast path must equal.

All functions take int64 arrays (or ints) and return int64 arrays; none of them is meant to be fast.
Source: paper section III-B (truncation of the accumulator) and docs/arithmetic.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int = NDArray[np.int64]


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest two's-complement number of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def wrap(value: ArrayLike, bits: int) -> Int:
    """The low `bits` bits of `value`, read as two's complement (what an accumulator keeps)."""
    half = np.int64(1) << np.int64(bits - 1)
    return ((np.asarray(value, np.int64) + half) & ((half << np.int64(1)) - 1)) - half


def round_shift(value: ArrayLike, shift: int, rounding: str) -> Int:
    """``value / 2**shift``, rounded half up or down to the floor; exact, without overflow."""
    v = np.asarray(value, np.int64)
    if shift and rounding == "half_up":
        v = v + (np.int64(1) << np.int64(shift - 1))
    return v >> np.int64(shift)


def requantise(acc: ArrayLike, shift: int, bits: int, rounding: str, overflow: str) -> Int:
    """Accumulator -> `bits`-bit activation: bits [shift+bits-1 : shift] of `acc`.

    `saturate` rounds exactly and clamps.  `slice` keeps the named bits and drops the rest; the
    rounding bit is then added, and a result of 2**(bits-1)-1 is not incremented, so that rounding
    alone never turns the largest number into the smallest.
    """
    acc = np.asarray(acc, np.int64)
    lo, hi = limits(bits)
    if overflow == "saturate":
        return np.clip(round_shift(acc, shift, rounding), lo, hi)
    kept = wrap(acc >> np.int64(shift), bits)
    if shift and rounding == "half_up":
        kept = np.minimum(kept + ((acc >> np.int64(shift - 1)) & 1), hi)
    return kept


def slice_overflows(acc: ArrayLike, shift: int, bits: int, rounding: str) -> NDArray[np.bool_]:
    """True where requantisation does not fit: where `slice` and `saturate` lose the value.

    The clamp of a value that only rounding pushes over the top counts as a fit.
    """
    v = np.asarray(acc, np.int64) >> np.int64(shift)
    lo, hi = limits(bits)
    return np.asarray((v < lo) | (v > hi))


def add(
    a: ArrayLike, b: ArrayLike, lshift_a: int, lshift_b: int, shift: int, bits: int, rounding: str
) -> Int:
    """Residual add of two activations on a common scale; always saturates to `bits` bits."""
    total = (np.asarray(a, np.int64) << np.int64(lshift_a)) + (
        np.asarray(b, np.int64) << np.int64(lshift_b)
    )
    lo, hi = limits(bits)
    return np.clip(round_shift(total, shift, rounding), lo, hi)
