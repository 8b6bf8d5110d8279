"""The DPPU's fast twin equals its register-true stepper, whatever is hit; and what reaches what."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.errors import FlexhycaError
from flexhyca.isa.registers import BY_UNIT
from flexhyca.network import fixedpoint as fx
from flexhyca.simulator.array.flips import Flip
from flexhyca.simulator.dppu.corrections import dppu_faults
from flexhyca.simulator.dppu.schedule import DppuShape, dppu_schedule, shape_of
from flexhyca.simulator.dppu.stepper import dppu_tile
from flexhyca.simulator.dppu.taps import tap_windows
from flexhyca.tests.simulator.inject.plans import Coverage, operands, random_flip
from flexhyca.tests.support import small_config, words

COVERED = Coverage()


@st.composite
def tiles(draw):
    """A tile: operands, starts, positions, and the DPPU."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    groups, width = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    window, excess = draw(st.integers(1, 10)), draw(st.booleans())
    shape = DppuShape(rows, cols, groups, width, window, excess)
    parts = draw(st.lists(st.integers(1, 14), min_size=1, max_size=3))
    m, n = draw(st.integers(1, rows)), draw(st.integers(1, cols))
    neurons = draw(st.integers(1, min(m * n, 7)))
    act_bits, weight_bits = draw(st.integers(2, 8)), draw(st.integers(2, 8))
    acc_bits = draw(st.integers(max(16, act_bits + weight_bits), 32))
    damaged, extreme = draw(st.integers(0, 3)) == 0, draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    act = operands(rng, act_bits, (m, sum(parts)), extreme).astype(np.int8)
    wgt = operands(rng, weight_bits, (n, sum(parts)), extreme).astype(np.int8)
    start = operands(rng, acc_bits, neurons, False)
    positions = np.stack(np.divmod(rng.choice(m * n, neurons, replace=False), n), 1)
    if damaged:  # tables whose bits are wrong: anywhere, twice, or no neuron at all
        word = rng.integers(-1, 1 << shape.position_bits, (len(parts), neurons))
        pair = np.stack([word >> shape.column_bits, word & ((1 << shape.column_bits) - 1)], -1)
        positions = np.where(word[..., None] < 0, -1, pair)
    machine = {
        "dppu": shape,
        "arithmetic": words(act_bits, weight_bits, acc_bits),
        "parts": parts,
    }
    return act, wgt, start, positions, machine, rng


@st.composite
def cases(draw):
    act, wgt, start, positions, machine, rng = draw(tiles())
    shape, arithmetic = machine["dppu"], machine["arithmetic"]
    low = draw(st.integers(0, arithmetic.acc_bits))
    protected = range(low, draw(st.integers(low, arithmetic.acc_bits)))
    machine |= {"protected": protected, "voter": draw(st.sampled_from(choices("protection.voter")))}
    schedule = dppu_schedule(machine["parts"], len(start), shape)
    names = [name for name in BY_UNIT[shape.unit] if not name.startswith("tree")]
    stages = [f"tree{stage}" for stage in range(1, shape.stages + 1)]
    around, flips = int(rng.integers(schedule.cycles)), []
    busy = [step for step, *_ in schedule.slices()]
    for _ in range(draw(st.integers(1, 8))):
        name = str(rng.choice([*names, *stages]))
        if rng.random() < 0.7:  # near to where something happens
            around = int(rng.choice(busy)) + 2
        row, col = rng.integers(min(2, shape.groups)), rng.integers(min(2, shape.width))
        if name in ("psum", "position"):
            row = rng.integers(len(start))
            col = 0 if name == "psum" else rng.integers(shape.position_bits)
        elif name == "file_act":
            row, col = rng.integers(shape.rows), rng.integers(2 * shape.window)
        elif name == "file_wgt":
            row, col = rng.integers(2 * shape.window), rng.integers(shape.cols)
        elif name in stages:
            col = rng.integers(min(2, shape.nodes(stages.index(name) + 1)))
        flips.append(
            random_flip(
                rng, shape.unit, name, row, col, arithmetic, schedule.cycles, around, protected
            )
        )  # fmt: skip
    return act, wgt, start, positions, machine, flips


def check(case):
    act, wgt, start, positions, machine, flips = case
    expected = dppu_tile(act, wgt, start, positions, **machine, flips=flips)
    found = dppu_faults(act, wgt, start, positions, **machine, flips=flips)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
    COVERED.add(flips, machine["protected"], machine["voter"])
    clean, _ = dppu_tile(act, wgt, start, positions, **machine)
    COVERED["cases whose sums differ"] += (clean != expected[0]).any()


