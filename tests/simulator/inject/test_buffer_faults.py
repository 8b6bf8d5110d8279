"""Wrong words of buffers: who reads them, until when, and what that means for the sums."""

import dataclasses

import numpy as np
import pytest

from flexhyca.config.mappings import WantedMapping
from flexhyca.isa.instructions import BY_NAME, Buffer, Engine
from flexhyca.network import reference
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import ALL, EVERY, Site
from flexhyca.tests.support import (
    FULL_TILES,
    REDUNDANT,
    STATIONARY,
    compiled,
    one_conv,
    random_inputs,
    small_config,
    with_redundancy,
)


def run_of(config, masks=None, **conv):
    program = compiled(one_conv(**conv), config, masks, wanted=FULL_TILES)
    return FaultRun(program, random_inputs(program.network, 1, 0)[0])


def loaded(run, buffer):
    """The first byte that the first LOAD into a buffer writes."""
    c = run.program.columns
    loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == buffer)
    return int(c["buf_addr"][np.flatnonzero(loads)[0]])


def weight_byte(run, channel, k):
    """Where a weight of the first tile lies; the biases of a block lie before its weights."""
    gemm = run.spans.all[0].gemms[0]
    window = run.reads._window(1, gemm)
    return window["b_base"] + channel * run.evaluate.depth(run.spans.all[0]) + k


