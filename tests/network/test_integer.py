"""The fast integer executor equals the reference bit by bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.quantise import integer
from flexhyca.config import Arithmetic, choices
from flexhyca.network import fixedpoint, reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.tests.support import networks, random_inputs


@st.composite
def arithmetics(draw):
    return Arithmetic(
        acc_bits=draw(st.sampled_from([16, 18, 24, 32])),
        rounding=draw(st.sampled_from(choices("arithmetic.rounding"))),
        overflow=draw(st.sampled_from(choices("arithmetic.overflow"))),
    )


@settings(max_examples=120)
@given(st.data())
def test_equals_the_reference(data):
    network = data.draw(networks(data.draw(arithmetics())))
    x = random_inputs(network, 3, data.draw(st.integers(0, 99)))
    wanted, got = reference.run(network, x), integer.run_batch(network, x, keep=True)
    assert wanted.keys() == got.keys()
    for tensor, value in wanted.items():
        assert got[tensor].dtype == np.int8
        assert np.array_equal(got[tensor], value), network.tensors[tensor].name


@pytest.mark.parametrize(
    ("kernel", "channels", "groups"), [(3, 300, 1), (1, 4096, 1), (40, 2, 1), (3, 512, 2)]
)
def test_long_full_scale_reductions_are_exact(kernel, channels, groups):
    """Sums beyond 2**24 lose bits in a single float32 reduction."""
    rng = np.random.default_rng(0)
    tensors = (Tensor("x", kernel, kernel, channels, 1.0), Tensor("y", 1, 1, 4, 1.0))
    layer = Layer(
        "long", LayerOp.CONV, 0, 1, kernel_h=kernel, kernel_w=kernel, groups=groups, shift=20
    )
    weight = rng.integers(-128, -120, (4, kernel, kernel, channels // groups)).astype(np.int8)
    bias = rng.integers(-99, 99, 4).astype(np.int32)
    a = Arithmetic(acc_bits=32, overflow="saturate")
    network = Network("long", tensors, (layer,), {0: weight}, {0: bias}, a, 0, 1)
    x = rng.integers(-128, -120, (2, kernel, kernel, channels)).astype(np.int8)
    sums = integer.accumulate(
        torch.from_numpy(x).permute(0, 3, 1, 2).float(), layer, (1, 1), integer.weights_nchw(weight)
    )
    wanted = reference.accumulate(x, layer, tensors[1], weight, np.zeros(4, np.int64))
    assert np.array_equal(sums.permute(0, 2, 3, 1).numpy(), wanted)
    assert np.abs(wanted).max() > 2**24
    assert np.array_equal(integer.run_batch(network, x)[1], reference.run(network, x)[1])


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    st.integers(0, 16),
    arithmetics(),
)
def test_requantise_equals_the_rule(values, shift, a):
    acc = fixedpoint.wrap(values, a.acc_bits)
    wanted = fixedpoint.requantise(acc, shift, a.act_bits, a.rounding, a.overflow)
    got = integer.requantise(torch.tensor(acc, dtype=torch.int32), shift, a)
    assert got.tolist() == wanted.tolist()


def test_losses_are_counted_and_batches_do_not_matter():
    tensors = (Tensor("x", 1, 1, 1, 1.0), Tensor("y", 1, 1, 1, 1.0))
    layer = Layer("one", LayerOp.CONV, 0, 1, shift=4)
    weight, bias = np.full((1, 1, 1, 1), 100, np.int8), np.array([20000], np.int32)
    a = Arithmetic(acc_bits=16)
    network = Network("one", tensors, (layer,), {0: weight}, {0: bias}, a, 0, 1)
    x = np.array([-128, -100, 0, 20, 127], np.int8).reshape(5, 1, 1, 1)
    losses: dict[str, integer.Losses] = {}
    logits = integer.run(network, x, batch=2, losses=losses)
    # accumulators 7200, 10000, 20000, 22000, 32700 fit 16 bits; >> 4 they exceed 127
    assert losses["one"] == integer.Losses(wraps=0, overflows=5, elements=5)
    assert np.array_equal(logits, integer.run(network, x))
    wider = replace(network, biases={0: bias + 200})
    losses.clear()
    integer.run(wider, x, losses=losses)
    assert losses["one"].wraps == 1
    saturating = replace(network, arithmetic=Arithmetic(acc_bits=16, overflow="saturate"))
    losses.clear()
    integer.run(saturating, x, losses=losses)
    assert losses["one"].overflows == 0
