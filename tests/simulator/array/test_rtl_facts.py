"""What flips do on an independent RTL array of 8 x 8 PEs (Icarus), seen here as well.

All operands are odd and the stored byte is the low one, so that no difference is ever masked: what
a flip reaches is what changes.  Every fact is checked in both fault executions.
"""

import numpy as np
import pytest

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Arithmetic, load_config
from flexhyca.faults.campaign.statistics import wilson
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.array.timing import fold_cycles, os_tile_cycles
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import Site

SIDE, K = 8, 8


def array(dataflow="os", pixels=SIDE, channels=SIDE, k=K):
    """A run of one product (pixels x k) . (k x channels), all odd, on an 8 x 8 array."""
    rng = np.random.default_rng(1)
    weights = rng.integers(-4, 4, (channels, 1, 1, k)) * 2 + 1
    image = rng.integers(-4, 4, (1, pixels, k)) * 2 + 1
    network = Network(
        "product",
        (Tensor("x", 1, pixels, k, 1.0), Tensor("y", 1, pixels, channels, 1.0)),
        (Layer("gemm", LayerOp.CONV, 0, 1),),
        {0: weights.astype(np.int8)},
        {0: np.zeros(channels, np.int32)},
        Arithmetic(),
        0,
        1,
    )
    overrides = [f"array.rows={SIDE}", f"array.cols={SIDE}", f"array.dataflow={dataflow}"]
    program = compile_network(network, load_config("base-32x32", overrides))
    return FaultRun(program, image.astype(np.int8))


def reached(run, register, cycle, row, col, bit=0, both=True):
    """(pixel, channel) of all outputs that the flip changes."""
    unit = "array" if run.program.config.array.dataflow == "os" else "array_ws"
    site = Site("gemm", 0, cycle, row, col, register, bit, unit=unit)
    output = run.run([site]).output
    if both:
        np.testing.assert_array_equal(output, run_reference(run.program, run.image, [site]).output)
    return {(p, n) for _, p, n in np.argwhere(output != run.golden).tolist()}


@pytest.mark.parametrize("bit", [0, 7])
def test_os_an_activation_corrupts_its_row_from_there_on(bit):
    run = array()
    row, col = 3, 4
    hit = {(row, c) for c in range(col, SIDE)}
    for cycle in range(os_tile_cycles(K, SIDE, SIDE)):
        # Operand k is latched at step k + 3 + 4, and read in the next one.
        active = row + col + 1 <= cycle < row + col + 1 + K
        assert reached(run, "act", cycle, row, col, bit) == (hit if active else set()), cycle


@pytest.mark.parametrize("bit", [0, 7])
def test_os_a_weight_corrupts_its_column_from_there_on(bit):
    run = array()
    row, col = 3, 4
    hit = {(r, col) for r in range(row, SIDE)}
    for cycle in range(os_tile_cycles(K, SIDE, SIDE)):
        active = row + col + 1 <= cycle < row + col + 1 + K
        assert reached(run, "wgt", cycle, row, col, bit) == (hit if active else set()), cycle


def test_os_a_sum_corrupts_its_own_output_in_every_cycle_until_it_leaves():
    run = array()
    row, col = 3, 4
    total = os_tile_cycles(K, SIDE, SIDE)
    for cycle in range(total):
        held = cycle <= total - SIDE + row
        assert reached(run, "acc", cycle, row, col) == ({(row, col)} if held else set()), cycle


def test_ws_an_activation_corrupts_one_pixel_from_there_on():
    run = array("ws", pixels=12)
    found = [reached(run, "act", t, 2, 3) for t in range(fold_cycles(12, SIDE, SIDE))]
    hits = [{(pixel, n) for n in range(3, SIDE)} for pixel in range(12)]
    assert [f for f in found if f] == hits  # one pixel after the other, and nothing else


def test_ws_a_sum_corrupts_one_output():
    run = array("ws", pixels=12)
    found = [reached(run, "psum", t, 2, 3) for t in range(fold_cycles(12, SIDE, SIDE))]
    assert [f for f in found if f] == [{(pixel, 3)} for pixel in range(12)]


def test_ws_a_latched_weight_corrupts_the_column_until_it_is_loaded_again():
    """Of 16 channels the second eight have weights of their own: the same PE, loaded again."""
    run = array("ws", pixels=12, channels=2 * SIDE)
    found = [reached(run, "wgt", t, 2, 3) for t in range(fold_cycles(12, SIDE, SIDE))]
    column = [(pixel, 3) for pixel in range(12)]
    hits = [f for f in found if f]
    # Latched before the stream it is wrong for all pixels, later for those that are still to come.
    first = len(hits) - 11
    assert first >= 1
    assert hits == [set(column)] * first + [set(column[p:]) for p in range(1, 12)]
    assert not any(found[-SIDE:])


def test_about_one_random_flip_in_five_is_live():
    run, rng = array(k=6), np.random.default_rng(7)
    cycles, trials = os_tile_cycles(6, SIDE, SIDE), 1000
    live = 0
    for _ in range(trials):
        cycle, row, col = rng.integers(cycles), rng.integers(SIDE), rng.integers(SIDE)
        register = str(rng.choice(["act", "wgt"]))
        live += bool(reached(run, register, int(cycle), int(row), int(col), both=False))
    low, high = wilson(live, trials, 0.999)
    assert low < 6 / cycles < high
    assert 0.15 < live / trials < 0.25
