"""Bounds that hold at every look: exact where it can be counted, else by simulation."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flexhyca.faults.campaign.sequential import (
    decide,
    greatest_mean,
    least_mean,
    log_capital,
    side_of_zero,
)

LIMITS = (-0.97, 0.03)  # of a margin: goal 0.97, all images right without faults


def spread(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moved to a mean of 0 over its rows' distribution, within the limits."""
    return np.clip(x, *LIMITS)


#: Name -> values (sequences, patterns) whose mean is 0, or below 0 by what the limits cut off.
AT_ZERO: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]] = {
    "skewed": lambda rng, n: spread(0.03 - rng.gamma(0.3, 0.1, n)),
    "disasters": lambda rng, n: np.where(rng.random(n) < 1 / 31, -0.9, 0.03),
    "rare disasters": lambda rng, n: np.where(rng.random(n) < 0.01, -0.9, 0.9 / 99),
    "even": lambda rng, n: rng.uniform(-0.03, 0.03, n),
    "two": lambda rng, n: rng.choice([-0.97, 0.03], n, p=[0.03, 0.97]),
}


def test_nothing_is_expected_of_a_fair_bet() -> None:
    """E[capital] = 1 exactly: over all sequences of five payoffs with mean 1."""
    payoffs, chances = (0.0, 0.5, 4.0), (0.3, 0.5, 0.2)
    assert sum(p * c for p, c in zip(payoffs, chances, strict=True)) == pytest.approx(1.05)
    fair = [p / 1.05 for p in payoffs]
    total = np.zeros(5)
    for which in itertools.product(range(3), repeat=5):
        chance = math.prod(chances[i] for i in which)
        total += chance * np.exp(log_capital(np.array([fair[i] for i in which])))
    assert total == pytest.approx(np.ones(5))


@given(st.permutations(range(12)))
def test_the_last_capital_knows_no_order(order: list[int]) -> None:
    payoffs = np.linspace(0, 3, 12)
    assert log_capital(payoffs[order])[-1] == pytest.approx(log_capital(payoffs)[-1])


@pytest.mark.parametrize("name", AT_ZERO)
def test_errors_at_any_look(name: str) -> None:
    """400 patterns, looked at after each: "above" and "below" are wrong at a mean of 0."""
    rng = np.random.default_rng(1)
    sequences, alpha = 1000, 0.1
    values = AT_ZERO[name](rng, (sequences, 400))
    found = [decide(row, LIMITS, alpha, alpha).side for row in values]
    allowed = sequences * alpha + 3 * math.sqrt(sequences * alpha * (1 - alpha))
    assert found.count("above") <= allowed
    if abs(values.mean()) < 4 * values.std() / math.sqrt(values.size):  # nothing was cut off
        assert found.count("below") <= allowed


def test_a_t_test_at_any_look_would_err() -> None:
    """That the errors above are hard to avoid: 1.28 standard errors, looked at after each."""
    rng = np.random.default_rng(1)
    values = AT_ZERO["rare disasters"](rng, (1000, 400))
    sums, squares, n = values.cumsum(1), (values**2).cumsum(1), np.arange(1, 401)
    error = np.sqrt(np.maximum(squares / n - (sums / n) ** 2, 1e-12) / n)
    assert ((sums / n > 1.28 * error)[:, 30:].any(axis=1)).mean() > 0.5


@pytest.mark.parametrize("name", AT_ZERO)
def test_bounds_hold(name: str) -> None:
    rng, wrong, alpha = np.random.default_rng(2), np.zeros(2), 0.1
    mean = AT_ZERO[name](rng, (2000, 1000)).mean()
    for row in AT_ZERO[name](rng, (600, 150)):
        low, high = least_mean(row, LIMITS[0], alpha), greatest_mean(row, LIMITS[1], alpha)
        assert LIMITS[0] <= low <= row.mean() <= high <= LIMITS[1]
        wrong += low > mean + 1e-4, high < mean - 1e-4
    assert (wrong <= 60 + 3 * math.sqrt(54)).all()


def test_what_a_range_costs() -> None:
    """Values that are all 0.03 may hide a disaster: at least 151 of them are needed."""
    least_possible = math.log(0.01) / math.log(0.97)
    found = decide(np.full(400, 0.03), LIMITS, 0.01, 0.01)
    assert found.side == "above"
    assert least_possible <= found.values <= 1.2 * least_possible
    assert decide(np.full(151, 0.03), LIMITS, 0.01, 0.01) == ("open", 151)


def test_the_first_decision_counts() -> None:
    bad, good = np.full(30, -0.5), np.full(3000, 0.03)
    found = decide(np.concatenate([bad, good]), LIMITS, 0.01, 0.01)
    assert found.side == "below"
    assert found.values < 5
    assert decide(bad[: found.values - 1], LIMITS, 0.01, 0.01).side == "open"


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    st.sampled_from([0.2, 0.01, 1e-4]),
    st.integers(0, 29),
)
def test_a_bound_is_where_the_gambler_gets_rich(
    values: list[int], alpha: float, which: int
) -> None:
    x = np.array(values) / 1000
    low = least_mean(x, 0.0, alpha)
    if low > 0:
        assert log_capital(x / low)[-1] == pytest.approx(-math.log(alpha), abs=1e-4)
    assert low <= x.mean() + 1e-12
    assert least_mean(x, 0.0, alpha / 2) <= low
    assert least_mean(2 * x - 1, -1.0, alpha) == pytest.approx(2 * low - 1, abs=1e-6)
    assert greatest_mean(1 - x, 1.0, alpha) == pytest.approx(1 - low, abs=1e-6)
    better = x.copy()
    better[which % len(x)] = 1.0
    assert least_mean(better, 0.0, alpha) >= low - 1e-9


def test_a_cheap_look() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for row in rng.normal(0, 0.05, (2000, 60)):
        wrong += any(side_of_zero(row[:n], 6, 0.05) == "above" for n in range(10, 61, 10))
    assert wrong / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert side_of_zero(np.full(10, 0.03), 6, 0.05) == "open"  # no spread was seen
    assert side_of_zero(np.array([-0.5]), 6, 0.05) == "open"
    assert side_of_zero(rng.normal(-0.1, 0.05, 10), 6, 0.01) == "below"
    assert side_of_zero(rng.normal(0.1, 0.05, 10), 6, 0.01) == "above"
