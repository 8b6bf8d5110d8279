"""Buffers above 4 MiB: blocks of that size, and addresses beyond."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.tiling.loads import ABlock, ifmap_loads
from flexhyca.config import Arithmetic, load_config
from flexhyca.isa.instructions import BY_NAME, Buffer
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import random_inputs


def linear(*channels: int) -> Network:
    """Linear layers, one after the other."""
    rng = np.random.default_rng(0)
    tensors = [Tensor(f"t{i}", 1, 1, c, 1.0) for i, c in enumerate(channels)]
    pairs = list(pairwise(channels))
    layers = [Layer(f"fc{i}", LayerOp.CONV, i, i + 1, shift=12) for i in range(len(pairs))]
    weights = {
        i: rng.integers(-128, 128, (out, 1, 1, c)).astype(np.int8)
        for i, (c, out) in enumerate(pairs)
    }
    biases = {i: rng.integers(-999, 999, out).astype(np.int32) for i, (_, out) in enumerate(pairs)}
    output = len(pairs)
    return Network(
        "linear", tuple(tensors), tuple(layers), weights, biases, Arithmetic(), 0, output
    )


def test_blocks_beyond_four_mebibytes_compute_what_they_should() -> None:
    network = linear(2048, 2600, 256)
    config = load_config(
        "base-32x32", [f"buffers.{b}_bytes={1 << 25}" for b in ("ifmap", "weight", "output")]
    )
    program = compile_network(network, config)
    c = program.columns
    weights = (c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == Buffer.WEIGHT)
    assert c["buf_addr"][weights].max() >= 1 << 24
    assert (c["buf_addr"] + c["row_bytes"])[weights].max() > 1 << 22
    images = random_inputs(network, 1, 1)
    fast, machine = (
        simulate(program, images, values=values).outputs for values in ("fast", "machine")
    )
    assert fast is not None
    np.testing.assert_array_equal(fast, machine)
    assert len(np.unique(fast)) > 50


def test_a_stride_that_has_no_bits_is_loaded_row_by_row() -> None:
    limit = BY_NAME["LOAD"].layout()["stride"][1].limit
    block = ABlock(row0=1, rows=3, row_step=1, col0=5, cols=2, col_step=1, c0=0, cc=1 << 10)
    for width in (2047, 2049):  # of rows of a little less and of more than the limit
        source = Tensor("wide", 8, width, 1 << 10, 1.0)
        loads = ifmap_loads(block, source)
        rows = [
            (load.offset + i * load.stride, load.row_bytes)
            for load in loads
            for i in range(load.rows)
        ]
        assert rows == [(((1 + y) * width + 5) << 10, 2 << 10) for y in range(3)]
        assert len(loads) == (1 if width << 10 <= limit else 3)
