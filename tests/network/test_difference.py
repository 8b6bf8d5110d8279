"""Differences carried through a network equal a run of the faulty network, bit for bit."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.network import fixedpoint as fx
from flexhyca.network import reference
from flexhyca.network.difference import Difference
from flexhyca.network.layers import NO_TENSOR, LayerOp
from flexhyca.tests.support import (
    machines,
    networks,
    random_inputs,
)


@st.composite
def cases(draw):
    network = draw(networks(draw(machines()).arithmetic, max_layers=6))
    seed = draw(st.integers(0, 2**32 - 1))
    return network, random_inputs(network, 3, seed), np.random.default_rng(seed)


def run_with(network, image, sums=None, stored=None):
    """The reference with changes: sums[layer] = (flat, by), stored[tensor] = (flat, values)."""
    sums, stored = sums or {}, stored or {}
    values = {network.input: image[None].copy()}

    def change(tensor):
        for at, value in zip(*stored.get(tensor, ((), ())), strict=True):
            values[tensor].reshape(-1)[at] = value

    change(network.input)
    for index, layer in enumerate(network.layers):
        x = values[layer.input]
        residual = values[layer.residual] if layer.residual != NO_TENSOR else None
        if index in sums:
            a, out = network.arithmetic, network.tensors[layer.output]
            weight, bias = network.weights[index], network.biases[index]
            acc = reference.accumulate(x, layer, out, weight, bias)
            at, by = sums[index]
            np.add.at(acc.reshape(-1), at, by)
            y = fx.requantise(
                fx.wrap(acc, a.acc_bits), layer.shift, a.act_bits, a.rounding, a.overflow
            )
            if residual is not None:
                shifts = layer.lshift_a, layer.lshift_b, layer.add_shift
                y = fx.add(y, residual, *shifts, a.act_bits, a.rounding)
            values[layer.output] = np.clip(y, layer.act_lo, layer.act_hi).astype(np.int8)
        else:
            values[layer.output] = reference.run_layer(network, index, x, residual)
        change(layer.output)
    return values


def random_changes(network, rng, share):
    """Wrong accumulators of some CONV layers, and wrong stored elements of some tensors."""
    a, sums, stored = network.arithmetic, {}, {}
    lo, hi = fx.limits(a.act_bits)
    for index, layer in enumerate(network.layers):
        if layer.op == LayerOp.CONV and rng.random() < 0.3:
            size = network.tensors[layer.output].elements
            at = rng.choice(size, max(1, int(share * size)), replace=False)
            by = np.int64(1) << rng.integers(0, a.acc_bits, len(at))
            sums[index] = at, by * rng.choice([-1, 1], len(at))
    for tensor in {network.input} | {la.output for la in network.layers}:
        if rng.random() < 0.2:
            size = network.tensors[tensor].elements
            at = rng.choice(size, max(1, int(share * size)), replace=False)
            stored[tensor] = at, rng.integers(lo, hi + 1, len(at))
    return sums, stored


def run_difference(difference, sums, stored):
    network = difference.network
    if network.input in stored:
        difference.set(network.input, *stored[network.input])
    for index, layer in enumerate(network.layers):
        difference.advance(index + 1, *sums.get(index, ((), ())))
        if layer.output in stored:
            difference.set(layer.output, *stored[layer.output])


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from([0.0, 0.05, 0.5, 1.0]))
def test_every_tensor_equals_the_reference(case, share):
    network, images, rng = case
    difference = Difference(network, images[1])
    fault_free = list(difference.fault_free(images))
    for number in (1, 0, 0, 2):  # the scratch memory is clean again after each
        if number != 1:
            difference.use(fault_free[number])
        image = images[number]
        sums, stored = random_changes(network, rng, share)
        expected = run_with(network, image, sums, stored)
        run_difference(difference, sums, stored)
        for tensor, values in expected.items():
            np.testing.assert_array_equal(difference.tensor(tensor), values[0])
            wrong = np.flatnonzero(difference.tensor(tensor) != difference.golden(tensor))
            assert set(wrong.tolist()) <= set(difference.changed(tensor).tolist())
        difference.reset()
    golden = run_with(network, image)
    for tensor, values in golden.items():
        np.testing.assert_array_equal(difference.tensor(tensor), values[0])
        assert not len(difference.changed(tensor))
    for index in network.weights:
        layer = network.layers[index]
        out = network.tensors[layer.output]
        acc = reference.accumulate(
            golden[layer.input], layer, out, network.weights[index], network.biases[index]
        )
        wrapped = fx.wrap(acc[0], network.arithmetic.acc_bits)
        np.testing.assert_array_equal(difference.accumulators(index), wrapped)
