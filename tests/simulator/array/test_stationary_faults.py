"""Corrections of a stationary tile's sums equal the register-true steppers, whatever is hit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.errors import InternalError
from flexhyca.isa.registers import BY_UNIT
from flexhyca.network import fixedpoint as fx
from flexhyca.simulator.array.dataflows import DATAFLOWS
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.array.roles import ROLES
from flexhyca.simulator.array.tile import Pes, TileShape
from flexhyca.tests.simulator.inject.plans import Coverage, operands, random_flip
from flexhyca.tests.support import words

COVERED = Coverage()


@st.composite
def cases(draw):
    dataflow, overlapped = draw(st.sampled_from(["ws", "is"])), draw(st.booleans())
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    held, stream = draw(st.integers(1, cols)), draw(st.integers(1, 9))
    folds = draw(st.lists(st.integers(1, rows), min_size=1, max_size=4))
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits), 32))
    arithmetic = words(act_bits, weight_bits, acc_bits)
    number, extreme = draw(st.integers(1, 8)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, n = (stream, held) if dataflow == "ws" else (held, stream)
    act = operands(rng, act_bits, (m, sum(folds)), extreme).astype(np.int8)
    wgt = operands(rng, weight_bits, (n, sum(folds)), extreme).astype(np.int8)
    psum = operands(rng, acc_bits, (m, n), False).astype(np.int32)
    shape = TileShape(m, n, tuple(folds), rows, cols, overlapped)
    steps = DATAFLOWS[dataflow].cycles(shape)
    around, flips = int(rng.integers(steps)), []
    unit = f"array_{dataflow}"
    registers = [(unit, name) for name in BY_UNIT[unit]] + [("buffer", "output")]
    registers += [(f"skew_{dataflow}", name) for name in BY_UNIT[f"skew_{dataflow}"]] * (rows > 1)
    for _ in range(number):
        unit, name = registers[rng.integers(len(registers))]
        row, col = rng.integers(min(3, rows)), rng.integers(min(3, cols))
        if unit.startswith("skew"):
            row = rng.integers(1, rows)
            col = rng.integers(row)
        elif unit == "buffer":
            row, col = rng.integers(min(4, m * n)), 0
        flips.append(random_flip(rng, unit, name, row, col, arithmetic, steps, around, ()))
    pes = Pes(rows, cols, arithmetic, overlapped=overlapped)
    return dataflow, act, wgt, psum, pes, folds, flips


def check(case):
    dataflow, act, wgt, psum, pes, folds, flips = case
    flow = DATAFLOWS[dataflow]
    clean, _ = flow.step(act, wgt, psum, pes, parts=folds)
    faulty, _ = flow.step(act, wgt, psum, pes, flips, folds)
    r, c, change = flow.correct(act, wgt, psum, pes, flips, folds)
    expected = clean.astype(np.int64)
    expected[r, c] += change
    np.testing.assert_array_equal(faulty, fx.wrap(expected, pes.arithmetic.acc_bits))
    COVERED.add(flips)


@settings(max_examples=300, deadline=None)
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
    print(COVERED.table())
    kinds = {name.split(":")[0] for name in COVERED}
    for dataflow in ROLES:
        units = [f"array_{dataflow}", f"skew_{dataflow}"]
        assert {f"{unit}.{name}" for unit in units for name in BY_UNIT[unit]} <= kinds
    assert "buffer.output" in kinds
    assert min(COVERED.values()) > 40


A = Arithmetic()
M = Pes(4, 4, A)


def changed(dataflow, flips, folds=(4, 4), stream=6):
    """Sums of a 4x4 array that are wrong, by (vector, column)."""
    rng = np.random.default_rng(0)
    k = sum(folds)
    streamed, held = (rng.integers(1, 128, (x, k)).astype(np.int8) for x in (stream, 4))
    act, wgt = (streamed, held) if dataflow == "ws" else (held, streamed)
    psum = np.zeros((len(act), len(wgt)), np.int32)
    r, c, change = DATAFLOWS[dataflow].correct(act, wgt, psum, M, flips, folds)
    found = {(int(i), int(j)): int(x) for i, j, x in zip(r, c, change, strict=True) if x}
    return found if dataflow == "ws" else {(j, i): x for (i, j), x in found.items()}


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_flip_in_a_delay_line_reaches_one_vector_and_all_columns(dataflow):
    # Stage 1 of row 3 holds vector i at the start of step 4 + i + 2.
    unit = f"skew_{dataflow}"
    name = next(iter(BY_UNIT[unit]))
    flip = Flip(4 + 2 + 2, name, 3, 1, 4, unit=unit)
    assert set(changed(dataflow, [flip])) == {(2, c) for c in range(4)}
    assert changed(dataflow, [flip], folds=(3, 3)) == {}  # the row has no operands


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_stuck_bit_of_a_stationary_value_is_a_stuck_bit_of_each_that_is_latched(dataflow):
    held = "wgt" if dataflow == "ws" else "act"
    ever = changed(dataflow, [Flip(0, held, 2, 3, 6, stuck=0)])
    assert set(ever) <= {(i, 3) for i in range(6)}
    assert ever
    # In one fold only, it is what the same bit of the preload chain's last register does.
    first = changed(dataflow, [Flip(0, held, 2, 3, 6, stuck=0, until=18)])
    chain = changed(dataflow, [Flip(4, "preload", 2, 3, 6, stuck=0, until=5)])
    assert first == chain


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_word_of_the_partial_sum_buffer_is_wrong_from_then_on(dataflow):
    word = 2 * 4 + 3 if dataflow == "ws" else 3 * 6 + 2
    flip = Flip(1, "output", word, 0, 20, unit="buffer")
    assert changed(dataflow, [flip]) == {(2, 3): 1 << 20}
    assert changed(dataflow, [flip, flip._replace(step=30)]) == {}
    # Stuck, it is a bit of each partial sum.
    assert set(changed(dataflow, [flip._replace(stuck=1)])) == {(2, 3)}


@pytest.mark.parametrize("dataflow", ROLES)
def test_cut_folds_have_to_be_those_of_the_operands(dataflow):
    one = np.ones((2, 8), np.int8)
    sums = np.zeros((2, 2), np.int32)
    for folds in ([4, 3], [5, 3], [4, 4, 0]):
        with pytest.raises(InternalError, match="folds of"):
            DATAFLOWS[dataflow].step(one, one, sums, M, parts=folds)