@settings(max_examples=300, deadline=None)
@given(cases())
def test_the_twin_equals_the_stepper(case):
    check(case)


@pytest.mark.slow
def test_the_twin_equals_the_stepper_often():
    @settings(max_examples=20_000, deadline=None)
    @given(cases())
    def often(case):
        check(case)

    often()
    print(COVERED.table())
    kinds = {name.split(":")[0] for name in COVERED}
    names = [n for n in BY_UNIT["dppu"] if not n.startswith("tree") or n in ("tree1", "tree2")]
    assert {f"{unit}.{name}" for unit in ("dppu", "dppu_excess") for name in names} <= kinds
    assert COVERED["cases whose sums differ"] > 5000


@settings(max_examples=200, deadline=None)
@given(tiles())
def test_sums_without_faults_are_products(tile):
    act, wgt, start, positions, machine, _ = tile
    shape, parts = machine["dppu"], machine["parts"]
    wide_act, wide_wgt = np.zeros((16, act.shape[1]), int), np.zeros((16, act.shape[1]), int)
    wide_act[: len(act)], wide_wgt[: len(wgt)] = act, wgt
    each = np.broadcast_to(positions, (len(parts), len(start), 2))
    expected, at = start.copy(), 0
    for length, own in zip(parts, each, strict=True):
        part = slice(at, at + length)
        sums = (wide_act[own[:, 0], part] * wide_wgt[own[:, 1], part]).sum(1)
        expected += np.where(own[:, 0] < 0, 0, sums)
        at += length
    for run in (dppu_tile, dppu_faults):
        sums, written = run(act, wgt, start, positions, **machine, flips=[])
        np.testing.assert_array_equal(sums, fx.wrap(expected, machine["arithmetic"].acc_bits))
        np.testing.assert_array_equal(written, each[-1])
    assert shape.position_bits >= 1


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_the_schedule_is_the_one_of_the_cycle_model(parts, neurons, groups, width, window):
    schedule = dppu_schedule(parts, neurons, DppuShape(8, 8, groups, width, window))
    end = done1 = done2 = 0
    for part, length in enumerate(parts):
        end, done1, done2, begin, _ = tap_windows(
            end, length, window, neurons, groups, width, done1, done2
        )
        assert schedule.loads[part] == begin
    assert schedule.done == done1


@given(st.integers(1, 40), st.integers(1, 20), st.booleans())
def test_every_neuron_reads_every_operand_once_while_it_is_there(k, neurons, excess):
    shape = DppuShape(8, 8, 3, 4, 7, excess)
    schedule = dppu_schedule([k], neurons, shape)
    read = np.zeros((neurons, k), int)
    busy = set()
    for step, group, neuron, first, count in schedule.slices():
        own = slice(first, first + count)
        read[neuron, own] += 1
        assert group == neuron % shape.groups
        assert (step, group) not in busy
        busy.add((step, group))
        assert (schedule.filled[own] <= step).all()
        for other in range(first + count, k):  # what comes to the same place comes later
            if schedule.slot[other] in schedule.slot[own]:
                assert schedule.filled[other] > step
    assert (read == 1).all()
    assert max(busy)[0] == schedule.done - 1


def test_the_shape_is_the_configuration_s():
    config = small_config("array.rows=6", "array.cols=5")
    shape = shape_of(config)
    assert (shape.rows, shape.cols, shape.groups, shape.width, shape.window) == (6, 5, 2, 4, 8)
    assert shape.position_bits == config.position_bits
    assert shape.column_bits == config.position_column_bits
    for name, register in BY_UNIT["dppu"].items():
        if name.startswith("tree"):
            stage = int(name.removeprefix("tree"))
            there = shape.nodes(stage) if stage <= shape.stages else 0
            assert register.cols(config) == there


# A group of two groups, two lanes: neurons 0 and 2 in group 0, 1 in group 1; windows of 4.
SHAPE = DppuShape(4, 4, 2, 2, 4)
A = Arithmetic()
K = 8


def changed(flips, positions=((0, 0), (1, 1), (2, 2)), **options):
    """{neuron: change}, and the positions."""
    rng = np.random.default_rng(0)
    act, wgt = (rng.integers(1, 128, (4, K)).astype(np.int8) for _ in range(2))
    tile = act, wgt, np.zeros(3, np.int64), np.array(positions)
    machine = {"dppu": SHAPE, "arithmetic": A, **options}
    clean, _ = dppu_tile(*tile, **machine)
    sums, written = dppu_tile(*tile, **machine, flips=flips)
    twin = dppu_faults(*tile, **machine, flips=flips)
    np.testing.assert_array_equal(sums, twin[0])
    np.testing.assert_array_equal(written, twin[1])
    return {int(i): int(sums[i] - clean[i]) for i in np.flatnonzero(sums != clean)}, written


