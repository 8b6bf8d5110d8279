"""Layers that are computed three times over: cycles, traffic, values and accounts."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import load_config
from flexhyca.errors import CompileError, ConfigError
from flexhyca.isa.descriptors import Redundancy
from flexhyca.isa.instructions import BY_NAME, Engine
from flexhyca.isa.protection import layer_columns, layer_copies
from flexhyca.network import reference
from flexhyca.network.layers import LayerOp
from flexhyca.simulator.array.os_array import os_tile
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.simulator.machine.memory import Memory
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.simulator.cycles.test_compiled import assert_equal
from flexhyca.tests.support import (
    FULL_TILES,
    REDUNDANT,
    compiled,
    machines,
    networks,
    one_conv,
    random_inputs,
    redundant,
    small_config,
    with_redundancy,
)


@st.composite
def cases(draw):
    """A network, a program of it with some redundant layers, and one without."""
    config = draw(machines().filter(lambda c: c.array.dataflow == "os" and not c.dppu.size))
    network = draw(networks(config.arithmetic).filter(lambda n: n.weights))
    config = draw(redundant(config, network))
    batch = draw(st.integers(1, 2))
    machines_ = (config, with_redundancy(config, "none", []))
    return network, *(compiled(network, c, None, batch) for c in machines_)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_both_cycle_models_are_equal(case):
    assert_equal(case[1])


@settings(max_examples=60, deadline=None)
@given(cases())
def test_accounts(case):
    network, program, plain = case
    result, base = (simulate(p, values="none") for p in (program, plain))
    config, batch = program.config, program.batch
    for engine in ("load", "array", "dppu", "store"):
        assert result.busy[engine] + sum(result.stalls[engine].values()) == result.cycles
    macs = [network.macs(i) * batch for i in range(len(network.layers))]
    again = sum(
        2 * macs[i] for i in network.weights if layer_copies(config, network.layers[i].name) == 3
    )
    assert again
    assert result.layers["macs"].tolist() == macs
    assert (result.macs_by_unit["array"], result.macs_by_unit["array_copies"]) == (sum(macs), again)
    assert base.macs_by_unit["array_copies"] == 0
    # Results and residuals move once; operands as often as the scheme says.
    assert result.dram["ofmap"] == base.dram["ofmap"]


@settings(max_examples=60, deadline=None)
@given(cases())
def test_time_loads_no_more_with_the_same_tiles(case):
    """`time` runs a tile again on what the buffers hold; `time_refetch` brings it again."""
    network, program, plain = case
    kind = program.config.protection.redundancy
    assume(kind in ("time", "time_refetch"))
    assume([row.tolist() for row in program.windows] == [row.tolist() for row in plain.windows])
    assume(program.column("packed").tolist() == plain.column("packed").tolist())
    result, base = (simulate(p, values="none").dram for p in (program, plain))
    own = {i for i, la in enumerate(network.layers) if layer_copies(program.config, la.name) == 3}
    every = own == set(network.weights) and len(network.layers) == len(own)
    for name in ("ifmap", "weight", "bias"):
        times = 3 if kind == "time_refetch" and every else 1
        residuals = any(la.residual >= 0 for la in network.layers)
        if kind == "time" or (every and not residuals):
            assert result[name] == times * base[name]


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(0, 1000))
def test_values_are_those_of_the_network(case, seed):
    network, program, _ = case
    inputs = random_inputs(network, program.batch, seed)
    expected = reference.run_network(network, inputs)
    memory = Memory(program, inputs)
    memory.run()
    for layer in network.layers:
        np.testing.assert_array_equal(memory.tensor(layer.output), expected[layer.output])
    for values in ("fast", "machine"):
        result = simulate(program, inputs, values=values)
        np.testing.assert_array_equal(result.outputs, expected[network.output])


@settings(max_examples=8, deadline=None)
@given(cases())
def test_register_true_values(case):
    network, program, _ = case
    inputs = random_inputs(network, program.batch, 1)
    result = simulate(program, inputs, values="registers")
    np.testing.assert_array_equal(
        result.outputs, reference.run_network(network, inputs)[network.output]
    )


def array_cycles(program):
    """The array's cycles as the rules of docs/schemes.md give them, tile by tile."""
    c, config = program.columns, program.config
    cols, double = config.array.cols, config.array.double_buffered_accumulators
    total = 0
    spans = Spans(program)
    for index in program.network.weights:
        code = program.column("redundancy")[index]
        width = cols // 3 if code == Redundancy.SPACE else cols
        for tile in spans.own[index]:
            assert tile.n <= width
            tail = os_tile_cycles(0, tile.m, tile.n)
            for i, gemm in enumerate(tile.gemms):
                k, begins, again = int(spans.depth[gemm]), i in tile.visits, tile.m * (i > 0)
                ends = i + 1 in (*tile.visits, len(tile.gemms))
                if code in (Redundancy.NONE, Redundancy.SPACE):
                    total += k + (0 if double else ends * tail + begins * again)
                elif begins and ends and not i:
                    total += 3 * (k if double else k + tail)
                else:  # each copy of each part by itself; sums go back before all but the first
                    total += 3 * (k + tail + again)
                    if double and ends:  # the last one leaves underneath the next tile
                        total -= tail
    setcfg = (c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == Engine.ARRAY)
    return total + int(setcfg.sum())


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(cases())
def test_both_cycle_models_and_the_closed_form_often(case):
    assert_equal(case[1])
    for program in case[1:]:
        assert simulate(program, values="none").busy["array"] == array_cycles(program)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_array_time_is_the_closed_form(case):
    _, program, plain = case
    for p in (program, plain):
        assert simulate(p, values="none").busy["array"] == array_cycles(p)


