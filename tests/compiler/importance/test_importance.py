"""Importance of neurons: gradients per input, and selections of exact size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flexhyca.compiler.data import Dataset, digits_dataset, normalise
from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.graph import Graph, Node
from flexhyca.compiler.importance.ranking import (
    Ranking,
    _batch_size,
    _top,
    rank,
    select,
    share_count,
)
from flexhyca.compiler.model import Model, load_model
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.config import Arithmetic
from flexhyca.errors import ModelError
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor

MODEL = load_model("digits")
DATA = digits_dataset("test")[:24]


@pytest.fixture(scope="module")
def ranking():
    return rank(MODEL, DATA.images, DATA.labels)


def test_scores_belong_to_the_layers_of_the_network(ranking):
    network = quantise_model(MODEL, DATA.images, arithmetic=Arithmetic(), q_scale=0)
    convs = [i for i, la in enumerate(network.layers) if la.op == LayerOp.CONV]
    assert list(ranking.scores) == [network.layers[i].name for i in convs]
    assert ranking.neurons == sum(network.neurons(i) for i in convs)
    assert ranking.inputs == 24
    masks = select(ranking, network, 0.1, "global")
    assert {i: m.shape for i, m in masks.items()} == {
        i: ranking.scores[network.layers[i].name].shape for i in convs
    }


def test_the_absolute_value_is_taken_per_input():
    """Two images whose gradients are opposite must not cancel; d CE / d logits = p - onehot."""
    eye = {"weight": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    nodes = (
        Node("x", "input", (), (2, 1, 1)),
        Node("f", "flatten", ("x",), (2,)),
        Node("l", "linear", ("f",), (2,), params=eye),
    )
    model = Model("net", Graph("net", nodes, "l"), (0.0, 0.0), (1.0, 1.0))
    images = np.zeros((2, 1, 1, 2), np.uint8)
    scores = rank(model, images, np.array([0, 1])).scores["l"]
    np.testing.assert_allclose(scores, [[[1.0, 1.0]]])
    # without labels: the larger logit itself
    images[0, ..., 1] = 255
    images[1, ..., 0] = 255
    np.testing.assert_allclose(rank(model, images).scores["l"], [[[1.0, 1.0]]])
    images[1, ..., 1] = 255
    images[1, ..., 0] = 0
    np.testing.assert_allclose(rank(model, images).scores["l"], [[[0.0, 2.0]]])


def test_a_score_is_how_far_the_loss_moves():
    """Finite differences in float64 at some neurons of the residual branch."""
    x = torch.from_numpy(normalise(DATA.images[:3], MODEL.mean, MODEL.std)).double()
    labels = torch.from_numpy(DATA.labels[:3])
    scores = rank(MODEL, DATA.images[:3], DATA.labels[:3]).scores["conv4"]

    def losses(place, step):
        _, values = run_graph(MODEL.graph, x, ["conv4", "max_pool2d"])
        y = values["conv4"].clone()
        y[:, place[2], place[0], place[1]] += step
        out = torch.relu(values["max_pool2d"] + y)
        out = torch.nn.functional.avg_pool2d(out, 2).flatten(1)
        params = MODEL.graph.node("fc").params
        out = out @ torch.from_numpy(params["weight"]).double().T + torch.from_numpy(params["bias"])
        return torch.nn.functional.cross_entropy(out, labels, reduction="none")

    for place in ((0, 0, 3), (1, 2, 7), (3, 3, 31), (2, 1, 16)):
        slope = (losses(place, 1e-5) - losses(place, -1e-5)) / 2e-5
        assert scores[place] == pytest.approx(float(slope.abs().sum()), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["digits", "resnet20"])
def test_what_an_image_adds_depends_on_nothing_else(name):
    """Not on its batch: the last, smaller batch goes through the kernels of the full ones."""
    model, data = MODEL, digits_dataset("test")[:50]
    if name == "resnet20":
        model = load_model(name)
        images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), np.uint8)
        data = Dataset("noise", images, None)

    def scores(part):
        return rank(model, part.images, part.labels).scores

    one, other, back = scores(data[:7]), scores(data[7:]), scores(data[::-1])
    for layer, whole in scores(data).items():
        assert whole.max() > 0
        np.testing.assert_allclose(one[layer] + other[layer], whole, rtol=1e-12)
        np.testing.assert_allclose(back[layer], whole, rtol=1e-12)


def test_batches_follow_the_size_of_the_maps():
    """Activations and gradients of VGG-16 take 0.1 GB an image."""
    sizes = {}
    for side in (2, 64, 512):
        nodes = (
            Node("x", "input", (), (3, side, side)),
            Node("a", "relu", ("x",), (3, side, side)),
            Node("b", "relu", ("a",), (3, side, side)),
        )
        model = Model("net", Graph("net", nodes, "b"), (0.0,) * 3, (1.0,) * 3)
        sizes[side] = _batch_size(model)
    assert sizes == {2: 32, 64: 32, 512: 14}


def test_rankings_are_saved_in_order(ranking, tmp_path):
    ranking.save(tmp_path / "r.safetensors")
    again = Ranking.load(tmp_path / "r.safetensors")
    assert (again.model, again.inputs) == ("digits", 24)
    assert list(again.scores) == list(ranking.scores)
    for name, scores in ranking.scores.items():
        assert np.array_equal(again.scores[name], scores)
    (tmp_path / "bad").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be read"):
        Ranking.load(tmp_path / "bad")


def network_of(shapes):
    """A network of which only the neurons matter."""
    tensors = [Tensor("x", 1, 1, 1, 1.0)]
    tensors += [Tensor(f"t{i}", *s, 1.0) for i, s in enumerate(shapes)]
    layers = tuple(Layer(f"l{i}", LayerOp.CONV, i, i + 1) for i in range(len(shapes)))
    weights = {i: np.zeros((s[2], 1, 1, 1), np.int8) for i, s in enumerate(shapes)}
    return Network("net", tuple(tensors), layers, weights, {}, Arithmetic(), 0, len(shapes))


@st.composite
def cases(draw):
    side = st.integers(1, 5)
    shapes = draw(st.lists(st.tuples(side, side, side), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    scores = {f"l{i}": rng.integers(0, 4, s).astype(np.float64) for i, s in enumerate(shapes)}
    tiles = {i: rng.integers(0, 3, s) for i, s in enumerate(shapes)}
    share = draw(st.floats(0, 1))
    return network_of(shapes), Ranking("net", scores, 1), tiles, share


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_the_top_is_that_of_a_stable_sort(values, data):
    scores = np.array(values, np.float64)
    wanted = data.draw(st.integers(0, len(scores)))
    sort = np.argsort(-scores, kind="stable")[:wanted]
    assert np.flatnonzero(_top(scores, wanted)).tolist() == sorted(sort)


def flat(values):
    return np.concatenate([np.ravel(v) for v in values])


@given(cases())
def test_selections_are_exact_and_take_the_largest(case):
    network, ranking, tiles, share = case
    units = {
        "global": np.zeros(ranking.neurons, int),
        "uniform": flat([np.full(s.size, i) for i, s in enumerate(ranking.scores.values())]),
        "tile": flat([t + 10 * i for i, t in tiles.items()]),
    }
    scores = flat(ranking.scores.values())
    for policy, unit in units.items():
        masks = select(ranking, network, share, policy, tiles)
        chosen = flat(masks.values())
        for u in np.unique(unit):
            inside = unit == u
            taken = np.flatnonzero(inside & chosen)
            left = np.flatnonzero(inside & ~chosen)
            assert len(taken) == int(np.floor(share * inside.sum() + 0.5))
            if len(taken) and len(left):
                # none left out is larger, and of equals the earlier ones are taken
                worst = min((scores[i], -i) for i in taken)
                best = max((scores[i], -i) for i in left)
                assert worst > best


def test_a_larger_share_keeps_what_a_smaller_one_chose(ranking):
    network = quantise_model(MODEL, DATA.images, arithmetic=Arithmetic(), q_scale=0)
    before = None
    for share in (0.0, 0.01, 0.05, 0.3, 1.0):
        masks = select(ranking, network, share, "global")
        assert sum(int(m.sum()) for m in masks.values()) == share_count(share, ranking.neurons)
        if before is not None:
            assert all((m | ~before[i]).all() for i, m in masks.items())
        before = masks


def test_wrong_requests_say_what_is_wrong():
    network = network_of([(1, 2, 3)])
    good = Ranking("net", {"l0": np.ones((1, 2, 3))}, 1)
    for kwargs, message in (
        ({"s_th": 1.5, "policy": "global"}, "s_th=1.5 is not in 0..1"),
        (
            {"s_th": 0.1, "policy": "some"},
            "s_policy='some' is unknown; known are global, uniform, tile",
        ),
        (
            {"s_th": 0.1, "policy": "tile"},
            "s_policy=tile: layer l0 needs a tile number for each of its neurons (1, 2, 3)",
        ),
    ):
        with pytest.raises(ModelError) as caught:
            select(good, network, **kwargs)
        assert str(caught.value) == message
    for scores in (np.ones((1, 2, 2)), np.full((1, 2, 3), np.nan)):
        with pytest.raises(ModelError, match="ranking of net: layer l0"):
            select(replace(good, scores={"l0": scores}), network, 0.1, "global")
