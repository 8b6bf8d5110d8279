"""Damaged instructions: crashes, hangs, wrong values, and bits that nothing reads."""

import collections

import numpy as np
import pytest

from flexhyca.faults.machine.population import Population
from flexhyca.isa.instructions import BY_NAME, BY_OPCODE, HEADER, Kind
from flexhyca.isa.rules import RULES, Rule
from flexhyca.simulator.inject.control import (
    MachineCheckError,
    damaged,
    meaningless,
    refused,
    words,
)
from flexhyca.simulator.inject.fault_plan import make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import FLIP, Site
from flexhyca.tests.support import (
    compiled,
    one_conv,
    one_conv_on,
    random_inputs,
    small_config,
)


@pytest.fixture(scope="module")
def run():
    program = compiled(one_conv(h=4, n=4), small_config("protection.s_th=0"), None)
    return FaultRun(program, random_inputs(program.network, 1, 0)[0])


def first(run, name):
    """The pc of the first instruction of a kind."""
    return int(np.flatnonzero(run.program.columns["op"] == BY_NAME[name].opcode)[0])


def flip(run, name, field, bit=0):
    """A site in a field of the first instruction of a kind."""
    pc = first(run, name)
    span = next(s for s in run.spans.all if s.begin <= pc < s.end)
    low, _ = BY_NAME[name].layout()[field]
    word = pc - span.begin
    return Site("conv", span.number, 0, word, 0, "instruction", low + bit, unit="buffer")


def both(run, site):
    """How both executions end; they agree."""
    outcome, end = run.run([site]), run_reference(run.program, run.image, [site])
    assert (outcome.failure, outcome.reason) == (end.failure, end.reason)
    np.testing.assert_array_equal(outcome.output, end.output)
    return outcome


def test_a_word_that_means_nothing_is_a_crash(run):
    outcome = both(run, flip(run, "LOAD", "op", 4))
    assert outcome.failure == "crash"
    assert "opcode 17 is unknown" in outcome.reason


@pytest.mark.parametrize(
    ("name", "field", "bit", "reason"),
    [
        ("LOAD", "dram_addr", 31, "LOAD reads outside the program's memory"),
        ("LOAD", "row_bytes", 19, "LOAD ends outside its buffer"),
        ("GEMM", "m0", 27, "tile beyond the last pixel"),
        ("STORE", "slot", 7, "slot does not exist"),
        ("SETCFG", "index", 20, "SETCFG of a descriptor that does not exist"),
    ],
)
def test_what_does_not_exist_is_a_crash(run, name, field, bit, reason):
    outcome = both(run, flip(run, name, field, bit))
    assert outcome.failure == "crash"
    assert reason in outcome.reason


def test_a_token_that_never_comes_is_a_hang(run):
    # STORE's instruction waits for the DPPU, which has no work in this program.
    outcome = both(run, flip(run, "STORE", "wait", 2))
    assert outcome.failure == "hang"
    assert "deadlock at cycle" in outcome.reason
    own = both(run, flip(run, "STORE", "wait", 3))
    assert own.failure == "hang"
    assert "waits for its own engine's token" in own.reason


def test_a_wrong_address_is_a_wrong_value(run):
    c = run.program.columns
    loads = (c["op"] == BY_NAME["LOAD"].opcode) & (c["kind"] == Kind.WEIGHT)
    pc = int(np.flatnonzero(loads)[-1])  # the first ones may meet nothing but padding
    low, _ = BY_NAME["LOAD"].layout()["dram_addr"]
    outcome = both(run, Site("conv", 0, 0, pc, 0, "instruction", low, unit="buffer"))
    assert outcome.failure is None
    assert outcome.changed


def test_engines_stop_at_the_first_halt(run):
    pc = first(run, "STORE")
    halt = BY_NAME["HALT"].opcode
    bits = [(b, FLIP) for b in range(128) if int(run.program.text[pc, b // 64]) >> b % 64 & 1]
    bits = [(b, kind) for b, kind in bits if b != halt.bit_length() - 1]
    stopped = damaged(run.program, {pc: [*bits, (halt.bit_length() - 1, FLIP)]})
    assert len(stopped.text) == pc + 1
    last = len(run.program.text) - 1
    bit = next(b for b in range(HEADER[0].bits) if halt ^ 1 << b not in BY_OPCODE)
    with pytest.raises(MachineCheckError, match=rf"opcode {halt ^ 1 << bit} is unknown"):
        damaged(run.program, {last: [(bit, FLIP)]})


def test_fields_that_nothing_reads(run):
    program = run.program
    assert meaningless(program, damaged(program, {first(run, "LOAD"): [(13, FLIP)]}))  # kind
    vec = first(run, "VEC")
    low, _ = BY_NAME["VEC"].layout()["res_slot"]
    assert meaningless(program, damaged(program, {vec: [(low, FLIP)]}))
    # ... but a slot that does not exist is found out.
    assert not meaningless(program, damaged(program, {vec: [(low + 7, FLIP)]}))
    low, _ = BY_NAME["VEC"].layout()["slot"]
    assert not meaningless(program, damaged(program, {vec: [(low, FLIP)]}))


def test_refused_instructions_do_not_get_into_the_cycle_model(run):
    pc = first(run, "GEMM")
    low, _ = BY_NAME["GEMM"].layout()["m"]
    timed, why = refused(damaged(run.program, {pc: [(low + 8, FLIP)]}))
    assert pc in why
    assert BY_OPCODE[int(timed.columns["op"][pc])].name == "SYNC"
    assert timed.columns["wait"][pc] == run.program.columns["wait"][pc]


def test_words():
    assert words((1, 0), [(0, FLIP), (64, FLIP)]) == (0, 1)
    assert words((1, 0), [(0, 1), (1, 1), (127, 0)]) == (3, 0)


def control_faults(kind, count):
    """Random control faults on a machine of a kind."""
    program, image = one_conv_on(kind, 5)
    run, rng = FaultRun(program, image), np.random.default_rng(12)
    population = Population(run.spans, "control", False)
    return run, [population.draw(rng) for _ in range(count)]


def ends(run, sites):
    """How each inference ends, without the words for it; and how often."""
    found = [run.run([site]) for site in sites]
    names = collections.Counter(end.failure or f"masked: {end.masked}" for end in found)
    return [(end.failure, end.masked, end.output.tobytes(), end.changed) for end in found], names


def rules_broken(run, sites):
    """The rules that the damaged instructions break, whether the machine refuses them or not."""
    met = collections.Counter()
    for site in sites:
        plan = make_plan([site], run.spans)
        try:
            _, why = refused(damaged(run.program, plan.instructions))
        except MachineCheckError:
            continue
        met.update(broken.rule for broken in why.values())
    return met


def test_no_outcome_depends_on_the_words_of_a_message(monkeypatch):
    rng, names, rules = np.random.default_rng(5), collections.Counter(), set()
    cases = [control_faults(kind, 120) for kind in ("ws", "space", "hybrid", "dram")]
    before = [ends(run, sites) for run, sites in cases]
    for (run, sites), (_, found) in zip(cases, before, strict=True):
        names.update(found)
        rules.update(rules_broken(run, sites))
    assert {"crash", "hang", "masked: idle", "masked: None"} <= names.keys()
    assert len(rules) >= 10, rules
    for rule in Rule:
        words = bytes(rng.integers(97, 123, 20).astype(np.uint8)).decode()
        monkeypatch.setitem(RULES, rule, RULES[rule]._replace(text=words))
    assert [ends(run, sites) for run, sites in cases] == before
