"""Three executions of the same program give the same bits, whatever the shapes and the machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.isa.instructions import Engine
from flexhyca.network import reference
from flexhyca.network.functional import Functional
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.machine.memory import Memory
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import (
    compiled,
    machines,
    networks,
    random_inputs,
    random_masks,
)


@st.composite
def cases(draw):
    config = draw(machines())
    network = draw(networks(config.arithmetic))
    batch, seed = draw(st.integers(1, 3)), draw(st.integers(0, 1000))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])) if config.dppu.size else 0.0
    masks = random_masks(network, share, seed)
    return network, config, masks, random_inputs(network, batch, seed)


def _check(case):
    network, config, masks, inputs = case
    program = compiled(network, config, masks, len(inputs))
    expected = reference.run_network(network, inputs)

    functional = dict(Functional(program.network).layers(inputs))
    for tensor, values in functional.items():
        np.testing.assert_array_equal(values, expected[tensor], err_msg=f"functional {tensor}")

    memory = Memory(program, inputs)
    memory.run()
    for layer in network.layers:
        np.testing.assert_array_equal(
            memory.tensor(layer.output), expected[layer.output], err_msg=layer.name
        )

    timed = simulate(program, inputs, values="machine")
    np.testing.assert_array_equal(timed.outputs, expected[network.output])
    assert timed.cycles == simulate(program, values="none").cycles
    other = Memory(program, inputs)
    assert CycleModel(program, other, tuple(reversed(Engine))).run() == timed.cycles
    np.testing.assert_array_equal(other.output(), timed.outputs)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_reference_functional_and_machine_agree(case):
    _check(case)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(cases())
def test_reference_functional_and_machine_agree_often(case):
    _check(case)


@settings(max_examples=10, deadline=None)
@given(cases())
def test_register_true_tiles_agree(case):
    network, config, masks, inputs = case
    program = compiled(network, config, masks, len(inputs))
    result = simulate(program, inputs, values="registers")
    np.testing.assert_array_equal(
        result.outputs, reference.run_network(network, inputs)[network.output]
    )
