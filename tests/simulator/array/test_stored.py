"""What a register is said to hold is what it holds: rebuilt bit by bit from the steppers' sums.

A bit that is stuck at 0 in one step changes a sum exactly if it was 1, as long as no partner is 0.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.errors import InternalError
from flexhyca.isa.protection import TRIPLED
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.array.stepper import os_tile
from flexhyca.simulator.array.stepper_stationary import is_fold, ws_fold
from flexhyca.simulator.array.stored import (
    Shape,
    os_stored,
    runs,
    stationary_stored,
    value,
)
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.simulator.dppu.schedule import DppuShape, dppu_schedule
from flexhyca.simulator.dppu.stepper import dppu_tile
from flexhyca.simulator.dppu.stored import dppu_stored, resident
from flexhyca.tests.simulator.inject.plans import operands
from flexhyca.tests.support import words

#: Cases by register: something was in it, or nothing that is used.
HELD, IDLE = Counter(), Counter()
ALWAYS = ("buffer.output", "dppu.psum", "dppu.position")  # in use from the first step on, or nearly


def arithmetic_of(draw, extra=0):
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits + extra), 32))
    return words(act_bits, weight_bits, acc_bits)


def tile_of(rng, m, n, k, a):
    """Operands without a 0, and biases."""
    act, wgt = (
        np.where(x == 0, 1, x).astype(np.int8)
        for x in (operands(rng, a.act_bits, (m, k), False), operands(rng, a.weight_bits, (n, k), 0))
    )
    return act, wgt, operands(rng, a.acc_bits, n, False)


def rebuilt(run, unit, register, row, col, step, bits, tripled):
    """The word in a register, from the bits that can be changed; None if none can.

    run : flips -> a tuple of arrays. tripled : columns that have three copies.
    """
    clean, word, visible = run([]), 0, []
    for bit in range(bits):
        copies = range(3 if bit in tripled else 1)
        changes = []
        for stuck in (0, 1):
            at = (step, register, int(row), int(col), bit)
            flips = [Flip(*at, copy, unit, stuck, step + 1) for copy in copies]
            after = run(flips)
            changes.append(any((x != y).any() for x, y in zip(clean, after, strict=True)))
        assert not all(changes)
        visible.append(any(changes))
        word |= changes[0] << bit
    assert len(set(visible)) == 1
    return word - (1 << bits) * (word >> (bits - 1)) if visible[0] else None


def compare(stored, tile, found, bits, name):
    if stored is None:
        assert found is None
        IDLE[name] += 1
    else:
        assert found == value(stored, *tile, bits)
        HELD[name] += 1


def often(name, cases, check):
    """Check cases of one register, some of which find it in use and some not."""
    counts = HELD[name], IDLE[name]

    @settings(max_examples=100, deadline=None)
    @given(cases)
    def run(case):
        check(*case)

    run()
    assert HELD[name] > counts[0]
    if name not in ALWAYS:
        assert IDLE[name] > counts[1]


def copies_of(draw, a):
    low = draw(st.integers(0, a.acc_bits))
    return {
        "protected": range(low, draw(st.integers(low, a.acc_bits))),
        "voter": draw(st.sampled_from(["feedback", "output"])),
    }


def place_of(rng, unit, name, rows, cols):
    """A random place of an array or its delay lines."""
    if not unit.startswith("skew"):
        return int(rng.integers(rows)), int(rng.integers(cols))
    in_rows = (unit, name) != ("skew", "wgt")
    line = int(rng.integers(1, rows if in_rows else cols))
    stage = int(rng.integers(line))
    return (line, stage) if in_rows else (stage, line)


@st.composite
def os_cases(draw, unit, name):
    least = 2 if unit == "skew" else 1
    rows, cols = draw(st.integers(least, 6)), draw(st.integers(least, 6))
    m, n, k = draw(st.integers(1, rows)), draw(st.integers(1, cols)), draw(st.integers(1, 12))
    a = arithmetic_of(draw)
    machine = {"rows": rows, "cols": cols, "arithmetic": a, **copies_of(draw, a)}
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = place_of(rng, unit, name, rows, cols)
    step = int(rng.integers(os_tile_cycles(k, rows, cols)))
    return tile_of(rng, m, n, k, a), machine, (unit, name, *place, step)


def check_os(tile, machine, place):
    (act, wgt, start), (unit, name, *_) = tile, place
    bits = BY_UNIT[unit][name].bits(machine["arithmetic"])
    tripled = machine["protected"] if name in TRIPLED.get(unit, ()) else ()
    shape = Shape(len(act), len(wgt), (act.shape[1],), machine["rows"], machine["cols"])

    def run(flips):
        return (os_tile(act, wgt, start.astype(np.int32), flips=flips, **machine)[0],)

    found = rebuilt(run, *place, bits, tripled)
    compare(os_stored(shape, *place), tile, found, bits, f"{unit}.{name}")


@pytest.mark.parametrize("unit", ["array", "skew"])
def test_an_output_stationary_array(unit):
    for name in BY_UNIT[unit]:
        often(f"{unit}.{name}", os_cases(unit, name), check_os)


@st.composite
def stationary_cases(draw, dataflow, unit, name):
    rows, cols = draw(st.integers(1 + unit.startswith("skew"), 5)), draw(st.integers(1, 5))
    held, stream = draw(st.integers(1, cols)), draw(st.integers(1, 6))
    folds = tuple(draw(st.lists(st.integers(1, rows), min_size=1, max_size=3)))
    a = arithmetic_of(draw)
    m, n = (stream, held) if dataflow == "ws" else (held, stream)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = place_of(rng, unit, name, rows, cols)
    if unit == "buffer":
        place = int(rng.integers(m * n)), 0
    period = stream + 2 * rows + cols - 2
    step = int(rng.integers(len(folds) * period + 2))
    if name == "preload" and rng.random() < 0.7:  # most of the time it holds nothing
        step = int(rng.integers(len(folds))) * period + int(rng.integers(rows + 1))
    shape = Shape(m, n, folds, rows, cols)
    return dataflow, tile_of(rng, m, n, sum(folds), a), shape, a, (unit, name, *place, step)


def check_stationary(dataflow, tile, shape, a, place):
    (act, wgt, start), (unit, name, *where) = tile, place
    bits = BY_UNIT[unit][name].bits(a)
    psum = np.broadcast_to(start, (shape.m, shape.n)).astype(np.int32)
    machine = {"rows": shape.rows, "cols": shape.cols, "arithmetic": a, "folds": shape.parts}
    step = ws_fold if dataflow == "ws" else is_fold

    def run(flips):
        return (step(act, wgt, psum, flips=flips, **machine)[0],)

    own = f"array_{dataflow}" if unit == "buffer" else unit
    stored = stationary_stored(shape, own, name, *where)
    compare(stored, tile, rebuilt(run, *place, bits, ()), bits, f"{unit}.{name}")


@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_a_stationary_array(dataflow):
    units = f"array_{dataflow}", f"skew_{dataflow}"
    for unit, name in [(u, r) for u in units for r in BY_UNIT[u]] + [("buffer", "output")]:
        often(f"{unit}.{name}", stationary_cases(dataflow, unit, name), check_stationary)


@st.composite
def dppu_cases(draw, name):
    stage = int(name[4:]) if name.startswith("tree") else 0
    rows, cols = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    groups, width = draw(st.integers(1, 3)), draw(st.integers(1 + (1 << stage >> 1), 5))
    dppu = DppuShape(rows, cols, groups, width, draw(st.integers(1, 8)), draw(st.booleans()))
    parts = draw(st.lists(st.integers(1, 10), min_size=1, max_size=2))
    m, n = draw(st.integers(1, rows)), draw(st.integers(1, cols))
    neurons = draw(st.integers(1, min(m * n, 5)))
    a = arithmetic_of(draw, dppu.stages)
    machine = {"dppu": dppu, "arithmetic": a, "parts": parts, **copies_of(draw, a)}
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    positions = np.stack(np.divmod(rng.choice(m * n, neurons, replace=False), n), 1)
    row, col = rng.integers(groups), rng.integers(dppu.nodes(stage))
    if name in ("psum", "position"):
        row, col = rng.integers(neurons), 0
    elif name == "file_act":
        row, col = rng.integers(rows), rng.integers(2 * dppu.window)
    elif name == "file_wgt":
        row, col = rng.integers(2 * dppu.window), rng.integers(cols)
    schedule = dppu_schedule(parts, neurons, dppu)
    place = name, int(row), int(col), int(rng.integers(schedule.cycles))
    return tile_of(rng, m, n, sum(parts), a), positions, machine, schedule, place


def check_dppu(tile, positions, machine, schedule, place):
    (act, wgt, start), unit = tile, machine["dppu"].unit
    bits = BY_UNIT[unit][place[0]].bits(machine["arithmetic"])
    tripled = machine["protected"] if place[0] in TRIPLED[unit] else ()

    def run(flips):
        return dppu_tile(act, wgt, start[positions[:, 1]], positions, flips=flips, **machine)

    if place[0] == "position":
        check_position(run, positions, schedule, place)
        return
    stored = dppu_stored(schedule, positions, *place)
    found = rebuilt(run, unit, *place, bits, tripled)
    compare(stored, tile, found, bits, f"dppu.{place[0]}")


def check_position(run, positions, schedule, place):
    """Each bit of a position is a register; another one says itself where it points to."""
    name, row, _, step = place
    shape, clean = schedule.shape, run([])
    word = (positions[row, 0] << shape.column_bits) | positions[row, 1]
    there = resident(schedule, positions, row, step)
    (HELD if there else IDLE)["dppu.position"] += 1
    for bit in range(shape.position_bits):
        for stuck in (0, 1):
            flip = Flip(step, name, row, bit, 0, 0, shape.unit, stuck, step + 1)
            changed = any((x != y).any() for x, y in zip(clean, run([flip]), strict=True))
            if word >> bit & 1 == stuck or not there:
                assert not changed
            elif step >= schedule.loads[-1]:
                assert changed


DPPU = ("file_act", "file_wgt", "act", "wgt", "prod", "psum", "position", "tree1", "tree2", "tree3")


@pytest.mark.parametrize("name", DPPU)
def test_the_dppu(name):
    often(f"dppu.{name}", dppu_cases(name), check_dppu)


def test_a_register_that_does_not_exist_is_a_mistake_here():
    shape = Shape(1, 1, (4,), 2, 2)
    with pytest.raises(InternalError, match="register 'psum' of unit 'array'"):
        os_stored(shape, "array", "psum", 0, 0, 0)
    with pytest.raises(InternalError, match="register 'acc' of unit 'array_ws'"):
        stationary_stored(shape, "array_ws", "acc", 0, 0, 0)


def test_runs():
    assert runs([]) == []
    assert runs([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]
