"""The functional engine where layers are long or large: exact, whatever is cut or kept."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from flexhyca.config import Arithmetic, choices
from flexhyca.network import fixedpoint as fx
from flexhyca.network import functional, products, reference
from flexhyca.network.fixedpoint_torch import Losses
from flexhyca.network.functional import Functional
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.tests.support import networks, one_conv, random_inputs


@contextmanager
def arithmetic_without(what: str):
    """`int8`: no 8-bit convolutions. `numba`: none of these either, steps in plain torch."""
    with ExitStack() as stack:
        if what:
            stack.enter_context(patch.object(products, "int8_is_exact", lambda *_: False))
        if what == "numba":
            stack.enter_context(patch.object(functional, "_runs_numba", lambda _: False))
        yield


@settings(max_examples=150)
@given(
    st.sampled_from(choices("arithmetic.overflow")).flatmap(
        lambda overflow: networks(Arithmetic(acc_bits=24, overflow=overflow))
    ),
    st.sampled_from(["", "int8", "numba"]),
    st.sampled_from([1, 1 << 18, 3 << 17, 1 << 24, 1 << 24]),
    st.sampled_from([1, 40, 1 << 22]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_arithmetic_and_every_cut_gives_the_same(
    network, without, exact, block, keep, once, seed
):
    x = random_inputs(network, 3, seed)
    wanted = reference.run_network(network, x)
    with (
        arithmetic_without(without),
        patch.object(products, "EXACT_FLOAT32", exact),
        patch.object(products, "_BLOCK", block),
        patch.object(products, "_KEPT", 1 << 25 if keep else 0),
    ):
        engine = Functional(network, once=once)
        for tensor, value in engine.layers(x):
            np.testing.assert_array_equal(value, wanted[tensor], err_msg=str(tensor))
        lost = [Losses() for _ in network.layers]
        for tensor, value in engine.layers(x, lost):
            np.testing.assert_array_equal(value, wanted[tensor], err_msg=str(tensor))
        for i, prepared in engine._products.items():
            sums = reference.accumulate(
                wanted[network.layers[i].input],
                network.layers[i],
                network.tensors[network.layers[i].output],
                network.weights[i],
                network.biases[i],
            )
            assert lost[i].wraps == (fx.wrap(sums, 24) != sums).sum()
            small = sum(w.size for w in network.weights.values()) <= block
            assert (prepared.kept is not None) == ((small if once else keep) or prepared.int8)
            assert not (once and prepared.int8)
            kind = "int8" if prepared.int8 else prepared.dtype
            event(f"{kind}, {min(len(prepared.ranges), 3)} ranges")


@pytest.mark.parametrize("without", ["", "int8"])
@pytest.mark.parametrize(
    ("kernel", "channels", "groups", "dtype", "ranges"),
    [
        (3, 300, 1, "float32", 3),
        (1, 4096, 1, "float32", 4),
        (40, 2, 1, "float64", 1),
        (3, 512, 2, "float64", 1),
    ],
)
def test_long_full_scale_reductions_are_exact(kernel, channels, groups, dtype, ranges, without):
    """Sums beyond 2**24 lose bits in a single float32 reduction."""
    rng = np.random.default_rng(0)
    tensors = (Tensor("x", kernel, kernel, channels, 1.0), Tensor("y", 1, 1, 4, 1.0))
    layer = Layer(
        "long", LayerOp.CONV, 0, 1, kernel_h=kernel, kernel_w=kernel, groups=groups, shift=0
    )
    weight = rng.integers(-128, -120, (4, kernel, kernel, channels // groups)).astype(np.int8)
    bias = rng.integers(-99, 99, 4).astype(np.int32)
    x = rng.integers(-128, -120, (2, kernel, kernel, channels)).astype(np.int8)
    sums = reference.accumulate(x, layer, tensors[1], weight, bias)
    assert np.abs(sums).max() > 2**24
    a = Arithmetic(acc_bits=32, overflow="slice")  # the low 8 bits: an error of one is seen
    network = Network("long", tensors, (layer,), {0: weight}, {0: bias}, a, 0, 1)
    with arithmetic_without(without):
        engine = Functional(network)
        np.testing.assert_array_equal(engine.run(x), reference.run_network(network, x)[1])
        kept: dict[int, np.ndarray] = {}
        list(engine.layers(x, sums=kept))
        np.testing.assert_array_equal(kept[0], sums)
    assert str(engine._products[0].dtype) == f"torch.{dtype}"
    assert len(engine._products[0].ranges) == ranges
    if without or dtype == "float64":
        assert not engine._products[0].int8


def test_eight_bit_products_that_saturate_are_not_used():
    """As on CPUs that add pairs of products in 16 bits: floating point takes their place."""
    network = one_conv(h=4, c=16, n=8, kernel=3)
    x = random_inputs(network, 2, 0)
    convolve = products._Packed.__call__

    def saturated(self, *operands):
        return convolve(self, *operands).clamp(-(2**15), 2**15 - 1)

    products.int8_is_exact.cache_clear()
    try:
        with patch.object(products._Packed, "__call__", saturated):
            engine = Functional(network)
            np.testing.assert_array_equal(engine.run(x), reference.run_network(network, x)[1])
        assert not engine._products[0].int8
    finally:
        products.int8_is_exact.cache_clear()


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.sampled_from([1, 2, 3, 9, 40]), st.sampled_from([1, 2, 3, 9])),
    dilation=st.tuples(st.sampled_from([1, 2, 3, 7]), st.sampled_from([1, 2, 3])),
    pads=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 9)),
    channels=st.tuples(st.sampled_from([1, 2, 3]), st.booleans(), st.integers(1, 3)),
    seed=st.integers(0, 99),
)
# What oneDNN gets wrong: it wrote beyond its memory, and gave wrong sums in 8 bits.
@example((4, 2), (40, 1), (7, 1), (0, 0), (300, 25), (1, False, 1), 0)
@example((2, 2), (1, 1), (2, 2), (1, 1), (2, 1), (3, True, 2), 0)
@example((2, 3), (40, 2), (1, 2), (0, 9), (4, 1), (3, True, 3), 0)
def test_windows_that_are_dilated_or_far_apart_or_in_the_padding(
    kernel, stride, dilation, pads, size, channels, seed
):
    c, depthwise, more = channels
    out = [
        (have + 2 * pad - (k - 1) * d - 1) // s + 1
        for have, pad, k, d, s in zip(size, pads, kernel, dilation, stride, strict=True)
    ]
    assume(min(out) > 0)
    layer = Layer(
        "far", LayerOp.CONV, 0, 1,
        kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1],
        dilation_h=dilation[0], dilation_w=dilation[1], pad_top=pads[0], pad_left=pads[1],
        groups=c if depthwise else 1, shift=4,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    weight = rng.integers(-128, 128, (c * more, *kernel, c // layer.groups)).astype(np.int8)
    bias = rng.integers(-99, 99, c * more).astype(np.int32)
    tensors = Tensor("x", *size, c, 1.0), Tensor("y", *out, c * more, 1.0)
    network = Network("net", tensors, (layer,), {0: weight}, {0: bias}, Arithmetic(), 0, 1)
    x = random_inputs(network, 2, seed)
    engine = Functional(network)
    np.testing.assert_array_equal(engine.run(x), reference.run_network(network, x)[1])
    assert engine._products[0].window.usual or not engine._products[0].int8


def test_batches_follow_the_size_of_the_maps():
    """Every image still gets its own result, and none is lost at the end."""
    layer = Layer("copy", LayerOp.COPY, 0, 1)
    tensors = (Tensor("x", 2, 2, 3, 1.0), Tensor("y", 2, 2, 3, 1.0))
    network = Network("net", tensors, (layer,), {}, {}, Arithmetic(), 0, 1)
    x = np.arange(60, dtype=np.int8).reshape(5, 2, 2, 3)
    sizes = []
    layers = Functional.layers

    def spy(self, part, *others):
        sizes.append(len(part))
        return layers(self, part, *others)

    with patch.object(Functional, "layers", spy):
        for numbers, wanted in ((1 << 24, [5]), (48, [2, 2, 1]), (1, [1] * 5)):
            sizes.clear()
            with patch.object(functional, "_MAPS", numbers):
                np.testing.assert_array_equal(Functional(network).run(x), x)
            assert sizes == wanted


@pytest.mark.parametrize("images", [1, 3, 8])
@pytest.mark.parametrize("once", [False, True])
def test_one_channel_and_one_column(images, once):
    # torch 2.13 computes this convolution wrong for three images or more (layers.window_stride).
    tensors = (Tensor("x", 9, 4, 1, 1.0), Tensor("y", 9, 1, 4, 1.0))
    layer = Layer("conv", LayerOp.CONV, 0, 1, kernel_w=3, stride_w=2, shift=4)
    rng = np.random.default_rng(0)
    weight, bias = rng.integers(-128, 128, (4, 1, 3, 1), np.int8), np.zeros(4, np.int32)
    network = Network("n", tensors, (layer,), {0: weight}, {0: bias}, Arithmetic(), 0, 1)
    x = rng.integers(-128, 128, (images, 9, 4, 1), np.int8)
    expected = reference.run_network(network, x)[1]
    np.testing.assert_array_equal(Functional(network, once=once).run(x), expected)


def test_losses_are_counted_and_batches_do_not_matter():
    tensors = (Tensor("x", 1, 1, 1, 1.0), Tensor("y", 1, 1, 1, 1.0))
    layer = Layer("one", LayerOp.CONV, 0, 1, shift=4)
    weight, bias = np.full((1, 1, 1, 1), 100, np.int8), np.array([20000], np.int32)
    a = Arithmetic(acc_bits=16)
    network = Network("one", tensors, (layer,), {0: weight}, {0: bias}, a, 0, 1)
    x = np.array([-128, -100, 0, 20, 127], np.int8).reshape(5, 1, 1, 1)

    def lost(network, batch=None):
        losses = [Losses()]
        outputs = Functional(network).run(x, batch, losses)
        np.testing.assert_array_equal(outputs, reference.run_network(network, x)[1])
        return losses[0]

    # accumulators 7200, 10000, 20000, 22000, 32700 fit 16 bits; >> 4 they exceed 127
    assert lost(network) == lost(network, batch=2) == Losses(wraps=0, overflows=5)
    assert lost(replace(network, biases={0: bias + 200})).wraps == 1
    saturating = replace(network, arithmetic=Arithmetic(acc_bits=16, overflow="saturate"))
    assert lost(saturating) == Losses()
