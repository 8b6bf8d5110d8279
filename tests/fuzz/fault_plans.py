"""Dense plans of faults: several a byte, a bit and a step, stuck ones and flips mixed.

Faults that meet are where corrections go wrong that each are right alone.  A plan begins with a few
random sites, and the others lie around them: the same word, its neighbours, other bits, copies,
moments and tiles.  `python -m flexhyca.tests.fuzz.fault_plans PLANS SEED` tries many and counts.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

from flexhyca.errors import FlexhycaError
from flexhyca.isa.registers import BUFFER_BYTES, BY_UNIT
from flexhyca.simulator.inject.fault_plan import copies_of, make_plan
from flexhyca.simulator.inject.fault_run import FaultRun, run_reference
from flexhyca.simulator.inject.sites import ALL, END, EVERY, FLIP, Site, parse_site
from flexhyca.simulator.inject.units import moments
from flexhyca.tests.fuzz.attacks import Attack
from flexhyca.tests.simulator.inject.random_sites import random_sites
from flexhyca.tests.simulator.inject.test_fault_run import cases

_MOST = 60  # sites of a plan
_BYTES = [("buffer", name) for name in BUFFER_BYTES]
_HABITS = ((0.1, 0.6), (0.0, 0.2), (0.0, 0.3, 0.6), (0.0, 0.35, 0.8))  #: of each field of a Habit


class Habit(NamedTuple):
    """How the sites of a plan differ: chances of another bit, place and tile, and to be stuck."""

    bit: float
    place: float
    tile: float
    stuck: float


class Found(NamedTuple):
    """What became of some plans. failing : the kind of failure and the sites of each."""

    plans: int
    sites: int
    failing: list[tuple[str, list[Site]]]


def dense_sites(
    run: FaultRun, rng: np.random.Generator, registers: list[tuple[str, str]] | None = None
) -> list[Site]:
    """Up to 60 sites that meet, in any order; now and then one twice.

    registers : (unit, name) that they begin with; any, or bytes of memories.
    """
    only = _BYTES if rng.random() < 0.5 else None
    only = only if registers is None else registers
    anchors = random_sites(run, rng, int(rng.integers(1, 4)), registers=only)
    if not anchors:
        return []
    count = int(rng.choice([2, 3, 5, 10, 25, _MOST]))
    habit = Habit(*(float(rng.choice(x)) for x in _HABITS))
    sites = list(anchors)
    for _ in range(4 * count):
        if len(sites) >= count:
            break
        site = _near(run, rng, anchors[rng.integers(len(anchors))], habit)
        if site is not None:
            sites.append(site)
    if rng.random() < 0.8:
        sites = list(dict.fromkeys(sites))
    return [sites[i] for i in rng.permutation(len(sites))]


def both_agree(case, register: str, dense: list[tuple[str, str]] | None = None) -> None:
    """Reference and delta end alike for bytes of a memory, few or dense, and sites are read back.

    dense : what dense plans begin with, as `dense_sites` takes it.
    """
    program, image, rng = case
    run = FaultRun(program, image)
    for _ in range(3):
        sites = random_sites(run, rng, int(rng.integers(1, 6)), registers=[("buffer", register)])
        assert sites
        assert failure(run, image, sites) is None, sites
        for site in sites:
            assert parse_site(str(site)) == site
        plan = dense_sites(run, rng, dense)
        assert failure(run, image, plan) is None, plan


def _near(run: FaultRun, rng: np.random.Generator, anchor: Site, habit: Habit) -> Site | None:
    """Another fault around one, None where it would not exist."""
    spans = run.spans
    names = spans.program.layer_names
    layer = int(rng.integers(len(names))) if anchor.layer == ALL else names.index(anchor.layer)
    own = spans.own[layer]
    if not own:
        return None
    tile = int(rng.integers(len(own))) if anchor.tile == EVERY else anchor.tile
    if rng.random() < habit.tile:  # the one before or after
        at = spans.all.index(own[tile]) + int(rng.integers(-1, 2))
        span = spans.all[min(max(at, 0), len(spans.all) - 1)]
    else:
        span = own[tile]
    register = BY_UNIT[anchor.unit][anchor.register]
    length = moments(register, span, spans)
    bit, row, col = anchor.bit, anchor.row, anchor.col
    if rng.random() < habit.bit:
        bit = int(rng.integers(register.bits(run.network.arithmetic)))
    if rng.random() < habit.place:
        row += int(rng.integers(-1, 2))
        col += int(rng.integers(-1, 2)) if register.col else 0
    cycle = anchor.cycle
    match rng.integers(6):
        case 0 | 1:
            cycle += int(rng.integers(-2, 3))
        case 2:  # where a part of the reduction begins
            cycle = int(rng.choice([0, *span.starts])) + int(rng.integers(-1, 2))
        case 3:
            cycle = int(rng.integers(max(1, length)))
    cycle = min(max(cycle, 0), max(0, length - 1))
    copy, held, until, tile, name = 0, FLIP, END, span.number, names[span.layer]
    if register.name != "instruction":
        try:
            copies, mine = copies_of(spans, span, anchor.unit, anchor.register, bit, col)
        except FlexhycaError:
            return None
        copy = int(rng.integers(copies * mine))
        if rng.random() < habit.stuck:
            held = int(rng.integers(2))
            match rng.integers(4):
                case 0 | 1:
                    until = cycle + int(rng.integers(1, 6))
                    until = until if until <= length else END
                case 2:
                    tile, cycle = EVERY, 0
                    if rng.random() < 0.5:
                        name, copy = ALL, copy % mine
    site = Site(name, tile, cycle, row, col, anchor.register, bit, copy, anchor.unit, held, until)
    try:
        make_plan([site], spans)
    except FlexhycaError:
        return None
    return site


def failure(run: FaultRun, image: np.ndarray, sites: list[Site]) -> str | None:
    """How the executions differ under a plan; None where they agree."""
    end = run_reference(run.program, image, sites)
    for what, given_sites in (("executions", sites), ("order of sites", sites[::-1])):
        outcome = run.run(given_sites)
        if outcome.failure != end.failure or (outcome.output != end.output).any():
            return what
        same = outcome.failure is None and (outcome.output == run.golden).all()
        if (outcome.masked is not None) != same:
            return "stage"
        if len(set(outcome.reads)) != len(outcome.reads):
            return "a read twice"
    return None


def attack(plans: int, number: int, a_case: int = 20) -> Found:
    """Try `plans` random dense plans on random networks and machines. number : the seed."""
    failing: list[tuple[str, list[Site]]] = []
    done = sites = 0

    @seed(number)
    @settings(
        max_examples=-(-plans // a_case),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def many(case):
        nonlocal done, sites
        program, image, rng = case
        run = FaultRun(program, image)
        for _ in range(a_case):
            plan = dense_sites(run, rng)
            done, sites = done + 1, sites + len(plan)
            how = failure(run, image, plan)
            if how is not None:
                failing.append((how, plan))

    many()
    return Found(done, sites, failing)


def many_plans(folder: Path, cases: int) -> int:
    """Blocks of a thousand, each of another seed."""
    done = 0
    while done < cases:
        found = attack(min(1000, cases - done), number=done)
        assert found.failing == []
        done += found.plans
    return done


ATTACKS = (
    Attack("fault plans, several faults a byte: delta = reference", many_plans, 400, 20_000),
)


def main(wanted: int, number: int) -> None:
    """Blocks of a thousand until there are as many; a line each."""
    counts: collections.Counter[str] = collections.Counter()
    done = sites = 0
    while done < wanted:
        found = attack(1000, number)
        number += 1
        done, sites = done + found.plans, sites + found.sites
        for how, plan in found.failing:
            if counts[how] < 3:
                print(how, "; ".join(map(str, plan)), flush=True)
            counts[how] += 1
        print(f"{done} plans, {sites} sites, failing: {dict(counts)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
