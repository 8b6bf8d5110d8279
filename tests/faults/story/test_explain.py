"""The story of a fault: what is said to be stored is what is stored, and nothing hides."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flexhyca.faults.machine.part import EVERYTHING
from flexhyca.faults.machine.physical import Hardware
from flexhyca.faults.machine.population import Population
from flexhyca.faults.story.buffer_contents import word_content
from flexhyca.faults.story.contents import content
from flexhyca.faults.story.explain import explain
from flexhyca.faults.story.hit_words import hit_tile
from flexhyca.faults.story.region import region
from flexhyca.isa.registers import BY_UNIT, UNIT_OF_DATAFLOW
from flexhyca.simulator.inject.fault_plan import copies_at, copies_of
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import (
    FLIP,
    Site,
    check_place,
    parse_site,
)
from flexhyca.simulator.inject.units import moments
from flexhyca.tests.support import (
    MACHINES,
    compiled,
    one_conv,
    one_conv_on,
    programs,
    random_inputs,
    small_config,
)


def machine(kind):
    return FaultRun(*one_conv_on(kind, 4))


def differences(run, sites):
    """What differs, tile by tile, and the output."""
    result = run.run(sites)
    hits = [
        (hit.span.number, at, int(after))
        for hit in result.hits
        for at, after, before in zip(hit.elements.tolist(), hit.after, hit.before, strict=True)
        if after != before
    ]
    return hits, result.output.tobytes()


TOLD: Counter[str] = Counter()  #: bytes by the first word of what they are, and operands


@pytest.mark.parametrize("kind", MACHINES)
def test_what_is_said_to_be_stored_is_stored(kind):
    """Held at the bit that is told, nothing changes; held at the other one, as if it had flipped.

    Where nothing is told, no flip changes anything.
    """
    run, rng = machine(kind), np.random.default_rng(0)
    held = 0
    draws = ("register", True), ("register", False), ("memory", True), ("control", True)
    for model, live in draws:
        population = Population(run.spans, model, live)
        for _ in range(60):
            site = population.draw(rng)
            if model == "control" and site.unit == "buffer":  # no values
                continue
            span = hit_tile(run, site)
            told = (word_content if site.unit == "buffer" else content)(run, span, site)
            if told.value is None:
                assert differences(run, [site]) == differences(run, [])
                continue
            _, own = copies_at(run.spans, span, site)
            if own > 1:  # they are another test's
                continue
            is_position = site.register == "position"
            bit = told.value >> (0 if is_position else site.bit) & 1
            last = moments(check_place(site, run.program.config), span, run.spans)
            until = site.cycle + 1 if site.cycle + 1 < last else -1
            same, other = (replace(site, stuck=value, until=until) for value in (bit, 1 - bit))
            assert differences(run, [same]) == differences(run, []), (site, told)
            assert differences(run, [other]) == differences(run, [site]), (site, told)
            held += 1
    assert held > 60


WEIGHT = re.compile(r"weight \((\d+), (\d+), channel (\d+)\) of output channel (\d+) of (\w+),")
ELEMENT = re.compile(r"element \((\d+), (\d+), channel (\d+)\) of (\w+)")
OPERAND = re.compile(r"of output channel (\d+), its weight \((\d+), (\d+), channel (\d+)\)")


SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


@SOME
@given(programs(), st.integers(0, 2**32 - 1))
def bytes_of_buffers_in_any_network(program, seed):
    """A byte is called what it is; the networks have groups, cut reductions, adds and pools."""
    assume(program.batch == 1)
    network, config = program.network, program.config
    run = FaultRun(program, random_inputs(network, 1, 0)[0])
    rng = np.random.default_rng(seed)
    for name in ("ifmap", "weight", "residual"):
        words = BY_UNIT["buffer"][name].rows(config)
        for span in run.spans.all[:: max(1, len(run.spans.all) // 6)]:
            for word in rng.integers(min(words, 300), size=5).tolist() if words else ():
                layer = network.layers[span.layer].name
                site = Site(layer, span.number, 0, word, 0, name, 0, unit="buffer")
                told = word_content(run, span, site)
                check_name(run, told)
                TOLD[told.meaning.split()[0]] += 1


def check_name(run, told):
    """A weight, or an element of a tensor, is that one."""
    network = run.network
    layers = {layer.name: i for i, layer in enumerate(network.layers)}
    tensors = {tensor.name: i for i, tensor in enumerate(network.tensors)}
    if found := WEIGHT.search(told.meaning):
        (*place, layer) = found.groups()
        ky, kx, c, n = map(int, place)
        weights, groups = network.weights[layers[layer]], network.layers[layers[layer]].groups
        first = n // (len(weights) // groups) * weights.shape[3]
        assert told.value == weights[n, ky, kx, c - first]
    elif found := ELEMENT.search(told.meaning):
        (*place, tensor) = found.groups()
        values = run.difference.golden(tensors[tensor])
        assert told.value == values[tuple(map(int, place))]
    elif "padding" in told.meaning:
        assert told.value == 0


@SOME
@given(programs(), st.integers(0, 2**32 - 1))
def operands_in_any_network(program, seed):
    """The registers of PEs hold what they are said to, whatever the windows of a layer are."""
    assume(program.batch == 1)
    run = FaultRun(program, random_inputs(program.network, 1, 0)[0])
    rng, unit = np.random.default_rng(seed), UNIT_OF_DATAFLOW[program.config.array.dataflow]
    for span in run.spans.all[:: max(1, len(run.spans.all) // 6)]:
        layer = run.network.layers[span.layer].name
        for name in ("act", "wgt") if span.gemms else ():
            for row, col in rng.integers(2, size=(3, 2)).tolist():
                site = Site(layer, span.number, 0, row, col, name, 0, unit=unit)
                cycles = content(run, span, site).cycles
                if cycles:
                    site = replace(site, cycle=int(rng.integers(cycles[0][0], cycles[-1][1] + 1)))
                told = content(run, span, site)
                if told.value is None:
                    continue
                TOLD[name] += 1
                if name == "act":
                    check_name(run, told)
                    continue
                n, ky, kx, c = map(int, OPERAND.search(told.meaning).groups())
                layer_of, weights = run.network.layers[span.layer], run.network.weights[span.layer]
                first = n // (len(weights) // layer_of.groups) * weights.shape[3]
                assert told.value == weights[n, ky, kx, c - first]


def test_names_of_what_is_stored_in_any_network():
    TOLD.clear()
    bytes_of_buffers_in_any_network()
    operands_in_any_network()
    assert TOLD.keys() >= {"weight", "element", "byte", "nothing", "act", "wgt"}


@pytest.mark.parametrize("kind", MACHINES)
def test_an_idle_register_is_said_to_be_used_when_it_is(kind):
    run, rng = machine(kind), np.random.default_rng(2)
    population, seen = Population(run.spans, "register", False), 0
    for _ in range(40):
        site = population.draw(rng)
        span = hit_tile(run, site)
        told = content(run, span, site)
        if told.value is None:
            cycles = moments(check_place(site, run.program.config), span, run.spans)
            every = [content(run, span, replace(site, cycle=t)) for t in range(cycles)]
            used = [t for t, other in enumerate(every) if other.value is not None]
            assert used == [t for a, b in told.cycles for t in range(a, b + 1)], site
            seen += bool(used)
    assert seen


@pytest.mark.parametrize("kind", MACHINES)
def test_every_site_has_a_story(kind):
    run, rng = machine(kind), np.random.default_rng(1)
    for model in ("register", "memory", "control"):
        for live in (True, False):
            population = Population(run.spans, model, live)
            for _ in range(15):
                site = population.draw(rng)
                for stuck in (FLIP, 1) if site.register != "instruction" else (FLIP,):
                    own = [replace(site, stuck=stuck)]
                    lines = list(explain(run, own, run.run(own)))
                    assert lines[0] == str(own[0])
                    assert lines[1].startswith("tile ")
                    assert all(lines)


@pytest.mark.parametrize("kind", MACHINES)
def test_every_stuck_bit_has_a_story(kind):
    run, rng = machine(kind), np.random.default_rng(1)
    for state in ("register", "memory"):
        hardware = Hardware(run.spans, state, EVERYTHING)
        for _ in range(30):
            own = hardware.draw(rng).sites
            assert all(explain(run, own, run.run(own)))


def story(run, *texts):
    sites = [parse_site(f"layer=conv,tile=0,{text}") for text in texts]
    return list(explain(run, sites, run.run(sites)))


@pytest.fixture(scope="module")
def run():
    config = small_config("protection.nb_th=1", "protection.s_th=0.2", "protection.q_scale=7")
    network = one_conv(h=4, n=4)
    masks = {0: np.arange(64).reshape(4, 4, 4) % 5 == 0}
    return FaultRun(compiled(network, config, masks), random_inputs(network, 1, 0)[0])


def test_the_words_of_a_story(run):
    """Values from the operands themselves: PE (1, 2) reads operand 4 in cycle 8."""
    layer, (x,) = run.network.layers[0], [run.image.astype(int)]
    w = run.network.weights[0].astype(int)
    assert (layer.pad_top, layer.pad_left, layer.stride_w) == (1, 1, 1)
    c = x.shape[2]
    ky, kx, channel = 1, 1, 4 % c  # operand 3 * c + c + channel: the middle of the window
    k = (ky * 3 + kx) * c + channel
    a, b = x[0, 1, channel], w[2, ky, kx, channel]
    at = f"cycle={k + 4},row=1,col=2"
    name = run.network.tensors[layer.input].name
    (line,) = [y for y in story(run, f"{at},reg=act,bit=1") if y.startswith("act of PE (1, 2)")]
    assert line == (
        f"act of PE (1, 2) in cycle {k + 4}: operand {k} of output pixel (0, 1), element "
        f"(0, 1, channel {channel}) of {name}: {a} -> {a ^ 2} (bit 1: {a >> 1 & 1} -> "
        f"{1 - (a >> 1 & 1)})"
    )
    (line,) = [y for y in story(run, f"{at},reg=wgt,bit=1") if y.startswith("wgt of PE (1, 2)")]
    assert line == (
        f"wgt of PE (1, 2) in cycle {k + 4}: operand {k} of output channel 2, its weight "
        f"({ky}, {kx}, channel {channel}): {b} -> {b ^ 2} (bit 1: {b >> 1 & 1} -> "
        f"{1 - (b >> 1 & 1)})"
    )
    line = story(run, f"cycle={k + 5},row=1,col=2,reg=prod,bit=0")[2]
    assert line.startswith(
        f"prod of PE (1, 2) in cycle {k + 5}: product {k} of (0, 1, channel 2): {a} x {b} = "
        f"{a * b} -> {(a * b) ^ 1} (bit 0"
    )
    bias, depth = int(run.network.biases[0][2]), 9 * c
    assert story(run, "cycle=0,row=1,col=2,reg=acc,bit=0")[2].startswith(
        f"acc of PE (1, 2) in cycle 0: partial sum of (0, 1, channel 2) after 0 of {depth} "
        f"products (bias {bias}): {bias} -> {bias ^ 1} (bit 0"
    )
    padding = story(run, "cycle=1,row=0,col=0,reg=act,bit=3")[2]
    assert padding == (
        "act of PE (0, 0) in cycle 1: operand 0 of output pixel (0, 0), a zero of the padding: "
        "0 -> 8 (bit 3: 0 -> 1)"
    )
    assert story(run, "cycle=2,row=1,col=2,reg=act,bit=3")[2] == (
        f"act of PE (1, 2) holds nothing that is used in cycle 2; it does in cycles 4..{depth + 3}"
    )


def test_a_stuck_bit_is_told_in_its_first_cycle_of_use(run):
    depth = run.evaluate.depth(run.spans.own[0][0])
    line = story(run, "cycle=0,row=0,col=0,reg=act,bit=3,stuck=1")[2]
    assert line.startswith("act of PE (0, 0) in cycle 1: ")
    assert line.endswith(": 0 -> 8 (bit 3: 0 -> 1); it is held at 1 to the end of the tile")
    line = story(run, "cycle=0,until=9,row=0,col=0,reg=act,bit=3,stuck=0")[2]
    assert line.endswith(": 0; bit 3 is 0 already; it is held at 0 up to cycle 8")
    line = story(run, "cycle=0,until=8,row=3,col=3,reg=act,bit=3,stuck=0")[2]
    assert line.startswith("act of PE (3, 3) in cycle 7: ")
    assert story(run, "cycle=0,until=7,row=3,col=3,reg=act,bit=3,stuck=0")[2] == (
        "act of PE (3, 3) holds nothing that is used while it is stuck; it does in cycles "
        f"7..{depth + 6}"
    )
    sites = [parse_site("layer=*,tile=*,row=0,col=0,reg=wgt,bit=3,stuck=0")]
    lines = list(explain(run, sites, run.run(sites)))
    assert lines[2].endswith("it is held at 0 in all tiles of all layers")


def test_why_an_operand_in_use_changes_nothing(run):
    """Operand 0 of pixel (0, 3) is padding; PE (3, 0) is the last one that meets this weight."""
    zeros = "  every operand that it is multiplied by is 0"
    lines = story(run, "cycle=4,row=3,col=0,reg=wgt,bit=6")
    assert "operand 0 of output channel 0" in lines[2]
    assert lines[3:5] == ["no sum differs", zeros]
    for other in ("cycle=3,row=3,col=0,reg=wgt,bit=6", "cycle=65,row=0,col=0,reg=wgt,bit=6"):
        assert zeros not in story(run, other)


@pytest.mark.parametrize(
    ("kind", "register", "line"),
    [
        ("space", "acc", "  it is in run 1 of 3 of this layer, whose sums are voted bit by bit"),
        ("time", "acc", "  all 3 runs of this layer have it"),
    ],
)
def test_a_permanent_fault_of_a_layer_that_is_computed_three_times(kind, register, line):
    """Column 3 of 6 is the second one of the second third."""
    run = machine(kind)
    sites = [parse_site(f"layer=*,tile=*,row=0,col=3,reg={register},bit=3,stuck=0")]
    lines = list(explain(run, sites, run.run(sites)))
    channel = 1 if kind == "space" else 3
    assert lines[2].startswith(
        f"acc of PE (0, 3) in cycle 0: partial sum of (0, 0, channel {channel})"
    )
    assert lines[3] == line


def test_copies_and_their_voter(run):
    span = run.spans.own[0][0]
    bit = next(b for b in range(24) if copies_of(run.spans, span, "array", "acc", b, 0)[1] == 3)
    at = f"cycle=9,row=0,col=0,reg=acc,bit={bit}"
    one, two = story(run, at), story(run, f"{at},copy=1", f"{at},copy=2")
    before, after = map(int, re.search(r": (-?\d+) -> (-?\d+) \(bit", one[2]).groups())
    assert one[3] == f"  the bit has 3 copies; copy 0 is wrong, and the voter reads {before}"
    assert f"  the bit has 3 copies; copies 1 and 2 are wrong, and the voter reads {after}" in two
    assert not any("copies" in line for line in story(run, "cycle=9,row=0,col=0,reg=acc,bit=0"))


def test_a_crash_gives_no_advice_about_program_files(run):
    lines = story(run, "word=0,reg=instruction,bit=4")
    assert any("opcode 17 is unknown" in line for line in lines)
    assert not any("recompile" in line or "another version" in line for line in lines)
    site = Site(run.program.layer_names[0], 0, 0, 0, 0, "instruction", 4, unit="buffer")
    (reason,) = {run.run([site]).reason, run_reference(run.program, run.image, [site]).reason}
    assert "opcode 17 is unknown" in reason
    assert reason.endswith("8 HALT)")


def test_regions():
    def flat(*places):
        return np.array([(y * 4 + x) * 8 + c for y, x, c in places])

    assert region(flat((1, 2, 3)), 4, 8) == "pixel (1, 2), channel 3"
    row = [(0, 1, c) for c in (2, 3, 4, 7)]
    assert region(flat(*row), 4, 8) == "pixel (0, 1), channels 2..4, 7"
    column = [(y, x, 5) for y in (0, 1) for x in range(4)]
    assert region(flat(*column), 4, 8) == "pixels (0, 0)..(1, 3), channel 5"
    both = region(flat((0, 0, 1), (0, 1, 1), (2, 0, 2)), 4, 8)
    assert both == "pixels (0, 0)..(0, 1), channel 1; pixel (2, 0), channel 2"
    scattered = [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 3), (1, 1, 4)]
    assert region(flat(*scattered[::2]), 4, 8) == (
        "pixel (0, 0), channel 0; pixel (0, 2), channel 2; pixel (1, 1), channel 4"
    )
    scattered = [(y, x, (y * 4 + x) % 8) for y in range(4) for x in range(4)]
    assert region(flat(*scattered), 4, 8) == "pixels (0, 0), (2, 0), channel 0; " + "; ".join(
        f"pixels ({i // 4}, {i % 4}), ({i // 4 + 2}, {i % 4}), channel {i}" for i in range(1, 8)
    )
    scattered = [(y, x, (y * 4 + x) % 8) for y in range(5) for x in range(4)]
    assert region(flat(*scattered), 4, 8) == "within pixels (0, 0)..(4, 3), channels 0..7"


def test_the_reach_of_many_words_is_told_before_the_list(run):
    lines = story(run, "cycle=65,row=0,col=0,reg=wgt,bit=6")  # its middle
    at = next(i for i, line in enumerate(lines) if "sum(s) differ" in line)
    count = int(lines[at].split()[0])
    assert lines[at + 1].startswith("  reached: pixel")
    assert count > 1


def test_nobody_knows_the_readers_where_instructions_are_wrong_too(run):
    lines = story(run, "word=0,reg=ifmap,bit=1,cycle=0", "word=0,reg=instruction,bit=120")
    assert not any("nothing reads the wrong byte" in line for line in lines)
