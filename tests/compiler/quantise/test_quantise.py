"""The quantiser: accuracy, and the rules every integer network must keep."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flexhyca.api import int8_accuracy, quantise_images
from flexhyca.compiler.data import (
    digits_dataset,
    load_dataset,
    normalise,
)
from flexhyca.compiler.execute import logits
from flexhyca.compiler.model import from_module, load_model
from flexhyca.compiler.quantise import quantiser as module
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.compiler.quantise.search import alignment, shift_right
from flexhyca.config import Arithmetic, choices
from flexhyca.errors import ModelError, QuantisationError
from flexhyca.network.fixedpoint import round_shift
from flexhyca.network.fixedpoint_torch import Losses
from flexhyca.network.functional import Functional
from flexhyca.network.layers import LayerOp
from flexhyca.tests.compiler.frontends.zoo import SHAPES, ZOO, build
from flexhyca.tests.fuzz.flat_ranges import means, quantised

DATA = os.environ.get("FLEXHYCA_DATA")
needs_data = pytest.mark.skipif(
    not DATA, reason="FLEXHYCA_DATA does not name a folder with the CIFAR-10 images and weights"
)
MODEL = load_model("digits")
IMAGES = digits_dataset("train").images[:128]


def zoo_model(name):
    half = (0.5, 0.5, 0.5)
    return from_module(build(name), SHAPES[name], name=name, mean=half, std=(0.25, 0.25, 0.25))


def noise(name, count=64):
    c, h, w = SHAPES[name]
    return np.random.default_rng(0).integers(0, 256, (count, h, w, c)).astype(np.uint8)


def check_rules(network, q_scale):
    """What the machine relies on, whatever the numbers are."""
    a = network.arithmetic
    top, weight_top = 2 ** (a.act_bits - 1), 2 ** (a.weight_bits - 1)
    scale = [t.scale for t in network.tensors]
    for i, layer in enumerate(network.layers):
        assert -top <= layer.act_lo <= layer.act_hi <= top - 1
        assert max(layer.lshift_a, layer.lshift_b, layer.add_shift) <= 16
        if layer.op == LayerOp.CONV:
            assert q_scale <= layer.shift <= a.acc_bits - a.act_bits
            weight, bias = network.weights[i], network.biases[i]
            assert (weight.dtype, bias.dtype) == (np.int8, np.int32)
            assert -weight_top <= weight.min() <= weight.max() < weight_top
            limit = 2 ** (a.acc_bits - 1)
            assert -limit <= int(bias.min()) <= int(bias.max()) < limit
            out = network.tensors[layer.output]
            assert bias.shape == (out.c,)
            assert weight.shape[:3] == (out.c, layer.kernel_h, layer.kernel_w)
        if layer.residual >= 0:  # by a power of two; which shifts follow, `means` says
            apart = math.log2(scale[layer.output] / scale[layer.residual])
            assert apart == pytest.approx(round(apart), abs=1e-5)
        if layer.op == LayerOp.ADD:
            apart = round(math.log2(scale[layer.input] / scale[layer.residual]))
            finer = min(scale[layer.input], scale[layer.residual])
            steps = round(math.log2(scale[layer.output] / finer))
            assert scale[layer.output] == pytest.approx(finer * 2.0**steps, rel=1e-5)
            assert max(scale[layer.input], scale[layer.residual]) == pytest.approx(
                finer * 2.0 ** abs(apart), rel=1e-5
            )
            wanted = alignment(abs(apart), steps, a.act_bits)
            lefts = (layer.lshift_a, layer.lshift_b)[:: 1 if apart > 0 else -1]
            assert (steps, *lefts, layer.add_shift) == tuple(wanted)  # test_alignment.py
        if layer.op in (LayerOp.COPY, LayerOp.MAXPOOL):
            assert scale[layer.output] == scale[layer.input]
        if layer.op == LayerOp.AVGPOOL:
            count = layer.kernel_h * layer.kernel_w
            wanted = scale[layer.input] * 2**layer.shift / count
            assert scale[layer.output] == pytest.approx(wanted)


def fault_free_losses(network, model, images):
    losses = [Losses() for _ in network.layers]
    Functional(network).run(quantise_images(model, network, images), losses=losses)
    return sum(lost.wraps + lost.overflows for lost in losses)


@given(
    st.integers(-(1 << 40), 1 << 40),
    st.integers(0, 24),
    st.sampled_from(choices("arithmetic.rounding")),
)
def test_the_search_shifts_as_the_machine_does(value, shift, rounding):
    shifted = shift_right(torch.tensor(float(value), dtype=torch.float64), shift, rounding)
    assert shifted == int(round_shift(value, shift, rounding))


@pytest.mark.parametrize("overflow", choices("arithmetic.overflow"))
@pytest.mark.parametrize("q_scale", [0, 7])
def test_digits_keep_their_accuracy(overflow, q_scale):
    test = digits_dataset("test")
    network = quantise_model(
        MODEL, IMAGES, arithmetic=Arithmetic(overflow=overflow), q_scale=q_scale
    )
    check_rules(network, q_scale)
    x = normalise(test.images, MODEL.mean, MODEL.std)
    wanted = float((logits(MODEL.graph, [x]).argmax(1).numpy() == test.labels).mean())
    assert int8_accuracy(MODEL, network, test) >= wanted - 0.005
    assert fault_free_losses(network, MODEL, IMAGES) == 0
    assert fault_free_losses(network, MODEL, test.images) == 0


@pytest.mark.parametrize("overflow", choices("arithmetic.overflow"))
@pytest.mark.parametrize("name", ZOO)
def test_every_operation_survives_quantisation(name, overflow):
    """On the zoo the integer logits are the float ones to within a few steps of 1/127."""
    model, images = zoo_model(name), noise(name)
    network = quantise_model(model, images, arithmetic=Arithmetic(overflow=overflow), q_scale=0)
    check_rules(network, 0)
    scale = [t.scale for t in network.tensors]
    got = Functional(network).run(quantise_images(model, network, images)).reshape(len(images), -1)
    wanted = logits(model.graph, [normalise(images, model.mean, model.std)]).numpy()
    assert np.abs(got * scale[network.output] - wanted).max() < 0.03 * np.abs(wanted).max()
    assert fault_free_losses(network, model, images) == 0


@settings(max_examples=25)
@given(
    name=st.sampled_from([*ZOO, "digits"]),
    act_bits=st.integers(2, 8),
    weight_bits=st.integers(2, 8),
    acc_bits=st.integers(16, 32),
    q_share=st.floats(0, 1),
    rounding=st.sampled_from(choices("arithmetic.rounding")),
    overflow=st.sampled_from(choices("arithmetic.overflow")),
)
def test_any_words_give_a_legal_network_or_a_named_refusal(
    name, act_bits, weight_bits, acc_bits, q_share, rounding, overflow
):
    a = Arithmetic(
        act_bits=act_bits,
        weight_bits=weight_bits,
        acc_bits=acc_bits,
        rounding=rounding,
        overflow=overflow,
    )
    q_scale = int(q_share * (acc_bits - act_bits))
    model, images = (MODEL, IMAGES[:32]) if name == "digits" else (zoo_model(name), noise(name, 32))
    refusal = ""
    try:
        network, units = quantised(model, images, a, q_scale)
    except QuantisationError as error:
        refusal = str(error)
    event("refused" if refusal else "quantised")
    if refusal:
        assert re.match(r"layer \S+: ", refusal)
        return
    check_rules(network, q_scale)
    assert fault_free_losses(network, model, images) == 0
    means(network, units, quantise_images(model, network, images))


@pytest.mark.parametrize(("bits", "loss"), [(6, 0.01), (5, 0.01), (4, 0.02)])
def test_fewer_bits_cost_little_on_digits(bits, loss):
    a = Arithmetic(act_bits=bits, weight_bits=bits, overflow="saturate")
    network = quantise_model(MODEL, IMAGES, arithmetic=a, q_scale=0)
    assert int8_accuracy(MODEL, network, digits_dataset("test")) >= 0.9972 - loss


def test_a_large_q_scale_costs_accuracy_only_when_it_must():
    """Natural shifts are 8 or 9; up to 10 clipping weights makes up for a forced one."""
    test = digits_dataset("test")
    got = [
        int8_accuracy(
            MODEL,
            quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(overflow="saturate"), q_scale=q),
            test,
        )
        for q in (8, 10, 14)
    ]
    assert got[0] >= 0.99
    assert got[1] >= 0.98
    assert got[2] <= 0.5  # an honest collapse, not an error


def test_the_same_call_gives_the_same_network():
    a = [quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=7) for _ in range(2)]
    same(*a)
    assert a[0].notes == ("calibrated on 128 images, q_scale 7",)


def same(a, b):
    assert a.layers == b.layers
    assert a.tensors == b.tensors
    assert all(np.array_equal(a.weights[i], b.weights[i]) for i in a.weights)
    assert all(np.array_equal(a.biases[i], b.biases[i]) for i in a.biases)


@pytest.mark.parametrize("name", ["digits", *ZOO])
def test_blocks_and_batches_change_nothing(name, monkeypatch):
    model, images = (MODEL, IMAGES[:40]) if name == "digits" else (zoo_model(name), noise(name, 40))
    whole = quantise_model(model, images, arithmetic=Arithmetic(), q_scale=0)
    monkeypatch.setattr(module, "_BLOCK", 3)
    monkeypatch.setattr(module, "_MAPS", 1)
    same(quantise_model(model, images, arithmetic=Arithmetic(), q_scale=0), whole)


def test_where_maps_are_large_some_images_are_fitted_and_all_are_ranged(monkeypatch):
    """An image of digits has at most (16 + 32) * 8 * 8 numbers at once: conv2 reads and writes."""
    monkeypatch.setattr(module, "_VALUES", 20 * (16 + 32) * 8 * 8)
    network = quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=0)
    note = "calibrated on 128 images, q_scale 0; all but the ranges on 20 of them"
    assert network.notes == (note,)
    check_rules(network, 0)
    assert fault_free_losses(network, MODEL, IMAGES) == 0
    assert int8_accuracy(MODEL, network, digits_dataset("test")) >= 0.99
    chosen = np.arange(20) * 128 // 20
    few = quantise_model(MODEL, IMAGES[chosen], arithmetic=Arithmetic(), q_scale=0)
    assert few.notes == ("calibrated on 20 images, q_scale 0",)
    repeated = IMAGES[chosen[np.arange(128) * 20 // 128]]
    repeated[chosen] = IMAGES[chosen]  # the others tell nothing new
    same(quantise_model(MODEL, repeated, arithmetic=Arithmetic(), q_scale=0), few)
    assert [t.scale for t in few.tensors] != [t.scale for t in network.tensors]


def test_layers_carry_their_own_words():
    network = quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=0, name="mine")
    assert network.name == "mine"
    assert [la.name for la in network.layers] == [
        "conv1", "conv2", "max_pool2d", "conv3", "conv4", "avg_pool2d", "fc",
    ]  # fmt: skip
    assert network.layers[4].residual == network.layers[2].output


def test_models_of_random_weights_say_so_in_the_network():
    model = load_model("resnet20")
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    network = quantise_model(model, images, arithmetic=Arithmetic(), q_scale=0)
    assert network.notes[1:] == model.warnings


@pytest.mark.parametrize(
    "words",
    [{"act_bits": 9}, {"weight_bits": 1}, {"acc_bits": 40}, {"rounding": "up"}, {"overflow": "no"}],
)
def test_impossible_words_are_refused_where_they_are_made(words):
    (name,) = words
    with pytest.raises(ValueError, match=f"1 validation error for Arithmetic\n{name}\n"):
        Arithmetic(**words)


@pytest.mark.parametrize("q_scale", [-1, 17])
def test_shifts_that_leave_no_activation_are_refused(q_scale):
    with pytest.raises(QuantisationError) as caught:
        quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=q_scale)
    assert str(caught.value) == f"q_scale={q_scale} is not in 0..16"


def test_images_of_another_size_are_refused():
    with pytest.raises(ModelError, match="data calibration: images are"):
        quantise_model(MODEL, noise("Residual"), arithmetic=Arithmetic(), q_scale=0)
    data = digits_dataset("test")
    network = quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=0)
    with pytest.raises(ModelError, match="data none: no labels, so there is no accuracy"):
        int8_accuracy(MODEL, network, type(data)("none", data.images, None))


def test_scales_meet_in_adds():
    """The residual's scale and the sum's differ by an exact power of two."""
    network = quantise_model(MODEL, IMAGES, arithmetic=Arithmetic(), q_scale=0)
    layer = network.layers[4]
    ratio = network.tensors[layer.output].scale / network.tensors[layer.residual].scale
    assert math.log2(ratio) == pytest.approx(layer.add_shift - layer.lshift_b, abs=1e-6)


@needs_data
@pytest.mark.parametrize("overflow", choices("arithmetic.overflow"))
def test_resnet20_keeps_its_accuracy(overflow):
    model = load_model("resnet20", Path(DATA) / "w_cifar10_resnet20_fp32.npz")
    data = load_dataset(Path(DATA) / "cifar10_test_jpeg_1000.npz")
    a = Arithmetic(overflow=overflow)
    network = quantise_model(model, data.spread(128).images, arithmetic=a, q_scale=0)
    check_rules(network, 0)
    x = normalise(data.images, model.mean, model.std)
    wanted = float((logits(model.graph, [x]).argmax(1).numpy() == data.labels).mean())
    assert int8_accuracy(model, network, data) >= wanted - 0.01
