"""Every shipped network through ONNX and back: the program of the built-in, bit for bit.

torch's exporters fold batch norms into the convolutions before them, in float32 arithmetic of their
own; the old one leaves them alone when asked to preserve the module's mode.  So weights are equal
where nothing was folded, and equal to float32 rounding where it was.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flexhyca import api
from flexhyca.compiler.data import digits_dataset, load_dataset
from flexhyca.compiler.model import from_module, load_model
from flexhyca.compiler.networks import NETWORKS
from flexhyca.compiler.networks.random_weights import draw_weights
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.compiler.weights import load_weights, read_weights
from flexhyca.config import Arithmetic, load_config
from flexhyca.simulator.run import simulate
from flexhyca.tests.compiler.frontends.onnx_models import export

DATA = os.environ.get("FLEXHYCA_DATA")
SMALL = ("digits", "resnet20", "lenet5")
#: way -> (new exporter, options, does it leave batch norms alone).
WAYS = {
    "old": (False, {}, False),
    "old, unfolded": (False, {"training": torch.onnx.TrainingMode.PRESERVE}, True),
    "old, constants unfolded": (
        *(False, {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}),
        True,
    ),
    "old, dynamic batch": (False, {"dynamic_axes": {"x": {0: "n"}}, "input_names": ["x"]}, False),
    "new, weights inside": (True, {"external_data": False}, False),
    "new, weights beside": (True, {"external_data": True}, False),
}
#: Networks without a batch norm: nothing can be folded.
PLAIN = ("lenet5", "alexnet", "vgg16")


def module(name, weights=None):
    """The shipped module with its weights, or with those that `load_model` draws."""
    entry = NETWORKS[name]
    made = entry.build()
    path = weights or entry.weights_path
    if path:
        load_weights(made, read_weights(path), name)
    else:
        draw_weights(made, entry.input_shape, 0)
    return made.eval()


def through_onnx(made, name, way, folder: Path):
    new, options, _ = WAYS[way]
    example = torch.zeros(2, *NETWORKS[name].input_shape)
    path = export(made, example, folder / f"{name}.onnx", new=new, **options)
    return load_model(path, mean=NETWORKS[name].mean, std=NETWORKS[name].std)


def assert_same_weights(a, b, *, exact):
    assert [n.name for n in a.graph.nodes] == [n.name for n in b.graph.nodes]
    for one, other in zip(a.graph.nodes, b.graph.nodes, strict=True):
        for title, array in one.params.items():
            if exact:
                assert np.array_equal(array, other.params[title]), (one.name, title)
            else:
                scale = float(np.abs(array).max())
                assert np.abs(array - other.params[title]).max() <= 1e-5 * scale, one.name


def program_of(model):
    """The compiled network of shapes; its name, which is that of the file, left out."""
    config = load_config("flexhyca-32x32")
    network = replace(shapes_of(model, Arithmetic()), name="net")
    masks = api.select_important(api.place_neurons(network, "random"), network, config)
    return api.compile(network, config, masks)


def assert_same_program(a, b):
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, other), field.name
        else:
            assert one == other, field.name


def check(name, way, folder):
    made, entry = module(name), NETWORKS[name]
    own = from_module(  # as load_model does it
        made, entry.input_shape, name=name, mean=entry.mean, std=entry.std, share=True
    )
    model = through_onnx(made, name, way, folder)
    assert (model.mean, model.std, model.input_shape) == (own.mean, own.std, own.input_shape)
    assert_same_weights(own, model, exact=WAYS[way][2] or name in PLAIN)
    one, other = program_of(own), program_of(model)
    assert one.layer_names == other.layer_names
    assert_same_program(one, other)
    cycles = [simulate(program, values="none").cycles for program in (one, other)]
    assert cycles[0] == cycles[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name, way, tmp_path):
    check(name, way, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["old", "old, unfolded", "new, weights beside"])
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(SMALL)))
def test_large_networks(name, way, tmp_path):
    check(name, way, tmp_path)


def accuracies(models, calibration, data):
    config = load_config("flexhyca-32x32")
    networks = [
        quantise_model(
            model,
            calibration.images,
            arithmetic=config.arithmetic,
            q_scale=config.protection.q_scale,
        )
        for model in models
    ]
    return networks, [api.int8_accuracy(m, n, data) for m, n in zip(models, networks, strict=True)]


def assert_same_network(a, b):
    assert a.layers == b.layers
    assert a.tensors == b.tensors
    for i in a.weights:
        assert np.array_equal(a.weights[i], b.weights[i])
        assert np.array_equal(a.biases[i], b.biases[i])


def test_digits_has_the_same_integers_and_accuracy(tmp_path):
    ways = ("old, unfolded", "old", "new, weights inside")
    models = [through_onnx(module("digits"), "digits", way, tmp_path) for way in ways]
    networks, found = accuracies(
        [load_model("digits"), *models], digits_dataset("train").spread(256), digits_dataset("test")
    )
    assert_same_network(networks[0], networks[1])
    assert len(set(found)) == 1
    assert found[0] > 0.97


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="FLEXHYCA_DATA has published weights and CIFAR-10 images")
def test_resnet20_has_the_same_integers_and_accuracy(tmp_path):
    weights = Path(DATA) / "w_cifar10_resnet20_fp32.npz"
    data = load_dataset(Path(DATA) / "cifar10_test_jpeg_1000.npz")
    made = module("resnet20", weights)
    models = [
        through_onnx(made, "resnet20", way, tmp_path)
        for way in ("old, unfolded", "old", "new, weights inside")
    ]
    networks, found = accuracies([load_model("resnet20", weights), *models], data.spread(256), data)
    assert_same_network(networks[0], networks[1])
    assert len(set(found)) == 1
    assert found[0] > 0.80
