"""The networks of the literature: torchvision's parameters, and the whole way to cycles."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from torch import nn

from flexhyca import api
from flexhyca.compiler.model import from_module, load_model
from flexhyca.compiler.networks import NETWORKS
from flexhyca.compiler.networks.random_weights import draw_weights
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.config import Arithmetic, load_config
from flexhyca.network.functional import Functional
from flexhyca.network.layers import LayerOp

#: name -> parameters, entries of the state_dict, multiply-accumulates of one image.
#: Parameters and entries are those of torchvision (LeNet-5: of PyTorch's tutorial, padded).
PUBLISHED = {
    "lenet5": (61_706, 10, 416_520),
    "alexnet": (61_100_840, 16, 714_188_480),
    "vgg16": (138_357_544, 32, 15_470_264_320),
    "resnet18": (11_689_512, 122, 1_814_073_344),
    "resnet34": (21_797_672, 218, 3_663_761_408),
    "resnet50": (25_557_032, 320, 4_089_184_256),
    "mobilenet_v2": (3_504_872, 314, 300_774_272),
}

#: Some of torchvision's names, with shapes that a wrong stride, order or width would change.
NAMES = {
    "alexnet": {
        "features.0.weight": (64, 3, 11, 11),
        "features.3.bias": (192,),
        "features.10.weight": (256, 256, 3, 3),
        "classifier.1.weight": (4096, 9216),
        "classifier.4.bias": (4096,),
        "classifier.6.weight": (1000, 4096),
    },
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3),
        "features.5.weight": (128, 64, 3, 3),
        "features.28.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.3.weight": (4096, 4096),
        "classifier.6.bias": (1000,),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.1.conv2.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_var": (128,),
        "layer4.1.bn2.num_batches_tracked": (),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer3.5.bn3.bias": (1024,),
        "layer4.0.conv2.weight": (512, 512, 3, 3),
        "layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
        "fc.weight": (1000, 2048),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.running_mean": (16,),
        "features.2.conv.1.0.weight": (96, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.18.1.weight": (1280,),
        "classifier.1.weight": (1000, 1280),
    },
}


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bare(name: str) -> nn.Module:
    """The module without memory for its weights."""
    with torch.device("meta"):
        return NETWORKS[name].build().eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    module = bare(name)
    shapes = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    parameters, entries, _ = PUBLISHED[name]
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert len(shapes) == entries
    for key, shape in NAMES.get(name, {}).items():
        assert shapes[key] == shape


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_accumulates_are_the_published_ones(name):
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        total += prod(output.shape[1:]) * prod(layer.weight.shape[1:])

    module = bare(name)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(count)
    logits = module(torch.zeros(1, *NETWORKS[name].input_shape, device="meta"))
    assert logits.shape == (1, 10 if name == "lenet5" else 1000)
    assert total == PUBLISHED[name][2]


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "resnet50", "mobilenet_v2"])
def test_the_whole_way_on_small_images(name, one_thread):
    """Every layer is read, quantised, tiled and simulated, and none of them is dead."""
    shape = NETWORKS[name].input_shape
    shape = (shape[0], min(shape[1], 64), min(shape[2], 64))
    module = NETWORKS[name].build().eval()
    draw_weights(module, shape, seed=0)
    c, h, w = shape
    model = from_module(module, shape, name=name, mean=(0.5,) * c, std=(0.25,) * c)
    images = np.random.default_rng(0).integers(0, 256, (2, h, w, c), np.uint8)
    network = quantise_model(model, images, arithmetic=Arithmetic(), q_scale=7)
    values = dict(Functional(network).layers(api.quantise_images(model, network, images)))
    alive = [np.mean(values[layer.output] != 0) for layer in network.layers]
    assert min(alive) > 0.1
    program = api.compile(network, load_config())
    result = api.simulate(program, values="none")
    assert result.macs == sum(network.macs(i) for i in network.weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_whole_way_at_full_size(name, one_thread):
    model = load_model(name)
    network = api.quantise(model, load_config())
    program = api.compile(network, load_config())
    result = api.simulate(program, values="none")
    assert result.macs == PUBLISHED[name][2]
    # a pool to the size that the map has already is no layer
    pools = sum(layer.op == LayerOp.AVGPOOL for layer in network.layers)
    assert pools == (name in ("resnet18", "resnet50", "mobilenet_v2"))


def test_random_weights_keep_values_in_range(one_thread):
    """Batch norms hold the statistics of what they meet, so nothing grows with depth."""
    module = NETWORKS["resnet18"].build().eval()
    draw_weights(module, (3, 64, 64), seed=3)
    spread = {}

    def note(name):
        def hook(part, inputs, output):
            spread[name] = float(output.detach().std())

        return hook

    for name, part in module.named_modules():
        if name.startswith("layer") and name.count(".") == 1:
            part.register_forward_hook(note(name))
    module(torch.rand(2, 3, 64, 64) * 4 - 2)
    assert len(spread) == 8
    assert max(spread.values()) < 8 * min(spread.values())


def test_a_checkpoint_loads_strictly(tmp_path):
    module = NETWORKS["lenet5"].build()
    torch.save(module.state_dict(), tmp_path / "lenet.pth")
    model = load_model("lenet5", tmp_path / "lenet.pth")
    assert model.warnings == ()
    weight = model.graph.node("fc1").params["weight"]
    assert np.array_equal(weight, module.fc1.weight.detach().numpy())
