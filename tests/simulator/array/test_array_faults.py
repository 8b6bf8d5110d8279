"""Corrections of a tile's sums equal the register-true stepper, for any number of faults."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.isa.registers import BY_UNIT
from flexhyca.network import fixedpoint as fx
from flexhyca.simulator.array.dataflows import DATAFLOWS
from flexhyca.simulator.array.flips import Flip, outvoted
from flexhyca.simulator.array.os_array import os_plan, os_tile, os_tile_faults
from flexhyca.simulator.array.os_stepper import step_os_tile_copies
from flexhyca.simulator.array.tile import TileShape, places_of
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.simulator.inject.units import all_places
from flexhyca.tests.simulator.inject.plans import Coverage, operands, random_flip
from flexhyca.tests.support import words

COVERED = Coverage()


@st.composite
def cases(draw):
    rows, cols = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    m, n, k = draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, 20))
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits), 32))
    arithmetic = words(act_bits, weight_bits, acc_bits)
    low = draw(st.integers(0, acc_bits))
    protected = range(low, draw(st.integers(low, acc_bits)))
    voter = draw(st.sampled_from(choices("protection.voter")))
    product = None
    if voter == "feedback" and draw(st.booleans()):
        first = draw(st.integers(0, act_bits + weight_bits))
        product = range(first, draw(st.integers(first, act_bits + weight_bits)))
    number, extreme = draw(st.integers(1, 8)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act = operands(rng, act_bits, (m, k), extreme).astype(np.int8)
    wgt = operands(rng, weight_bits, (n, k), extreme).astype(np.int8)
    start = operands(rng, acc_bits, (m, n), False).astype(np.int32)
    steps, flips = os_tile_cycles(k, m, n), []
    around = int(rng.integers(steps))
    registers = [("array", name) for name in BY_UNIT["array"]]
    registers += [("skew", "act")] * (rows > 1) + [("skew", "wgt")] * (cols > 1)
    for _ in range(number):
        unit, name = registers[rng.integers(len(registers))]
        row, col = rng.integers(min(3, rows)), rng.integers(min(3, cols))
        if unit == "skew":
            line = rng.integers(1, min(3, rows if name == "act" else cols))
            line = int(line) if line else 1
            stage = int(rng.integers(line))
            row, col = (line, stage) if name == "act" else (stage, line)
        own = product if name == "prod" and product is not None else protected
        flips.append(random_flip(rng, unit, name, row, col, arithmetic, steps, around, own))
    machine = {
        "rows": rows,
        "cols": cols,
        "arithmetic": arithmetic,
        "protected": protected,
        "voter": voter,
        "product": product,
    }
    return act, wgt, start, machine, flips


def check(case):
    act, wgt, start, machine, flips = case
    clean, _ = os_tile(act, wgt, start, **machine)
    faulty, _ = os_tile(act, wgt, start, **machine, flips=flips)
    r, c, change = os_tile_faults(act, wgt, start, **machine, flips=flips)
    expected = clean.astype(np.int64)
    expected[r, c] += change
    np.testing.assert_array_equal(faulty, fx.wrap(expected, machine["arithmetic"].acc_bits))
    COVERED.add(flips, machine["protected"], machine["voter"])
    return clean, faulty


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
    assert {f"array.{r}" for r in BY_UNIT["array"]} | {"skew.act", "skew.wgt"} <= kinds
    assert min(COVERED.values()) > 40
    assert sum("copies" in name for name in COVERED) == 2 * 2 * 5  # register, voter, kind


@settings(max_examples=200, deadline=None)
@given(cases())
def test_what_is_outvoted_changes_nothing(case):
    act, wgt, start, machine, flips = case
    dropped = outvoted(flips, machine["protected"], machine["voter"], machine["product"])
    left = [f for f, drop in zip(flips, dropped, strict=True) if not drop]
    faulty, _ = os_tile(act, wgt, start, **machine, flips=flips)
    without, _ = os_tile(act, wgt, start, **machine, flips=left)
    np.testing.assert_array_equal(faulty, without)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_the_fast_stepper_and_the_one_with_copies_are_the_same_array(case):
    act, wgt, start, machine, flips = case
    flips = [f._replace(stuck=-1, until=-1, copy=0) for f in flips if f.unit == "array"]
    bits = machine["arithmetic"]
    k, rows, cols = act.shape[1], machine["rows"], machine["cols"]
    fast, cycles = os_tile(act, wgt, start, rows=rows, cols=cols, arithmetic=bits, flips=flips)
    for feedback in (True, False):
        slow, steps = step_os_tile_copies(
            act, wgt, start, rows, cols, bits.act_bits, bits.weight_bits, bits.acc_bits,
            os_plan(flips, (k, *start.shape), rows, cols, bits), 0, 0, feedback,
        )  # fmt: skip
        np.testing.assert_array_equal(fast, slow)
        assert steps == cycles


A = Arithmetic()
EIGHT = {"rows": 8, "cols": 8, "arithmetic": A}


def tile(k=20, size=8):
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(1, 128, (size, k)).astype(np.int8) for _ in range(2))
    return act, wgt, np.zeros((size, size), np.int32)


def wrong(flips, **options):
    """{(row, column): change} by the stepper; the twin agrees."""
    act, wgt, start = tile()
    clean, faulty = check(
        (act, wgt, start, {**EIGHT, "protected": range(0), "voter": "feedback", **options}, flips)
    )
    return {(int(r), int(c)): int((faulty - clean)[r, c]) for r, c in np.argwhere(clean != faulty)}


@pytest.mark.parametrize("voter", choices("protection.voter"))
@pytest.mark.parametrize("register", ["prod", "acc"])
def test_one_wrong_copy_is_outvoted_and_two_are_not(register, voter):
    options = {"protected": range(10, 12), "voter": voter}
    one = Flip(14, register, 3, 4, 11)
    assert wrong([one], **options) == {}
    assert wrong([one._replace(bit=9)], **options) != {}  # one flip-flop
    assert set(wrong([one, one._replace(copy=2)], **options)) == {(3, 4)}
    assert wrong([one._replace(stuck=0), one._replace(copy=2, stuck=1)], **options) == {}


def test_wrong_copies_heal_at_the_next_edge_only_with_feedback():
    late = [Flip(14, "acc", 3, 4, 11), Flip(20, "acc", 3, 4, 11, copy=2)]
    assert wrong(late, protected=range(10, 12), voter="feedback") == {}
    assert set(wrong(late, protected=range(10, 12), voter="output")) == {(3, 4)}


def test_a_carry_out_of_two_wrong_copies_is_wrong_and_out_of_one_is_not():
    # The top column of the copies is added to, and its carry goes into a column without copies.
    one = Flip(30, "acc", 3, 4, 11)
    assert wrong([one], protected=range(11, 12), voter="output") == {}
    assert wrong([one, one._replace(copy=1)], protected=range(11, 12), voter="output")


def test_a_flip_in_a_delay_line_reaches_the_whole_row_or_column():
    # Stage 1 of row 3 holds operand k at the start of step k + 2.
    assert set(wrong([Flip(7, "act", 3, 1, 5, unit="skew")])) == {(3, c) for c in range(8)}
    assert set(wrong([Flip(7, "wgt", 1, 4, 5, unit="skew")])) == {(r, 4) for r in range(8)}
    assert wrong([Flip(1, "act", 3, 1, 5, unit="skew")]) == {}
    assert wrong([Flip(22, "act", 3, 1, 5, unit="skew")]) == {}
    act, wgt, _ = tile()
    change = (int(act[3, 5]) ^ 32) - int(act[3, 5])
    expected = {(3, c): change * int(wgt[c, 5]) for c in range(8)}
    assert wrong([Flip(7, "act", 3, 1, 5, unit="skew")]) == expected


def test_a_stuck_operand_bit_is_one_faulty_operand_after_the_other():
    act, wgt, _ = tile()
    stuck = act.astype(int) & ~4
    expected = (stuck - act)[3] @ wgt.T.astype(int)
    assert wrong([Flip(0, "act", 3, 2, 2, stuck=0)]) == {
        (3, c): int(expected[c]) for c in range(2, 8)
    }


def test_a_stuck_bit_is_free_again():
    # In steps 8..9 PE (3, 4) holds operands 0 and 1.
    act, wgt, _ = tile()
    two = ((act.astype(int) & ~4) - act)[3, :2] @ wgt.T.astype(int)[:2]
    found = wrong([Flip(8, "act", 3, 4, 2, stuck=0, until=10)])
    assert found == {(3, c): int(two[c]) for c in range(4, 8) if two[c]}


@pytest.mark.parametrize("tile", [(1, 1, 5), (3, 2, 7), (6, 7, 4)])
def test_with_double_accumulators_a_tile_has_each_place_within_its_own_cycles(tile):
    m, n, k = tile
    shape, array = TileShape(m, n, (k,), 8, 8, True), DATAFLOWS["os"]
    for register in (*BY_UNIT["array"].values(), *BY_UNIT["skew"].values()):
        places = all_places(register, *places_of(register, 8, 8))
        for row, col in places.tolist():
            first, steps = array.owned(shape, register, row, col)
            assert first >= 0
            assert first + steps <= array.cycles(shape)
            assert steps == (array.cycles(shape) if register.name == "acc" else k)
            used = array.count(shape, register, np.array([[row, col]])).stretches()
            assert all(first <= a and b < first + steps for a, b in used if row < m and col < n)
