"""Faults anywhere in the machine: exact corrections equal the machine that executes every bit."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.config import Config, choices
from flexhyca.errors import FlexhycaError
from flexhyca.faults.machine.outcomes import STAGES
from flexhyca.isa.protection import copies
from flexhyca.isa.registers import REGISTERS
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import FLIP, Site, parse_site
from flexhyca.tests.simulator.inject.random_sites import random_sites
from flexhyca.tests.support import (
    compiled,
    machines,
    networks,
    one_conv,
    random_inputs,
    random_masks,
    redundant,
    small_config,
)

COVERED: collections.Counter = collections.Counter()


@st.composite
def cases(draw, machine=None):
    """A small machine under any protection, any small network, and a source of faults."""
    config = draw(machines() if machine is None else machine)
    values = config.model_dump()
    values["protection"] |= {
        "nb_th": draw(st.integers(0, 2)),
        "ib_th": 2,
        "pe_policy": draw(st.sampled_from(["direct", "configurable"])),
        "voter": draw(st.sampled_from(choices("protection.voter"))),
    }
    if config.array.keeps_sums and not config.dppu.size and draw(st.booleans()):
        values["protection"]["hardened_cols"] = draw(st.integers(1, 6))
    thrice = config.array.dataflow == "os" and draw(st.sampled_from([True, False, False]))
    if thrice:  # instead of the DPPU
        values["dppu"]["size"], values["protection"]["s_th"] = 0, 0.0
        values["protection"]["hardened_cols"] = 0
    config = Config.model_validate(values)
    network = draw(networks(config.arithmetic))
    if thrice:
        config = draw(redundant(config, network))
    masks = random_masks(network, draw(st.sampled_from([0.1, 0.4, 1.0])), 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    important = config.dppu.size or config.protection.hardened_cols
    program = compiled(network, config, masks if important else None)
    return program, random_inputs(network, 1, int(rng.integers(2**31)))[0], rng


def check(case, plans):
    """`plans` random plans of one to ten faults: both executions end alike."""
    program, image, rng = case
    run = FaultRun(program, image)
    for _ in range(plans):
        sites = random_sites(run, rng, int(rng.choice([1, 1, 2, 5, 10])))
        outcome, end = run.run(sites), run_reference(program, image, sites)
        assert outcome.failure == end.failure, sites
        np.testing.assert_array_equal(outcome.output, end.output, str(sites))
        same = (outcome.output == run.golden).all() and outcome.failure is None
        assert (outcome.masked is not None) == same
        for site in sites:
            assert parse_site(str(site)) == site
            COVERED[
                "fault", site.unit, site.register, "flip" if site.stuck == FLIP else "stuck"
            ] += 1
        count(program.config, sites, outcome)


def count(config, sites, outcome):
    """What was covered: for the table of the slow test."""
    COVERED["plans"] += 1
    COVERED["dataflow", config.array.dataflow] += 1
    COVERED["voter", config.protection.voter] += 1
    COVERED["hardened columns", config.protection.hardened_cols > 0] += 1
    COVERED["redundancy", config.protection.redundancy] += 1
    COVERED["data_reuse", config.dppu.data_reuse if config.dppu.size else "no DPPU"] += 1
    COVERED["outcome", outcome.failure or f"masked:{outcome.masked}"] += 1
    COVERED["interacting", len({(s.layer, s.tile) for s in sites}) < len(sites)] += 1


@settings(max_examples=150, deadline=None)
@given(cases())
def test_both_executions_agree(case):
    check(case, 2)


@pytest.mark.slow
def test_both_executions_agree_often():
    COVERED.clear()

    @settings(max_examples=2000, deadline=None)
    @given(cases())
    def often(case):
        check(case, 10)

    while COVERED["plans"] < 20_000:
        often()
    for what, times in sorted(COVERED.items(), key=str):
        print(what, times)
    # Groups of the drawn machines have at most four lanes, so the tree has two stages.
    deeper = {f"tree{stage}" for stage in range(3, 13)}
    every = {(r.unit, r.name) for r in REGISTERS if r.name not in deeper}
    for kind in ("flip", "stuck"):
        assert {what[1:3] for what in COVERED if what[0] == "fault" and what[3] == kind} == every
    for dataflow in choices("array.dataflow"):
        assert COVERED["dataflow", dataflow] > 100
    stages = {what[1] for what in COVERED if what[0] == "outcome"}
    assert stages == {"crash", "hang", "masked:None", *(f"masked:{stage}" for stage in STAGES)}
    for redundancy in choices("protection.redundancy"):
        assert COVERED["redundancy", redundancy] > 50
    assert COVERED["interacting", True] > 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer=conv1,tile=0", "site 'layer=conv1,tile=0': cycle, row, col, register, bit missing"),
        (
            "layr=conv1",
            "site 'layr=conv1': 'layr=conv1' is not KEY=VALUE of a site; did you mean layer?",
        ),
        ("tile=x", "site 'tile=x': tile='x' is not a natural number"),
        ("tile=1,tile=2", "site 'tile=1,tile=2': tile stands twice"),
        ("word=1,byte=2", "site 'word=1,byte=2': byte stands twice"),
        (
            "layer=*,tile=0,reg=ifmap,word=3,bit=0",
            "site 'layer=*,tile=0,reg=ifmap,word=3,bit=0': layer=* needs tile=*, a bit that is "
            "stuck for ever",
        ),
        (
            "layer=*,tile=*,reg=ifmap,word=3,bit=0",
            "site 'layer=*,tile=*,reg=ifmap,word=3,bit=0': tile=* is for stuck bits; give stuck=0 "
            "or stuck=1",
        ),
        (
            "layer=a,tile=0,cycle=4,reg=ifmap,word=3,bit=0,stuck=2",
            "site 'layer=a,tile=0,cycle=4,reg=ifmap,word=3,bit=0,stuck=2': stuck=2 is no bit; use "
            "0 or 1",
        ),
        (
            "layer=a,tile=0,cycle=4,reg=ifmap,word=3,bit=0,stuck=1,until=4",
            "site 'layer=a,tile=0,cycle=4,reg=ifmap,word=3,bit=0,stuck=1,until=4': until=4 is not "
            "after cycle=4; it is the first cycle in which the bit is free again",
        ),
        (
            "layer=a,tile=0,cycle=4,reg=preload,row=3,col=0,bit=0",
            "site 'layer=a,tile=0,cycle=4,reg=preload,row=3,col=0,bit=0': register 'preload' is in "
            "units array_ws, array_is; give unit=",
        ),
    ],
)
def test_a_text_that_is_no_site(text, message):
    with pytest.raises(FlexhycaError) as error:
        parse_site(text)
    assert str(error.value) == message


def test_one_copy_is_outvoted_and_two_are_not():
    config = small_config("protection.nb_th=2", "protection.s_th=0")
    program = compiled(one_conv(h=2, n=3), config, None)
    run = FaultRun(program, random_inputs(program.network, 1, 0)[0])
    shift = program.network.layers[0].shift
    bit = next(b for b in range(24) if copies(config, shift, "acc", b) == 3)
    site = Site("conv", 0, run.evaluate.depth(run.spans.all[0]), 0, 0, "acc", bit)
    first, second = (dataclasses.replace(site, copy=copy) for copy in (1, 2))
    assert run.run([first]).masked == "tmr"
    assert run.run([first, first]).masked == "idle"  # it is right again
    both = run.run([first, second])
    assert len(both.hits[0].elements) == 1
    change = int(both.hits[0].after[0] - both.hits[0].before[0])
    assert abs(change) in (1 << site.bit, (1 << 24) - (1 << site.bit))
    later = dataclasses.replace(second, cycle=second.cycle + 1)
    assert run.run([first, later]).masked == "tmr"  # the first one has healed
    idle = dataclasses.replace(first, col=run.spans.all[0].n)  # a PE without a neuron
    assert run.run([idle]).masked == "idle"
    assert run.run([idle, dataclasses.replace(idle, copy=2)]).masked == "idle"
    early = dataclasses.replace(first, register="prod", bit=15, cycle=0)
    assert copies(config, shift, "prod", 15) == 3
    assert run.run([early]).masked == "idle"  # before the first product
    assert run.run([idle, first]).masked == "tmr"
    with pytest.raises(FlexhycaError, match=r"copy=1 is outside 0\.\.0"):
        run.run([dataclasses.replace(site, register="act", bit=0, copy=1)])
