"""Sums of words of which some columns have three copies (numba), and the voters between them.

A word is three numbers that agree in every column but the protected ones [low, high): those below
and above are one set of flip-flops.  With `voter: output` the copies go on apart: each adds its own
protected columns with the carry out of the shared low ones; into the shared high columns goes the
majority of their carries, and of their signs.
"""

from __future__ import annotations

import numpy as np

from ...isa.protection import COPIES
from ...kernels import kernel
from ...network.arrays import I64
from ...network.fixedpoint_kernels import signed


@kernel
def majority(a: int, b: int, c: int) -> int:
    """Bit by bit what two of three numbers hold."""
    return (a & b) | (a & c) | (b & c)


@kernel
def vote(copies: I64) -> int:
    """Bit by bit what two of three copies hold."""
    return majority(copies[0], copies[1], copies[2])


@kernel
def widen(copies: I64, bits: int, low: int, high: int) -> None:
    """Sign extension of a word of `bits` bits to any width, in place.

    Where the sign is a protected column, each copy extends its own one through the protected
    columns; the shared columns above take the majority.
    """
    if low < bits <= high:
        kept = (np.int64(1) << np.int64(high)) - 1
        above = -1 if vote(copies) < 0 else 0
        for i in range(COPIES):
            copies[i] = (copies[i] & kept) | (above & ~kept)


@kernel
def add_apart(one: I64, other: I64, out: I64, bits: int, high: int) -> None:
    """out = one + other, copies apart, wrapped to `bits` bits; both are wide enough (`widen`)."""
    kept = (np.int64(1) << np.int64(high)) - 1
    a = (one[0] & kept) + (other[0] & kept)
    b = (one[1] & kept) + (other[1] & kept)
    c = (one[2] & kept) + (other[2] & kept)
    above = (one[0] >> high) + (other[0] >> high) + majority(a >> high, b >> high, c >> high)
    above <<= high
    out[0] = signed((a & kept) | above, bits)
    out[1] = signed((b & kept) | above, bits)
    out[2] = signed((c & kept) | above, bits)
