"""Sums whose protected columns have three copies: equal to an adder that is built bit by bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.network.fixedpoint_kernels import signed
from flexhyca.simulator.array.voters import (
    add_apart,
    vote,
    widen,
)


def majority(bits):
    return int(sum(bits) >= 2)


def ripple(one, other, wide, bits, low, high):
    """Full adders, one a column and copy; shared columns take the majority of what comes in.

    one : copies of `bits` bits. other : copies of `wide` bits that are sign-extended.
    """
    out = [0, 0, 0]
    carries = [0, 0, 0]
    for column in range(bits):
        top = min(column, wide - 1)
        a = [x >> column & 1 for x in one]
        b = [y >> top & 1 for y in other]
        if not low <= column < high:
            a, b, carries = ([majority(x)] * 3 for x in (a, b, carries))
        for i in range(3):
            total = a[i] + b[i] + carries[i]
            out[i] |= (total & 1) << column
            carries[i] = total >> 1
    return [signed(x, bits) for x in out]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_copies_apart_equal_an_adder_of_bits(data):
    bits = data.draw(st.integers(4, 32))
    wide = data.draw(st.integers(2, bits))
    low = data.draw(st.integers(0, bits))
    high = data.draw(st.integers(low, bits))
    inside = ((1 << high) - 1) & ~((1 << low) - 1)

    def word(width):
        shared = data.draw(st.integers(-(1 << (width - 1)), (1 << (width - 1)) - 1))
        wrong = [data.draw(st.integers(0, (1 << width) - 1)) & inside for _ in range(3)]
        return [signed(shared ^ w, width) for w in wrong]

    one, other = word(bits), word(wide)
    a, b = np.array(one), np.array(other)
    widen(b, wide, low, high)
    add_apart(a, b, a, bits, high)
    assert a.tolist() == ripple(one, other, wide, bits, low, high)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_a_vote_is_deaf_to_one_copy(value, wrong, copy):
    copies = np.full(3, value, np.int64)
    copies[copy] ^= wrong
    assert vote(copies) == value
