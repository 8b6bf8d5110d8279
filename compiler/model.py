"""`Model`: a float network ready to be quantised, whatever it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ..errors import ModelError
from ..given.arguments import Seed, checked_arguments
from ..given.arrays import given_numbers
from .graph import Graph, Shape

if TYPE_CHECKING:
    from torch import Tensor, nn


_MOST_INPUT = 1e6  # of an input; products of many layers have to be finite in float32
_LEAST_INPUT = 1e-30  # and steps of it, and of what is made of it, no zeros there


@dataclass(frozen=True)
class Model:
    """A float graph (batch norm folded) with what is needed to feed it.

    input_shape is (c, h, w); the graph's input is (pixels / 255 - mean) / std, channels first.
    `warnings` are lines that a report must show.
    """

    name: str
    graph: Graph
    mean: tuple[float, ...]
    std: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        c = self.input_shape[0]
        for title, given in (("mean", self.mean), ("std", self.std)):
            values = given_numbers(f"model {self.name}: {title}", given)
            object.__setattr__(self, title, values)
            if len(values) != c:
                raise ModelError(
                    f"model {self.name}: {title} has {len(values)} values for {c} input channel(s)"
                )
        if not all(map(math.isfinite, self.mean)):
            raise ModelError(f"model {self.name}: mean {self.mean} must be finite")
        if not all(0 < value < math.inf for value in self.std):
            raise ModelError(f"model {self.name}: std {self.std} must be positive")
        for mean, std in zip(self.mean, self.std, strict=True):
            if (1 + abs(mean)) / _MOST_INPUT > std:
                raise ModelError(
                    f"model {self.name}: mean {mean:g} and std {std:g} make inputs of up to "
                    f"{(1 + abs(mean)) / std if std * 1e300 > 1 + abs(mean) else math.inf:g}, more "
                    f"than {_MOST_INPUT:g}; both are of pixels / 255"
                )
            if (largest := max(abs(mean), abs(1 - mean)) / std) < _LEAST_INPUT:
                raise ModelError(
                    f"model {self.name}: std {std:g} makes inputs of at most {largest:g}, less "
                    f"than {_LEAST_INPUT:g}; mean and std are of pixels / 255"
                )

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        c, h, w = self.graph.input.shape
        return c, h, w

    @property
    def output_shape(self) -> Shape:
        """Of the output's map, (c, h, w), also where it is flattened at the end; or (classes,).

        Integers keep the axes of that map, channels last, since nothing is computed behind it.
        """
        node = self.graph.node(self.graph.output)
        while node.op == "flatten":
            node = self.graph.node(node.inputs[0])
        return node.shape

    @property
    def classes(self) -> int | None:
        """Number of classes; None where the output is a map, of which there is no one class."""
        c, *space = self.output_shape
        return c if math.prod(space) == 1 else None


def from_module(
    module: nn.Module,
    input_shape: tuple[int, int, int],
    *,
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    warnings: tuple[str, ...] = (),
    share: bool = False,
) -> Model:
    """Any torch module in evaluation mode as a `Model`; ModelError lists what is not supported.

    share : do not copy weights; right only for a module that nobody changes later.
    """
    import torch

    from .frontends.frontend_torch import from_torch
    from .passes import simplify

    graph = simplify(from_torch(module, torch.zeros(2, *input_shape), name, share=share))
    return Model(name, graph, mean, std, warnings)


def is_onnx(name: str | Path) -> bool:
    """Whether a model's name is the path of an ONNX file."""
    return str(name).lower().endswith(".onnx")


@overload
def load_model(
    source: str | Path,
    weights: str | Path | None = None,
    *,
    seed: Seed = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Model: ...


@overload
def load_model(
    source: nn.Module,
    weights: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> Model: ...


@checked_arguments
def load_model(
    source: str | Path | nn.Module,
    weights: str | Path | Tensor | None = None,
    *,
    seed: Seed = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> Model:
    """A network as a `Model`: a shipped one by name, an ONNX file, or a torch module.

        load_model("resnet20", "weights.npz")
        load_model("net.onnx", mean=(0.5,), std=(0.25,))
        load_model(module.eval(), torch.zeros(1, 3, 32, 32))

    weights : of a shipped network a checkpoint (safetensors, npz or torch); default the shipped
    ones, else random ones drawn from `seed`, with a warning in `Model.warnings`.  Of a module an
    example input, float32 (n, c, h, w), that fixes the input's size.
    mean, std : of pixels / 255, one number a channel; default those of the shipped network, else
    0 and 1.  name : of a module, default its class.
    Raises ModelError that lists the known names, or everything that is not supported.
    """
    if not isinstance(source, str | Path):
        return _from_example(source, weights, mean, std, name)
    if name is not None or not isinstance(weights, str | Path | None):
        raise ModelError(f"{source}: a name and an example belong to a torch module, not to a path")
    if is_onnx(source):
        if weights is not None:
            raise ModelError(f"{source}: an ONNX file holds its weights; leave out {weights}")
        from .frontends.frontend_onnx import from_onnx
        from .passes import simplify

        title, warnings = Path(source).name, list[str]()
        graph = simplify(from_onnx(source, title, warnings.append))
        return _model(title, graph, mean, std, tuple(warnings))
    return _shipped(str(source), weights, seed, mean, std)


def _model(
    name: str,
    graph: Graph,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    warnings: tuple[str, ...] = (),
) -> Model:
    """`graph` as a Model; without mean and std its input is pixels / 255."""
    channels = graph.input.shape[0]
    return Model(
        name,
        graph,
        (0.0,) * channels if mean is None else given_numbers(f"model {name}: mean", mean),
        (1.0,) * channels if std is None else given_numbers(f"model {name}: std", std),
        warnings,
    )


def _from_example(
    module: nn.Module,
    example: object,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    name: str | None,
) -> Model:
    import torch

    from .frontends.frontend_torch import from_torch
    from .passes import simplify

    title = name or type(module).__name__
    if not isinstance(example, torch.Tensor):
        raise ModelError(
            f"{title}: give an example input, such as torch.zeros(1, 3, 32, 32), as second argument"
        )
    if example.ndim != 4 or example.dtype != torch.float32 or not example.numel():
        raise ModelError(
            f"{title}: the example is {example.dtype} of shape {tuple(example.shape)}, wanted "
            "torch.float32 (n, c, h, w)"
        )
    return _model(title, simplify(from_torch(module, example, title)), mean, std)


def _shipped(
    name: str,
    weights: str | Path | None,
    seed: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Model:
    import torch

    from .networks import network
    from .networks.random_weights import draw_weights
    from .weights import load_weights, read_weights

    entry = network(name)
    with torch.device("meta"):  # torch's own initial values would be overwritten
        module = entry.build()
    warnings: tuple[str, ...] = ()
    path = weights or entry.weights_path
    if path is not None:
        load_weights(module, read_weights(path), Path(path).name)
    else:
        draw_weights(module.to_empty(device="cpu"), entry.input_shape, seed)
        warnings = (
            f"{entry.name}: seeded random weights (seed {seed}): accuracy means nothing; "
            "pass a checkpoint for real ones",
        )
    return from_module(
        module.eval(),
        entry.input_shape,
        name=entry.name,
        mean=entry.mean if mean is None else given_numbers(f"model {entry.name}: mean", mean),
        std=entry.std if std is None else given_numbers(f"model {entry.name}: std", std),
        warnings=warnings,
        share=True,  # vgg16 has half a gigabyte
    )