def dppu(step, register, row, col, bit, **more):
    return Flip(step, register, row, col, bit, unit="dppu", **more)


def test_a_file_is_wrong_for_the_neurons_that_have_yet_to_read_it():
    # Window 0 is read in steps 4..7: neurons 0 and 1 in 4 and 5, neuron 2 in 6 and 7.
    both = ((0, 0), (1, 1), (0, 2))
    assert set(changed([dppu(4, "file_act", 0, 0, 6)], both)[0]) == {0, 2}
    assert set(changed([dppu(5, "file_act", 0, 0, 6)], both)[0]) == {2}
    assert changed([dppu(7, "file_act", 0, 0, 6)], both)[0] == {}
    assert set(changed([dppu(7, "file_act", 0, 3, 6)], both)[0]) == {2}
    # Before it is filled, and in the other file, which is filled from step 4 on.
    assert changed([dppu(0, "file_act", 0, 0, 6)], both)[0] == {}
    assert changed([dppu(4, "file_act", 0, 4, 6)], both)[0] == {}
    assert set(changed([dppu(5, "file_act", 0, 4, 6)], both)[0]) == {0, 2}


def test_group_registers_belong_to_the_neuron_that_is_at_work():
    assert set(changed([dppu(5, "act", 0, 0, 6)])[0]) == {0}
    assert set(changed([dppu(7, "act", 0, 0, 6)])[0]) == {2}
    assert changed([dppu(4, "act", 0, 0, 6)])[0] == {}
    assert changed([dppu(6, "prod", 1, 1, 6)])[0] in ({1: 64}, {1: -64})
    assert changed([dppu(7, "tree1", 1, 0, 16)])[0] in ({1: 65536}, {1: -65536})
    assert set(changed([dppu(12, "psum", 2, 0, 20)])[0]) == {2}


def test_one_wrong_copy_is_outvoted_and_two_are_not():
    for voter in choices("protection.voter"):
        for one in (
            dppu(6, "prod", 1, 1, 11),
            dppu(7, "tree1", 1, 0, 11),
            dppu(9, "psum", 1, 0, 11),
        ):
            options = {"protected": range(10, 12), "voter": voter}
            assert changed([one], **options)[0] == {}
            assert changed([one._replace(bit=9)], **options)[0] != {}
            assert set(changed([one, one._replace(copy=1)], **options)[0]) == {1}


@pytest.mark.parametrize(("register", "step", "sign"), [("prod", 6, 15), ("tree1", 7, 16)])
def test_a_wrong_sign_of_one_copy_stays_in_it(register, step, sign):
    # The columns above the copies are shared, and take the majority of their signs.
    flips = [dppu(step, register, 1, 0, sign), dppu(12, "psum", 2, 0, 15, copy=1)]
    options = {"protected": range(15, 17), "voter": "output"}
    assert changed(flips, **options)[0] == {}
    both = [flips[0], flips[0]._replace(copy=1)]
    assert set(changed(both, **options)[0]) == {1}


def test_a_wrong_position_reads_other_operands_and_overwrites_another_sum():
    # Bits of an entry: row above column, two each. From the second window's first read on:
    sums, written = changed([dppu(8, "position", 1, 2, 0)])
    assert set(sums) == {1}
    assert written.tolist() == [[0, 0], [0, 1], [2, 2]]
    # After the last read only the place is wrong; before the load nothing is.
    late = changed([dppu(13, "position", 1, 0, 0)])
    assert late[0] == {}
    assert late[1].tolist() == [[0, 0], [1, 0], [2, 2]]
    early = changed([dppu(3, "position", 1, 0, 0)])
    assert early[0] == {}
    assert early[1].tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("flip", "text"),
    [
        (dppu(0, "tree2", 0, 0, 0), "flip of tree2: this machine has none in unit 'dppu'"),
        (dppu(0, "act", 2, 0, 0), "flip of act: row=2 is outside 0..1"),
        (dppu(0, "psum", 3, 0, 0), "flip of psum: row=3 is outside 0..2"),
        (dppu(0, "position", 0, 4, 0), "flip of position: col=4 is outside 0..3"),
        (
            dppu(0, "acc", 0, 0, 0),
            "register 'acc' does not exist in unit 'dppu'; use one of "
            + ", ".join(BY_UNIT["dppu"]),
        ),
    ],
)
def test_flips_outside_the_dppu_are_refused(flip, text):
    with pytest.raises(FlexhycaError) as error:
        changed([flip])
    assert str(error.value) == text
