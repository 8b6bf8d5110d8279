"""The rates I' and II' of a network: those at which its errors cost between ten and forty points.

The paper's rates (1e-4, 2e-4) were made for ImageNet; small networks hardly feel them. II' is
twice I', as the paper's II is twice its I.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FlexhycaError
from ..campaign.statistics import Interval, paired_ratios
from .bench import Bench, one_thread
from .options import MOST, Case

#: Of the search; what is found is measured with more.
SEARCH_PATTERNS = 40
_FIRST = 1e-4
_LEAST = 1e-9
_NEAR = 0.05  # of the target: two points of forty are not worth another step


@dataclass(frozen=True)
class Tried:
    """What a rate costs, on the patterns of the search. loss : acc0 minus the accuracy."""

    ber: float
    loss: Interval

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ber": self.ber, **self.loss.to_dict()}


@dataclass(frozen=True)
class Rates:
    """I' and II', and all the rates that were tried for them, in ascending order."""

    first: float
    second: float
    tried: list[Tried]


def find_rates(
    bench: Bench,
    seed: int,
    low: float,
    high: float,
    patterns: int = SEARCH_PATTERNS,
    say: Callable[[str], object] = lambda what: None,
) -> Rates:
    """I' and II', at which the first program, unprotected, loses between `low` and `high` (0..1).

    Bisection over the logarithm of the rate, on the same `patterns` patterns, whose errors at a
    lower rate are a part of those at a higher one. I' is aimed a tenth of the way from `low` to
    `high`, and less where twice the rate would lose too much. To two digits. Raises FlexhycaError
    where no rate loses that much, or twice a rate that loses `low` loses more than `high`.
    """
    if not 0 < low < high < 1:
        raise FlexhycaError(
            f"find-rate {100 * low:g},{100 * high:g}: give two losses in points, such as 10,40"
        )
    known: dict[float, Interval] = {}

    def loss(rate: float) -> float:
        if rate not in known:
            case = Case("base", rate)
            with one_thread():
                rows = [bench.trial(case, n, rate) for n in range(patterns)]
            acc0, right, images = (
                np.array([row[name] for row in rows], float)
                for name in ("acc0_correct", "correct", "images")
            )
            known[rate] = paired_ratios(acc0, right, images, seed)
            say(f"rate {rate:.3g} loses {100 * known[rate].estimate:.1f} points")
        return known[rate].estimate

    first = _rounded(_rate_of(loss, low + (high - low) / 10, high))
    if loss(2 * first) > high:
        first = _rounded(_rate_of(loss, high - (high - low) / 10, high) / 2)
    if not (low <= loss(first) and loss(2 * first) <= high):
        raise FlexhycaError(
            f"at rate {first:g} {100 * loss(first):.1f} points are lost, at {2 * first:g} "
            f"{100 * loss(2 * first):.1f}: no rate and its double lose between {100 * low:g} and "
            f"{100 * high:g}; give a wider range"
        )
    return Rates(first, 2 * first, [Tried(rate, known[rate]) for rate in sorted(known)])


def _rate_of(loss: Callable[[float], float], target: float, most: float) -> float:
    """The rate that loses about `target`."""
    below = above = _FIRST
    while loss(below) > target:
        below /= 4
        if below < _LEAST:
            raise FlexhycaError(f"even rate {below:g} loses more than {100 * target:.1f} points")
    while loss(above) < target:
        if above >= MOST:
            raise FlexhycaError(
                f"even rate {MOST:g} loses {100 * loss(above):.1f} points only; "
                f"{100 * target:.1f} are looked for"
            )
        below, above = above, min(MOST, 4 * above)
    while above / below > 1 + _NEAR:
        middle = math.sqrt(below * above)
        if abs(loss(middle) - target) <= _NEAR * most:
            return middle
        below, above = (middle, above) if loss(middle) < target else (below, middle)
    return math.sqrt(below * above)


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")
