"""Stationary arrays with `array.overlapped_preload`: when folds follow, values, reach of a flip."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.isa.registers import BY_UNIT, SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW
from flexhyca.network.fixedpoint import wrap
from flexhyca.simulator.array.dataflows import DATAFLOWS
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.array.roles import ROLES
from flexhyca.simulator.array.tile import TileShape
from flexhyca.simulator.array.timing import fold_begins, fold_cycles, fold_follows
from flexhyca.tests.simulator.array.test_stepper_stationary import (
    arithmetic,
    check_prediction,
    fold,
    names,
    operands,
)


def legal(begin, used, after, count, n):
    """Whether a fold of `after` rows may begin `begin` steps after one of `used`, PE by PE."""
    first, second = used, begin + after  # steps in which their vectors 0 enter
    for c in range(n):
        for r in range(used):
            latches = first + r + c
            if begin < latches:  # the chain moves, and what it held is lost
                return False
            if r < after and second + r + c <= latches + count:  # no step without an operand
                return False
        sums = [first + used + 1 + i + c for i in range(count)]
        if second + after + 1 + c <= sums[-1]:  # a column writes one sum a step, fold by fold
            return False
    return True


def earliest(folds, count, n):
    """Step in which each fold begins, and the last one ends: each tried a step later, and later."""
    begins = [0]
    for used, after in pairwise(folds):
        later = 0
        while not legal(later, used, after, count, n):
            later += 1
        begins.append(begins[-1] + later)
    return [*begins, begins[-1] + count + 2 * folds[-1] + n - 2]


folds_of = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(folds_of, st.integers(1, 30), st.integers(1, 7))
def test_a_fold_begins_as_early_as_it_may(folds, count, n):
    assert fold_begins(count, np.array(folds), n, True).tolist() == earliest(folds, count, n)


@settings(max_examples=300, deadline=None)
@given(*[st.integers(1, 300)] * 4)
def test_overlap_never_costs_a_step(count, used, n, after):
    assert fold_follows(count, used, n, after) <= fold_cycles(count, used, n)


def test_long_streams_follow_each_other_but_for_one_step():
    assert fold_follows(128, 32, 32, 32) == 128 + 1
    assert fold_follows(94, 32, 32, 32) == 94 + 1
    # Of shorter ones the chain of the next fold waits until the last column has latched.
    assert fold_follows(93, 32, 32, 32) == fold_follows(1, 32, 32, 32) == 2 * 32 + 32 - 2


@pytest.mark.parametrize("dataflow", ROLES)
@settings(max_examples=150, deadline=None)
@given(operands(), st.integers(0, 2**32 - 1))
def test_closed_form_cycles_and_numpy_values(dataflow, case, seed):
    streamed, held, psum, rows, cols, bits = case
    (count, k), n, rng = streamed.shape, len(held), np.random.default_rng(seed)
    parts = []
    while sum(parts) < k:
        parts.append(int(rng.integers(1, min(rows, k - sum(parts)) + 1)))
    machine = {"rows": rows, "cols": cols, "arithmetic": arithmetic(dataflow, bits)}
    out, cycles = fold(dataflow, streamed, held, psum, **machine, overlapped=True, parts=parts)
    assert cycles == earliest(parts, count, n)[-1]
    exact = streamed.astype(np.int64) @ held.astype(np.int64).T + psum
    np.testing.assert_array_equal(out, wrap(exact, bits[2]))


@pytest.mark.parametrize("dataflow", ROLES)
@settings(max_examples=60, deadline=None)
@given(operands(max_stream=6, max_side=4), st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_many_interacting_flips_equal_the_prediction(dataflow, case, seed, number):
    check_prediction(dataflow, case, seed, number, earliest, True)


def changed(dataflow, flips, count=30):
    """(vector, column) of each wrong sum of two folds on an 8x8 array; flips by role."""
    rng = np.random.default_rng(0)
    streamed, held = (rng.integers(1, 128, (x, 16)).astype(np.int8) for x in (count, 8))
    psum = np.zeros((count, 8), np.int32)
    machine = {"rows": 8, "cols": 8, "arithmetic": Arithmetic(), "overlapped": True}
    named = [Flip(f[0], names(dataflow)[f[1]], *f[2:]) for f in flips]
    clean, _ = fold(dataflow, streamed, held, psum, **machine)
    wrong, _ = fold(dataflow, streamed, held, psum, flips=named, **machine)
    return {(int(i), int(c)) for i, c in np.argwhere(clean != wrong)}


# Of 30 vectors the second fold begins 31 steps after the first. PE (2, 3) latches in step
# 8 + 2 + 3, and reads vector i one step and i later.
LATCH, NEXT = 13, 13 + 31


@pytest.mark.parametrize("dataflow", ROLES)
@pytest.mark.parametrize(
    ("step", "role", "reached"),
    [
        (8, "preload", range(30)),  # the chain is full
        (LATCH, "preload", range(30)),  # and waits for the stream
        (LATCH + 1, "preload", ()),
        (LATCH, "held", ()),  # overwritten in this very step
        (LATCH + 1, "held", range(30)),
        (LATCH + 30, "held", [29]),
        (LATCH + 31, "held", ()),  # between two folds
        (NEXT, "preload", range(30)),
        (NEXT, "held", ()),
        (NEXT + 1, "held", range(30)),
    ],
)
def test_reach_of_a_flip(dataflow, step, role, reached):
    assert changed(dataflow, [(step, role, 2, 3, 5)]) == {(i, 3) for i in reached}


@pytest.mark.parametrize("dataflow", ROLES)
def test_the_next_value_passes_the_chain_while_this_one_is_in_use(dataflow):
    # In step 31 + 5 the chain of row 2 holds the value of row 5 of the second fold.
    flip = (31 + 5, "preload", 2, 3, 4)
    assert changed(dataflow, [flip]) == {(i, 3) for i in range(30)}
    latched = 31 + 8 + 5 + 3
    assert changed(dataflow, [flip, (latched + 1, "held", 5, 3, 4)]) == set()
    assert changed(dataflow, [flip, (latched, "preload", 5, 3, 4)]) == set()


@pytest.mark.parametrize("dataflow", ROLES)
@settings(max_examples=40, deadline=None)
@given(folds_of, st.integers(1, 30), st.integers(1, 7), st.integers(7, 8), st.integers(7, 8))
def test_a_tile_has_a_place_while_it_uses_it_and_no_longer_than_to_the_next_tile(
    dataflow, folds, count, n, rows, cols
):
    flow = DATAFLOWS[dataflow]
    m, n = (count, n) if dataflow == "ws" else (n, count)
    shape = TileShape(m, n, tuple(folds), rows, cols, True)
    two = flow.starts(shape._replace(parts=(*folds, *folds)))
    for unit in (UNIT_OF_DATAFLOW[dataflow], SKEW_OF_DATAFLOW[dataflow]):
        for register in BY_UNIT[unit].values():
            for row, col in ((0, 0), (2, 1), (5, 4), (6, 3)):
                if not register.exists(row, col):
                    continue
                first, steps = flow.owned(shape, register, row, col)
                assert steps == two[len(folds)]
                assert first >= 0
                assert first + steps <= flow.cycles(shape)
                used = flow.count(shape, register, np.array([[row, col]])).stretches()
                assert all(first <= a and b < first + steps for a, b in used)
