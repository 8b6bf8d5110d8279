"""Pareto fronts and hypervolumes against counting."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.dse.search.candidates import Candidate, Observation
from flexhyca.dse.search.front import (
    SENSES,
    Sense,
    hypervolume,
    pareto,
    running_hypervolume,
    slabs,
)

SIDE = 5
less = settings(max_examples=60, deadline=None)


@st.composite
def tables(draw: st.DrawFn, least: int = 0) -> tuple[np.ndarray, list[Sense]]:
    """Rows of 1-4 objectives, integers 0..SIDE, many of them equal."""
    objectives = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, SIDE), min_size=objectives, max_size=objectives)
    rows = draw(st.lists(row, min_size=least, max_size=8))
    senses = draw(st.lists(st.sampled_from(Sense), min_size=objectives, max_size=objectives))
    return np.array(rows, float).reshape(-1, objectives), senses


def reference_of(senses: list[Sense]) -> list[float]:
    """Worse than all but some rows."""
    return [SIDE - 1.0 if sense is Sense.LEAST else 1.0 for sense in senses]


def counted(rows: np.ndarray, senses: list[Sense]) -> int:
    """Unit cubes between a row and the reference: the hypervolume by its definition."""
    rows = rows * np.array(senses)
    reference = np.array(reference_of(senses)) * np.array(senses)
    spaces = [range(int(r) - SIDE, int(r)) for r in reference]
    cubes = np.array(list(itertools.product(*spaces)))
    return int(np.any(np.all(rows[:, None] <= cubes[None], axis=2), axis=0).sum())


@less
@given(tables())
def test_a_row_is_on_the_front_unless_another_beats_it(table: tuple[np.ndarray, list]) -> None:
    rows, senses = table
    less_is_better = (rows * np.array(senses)).tolist()
    expected = [
        not any(
            other != row and all(o <= r for o, r in zip(other, row, strict=True))
            for other in less_is_better
        )
        for row in less_is_better
    ]
    assert pareto(rows, senses).tolist() == expected


@less
@given(tables())
def test_hypervolume_is_what_counting_gives(table: tuple[np.ndarray, list]) -> None:
    rows, senses = table
    assert hypervolume(rows, reference_of(senses), senses) == counted(rows, senses)


@less
@given(tables())
def test_running_hypervolume_is_that_of_each_beginning(table: tuple[np.ndarray, list]) -> None:
    rows, senses = table
    running = running_hypervolume(rows, reference_of(senses), senses)
    assert running.tolist() == [counted(rows[: i + 1], senses) for i in range(len(rows))]


@less
@given(tables(least=2), st.data())
def test_slabs_are_what_a_candidate_adds(
    table: tuple[np.ndarray, list], data: st.DataObject
) -> None:
    """Its height is the last objective: any height gives the gain in hypervolume."""
    costs, n = table[0], len(table[0])
    taken = data.draw(st.lists(st.integers(0, n - 1), max_size=6, unique=True))
    heights = np.array([data.draw(st.integers(0, 6)) for _ in taken], float)
    limit = np.full(costs.shape[1], SIDE + 1.0)
    levels, volumes = slabs(costs, taken, heights, limit)
    senses = [Sense.LEAST] * costs.shape[1] + [Sense.MOST]
    front = np.column_stack([costs[taken], heights])
    before = hypervolume(front, [*limit, 0.0], senses)
    for number, height in itertools.product(range(n), (0.0, 2.5, 6.0)):
        after = hypervolume([*front, [*costs[number], height]], [*limit, 0.0], senses)
        gain = np.sum(volumes[number] * np.maximum(height - levels, 0))
        assert np.isclose(after - before, gain)


def test_a_known_example() -> None:
    """Three points of area and accuracy; by hand 1 x 0.5 + 1 x 0.3 + 2 x 0.1 below them."""
    rows = [[1.0, 0.5], [2.0, 0.8], [3.0, 0.9], [3.0, 0.7]]
    senses = [SENSES["area"], SENSES["accuracy"]]
    assert pareto(rows, senses).tolist() == [True, True, True, False]
    expected = [2.0, 2.6, 2.7, 2.7]  # (4 - 1) 0.5 ... with a reference of (5, 0): 4, 3, 2 wide
    assert np.allclose(
        running_hypervolume(rows, [5.0, 0.0], senses), [2.0, 2.0 + 3 * 0.3, 2.9 + 2 * 0.1, 3.1]
    )
    assert np.allclose(running_hypervolume(rows, [5.0, 0.0], senses)[0], expected[0])
    assert hypervolume([], [5.0, 0.0], senses) == 0


def test_objectives_are_fields() -> None:
    fields = {*Observation.__dataclass_fields__, *Candidate.__dataclass_fields__}
    assert fields >= SENSES.keys()
