"""Important neurons (paper, Algorithm 1): which outputs of conv and linear layers matter most.

A neuron is one output element of a convolution or linear layer, batch norm folded, before the
activation.  Its score is the sum over inputs of |d loss / d neuron|.  `rank` makes one pass over
the data; `select` cuts a `Ranking` at any share, without another pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.nn import functional as F

from ...config import Config, choices
from ...errors import ModelError, first_line
from ...files import reading
from ...given.arrays import given_scores
from ...network.layers import Network
from ...tables import complete
from ..data import Dataset, Images, normalise
from ..execute import graph_steps
from ..graph import OPS
from ..heap import trim
from ..mapping.plan import tile_ids
from ..model import Model

_FORMAT = "flexhyca-ranking-1"
_BATCH = 32
_NUMBERS = 1 << 25  # of all nodes, over a batch; two thirds live until the backward pass

Mask = NDArray[np.bool_]
LayerScores = Mapping[int, NDArray[np.float64]]  #: layer index -> (h, w, c)
TileNumbers = Mapping[int, NDArray[np.int64]]  #: layer index -> (h, w, c), tile numbers


@dataclass(frozen=True)
class Ranking:
    """scores : layer name -> float64 (h, w, c), in execution order; inputs : how many summed."""

    model: str
    scores: Mapping[str, NDArray[np.float64]]
    inputs: int

    @property
    def neurons(self) -> int:
        """Neurons of the whole network."""
        return sum(s.size for s in self.scores.values())

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; the order of layers is kept."""
        named = {f"{i:04d} {name}": s for i, (name, s) in enumerate(self.scores.items())}
        notes = {"format": _FORMAT, "model": self.model, "inputs": str(self.inputs)}
        save_file({k: np.ascontiguousarray(v) for k, v in named.items()}, path, metadata=notes)

    @staticmethod
    def load(path: str | Path) -> Ranking:
        """Read what `save` wrote; ModelError if it is something else."""
        try:
            with safe_open(reading(path), "numpy") as file:
                notes = file.metadata() or {}
                if notes.get("format") != _FORMAT:
                    raise ModelError(f"ranking {path}: format is not {_FORMAT}; rank it again")
                keys = sorted(file.keys())
                scores = {key.partition(" ")[2]: file.get_tensor(key) for key in keys}
                inputs = int(notes["inputs"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"ranking {path}: cannot be read: {first_line(error)}; rank it again"
            ) from error
        if any(s.dtype != np.float64 or s.ndim != 3 for s in scores.values()):
            raise ModelError(f"ranking {path}: scores are not float64 (h, w, c); rank it again")
        return Ranking(notes.get("model", "?"), scores, inputs)


def rank(model: Model, images: Images, labels: NDArray[np.int64] | None = None) -> Ranking:
    """Score every neuron: one forward and one backward pass a batch, in float32.

    images : u8 (n, h, w, c); labels : integers (n,), if known.

    The loss is the cross-entropy where labels are known, else the largest logit (of a map, that of
    every pixel; it has no labels).  It is summed over the batch and images do not meet in the
    network, so every image keeps its own gradient.  Absolute values are added up image by image,
    in float64.

    The last bits of a float32 gradient depend on the size of the batch.  So that they depend on the
    image alone, all batches of a model have one size; what is missing in the last is filled up.
    """
    data = Dataset("importance", images, None if model.classes is None else labels)
    data.check(model)
    nodes = [n for n in model.graph.nodes if OPS[n.op].neurons]
    totals = {n.name: torch.zeros(n.shape, dtype=torch.float64) for n in nodes}
    batch = _batch_size(model)
    for first in range(0, len(data), batch):
        _add_gradients(model, data[first : first + batch], batch, totals)
    trim()
    scores = {
        n: np.ascontiguousarray(t.reshape(t.shape[0], *(t.shape[1:] or (1, 1))).permute(1, 2, 0))
        for n, t in totals.items()
    }
    return Ranking(model.name, scores, len(data))


def _batch_size(model: Model) -> int:
    """Images at once: as many as keep activations and gradients to some hundred megabytes."""
    numbers = sum(math.prod(node.shape) for node in model.graph.nodes)
    return max(1, min(_BATCH, _NUMBERS // numbers))


def _add_gradients(
    model: Model, data: Dataset, batch: int, totals: Mapping[str, torch.Tensor]
) -> None:
    """Add to `totals` what the images of `data`, repeated until they are `batch`, have there.

    By hooks, so that neither a gradient nor a value that backward does not need outlives its turn.
    """

    def adder(total: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def add(gradients: torch.Tensor) -> None:
            for gradient in gradients[: len(data)]:
                total.add_(gradient.abs())

        return add

    filled = data.images[np.arange(batch) % len(data)]
    x = torch.from_numpy(normalise(filled, model.mean, model.std)).requires_grad_()
    for node, value in graph_steps(model.graph, x):
        if node.name in totals:
            value.register_hook(adder(totals[node.name]))  # type: ignore[no-untyped-call]
        if node.name == model.graph.output:
            logits = value[: len(data)]
    if data.labels is None:
        loss = logits.max(dim=1).values.sum()
    else:
        labels = np.ascontiguousarray(data.labels)
        loss = F.cross_entropy(logits.flatten(1), torch.from_numpy(labels), reduction="sum")
    torch.autograd.grad(loss, x)


def share_count(share: float, neurons: int) -> int:
    """How many of `neurons` are important at this share: the nearest integer, half rounds up."""
    return min(neurons, int(np.floor(share * neurons + 0.5)))


def _top(scores: NDArray[np.float64], wanted: int) -> Mask:
    """Where the `wanted` largest of the flat `scores` are; among equals the smaller index."""
    if not wanted:
        return np.zeros(len(scores), np.bool_)
    least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
    mask: Mask = scores > least
    equal = np.flatnonzero(scores == least)
    mask[equal[: wanted - np.count_nonzero(mask)]] = True
    return mask


def _layer_scores(ranking: Ranking, network: Network) -> dict[int, NDArray[np.float64]]:
    found: dict[int, NDArray[np.float64]] = {}
    for index in sorted(network.weights):
        layer = network.layers[index]
        out = network.tensors[layer.output]
        what = f"ranking of {ranking.model}: layer {layer.name}: its scores"
        own = ranking.scores.get(layer.name)
        own = None if own is None else given_scores(what, own)
        if own is None or own.shape != (out.h, out.w, out.c):
            raise ModelError(
                f"ranking of {ranking.model}: layer {layer.name} of {network.name} has neurons "
                f"{(out.h, out.w, out.c)}, the ranking has "
                f"{None if own is None else own.shape}; rank this network"
            )
        found[index] = own
    return found


def select(
    ranking: Ranking,
    network: Network,
    s_th: float,
    policy: str,
    tiles: TileNumbers | None = None,
) -> dict[int, Mask]:
    """Mark the important neurons: layer index -> bool (h, w, c), for every layer with weights.

    s_th : share of important neurons, 0..1.  Exactly `count(s_th, n)` neurons are marked
    policy : `global` of the whole network, `uniform` of each layer, `tile` of each tile.
    tiles : for `tile`, layer index -> integer (h, w, c), the tile that computes each neuron.
    Equal scores: the earlier layer, then the smaller flat (h, w, c) index is taken.
    """
    if not 0.0 <= s_th <= 1.0:
        raise ModelError(f"s_th={s_th} is not in 0..1")
    if policy not in _POLICIES:
        raise ModelError(f"s_policy={policy!r} is unknown; known are {', '.join(_POLICIES)}")
    scores = _layer_scores(ranking, network)
    return _POLICIES[policy](scores, network, s_th, tiles or {})


def _global(
    scores: LayerScores, network: Network, share: float, tiles: TileNumbers
) -> dict[int, Mask]:
    flat = np.concatenate([s.ravel() for s in scores.values()])
    chosen = _top(flat, share_count(share, flat.size))
    masks, first = {}, 0
    for index, own in scores.items():
        masks[index] = chosen[first : first + own.size].reshape(own.shape)
        first += own.size
    return masks


def _uniform(
    scores: LayerScores, network: Network, share: float, tiles: TileNumbers
) -> dict[int, Mask]:
    return {
        index: _top(own.ravel(), share_count(share, own.size)).reshape(own.shape)
        for index, own in scores.items()
    }


def _tile(
    scores: LayerScores, network: Network, share: float, tiles: TileNumbers
) -> dict[int, Mask]:
    masks = {}
    for index, own in scores.items():
        if index not in tiles or tiles[index].shape != own.shape:
            raise ModelError(
                f"s_policy=tile: layer {network.layers[index].name} needs a tile number for each "
                f"of its neurons {own.shape}"
            )
        masks[index] = _per_tile(own.ravel(), tiles[index].ravel(), share).reshape(own.shape)
    return masks


_POLICIES: dict[str, Callable[[LayerScores, Network, float, TileNumbers], dict[int, Mask]]] = {
    "global": _global,
    "uniform": _uniform,
    "tile": _tile,
}
complete(
    "protection.s_policy in config/schema.py",
    choices("protection.s_policy"),
    _POLICIES,
    "compiler/importance/ranking.py: _POLICIES",
)


def important_neurons(ranking: Ranking, network: Network, config: Config) -> dict[int, Mask]:
    """`select` with the share and policy of `config`; empty where it protects none."""
    protection = config.protection
    if protection.s_th == 0:
        return {}
    tiles = None
    if protection.s_policy == "tile":
        tiles = {i: tile_ids(network, i, config) for i in network.weights}
    return select(ranking, network, protection.s_th, protection.s_policy, tiles)


def _per_tile(scores: NDArray[np.float64], tile: NDArray[np.int64], share: float) -> Mask:
    """The same share of every tile: one sort by (tile, score, index), then a cut in each run."""
    order = np.lexsort((-scores, tile))  # stable: of equals the smaller index comes first
    _, starts, sizes = np.unique(tile[order], return_index=True, return_counts=True)
    mask = np.zeros(len(scores), np.bool_)
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        mask[order[start : start + share_count(share, size)]] = True
    return mask
