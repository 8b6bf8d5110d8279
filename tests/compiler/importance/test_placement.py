"""Placement without trained weights: exact counts, seeds, and crowding like the measured one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from flexhyca.compiler.data import load_dataset
from flexhyca.compiler.frontends.topology import TopologyRow, network_of
from flexhyca.compiler.importance.placement import (
    LAYER,
    MAP,
    NOISE,
    OWN,
    clustered_ranking,
    random_ranking,
)
from flexhyca.compiler.importance.ranking import (
    Ranking,
    rank,
    select,
    share_count,
)
from flexhyca.compiler.mapping.plan import tile_ids
from flexhyca.compiler.model import load_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import Arithmetic, load_config
from flexhyca.network.layers import Network

DATA = os.environ.get("FLEXHYCA_DATA")
RANKINGS = [random_ranking, clustered_ranking]


@pytest.fixture(scope="module")
def resnet20() -> Network:
    return shapes_of(load_model("resnet20"), Arithmetic())


@pytest.fixture(scope="module")
def tiles(resnet20: Network) -> dict[int, np.ndarray]:
    return {i: tile_ids(resnet20, i, load_config()) for i in resnet20.weights}


def one_layer(h: int, w: int, c: int) -> Network:
    return network_of((TopologyRow("conv", h, w, 1, 1, 3, c, 1),), "one", Arithmetic())


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("s_th", [0.0, 0.013, 0.05, 0.4, 1.0])
def test_counts_are_exact(resnet20, tiles, ranking, s_th):
    made = ranking(resnet20, 3)
    total = sum(resnet20.neurons(i) for i in resnet20.weights)
    masks = {p: select(made, resnet20, s_th, p, tiles) for p in ("global", "uniform", "tile")}
    assert sum(int(m.sum()) for m in masks["global"].values()) == share_count(s_th, total)
    for i in resnet20.weights:
        assert masks["uniform"][i].sum() == share_count(s_th, resnet20.neurons(i))
        sizes = np.bincount(tiles[i].ravel())
        found = np.bincount(tiles[i].ravel(), weights=masks["tile"][i].ravel())
        assert found.tolist() == [share_count(s_th, int(n)) for n in sizes]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_scores_depend_on_the_seed_and_the_layer_only(resnet20, ranking):
    a, b, other = ranking(resnet20, 1), ranking(resnet20, 1), ranking(resnet20, 2)
    for name, scores in a.scores.items():
        assert np.array_equal(scores, b.scores[name])
        assert not np.array_equal(scores, other.scores[name])
        assert np.isfinite(scores).all()
    rows = tuple(TopologyRow(f"c{i}", 8, 6, 3, 3, 4, 16, 1) for i in range(3))
    long, short = (ranking(network_of(r, "n", Arithmetic()), 1) for r in (rows, rows[:1]))
    assert np.array_equal(long.scores["c0"], short.scores["c0"])
    assert not np.array_equal(long.scores["c0"], long.scores["c1"])


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 10), (1, 7, 1), (5, 1, 3), (2, 2, 2)])
def test_any_shape(ranking, shape):
    scores = ranking(one_layer(*shape)).scores["conv"]
    assert scores.shape == shape
    assert np.isfinite(scores).all()


def variances(scores: np.ndarray) -> tuple[float, float, float]:
    """Variance of channels, of positions, and the rest."""
    channel, place = scores.mean((0, 1)), scores.mean(2)
    rest = scores - channel - place[..., None]
    return float(channel.var()), float(place.var()), float(rest.var())


def test_the_model_has_the_shares_that_it_states():
    network = one_layer(16, 16, 64)
    drawn = [clustered_ranking(network, seed).scores["conv"] for seed in range(60)]
    channel, place, rest = np.mean([variances(s) for s in drawn], axis=0)
    assert channel + place + rest == pytest.approx(1)
    assert place == pytest.approx(MAP, abs=0.08)
    assert rest == pytest.approx(OWN + NOISE, abs=0.03)
    assert np.std([s.mean() for s in drawn]) == pytest.approx(LAYER, rel=0.3)


def test_smoothness_scales_with_the_map():
    wanted = {1 / 8: 0.70, 1 / 4: 0.45, 1 / 2: 0.11}
    for size in (8, 32):
        network = one_layer(size, size, 64)
        found = dict.fromkeys(wanted, 0.0)
        power = 0.0
        for seed in range(100):
            field = clustered_ranking(network, seed).scores["conv"].mean(2)
            field = field - field.mean()
            power += float((field**2).mean())
            for distance in wanted:
                d = int(size * distance)
                found[distance] += float((field[d:] * field[:-d]).mean())
        for distance, correlation in wanted.items():
            assert found[distance] / power == pytest.approx(correlation, abs=0.12)


def crowding(network, tiles, ranking, s_th, policy="uniform"):
    """Variance of a full tile's count over that of independent draws; share beyond 52 a tile."""
    ratios, excess, total = [], 0.0, 0.0
    for i, mask in select(ranking, network, s_th, policy, tiles).items():
        sizes = np.bincount(tiles[i].ravel())
        counts = np.bincount(tiles[i].ravel(), weights=mask.ravel())
        share, full = mask.mean(), sizes == sizes.max()
        if full.sum() > 3 and 0 < share < 1:
            ratios.append(counts[full].var() / (sizes.max() * share * (1 - share)))
        excess += np.maximum(counts - 52, 0).sum()
        total += counts.sum()
    return np.mean(ratios), excess / total


def test_clustered_crowds_and_random_does_not(resnet20, tiles):
    seeds = range(5)
    spread, excess = np.mean(
        [crowding(resnet20, tiles, random_ranking(resnet20, s), 0.05) for s in seeds], axis=0
    )
    assert spread == pytest.approx(0.8, abs=0.25)
    assert excess < 0.04
    spread, excess = np.mean(
        [crowding(resnet20, tiles, clustered_ranking(resnet20, s), 0.05) for s in seeds], axis=0
    )
    assert 15 < spread < 40
    assert 0.12 < excess < 0.25


@pytest.mark.skipif(not DATA, reason="FLEXHYCA_DATA does not name a folder with CIFAR-10")
@pytest.mark.parametrize("policy", ["uniform", "global"])
def test_crowding_is_that_of_the_measured_ranking(resnet20, tiles, policy):
    model = load_model("resnet20", Path(DATA) / "w_cifar10_resnet20_fp32.npz")
    data = load_dataset(Path(DATA) / "cifar10_test_jpeg_1000.npz")
    real: Ranking = rank(model, data.images[:256], data.labels[:256])
    for s_th in (0.05, 0.1, 0.2):
        spread, excess = crowding(resnet20, tiles, real, s_th, policy)
        made = [
            crowding(resnet20, tiles, clustered_ranking(resnet20, s), s_th, policy)
            for s in range(5)
        ]
        assert np.mean([m[0] for m in made]) == pytest.approx(spread, rel=0.35)
        assert np.mean([m[1] for m in made]) == pytest.approx(excess, rel=0.2)
