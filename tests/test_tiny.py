"""A newcomer's door: the whole flow, from a trained network to cycles and predictions."""

import numpy as np

import flexhyca as fh
from flexhyca.config import Arithmetic
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.simulator.array.os_array import Flip, os_tile


def test_the_whole_flow():
    # An accelerator, a trained network, and real images that it has not seen.
    config = fh.load_config("flexhyca-32x32", ["dppu.size=64"])
    model = fh.load_model("digits")
    data = fh.load_data(model)

    # Integers, and the neurons that the DPPU shall compute a second time.
    network = fh.quantise(model, config, data)
    important = fh.select_important(fh.rank_neurons(model, data), network, config)

    # A program; it can be read, and assembles to the same bits.
    program = fh.compile(network, config, important)
    text = disassemble(program)
    assert "GEMM" in text
    np.testing.assert_array_equal(assemble(text).text, program.text)

    # Cycles, traffic and stalls of one inference; predictions of as many images as we like.
    images = fh.quantise_images(model, network, data.images)
    result = fh.simulate(program, images)
    right = (result.outputs.reshape(len(images), -1).argmax(1) == data.labels).mean()
    assert right > 0.97
    assert sum(result.stalls["array"].values()) + result.busy["array"] == result.cycles

    # The same values when every register of the array is stepped, and every byte is moved.
    exact = fh.simulate(program, images[:1], values="registers")
    np.testing.assert_array_equal(exact.outputs, result.outputs[:1])
    assert exact.cycles == result.cycles


def test_a_bit_flip_in_a_register():
    act = wgt = np.eye(8, 20, dtype=np.int8)
    tile = {"rows": 8, "cols": 8, "arithmetic": Arithmetic()}
    clean, cycles = os_tile(act, wgt, np.zeros(8, np.int32), **tile)
    flip = Flip(step=10, register="acc", row=3, col=4, bit=20)
    wrong, _ = os_tile(act, wgt, np.zeros(8, np.int32), **tile, flips=[flip])
    assert cycles == 20 + 2 * 8 + 8 - 2
    assert np.argwhere(clean != wrong).tolist() == [[3, 4]]
    assert wrong[3, 4] - clean[3, 4] == 2**20
