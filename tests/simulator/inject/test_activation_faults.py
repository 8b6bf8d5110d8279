"""Wrong bytes of the activation memory: wrong for all that is loaded, until they are stored."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings

from flexhyca.errors import FlexhycaError
from flexhyca.faults.machine.part import EVERYTHING, Part
from flexhyca.faults.machine.physical import Hardware
from flexhyca.faults.machine.population import Population
from flexhyca.faults.story.explain import explain
from flexhyca.hdl.area.machine import SRAM_BIT_GE, machine_area
from flexhyca.isa.instructions import BY_NAME, Engine
from flexhyca.isa.registers import BY_UNIT
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import ALL, EVERY, Site
from flexhyca.tests.compiler.codegen.test_on_chip import chain, with_memory
from flexhyca.tests.fuzz.fault_plans import both_agree
from flexhyca.tests.simulator.inject.test_fault_run import cases
from flexhyca.tests.support import (
    ACTIVATIONS,
    compiled,
    machines,
    random_inputs,
    random_masks,
    small_config,
)

SIZE = 1024


@pytest.fixture(scope="module")
def run():
    """Five layers, whose tensors take the two halves of the memory in turn."""
    network = chain(5)
    program = compiled(network, with_memory(SIZE), None)
    assert program.kept == [1, 2, 3, 4]
    return FaultRun(program, random_inputs(network, 1, 0)[0])


def both(run, sites):
    outcome, end = run.run(sites), run_reference(run.program, run.image, sites)
    assert outcome.failure == end.failure
    np.testing.assert_array_equal(outcome.output, end.output, str(sites))
    return outcome


def flip(layer, tile, word, bit=6, **fields):
    return Site(layer, tile, 0, word, 0, "activation", bit, unit="buffer", **fields)


@settings(max_examples=120, deadline=None)
@given(cases(machines(activations=ACTIVATIONS)))
def test_both_executions_agree(case):
    both_agree(case, "activation", [("buffer", "activation")])


def test_a_residual_operand_is_wrong():
    network = chain(5, residual=(4, 1))
    program = compiled(network, with_memory(2 * SIZE), None)
    run = FaultRun(program, random_inputs(network, 1, 0)[0])
    outcome = both(run, [flip("conv3", 0, 3)])
    assert {read.what for read in outcome.reads} == {"residual"}
    assert outcome.changed


def test_a_flip_is_read_until_the_byte_is_stored_again(run):
    layers = collections.Counter()
    for layer in run.program.layer_names:
        last = len(run.spans.own[run.program.layer_names.index(layer)]) - 1
        outcome = both(run, [flip(layer, last, 3)])
        read = {run.spans.by_pc[read.pc].layer for read in outcome.reads}
        layers[layer] = tuple(run.program.layer_names[i] for i in sorted(read))
    # Tensors 1 and 3 lie there: conv0 and conv2 store them, conv1 and conv3 read them.
    assert layers["conv0"] == ("conv1",)
    assert layers["conv1"] == ()
    assert layers["conv2"] == ("conv3",)
    assert layers["conv3"] == ()


def test_a_stuck_bit_is_wrong_in_each_tensor(run):
    outcome = both(run, [Site(ALL, EVERY, 0, 3, 0, "activation", 6, unit="buffer", stuck=1)])
    layers = {run.program.layer_names[run.spans.by_pc[read.pc].layer] for read in outcome.reads}
    assert layers == {"conv1", "conv3"}


def test_what_the_dppu_fetches_is_wrong_too():
    network = chain(3)
    config = small_config(f"buffers.activation_bytes={SIZE}", "dppu.data_reuse=dram")
    program = compiled(network, config, random_masks(network, 0.5, 1))
    run = FaultRun(program, random_inputs(network, 1, 0)[0])
    last = len(run.spans.own[0]) - 1
    outcome = both(run, [flip("conv0", last, 3)])
    assert {read.engine for read in outcome.reads} == {Engine.ARRAY, Engine.DPPU}
    assert outcome.changed


def test_its_bits_are_counted_once(run):
    spans = run.spans
    memory = Hardware(spans, "memory", EVERYTHING)
    (row,) = [row for row in memory.strata if row.register.name == "activation"]
    assert (row.count(False), row.count(True)) == (8 * SIZE, 8 * SIZE)
    only = Part(registers=("activation",))
    population = Population(spans, "memory", part=only)
    (stratum,) = population.strata
    assert stratum.places == SIZE
    assert 0 < stratum.live < 1
    rng = np.random.default_rng(0)
    live = Population(spans, "memory", live=True, part=only)
    reads = 0
    for _ in range(20):
        make_plan([population.draw(rng)], spans)
        reads += bool(both(run, [live.draw(rng)]).reads)
    assert reads > 10  # LOADs run ahead of the tile at work, so that some come too late
    with pytest.raises(FlexhycaError):
        run.run([flip("conv0", 0, SIZE)])
    assert not BY_UNIT["buffer"]["activation"].rows(small_config())


def test_its_story(run):
    last = len(run.spans.own[0]) - 1
    sites = [flip("conv0", last, 3)]
    store = run.spans.own[0][0].store
    told = "\n".join(explain(run, sites, run.run(sites)))
    held = f"element (0, 0, channel 3) of t1, stored at pc {store}"
    assert f"byte 3 of the activation memory: {held}" in told
    assert "ARRAY reads it at pc" in told
    sites = [flip("conv1", len(run.spans.own[1]) - 1, 3)]
    told = "\n".join(explain(run, sites, run.run(sites)))
    assert "nothing reads the wrong byte before it is written again" in told
    sites = [flip("conv0", 0, SIZE - 1)]
    assert "nothing has been stored there yet" in "\n".join(explain(run, sites, run.run(sites)))


def test_it_costs_its_bits():
    area = [machine_area(with_memory(size)).parts["buffers"] for size in (0, SIZE)]
    assert area[1] - area[0] == pytest.approx(8 * SIZE * SRAM_BIT_GE, abs=0.2)


@pytest.mark.parametrize(("bit", "failure"), [(31, "crash"), (10, "crash"), (3, None)])
def test_a_wrong_address(run, bit, failure):
    """One that leaves the memory is a crash, another byte of it a wrong value."""
    c = run.program.columns
    loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["dram_addr"] >= 2**32 - SIZE)
    pc = int(np.flatnonzero(loads)[0])
    span = next(span for span in run.spans.all if span.begin <= pc < span.end)
    low, _ = BY_NAME["LOAD"].layout()["dram_addr"]
    name = run.program.layer_names[span.layer]
    site = Site(name, span.number, 0, pc - span.begin, 0, "instruction", low + bit, unit="buffer")
    outcome = both(run, [site])
    assert outcome.failure == failure
    assert failure is None or "LOAD reads outside the program's memory" in outcome.reason
