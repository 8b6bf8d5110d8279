"""What the float network does on the calibration images: ranges, and rows at sampled positions.

A row is one position (image, y, x) of a map with all its channels.  Maps of one size share their
positions, so rows of a convolution, of its residual and of its output belong together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...network.arrays import I64
from ...network.layers import Layer
from ..execute import graph_steps
from ..graph import Graph


@dataclass
class Stats:
    """Of one value: `rows` float32 (positions, c), smallest and largest number over all images."""

    rows: Tensor
    lo: float
    hi: float


class Positions:
    """Sampled positions of maps, the same for every map of one size; deterministic."""

    def __init__(self, images: int, limit: int) -> None:
        self.images, self.limit = images, limit
        self._cache: dict[tuple[int, int], tuple[I64, I64, I64]] = {}

    def at(self, h: int, w: int) -> tuple[I64, I64, I64]:
        """(image, y, x) of the sampled positions, each int64 (positions,), images ascending."""
        if (h, w) not in self._cache:
            total = self.images * h * w
            if total <= self.limit:
                flat = np.arange(total)
            else:  # one in each of `limit` equal parts, so that every image is represented
                edges = np.linspace(0, total, self.limit + 1).astype(np.int64)
                draw = np.random.default_rng(0).random(self.limit)
                flat = edges[:-1] + (draw * np.diff(edges)).astype(np.int64)
            image, rest = np.divmod(flat, h * w)
            self._cache[h, w] = (image, rest // w, rest % w)
        return self._cache[h, w]

    def rows(self, value: Tensor, first: int = 0) -> Tensor:
        """Rows of `value` (n, h, w, c), which holds the images first .. first + n - 1."""
        n, h, w, _ = value.shape
        image, y, x = self.at(h, w)
        mine = self.of(h, w, first, n)
        return value[image[mine] - first, y[mine], x[mine]]

    def of(self, h: int, w: int, first: int, n: int) -> slice:
        """Which of the positions are in the images first .. first + n - 1."""
        return slice(*np.searchsorted(self.at(h, w)[0], [first, first + n]))

    def windows(self, value: Tensor, layer: Layer, out: tuple[int, int], most: int) -> Tensor:
        """What the sampled outputs read: float32 (groups, positions, kh*kw*in_c/groups).

        value : int8 (n, h, w, c) with all images.  Positions beyond `most` numbers are left out
        evenly (`thin`).
        """
        _, h, w, c = value.shape
        taps = layer.kernel_h * layer.kernel_w
        image, y, x = (p[:: self.thin(out, taps * c, most)] for p in self.at(*out))
        iy = y[:, None] * layer.stride_h + np.arange(layer.kernel_h) * layer.dilation_h
        ix = x[:, None] * layer.stride_w + np.arange(layer.kernel_w) * layer.dilation_w
        iy, ix = iy - layer.pad_top, ix - layer.pad_left
        inside = ((iy >= 0) & (iy < h))[:, :, None] & ((ix >= 0) & (ix < w))[:, None, :]
        part = value.numpy()[
            image[:, None, None], iy.clip(0, h - 1)[:, :, None], ix.clip(0, w - 1)[:, None, :]
        ]
        part[~inside] = 0
        part = part.astype(np.float32)
        grouped = part.reshape(len(image), taps, layer.groups, c // layer.groups)
        return torch.from_numpy(
            np.ascontiguousarray(grouped.transpose(2, 0, 1, 3)).reshape(
                layer.groups, len(image), -1
            )
        )

    def thin(self, out: tuple[int, int], numbers: int, most: int) -> int:
        """Every how-manieth position to use, when one takes `numbers` numbers of `most`."""
        return max(1, -(-len(self.at(*out)[0]) * numbers // most))


def measure(
    graph: Graph,
    batches: Iterable[NDArray[np.float32]],
    shapes: Mapping[str, tuple[int, int, int]],
    wanted: Collection[str],
    positions: Positions,
) -> dict[str, Stats]:
    """Statistics of the named nodes over all float32 images (n, c, h, w) of these batches.

    shapes : (h, w, c) that each value has as a map (a vector may be a flattened map).
    positions : of the first images; there may be more, whose numbers count for the range only.
    """
    stats: dict[str, Stats] = {}
    for name in wanted:  # all at once: small blocks among those of the maps would pin their memory
        h, w, c = shapes[name]
        stats[name] = Stats(torch.empty(len(positions.at(h, w)[0]), c), math.inf, -math.inf)
    first = 0
    with torch.no_grad():
        for x in batches:
            for node, value in graph_steps(graph, torch.from_numpy(x)):
                own = stats.get(node.name)
                if own is None:
                    continue
                h, w, c = shapes[node.name]
                value = value.reshape(-1, c, h, w).permute(0, 2, 3, 1)
                own.rows[positions.of(h, w, first, len(x))] = positions.rows(value, first)
                own.lo, own.hi = min(own.lo, float(value.min())), max(own.hi, float(value.max()))
            first += len(x)
    return stats
