"""The shipped networks: loadable, accurate where weights are shipped, honest where not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from flexhyca.compiler.data import digits_dataset, load_dataset, normalise
from flexhyca.compiler.execute import logits
from flexhyca.compiler.model import load_model
from flexhyca.compiler.networks import NETWORKS, network
from flexhyca.errors import ModelError

DATA = os.environ.get("FLEXHYCA_DATA")
needs_data = pytest.mark.skipif(
    not DATA, reason="FLEXHYCA_DATA does not name a folder with the CIFAR-10 images and weights"
)


def float_accuracy(model, data):
    return float(
        (
            logits(model.graph, [normalise(data.images, model.mean, model.std)]).argmax(1).numpy()
            == data.labels
        ).mean()
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_a_model(name):
    model = load_model(name)
    assert model.input_shape == NETWORKS[name].input_shape
    assert not {n.op for n in model.graph.nodes} & {"batch_norm", "identity"}
    shipped = NETWORKS[name].weights_path is not None
    assert bool(model.warnings) == (not shipped)


def test_digits_is_accurate_on_the_held_out_images():
    assert float_accuracy(load_model("digits"), digits_dataset("test")) >= 0.97
    assert NETWORKS["digits"].weights_path.stat().st_size < 300_000


def test_random_weights_are_seeded_and_said():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = load_model("resnet20"), load_model("resnet20"), load_model("resnet20", seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's generator is touched
    assert a.warnings == (
        "resnet20: seeded random weights (seed 0): accuracy means nothing; "
        "pass a checkpoint for real ones",
    )
    weight = [m.graph.node("conv1").params["weight"] for m in (a, b, c)]
    assert np.array_equal(weight[0], weight[1])
    assert not np.array_equal(weight[0], weight[2])


def test_unknown_names_list_the_known():
    with pytest.raises(ModelError) as caught:
        network("resnet21")
    assert str(caught.value) == (
        f"unknown network 'resnet21'; known are {', '.join(NETWORKS)}, and .onnx files"
    )


def test_weights_of_another_network_are_refused():
    with pytest.raises(ModelError, match=r"digits\.safetensors do not fit ResNetCifar: missing: "):
        load_model("resnet20", NETWORKS["digits"].weights_path)


@needs_data
def test_resnet20_loads_its_published_weights():
    model = load_model("resnet20", Path(DATA) / "w_cifar10_resnet20_fp32.npz")
    data = load_dataset(Path(DATA) / "cifar10_test_jpeg_1000.npz")
    assert float_accuracy(model, data) == pytest.approx(0.817, abs=0.003)
    assert model.warnings == ()


@pytest.mark.slow
def test_training_reaches_the_shipped_accuracy():
    from flexhyca.compiler.networks.train_digits import train

    threads = torch.get_num_threads()
    try:
        _, accuracy = train()
    finally:
        torch.set_num_threads(threads)
    assert accuracy >= 0.97
