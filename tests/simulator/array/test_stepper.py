"""The register-true array: values, cycles, and what a flip in each register reaches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.errors import FlexhycaError
from flexhyca.isa.registers import BY_UNIT
from flexhyca.network.fixedpoint import wrap
from flexhyca.simulator.array.os_array import Flip, os_tile
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.tests.support import words

A = Arithmetic()


@st.composite
def tiles(draw):
    rows, cols = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    m, n, k = draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, 40))
    bits = draw(st.sampled_from([(8, 8, 16), (8, 8, 18), (8, 8, 24), (4, 6, 20), (8, 8, 32)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act_half, weight_half = 1 << (bits[0] - 1), 1 << (bits[1] - 1)
    extreme = draw(st.booleans())  # full-scale operands wrap narrow accumulators
    pick = (
        (lambda half, shape: np.full(shape, -half))
        if extreme
        else (lambda half, shape: rng.integers(-half, half, shape))
    )
    act = pick(act_half, (m, k)).astype(np.int8)
    wgt = pick(weight_half, (n, k)).astype(np.int8)
    half = 1 << (bits[2] - 1)
    bias = rng.integers(-half, half, n).astype(np.int32)
    return act, wgt, bias, rows, cols, words(*bits)


@settings(max_examples=300, deadline=None)
@given(tiles())
def test_closed_form_cycles_and_numpy_values(tile):
    act, wgt, bias, rows, cols, arithmetic = tile
    out, cycles = os_tile(act, wgt, bias, rows=rows, cols=cols, arithmetic=arithmetic)
    (m, k), n = act.shape, len(wgt)
    assert cycles == os_tile_cycles(k, m, n)  # whatever PEs have no sum
    if m >= 3:
        assert cycles == k + 2 * m + n - 2
    exact = act.astype(np.int64) @ wgt.astype(np.int64).T + bias
    np.testing.assert_array_equal(out, wrap(exact, arithmetic.acc_bits))


def test_a_wrapping_sum_is_seen():
    act, wgt = np.full((1, 1100), -128, np.int8), np.full((1, 1100), -128, np.int8)
    out, _ = os_tile(act, wgt, np.zeros(1, np.int32), rows=4, cols=4, arithmetic=A)
    assert 1100 * 128 * 128 > 2**23  # the true sum does not fit
    assert out[0, 0] == 1100 * 128 * 128 - 2**24


def _changed(flips, k=20, seed=0, size=8):
    rng = np.random.default_rng(seed)
    act, wgt = (rng.integers(1, 128, (size, k)).astype(np.int8) for _ in range(2))
    bias = np.zeros(size, np.int32)
    clean, _ = os_tile(act, wgt, bias, rows=size, cols=size, arithmetic=A)
    wrong, _ = os_tile(act, wgt, bias, rows=size, cols=size, arithmetic=A, flips=flips)
    return {(int(r), int(c)) for r, c in np.argwhere(clean != wrong)}, wrong - clean


# Independent RTL of an 8x8 array: act at (3,4) corrupts row 3, columns 4-7; wgt column 4, rows
# 3-7; the accumulator only its own PE.
@pytest.mark.parametrize(
    ("register", "reached"),
    [
        ("act", {(3, c) for c in range(4, 8)}),
        ("wgt", {(r, 4) for r in range(3, 8)}),
        ("prod", {(3, 4)}),
        ("acc", {(3, 4)}),
    ],
)
def test_reach_of_a_flip(register, reached):
    assert _changed([Flip(14, register, 3, 4, 5)])[0] == reached


@pytest.mark.parametrize("register", ["act", "wgt"])
@pytest.mark.parametrize("step", [0, 7, 28, 40])
def test_operand_flips_outside_the_active_window_reach_nothing(register, step):
    # PE (3, 4) holds operand k at the start of step k + 8: of 20 operands, steps 8..27.
    assert _changed([Flip(step, register, 3, 4, 6)])[0] == set()


@pytest.mark.parametrize("step", [8, 27])
def test_first_and_last_active_step_reach_the_row(step):
    assert _changed([Flip(step, "act", 3, 4, 6)])[0] == {(3, c) for c in range(4, 8)}


def test_accumulator_flips_corrupt_at_every_step_until_the_row_has_left():
    read = 20 + 8 + 8 - 2 + 3  # row 3 leaves three steps after row 0
    for step in range(read + 1):
        assert _changed([Flip(step, "acc", 3, 4, 10)])[0] == {(3, 4)}
    assert _changed([Flip(read + 1, "acc", 3, 4, 10)])[0] == set()


def test_an_operand_flip_changes_the_sum_by_one_product():
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(1, 128, (8, 20)).astype(np.int8) for _ in range(2))
    _, delta = _changed([Flip(8 + 5, "act", 3, 4, 2)])
    step = (int(act[3, 5]) ^ 4) - int(act[3, 5])
    np.testing.assert_array_equal(delta[3, 4:], step * wgt[4:, 5].astype(int))


def test_two_flips_on_one_product_have_a_cross_term():
    flips = [Flip(8 + 5, "act", 3, 4, 2), Flip(8 + 5, "wgt", 3, 4, 3)]
    both = _changed(flips)[1][3, 4]
    alone = sum(_changed([f])[1][3, 4] for f in flips)
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(1, 128, (8, 20)).astype(np.int64) for _ in range(2))
    cross = ((act[3, 5] ^ 4) - act[3, 5]) * ((wgt[4, 5] ^ 8) - wgt[4, 5])
    assert both == alone + cross
    assert cross


def test_a_flip_twice_is_no_flip():
    for register in BY_UNIT["array"]:
        assert _changed([Flip(15, register, 2, 2, 1)] * 2)[0] == set()


@pytest.mark.parametrize(
    ("flip", "text"),
    [
        (Flip(0, "act", 8, 0, 0), "flip of act: row=8 is outside 0..7"),
        (Flip(0, "act", 0, 0, 8), "flip of act: bit=8 is outside 0..7"),
        (Flip(0, "acc", 0, 0, 24), "flip of acc: bit=24 is outside 0..23"),
        (Flip(42, "acc", 0, 0, 0), "flip of acc: step=42 is outside 0..41"),
        (
            Flip(0, "skew", 0, 0, 0),
            "register 'skew' does not exist in unit 'array'; use one of "
            + ", ".join(BY_UNIT["array"]),
        ),
    ],
)
def test_flips_outside_the_array_are_refused(flip, text):
    with pytest.raises(FlexhycaError) as error:
        _changed([flip])
    assert str(error.value) == text
