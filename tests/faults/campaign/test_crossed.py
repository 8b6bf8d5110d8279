"""Images that all patterns share: the parts of an error, and a bound that skewness cannot fool."""

import math

import numpy as np
import pytest
from scipy import stats

from flexhyca.faults.campaign.crossed import ImageValues, _unskewed, image_values, skewed_margin


def test_by_hand() -> None:
    """Image 0 gives 1 and 0, image 1 gives 1, image 2 was drawn once, image 3 never."""
    images = np.array([[0, 1], [0, 2]])
    found = image_values(images, np.array([[1.0, 1.0], [0.0, 0.0]]), 4)
    # mean 1/2, one draw an image on average
    assert found.values == pytest.approx([0, 0.5, -0.5, 0])
    # variance 1/6; image 0 alone has a spread, 1/2 over two trials: noise 2 x 1/2 / 4 images
    assert found.lasting == 0.0
    same = image_values(images, np.full((2, 2), 0.25), 4)
    assert same.values == pytest.approx(np.zeros(4))


def crossed(
    rng: np.random.Generator, patterns: int, of_image: float, of_pattern: float
) -> tuple[np.ndarray, np.ndarray]:
    """60 images, of which each pattern draws 20; chances of being right vary by image, pattern."""
    images = rng.random((patterns, 60)).argsort(axis=1)[:, :20]
    own = rng.choice([-of_image, of_image], 60)
    common = rng.choice([-of_pattern, of_pattern], patterns)
    right = rng.random(images.shape) < 0.7 + own[images] + common[:, None]
    return images, right.astype(float)


@pytest.mark.parametrize(("of_image", "of_pattern"), [(0.0, 0.2), (0.25, 0.0), (0.15, 0.15)])
def test_the_two_errors_add_up(of_image: float, of_pattern: float) -> None:
    """The variance of the mean over new patterns and new images is what is estimated from one."""
    rng = np.random.default_rng(0)
    means, estimated = [], []
    for _ in range(1500):
        images, right = crossed(rng, 40, of_image, of_pattern)
        found = image_values(images, right, 60)
        means.append(right.mean())
        own = found.lasting * found.values.var() / 60
        estimated.append(right.mean(axis=1).var(ddof=1) / 40 + own)
    assert np.mean(estimated) == pytest.approx(np.var(means), rel=0.15)


def test_what_lasts_is_the_images_own() -> None:
    rng = np.random.default_rng(1)
    images, right = crossed(rng, 2000, 0.25, 0.0)
    found = image_values(images, right, 60)
    assert found.lasting > 0.98
    assert found.values.std() == pytest.approx(0.25, rel=0.05)
    images, right = crossed(rng, 2000, 0.0, 0.0)
    assert image_values(images, right, 60).lasting < 0.5


def test_skewness_is_taken_out() -> None:
    """Hall's g of the result is the quantile again; without skewness it is the quantile."""
    for skewness in (-6.0, -1.0, -1e-3, 0.5, 3.0):
        n, t = 180, 2.4
        u = _unskewed(t, skewness, n) / math.sqrt(n)
        g = u + skewness * u**2 / 3 + skewness**2 * u**3 / 27 + skewness / (6 * n)
        assert math.sqrt(n) * g == pytest.approx(t)
    assert _unskewed(2.4, 0.0, 180) == 2.4
    values = np.array([-1.0, 1.0] * 50)
    t = stats.t.isf(0.01, 99) * values.std(ddof=1) / 10
    assert skewed_margin(values, 0.01) == pytest.approx(t)


#: Losses of images as those of digits at three rates: mean 14, 3.5 and 1.2 %, skewness 1.4 to 6.
LEVELS = {"14 %": (-1.27, 0.6), "3.5 %": (-2.42, 0.86), "1.2 %": (-3.46, 1.15)}


@pytest.mark.parametrize("name", LEVELS)
def test_margins_hold_for_skewed_images(name: str) -> None:
    """1 % is what the margin may err, and does; Student's t errs more often."""
    level, spread = LEVELS[name]
    rng, n, alpha, samples = np.random.default_rng(2), 180, 0.01, 4000
    mean = -stats.norm.cdf(level / math.sqrt(1 + spread**2))
    values = -stats.norm.cdf(level + spread * rng.normal(size=(samples, n)))
    wrong = np.mean([row.mean() - skewed_margin(row, alpha) > mean for row in values])
    t = stats.t.isf(alpha, n - 1) * values.std(axis=1, ddof=1) / math.sqrt(n)
    of_t = np.mean(values.mean(axis=1) - t > mean)
    assert wrong <= 1.2 * alpha + 3 * math.sqrt(alpha / samples)
    assert of_t > 1.5 * alpha
    assert of_t > 1.4 * wrong


def test_too_few_or_all_alike() -> None:
    assert skewed_margin(np.array([0.1, 0.2]), 0.01) == math.inf
    assert skewed_margin(np.full(50, 0.25), 0.01) == 0.0
    assert image_values(np.array([[0]]), np.array([[1.0]]), 1) == ImageValues(
        pytest.approx(np.zeros(1)), 1.0
    )


def test_a_margin_is_planned_for_more_values() -> None:
    values = np.random.default_rng(5).exponential(size=6400) ** 1.5
    planned = np.median([skewed_margin(row, 0.01, 1600) for row in values.reshape(16, 400)])
    found = np.median([skewed_margin(row, 0.01) for row in values.reshape(4, 1600)])
    assert planned == pytest.approx(found, rel=0.15)
    assert planned < 0.7 * skewed_margin(values[:400], 0.01)
