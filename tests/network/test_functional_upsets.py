"""Upsets in the functional engine equal the readable reference with each wrong word put in."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.errors import InternalError
from flexhyca.network import fixedpoint as fx
from flexhyca.network import reference
from flexhyca.network import wrong_bits as functional_upsets
from flexhyca.network.functional import Functional
from flexhyca.network.layers import LayerOp
from flexhyca.network.upsets import Marks, Upsets
from flexhyca.tests.network.test_functional import arithmetic_without
from flexhyca.tests.support import networks, one_conv


def flipped(values, marks, bits):
    """One word after the other, as a bit pattern of `bits` bits."""
    flat = np.array(values, np.int64, order="C")
    if marks is not None:
        for at, mask in zip(marks.at.tolist(), marks.masks.tolist(), strict=True):
            pattern = (int(flat.flat[at]) ^ mask) & ((1 << bits) - 1)
            flat.flat[at] = pattern - (1 << bits) if pattern >> (bits - 1) else pattern
    return flat


def run_reference(network, x, upsets):
    """`network.reference.run_network` with wrong words of each stage, a batch at once."""
    a = network.arithmetic
    values = {network.input: flipped(x, upsets.input, a.act_bits).astype(np.int8)}
    for i, layer in enumerate(network.layers):
        source, out = values[layer.input], network.tensors[layer.output]
        residual = values[layer.residual] if layer.residual >= 0 else None
        if layer.op != LayerOp.CONV:
            values[layer.output] = reference.run_layer(network, i, source, residual)
            continue
        array = flipped(network.weights[i], upsets.weights.get(i), a.weight_bits)
        dppu = array
        if i in upsets.dppu_weights:
            dppu = flipped(network.weights[i], upsets.dppu_weights[i], a.weight_bits)
        bias = network.biases[i]
        acc = reference.accumulate(source, layer, out, array, bias).reshape(len(x), -1)
        own = reference.accumulate(source, layer, out, dppu, bias).reshape(len(x), -1)
        for at in upsets.important.get(i, ()):
            acc[:, at] = own[:, at]
        acc = fx.wrap(acc.reshape(len(x), out.h, out.w, out.c), a.acc_bits)
        acc = flipped(acc, upsets.accumulators.get(i), a.acc_bits)
        y = fx.requantise(acc, layer.shift, a.act_bits, a.rounding, a.overflow)
        y = flipped(y, upsets.before.get(i), a.act_bits)
        if residual is not None:
            shifts = (layer.lshift_a, layer.lshift_b, layer.add_shift)
            y = fx.add(y, residual, *shifts, a.act_bits, a.rounding)
        y = np.clip(y, layer.act_lo, layer.act_hi)
        values[layer.output] = flipped(y, upsets.after.get(i), a.act_bits).astype(np.int8)
    return values[network.output]


def marks(rng, size, bits, share):
    at = np.flatnonzero(rng.random(size) < share)
    rng.shuffle(at)  # the order means nothing
    masks = rng.integers(1, 1 << bits, len(at)).astype(np.uint32)
    return Marks(at, masks.view(np.int32))


@st.composite
def cases(draw):
    act, weight, acc = draw(st.sampled_from([(8, 8, 24), (4, 4, 16), (8, 5, 20), (3, 8, 32)]))
    overflow = draw(st.sampled_from(choices("arithmetic.overflow")))
    rounding = draw(st.sampled_from(choices("arithmetic.rounding")))
    arithmetic = Arithmetic(
        act_bits=act, weight_bits=weight, acc_bits=acc, rounding=rounding, overflow=overflow
    )
    network = draw(networks(arithmetic))
    half = 1 << (act - 1)
    fit = lambda w: np.clip(w, -1 << (weight - 1), (1 << (weight - 1)) - 1)  # noqa: E731
    network = replace(
        network,
        weights={i: fit(w) for i, w in network.weights.items()},
        biases={
            i: np.clip(b, -1 << (acc - 1), (1 << (acc - 1)) - 1).astype(np.int32)
            for i, b in network.biases.items()
        },
        layers=tuple(
            replace(la, act_lo=max(la.act_lo, -half), act_hi=half - 1) for la in network.layers
        ),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 4))
    shape = network.tensors[network.input]
    x = rng.integers(-half, half, (count, shape.h, shape.w, shape.c)).astype(np.int8)
    density = st.sampled_from([None, 0.0, 0.01, 0.1, 0.99])
    stages: dict[str, dict] = {}
    for stage in ("weights", "dppu_weights", "accumulators", "before", "after"):
        stages[stage] = {}
        for i in network.weights:
            share = draw(density)
            if share is not None:
                size = network.weights[i].size if "weights" in stage else count * network.neurons(i)
                bits = {"accumulators": acc}.get(stage, weight if "weights" in stage else act)
                stages[stage][i] = marks(rng, size, bits, share)
    important = {
        i: np.flatnonzero(rng.random(network.neurons(i)) < draw(st.sampled_from([0, 0.1, 1])))
        for i in network.weights
        if draw(st.booleans())
    }
    start = marks(rng, x.size, act, draw(st.sampled_from([0, 0.1, 0.99])))
    upsets = Upsets(**stages, important=important, input=draw(st.sampled_from([None, start])))
    without = draw(st.sampled_from(["", "int8", "numba"]))
    dense = draw(st.sampled_from([1, 128, 10**9]))
    return network, x, upsets, draw(st.integers(1, count)), dense, without


@settings(max_examples=300)
@given(cases())
def test_upsets_equal_the_reference(case):
    network, x, upsets, batch, dense, without = case
    before = x.copy()
    wanted = run_reference(network, x, upsets)
    engine = Functional(network)
    with arithmetic_without(without), patch.object(functional_upsets, "_DENSE", dense):
        got = engine.run(x, batch=batch, upsets=upsets)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(x, before)  # the caller's images stay as they are
    fault_free = reference.run_network(network, x)[network.output]
    np.testing.assert_array_equal(engine.run(x), fault_free)  # and so does the engine
    event(f"seen: {(wanted != fault_free).any()}")
    event(f"layers where the DPPU differs: {len(set(upsets.dppu_weights) & set(upsets.important))}")


def test_flipped_weights_may_be_larger_than_any_true_one():
    """A bound on float32 sums that holds for the true weights alone would lose bits here."""
    network = one_conv(h=8, c=128, n=2, kernel=3)
    weight = np.zeros((2, 3, 3, 128), np.int8)
    layer = replace(network.layers[0], shift=0)
    network = replace(
        network, weights={0: weight}, layers=(layer,), arithmetic=Arithmetic(acc_bits=32)
    )
    x = np.random.default_rng(0).integers(-128, -120, (2, 8, 8, 128)).astype(np.int8)
    at = np.arange(weight.size)
    upsets = Upsets(weights={0: Marks(at, np.where(at % 5, 127, 126).astype(np.int32))})
    got = Functional(network).run(x, upsets=upsets)
    np.testing.assert_array_equal(got, run_reference(network, x, upsets))


@pytest.mark.parametrize(
    ("upsets", "text"),
    [
        (
            Upsets(after={0: Marks(np.array([512]), np.ones(1, np.int32))}),
            "upsets: after of layer 0 name elements 512..512 of 512",
        ),
        (
            Upsets(before={0: Marks(np.array([3, 1, 3]), np.ones(3, np.int32))}),
            "upsets: before of layer 0 name an element twice",
        ),
        (
            Upsets(weights={1: Marks(np.zeros(0, np.int64), np.zeros(0, np.int32))}),
            "upsets: weights of layers [1], which have no weights",
        ),
    ],
)
def test_upsets_of_what_does_not_exist(upsets, text):
    network = one_conv()
    with pytest.raises(InternalError) as error:
        Functional(network).run(np.zeros((1, 8, 8, 16), np.int8), upsets=upsets)
    assert str(error.value) == text