def test_a_part_of_the_array_is_an_array_of_its_columns():
    """What a third of 32 columns costs is what the stepper of a 32 x 10 array counts."""
    config = load_config(
        "base-32x32", ["protection.redundancy=space", "protection.redundant_layers=[conv]"]
    )
    program = compile_network(one_conv(h=4, n=32), config)
    assert layer_columns(config, "conv") == 10
    tiles = Spans(program).own[0]
    assert max(tile.n for tile in tiles) <= 10
    assert all(len(tile.gemms) == 1 for tile in tiles)
    steps = 0
    for tile in tiles:
        act, wgt = np.ones((tile.m, 144), np.int8), np.ones((tile.n, 144), np.int8)
        start, bits = np.zeros(tile.n, np.int32), program.network.arithmetic
        steps += os_tile(act, wgt, start, rows=32, cols=10, arithmetic=bits)[1]
    setcfg = 2 + program.windows.shape[0] - 1
    assert simulate(program, values="none").busy["array"] == steps + setcfg


def test_copies_that_follow_at_once_wait_for_the_column_buses():
    """Two cycles of operands, and four rows leave one a step: two cycles of wait a copy."""
    config = small_config(
        "array.double_buffered_accumulators=true",
        "protection.redundancy=time",
        "protection.redundant_layers=[conv]",
        "buffers.output_bytes=1024",
        "dram.bytes_per_cycle=1024",
        "dram.latency_cycles=0",
        "vec.lanes=64",
        base="base-32x32",
    )
    found = {}
    for tiles, h in ((1, 2), (16, 8)):
        network = one_conv(h=h, c=2, n=4, kernel=1)
        result = simulate(compile_network(network, config), values="none")
        assert result.layers["tiles"].tolist() == [tiles]
        setcfg = 2 + result.program.windows.shape[0] - 1
        assert result.busy["array"] == 3 * 2 * tiles + setcfg
        found[tiles] = result.stalls["array"]["drain"]
    assert found[1] == 2 * 2  # of the second and third copy
    assert 2 * 2 * 16 < found[16] <= 3 * 2 * 16  # and of the first one, where a tile is before it


def test_refetching_reads_operands_three_times():
    network = one_conv()
    runs = {}
    for kind in ("none", "time", "time_refetch"):
        config = with_redundancy(small_config(base="base-32x32"), kind, ["conv"])
        program = compiled(network, config, None, wanted=FULL_TILES)
        runs[kind] = simulate(program, values="none").dram
    for kind in ("ifmap", "weight", "bias"):
        assert runs["time"][kind] == runs["none"][kind]
        assert runs["time_refetch"][kind] == 3 * runs["none"][kind]
    assert runs["time_refetch"]["ofmap"] == runs["none"]["ofmap"]


def test_without_sensitive_layers_nothing_changes():
    for kind in REDUNDANT:
        config = with_redundancy(small_config(base="base-32x32"), kind, [])
        plain = with_redundancy(small_config(base="base-32x32"), "none", ["conv"])
        a, b = (simulate(compile_network(one_conv(), c), values="none") for c in (config, plain))
        assert (a.cycles, a.dram, a.stalls) == (b.cycles, b.dram, b.stalls)


