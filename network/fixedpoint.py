"""The fixed-point rules, once, in plain NumPy: the reference that every fast path must equal.

`vector_unit` is what happens to a sum or another value until it is stored; the rules above it are
its steps.  All functions take int64 arrays (or ints) and return int64 arrays; none of them is meant
to be fast: the same is in torch (`fixedpoint_torch`) and in numba (`fixedpoint_kernels`), and a
property test holds the three equal.
Source: paper section III-B (truncation of the accumulator) and docs/arithmetic.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ..config import Arithmetic, choices
from ..given.arrays import given_integers
from ..tables import complete
from .arrays import I64
from .layers import Layer, LayerOp

#: Whether a layer's value is a sum as wide as the accumulator, which is wrapped and requantised.
REQUANTISED: dict[LayerOp, bool] = {
    LayerOp.CONV: True,
    LayerOp.MAXPOOL: False,
    LayerOp.AVGPOOL: True,
    LayerOp.ADD: False,
    LayerOp.COPY: False,
}
complete("LayerOp in network/layers.py", LayerOp, REQUANTISED, "network/fixedpoint.py: REQUANTISED")

#: Whether half of the last kept bit is added before a shift, by `arithmetic.rounding`.
ADDS_HALF = {"half_up": True, "floor": False}
#: Whether requantisation drops the bits above those that it keeps, by `arithmetic.overflow`; else
#: it clamps.
DROPS_ABOVE = {"slice": True, "saturate": False}


def rules_handled(rounding: Iterable[str], overflow: Iterable[str], where: str) -> None:
    """Raise InternalError unless these are all rules of arithmetic. where : as of `complete`."""
    for field, handled in (("arithmetic.rounding", rounding), ("arithmetic.overflow", overflow)):
        complete(f"{field} in config/schema.py", choices(field), handled, where)


rules_handled(ADDS_HALF, DROPS_ABOVE, "network/fixedpoint.py: round_shift, requantise")


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest two's-complement number of `bits` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def wrap(value: ArrayLike, bits: int) -> I64:
    """The low `bits` bits of `value`, read as two's complement (what an accumulator keeps)."""
    half = np.int64(1) << np.int64(bits - 1)
    return ((np.asarray(value, np.int64) + half) & ((half << np.int64(1)) - 1)) - half


def flipped(word: ArrayLike, mask: ArrayLike, bits: int) -> I64:
    """A word of `bits` bits, two's complement, with the bits of `mask` wrong."""
    return wrap(np.asarray(word, np.int64) ^ np.asarray(mask, np.int64), bits)


def round_shift(value: ArrayLike, shift: int, rounding: str) -> I64:
    """``value / 2**shift``, rounded half up or down to the floor; exact, without overflow."""
    v = np.asarray(value, np.int64)
    if shift and ADDS_HALF[rounding]:
        v = v + (np.int64(1) << np.int64(shift - 1))
    return v >> np.int64(shift)


def requantise(acc: ArrayLike, shift: int, bits: int, rounding: str, overflow: str) -> I64:
    """Accumulator -> `bits`-bit activation: bits [shift+bits-1 : shift] of `acc`.

    `saturate` rounds exactly and clamps.  `slice` keeps the named bits and drops the rest; the
    rounding bit is then added, and a result of 2**(bits-1)-1 is not incremented, so that rounding
    alone never turns the largest number into the smallest.
    """
    acc = given_integers("accumulators", acc)
    lo, hi = limits(bits)
    if not DROPS_ABOVE[overflow]:
        return np.clip(round_shift(acc, shift, rounding), lo, hi)
    kept = wrap(acc >> np.int64(shift), bits)
    if shift and ADDS_HALF[rounding]:
        kept = np.minimum(kept + ((acc >> np.int64(shift - 1)) & 1), hi)
    return kept


def add(
    a: ArrayLike, b: ArrayLike, lshift_a: int, lshift_b: int, shift: int, bits: int, rounding: str
) -> I64:
    """Residual add of two activations on a common scale; always saturates to `bits` bits."""
    total = (np.asarray(a, np.int64) << np.int64(lshift_a)) + (
        np.asarray(b, np.int64) << np.int64(lshift_b)
    )
    lo, hi = limits(bits)
    return np.clip(round_shift(total, shift, rounding), lo, hi)


def vector_unit(
    value: ArrayLike,
    layer: Layer,
    a: Arithmetic,
    residual: ArrayLike | None = None,
    wrong: tuple[ArrayLike, ArrayLike] = (0, 0),
) -> I64:
    """What `layer` stores of `value`, step by step as in docs/arithmetic.md.

    value : a sum that is not yet wrapped where it is `REQUANTISED`, else activations; any shape.
    residual : the second operand of an add, of the same shape. wrong : masks of bits that are wrong
    in the wrapped sum, and in the requantised value (`before_relu`).
    """
    value = np.asarray(value, np.int64)
    if REQUANTISED[layer.op]:
        acc = flipped(wrap(value, a.acc_bits), wrong[0], a.acc_bits)
        kept = requantise(acc, layer.shift, a.act_bits, a.rounding, a.overflow)
        value = flipped(kept, wrong[1], a.act_bits)
    if residual is not None:
        shifts = (layer.lshift_a, layer.lshift_b, layer.add_shift)
        value = add(value, residual, *shifts, a.act_bits, a.rounding)
    return np.clip(value, layer.act_lo, layer.act_hi)
