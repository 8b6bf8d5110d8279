"""Wrong bits of a memory: independent, nested between rates, the same however asked for."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from flexhyca.faults.ber.random_bits import _BLOCK, draw, majority_wrong

KEY = (7, 0, 3)


def between(count, trials, rate):
    """Whether a count is one that 9,999 of 10,000 fair runs give."""
    low, high = binom.interval(0.9999, trials, rate)
    return low <= count <= high


@pytest.mark.parametrize("rate", [3e-5, 1e-4, 1e-3, 0.02, 0.3, 0.5])
def test_every_bit_is_wrong_with_the_rate(rate):
    bits = 1_000_000
    hits = draw(KEY, 0, bits, rate)
    assert between(len(hits.at), bits, rate)
    assert (np.diff(hits.at) > 0).all()
    assert 0 <= hits.at[0] <= hits.at[-1] < bits
    assert (hits.u < rate).all()
    assert kstest(hits.u, "uniform", (0, rate)).pvalue > 1e-4
    assert kstest(hits.at, "uniform", (0, bits)).pvalue > 1e-4
    for number in range(8):  # of a word
        assert between(int((hits.at % 8 == number).sum()), bits // 8, rate)


def test_bits_of_a_word_are_independent():
    bits, rate = 1_000_000, 0.3
    wrong = np.zeros(bits, bool)
    wrong[draw(KEY, 0, bits, rate).at] = True
    pairs = wrong.reshape(-1, 2)
    assert between(int(pairs.all(1).sum()), bits // 2, rate**2)


def test_a_lower_rate_has_a_part_of_the_same_errors():
    high = draw(KEY, 0, 3_000_000, 0.01)
    for rate in (0.0, 1e-5, 1e-4, 2.0**-13, 1e-3, 0.01):
        assert np.array_equal(draw(KEY, 0, 3_000_000, rate).at, high.below(rate))
    assert draw(KEY, 0, 100, 0.0).at.dtype == np.int64


def test_a_part_of_the_memory_has_the_errors_of_the_whole():
    whole = draw(KEY, 0, 3 * _BLOCK, 1e-4)
    for start, stop in ((0, 5), (17, _BLOCK + 3), (2 * _BLOCK, 3 * _BLOCK), (_BLOCK, _BLOCK)):
        part = draw(KEY, start, stop, 1e-4)
        inside = (whole.at >= start) & (whole.at < stop)
        assert np.array_equal(part.at, whole.at[inside])
        assert np.array_equal(part.u, whole.u[inside])
    assert not np.array_equal(draw((7, 0, 4), 0, _BLOCK, 1e-3).at, draw(KEY, 0, _BLOCK, 1e-3).at)


def test_majority_of_three():
    copies = [np.array([1, 3, 5, 8]), np.array([3, 8]), np.array([2, 5, 8])]
    assert majority_wrong(copies).tolist() == [3, 5, 8]
