"""The register-true WS and IS arrays: values, cycles, and what a flip in each register reaches."""

from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic
from flexhyca.errors import FlexhycaError
from flexhyca.isa.registers import BY_UNIT, UNIT_OF_DATAFLOW
from flexhyca.network.fixedpoint import wrap
from flexhyca.simulator.array.dataflows import DATAFLOWS
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.array.roles import ROLES
from flexhyca.simulator.array.stationary_array import even_folds
from flexhyca.simulator.array.tile import Pes
from flexhyca.simulator.array.timing import fold_cycles
from flexhyca.tests.support import words

A = Arithmetic()


def fold(
    dataflow, streamed, held, psum, *, rows, cols, arithmetic, flips=(), overlapped=False, parts=()
):
    """Either array by its roles: streamed (s, k), held (n, k), psum (s, n)."""
    act, wgt = ROLES[dataflow].by_role(streamed, held)
    start, _ = ROLES[dataflow].by_role(psum, psum.T)
    pes = Pes(rows, cols, arithmetic, overlapped=overlapped)
    out, cycles = DATAFLOWS[dataflow].step(act, wgt, start, pes, flips, parts)
    return ROLES[dataflow].by_role(out, out.T)[0], cycles


def names(dataflow):
    """Role -> register name."""
    return ROLES[dataflow]._asdict()