def test_a_weight_is_wrong_from_the_cycle_of_its_flip_on():
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    network, depth = run.network, run.evaluate.depth(run.spans.all[0])
    assert len(run.spans.all) == 1
    for k in (0, depth // 2, depth - 1):
        word = weight_byte(run, 2, k)
        before, after = (
            run.run([Site("conv", 0, cycle, word, 0, "weight", 6, unit="buffer")])
            for cycle in (k, k + 1)
        )
        assert after.masked == "idle"  # the operand has been read
        weights = network.weights[0].copy()
        weights.reshape(4, -1)[2, k] ^= 64
        wrong = dataclasses.replace(network, weights={0: weights})
        expected = reference.run_network(wrong, run.image[None])[network.output][0]
        np.testing.assert_array_equal(before.output, expected)


@pytest.mark.parametrize("dataflow", STATIONARY)
def test_a_fold_still_reads_while_the_next_one_is_preloaded(dataflow):
    """16 vectors, 4 columns: the next fold begins 17 steps later, this one reads until step 19."""
    config = small_config(
        f"array.dataflow={dataflow}",
        "array.overlapped_preload=true",
        "buffers.output_bytes=2048",
        "dppu.size=0",
        "protection.s_th=0",
    )
    h, n = (4, 4) if dataflow == "ws" else (2, 16)
    wanted = {"conv": WantedMapping(rows=16, cols=16, pixel_tiles=1, channel_tiles=1, step_c=12)}
    program = compiled(one_conv(h=h, c=12, n=n, kernel=1), config, None, wanted=wanted)
    run = FaultRun(program, random_inputs(program.network, 1, 0)[0])
    network, (span,) = run.network, run.spans.all
    assert span.starts == (0, 17, 34)
    for fold, k, vector in ((0, 1, 12), (0, 3, 13), (0, 2, 15), (1, 4, 13), (1, 7, 15), (2, 9, 15)):
        if dataflow == "ws":
            window = run.reads._window(Engine.ARRAY, span.gemms[0])
            word, register = window["a_base"] + vector * 12 + k, "ifmap"
            image, wrong = run.image.copy(), network
            image.reshape(16, 12)[vector, k] ^= 64
        else:
            word, register = weight_byte(run, vector, k), "weight"
            weights = network.weights[0].copy()
            weights.reshape(16, 12)[vector, k] ^= 64
            image, wrong = run.image, dataclasses.replace(network, weights={0: weights})
        expected = reference.run_network(wrong, image[None])[network.output][0]
        read = 17 * fold + 4 + vector
        early = Site("conv", 0, read, word, 0, register, 6, unit="buffer")
        sites = early, dataclasses.replace(early, cycle=read + 1)
        right = run.run([]).output
        for site, output in zip(sites, (expected, right), strict=True):
            np.testing.assert_array_equal(run.run([site]).output, output)
            np.testing.assert_array_equal(
                run_reference(run.program, run.image, [site]).output, output
            )


def test_the_dppu_reads_the_same_wrong_words():
    """Recomputing does not mask a wrong byte: both units read it."""
    config = small_config()
    masks = {0: np.ones((2, 2, 4), bool)}
    run = run_of(config, masks, h=2, n=4)
    site = Site("conv", 0, 0, weight_byte(run, 1, 3), 0, "weight", 6, unit="buffer")
    result = run.run([site])
    assert result.masked is None
    assert not any(hit.overwritten.any() for hit in result.hits)


def test_a_byte_is_wrong_until_it_is_loaded_again():
    run = run_of(small_config("protection.s_th=0", "buffers.ifmap_bytes=1024"))
    c, spans = run.program.columns, run.spans
    loads = np.flatnonzero(
        (c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == Buffer.IFMAP)
    ).tolist()
    word = loaded(run, Buffer.IFMAP)
    again = [pc for pc in loads[1:] if 0 <= word - c["buf_addr"][pc] < c["row_bytes"][pc]]
    assert again
    reads = run.run([Site("conv", 0, 0, word, 0, "ifmap", 3, unit="buffer")]).reads
    assert reads
    assert max(read.pc for read in reads) < again[0]
    assert {read.what for read in reads} == {"input"}
    stuck = [
        Site(ALL, EVERY, 0, word, 0, "ifmap", 3, unit="buffer", stuck=value) for value in (0, 1)
    ]
    everywhere = [run.run([site]) for site in stuck]
    assert max(read.pc for read in everywhere[0].reads) > again[0]
    # A bit that is stuck at what it should be is no fault: of the two, some sums differ in one.
    changed = [{int(e) for hit in r.hits for e in hit.elements} for r in everywhere]
    assert changed[0] != changed[1]
    assert spans.all[0].gemms[0] <= reads[0].pc


@pytest.mark.parametrize("kind", REDUNDANT)
def test_redundant_layers(kind):
    """One copy of three is outvoted; what all three share or use in turn is not."""
    config = small_config("array.cols=6", base="base-32x32")
    config = with_redundancy(config, kind, ["conv"])
    run = run_of(config, h=2, n=2)
    depth = run.evaluate.depth(run.spans.all[0])
    site = Site("conv", 0, depth, 1, 1, "acc", 20, copy=2)
    assert run.run([site]).masked == "tmr"
    two = [site, dataclasses.replace(site, copy=1)]
    assert len(run.run(two).hits[0].elements) == 1
    for_ever = Site(ALL, EVERY, 0, 1, 1, "acc", 20, stuck=1)
    other = dataclasses.replace(for_ever, stuck=0)
    found = [r.masked for r in (run.run([for_ever]), run.run([other]))]
    if kind == "space":  # the column is in one third
        assert found == ["tmr", "tmr"]
    else:  # the same PE runs three times
        assert found != ["tmr", "tmr"]
    shared = Site("conv", 0, 0, weight_byte(run, 1, 3), 0, "weight", 6, unit="buffer")
    assert run.run([shared]).masked not in ("tmr", "idle")


def test_words_of_the_output_buffer():
    masks = {0: np.zeros((2, 2, 4), bool)}
    masks[0][0, 0, 1] = True  # word 1 is important
    run = run_of(small_config(), masks, h=2, n=4)
    early, late = (Site("conv", 0, t, 1, 0, "output", 14, unit="buffer") for t in (0, 1))
    assert run.run([early]).masked == "dppu"  # it is overwritten
    assert run.run([late]).hits[0].after[0] - run.run([late]).hits[0].before[0] in (
        1 << 14,
        -(1 << 14),
    )
    assert run.run([Site("conv", 0, 0, 2, 0, "output", 14, unit="buffer")]).masked is None
    result = run.run([Site("conv", 0, 0, 5, 0, "result", 7, unit="buffer")])
    difference = result.output.astype(int) - run.golden
    assert np.argwhere(difference).tolist() == [[0, 1, 1]]
    assert abs(difference[0, 1, 1]) == 128


def test_a_wrong_position_leaves_the_important_neuron_and_computes_another():
    """The DPPU then replaces a right sum by a right one, and leaves a wrong one in its place."""
    masks = {0: np.zeros((2, 2, 4), bool)}
    masks[0][0, 0, 0] = True
    run = run_of(small_config(), masks, h=2, n=4)
    table = int(run.program.columns["pos_addr"][run.spans.all[0].dppus[0]])
    moved = Site("conv", 0, 0, table, 0, "position", 0, unit="buffer")
    wrong = Site("conv", 0, run.evaluate.depth(run.spans.all[0]), 0, 0, "acc", 13)
    assert run.run([moved]).masked == "idle"
    assert run.run([wrong]).masked == "dppu"
    assert run.run([wrong, moved]).masked is None


def both(run, sites):
    """What both executions give for faults, which are found to be equal."""
    outcome, end = run.run(sites), run_reference(run.program, run.image, sites)
    np.testing.assert_array_equal(outcome.output, end.output, str(sites))
    assert len(set(outcome.reads)) == len(outcome.reads)
    return outcome


def bias_byte(run, channel, byte):
    """Where a byte of a bias of the first tile lies."""
    window = run.reads._window(1, run.spans.all[0].gemms[0])
    return window["bias_base"] + 4 * channel + byte


def test_a_byte_that_is_wrong_and_right_and_wrong_again_is_read_once():
    """The bias is read in step 0, with the first flip only; later ones are too late for it."""
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    word = bias_byte(run, 1, 1)
    first, again, other = (
        Site("conv", 0, cycle, word, 0, "weight", bit, unit="buffer")
        for cycle, bit in ((0, 3), (20, 3), (40, 5))
    )
    alone = both(run, [first])
    for sites in ([first, again], [first, again, other], [other, first, again]):
        outcome = both(run, sites)
        np.testing.assert_array_equal(outcome.output, alone.output)
        assert [len(read.bits) for read in outcome.reads] == [1 + len(sites)]
    k = weight_byte(run, 2, 30)  # a weight that is read in step 30
    early, back, late = (
        Site("conv", 0, cycle, k, 0, "weight", 6, unit="buffer") for cycle in (2, 10, 20)
    )
    assert both(run, [early, back]).masked == "idle"
    np.testing.assert_array_equal(both(run, [early, back, late]).output, both(run, [late]).output)


def test_bytes_of_one_bias_are_wrong_together():
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    sites = [
        Site("conv", 0, 0, bias_byte(run, 1, byte), 0, "weight", bit, unit="buffer")
        for byte, bit in ((0, 7), (1, 0), (1, 4), (2, 1))
    ]
    outcome = both(run, sites)
    assert len(outcome.reads) == 3
    change = outcome.hits[0].after - outcome.hits[0].before
    biases = run.network.biases[0]
    wrong = int(biases[1]) ^ sum(
        1 << (8 * byte + bit) for byte, bit in ((0, 7), (1, 0), (1, 4), (2, 1))
    )
    assert set(change.tolist()) == {wrong - int(biases[1])}


def test_a_position_table_that_is_hit_around_its_instruction():
    masks = {0: np.zeros((2, 2, 4), bool)}
    masks[0][0, 0, 0] = True
    run = run_of(small_config(), masks, h=2, n=4)
    table = int(run.program.columns["pos_addr"][run.spans.all[0].dppus[0]])
    wrong = Site("conv", 0, run.evaluate.depth(run.spans.all[0]), 0, 0, "acc", 13)
    moved = [Site("conv", 0, 0, table, 0, "position", bit, unit="buffer") for bit in (0, 1)]
    held = dataclasses.replace(moved[0], stuck=1)
    for sites in (moved, [*moved, held], [held, *moved], [moved[0], moved[0], moved[1]]):
        both(run, [wrong, *sites])


#: Registers that are words of buffers, and the place of one that is used.
ORDERED = {
    "weight": lambda run: weight_byte(run, 1, 3),
    "output": lambda run: 1,
    "result": lambda run: 1,
}


@pytest.mark.parametrize("register", ORDERED)
def test_the_order_in_which_faults_are_given_does_not_matter(register):
    """Of those that meet flips come first, then bits stuck at 0, then at 1, as in the array."""
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    flip = Site("conv", 0, 0, ORDERED[register](run), 0, register, 5, unit="buffer")
    zero, one = (dataclasses.replace(flip, stuck=value) for value in (0, 1))
    for sites, as_if in (([flip, zero], [zero]), ([flip, one], [one]), ([zero, one], [one])):
        expected = both(run, as_if).output
        np.testing.assert_array_equal(both(run, sites).output, expected)
        np.testing.assert_array_equal(both(run, sites[::-1]).output, expected)


def test_a_bit_that_is_free_again_flips():
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    word = weight_byte(run, 1, 30)
    flip = Site("conv", 0, 9, word, 0, "weight", 5, unit="buffer")
    zero, one = (dataclasses.replace(flip, cycle=3, stuck=value, until=9) for value in (0, 1))
    held = [dataclasses.replace(flip, stuck=value) for value in (0, 1)]
    for before, after in ((zero, held[1]), (one, held[0])):
        expected = both(run, [after]).output
        np.testing.assert_array_equal(both(run, [before, flip]).output, expected)
        np.testing.assert_array_equal(both(run, [flip, before]).output, expected)


def test_of_two_that_hold_one_bit_the_other_one_has_it_then():
    run = run_of(small_config("protection.s_th=0"), h=2, n=4)
    word = weight_byte(run, 1, 30)
    zero = Site("conv", 0, 0, word, 0, "weight", 5, unit="buffer", stuck=0)
    one = dataclasses.replace(zero, cycle=3, stuck=1, until=30)
    np.testing.assert_array_equal(both(run, [zero, one]).output, both(run, [zero]).output)
