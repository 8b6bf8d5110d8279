"""`Model`: a float network ready to be quantised, whatever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from .graph import Graph

if TYPE_CHECKING:
    from torch import nn


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
        for title, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != c:
                raise ModelError(
                    f"model {self.name}: {title} has {len(values)} values for {c} input channel(s)"
                )
        if min(self.std) <= 0:
            raise ModelError(f"model {self.name}: std {self.std} must be positive")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one image."""
        c, h, w = self.graph.input.shape
        return c, h, w


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

    from .frontend_torch import from_torch
    from .passes import simplify

    graph = simplify(from_torch(module, torch.zeros(2, *input_shape), name, share=share))
    return Model(name, graph, mean, std, warnings)


def load_model(name: str, weights: str | Path | None = None, *, seed: int = 0) -> Model:
    """The shipped network `name`; ModelError lists the known names.

    weights : a checkpoint (safetensors, npz or torch); default the shipped ones, else random ones
    drawn from `seed`, with a warning in `Model.warnings`.
    """
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
        mean=entry.mean,
        std=entry.std,
        warnings=warnings,
        share=True,  # vgg16 has half a gigabyte
    )
