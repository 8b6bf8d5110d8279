"""Intervals over patterns and images: those over patterns alone are of these images only."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from flexhyca.faults.campaign.over_images import over_clusters_and_images
from flexhyca.faults.campaign.statistics import Interval, clustered, paired_ratios

_PATTERNS, _DRAWN = 100, 20


def sample(rng: np.random.Generator, images: int, level: float, spread: float) -> tuple:
    """Images of a population in which the chance to be wrong is skewed, in patterns that vary."""
    chances = level + spread * rng.normal(size=images)
    numbers = np.arange(_PATTERNS * _DRAWN).reshape(_PATTERNS, -1) % images
    hard = 0.3 * rng.normal(size=(_PATTERNS, 1))
    return numbers, rng.random(numbers.shape) >= stats.norm.cdf(chances[numbers] + hard)


def truth(level: float, spread: float) -> float:
    return float(stats.norm.sf(level / np.sqrt(1 + spread**2 + 0.3**2)))


def intervals(
    rng: np.random.Generator, images: int, level: float, spread: float
) -> tuple[Interval, Interval]:
    numbers, right = sample(rng, images, level, spread)
    seed = int(rng.integers(2**31))
    own = clustered(right.sum(1), np.full(_PATTERNS, _DRAWN), seed, resamples=400)
    return own, over_clusters_and_images(own, right.astype(float), numbers, images)


def coverage(
    expected: float, make: Callable[[np.random.Generator], tuple[Interval, ...]], runs: int
) -> list[float]:
    rng = np.random.default_rng(3)
    held = [[i.low <= expected <= i.high for i in make(rng)] for _ in range(runs)]
    return np.mean(held, axis=0).tolist()


def test_it_is_wider_and_never_leaves_the_range() -> None:
    rng = np.random.default_rng(0)
    for images in (2, 20, 180):
        own, both = intervals(rng, images, -1.2, 1.0)
        assert both.low < own.low <= both.estimate == own.estimate <= own.high < both.high
        assert 0 <= both.low <= both.high <= 1
        assert (both.trials, both.clusters) == (own.trials, own.clusters)
        assert both.method.endswith(f"; joined with {images} images")
    numbers, right = sample(rng, 50, -1.2, 1.0)
    none = paired_ratios(right.sum(1), right.sum(1), np.full(_PATTERNS, _DRAWN), 0)
    both = over_clusters_and_images(none, np.zeros(numbers.shape), numbers, 50)
    assert both.low < none.low < 0 < none.high < both.high


@pytest.mark.slow
@pytest.mark.parametrize(("images", "level", "spread"), [(60, -1.2, 1.0), (180, -2.0, 1.0)])
def test_coverage_over_other_images(images: int, level: float, spread: float) -> None:
    expected = truth(level, spread)
    alone, both = coverage(expected, lambda rng: intervals(rng, images, level, spread), 1000)
    assert both >= 0.93
    assert alone < 0.85


@pytest.mark.slow
def test_coverage_of_differences_over_other_images() -> None:
    """One scheme of two helps some images only."""

    def make(rng: np.random.Generator) -> tuple[Interval, Interval]:
        numbers = np.arange(_PATTERNS * _DRAWN).reshape(_PATTERNS, -1) % 60
        helped = rng.random(60) < 0.3
        first = rng.random(numbers.shape) < 0.7
        second = first | (helped[numbers] & (rng.random(numbers.shape) < 0.8))
        seed, below = int(rng.integers(2**31)), np.full(_PATTERNS, _DRAWN)
        own = paired_ratios(second.sum(1), first.sum(1), below, seed, resamples=400)
        values = second.astype(float) - first
        return own, over_clusters_and_images(own, values, numbers, 60)

    alone, both = coverage(0.3 * 0.3 * 0.8, make, 1000)
    assert both >= 0.93
    assert alone < both - 0.1
