"""Tiles of a program: their products, put together, are the layers' sums."""

import numpy as np
from hypothesis import given, settings

from flexhyca.network import fixedpoint as fx
from flexhyca.network import reference
from flexhyca.simulator.inject.tile_sums import Evaluator
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.simulator.test_values import cases
from flexhyca.tests.support import compiled, random_masks


@settings(max_examples=80, deadline=None)
@given(cases())
def test_tiles_cover_the_layers(case):
    network, config, _, inputs = case
    masks = random_masks(network, 0.3, 1) if config.dppu.size else None
    program = compiled(network, config, masks)
    spans, values = Spans(program), reference.run_network(network, inputs[:1])
    evaluate = Evaluator(spans)
    for index in network.weights:
        layer = network.layers[index]
        out, x = network.tensors[layer.output], values[layer.input]
        weight, bias = network.weights[index], network.biases[index]
        expected = reference.accumulate(x, layer, out, weight, bias)
        sums = np.full(expected.size, 1 << 40, np.int64)
        important = np.zeros(expected.size, bool)
        for span in spans.own[index]:
            r, c = np.indices((span.m, span.n)).reshape(2, -1)
            sums[spans.elements(span, r, c)] = evaluate.operands(span, x[0]).sums(r, c)
            important[spans.elements(span, *spans.important(span).T)] = True
        bits = network.arithmetic.acc_bits
        np.testing.assert_array_equal(
            fx.wrap(sums, bits).reshape(expected.shape), fx.wrap(expected, bits)
        )
        if masks is not None:
            np.testing.assert_array_equal(important, masks[index].ravel())
