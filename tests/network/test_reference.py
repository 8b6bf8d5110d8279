"""The readable executor against one still more literal: every output element by its own loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.network import reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor


def element(network, index, x, residual, n, oy, ox, oc):
    """One output element, straight from the sentences in network/layers.py."""
    la, a = network.layers[index], network.arithmetic
    _, h, w, c = x.shape
    low, high = -(2 ** (a.act_bits - 1)), 2 ** (a.act_bits - 1) - 1

    def at(ky, kx, channel, outside):
        iy = oy * la.stride_h + ky * la.dilation_h - la.pad_top
        ix = ox * la.stride_w + kx * la.dilation_w - la.pad_left
        inside = 0 <= iy < h and 0 <= ix < w and 0 <= channel < c
        return int(x[n, iy, ix, channel]) if inside else outside

    taps = [(ky, kx) for ky in range(la.kernel_h) for kx in range(la.kernel_w)]
    if la.op == LayerOp.CONV:
        weight = network.weights[index]
        per_in, per_out = weight.shape[3], weight.shape[0] // la.groups
        first = oc // per_out * per_in
        total = int(network.biases[index][oc])
        for ky, kx in taps:
            for i in range(per_in):
                total += at(ky, kx, first + i, 0) * int(weight[oc, ky, kx, i])
    elif la.op == LayerOp.AVGPOOL:
        total = sum(at(ky, kx, oc, 0) for ky, kx in taps)
    if la.op in (LayerOp.CONV, LayerOp.AVGPOOL):
        span = 2**a.acc_bits
        total = (total + span // 2) % span - span // 2
        carry = (total // 2 ** (la.shift - 1)) % 2 if la.shift and a.rounding == "half_up" else 0
        value = total // 2**la.shift
        if a.overflow == "slice":
            span = 2**a.act_bits
            value = min((value + span // 2) % span - span // 2 + carry, high)
        else:
            value = max(low, min(high, value + carry))
    elif la.op == LayerOp.MAXPOOL:
        value = max(at(ky, kx, oc, low) for ky, kx in taps)
    elif la.op == LayerOp.COPY:
        value = at(0, 0, oc - la.c_offset, 0)
    else:
        value = int(x[n, oy, ox, oc])
    if residual is not None:
        value = value * 2**la.lshift_a + int(residual[n, oy, ox, oc]) * 2**la.lshift_b
        if la.add_shift and a.rounding == "half_up":
            value += 2 ** (la.add_shift - 1)
        value = max(low, min(high, value // 2**la.add_shift))
    return max(la.act_lo, min(la.act_hi, value))


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    op = draw(st.sampled_from(list(LayerOp)))
    groups = draw(st.sampled_from([1, 2])) if op == LayerOp.CONV else 1
    c = groups * draw(st.integers(1, 3))
    h, w, oh, ow = (draw(st.integers(1, 4)) for _ in range(4))
    oc = c if op != LayerOp.CONV else groups * draw(st.integers(1, 2))
    fields = {}
    if op == LayerOp.ADD:
        oh, ow = h, w
    else:
        fields = {
            "stride_h": draw(st.integers(1, 2)),
            "stride_w": draw(st.integers(1, 2)),
            "pad_top": draw(st.integers(-1, 2)),
            "pad_left": draw(st.integers(-1, 2)),
            "dilation_h": draw(st.integers(1, 2)),
            "dilation_w": draw(st.integers(1, 2)),
        }
    if op == LayerOp.COPY:
        oc, fields["c_offset"] = draw(st.integers(1, 4)), draw(st.integers(-2, 2))
    elif op != LayerOp.ADD:
        fields["kernel_h"], fields["kernel_w"] = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    residual = op == LayerOp.ADD or (op == LayerOp.CONV and draw(st.booleans()))
    if residual:
        fields |= {k: draw(st.integers(0, 3)) for k in ("lshift_a", "lshift_b", "add_shift")}
    a = Arithmetic(
        act_bits=draw(st.sampled_from([4, 8])),
        acc_bits=draw(st.sampled_from([16, 18, 24])),
        rounding=draw(st.sampled_from(choices("arithmetic.rounding"))),
        overflow=draw(st.sampled_from(choices("arithmetic.overflow"))),
    )
    low, high = -(2 ** (a.act_bits - 1)), 2 ** (a.act_bits - 1) - 1
    layer = Layer(
        "layer",
        op,
        0,
        1,
        residual=2 if residual else -1,
        groups=groups,
        shift=draw(st.integers(0, 4)),
        act_lo=draw(st.sampled_from([low, 0])),
        act_hi=draw(st.sampled_from([high, high // 2])),
        **fields,
    )
    tensors = (
        Tensor("x", h, w, c, 1.0),
        Tensor("y", oh, ow, oc, 1.0),
        Tensor("r", oh, ow, oc, 1.0),
    )
    weights, biases = {}, {}
    if op == LayerOp.CONV:
        shape = (oc, layer.kernel_h, layer.kernel_w, c // groups)
        weights[0] = rng.integers(-128, 128, shape).astype(np.int8)
        biases[0] = rng.integers(-(2**14), 2**14, oc).astype(np.int32)
    network = Network("case", tensors, (layer,), weights, biases, a, 0, 1)
    x = rng.integers(low, high + 1, (2, h, w, c)).astype(np.int8)
    other = rng.integers(low, high + 1, (2, oh, ow, oc)).astype(np.int8) if residual else None
    return network, x, other


@settings(max_examples=150)
@given(cases())
def test_every_element_by_its_own_loops(case):
    network, x, other = case
    got = reference.run_layer(network, 0, x, other)
    assert got.dtype == np.int8
    for place in np.ndindex(got.shape):
        assert got[place] == element(network, 0, x, other, *place), place


@pytest.mark.parametrize("overflow", choices("arithmetic.overflow"))
def test_a_known_number(overflow):
    """127*127 + 100 = 16229 = 253.6 * 64: cut to 8 bits -3 (+1 by rounding), or held at 127."""
    layer = Layer("one", LayerOp.CONV, 0, 1, shift=6)
    a = Arithmetic(overflow=overflow)
    tensors = (Tensor("x", 1, 1, 1, 1.0), Tensor("y", 1, 1, 1, 1.0))
    weight, bias = np.full((1, 1, 1, 1), 127, np.int8), np.array([100], np.int32)
    network = Network("one", tensors, (layer,), {0: weight}, {0: bias}, a, 0, 1)
    values = reference.run_network(network, np.full((1, 1, 1, 1), 127, np.int8))
    assert values[1].item() == {"slice": -2, "saturate": 127}[overflow]