@st.composite
def operands(draw, max_stream=30, max_side=8):
    rows, cols = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    count, n = draw(st.integers(1, max_stream)), draw(st.integers(1, cols))
    k = draw(st.integers(1, 3 * rows))
    bits = draw(st.sampled_from([(8, 8, 16), (8, 8, 18), (8, 8, 24), (4, 6, 20), (8, 8, 32)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    halves = [1 << (b - 1) for b in bits]
    extreme = draw(st.booleans())  # full-scale operands wrap narrow sums
    streamed, held = (
        (np.full(s, -h) if extreme else rng.integers(-h, h, s)).astype(np.int8)
        for h, s in zip(halves, [(count, k), (n, k)], strict=False)
    )
    psum = rng.integers(-halves[2], halves[2], (count, n)).astype(np.int32)
    return streamed, held, psum, rows, cols, bits


def arithmetic(dataflow, bits):
    streamed, held, acc = bits
    return words(streamed, held, acc) if dataflow == "ws" else words(held, streamed, acc)


@pytest.mark.parametrize("dataflow", ROLES)
@settings(max_examples=200, deadline=None)
@given(operands())
def test_closed_form_cycles_and_numpy_values(dataflow, case):
    streamed, held, psum, rows, cols, bits = case
    out, cycles = fold(
        dataflow, streamed, held, psum, rows=rows, cols=cols, arithmetic=arithmetic(dataflow, bits)
    )
    (count, k) = streamed.shape
    # Rows and columns without operands cost nothing.
    parts, n = even_folds(k, rows), len(held)
    assert cycles == sum(fold_cycles(count, used, n) for used in parts)
    assert fold_cycles(count, rows, cols) == 2 * rows + cols + count - 2
    exact = streamed.astype(np.int64) @ held.astype(np.int64).T + psum
    np.testing.assert_array_equal(out, wrap(exact, bits[2]))


def predict(streamed, held, psum, rows, cols, bits, flips, begins, overlapped=False):
    """Sums under flips, from what each register holds when: one product at a time, no stepping.

    flips : (step, role, row, col, bit). begins : of each fold.
    """
    flipped = Counter((step, role, r, c, bit) for step, role, r, c, bit in flips)
    streamed_bits, held_bits, acc_bits = bits

    def hit(value, width, role, row, col, steps):
        for step in steps:
            for bit in range(width):
                if flipped[step, role, row, col, bit] % 2:
                    value = int(wrap(int(value) ^ (1 << bit), width))
        return int(value)

    count, k = streamed.shape
    out = psum.astype(np.int64)
    n = len(held)
    for number, (used, begin) in enumerate(zip(even_folds(k, rows), begins, strict=True)):
        for c in range(n):
            kept = {}
            for r in range(used):
                value = held[c, number * rows + r]
                for above in range(r + 1):  # on its way down
                    at = begin + used - r + above
                    value = hit(value, held_bits, "preload", above, c, [at])
                waits = range(begin + used + 1, begin + used + 1 + (r + c) * overlapped)
                kept[r] = hit(value, held_bits, "preload", r, c, waits)
            for i in range(count):
                total = 0
                for r in range(used):
                    read = begin + used + 1 + i + r + c
                    if r:
                        total = hit(total, acc_bits, "psum", r - 1, c, [read])
                    value = streamed[i, number * rows + r]
                    for left in range(c + 1):
                        at = read - c + left
                        value = hit(value, streamed_bits, "streamed", r, left, [at])
                    since = range(begin + used + 1 + (r + c) * overlapped, read + 1)
                    total += value * hit(kept[r], held_bits, "held", r, c, since)
                    total = int(wrap(total, acc_bits))
                write = begin + 2 * used + 1 + i + c
                out[i, c] += hit(total, acc_bits, "psum", used - 1, c, [write])
    return wrap(out, acc_bits)


def one_after_the_other(parts, count, n):
    """Step in which each fold begins, and the last one ends, without overlap."""
    return [0, *accumulate(2 * used + n + count - 2 for used in parts)]


def check_prediction(dataflow, case, seed, number, begins_of, overlapped):
    """begins_of : (operands of each fold, vectors, held) -> when each begins, and the end."""
    streamed, held, psum, rows, cols, bits = case
    begins = begins_of(even_folds(streamed.shape[1], rows), len(streamed), len(held))
    rng = np.random.default_rng(seed)
    steps = begins[-1] + 2
    width = {"preload": bits[1], "held": bits[1], "streamed": bits[0], "psum": bits[2]}
    flips = []
    for role in rng.choice(list(width), number):
        limits = [steps, rows, cols, width[role]]
        step, r, c, bit = (int(rng.integers(limit)) for limit in limits)
        flips.append((step, str(role), r, c, bit))
    named = [Flip(f[0], names(dataflow)[f[1]], *f[2:]) for f in flips]
    out, _ = fold(
        dataflow,
        streamed,
        held,
        psum,
        rows=rows,
        cols=cols,
        arithmetic=arithmetic(dataflow, bits),
        flips=named,
        overlapped=overlapped,
    )
    expected = predict(streamed, held, psum, rows, cols, bits, flips, begins[:-1], overlapped)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dataflow", ROLES)
@settings(max_examples=60, deadline=None)
@given(operands(max_stream=6, max_side=4), st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_many_interacting_flips_equal_the_prediction(dataflow, case, seed, number):
    check_prediction(dataflow, case, seed, number, one_after_the_other, False)


def changed(dataflow, flips, *, k=8, n=8, count=20):
    """(vector, column) of each wrong sum of an 8x8 array; flips by role."""
    rng = np.random.default_rng(0)
    streamed, held = (rng.integers(1, 128, (x, k)).astype(np.int8) for x in (count, n))
    psum = np.zeros((count, n), np.int32)
    options = {"rows": 8, "cols": 8, "arithmetic": A}
    named = [Flip(f[0], names(dataflow)[f[1]], *f[2:]) for f in flips]
    clean, _ = fold(dataflow, streamed, held, psum, **options)
    wrong, _ = fold(dataflow, streamed, held, psum, flips=named, **options)
    return {(int(i), int(c)) for i, c in np.argwhere(clean != wrong)}


# Independent RTL of an 8x8 WS array, PE (2, 3): act corrupts one streamed row in columns 3..7, the
# partial sum one output, a latched weight the column until reload.  PE (2, 3) reads vector i in
# step 8 + 1 + i + 2 + 3.
READ = 14


@pytest.mark.parametrize("dataflow", ROLES)
@pytest.mark.parametrize(
    ("step", "role", "reached"),
    [
        (READ + 6, "streamed", {(6, c) for c in range(3, 8)}),
        (READ + 6 + 1, "psum", {(6, 3)}),
        (READ + 6, "held", {(i, 3) for i in range(6, 20)}),
        (9, "held", {(i, 3) for i in range(20)}),
        (8, "held", set()),  # overwritten in this very step
        (8, "preload", {(i, 3) for i in range(20)}),
        (9, "preload", set()),  # latched already
    ],
)
def test_reach_of_a_flip(dataflow, step, role, reached):
    assert changed(dataflow, [(step, role, 2, 3, 5)]) == reached


@pytest.mark.parametrize("dataflow", ROLES)
@pytest.mark.parametrize("step", [READ - 1, READ + 20])
def test_streamed_and_psum_flips_outside_the_active_window_reach_nothing(dataflow, step):
    # The first value is read in step READ, the last in READ + 19; a sum one step later.
    assert changed(dataflow, [(step, "streamed", 2, 3, 6)]) == set()
    assert changed(dataflow, [(step + 1, "psum", 2, 3, 6)]) == set()
    inside = READ if step < READ else READ + 19
    assert changed(dataflow, [(inside, "streamed", 2, 3, 6)]) != set()
    assert changed(dataflow, [(inside + 1, "psum", 2, 3, 6)]) != set()


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_flip_in_a_stationary_value_stays_until_reload(dataflow):
    period = 20 + 2 * 8 + 8 - 2
    everywhere = {(i, 3) for i in range(20)}
    # Two folds: what the column has yet to sum up in this fold is wrong; a second flip ends it.
    assert changed(dataflow, [(READ + 12, "held", 2, 3, 4)], k=16) == {
        (i, 3) for i in range(12, 20)
    }
    pair = [(READ + 12, "held", 2, 3, 4), (READ + 14, "held", 2, 3, 4)]
    assert changed(dataflow, pair, k=16) == {(12, 3), (13, 3)}
    assert changed(dataflow, [(period + 9, "held", 2, 3, 4)], k=16) == everywhere
    # After the column's last sum, and up to the reload of the second fold, nothing is left.
    for step in range(READ + 20, period + 9):
        assert changed(dataflow, [(step, "held", 2, 3, 4)], k=16) == set()


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_preload_flip_wrongs_the_one_value_that_passes(dataflow):
    # In step 5 PE (2, 3) of the chain holds the value of row 8 - 5 + 2 = 5.
    assert changed(dataflow, [(5, "preload", 2, 3, 4)]) == {(i, 3) for i in range(20)}
    same = [(5, "preload", 2, 3, 4), (9, "held", 5, 3, 4)]
    assert changed(dataflow, same) == set()
    assert changed(dataflow, [(5, "preload", 2, 3, 4), (9, "held", 4, 3, 4)]) != set()
    # Before the first value has come this far there is nothing to flip.
    for step in range(3):
        assert changed(dataflow, [(step, "preload", 2, 3, 4)]) == set()


@pytest.mark.parametrize("dataflow", ROLES)
def test_idle_rows_and_columns_of_a_partial_fold(dataflow):
    idle_row = [(READ + 8, "streamed", 6, 3, 2), (READ + 8, "held", 6, 3, 2)]
    assert changed(dataflow, idle_row, k=5) == set()  # together they would be a product
    assert changed(dataflow, [(READ + 8, "psum", 6, 3, 2)], k=5) == set()  # it has left above
    for role in ("streamed", "held", "psum"):
        assert changed(dataflow, [(READ + 8, role, 2, 6, 2)], n=5) == set()


@pytest.mark.parametrize("dataflow", ROLES)
def test_the_last_sum_leaves_two_steps_after_the_fold(dataflow):
    cycles = 20 + 2 * 8 + 8 - 2
    last = {(19, 7)}
    assert changed(dataflow, [(cycles, "streamed", 7, 7, 3)]) == last
    assert changed(dataflow, [(cycles + 1, "psum", 7, 7, 3)]) == last
    assert changed(dataflow, [(cycles + 1, "streamed", 7, 7, 3)]) == set()
    assert changed(dataflow, [(cycles + 1, "psum", 7, 7, 3)], k=16) >= last  # the next preload


@pytest.mark.parametrize("dataflow", ROLES)
def test_a_flip_twice_is_no_flip(dataflow):
    for role in names(dataflow):
        assert changed(dataflow, [(12, role, 2, 2, 1)] * 2) == set()


@pytest.mark.parametrize(("dataflow", "held", "streamed"), [("ws", 6, 4), ("is", 4, 6)])
def test_registers_are_as_wide_as_what_they_have(dataflow, held, streamed):
    own, roles = BY_UNIT[UNIT_OF_DATAFLOW[dataflow]], ROLES[dataflow]
    bits = {name: register.bits(words(4, 6, 20)) for name, register in own.items()}
    assert bits[roles.preload] == bits[roles.held] == held
    assert (bits[roles.streamed], bits[roles.psum]) == (streamed, 20)


@pytest.mark.parametrize(
    ("flip", "text"),
    [
        (Flip(0, "act", 8, 0, 0), "flip of act: row=8 is outside 0..7"),
        (Flip(0, "psum", 0, 0, 24), "flip of psum: bit=24 is outside 0..23"),
        (Flip(20, "wgt", 0, 0, 0), "flip of wgt: step=20 is outside 0..19"),
        (
            Flip(0, "acc", 0, 0, 0),
            "register 'acc' does not exist in unit 'array_ws'; use one of "
            + ", ".join(BY_UNIT["array_ws"]),
        ),
    ],
)
def test_flips_outside_the_array_are_refused(flip, text):
    one, sums = np.ones((2, 8), np.int8), np.zeros((2, 2), np.int32)
    with pytest.raises(FlexhycaError) as error:
        fold("ws", one, one, sums, rows=8, cols=8, arithmetic=A, flips=[flip])
    assert str(error.value) == text
