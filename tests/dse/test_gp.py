"""The surrogate: what values say about candidates that have none."""

from __future__ import annotations

import numpy as np
import pytest

from flexhyca.dse.search.gp import Belief, believe, believe_log, excess, imagine

FEATURES = np.random.default_rng(5).random((40, 3))
TRUTH = 2 * FEATURES[:, 0] - np.sin(3 * FEATURES[:, 1])  # the third does not matter
SEEN = list(range(24))


def test_smooth_values_are_continued() -> None:
    belief = believe(FEATURES, SEEN, TRUTH[SEEN], np.zeros(len(SEEN)), 0)
    unseen = [i for i in range(40) if i not in SEEN]
    assert np.allclose(belief.mean[SEEN], TRUTH[SEEN], atol=1e-3)
    assert np.abs(belief.mean - TRUTH)[unseen].max() < 0.1
    assert belief.deviation[SEEN].max() < 1e-2 < np.ptp(TRUTH) < 4
    assert belief.degrees == 23


def test_intervals_cover_what_is_not_seen() -> None:
    """Of candidates that differ by more than features say, 95 % intervals hold about 95 %."""
    from scipy.special import stdtrit

    inside = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        values = TRUTH + 0.2 * draw.normal(size=40)  # each candidate's own
        errors = np.full(24, 0.1)
        belief = believe(FEATURES, SEEN, (values + 0.1 * draw.normal(size=40))[SEEN], errors, 0)
        half = stdtrit(belief.degrees, 0.975) * belief.deviation
        inside += (np.abs(values - belief.mean) < half)[24:].tolist()
    assert 0.85 < np.mean(inside) <= 1  # 192 intervals, 16 of the same fit


def test_a_value_with_a_large_error_counts_less() -> None:
    values, errors = TRUTH[SEEN].copy(), np.full(len(SEEN), 0.01)
    values[3] += 1.0
    sharp = believe(FEATURES, SEEN, values, errors, 0)
    errors[3] = 1.0
    vague = believe(FEATURES, SEEN, values, errors, 0)
    assert abs(vague.mean[3] - TRUTH[3]) < 0.1 < abs(sharp.mean[3] - TRUTH[3])


def test_values_that_are_all_equal_are_believed() -> None:
    belief = believe(FEATURES, [1, 2], np.array([3.0, 3.0]), np.zeros(2), 0)
    assert np.allclose(belief.mean, 3)
    assert np.all(np.isfinite(belief.covariance))


def test_the_logarithm_has_a_floor() -> None:
    values = np.array([-0.2, 0.0, 1.0])
    belief = believe_log(FEATURES, [0, 1, 2], values, np.full(3, 1e-6), 0.1, 0)
    assert np.allclose(belief.mean[:3], np.log([0.1, 0.1, 1.1]), atol=1e-2)


def test_what_is_imagined_moves_no_mean_and_makes_sure() -> None:
    belief = believe(FEATURES, SEEN[:8], TRUTH[:8], np.full(8, 0.05), 0)
    after = imagine(belief, [30, 31])
    assert np.allclose(after.mean, belief.mean)
    assert np.all(after.deviation <= belief.deviation + 1e-9)
    assert np.all(after.deviation[[30, 31]] <= belief.error + 1e-9)
    assert np.allclose(imagine(imagine(belief, [30]), [31]).covariance, after.covariance)
    assert np.array_equal(imagine(belief, []).covariance, belief.covariance)


@pytest.mark.parametrize("mean", [-3.0, -0.5, 0.5])
def test_what_is_expected_above_a_level(mean: float) -> None:
    belief = Belief(np.array([mean]), np.array([[0.4**2]]), 0.0, 5)
    levels = np.array([0.0, 0.3, 0.9])
    draws = 1 - np.exp(np.random.default_rng(0).normal(mean, 0.4, 400_000))
    drawn = np.maximum(draws[:, None] - levels, 0)
    wide = 5 * drawn.std(axis=0) / np.sqrt(len(drawn)) + 1e-6
    assert np.all(np.abs(excess(belief, 1.0, levels)[0] - drawn.mean(axis=0)) < wide)
