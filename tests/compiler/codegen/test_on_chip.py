"""Tensors that stay on chip: which, where, and that nobody's bytes are overwritten."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.codegen.memory_map import MemoryMap
from flexhyca.compiler.on_chip import keep_on_chip
from flexhyca.config import Arithmetic
from flexhyca.errors import CompileError, ProgramError
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.encoding import encode_text
from flexhyca.isa.instructions import BY_NAME, Buffer, Engine, Kind
from flexhyca.isa.validate import validate
from flexhyca.network import reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.activations import fetched, moved_by
from flexhyca.tests.compiler.codegen.test_scratchpad import moments, programs, two_layers
from flexhyca.tests.support import (
    ACTIVATIONS,
    compiled,
    machines,
    networks,
    random_inputs,
    small_config,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tensors_that_live_together_lie_apart(data):
    config = small_config(*data.draw(ACTIVATIONS))
    network = data.draw(networks(config.arithmetic, max_layers=8))
    batch, size = data.draw(st.integers(1, 3)), config.buffers.activation_bytes
    places = keep_on_chip(network, config, batch)
    assert not {network.input, network.output} & set(places)
    lives = {}
    for tensor, at in places.items():
        written = next(i for i, la in enumerate(network.layers) if la.output == tensor)
        read = [i for i, la in enumerate(network.layers) if tensor in (la.input, la.residual)]
        end = at + batch * network.tensors[tensor].elements
        assert 0 <= at < end <= size
        lives[tensor] = written, max(read), range(at, end)
    for one, (begin, last, own) in lives.items():
        for other, (since, until, its) in lives.items():
            if one < other and begin <= until and since <= last:
                assert own.stop <= its.start or its.stop <= own.start
    # One that would find room beside all others is not left in DRAM.
    if size >= 16384:
        stored = {la.output for la in network.layers} - {network.output}
        small = [t for t in stored if batch * network.tensors[t].elements <= 1024]
        used = {t for la in network.layers for t in (la.input, la.residual)}
        assert set(small) & used <= set(places)


@settings(max_examples=60, deadline=None)
@given(programs(machines(activations=ACTIVATIONS)))
def test_who_overwrites_or_reads_waits(program):
    """What is ordered by queues and tokens alone, whatever takes how long."""
    done, stores = moments(program), moved_by(program, "STORE")
    reads = [(Engine.LOAD, moved_by(program, "LOAD")), (Engine.DPPU, fetched(program))]
    for engine, moves in reads:
        for i, pc in enumerate(moves.pcs.tolist()):
            meets = (stores.first < moves.end[i]) & (moves.first[i] < stores.end)
            for store in stores.pcs[meets].tolist():
                if store < pc:
                    assert done[pc, Engine.STORE] > store
                else:
                    assert done[store, engine] > pc


@settings(max_examples=60, deadline=None)
@given(programs(machines(activations=ACTIVATIONS)))
def test_values_are_those_of_the_network(program):
    images = random_inputs(program.network, program.batch, 1)
    result = simulate(program, images, values="machine", cycle_model="simpy")
    expected = reference.run_network(program.network, images)[program.network.output]
    np.testing.assert_array_equal(result.outputs, expected)
    assert result.cycles == simulate(program, values="none").cycles


def chain(count, size=8, channels=8, residual=None):
    """1x1 convolutions of maps of one size. residual : (layer, tensor that it adds)."""
    rng = np.random.default_rng(0)
    shape = channels, 1, 1, channels
    return Network(
        "chain",
        tuple(Tensor(f"t{i}", size, size, channels, 1.0) for i in range(count + 1)),
        tuple(
            Layer(
                f"conv{i}", LayerOp.CONV, i, i + 1, shift=5,
                residual=residual[1] if residual and residual[0] == i else -1,
            )
            for i in range(count)
        ),
        {i: rng.integers(-9, 9, shape).astype(np.int8) for i in range(count)},
        {i: np.zeros(channels, np.int32) for i in range(count)},
        Arithmetic(),
        0,
        count,
    )  # fmt: skip


def with_memory(size, *overrides):
    return small_config(
        "dppu.size=0", "protection.s_th=0", f"buffers.activation_bytes={size}", *overrides
    )


def test_two_places_are_enough_for_a_chain():
    network = chain(5)  # maps of 512 bytes
    assert keep_on_chip(network, with_memory(1024), 1) == {1: 0, 2: 512, 3: 0, 4: 512}
    assert keep_on_chip(network, with_memory(960), 1) == {1: 0, 3: 0}
    assert keep_on_chip(network, with_memory(1024), 2) == {1: 0, 3: 0}
    assert keep_on_chip(network, with_memory(448), 1) == {}
    assert keep_on_chip(network, small_config(), 1) == {}


def test_a_residual_lives_until_it_is_added():
    network = chain(5, residual=(4, 1))
    assert keep_on_chip(network, with_memory(2048), 1) == {1: 0, 2: 512, 3: 1024, 4: 512}
    assert keep_on_chip(network, with_memory(1024), 1) == {1: 0, 2: 512, 4: 512}


def test_what_stays_moves_no_byte_of_dram():
    network = chain(4)
    program = compiled(network, with_memory(1024), None)
    assert (program.kept, program.kept_bytes) == ([1, 2, 3], 1024)
    off = simulate(compiled(network, with_memory(0), None), values="none")
    on = simulate(program, values="none")
    assert (off.dram["ifmap"], off.dram["ofmap"]) == (4 * 512, 4 * 512)
    assert (on.dram["ifmap"], on.dram["ofmap"]) == (512, 512)
    assert on.activations["ifmap"] >= 3 * 512
    assert on.activations["ofmap"] == 3 * 512
    assert on.cycles < off.cycles
    by_layer = [row["ofmap"] for row in on.layers["activation_bytes"]]
    assert by_layer == [512, 512, 512, 0]
    assert not any(off.activations.values())


def test_more_bandwidth_takes_no_longer():
    widths = [f"buffers.activation_bytes_per_cycle={width}" for width in (1, 4, 64)]
    programs = [compiled(chain(6), with_memory(1024, width), None) for width in widths]
    cycles = [simulate(program, values="none").cycles for program in programs]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > cycles[-1]


def test_addresses_are_the_last_ones():
    program = compiled(chain(3), with_memory(1024), None)
    assert program.tensors[1:3, 3].tolist() == [2**32 - 1024, 2**32 - 512]
    text = disassemble(program)
    assert f"dram_addr={2**32 - 1024}" in text
    again = assemble(text)
    np.testing.assert_array_equal(again.text, program.text)
    assert disassemble(again) == text


def changed(program, pc, **fields):
    values = {name: column.copy() for name, column in program.columns.items()}
    for name, value in fields.items():
        values[name][pc] = value
    return dataclasses.replace(program, text=encode_text(values))


@pytest.mark.parametrize(
    ("address", "count", "stride"),
    [
        (2**32 - 1, None, None),  # behind the last address
        (2**32 - 1025, None, None),  # begins before the memory
        (0, 2, 2**20),  # of a stride that leaves the program's memory
    ],
)
def test_a_load_that_leaves_the_memory_is_refused(address, count, stride):
    program = compiled(chain(3), with_memory(1024), None)
    c = program.columns
    loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["dram_addr"] >= 2**32 - 1024)
    pc = int(np.flatnonzero(loads & (c["buffer"] == Buffer.IFMAP))[0])
    fields = {"dram_addr": address, "count": count, "stride": stride}
    if count:  # as many bytes in the buffer
        fields["row_bytes"] = int(c["row_bytes"][pc] * c["count"][pc]) // count
    broken = changed(program, pc, **{k: v for k, v in fields.items() if v is not None})
    with pytest.raises(ProgramError) as error:
        validate(broken, "x.fhx")
    assert str(error.value) == (
        f"x.fhx: instruction {pc}: LOAD reads outside the program's memory; recompile the program"
    )


@pytest.mark.parametrize("address", [2**32 - 511, 2**32 - 1088])
def test_a_tensor_that_lies_elsewhere_is_refused(address):
    said = place_of(1, address)
    assert said == f"tensor t1 at {address} lies outside the activations' memory"


@pytest.mark.parametrize(("tensor", "what"), [(0, "input"), (3, "output")])
def test_the_networks_input_and_output_are_in_dram(tensor, what):
    said, at = place_of(tensor, 2**32 - 512), 2**32 - 512
    assert said == f"{what} tensor t{tensor} at {at} lies in the activation memory, not in DRAM"


def place_of(tensor, address):
    """What is said of a program with a tensor somewhere else."""
    program = compiled(chain(3), with_memory(1024), None)
    tensors = program.tensors.copy()
    tensors[tensor, 3] = address
    with pytest.raises(ProgramError) as error:
        validate(dataclasses.replace(program, tensors=tensors), "x.fhx")
    assert error.value.advice == "recompile the program"
    return error.value.what.removeprefix("x.fhx: ")


def test_dram_ends_before_the_memory():
    config = with_memory(1 << 28)
    assert (config.dram_end, config.activation_base) == (2**32 - 2**28, 2**32 - 2**28)
    small = with_memory(1024, "dram.size_bytes=65536")
    assert (small.dram_end, small.activation_base) == (65536, 2**32 - 1024)
    with pytest.raises(CompileError) as error:
        MemoryMap("large", config, {"activations": (0, config.dram_end + 1)}, [])
    assert str(error.value) == (
        "large: the program needs 4026531904 bytes of DRAM, 4026531840 of 4 GiB have addresses "
        "beside buffers.activation_bytes = 268435456; use a smaller batch or a smaller activation "
        "memory"
    )
    with pytest.raises(CompileError) as error:
        MemoryMap("large", small, {"activations": (0, 65537)}, [])
    assert str(error.value) == (
        "large: the program needs 65600 bytes of DRAM, dram.size_bytes is 65536; use a smaller "
        "batch or enlarge it (4 GiB at most)"
    )


def test_loads_on_chip_are_there_no_earlier_than_those_before_them():
    """Of two that a tile waits for it takes the token of the last: data come in order."""
    config = with_memory(16384, "dram.latency_cycles=500")
    network = two_layers((16, 16, 1), (16, 16, 1))
    program = compiled(network, config, None)
    kinds = program.columns["kind"][program.columns["op"] == BY_NAME["LOAD"].opcode]
    assert {Kind.IFMAP, Kind.WEIGHT} <= set(kinds.tolist())
    images = random_inputs(network, 1, 0)
    expected = reference.run_network(network, images)[network.output]
    np.testing.assert_array_equal(simulate(program, images, values="machine").outputs, expected)
