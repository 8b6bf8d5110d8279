"""The cycle model: accounting, independence of event order, deadlocks, stalls of the DPPU."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.errors import DeadlockError, FlexhycaError
from flexhyca.isa.instructions import BY_NAME, Engine, Kind
from flexhyca.simulator.array.timing import os_tile_cycles
from flexhyca.simulator.cycles.engines import CycleModel
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import (
    STATIONARY,
    compiled,
    crowded,
    fenced,
    machines,
    networks,
    one_conv,
    random_masks,
    small_config,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_accounting_identities(data):
    config = data.draw(machines())
    network = data.draw(networks(config.arithmetic))
    share = data.draw(st.sampled_from([0.0, 0.2, 1.0])) if config.dppu.size else 0.0
    batch = data.draw(st.integers(1, 3))
    masks = random_masks(network, share, 1)
    program = compiled(network, config, masks, batch)
    result = simulate(program, values="none")
    important = {i: int(m.sum()) * batch for i, m in masks.items()}

    for engine in ("load", "array", "dppu", "store"):
        stalls = result.stalls[engine]
        assert all(v >= 0 for v in stalls.values())
        assert result.busy[engine] + sum(stalls.values()) == result.cycles
    assert result.layers["cycles"].sum() == result.cycles
    assert sum(row["array"] for row in result.layers["busy"]) == result.busy["array"]
    for kind in Kind:
        name = kind.name.lower()
        assert sum(row[name] for row in result.layers["dram_bytes"]) == result.dram[name]
    macs = [network.macs(i) * batch for i in range(len(network.layers))]
    assert result.layers["macs"].tolist() == macs
    assert result.macs_by_unit["array"] == sum(macs)
    recomputed = sum(important[i] * network.weights[i][0].size for i in important)
    packed = program.column("packed").tolist()
    zeros = sum(m * (p - 1) for m, p in zip(macs, packed, strict=True))
    assert result.macs_by_unit["array_zeros"] == zeros
    assert sum(result.macs_by_unit.values()) == sum(macs) + recomputed + zeros
    assert result.important_neurons == sum(important.values())
    # What leaves is stored once; constants are read at least once.
    out = sum(network.tensors[la.output].elements for la in network.layers) * batch
    assert result.dram["ofmap"] + result.activations["ofmap"] == out
    assert result.dram["weight"] >= sum(w.size for w in network.weights.values())
    assert result.dram["instruction"] >= program.text.nbytes


orders = st.permutations(list(Engine))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_start_order_of_the_engines_changes_nothing(data):
    config = data.draw(machines())
    network = data.draw(networks(config.arithmetic))
    masks = random_masks(network, 0.3, 1) if config.dppu.size else None
    program = compiled(network, config, masks)
    base, other = CycleModel(program), CycleModel(program, None, data.draw(orders))
    assert base.run() == other.run()
    assert (other.spent, other.nbytes) == (base.spent, base.nbytes)


def test_array_time_is_the_closed_form_of_its_tiles():
    config = small_config(base="base-32x32")
    result = simulate(compile_network(one_conv(), config), values="none")
    tiles = (8 * 8 // 4) * (8 // 4)
    setcfg = 2 + result.program.windows.shape[0] - 1
    assert result.layers["tiles"].tolist() == [tiles]
    assert result.busy["array"] == tiles * os_tile_cycles(9 * 16, 4, 4) + setcfg


def _without(program, pc, field, engine):
    """`program` with one token bit of instruction `pc` cleared."""
    from flexhyca.isa.encoding import encode_text

    columns = {k: v.copy() for k, v in program.columns.items()}
    assert columns[field][pc] >> engine & 1
    columns[field][pc] &= ~(1 << engine)
    return dataclasses.replace(program, text=encode_text(columns))


def test_every_missing_post_deadlocks_or_is_reported():
    config = small_config()
    network = one_conv(h=5)
    program = compile_network(network, config, random_masks(network, 0.3, 0))
    posts = program.columns["post"]
    outcomes = {"deadlock": 0, "semaphore": 0}
    for pc in np.flatnonzero(posts).tolist():
        for engine in Engine:
            if posts[pc] >> engine & 1:
                broken = _without(program, pc, "post", engine)
                with pytest.raises(FlexhycaError) as error:
                    simulate(broken, values="none")
                if isinstance(error.value, DeadlockError):
                    outcomes["deadlock"] += 1
                else:
                    assert "semaphores do not return" in str(error.value)
                    outcomes["semaphore"] += 1
    assert outcomes["deadlock"] > 20


def test_deadlock_names_engine_pc_instruction_and_semaphore():
    program = compile_network(one_conv(h=2, n=4), small_config(base="base-32x32"))
    gemms = program.columns["op"] == BY_NAME["GEMM"].opcode
    gemm = int(np.flatnonzero(gemms & (program.columns["post"] >> Engine.STORE & 1 > 0))[0])
    with pytest.raises(DeadlockError) as error:
        simulate(_without(program, gemm, "post", Engine.STORE), values="none")
    vec = int(np.flatnonzero(program.columns["op"] == BY_NAME["VEC"].opcode)[0])
    text = str(error.value)
    assert text.startswith("one: deadlock at cycle ")
    assert f"STORE at pc {vec} (VEC, layer conv) waits semaphore ARRAY -> STORE" in text
    assert text.endswith("a token is never posted: check the wait and post fields")


def test_a_missing_wait_gives_wrong_values_or_a_semaphore_error():
    """What a token protects is real: without it the machine reads garbage."""
    network, config = one_conv(h=4), small_config(base="base-32x32")
    program = compile_network(network, config)
    waits = program.columns["wait"]
    pc = int(np.flatnonzero(waits >> Engine.LOAD & 1)[0])
    inputs = np.ones((1, 4, 4, 16), np.int8)
    with pytest.raises(FlexhycaError, match="semaphores do not return"):
        simulate(_without(program, pc, "wait", Engine.LOAD), inputs, values="machine")


@pytest.mark.parametrize("count", [0, 4, 8])
def test_up_to_its_capacity_the_dppu_costs_no_cycle(count):
    config = small_config("dppu.data_reuse=array")
    assert config.tap_capacity == 8  # 2 groups x floor(8 / 2) neurons a window
    result = simulate(compile_network(one_conv(), config, crowded(count)), values="none")
    assert result.stalls["array"]["dppu_window"] == 0


def test_crowding_stalls_the_array_in_array_mode():
    config = small_config("dppu.data_reuse=array")
    result = simulate(compile_network(one_conv(), config, crowded(12)), values="none")
    # 12 neurons on 2 groups: 6 rounds of 2 cycles for a window of 8 operands. Of 18 windows a
    # tile, the first two fills are free; the stall of a tile's last windows falls into its drain.
    tiles = 32
    stall = result.stalls["array"]["dppu_window"]
    assert tiles * 15 * 4 <= stall <= tiles * 17 * 4
    assert result.dram["dppu_operand"] == 0


def test_crowding_becomes_traffic_in_hybrid_mode():
    config = small_config("dppu.data_reuse=hybrid")
    result = simulate(compile_network(one_conv(), config, crowded(12)), values="none")
    assert result.stalls["array"]["dppu_window"] == 0
    # 4 neurons too many in every tile: one whole row (a patch) and its four columns, or one
    # column and four patches. The patches at the border are smaller than 9 x 16 operands.
    fetched = result.dram["dppu_operand"]
    assert 32 * 4 * 144 < fetched <= 32 * 5 * 144
    assert result.macs_by_unit["dppu_dram"] == 32 * 4 * 144


def test_overloaded_dppu_fills_the_output_buffer_in_hybrid_mode():
    config = small_config(
        "dppu.data_reuse=hybrid",
        "dppu.size=1",
        "dppu.width=1",
        "dppu.window=8",
        "dram.bytes_per_cycle=256",
    )
    result = simulate(compile_network(one_conv(), config, crowded(16)), values="none")
    assert result.stalls["array"]["dppu_window"] == 0
    assert result.stalls["array"]["dppu_outbuf_full"] > result.busy["array"]


@pytest.mark.parametrize("count", [2, 9, 16])
def test_hybrid_sram_reads_the_excess_through_its_own_port(count):
    config = small_config("dppu.data_reuse=hybrid_sram")
    result = simulate(compile_network(one_conv(), config, crowded(count)), values="none")
    assert result.dram["dppu_operand"] == 0
    assert result.stalls["array"]["dppu_window"] == 0
    excess = max(0, count - config.tap_capacity)
    assert result.macs_by_unit["dppu_buffer"] == 32 * excess * 144
    assert (result.dppu_port_bytes > 0) == (excess > 0)


def test_dram_mode_fetches_everything():
    config = small_config("dppu.data_reuse=dram")
    result = simulate(compile_network(one_conv(), config, crowded(4)), values="none")
    assert result.macs_by_unit["dppu_dram"] == 32 * 4 * 144
    assert result.macs_by_unit["dppu_array"] == 0
    # Four neurons in one row of a tile: a patch and four columns; border patches are smaller.
    assert 32 * 4 * 144 < result.dram["dppu_operand"] <= 32 * 5 * 144


def test_double_buffered_accumulators_cost_k_a_tile():
    """Operands follow at once; with K >= R the array only streams."""
    plain, double = (
        small_config(f"array.double_buffered_accumulators={on}", base="base-32x32")
        for on in ("false", "true")
    )
    runs = [simulate(compile_network(one_conv(), c), values="none") for c in (plain, double)]
    tiles, setcfg = 32, 2 + runs[1].program.windows.shape[0] - 1
    assert runs[1].busy["array"] == tiles * 144 + setcfg
    assert runs[1].stalls["array"]["drain"] == 0
    assert runs[1].cycles < runs[0].cycles


def test_short_tiles_wait_for_the_column_buses():
    config = small_config(
        "array.double_buffered_accumulators=true",
        "dram.bytes_per_cycle=1024",
        "dram.latency_cycles=0",
        "vec.lanes=64",
        base="base-32x32",
    )
    result = simulate(compile_network(one_conv(c=2, kernel=1), config), values="none")
    # K = 2 operands, R = 4 rows: of every tile that follows another at once, two cycles are stall.
    assert 0 < result.stalls["array"]["drain"] <= 31 * 2


@pytest.mark.parametrize("dataflow", STATIONARY)
def test_stationary_time_is_the_closed_form_of_its_folds(dataflow):
    config = small_config(f"array.dataflow={dataflow}", base="base-32x32")
    result = simulate(compile_network(one_conv(), config), values="none")
    c = result.program.columns
    gemm = c["op"] == BY_NAME["GEMM"].opcode
    streams = c["m" if dataflow == "ws" else "n"][gemm]
    setcfg = int(((c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == Engine.ARRAY)).sum())
    assert result.busy["array"] == int((streams + 2 * 4 + 4 - 2).sum()) + setcfg
    assert result.macs == 64 * 8 * 144


@pytest.mark.parametrize("dataflow", STATIONARY)
def test_overlapped_folds_follow_each_other_across_tiles(dataflow):
    """64 pixels, 8 channels, 144 operands on 4 x 4 PEs; the next fold waits for nothing."""
    plain, overlapped = (
        simulate(compile_network(one_conv(), config), values="none")
        for config in (
            small_config(
                f"array.dataflow={dataflow}",
                f"array.overlapped_preload={on}",
                "dram.bytes_per_cycle=1024",
                base="base-32x32",
            )
            for on in ("false", "true")
        )
    )
    c = overlapped.program.columns
    gemm = c["op"] == BY_NAME["GEMM"].opcode
    streams = c["m" if dataflow == "ws" else "n"][gemm].astype(int)
    setcfg = int(((c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == Engine.ARRAY)).sum())
    # A step between two streams; nothing follows the last fold, which is not overlapped.
    follows = np.maximum(streams[:-1] + 1, 2 * 4 + 4 - 2)
    assert overlapped.busy["array"] == follows.sum() + streams[-1] + 2 * 4 + 4 - 2 + setcfg
    assert overlapped.cycles < plain.cycles
    assert overlapped.macs == plain.macs == 64 * 8 * 144


def test_sync_is_a_barrier():
    program = compile_network(one_conv(h=2, n=4), small_config(base="base-32x32"))
    base, result = (simulate(p, values="none") for p in (program, fenced(program)))
    assert result.stalls["load"]["finished"] == result.stalls["store"]["finished"] == 0
    assert base.stalls["load"]["finished"] > 0
