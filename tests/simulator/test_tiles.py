"""Tiles of a program: their products, put together, are the layers' sums."""

import numpy as np
from hypothesis import given, settings

from flexhyca.isa import fixedpoint as fx
from flexhyca.isa import reference
from flexhyca.simulator.tiles import Tiles
from flexhyca.tests.simulator.test_values import cases
from flexhyca.tests.support import compiled, random_masks


@settings(max_examples=80, deadline=None)
@given(cases())
def test_tiles_cover_the_layers(case):
    network, config, _, inputs = case
    if config.array.dataflow != "os":
        return
    masks = random_masks(network, 0.3, 1) if config.dppu.size else None
    program = compiled(network, config, masks, len(inputs))
    tiles, values = Tiles(program), reference.run(network, inputs)
    for index in network.weights:
        layer = network.layers[index]
        out, x = network.tensors[layer.output], values[layer.input]
        weight, bias = network.weights[index], network.biases[index]
        expected = reference.accumulate(x, layer, out, weight, bias)
        sums = np.full(expected.size, 1 << 40, np.int64)
        important = np.zeros(expected.size, bool)
        for tile in tiles.of[index]:
            act, wgt = tiles.operands(tile, x), tiles.weights(tile)
            r, c = np.indices((tile.m, tile.n)).reshape(2, -1)
            product = act.astype(np.int64) @ wgt.T.astype(np.int64) + tiles.start(tile)
            sums[tiles.elements(tile, r, c)] = product.ravel()
            important[tiles.elements(tile, *tiles.important(tile).T)] = True
        bits = network.arithmetic.acc_bits
        np.testing.assert_array_equal(
            fx.wrap(sums, bits).reshape(expected.shape), fx.wrap(expected, bits)
        )
        if masks is not None:
            wanted = np.tile(masks[index].ravel(), len(inputs))
            np.testing.assert_array_equal(important, wanted)
