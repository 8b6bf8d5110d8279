"""Synthetic rankings of neurons, for networks without trained weights.

Where important neurons lie decides what the DPPU costs: how many of them a tile has, and in how
many of its rows and columns.  `random_ranking` spreads them evenly; `clustered_ranking` crowds them
as a measured ranking does.  Both are cut by `ranking.select`, so the policies and their exact
counts are those of a measured one.

The clustering model.  A score is a sum of independent Gaussian effects, in each layer of unit
variance in all:

    score(y, x, c) = layer + sqrt(.46) channel(c) + sqrt(.36) map(y, x)
                     + sqrt(.09) own(c)(y, x) + sqrt(.09) noise(y, x, c)

`map` and `own` are smooth: before they are centred, their covariance at a distance of dy rows and
dx columns is exp(-dy / (0.8 h) - dx / (0.8 w)), h x w being the map.  `layer` has a standard
deviation of 0.7 and matters for the policy `global` alone.

All numbers are moments of the ranking of resnet20 (published weights, 256 CIFAR-10 images,
cross-entropy gradients), each layer's scores taken to normal by their rank.  Analysis of variance,
mean over the layers: channels 0.46 (0.11 to 0.85), positions 0.36 (0.08 to 0.76), rest 0.18.
Correlation of the positions' effect at 1/32, 1/8, 1/4 and 1/2 of the map: 0.88, 0.75, 0.46, 0.02
(the model's: 0.92, 0.70, 0.45, 0.11), the same at 32x32, 16x16 and 8x8: it scales with the map,
because objects fill the image.  The rest is about half as correlated, hence its two equal parts.
Layers' mean log scores differ by 0.7 of the standard deviation within a layer.

Nothing was fitted to tiles, so they are the check: 32x32 tiles of resnet20, measured | clustered
(mean of five seeds) | random.  `variance` is that of the count of important neurons in a layer's
full tiles, over that of independent draws; `excess` the share of important neurons beyond the first
52 of a tile; `rows` and `columns` of the tile that are touched, per important neuron.

    policy   s_th   variance           excess              rows                columns
    uniform  0.05   27 | 25 | 0.8      0.19 | 0.17 | 0.02  0.43 | 0.40 | 0.60  0.16 | 0.19 | 0.51
    uniform  0.1    40 | 37 | 0.9      0.42 | 0.38 | 0.22  0.33 | 0.29 | 0.40  0.13 | 0.14 | 0.30
    uniform  0.2    61 | 52 | 0.8      0.65 | 0.62 | 0.59  0.23 | 0.19 | 0.23  0.10 | 0.10 | 0.16
    global   0.05   16 | 19 | 0.8      0.45 | 0.40 | 0.02  0.29 | 0.31 | 0.60  0.11 | 0.15 | 0.50
    global   0.1    29 | 27 | 0.9      0.59 | 0.54 | 0.22  0.23 | 0.23 | 0.40  0.09 | 0.12 | 0.30
    tile     0.05    0 |  0 | 0        0    | 0    | 0     0.47 | 0.49 | 0.60  0.19 | 0.21 | 0.51

One seed differs from another by about a fifth in `variance` and a twentieth to an eighth in the
rest.  Simulated on flexhyca-32x32 (s_th 0.05, seeds 0 and 1): cycles over those of base-32x32 are
1.08 | 1.06, 1.07 | 1.00 under `uniform`, operand bytes of the DPPU over weight bytes 1.07 | 0.99,
1.05 | 0.18; under `tile` all agree.  Under `global` the model is a poor guide (cycles 1.05 | 1.25,
1.46 | 1.00): it favours layers at random, while in resnet20 the first three, whose reductions
are short, have 83 % of the important neurons.  For other networks and larger images the model is an
extrapolation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...network.layers import Network, Tensor
from .ranking import Ranking

CHANNEL, MAP, OWN, NOISE = 0.46, 0.36, 0.09, 0.09  # shares of a layer's variance
LAYER = 0.7  # standard deviation between layers, that within a layer being 1
#: Neurons that are ranked at once, 8 bytes each and a few copies; vgg16 has a tenth of them.
MOST_NEURONS = 1 << 27
_MOST_SIDE = 4096  # of a map whose covariance is taken apart: time grows with the third power
LENGTH = 0.8  # of the smooth effects, in sizes of the map

Scores = NDArray[np.float64]
_Draw = Callable[[Tensor, np.random.Generator], Scores]


def random_ranking(network: Network, seed: int = 0) -> Ranking:
    """Every neuron is equally likely to be important, whatever its neighbours are."""
    return _rank(network, seed, "random", lambda out, rng: rng.random((out.h, out.w, out.c)))


def clustered_ranking(network: Network, seed: int = 0) -> Ranking:
    """Important neurons crowd in some layers, channels and regions (the model of this module)."""
    return _rank(network, seed, "clustered", _clustered)


def _rank(network: Network, seed: int, kind: str, draw: _Draw) -> Ranking:
    """A layer's scores depend on the seed, its index and its shape only."""
    scores = {}
    neurons = 0
    for index in sorted(network.weights):
        layer = network.layers[index]
        out = network.tensors[layer.output]
        neurons += out.elements
        if neurons > MOST_NEURONS:
            raise ModelError(
                f"layer {layer.name}: {network.name} has {neurons} neurons up to here, at most "
                f"{MOST_NEURONS} are ranked; set protection.s_th to 0"
            )
        if kind == "clustered" and max(out.h, out.w) > _MOST_SIDE:
            raise ModelError(
                f"layer {layer.name}: a map of {out.h}x{out.w} is too large for placement "
                f"clustered, at most {_MOST_SIDE} a side; use placement random"
            )
        rng = np.random.default_rng([seed, index])
        scores[layer.name] = draw(network.tensors[layer.output], rng)
    return Ranking(f"{network.name} ({kind}, seed {seed})", scores, 0)


def _clustered(out: Tensor, rng: np.random.Generator) -> Scores:
    rows, cols = _factor(out.h), _factor(out.w)
    # a smooth process has part of its variance in its mean, which is no effect of positions
    left = 1 - float((rows.mean(0) ** 2).sum() * (cols.mean(0) ** 2).sum())

    def smooth(count: int) -> Scores:
        field = rows @ rng.standard_normal((count, rows.shape[1], cols.shape[1])) @ cols.T
        centred = field - field.mean((1, 2), keepdims=True)
        return np.asarray(centred / np.sqrt(max(left, 1e-9)))

    score = np.sqrt(CHANNEL) * rng.standard_normal((out.c, 1, 1)) + np.sqrt(MAP) * smooth(1)
    score = score + np.sqrt(OWN) * smooth(out.c)
    score += np.sqrt(NOISE) * rng.standard_normal(score.shape)
    if score.size > 1:
        score = (score - score.mean()) / score.std()
    return np.ascontiguousarray((score + LAYER * rng.standard_normal()).transpose(1, 2, 0))


@lru_cache(maxsize=64)
def _factor(size: int) -> Scores:
    """(size, modes): times white noise, a Gaussian process along one axis of a map.

    The square root of its covariance, without the modes of least variance.
    """
    at = (np.arange(size) + 0.5) / size
    values, vectors = np.linalg.eigh(np.exp(-np.abs(at[:, None] - at) / LENGTH))
    kept = values > 1e-3 * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
