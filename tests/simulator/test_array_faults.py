"""Corrections of a tile's sums equal the register-true stepper, for any number of flips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.isa import fixedpoint as fx
from flexhyca.isa.layers import Arithmetic
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.array_faults import os_tile_faults
from flexhyca.simulator.stepper import Flip, os_tile
from flexhyca.simulator.timing import os_tile_cycles

COVERED = {"single": 0, "interacting": 0, **dict.fromkeys(BY_UNIT["array"], 0)}


@st.composite
def cases(draw):
    rows, cols = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    m, n, k = draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, 20))
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits), 32))
    arithmetic = Arithmetic(act_bits, weight_bits, acc_bits)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act, wgt, start = (
        rng.integers(fx.limits(bits)[0], fx.limits(bits)[1] + 1, shape)
        for bits, shape in ((act_bits, (m, k)), (weight_bits, (n, k)), (acc_bits, (m, n)))
    )
    steps, flips = os_tile_cycles(k, rows, cols), []
    # Few places and steps, so that flips meet in one product or accumulator.
    around = int(rng.integers(steps))
    for _ in range(draw(st.integers(1, 8))):
        register = draw(st.sampled_from(sorted(BY_UNIT["array"])))
        step = int(np.clip(around + rng.integers(-3, 4), 0, steps - 1))
        bit = int(rng.integers(BY_UNIT["array"][register].bits(arithmetic)))
        near_r, near_c = rng.integers(min(3, rows)), rng.integers(min(3, cols))
        flips.append(Flip(step, register, int(near_r), int(near_c), bit))
    return act, wgt, start, rows, cols, arithmetic, flips


def check(case):
    act, wgt, start, rows, cols, arithmetic, flips = case
    machine = {"rows": rows, "cols": cols, "arithmetic": arithmetic}
    clean, _ = os_tile(act.astype(np.int8), wgt.astype(np.int8), start.astype(np.int32), **machine)
    faulty, _ = os_tile(
        act.astype(np.int8), wgt.astype(np.int8), start.astype(np.int32), **machine, flips=flips
    )
    r, c, change = os_tile_faults(act, wgt, start, **machine, flips=flips)
    expected = clean.astype(np.int64)
    expected[r, c] += change
    np.testing.assert_array_equal(faulty, fx.wrap(expected, arithmetic.acc_bits))
    COVERED["interacting" if len(flips) > 1 else "single"] += 1
    for flip in flips:
        COVERED[flip.register] += 1


@settings(max_examples=400, deadline=None)
@given(cases())
def test_corrections_equal_the_stepper(case):
    check(case)


@pytest.mark.slow
def test_corrections_equal_the_stepper_often():
    @settings(max_examples=20_000, deadline=None)
    @given(cases())
    def often(case):
        check(case)

    often()
    print("cases and flips by register:", COVERED)
    assert min(COVERED.values()) > 1000
