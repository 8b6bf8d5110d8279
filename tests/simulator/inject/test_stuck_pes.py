"""A map of stuck PEs: all executions give the same, and what the DPPU recomputes is right again."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import Config
from flexhyca.config.mappings import WantedMapping
from flexhyca.errors import CompileError
from flexhyca.isa.pe_map import StuckPe, registers_of
from flexhyca.network.functional import Functional
from flexhyca.simulator.inject.fault_plan import Plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.stuck_pes import add_stuck_pes, value_engine
from flexhyca.simulator.run import simulate
from flexhyca.simulator.text.spans import Spans
from flexhyca.tests.support import (
    machines,
    networks,
    one_conv,
    random_inputs,
    random_masks,
    redundant,
    small_config,
)


@st.composite
def pe_maps(draw: st.DrawFn, config: Config) -> tuple[StuckPe, ...]:
    """Some stuck PEs of a machine: dead ones, whole registers and single bits."""
    array, known = config.array, registers_of(config)
    entries, seen = [], set()
    for _ in range(draw(st.integers(1, 6))):
        row, col = draw(st.integers(0, array.rows - 1)), draw(st.integers(0, array.cols - 1))
        reg = draw(st.sampled_from([None, *known]))
        entry = StuckPe(row=row, col=col, reg=reg, stuck=draw(st.integers(0, 1)))
        register = known[entry.name_in(config)]
        if (row, col, register.name) in seen:
            continue
        seen.add((row, col, register.name))
        if draw(st.booleans()):
            bits = register.bits(config.arithmetic)
            entry = entry.model_copy(update={"bit": draw(st.integers(0, bits - 1))})
        entries.append(entry)
    return tuple(entries)


def protected(draw: st.DrawFn, config: Config) -> Config:
    """With copies of some bits, or none."""
    values = config.model_dump()
    nb_th = draw(st.integers(0, 3))
    values["protection"] |= {
        "nb_th": nb_th,
        "ib_th": 8,
        "q_scale": draw(st.integers(0, 3)),
        "pe_policy": draw(st.sampled_from(["direct", "configurable"])) if nb_th else "none",
        "voter": draw(st.sampled_from(["feedback", "output"])),
    }
    return Config.model_validate(values)


@st.composite
def cases(draw: st.DrawFn, repaired: bool = False):
    """A program of a chip with stuck PEs, and images for one run and a half of it."""
    config = protected(draw, draw(machines()))
    if repaired:
        assume(config.dppu.size)
    network = draw(networks(config.arithmetic))
    assume(network.weights)
    if draw(st.booleans()):
        config = draw(redundant(config, network))
    share = draw(st.sampled_from([0.0, 0.1, 0.5])) if config.dppu.size else 0.0
    wanted = {"*": WantedMapping(parked=True)} if draw(st.sampled_from([0, 0, 1])) else {}
    batch, repair = draw(st.integers(1, 2)), True if repaired else draw(st.sampled_from([None, 0]))
    masks, pe_map = random_masks(network, share, 1), draw(pe_maps(config))
    try:
        program = compile_network(
            network, config, masks, batch, wanted, pe_map, None if repair is None else bool(repair)
        )
    except CompileError:
        assume(False)
        raise
    return program, random_inputs(network, batch + (batch + 1) // 2, 0)


def check_executions(case) -> None:
    program, images = case
    found = value_engine(program).run(images)
    first = images[: program.batch]
    for values in ("machine", "registers"):
        np.testing.assert_array_equal(
            simulate(program, first, values=values).outputs, found[: len(first)], values
        )
    if program.batch == 1:
        assert (run_reference(program, first[0], []).output == found[0]).all()
        assert (FaultRun(program, first[0]).run([]).output == found[0]).all()


def check_repair(case) -> None:
    program, images = case
    found = value_engine(program).run(images)
    np.testing.assert_array_equal(found, Functional(program.network).run(images))


@settings(max_examples=12, deadline=None)
@given(cases())
def test_all_executions_give_the_same(case) -> None:
    check_executions(case)


@settings(max_examples=12, deadline=None)
@given(cases(repaired=True))
def test_repaired_values_are_those_without_faults(case) -> None:
    check_repair(case)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(cases())
def test_all_executions_give_the_same_often(case) -> None:
    check_executions(case)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(cases(repaired=True))
def test_repaired_values_are_those_without_faults_often(case) -> None:
    check_repair(case)


DEAD = StuckPe(row=1, col=2)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (DEAD, [(1, 2)]),
        (StuckPe(row=1, col=2, reg="prod", bit=3, stuck=1), [(1, 2)]),
        (StuckPe(row=1, col=2, reg="act", bit=6), [(1, 2), (1, 3)]),
        (StuckPe(row=1, col=2, reg="wgt", bit=6), [(1, 2), (2, 2), (3, 2)]),
    ],
    ids=["dead", "prod", "act", "wgt"],
)
def test_what_a_register_reaches_is_recomputed_in_every_tile(entry, wrong) -> None:
    config = small_config("protection.s_th=0", "protection.nb_th=0", "protection.pe_policy=none")
    spans = Spans(compile_network(one_conv(), config, pe_map=[entry]))
    tiles = spans.own[0]
    assert len(tiles) > 1
    for span in tiles:
        inside = [place for place in wrong if place[0] < span.m and place[1] < span.n]
        assert sorted(map(tuple, spans.important(span).tolist())) == inside


def test_what_other_copies_outvote_is_not_recomputed() -> None:
    config = small_config("protection.s_th=0", "protection.pe_policy=direct")
    top = StuckPe(row=1, col=2, bit=23, stuck=1)
    assert not Spans(compile_network(one_conv(), config, pe_map=[top])).own[0][0].dppus
    whole = top.model_copy(update={"bit": None})
    assert Spans(compile_network(one_conv(), config, pe_map=[whole])).own[0][0].dppus


def test_a_permanent_fault_is_in_all_tiles_and_nothing_else() -> None:
    program = compile_network(
        one_conv(), small_config("protection.s_th=0"), pe_map=[DEAD], repair=False
    )
    spans = Spans(program)
    plan = add_stuck_pes(Plan(), spans)
    assert set(plan.flips) == {(0, span.number) for span in spans.own[0]}
    assert not any(span.dppus for span in spans.own[0])
    images = random_inputs(program.network, 1, 0)
    wrong = value_engine(program).run(images) != Functional(program.network).run(images)
    assert wrong.any()


def test_repair_where_there_is_no_dppu_is_refused() -> None:
    config = small_config("protection.s_th=0", base="base-32x32")
    program = compile_network(one_conv(), config, pe_map=[DEAD])
    assert not program.repaired
    with pytest.raises(CompileError) as error:
        compile_network(one_conv(), config, pe_map=[DEAD], repair=True)
    assert str(error.value) == (
        "one: repair of stuck PEs: base-32x32 has no DPPU that recomputes their sums (dppu.size, "
        "array.dataflow os, timing native); give it one, or leave repair out"
    )


def test_tables_that_do_not_fit_are_refused() -> None:
    config = small_config("protection.s_th=0", "buffers.position_bytes=16")
    with pytest.raises(CompileError) as error:
        compile_network(one_conv(), config, pe_map=[DEAD])
    assert str(error.value) == (
        "one: repair of stuck PEs: buffers.position_bytes = 16 cannot hold the tables of two "
        "tiles, twice; use at least 24"
    )
