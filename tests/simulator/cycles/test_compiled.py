"""The compiled cycle model equals the SimPy one in every number."""

import pytest
from hypothesis import given, settings

from flexhyca import api
from flexhyca.compiler.model import load_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import choices, load_config
from flexhyca.simulator.cycles.compiled import CompiledModel
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import ACTIVATIONS, machines, programs

NUMBERS = (
    *("cycles", "spent", "nbytes", "kind_bytes", "kept_bytes", "kept_kind_bytes", "port_bytes"),
    *("layer_end", "left"),
)


def assert_equal(program):
    reference, fast = CycleModel(program), CompiledModel(program)
    assert fast.run() == reference.run()
    for name in NUMBERS:
        assert getattr(fast, name) == getattr(reference, name), name


@settings(max_examples=150, deadline=None)
@given(programs())
def test_every_number_equals_the_reference(program):
    assert_equal(program)


@settings(max_examples=100, deadline=None)
@given(programs(machines(activations=ACTIVATIONS)))
def test_also_where_activations_stay_on_chip(program):
    assert_equal(program)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(programs())
def test_every_number_equals_the_reference_often(program):
    assert_equal(program)


@pytest.mark.slow
@pytest.mark.parametrize("mode", choices("dppu.data_reuse"))
@pytest.mark.parametrize("dram", choices("dram.model"))
@pytest.mark.parametrize("name", ["resnet20", "resnet50", "mobilenet_v2"])
def test_large_networks(name, mode, dram):
    config = load_config(overrides=[f"dppu.data_reuse={mode}", f"dram.model={dram}"])
    shapes = shapes_of(load_model(name), config.arithmetic)
    masks = api.select_important(api.place_neurons(shapes, "clustered"), shapes, config)
    assert_equal(api.compile(shapes, config, masks))


def test_simulate_gives_the_same_result_with_both():
    config = load_config(overrides=["protection.s_th=0.2"])
    shapes = shapes_of(load_model("digits"), config.arithmetic)
    masks = api.select_important(api.place_neurons(shapes, "random"), shapes, config)
    program = api.compile(shapes, config, masks)
    fast, reference = (
        simulate(program, values="none", cycle_model=kind) for kind in ("compiled", "simpy")
    )
    assert fast.layers.equals(reference.layers)
    assert (fast.cycles, fast.stalls, fast.busy) == (
        reference.cycles,
        reference.stalls,
        reference.busy,
    )
