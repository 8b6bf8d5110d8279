"""Faults in the array: exact corrections equal the machine that steps every register."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.errors import FlexhycaError
from flexhyca.isa.protection import copies
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.fault_run import FaultRun, run_reference
from flexhyca.simulator.sites import Site, parse_site
from flexhyca.simulator.timing import os_tile_cycles
from flexhyca.tests.support import (
    arithmetic_of,
    compiled,
    machines,
    networks,
    one_conv,
    random_inputs,
    random_masks,
    small_config,
)

STAGES: dict = {}


@st.composite
def cases(draw):
    config = draw(machines().filter(lambda c: c.array.dataflow == "os"))
    network = draw(networks(arithmetic_of(config)).filter(lambda n: n.weights))
    masks = random_masks(network, 0.3, 1) if config.dppu.size else None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    program = compiled(network, config, masks)
    return program, random_inputs(network, 1, int(rng.integers(2**31)))[0], rng


def random_site(run, rng):
    """Any bit of any register, with a bias to where the tile's operands are."""
    layer = int(rng.choice(list(run.tiles.of)))
    tile = run.tiles.of[layer][rng.integers(len(run.tiles.of[layer]))]
    array = run.program.config.array
    register = str(rng.choice(list(BY_UNIT["array"])))
    rows, cols = (tile.m, tile.n) if rng.random() < 0.8 else (array.rows, array.cols)
    row, col = int(rng.integers(rows)), int(rng.integers(cols))
    cycles = os_tile_cycles(run.tiles.depth(tile), array.rows, array.cols)
    cycle = int(rng.integers(cycles))
    if rng.random() < 0.8:
        cycle = min(cycles - 1, row + col + 1 + int(rng.integers(run.tiles.depth(tile) + 2)))
    bit = int(rng.integers(BY_UNIT["array"][register].bits(run.network.arithmetic)))
    name = run.network.layers[layer].name
    shift = run.network.layers[layer].shift
    copy = int(rng.integers(copies(run.program.config, shift, register, bit)))
    return Site(name, tile.number, cycle, row, col, register, bit, copy)


def check(case, faults):
    program, image, rng = case
    run = FaultRun(program, image)
    np.testing.assert_array_equal(run_reference(program, image, []), run.golden)
    for _ in range(2):
        sites = [random_site(run, rng) for _ in range(faults)]
        outcome = run.run(sites)
        np.testing.assert_array_equal(outcome.output, run_reference(program, image, sites))
        assert (outcome.masked is None) == (outcome.output != run.golden).any()
        STAGES[outcome.masked] = STAGES.get(outcome.masked, 0) + 1
        for site in sites:
            assert parse_site(str(site)) == site


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([1, 1, 3, 10]))
def test_corrections_equal_the_stepped_machine(case, faults):
    check(case, faults)


@pytest.mark.slow
def test_corrections_equal_the_stepped_machine_often():
    @settings(max_examples=3000, deadline=None)
    @given(cases(), st.sampled_from([1, 1, 3, 10]))
    def often(case, faults):
        check(case, faults)

    often()
    print("outcomes by stage:", STAGES)
    assert set(STAGES) == {None, "tmr", "idle", "dppu", "truncation", "activation", "downstream"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer=conv1,tile=0", "site 'layer=conv1,tile=0': cycle, row, col, register, bit missing"),
        (
            "layr=conv1",
            "site 'layr=conv1': 'layr=conv1' is not KEY=VALUE of a site; did you mean layer?",
        ),
        ("tile=x", "site 'tile=x': tile='x' is not an integer"),
        ("tile=1,tile=2", "site 'tile=1,tile=2': tile stands twice"),
    ],
)
def test_a_text_that_is_no_site(text, message):
    with pytest.raises(FlexhycaError) as error:
        parse_site(text)
    assert str(error.value) == message


def protected_site(run):
    """A site in a bit with copies."""
    for layer in run.tiles.of:
        shift = run.network.layers[layer].shift
        for bit in range(run.network.arithmetic.acc_bits):
            if copies(run.program.config, shift, "acc", bit) == 3:
                name = run.network.layers[layer].name
                last = run.tiles.depth(run.tiles.of[layer][0])
                return Site(name, 0, last, 0, 0, "acc", bit)
    raise AssertionError("no bit is protected")


def test_one_copy_is_outvoted_and_two_are_not():
    config = small_config("protection.nb_th=2", "protection.s_th=0")
    program = compiled(one_conv(h=2, n=4), config, None)
    run = FaultRun(program, random_inputs(program.network, 1, 0)[0])
    site = protected_site(run)
    first, second = (dataclasses.replace(site, copy=copy) for copy in (1, 2))
    assert run.run([first]).masked == "tmr"
    assert run.run([first, first]).masked == "tmr"
    both = run.run([first, second])
    assert len(both.hits[0].elements) == 1
    change = int(both.hits[0].after[0] - both.hits[0].before[0])
    assert abs(change) in (1 << site.bit, (1 << 24) - (1 << site.bit))
    later = dataclasses.replace(second, cycle=second.cycle + 1)
    assert run.run([first, later]).masked == "tmr"  # the first one has healed
    with pytest.raises(FlexhycaError, match=r"copy=1 is outside 0\.\.0"):
        run.run([dataclasses.replace(site, register="act", bit=0, copy=1)])
