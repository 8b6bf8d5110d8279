"""Sums that wait in the output buffer: values, both cycle models, and faults in all they pass."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexhyca.config import Config, choices
from flexhyca.config.mappings import WantedMapping
from flexhyca.network import reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import Site
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.simulator.inject.random_sites import random_sites
from flexhyca.tests.support import OVERLAP, compiled, random_inputs, redundant, small_config


@st.composite
def parking(draw):
    """A machine whose buffers hold little, and a network that is cut along its reduction."""
    flow = draw(st.sampled_from(["os", "os", "ws", "is"]))
    overlaps = draw(st.booleans())
    config = small_config(
        f"array.rows={draw(st.integers(1, 5))}",
        f"array.cols={draw(st.integers(1, 5))}",
        f"array.dataflow={flow}",
        f"array.{OVERLAP[flow]}={str(overlaps).lower()}",
        f"buffers.ifmap_bytes={draw(st.sampled_from([128, 256, 512]))}",
        f"buffers.weight_bytes={draw(st.sampled_from([128, 256]))}",
        f"buffers.output_bytes={draw(st.sampled_from([2048, 8192]))}",
        f"dram.bytes_per_cycle={draw(st.sampled_from([1, 8]))}",
        f"arithmetic.acc_bits={draw(st.sampled_from([18, 24]))}",
        base="base-32x32",
    )
    values = config.model_dump()
    values["protection"] |= {
        "nb_th": draw(st.integers(0, 2)),
        "ib_th": 2,
        "pe_policy": "direct",
        "voter": draw(st.sampled_from(choices("protection.voter"))),
    }
    config = Config.model_validate(values)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    side, channels = draw(st.integers(2, 8)), draw(st.integers(8, 24))
    kernel, stride, outputs = (draw(st.integers(1, n)) for n in (2, 2, 20))
    size = (side - kernel) // stride + 1
    layers = (
        Layer("a", LayerOp.CONV, 0, 1, kernel_h=kernel, kernel_w=kernel, stride_h=stride,
              stride_w=stride, shift=6),
        Layer("b", LayerOp.CONV, 1, 2, shift=6),
    )  # fmt: skip
    tensors = (
        Tensor("x", side, side, channels, 1.0),
        Tensor("y", size, size, outputs, 1.0),
        Tensor("z", size, size, 5, 1.0),
    )
    shapes = (outputs, kernel, kernel, channels), (5, 1, 1, outputs)
    weights = {i: rng.integers(-128, 128, s).astype(np.int8) for i, s in enumerate(shapes)}
    biases = {i: rng.integers(-2000, 2000, s[0]).astype(np.int32) for i, s in enumerate(shapes)}
    network = Network("parks", tensors, layers, weights, biases, config.arithmetic, 0, 2)
    if flow == "os" and draw(st.booleans()):
        config = draw(redundant(config, network))
    program = compiled(network, config, None)
    assume((program.columns["resume"] > 0).any())
    return network, program, rng


def check(case, plans):
    network, program, rng = case
    image = random_inputs(network, 1, int(rng.integers(2**31)))
    expected = reference.run_network(network, image)[network.output]
    for values in ("machine", "registers"):
        np.testing.assert_array_equal(simulate(program, image, values=values).outputs, expected)
    assert CycleModel(program).run() == simulate(program, values="none").cycles
    run = FaultRun(program, image[0])
    tiles = [span for span in run.spans.all if len(span.visits) > 1]
    sites = [random_sites(run, rng, int(rng.choice([1, 2, 5]))) for _ in range(plans)]
    parked = int(rng.integers(len(tiles)))  # and a word of a tile that waits
    sites.append([_waiting(run, tiles[parked], rng)])
    for plan in sites:
        outcome, end = run.run(plan), run_reference(program, image[0], plan)
        assert outcome.failure == end.failure, plan
        np.testing.assert_array_equal(outcome.output, end.output, str(plan))


def _waiting(run, span, rng):
    name = run.program.layer_names[span.layer]
    moment = int(rng.integers(len(span.visits) - 1))
    if not run.program.config.array.keeps_sums:
        moment = span.starts[span.visits[1]]
    word, bit = int(rng.integers(span.m * span.n)), int(rng.integers(18))
    return Site(name, span.number, moment, word, 0, "output", bit, unit="buffer")


@settings(max_examples=25, deadline=None)
@given(parking())
def test_parked_sums_are_the_same_sums(case):
    check(case, 2)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(parking())
def test_parked_sums_are_the_same_sums_often(case):
    check(case, 8)


def test_each_instruction_belongs_to_its_tile():
    """GEMMs of a tile that waits stand among those of other tiles."""
    network = Network(
        "parks",
        (Tensor("x", 8, 8, 64, 1.0), Tensor("y", 8, 8, 16, 1.0)),
        (Layer("a", LayerOp.CONV, 0, 1, shift=6),),
        {0: np.ones((16, 1, 1, 64), np.int8)},
        {0: np.zeros(16, np.int32)},
        small_config().arithmetic,
        0,
        1,
    )
    config = small_config(
        "buffers.weight_bytes=256",
        "buffers.ifmap_bytes=512",
        "buffers.output_bytes=8192",
        base="base-32x32",
    )
    program = compiled(network, config, None, wanted={"a": WantedMapping(parked=True)})
    spans, c = Spans(program).all, program.columns
    assert all(len(span.visits) > 1 for span in spans)
    for span in spans:
        for pc in span.gemms:
            assert (c["m0"][pc], c["n0"][pc]) == (span.m0, span.n0)
        assert span.cycles >= span.starts[-1]
