"""The shipped networks: one table, plain torch modules, and how to get a `Model` from a name.

Start at `NETWORKS`; `compiler.model.load_model` makes a `Model` of one.  Only `digits` comes
with weights; the others take a checkpoint of the user's, or seeded random weights for timing and
area work, and then say so in `Model.warnings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...config.shipped import shipped_file
from ...errors import ModelError
from ..frontends.topology import is_topology

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_IMAGENET = ((3, 224, 224), IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class Entry:
    """One shipped network.

    source is `module.callable` in this package; input_shape is (c, h, w); mean and std belong to
    pixels / 255; `weights` names a file beside this one, or is None when none is shipped.
    """

    name: str
    source: str
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str
    weights: str | None = None

    def build(self) -> nn.Module:
        """A new module; torch, which takes a second to import, is imported here."""
        module, _, function = self.source.partition(".")
        made: nn.Module = getattr(import_module(f".{module}", __package__), function)()
        return made

    @property
    def weights_path(self) -> Path | None:
        """The shipped weights file, as it was shipped, if there is one."""
        return shipped_file(f"compiler/networks/{self.weights}") if self.weights else None


_TABLE = (
    Entry(
        "digits",
        "digits.Digits",
        (1, 8, 8),
        (0.305,),
        (0.376,),
        "small residual CNN for scikit-learn's 8x8 digits; weights and data shipped",
        weights="digits.safetensors",
    ),
    Entry(
        "resnet20",
        "resnet_cifar.ResNetCifar",
        (3, 32, 32),
        IMAGENET_MEAN,
        IMAGENET_STD,
        "ResNet-20 for CIFAR-10, option-A shortcuts",
    ),
    Entry("lenet5", "classic.LeNet5", (1, 28, 28), (0.1307,), (0.3081,), "LeNet-5 for MNIST"),
    Entry("alexnet", "classic.AlexNet", *_IMAGENET, "AlexNet, torchvision's names"),
    Entry("vgg16", "classic.VGG16", *_IMAGENET, "VGG-16, torchvision's names"),
    Entry("resnet18", "resnet.resnet18", *_IMAGENET, "ResNet-18, torchvision's names"),
    Entry("resnet34", "resnet.resnet34", *_IMAGENET, "ResNet-34, torchvision's names"),
    Entry("resnet50", "resnet.resnet50", *_IMAGENET, "ResNet-50 v1.5, torchvision's names"),
    Entry("mobilenet_v2", "mobilenet.MobileNetV2", *_IMAGENET, "MobileNetV2, torchvision's names"),
)

#: name -> network; the one list of what is shipped.
NETWORKS: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _TABLE})


def network(name: str) -> Entry:
    """The table's entry for `name`; ModelError lists the known names."""
    if is_topology(name):
        raise ModelError(
            f"{name} is a topology, layer shapes without weights; only simulate, compile, sweep "
            "and compare take it"
        )
    if name not in NETWORKS:
        raise ModelError(
            f"unknown network {name!r}; known are {', '.join(NETWORKS)}, and .onnx files"
        )
    return NETWORKS[name]
