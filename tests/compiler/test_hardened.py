"""Channels are moved to hardened columns, and nothing but their places changes."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.hardened import hardened_places, neuron_places, weight_places
from flexhyca.config import Config
from flexhyca.config.mappings import WantedMapping
from flexhyca.errors import ConfigError, ProgramError
from flexhyca.isa.program_file import content_digest, from_parts, load, parts, save
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import (
    compiled,
    machines,
    networks,
    random_inputs,
    random_masks,
    small_config,
)


@st.composite
def hardened(draw, columns=None):
    """A small machine without a DPPU with some hardened columns, and the same without them."""
    config = draw(machines())
    values = config.model_dump()
    if config.dppu.size or not config.array.keeps_sums:
        values["dppu"]["size"] = 0
        values["array"] |= {"dataflow": "os", "overlapped_preload": False}
    values["protection"] |= {
        "hardened_cols": draw(st.sampled_from([1, 1, 1, 2, 3, 7])) if columns is None else columns,
        "ib_th": draw(st.integers(1, 3)),
        "nb_th": draw(st.integers(0, 1)),
        "s_th": 0.1,
        "pe_policy": draw(st.sampled_from(["direct", "configurable"])),
    }
    return Config.model_validate(values)


@st.composite
def chains(draw, arithmetic):
    """Networks most of whose tensors may move: the channels of none are cut or grouped."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, c, between = (int(rng.integers(low, high)) for low, high in ((2, 6), (1, 7), (0, 4)))
    tensors, layers, weights, biases = [Tensor("input", size, size, c, 1.0)], [], {}, {}
    inner = rng.choice(["conv", "same", "depthwise", "pool"], between)
    for i, kind in enumerate(["conv", *inner, "conv"]):
        out = int(rng.integers(3, 13)) if kind == "conv" else tensors[-1].c
        kernel, groups = (1, 1) if kind == "pool" else (3, out if kind == "depthwise" else 1)
        tensors.append(Tensor(f"t{i}", size, size, out, 1.0))
        own = {"kernel_h": kernel, "kernel_w": kernel, "groups": groups}
        own |= {"pad_top": kernel // 2, "pad_left": kernel // 2}
        if kind == "same" and i > 0:
            own |= {"residual": i, "shift": 7}
        op = LayerOp.MAXPOOL if kind == "pool" else LayerOp.CONV
        layers.append(Layer(f"{kind}{i}", op, i, i + 1, **own))
        if op == LayerOp.CONV:
            shape = out, kernel, kernel, tensors[i].c // groups
            weights[i] = rng.integers(-128, 128, shape).astype(np.int8)
            biases[i] = rng.integers(-999, 999, out).astype(np.int32)
    return Network(
        "chain", tuple(tensors), tuple(layers), weights, biases, arithmetic, 0, len(layers)
    )


def without(config):
    protection = config.protection.model_copy(update={"hardened_cols": 0, "s_th": 0.0})
    return config.model_copy(update={"protection": protection})


@settings(max_examples=40, deadline=None)
@given(hardened(), st.data())
def test_nothing_else_changes(tmp_path_factory, config, data):
    network = data.draw(chains(config.arithmetic) | networks(config.arithmetic))
    masks = random_masks(
        network, data.draw(st.sampled_from([0.1, 0.5])), data.draw(st.integers(0, 9))
    )
    batch = data.draw(st.integers(1, 2))
    moved = compiled(network, config, masks, batch)
    plain = compiled(network, without(config), None, batch)
    images = random_inputs(network, batch, 3)
    one, other = simulate(moved, images, values="registers"), simulate(plain, images)
    np.testing.assert_array_equal(one.outputs, other.outputs)
    np.testing.assert_array_equal(one.outputs, simulate(moved, images).outputs)
    assert one.cycles == other.cycles
    assert one.dram == other.dram
    event(f"tensors moved: {min(2, sum(bool(t.order) for t in moved.network.tensors))}")
    path = tmp_path_factory.mktemp("p") / "a.fhx"
    save(moved, path)
    assert content_digest(load(path)) == content_digest(moved)
    assert load(path).network.tensors == moved.network.tensors


@settings(max_examples=40, deadline=None)
@given(hardened(), st.data())
def test_words_of_the_model_are_found_again(config, data):
    network = data.draw(chains(config.arithmetic) | networks(config.arithmetic))
    moved = compiled(network, config, random_masks(network, 0.3, 1)).network
    packed = compiled(network, without(config), None).network
    for i, weights in packed.weights.items():
        out = network.tensors[network.layers[i].output]
        at = weight_places(moved, i)
        assert np.array_equal(np.sort(at), np.arange(weights.size))
        np.testing.assert_array_equal(moved.weights[i].ravel()[at], weights.ravel())
        channels = np.tile(np.arange(out.c), out.h * out.w)
        order = moved.tensors[network.layers[i].output].order or tuple(range(out.c))
        assert np.array_equal(np.array(order)[neuron_places(moved, i) % out.c], channels)
        assert np.array_equal(
            neuron_places(moved, i) // out.c, np.repeat(np.arange(out.h * out.w), out.c)
        )


def chain(*channels, residual=False):
    """1x1 convolutions of so many channels; the last adds what the first one made."""
    rng = np.random.default_rng(0)
    tensors = [Tensor(f"t{i}", 2, 2, c, 1.0) for i, c in enumerate(channels)]
    layers = [Layer(f"conv{i}", LayerOp.CONV, i, i + 1) for i in range(len(channels) - 1)]
    if residual:
        layers[-2] = dataclasses.replace(layers[-2], residual=1)
    weights = {
        i: rng.integers(-9, 9, (channels[i + 1], 1, 1, channels[i])).astype(np.int8)
        for i in range(len(layers))
    }
    biases = {i: np.zeros(len(w), np.int32) for i, w in weights.items()}
    arithmetic = small_config().arithmetic
    return Network(
        "chain", tuple(tensors), tuple(layers), weights, biases, arithmetic, 0, len(layers)
    )


def counts(network, seed):
    """Important neurons: a random number in each channel."""
    rng = np.random.default_rng(seed)
    found = {}
    for i, layer in enumerate(network.layers):
        out = network.tensors[layer.output]
        found[i] = np.arange(4)[:, None] < rng.integers(0, 5, out.c)
        found[i] = found[i].reshape(2, 2, out.c)
    return found


def config_of(columns, *more):
    return small_config(
        "dppu.size=0", "protection.s_th=0.1", f"protection.hardened_cols={columns}", *more
    )


def gain(network, program, masks):
    """Important neurons in hardened columns, of all layers."""
    columns, total = program.config.protection.hardened_cols, 0
    for i, layer in enumerate(program.network.layers):
        out = program.network.tensors[layer.output]
        order = np.array(out.order or range(out.c))
        tiles = {(n0, min(4, out.c - n0)) for n0 in range(0, out.c, 4)}
        places = hardened_places(sorted(tiles), columns, out.c)
        total += int(masks[i].sum((0, 1))[order[places]].sum())
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("residual", [False, True])
def test_as_many_as_can_be(seed, residual):
    """The best of all orders, of all tensors that may have one."""
    network = chain(3, 5, 5, 2, residual=residual)
    config = config_of(1, "array.rows=4", "array.cols=4")
    masks = counts(network, seed)
    program = compile_network(network, config, masks, wanted={"*": WantedMapping(cols=4)})
    places = [0, 4]  # of five channels in tiles of four
    worth = [masks[i].sum((0, 1)) for i in range(3)]
    fixed = worth[2][0]  # the network's output keeps its order
    if residual:  # one order for both
        best = max(
            sum(worth[0][list(c)]) + sum(worth[1][list(c)])
            for c in itertools.combinations(range(5), len(places))
        )
    else:
        best = sum(sum(sorted(w)[-2:]) for w in worth[:2])
    assert gain(network, program, masks) == best + fixed


def test_a_machine_that_cannot_have_them():
    for more, field in (
        (["dppu.size=8"], "hardened_cols"),
        (["array.dataflow=ws"], "hardened_cols"),
        (["protection.redundancy=space"], "hardened_cols"),
        (["protection.ib_th=0", "protection.nb_th=1"], "ib_th"),
        (["protection.pe_policy=none", "protection.nb_th=0"], "hardened_cols"),
    ):
        with pytest.raises(ConfigError, match=field):
            small_config("dppu.size=0", "protection.hardened_cols=2", *more)


def test_an_order_that_is_none():
    program = compile_network(chain(3, 5, 2), config_of(1), counts(chain(3, 5, 2), 0))
    tensors, meta = parts(program)
    for orders in ("[[], [0, 1, 2, 3, 3], []]", "[[], [0]]", "[[1, 2, 0, 3], [], []]"):
        with pytest.raises(ProgramError, match="order"):
            from_parts(tensors, meta | {"orders": orders}, "here")
    with pytest.raises(ProgramError, match="malformed"):
        from_parts(tensors, meta | {"orders": '["ab", 3]'}, "here")
