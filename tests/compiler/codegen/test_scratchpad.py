"""One memory for inputs and weights: where blocks go, and that nobody's bytes are overwritten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.compiler.codegen.buffers import Scratchpad
from flexhyca.compiler.tiling.tiles import Blocks
from flexhyca.config import Arithmetic
from flexhyca.isa.assembly import assemble, disassemble
from flexhyca.isa.instructions import BY_NAME, Buffer, Engine, Kind, Source
from flexhyca.isa.sizes import buffer_bytes
from flexhyca.isa.validate_text import takers
from flexhyca.network import reference
from flexhyca.network.layers import Layer, LayerOp, Network, Tensor
from flexhyca.simulator.inject.buffer_faults import Reads
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import (
    SCRATCHPADS,
    compiled,
    machines,
    networks,
    random_inputs,
    random_masks,
    redundant,
    small_config,
)


@st.composite
def programs(draw, machine):
    """Random networks on random machines."""
    config = draw(machine)
    network = draw(networks(config.arithmetic))
    if draw(st.booleans()):
        config = draw(redundant(config, network))
    masks = random_masks(network, 0.4, 1) if config.dppu.size else None
    return compiled(network, config, masks, draw(st.integers(1, 2)))


def moments(program):
    """Of each instruction and engine, how many of the engine's have surely ended before it begins.

    What is ordered by queues and by tokens alone, whatever takes how long.
    """
    c = program.columns
    engines = [[e for e in Engine if mask >> e & 1] for mask in takers(c).tolist()]
    done = np.zeros((len(engines), len(Engine)), int)  # before it begins
    own = {e: np.zeros(len(Engine), int) for e in Engine}  # at the end of an engine's last
    given = {(p, q): [None] * int(program.credits[p, q]) for p in Engine for q in Engine}
    for pc, taken in enumerate(engines):
        known = np.max([own[e] for e in taken], axis=0)
        for e in taken:
            for p in (p for p in Engine if c["wait"][pc] >> p & 1):
                token = given[p, e].pop(0)  # text order is an order of execution
                if token is not None:
                    known = np.maximum(known, token)
        done[pc] = known
        for e in taken:
            own[e] = known.copy()
            own[e][e] = pc + 1
            for q in (q for q in Engine if c["post"][pc] >> q & 1):
                given[e, q].append(own[e].copy())
    return done


def readers(program):
    """(pc, engine) -> bytes of the memory of operands, of the tile or others of its block."""
    spans = Spans(program)
    reads, found = Reads(spans), {}
    size = buffer_bytes(program.config)[Buffer.SCRATCHPAD]
    for span in spans.all:
        for address in range(size):
            for engine, pc, *_ in reads._readers(Buffer.SCRATCHPAD, address, span):
                found.setdefault((pc, engine), set()).add(address)
    return found


@settings(max_examples=40, deadline=None)
@given(programs(machines(SCRATCHPADS)))
def test_a_load_waits_for_all_who_read_what_it_overwrites(program):
    if program.config.buffers.scratchpad_bytes > 1024:
        return  # the same in more bytes
    c, done = program.columns, moments(program)
    loads = np.flatnonzero((c["op"] == BY_NAME["LOAD"].opcode) & (c["buffer"] == Buffer.SCRATCHPAD))
    for (pc, engine), held in readers(program).items():
        read = np.array(sorted(held))
        for load in loads.tolist():
            begin = int(c["buf_addr"][load])
            end = begin + int(c["row_bytes"][load] * c["count"][load])
            if load > pc and ((begin <= read) & (read < end)).any():
                assert done[load, engine] > pc, (load, pc)


@settings(max_examples=60, deadline=None)
@given(programs(machines(SCRATCHPADS)))
def test_values_are_those_of_the_network(program):
    images = random_inputs(program.network, program.batch, 1)
    result = simulate(program, images, values="machine", cycle_model="simpy")
    expected = reference.run_network(program.network, images)[program.network.output]
    np.testing.assert_array_equal(result.outputs, expected)
    assert result.cycles == simulate(program, values="none").cycles


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_place_is_late_only_where_something_there_is_still_read(data):
    """Within a layer nothing ever waits; between layers only what finds both places in use."""
    size, layers = 256, []
    for _ in range(data.draw(st.integers(1, 4))):
        inputs = data.draw(st.integers(1, size // 2))
        most = size // 2 - inputs
        weights = data.draw(st.integers(0, most))
        layers.append(Blocks(inputs, weights))
    memory, still = Scratchpad(size, layers), {}
    for i, largest in enumerate(layers):
        for unit in range(data.draw(st.integers(1, 4))):
            new = [
                data.draw(st.integers(1, most)) if most and (not unit or data.draw(st.booleans()))
                else None
                for most in largest
            ]  # fmt: skip
            before = dict(still)
            for name, place, nbytes in zip(("a", "b"), memory.take(i, *new), new, strict=True):
                if place is None:
                    assert nbytes is None
                    continue
                own = range(place.base, place.base + nbytes)
                assert own.start >= 0
                assert own.stop <= size
                overlaps = any(set(own) & set(other) for other in before.values())
                assert place.late == overlaps
                assert not (overlaps and unit)
                still[name] = own
            if not largest.weights:
                still.pop("b", None)
            assert len({x for own in still.values() for x in own}) == sum(map(len, still.values()))


def conv(index, source, out, kernel):
    pad = kernel // 2
    return Layer(
        f"conv{index}", LayerOp.CONV, source, out, kernel_h=kernel, kernel_w=kernel,
        pad_top=pad, pad_left=pad, shift=7,
    )  # fmt: skip


def two_layers(first, second):
    """Two convolutions of an 8x8 map: (input channels, output channels, kernel) of each."""
    (c0, c1, k1), (_, c2, k2) = first, second
    rng = np.random.default_rng(0)
    maps = [("x", c0), ("y", c1), ("z", c2)]
    shapes = [(c1, k1, k1, c0), (c2, k2, k2, c1)]
    return Network(
        "two",
        tuple(Tensor(name, 8, 8, c, 1.0) for name, c in maps),
        (conv(0, 0, 1, k1), conv(1, 1, 2, k2)),
        {i: rng.integers(-9, 9, shape).astype(np.int8) for i, shape in enumerate(shapes)},
        {i: np.zeros(shape[0], np.int32) for i, shape in enumerate(shapes)},
        Arithmetic(),
        0,
        2,
    )


def first_weights(program):
    """(pc of the second layer's first LOAD of weights, pc of the first layer's last GEMM)."""
    c = program.columns
    weights = (c["op"] == BY_NAME["LOAD"].opcode) & np.isin(c["kind"], [Kind.WEIGHT, Kind.BIAS])
    gemms = (c["op"] == BY_NAME["GEMM"].opcode) & (program.debug_layer == 0)
    return (
        int(np.flatnonzero(weights & (program.debug_layer == 1))[0]),
        int(np.flatnonzero(gemms)[-1]),
    )


def test_layers_share_the_memory_out_differently():
    """Maps of 4 KiB and 576 bytes of weights, then the other way round: both fit, split they don't.

    64 inputs of 8x8 take 4096 bytes, of 16 KiB each may have 8 KiB in all.
    """
    network = two_layers((64, 4, 1), (4, 120, 3))
    config = small_config("dppu.size=0", "protection.s_th=0", "buffers.scratchpad_bytes=9600")
    program = compiled(network, config, None)
    c = program.columns
    loads = c["op"] == BY_NAME["LOAD"].opcode
    assert (c["buffer"][loads] == Buffer.SCRATCHPAD).all()
    moved = np.bincount(c["kind"][loads], (c["row_bytes"] * c["count"])[loads])
    # Every operand once.
    assert moved[Kind.IFMAP] == 64 * 64 + 64 * 4
    assert moved[Kind.WEIGHT] == 64 * 4 + 9 * 4 * 120
    images = random_inputs(network, 1, 0)
    expected = reference.run_network(network, images)[network.output]
    np.testing.assert_array_equal(simulate(program, images, values="machine").outputs, expected)


@pytest.mark.parametrize(("size", "ahead"), [(32768, True), (2048, True)])
def test_weights_of_the_next_layer_are_loaded_ahead(size, ahead):
    network = two_layers((16, 16, 3), (16, 16, 3))
    config = small_config("dppu.size=0", "protection.s_th=0", f"buffers.scratchpad_bytes={size}")
    load, gemm = first_weights(compiled(network, config, None))
    assert (load < gemm) == ahead


def test_weights_wait_where_the_layer_before_still_reads_both_their_places():
    """The first layer reads its inputs from where the second one, all weights, has both of its."""
    memory = Scratchpad(1024, [Blocks(500, 8), Blocks(8, 500)])
    first = memory.take(0, 500, 8)
    assert (first.inputs.base, first.weights.base) == (0, 1016)
    second = memory.take(1, 8, 500)
    # [524, 1024) has the weights that are read, [24, 524) the inputs.
    assert (second.weights.base, second.weights.late) == (524, True)
    assert second.weights.before == [first.weights.readers]
    # [0, 8) is read, [8, 16) too.
    assert (second.inputs.base, second.inputs.late) == (0, True)


def test_the_text_names_the_memory():
    config = small_config("buffers.scratchpad_bytes=4096")
    program = compiled(two_layers((16, 16, 3), (16, 16, 3)), config, None)
    text = disassemble(program)
    loads = [line for line in text.splitlines() if line.startswith("LOAD")]
    assert all("buffer=SCRATCHPAD" in line for line in loads)
    assert any("kind=WEIGHT buffer=SCRATCHPAD" in line for line in loads)
    again = assemble(text)
    np.testing.assert_array_equal(again.text, program.text)
    assert disassemble(again) == text
    split = disassemble(compiled(two_layers((16, 16, 3), (16, 16, 3)), small_config(), None))
    assert "SCRATCHPAD" not in split
    assert "kind=WEIGHT buffer=WEIGHT" in split


@pytest.mark.parametrize("source", [s for s in Source if s.from_buffers])
def test_the_dppu_reads_there_too(source):
    config = small_config("buffers.scratchpad_bytes=2048", "dppu.data_reuse=hybrid_sram")
    network = two_layers((16, 16, 3), (16, 16, 3))
    program = compiled(network, config, random_masks(network, 1.0, 1))
    assert (program.columns["source"] == source).any()
    images = random_inputs(network, 1, 0)
    expected = reference.run_network(network, images)[network.output]
    np.testing.assert_array_equal(simulate(program, images, values="machine").outputs, expected)
