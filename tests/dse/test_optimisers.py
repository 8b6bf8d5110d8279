"""What every optimiser of the table must do, and what single ones promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from flexhyca.dse.search.candidates import CandidateField, Observation
from flexhyca.dse.search.front import SENSES, hypervolume
from flexhyca.dse.search.optimisers import OPTIMISERS, Optimiser, front_optimiser
from flexhyca.tests.dse.searches import observe, ratios, small_field

FIELD = small_field()
RATIOS = ratios(FIELD)
OPTIMUM = int(np.argmax(RATIOS <= 1))  # in ascending area
EVERY = {
    **OPTIMISERS,
    "front": front_optimiser(FIELD, ["accuracy", "area"]),
    "front of three": front_optimiser(FIELD, ["accuracy", "area", "cycles"]),
}
NEVER_STOP = ("tpe", "gp", "random", "grid")

every = pytest.mark.parametrize("name", list(EVERY))


def seen(*numbers: int) -> list[Observation]:
    return [observe(FIELD, number) for number in numbers]


def all_but(*numbers: int) -> set[int]:
    return set(range(len(FIELD.candidates))) - set(numbers)


def search(
    optimiser: Optimiser,
    n: int,
    budget: int,
    field: CandidateField = FIELD,
    closed: Collection[int] = (),
) -> list[Observation]:
    history: list[Observation] = []
    while len(history) < budget:
        asked = optimiser.ask(field, history, [], set(closed), n, 3)
        if not asked:
            break
        history += [observe(field, number) for number in asked]
    return history


def test_the_optimum_is_inside() -> None:
    assert 10 < OPTIMUM < 40


@every
@pytest.mark.parametrize("numbers", [(), (20,), (3, 20, 33, 40, 46, 30)])
def test_the_same_question_has_the_same_answer(name: str, numbers: tuple[int, ...]) -> None:
    optimiser, history, pending, closed = EVERY[name], seen(*numbers), [21, 9], {0, 1, 2}
    first = optimiser.ask(FIELD, history, pending, closed, 3, 7)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert optimiser.ask(FIELD, history, pending, closed, 3, 7) == first
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.random(5)  # noqa: NPY002
    assert optimiser.ask(FIELD, history, pending, closed, 3, 7) == first
    assert (history, pending, closed) == (seen(*numbers), [21, 9], {0, 1, 2})


@every
@pytest.mark.parametrize("numbers", [(), (20,), (3, 20, 33, 40, 46, 30)])
def test_only_what_is_open_is_answered_and_once(name: str, numbers: tuple[int, ...]) -> None:
    asked = EVERY[name].ask(FIELD, seen(*numbers), [21, 9], {0, 1, 2}, 5, 0)
    assert len(set(asked)) == len(asked) <= 5
    assert all(type(number) is int for number in asked)
    assert not {*asked} & {*numbers, 21, 9, 0, 1, 2}
    assert {*asked} <= all_but()


@every
def test_where_all_is_closed_nothing_is_asked(name: str) -> None:
    assert EVERY[name].ask(FIELD, [], [], all_but(), 3, 0) == []
    assert EVERY[name].ask(FIELD, seen(5, 6, 7), [4], all_but(4, 5, 6, 7), 3, 0) == []


@every
@pytest.mark.parametrize("numbers", [(), (1, 2, 3, 6)])
def test_more_than_what_is_left_may_be_asked_for(name: str, numbers: tuple[int, ...]) -> None:
    asked = EVERY[name].ask(FIELD, seen(*numbers), [], all_but(1, 2, 3, 6, 4, 5), 9, 0)
    assert {*asked} <= {1, 2, 3, 4, 5, 6} - {*numbers}
    if name in NEVER_STOP or not numbers:
        assert {*asked} == {1, 2, 3, 4, 5, 6} - {*numbers}


@every
@pytest.mark.parametrize("n", [1, 4])
def test_the_optimum_is_found(name: str, n: int) -> None:
    closed = {i for i in all_but() if i % 3 != OPTIMUM % 3}
    numbers = [observation.number for observation in search(EVERY[name], n, 100, closed=closed)]
    assert OPTIMUM in numbers
    assert len(set(numbers)) == len(numbers) <= 16


def test_gpyopt_finds_the_optimum_soon() -> None:
    history = search(OPTIMISERS["gpyopt"], 1, 100)
    assert OPTIMUM in [observation.number for observation in history]
    assert len(history) <= 20  # of 48


@every
def test_a_candidate_may_have_been_evaluated_again(name: str) -> None:
    history = [*seen(3, 20, 33, 40), Observation(33, 1.4, 0.01, 0.93, 0.001)]
    asked = EVERY[name].ask(FIELD, history, [], set(), 2, 0)
    assert len(asked) == 2
    assert not {*asked} & {3, 20, 33, 40}


def test_of_several_observations_the_last_counts() -> None:
    good, bad = Observation(5, 0.9, 0.1, 1, 0.1), Observation(5, 1.2, 0.01, 1, 0.1)
    assert OPTIMISERS["walk"].ask(FIELD, [bad, good], [], set(), 2, 0) == [0, 1]
    assert OPTIMISERS["walk"].ask(FIELD, [bad, good], [], {0, 1, 2, 3, 4}, 2, 0) == []
    assert OPTIMISERS["walk"].ask(FIELD, [good, bad], [], {0, 1, 2, 3, 4}, 2, 0) == [6, 7]


def test_the_walk_is_exact() -> None:
    history = search(OPTIMISERS["walk"], 1, 100)
    assert [observation.number for observation in history] == list(range(OPTIMUM + 1))


@pytest.mark.parametrize("name", ["gpyopt", "gpyopt-penalty"])
def test_a_search_goes_on_until_something_is_feasible(name: str) -> None:
    """As long as nothing keeps the goals, "there is nothing" would be a guess."""
    closed = set(np.flatnonzero(RATIOS <= 1.3).tolist())
    history = search(OPTIMISERS[name], 3, 100, closed=closed)
    assert len(history) == len(FIELD.candidates) - len(closed)


def test_gpyopt_stops_where_nothing_is_to_be_gained() -> None:
    cheaper = range(OPTIMUM)
    history = seen(OPTIMUM, *cheaper[-6:])
    assert OPTIMISERS["gpyopt"].ask(FIELD, history, [], set(cheaper[:-6]), 3, 0) == []


def test_gpyopt_stops_at_what_costs_nothing() -> None:
    """The cheapest candidate may be the unprotected array itself, and may do."""
    free = [replace(c, area=c.area - FIELD.candidates[0].area) for c in FIELD.candidates]
    field = CandidateField(free, FIELD.stronger)
    history = [Observation(0, 0.5, 0.1, 1.0, 0.01), *seen(1, 2, 3)]
    assert OPTIMISERS["gpyopt"].ask(field, history, [], set(), 1, 0) == []


def test_gpyopt_heeds_what_is_on_its_way() -> None:
    """A pending candidate that is thought to keep the goals makes dearer ones worthless."""
    history = seen(0, 10, 20, 44, 47)
    alone = OPTIMISERS["gpyopt"].ask(FIELD, history, [], set(), 1, 0)
    sure = next(i for i in range(48) if RATIOS[i] < 0.5)
    beside = OPTIMISERS["gpyopt"].ask(FIELD, history, [sure], set(), 5, 0)
    assert alone
    assert all(number < sure for number in beside)


def test_gpyopt_trusts_exact_values_more() -> None:
    """One lucky feasible value with a large error does not end the search for dearer ones."""
    lucky = Observation(6, 0.98, 0.9, 0.95, 0.05)
    exact = Observation(6, 0.98, 0.0, 0.95, 0.0)
    rest = seen(0, 3, 9, 14, 20, 25, 30)
    assert OPTIMISERS["gpyopt"].ask(FIELD, [*rest, lucky], [], set(range(6)), 1, 0) != []
    assert OPTIMISERS["gpyopt"].ask(FIELD, [*rest, exact], [], set(range(6)), 1, 0) == []


@pytest.mark.parametrize("objectives", [["accuracy", "area"], ["accuracy", "area", "cycles"]])
def test_a_front_is_found(objectives: list[str]) -> None:
    def volume(numbers: Collection[int]) -> float:
        rows = [
            [
                1 - 0.05 * RATIOS[i] if name == "accuracy" else getattr(FIELD.candidates[i], name)
                for name in objectives
            ]
            for i in numbers
        ]
        limit = [0.0 if name == "accuracy" else 1.2 for name in objectives]
        return hypervolume(rows, limit, [SENSES[name] for name in objectives])

    history = search(front_optimiser(FIELD, objectives), 2, 30)
    assert volume([o.number for o in history]) > 0.997 * volume(all_but())


SCRIPT = """
import sys, warnings
from flexhyca.dse.search.optimisers import OPTIMISERS
from flexhyca.tests.dse.searches import observe, small_field
heavy = {"GPyOpt", "GPy", "optuna", "scipy", "matplotlib", "torch"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
field, filters = small_field(), list(warnings.filters)
history = [observe(field, number) for number in (2, 20, 30, 40, 45, 47, 3, 5, 7, 9, 11)]
for name in ("gpyopt", "gpyopt-penalty", "tpe", "gp"):
    assert OPTIMISERS[name].ask(field, history, [], set(), 2, 0), name
    added = [f for f in warnings.filters if f not in filters and f[2] is DeprecationWarning]
    assert not added, name
"""


def test_nothing_is_said_and_nothing_imported_too_early() -> None:
    """GPyOpt and GPy warn, and change the filters of warnings, when they are imported and fit."""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", SCRIPT], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
