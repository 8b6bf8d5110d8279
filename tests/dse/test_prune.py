"""Pruning never loses an optimum where what it takes for granted is true."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexhyca.dse.search.candidates import CandidateField, Observation
from flexhyca.dse.search.prune import dearer, pruned
from flexhyca.tests.dse.searches import field_of

#: All settings of two parameters, and of three.
GRIDS = [np.array(list(itertools.product(range(4), repeat=k)), float) for k in (2, 3)]


@st.composite
def monotone_problems(draw: st.DrawFn) -> tuple[CandidateField, np.ndarray, list[Observation]]:
    """A field in any order of area, a loss that never rises with strength, what was seen of it."""
    strengths = draw(st.sampled_from(GRIDS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    field = field_of(strengths, rng.integers(1, 20, len(strengths)) / 10)
    drops = rng.random(len(strengths)) * (rng.random(len(strengths)) < 0.5)
    loss = np.array([drops[~field.stronger[:, i]].sum() for i in range(len(drops))])
    ratio = loss / max(draw(st.floats(0.05, 1.05)) * loss.max(), 1e-9)
    numbers = rng.permutation(len(ratio))[: draw(st.integers(0, len(ratio)))]
    return field, ratio, [Observation(int(i), float(ratio[i]), 0.0, 1.0, 0.0) for i in numbers]


@settings(max_examples=200, deadline=None)
@given(monotone_problems())
def test_an_optimum_is_never_lost(
    problem: tuple[CandidateField, np.ndarray, list[Observation]],
) -> None:
    field, ratio, history = problem
    feasible = np.flatnonzero(ratio <= 1)
    missed, spare = pruned(field, history), dearer(field, history)
    assert not missed.keys() & {*feasible}
    if len(feasible):
        best = min(field.candidates[i].area for i in feasible)
        left = {c.number for c in field.candidates} - missed.keys() - spare.keys()
        assert any(field.candidates[i].area == best for i in left & {*feasible})


@settings(max_examples=100, deadline=None)
@given(monotone_problems())
def test_each_has_its_reason(problem: tuple[CandidateField, np.ndarray, list[Observation]]) -> None:
    field, ratio, history = problem
    seen = {observation.number for observation in history}
    for number, why in pruned(field, history).items():
        assert number not in seen
        assert why in seen
        assert field.stronger[number, why]
        assert ratio[why] > 1
    for number, why in dearer(field, history).items():
        assert number not in seen
        assert why in seen
        assert field.candidates[number].area >= field.candidates[why].area
        assert ratio[why] <= 1


CHAIN = field_of(np.arange(5.0)[:, None], np.arange(1.0, 6.0), levels=5)


def observation(number: int, ratio: float, error: float) -> Observation:
    return Observation(number, ratio, error, 1.0, 0.0)


def test_only_a_clear_miss_counts() -> None:
    assert pruned(CHAIN, [observation(2, 1.2, 0.1)]) == {}  # just 2 standard errors
    assert pruned(CHAIN, [observation(2, 1.21, 0.1)]) == {0: 2, 1: 2}
    assert pruned(CHAIN, [observation(2, 1.21, 0.1)], sigmas=3) == {}


def test_the_clearest_observation_is_the_reason() -> None:
    history = [observation(2, 1.5, 0.1), observation(1, 9.0, 0.1), observation(3, 1.4, 0.3)]
    assert pruned(CHAIN, history) == {0: 1}
    assert pruned(CHAIN, history[:1]) == {0: 2, 1: 2}


def test_only_a_clearly_feasible_one_makes_others_too_dear() -> None:
    assert dearer(CHAIN, [observation(2, 0.9, 0.06)]) == {}
    assert dearer(CHAIN, [observation(2, 0.9, 0.04)]) == {3: 2, 4: 2}
    assert dearer(CHAIN, [observation(3, 0.5, 0.0), observation(1, 0.9, 0.01)]) == {2: 1, 4: 1}
