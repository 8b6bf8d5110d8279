"""The suite that every unit with registers has to pass: stepped, corrected, held and counted alike.

A new register is a row of `isa.registers`, and so a case of `test_units`; a new unit is a row of
`TILES` here as well.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.isa.protection import COPIES
from flexhyca.isa.registers import (
    BY_UNIT,
    DPPU_UNITS,
    SKEW_OF_DATAFLOW,
    UNIT_OF_DATAFLOW,
    Register,
)
from flexhyca.network import fixedpoint as fx
from flexhyca.simulator.array.dataflows import DATAFLOWS
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.array.tile import Held, Pes, TileShape, places_of, value
from flexhyca.simulator.dppu.held import Neurons
from flexhyca.simulator.dppu.schedule import DppuShape, dppu_schedule
from flexhyca.simulator.dppu.unit import DppuUnit
from flexhyca.simulator.inject.units import all_places
from flexhyca.tests.simulator.inject.plans import operands, random_flip

Arrays = tuple[np.ndarray, ...]
#: Cases by register: something was in it, or nothing that is used.
HELD, IDLE = Counter(), Counter()
#: Registers that are in use from the first step on, or nearly.
ALWAYS = {("buffer", "output"), *((u, name) for u in DPPU_UNITS for name in ("psum", "position"))}
#: The trees of the DPPUs that are drawn have three stages.
DEEPER = {f"tree{stage}" for stage in range(4, 13)}
#: Every register that a flip in a unit can be in, by (unit that runs, register).
REGISTERS = [
    (unit, register)
    for unit, own in BY_UNIT.items()
    if unit != "buffer"
    for register in own.values()
    if register.name not in DEEPER
]
REGISTERS += [
    (unit, BY_UNIT["buffer"]["output"])
    for dataflow, unit in UNIT_OF_DATAFLOW.items()
    if dataflow != "os"  # partial sums stand in the output buffer
]
NAMES = [f"{unit}.{register.name}" for unit, register in REGISTERS]


@dataclass(frozen=True)
class Tile:
    """A tile of a unit, and what the unit answers about it.

    step, correct : flips -> sums, and what else leaves. hold, stretches : of a place. places : (p,
    2), of a register. protected : columns that have copies. settled : the step from which on no
    position is loaded again.
    """

    arithmetic: Arithmetic
    steps: int
    step: Callable[[list[Flip]], Arrays]
    correct: Callable[[list[Flip]], Arrays]
    hold: Callable[[Register, int, int, int], Held | None]
    stretches: Callable[[Register, int, int], list[tuple[int, int]]]
    total: Callable[[Register], int]
    draw: Callable[[Register, np.random.Generator], tuple[int, int, int]]
    places: Callable[[Register], np.ndarray]
    number: Callable[[Held, int], int]
    protected: range
    settled: int = 0

    def copies(self, register: Register) -> range:
        """Columns of a register that have copies."""
        width = register.bits(self.arithmetic)
        inside = range(self.protected.start, min(self.protected.stop, width))
        return inside if register.protected else range(0)


def arithmetics(draw: Any, extra: int = 0) -> Arithmetic:
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits + extra), 32))
    return Arithmetic(act_bits=act_bits, weight_bits=weight_bits, acc_bits=acc_bits)


def numbers(rng: Any, m: int, n: int, k: int, a: Arithmetic) -> Arrays:
    """Operands without a 0, and biases."""
    act, wgt = (
        np.where(x == 0, 1, x).astype(np.int8)
        for x in (operands(rng, a.act_bits, (m, k), False), operands(rng, a.weight_bits, (n, k), 0))
    )
    return act, wgt, operands(rng, a.acc_bits, n, False)


def copied(draw: Any, a: Arithmetic) -> tuple[range, str]:
    low = draw(st.integers(0, a.acc_bits))
    protected = range(low, draw(st.integers(low, a.acc_bits)))
    return protected, draw(st.sampled_from(choices("protection.voter")))


@st.composite
def array_tiles(draw: Any, dataflow: str, register: Register, most: int = 6) -> Tile:
    """An array of a dataflow that has the register: delay lines have a stage from two rows on."""
    flow, least = DATAFLOWS[dataflow], 2 if register.line else 1
    rows, cols = draw(st.integers(least, most)), draw(st.integers(least, most))
    held, stream = draw(st.integers(1, cols)), draw(st.integers(1, most))
    parts = tuple(draw(st.lists(st.integers(1, rows), min_size=1, max_size=3)))
    a, protected, voter = arithmetics(draw), range(0), "feedback"
    m, n = {"os": (min(stream, rows), held), "ws": (stream, held), "is": (held, stream)}[dataflow]
    if dataflow == "os":
        protected, voter = copied(draw, a)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act, wgt, start = numbers(rng, m, n, sum(parts), a)
    sums = np.broadcast_to(start, (m, n)).astype(np.int32)
    overlapped = draw(st.booleans())
    shape = TileShape(m, n, parts, rows, cols, overlapped)
    pes = Pes(rows, cols, a, protected, None, voter, overlapped)

    def correct(flips: list[Flip]) -> Arrays:
        r, c, change = flow.correct(act, wgt, sums, pes, flips, parts)
        out = flow.step(act, wgt, sums, pes, parts=parts)[0].astype(np.int64)
        out[r, c] += change
        return (fx.wrap(out, a.acc_bits),)

    def places(register: Register) -> np.ndarray:
        if register.unit == "buffer":
            return np.stack([np.arange(m * n), np.zeros(m * n, np.int64)], 1)
        return all_places(register, *places_of(register, rows, cols))

    return Tile(
        a,
        flow.cycles(shape),
        lambda flips: (flow.step(act, wgt, sums, pes, flips, parts)[0],),
        correct,
        partial(flow.hold, shape),
        lambda r, row, col: flow.count(shape, r, np.array([[row, col]])).stretches(),
        lambda r: flow.count(shape, r, places(r)).total,
        lambda r, rng: flow.count(shape, r, places(r)).draw(rng),
        places,
        lambda stored, bits: value(stored, act, wgt, start, bits),
        protected,
    )


@st.composite
def dppu_tiles(draw: Any, excess: bool, register: Register, most: int = 4) -> Tile:
    """A DPPU that has the register, whose entries are neurons of the tile, each once."""
    stage = int(register.name[4:]) if register.name.startswith("tree") else 0
    rows, cols = draw(st.integers(1, most)), draw(st.integers(1, most))
    groups, width = draw(st.integers(1, 3)), draw(st.integers(1 + (1 << stage >> 1), 6))
    shape = DppuShape(rows, cols, groups, width, draw(st.integers(1, 8)), excess)
    parts = draw(st.lists(st.integers(1, 10), min_size=1, max_size=2))
    m, n = draw(st.integers(1, rows)), draw(st.integers(1, cols))
    count = draw(st.integers(1, min(m * n, 5)))
    a = arithmetics(draw, shape.stages)
    protected, voter = copied(draw, a)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act, wgt, start = numbers(rng, m, n, sum(parts), a)
    positions = np.stack(np.divmod(rng.choice(m * n, count, replace=False), n), 1)
    schedule = dppu_schedule(parts, count, shape)
    neurons = Neurons(schedule, positions)
    tile = act, wgt, start[positions[:, 1]], positions
    machine = {"arithmetic": a, "parts": parts, "protected": protected, "voter": voter}
    dppu = DppuUnit(shape)

    def number(held: Held, bits: int) -> int:
        if held.what == "position":
            return -((held.row << shape.column_bits | held.col) >> held.first & 1)
        return value(held, act, wgt, start, bits)

    return Tile(
        a,
        dppu.cycles(parts, count),
        lambda flips: dppu.step(*tile, **machine, flips=flips),
        lambda flips: dppu.correct(*tile, **machine, flips=flips),
        lambda r, row, col, step: dppu.hold(neurons, r.name, row, col, step),
        lambda r, row, col: dppu.count(neurons, r.name).stretches(row, col),
        lambda r: dppu.count(neurons, r.name).total,
        lambda r, rng: dppu.count(neurons, r.name).draw(rng),
        lambda r: all_places(r, *shape.places(r.name, count)),
        number,
        protected,
        schedule.loads[-1],
    )


#: Unit -> tiles that it computes.
TILES = {
    **{unit: partial(array_tiles, dataflow) for dataflow, unit in UNIT_OF_DATAFLOW.items()},
    **{unit: partial(array_tiles, dataflow) for dataflow, unit in SKEW_OF_DATAFLOW.items()},
    **{unit: partial(dppu_tiles, bool(i)) for i, unit in enumerate(DPPU_UNITS)},
}


@st.composite
def cases(draw: Any, unit: str, register: Register) -> tuple[Tile, np.random.Generator]:
    """A tile, and what draws places and steps in it."""
    return draw(TILES[unit](register)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


# ---- the stepper and the corrections -------------------------------------------------------------


def check_corrections(unit: str, register: Register, examples: int) -> None:
    """With a few faults of one register the fast twin equals the stepper."""

    @settings(max_examples=examples, deadline=None)
    @given(cases(unit, register), st.integers(1, 4))
    def check(case: Any, count: int) -> None:
        tile, rng = case
        around, flips = int(rng.integers(tile.steps)), []
        few = rng.permutation(tile.places(register))[:3]  # so that they meet
        for _ in range(count):
            row, col = rng.choice(few)
            flips.append(
                random_flip(
                    rng, register.unit, register.name, row, col, tile.arithmetic, tile.steps,
                    around, tile.copies(register),
                )
            )  # fmt: skip
        for stepped, corrected in zip(tile.step(flips), tile.correct(flips), strict=True):
            np.testing.assert_array_equal(stepped, corrected)

    check()


# ---- what is held --------------------------------------------------------------------------------


def rebuilt(tile: Tile, register: Register, row: int, col: int, step: int) -> int | None:
    """The word in a register, from the bits that can be changed; None if none can.

    A bit that is stuck at 0 in one step changes a sum exactly if it was 1, as long as no partner is
    0. So this reads the stepper's state without a probe in it.
    """
    bits, copies = register.bits(tile.arithmetic), tile.copies(register)
    clean, word, visible = tile.step([]), 0, []
    for bit in range(bits):
        changes = []
        for stuck in (0, 1):
            at = (step, register.name, row, col, bit)
            flips = [
                Flip(*at, copy, register.unit, stuck, step + 1)
                for copy in range(COPIES if bit in copies else 1)
            ]
            after = tile.step(flips)
            changes.append(any((x != y).any() for x, y in zip(clean, after, strict=True)))
        assert not all(changes)
        visible.append(any(changes))
        word |= changes[0] << bit
    assert len(set(visible)) == 1
    return word - (1 << bits) * (word >> (bits - 1)) if visible[0] else None


def check_hold(unit: str, register: Register, examples: int) -> None:
    """What a register is said to hold is what the stepper has in it; both cases occur."""
    name = f"{unit}.{register.name}"
    counts = HELD[name], IDLE[name]

    @settings(max_examples=examples, deadline=None)
    @given(cases(unit, register))
    def check(case: Any) -> None:
        tile, rng = case
        row, col = rng.choice(tile.places(register)).tolist()
        step = int(rng.integers(tile.steps))
        used = tile.stretches(register, row, col)
        if used and rng.random() < 0.5:  # most of the time some hold nothing
            first, last = used[rng.integers(len(used))]
            step = int(rng.integers(first, last + 1))
        held = tile.hold(register, row, col, step)
        found = rebuilt(tile, register, row, col, step)
        if held is None:
            assert found is None
            IDLE[name] += 1
            return
        HELD[name] += 1
        if held.what == "position" and step < tile.settled:
            found = tile.number(held, 1) if found is None else found
        assert found == tile.number(held, register.bits(tile.arithmetic))

    check()
    assert HELD[name] > counts[0]
    if (register.unit, register.name) not in ALWAYS:
        assert IDLE[name] > counts[1]


# ---- when that is used ---------------------------------------------------------------------------


def check_count(unit: str, register: Register, examples: int) -> None:
    """A register is in use in the steps in which it holds something, counted, listed and drawn."""

    @settings(max_examples=examples, deadline=None)
    @given(TILES[unit](register, most=3), st.integers(0, 2**32 - 1))
    def check(tile: Tile, seed: int) -> None:
        used = set()
        for row, col in tile.places(register).tolist():
            own = [t for t in range(tile.steps) if tile.hold(register, row, col, t) is not None]
            listed = [t for a, b in tile.stretches(register, row, col) for t in range(a, b + 1)]
            assert listed == own
            used |= {(row, col, t) for t in own}
        assert tile.total(register) == len(used)
        rng = np.random.default_rng(seed)
        assert {tile.draw(register, rng) for _ in range(20 if used else 0)} <= used

    check()
