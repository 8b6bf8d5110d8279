"""Plans: every neuron once, everything fits, and no more is read than the loop order needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.mapping.plan import LayerRequest, plan_layer, tile_ids
from flexhyca.compiler.tiling.tiles import Geometry
from flexhyca.config import Arithmetic, load_config
from flexhyca.errors import CompileError
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.tests.support import machines, networks, same_conv

CONFIG = load_config("flexhyca-32x32")


def conv(h, w, cin, cout, kernel=1, groups=1, batch=1):
    layer = same_conv(kernel, groups=groups)
    return Geometry(layer, Tensor("x", h, w, cin, 1.0), Tensor("y", h, w, cout, 1.0), batch)


def planned(geometry, config=CONFIG):
    """The plan of a layer alone."""
    tensors = geometry.source, geometry.out
    network = Network("n", tensors, (geometry.layer,), {}, {}, config.arithmetic, 0, 1)
    return plan_layer(LayerRequest.of(network, 0, config, geometry.batch))


def _read(plan):
    """(input bytes, weight bytes) that a plan loads."""
    a = sum(s.a.nbytes for s in plan.fills if s.a)
    b = sum(s.b.weight_bytes for s in plan.fills if s.b)
    return a, b


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_tiles_cover_every_neuron_once_over_the_whole_reduction(data):
    config = data.draw(machines())
    network = data.draw(networks(config.arithmetic))
    batch = data.draw(st.integers(1, 3))
    for i, layer in enumerate(network.layers):
        try:
            request = LayerRequest.of(network, i, config, batch)
            plan = plan_layer(request)
        except CompileError:
            assert layer.op != LayerOp.CONV
            continue
        out = network.tensors[layer.output]
        seen = np.zeros((batch * out.h * out.w, out.c), int)
        depth = np.zeros_like(seen)
        operands = 2 if layer.op == LayerOp.ADD else 1
        inputs = max(operands * step.a.nbytes for step in plan.fills if step.a)
        held = max((step.b.nbytes for step in plan.fills if step.b), default=0)
        if shared := config.buffers.scratchpad_bytes:
            assert inputs + held <= shared // 2
        else:
            assert inputs <= config.buffers.ifmap_bytes // 2
            assert held <= config.buffers.weight_bytes // 2
        for step in plan.fills:
            for run in step.runs:
                for t in run.tiles:
                    where = np.s_[t.m0 : t.m0 + t.m, t.n0 : t.n0 + t.n]
                    assert t.m * t.n <= config.tile_words
                    seen[where] += run.last
                    depth[where] += run.nky * run.kcc * layer.kernel_w
        assert (seen == 1).all()
        if i in network.weights:
            packed = request.geometry.layer.packed
            assert (depth == packed * network.weights[i][0].size).all()


def test_a_layer_that_fits_is_read_once():
    a, b = _read(planned(conv(28, 28, 128, 256), CONFIG))
    assert (a, b) == (28 * 28 * 128, 128 * 256)


def test_the_loop_order_keeps_what_is_dearer_to_read_again():
    # 512 KiB of inputs, 4 MiB of weights: weights once, inputs once per block of weights.
    many_weights = planned(conv(16, 16, 2048, 2048), CONFIG)
    assert _read(many_weights)[1] == 2048 * 2048
    # Twelve blocks of weights, and a weight buffer smaller than the one of the inputs.
    small = load_config("flexhyca-32x32", ["buffers.weight_bytes=65536"])
    many_inputs = planned(conv(32, 32, 512, 768), small)
    assert _read(many_inputs)[0] == 32 * 32 * 512


def test_vgg16_fc6_is_cut_along_the_reduction():
    layer = Layer("fc6", LayerOp.CONV, 0, 1, kernel_h=7, kernel_w=7)
    geometry = Geometry(layer, Tensor("x", 7, 7, 512, 1.0), Tensor("y", 1, 1, 4096, 1.0), 1)
    plan = planned(geometry, CONFIG)
    # 784 KiB of weights a tile, half of the buffer is 256 KiB.
    assert (plan.chunk_ky, plan.chunk_c) != (7, 512)
    assert _read(plan) == (7 * 7 * 512, 25088 * 4096)


def test_a_batch_shares_the_weights():
    one, eight = (_read(planned(conv(7, 7, 512, 256, batch=n), CONFIG)) for n in (1, 8))
    assert eight[1] <= 2 * one[1]
    assert eight[0] == 8 * one[0]


def test_a_map_wider_than_the_buffer_is_cut_into_columns():
    plan = planned(conv(4, 2048, 128, 32), CONFIG)
    assert all(s.a is None or s.a.cols < 2048 for s in plan.fills)
    assert _read(plan) == (4 * 2048 * 128, 128 * 32)


def test_what_can_never_fit_is_said_in_one_line():
    config = load_config("base-32x32", ["buffers.weight_bytes=64", "array.rows=4", "array.cols=4"])
    geometry = conv(40, 40, 1, 1, kernel=31)
    with pytest.raises(CompileError) as error:
        planned(geometry, config)
    assert str(error.value) == (
        "layer conv: one kernel row of one channel does not fit half of the ifmap and weight "
        "buffers; enlarge buffers.ifmap_bytes or buffers.weight_bytes"
    )


def test_tile_ids_number_the_tiles():
    geometry = conv(8, 8, 16, 48)
    network = Network(
        "n", (geometry.source, geometry.out), (geometry.layer,), {}, {}, Arithmetic(), 0, 1
    )
    ids = tile_ids(network, 0, CONFIG)
    assert ids.shape == (8, 8, 48)
    assert sorted(np.unique(ids, return_counts=True)[1]) == [512, 512, 1024, 1024]
    assert len(np.unique(ids[:4, :, :32])) == 1
