"""Wrong bytes of a scratchpad: whatever lies there at the time is wrong, inputs or weights."""

import numpy as np
import pytest
from hypothesis import given, settings

from flexhyca.config.mappings import WantedMapping
from flexhyca.errors import FlexhycaError
from flexhyca.faults.machine.part import EVERYTHING, Part
from flexhyca.faults.machine.physical import Hardware
from flexhyca.faults.machine.population import Population
from flexhyca.hdl.area.machine import machine_area
from flexhyca.isa.instructions import BY_NAME, Kind
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import ALL, EVERY, Site
from flexhyca.tests.compiler.codegen.test_scratchpad import two_layers
from flexhyca.tests.fuzz.fault_plans import both_agree
from flexhyca.tests.simulator.inject.test_fault_run import cases
from flexhyca.tests.support import SCRATCHPADS, compiled, machines, random_inputs, small_config

SIZE = 6144


@pytest.fixture(scope="module")
def run():
    """Inputs fill the memory in the first layer, weights in the second."""
    network = two_layers((64, 4, 1), (4, 120, 3))
    config = small_config("dppu.size=0", "protection.s_th=0", f"buffers.scratchpad_bytes={SIZE}")
    wanted = {
        "conv0": WantedMapping(rows=4, cut_rows=False, pixel_tiles=8, step_ky=1, step_c=64),
        "conv1": WantedMapping(cols=4, channel_tiles=15, step_ky=3, step_c=4),
    }
    program = compiled(network, config, None, wanted=wanted)
    return FaultRun(program, random_inputs(network, 1, 0)[0])


def both(run, sites):
    outcome, end = run.run(sites), run_reference(run.program, run.image, sites)
    np.testing.assert_array_equal(outcome.output, end.output, str(sites))
    return outcome


def shared_byte(run):
    """A byte that is an input of the first layer, and later a weight of the second."""
    c, layer = run.program.columns, run.program.debug_layer
    held = []
    for kind, index in ((Kind.IFMAP, 0), (Kind.WEIGHT, 1)):
        own = np.zeros(SIZE, bool)
        loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["kind"] == kind) & (layer == index)
        for pc in np.flatnonzero(loads).tolist():
            begin = int(c["buf_addr"][pc])
            own[begin : begin + int(c["row_bytes"][pc] * c["count"][pc])] = True
        held.append(own)
    found = np.flatnonzero(held[0] & held[1])
    assert len(found), "the layers share no byte"
    return int(found[0])


def test_a_stuck_bit_is_an_input_of_one_layer_and_a_weight_of_the_next(run):
    word = shared_byte(run)
    sites = [
        Site(ALL, EVERY, 0, word, 0, "scratchpad", 6, unit="buffer", stuck=value)
        for value in (0, 1)
    ]
    reads = [read for site in sites for read in both(run, [site]).reads]
    layers = {(read.what, run.spans.by_pc[read.pc].layer) for read in reads}
    assert layers == {("input", 0), ("weight", 1)}


def test_a_flip_lasts_until_the_byte_is_loaded_again(run):
    word = shared_byte(run)
    for layer, what in (("conv0", "input"), ("conv1", "weight")):
        tile = len(run.spans.own[run.program.layer_names.index(layer)]) // 2
        outcome = both(run, [Site(layer, tile, 0, word, 0, "scratchpad", 6, unit="buffer")])
        assert {read.what for read in outcome.reads} <= {what}


@settings(max_examples=60, deadline=None)
@given(cases(machines(SCRATCHPADS)))
def test_both_executions_agree(case):
    both_agree(case, "scratchpad")


def test_its_bits_are_counted_once(run):
    spans = run.spans
    memory = Hardware(spans, "memory", EVERYTHING)
    bits = {row.register.name: row.count(False) for row in memory.strata}
    assert bits["scratchpad"] == 8 * SIZE
    assert not {"ifmap", "weight"} & set(bits)
    population = Population(spans, "memory", part=Part(registers=("scratchpad",)))
    (stratum,) = population.strata
    assert stratum.places == SIZE
    assert 0 < stratum.live <= 1
    rng = np.random.default_rng(0)
    live = Population(spans, "memory", live=True, part=Part(registers=("scratchpad",)))
    for _ in range(20):
        make_plan([population.draw(rng)], spans)
        both(run, [live.draw(rng)])


def test_buffers_that_the_machine_does_not_have(run):
    for name in ("ifmap", "weight"):
        site = Site("conv0", 0, 0, 5, 0, name, 6, unit="buffer")
        with pytest.raises(FlexhycaError) as error:
            make_plan([site], run.spans)
        assert str(error.value) == f"site {site}: there is no {name} here (word=5)"
    assert not BY_UNIT["buffer"]["scratchpad"].rows(small_config())


def test_it_costs_what_two_memories_of_its_bytes_cost():
    split = ["buffers.ifmap_bytes=4096", "buffers.weight_bytes=12288"]
    one, two = (
        machine_area(small_config(*memories)).parts
        for memories in (["buffers.scratchpad_bytes=16384"], split)
    )
    assert one == two
