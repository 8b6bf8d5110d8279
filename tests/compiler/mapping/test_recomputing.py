"""Where the DPPU is slower than the array, mappings are timed with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.mapping.plan import layer_requests, plan_layer
from flexhyca.compiler.mapping.recomputing import DppuNeurons
from flexhyca.config import load_config
from flexhyca.errors import FlexhycaError
from flexhyca.simulator.run import simulate
from flexhyca.tests.compiler.mapping.test_more_never_hurts import SLACK, cases, layer_of


def important(network, share, seed=0):
    out = network.tensors[1]
    return {0: np.random.default_rng(seed).random((out.h, out.w, out.c)) < share}


def request(network, config, masks):
    return layer_requests(network, config, masks, 1)[0]


@settings(max_examples=100, deadline=None)
@given(arrays(np.bool_, st.tuples(*[st.integers(1, 12)] * 3)))
def test_a_mask_comes_back(mask):
    recomputed = DppuNeurons.of(mask)
    np.testing.assert_array_equal(recomputed.mask, mask)
    assert recomputed == DppuNeurons.of(mask.copy())


@pytest.mark.parametrize(
    ("changes", "share", "seen"),
    [
        ([], 0.05, False),  # it keeps up: the mapping is that of the machine without it
        ([], 0.3, True),  # most neurons of a tile are fetched
        (["dppu.size=4"], 0.05, True),
        (["dppu.data_reuse=array"], 0.05, False),
        (["dppu.data_reuse=array"], 0.3, True),
        (["dppu.data_reuse=dram"], 0.05, True),
        (["dppu.data_reuse=hybrid_sram", "dppu.sram_bytes_per_cycle=1"], 0.3, True),
        (["protection.s_policy=tile"], 0.3, False),  # tiles decide what is important
        (["buffers.position_bytes=16", "protection.s_th=0"], 0.3, False),  # no table fits
    ],
)
def test_it_bears_on_the_mapping_where_it_is_slower(changes, share, seen):
    config = load_config("flexhyca-32x32", changes)
    network = layer_of(14, 14, 64, 64, 3, 1, config.arithmetic)
    found = request(network, config, important(network, share))
    assert (found.known is not None) == seen
    machine = found.on_machine.machine
    assert machine.dppu.size == seen * config.dppu.size
    without = load_config("base-32x32")
    if not seen and not changes:
        assert plan_layer(found).fills == plan_layer(request(network, without, {})).fills


def test_a_mapping_that_suits_the_dppu():
    """A tile at a time of 26 pixels takes 151,716 cycles, a tile of 14 pixels 119,056."""
    config = load_config(
        "flexhyca-32x32",
        [
            *("array.rows=26", "array.cols=25", "array.double_buffered_accumulators=true"),
            *("buffers.ifmap_bytes=2048", "buffers.output_bytes=65536", "vec.lanes=32"),
            *("dram.bytes_per_cycle=4", "dppu.size=4", "dppu.width=2", "dppu.data_reuse=array"),
        ],
    )
    network = layer_of(14, 7, 100, 64, 5, 2, config.arithmetic)
    program = compile_network(network, config, important(network, 0.1))
    assert simulate(program, values="none").cycles < 130_000


@pytest.mark.parametrize("reuse", ["array", "dram"])
def test_groups_are_packed_for_the_dppu(reuse):
    """It walks the zeros of packed groups, and waits for its DRAM once for each tile."""
    network = layer_of(14, 14, 96, 96, 3, 1, load_config("flexhyca-32x32").arithmetic)
    layer = replace(network.layers[0], groups=96)
    network = replace(network, layers=(layer,), weights={0: network.weights[0][..., :1]})
    masks = important(network, 0.3)

    def cycles(cols):
        changes = ["array.rows=16", f"array.cols={cols}", "dppu.size=2", "dppu.width=2"]
        changes += ["buffers.position_bytes=65536", f"dppu.data_reuse={reuse}"]
        config = load_config("flexhyca-32x32", changes)
        return simulate(compile_network(network, config, masks), values="none").cycles

    few, more = cycles(13), cycles(26)
    assert more <= SLACK * few


# Fixed examples, as without the DPPU.
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    cases(),
    st.sampled_from(["array", "hybrid", "hybrid_sram", "dram"]),
    st.sampled_from([2, 8, 52]),
    st.sampled_from([0.02, 0.1, 0.3]),
)
def test_more_never_hurts_with_it(case, reuse, size, share):
    (h, w, cin, cout, kernel), stride, machine, fixed, field, larger = case
    assume(fixed[0].endswith("=os"))
    assume(h * w * cin * cout * kernel**2 < 1e6 * machine["array.rows"] * machine["array.cols"])
    fixed = [*fixed, f"dppu.data_reuse={reuse}", f"dppu.size={size}", "dppu.width=2"]
    fixed.append("buffers.position_bytes=65536")
    plain = load_config("flexhyca-32x32").arithmetic
    network = layer_of(h, w, cin, cout, kernel, stride, plain)
    masks = important(network, share)

    def cycles(values):
        config = load_config("flexhyca-32x32", [*fixed, *(f"{k}={v}" for k, v in values.items())])
        return simulate(compile_network(network, config, masks), values="none").cycles

    try:
        before, after = cycles(machine), cycles(machine | {field: larger})
    except FlexhycaError:
        assume(False)
    assert after <= SLACK * before, f"{machine[field]} {field}: {before}; {larger}: {after}"