def test_a_name_that_no_layer_has_is_refused():
    config = with_redundancy(small_config(base="base-32x32"), "time", ["conf"])
    with pytest.raises(CompileError) as error:
        compile_network(one_conv(), config)
    assert str(error.value) == (
        "one: protection.redundant_layers: no layer is called 'conf'; near it: conv "
        "(1 layers; * stands for any text)"
    )


def test_pools_are_computed_once():
    config = load_config(
        "base-32x32", ["protection.redundancy=time", "protection.redundant_layers=['*']"]
    )
    from flexhyca import api

    program = api.build("digits", config, timing_only=True).program
    conv = program.column("op") == LayerOp.CONV
    assert (program.column("redundancy") == np.where(conv, Redundancy.TIME, 0)).all()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dppu.size=52"],
            "is another scheme than recomputing, and dppu.size is 52; set dppu.size to 0 and "
            "protection.s_th to 0",
        ),
        (
            ["array.dataflow=ws"],
            "needs accumulators in the PEs, and dataflow ws has none; use dataflow os",
        ),
        (["timing=scalesim"], "is unknown to timing scalesim; use timing native"),
        (
            ["array.cols=2"],
            "needs a third of the columns, and array.cols is 2; use at least 3",
        ),
    ],
)
def test_contradictions(overrides, message):
    with pytest.raises(ConfigError) as error:
        load_config("base-32x32", ["protection.redundancy=space", *overrides])
    assert str(error.value) == (
        f"override 'protection.redundancy=space': protection.redundancy = 'space' {message}"
    )


def test_the_copies_need_room_in_the_output_buffer():
    overrides = ["protection.redundancy=time", "protection.redundant_layers=[conv]"]
    words = 32 * 32
    need = 2 * (3 * words + words) + 2 * 3 * words
    load_config("base-32x32", [*overrides, f"buffers.output_bytes={need}"])
    with pytest.raises(ConfigError) as error:
        load_config("base-32x32", [*overrides, f"buffers.output_bytes={need - 1}"])
    assert str(error.value).endswith(
        "cannot hold two 32x32 tiles of 24-bit accumulators and 8-bit results, and two more "
        f"copies of the accumulators; use at least {need}"
    )
    config = load_config("base-32x32", overrides)
    slots = [c.output_slots(c.tile_words) for c in (config, load_config("base-32x32"))]
    assert slots[0] == slots[1] - 2


def test_a_descriptor_that_contradicts_the_configuration_is_refused(tmp_path):
    from flexhyca.errors import ProgramError
    from flexhyca.isa.program_file import load, save

    config = with_redundancy(small_config(base="base-32x32"), "time", ["conv"])
    program = compile_network(one_conv(), config)
    save(program, tmp_path / "good.fhx")
    assert load(tmp_path / "good.fhx").column("redundancy").tolist() == [Redundancy.TIME]
    layers = program.layers.copy()
    layers[0, -1] = Redundancy.NONE
    save(dataclasses.replace(program, layers=layers), tmp_path / "bad.fhx")
    with pytest.raises(ProgramError, match="redundancy=0, the configuration asks for 2"):
        load(tmp_path / "bad.fhx")


def test_a_tile_wider_than_a_third_is_refused(tmp_path):
    from flexhyca.errors import ProgramError
    from flexhyca.isa.program_file import load, save

    config = with_redundancy(small_config(base="base-32x32"), "none", [])
    program = compile_network(one_conv(), config)  # tiles of 4 channels
    layers = program.layers.copy()
    layers[0, -1] = Redundancy.SPACE
    wrong = dataclasses.replace(
        program, layers=layers, config=with_redundancy(config, "space", ["conv"])
    )
    save(wrong, tmp_path / "bad.fhx")
    with pytest.raises(ProgramError, match="the tile exceeds the array"):
        load(tmp_path / "bad.fhx")


def test_refetched_bytes_take_no_more_room():
    from flexhyca.simulator.cycles.occupancy import leases, levels
    from flexhyca.simulator.cycles.trace import Recorder

    peaks = {}
    for kind in ("time", "time_refetch"):
        config = with_redundancy(small_config(base="base-32x32"), kind, ["conv"])
        program = compile_network(one_conv(), config)
        recorder = Recorder()
        simulate(program, values="none", recorder=recorder)
        found = levels(leases(program), recorder)
        peaks[kind] = {name: int(level.max(initial=0)) for name, (_, level) in found.items()}
    assert peaks["time"]["ifmap buffer"] > 0
    assert peaks["time"] == peaks["time_refetch"]
