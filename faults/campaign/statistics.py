"""How sure a campaign is: every estimate with its interval, number of trials and seed.

`Interval` is the only way in which a rate or an accuracy is shown. Trials whose result cannot be
used (NaN, crash, hang, an instruction that cannot be decoded) count as failures; nothing here drops
a trial. `share` is for independent trials, `clustered` for images that share a fault,
`stratified` for weighted layers of a sample, `paired_shares` and `paired_ratios` for two schemes on
the same faults, `required_sample` and `allocate` for planning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...errors import FlexhycaError, InternalError
from .resampling import bootstrap, quantile, student

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
RESAMPLES = 4000
_FEW = 10  # clusters below which a kind that 3 of 10 belong to is often not among them


@dataclass(frozen=True)
class Interval:
    """An estimate that cannot be shown without its interval, trials and seed.

    estimate, low, high : shares (0..1), or their difference (-1..1). confidence : 0..1, two-sided.
    trials : what was counted; clusters : how many of them are independent (the faults, where
    many images share one). seed : of the trials, and of resampling. method : how it was made.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    trials: int
    clusters: int
    seed: int
    method: str
    difference: bool = False

    def __post_init__(self) -> None:
        if not (self.low <= self.estimate <= self.high and 1 <= self.clusters <= self.trials):
            raise InternalError(f"not an interval: {asdict(self)}")

    @property
    def margin(self) -> float:
        """Half of the width."""
        return (self.high - self.low) / 2

    @property
    def brief(self) -> str:
        """Estimate and bounds, for tables that say confidence, trials and seed beside them."""
        return self._bounds("" if self.difference else " %")

    def _bounds(self, unit: str) -> str:
        digits = 1 if self.margin >= 0.05 else 2 if self.margin >= 0.0005 else 4
        sign = "+" if self.difference else ""
        estimate, low, high = (
            # + 0.0: no minus before a zero
            f"{round(100 * value, digits) + 0.0:{sign}.{digits}f}"
            for value in (self.estimate, self.low, self.high)
        )
        return f"{estimate}{unit} [{low}, {high}]"

    def __str__(self) -> str:
        counted = f"{self.trials:,} trials"
        if self.clusters != self.trials:
            counted += f" in {self.clusters:,} clusters"
        bounds = self._bounds(" points" if self.difference else " %")
        return f"{bounds} ({100 * self.confidence:g} %, {counted}, seed {self.seed})"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def wilson(failures: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share; fractions of trials are allowed."""
    z = quantile(confidence)
    p = failures / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    # At the ends the bound is exact; rounding must not move it past the estimate.
    low = 0.0 if failures == 0 else max(0.0, centre - half)
    return low, 1.0 if failures == trials else min(1.0, centre + half)


def share(failures: int, trials: int, seed: int, confidence: float = CONFIDENCE) -> Interval:
    """The share of independent trials that failed, with Wilson's interval."""
    low, high = wilson(failures, trials, confidence)
    return Interval(failures / trials, low, high, confidence, trials, trials, seed, "Wilson")


def required_sample(
    population: float, margin: float, confidence: float = CONFIDENCE, expected: float = 0.5
) -> int:
    """How many faults of `population` (math.inf if huge) give this margin (Leveugle, DATE 2009).

    n = N / (1 + e^2 (N - 1) / (t^2 p (1 - p))), rounded to the nearest as the published figures
    are. margin : e, half of the interval's width, 0..1. expected : p; 0.5 is the worst case.
    """
    if not (population >= 1 and 0 < margin < 1 and 0 < expected < 1):
        raise FlexhycaError(
            f"no sample for population {population}, margin {margin}, expected share {expected}; "
            "margin and share lie between 0 and 1, the population is at least 1"
        )
    spread = quantile(confidence) ** 2 * expected * (1 - expected) / margin**2
    if math.isinf(population):
        return max(1, round(spread))
    return max(1, round(population / (1 + (population - 1) / spread)))


def clustered(
    numerators: ArrayLike,
    denominators: ArrayLike,
    seed: int,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """sum(numerators) / sum(denominators), such as correct images / images, over clusters.

    numerators, denominators : 1-D, one entry a cluster (a fault whose images go together). A
    numerator that is not finite counts as 0: a fault that leaves no answer has no correct image.
    Clusters are resampled (bootstrap, bias-corrected and accelerated: Efron 1987). Where all
    have the same share there is no spread to resample; then it is Wilson's interval with clusters
    as trials, because agreeing clusters prove no more than that. The bounds are the outer ones of
    the bootstrap, Student's t and, below 10 clusters, Wilson's with clusters as trials
    (docs/campaigns.md has what each of them covers).
    """
    import numpy as np

    above = np.asarray(numerators, float)
    below = np.asarray(denominators, float)
    above = np.where(np.isfinite(above), above, 0.0)
    _check_clusters(above, below)
    estimate = float(above.sum() / below.sum())
    unseen = wilson(estimate * len(above), len(above), confidence)
    low, high, method = _bounds(above, below, unseen, seed, confidence, resamples)
    low, high = max(0.0, min(low, estimate)), min(1.0, max(high, estimate))
    return Interval(estimate, low, high, confidence, round(below.sum()), len(above), seed, method)


def _check_clusters(above: NDArray[np.float64], below: NDArray[np.float64]) -> None:
    if above.ndim != 1 or above.shape != below.shape or not len(above):
        raise InternalError(f"clusters of shapes {above.shape} and {below.shape}")
    if not (below > 0).all() or (above < 0).any() or (above > below).any():
        raise InternalError("a cluster has no trials, or more successes than trials")


def _bounds(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    unseen: tuple[float, float],
    seed: int,
    confidence: float,
    resamples: int,
    paired: str = "",
) -> tuple[float, float, str]:
    """Bounds of sum(above) / sum(below), and the method that gave them.

    unseen : bounds that allow for kinds of clusters that were not drawn, without any spread.
    Few clusters may all miss the kind that does the harm, so theirs are never inside these.
    """
    drawn = bootstrap(above, below, seed, confidence, resamples)
    if drawn is None:
        return *unseen, "Wilson, clusters as trials"
    found = [drawn, student(above, below, confidence)]
    method = f"{paired}cluster bootstrap, {resamples} resamples; Student's t"
    if len(above) < _FEW:
        found.append(unseen)
        method += "; Wilson, clusters as trials"
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return low, high, method


@dataclass(frozen=True)
class Stratum:
    """A layer of the sample, such as (conv1, acc, bit 23).

    weight : its share of the population (of bits x live cycles, say).
    """

    name: str
    weight: float
    trials: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Stratified:
    """A weighted estimate; `variance` is that of the estimate (sum of W^2 p (1 - p) / n)."""

    interval: Interval
    variance: float


def stratified(strata: Sequence[Stratum], seed: int, confidence: float = CONFIDENCE) -> Stratified:
    """The failure share of the population from samples of its strata.

    The interval joins Wilson's intervals of the strata as Zou and Donner (2008) do: squared
    distances to the bounds, times squared weights, are summed. So a stratum in which nothing
    failed still widens it.
    """
    _check_weights([stratum.weight for stratum in strata])
    empty = [stratum.name for stratum in strata if not stratum.trials]
    if empty:
        raise FlexhycaError(
            f"stratum {empty[0]} has no trial ({len(empty)} of {len(strata)} strata); "
            "do more trials, or take the population without it"
        )
    variance = 0.0
    for stratum in strata:
        p = stratum.failures / stratum.trials
        variance += stratum.weight**2 * p * (1 - p) / stratum.trials
    parts = [(s.weight, share(s.failures, s.trials, seed, confidence)) for s in strata]
    return Stratified(weighted(parts, seed, confidence), variance)


def weighted(
    parts: Sequence[tuple[float, Interval]], seed: int, confidence: float = CONFIDENCE
) -> Interval:
    """The share of a population from those of its parts, which were sampled independently.

    parts : (weight, share). Intervals are joined as Zou and Donner (2008) do.
    """
    _check_weights([weight for weight, _ in parts])
    estimate = below = above = 0.0
    for weight, part in parts:
        estimate += weight * part.estimate
        below += (weight * (part.estimate - part.low)) ** 2
        above += (weight * (part.high - part.estimate)) ** 2
    methods = dict.fromkeys(part.method for _, part in parts)
    return Interval(
        estimate,
        min(estimate, max(0.0, estimate - math.sqrt(below))),
        max(estimate, min(1.0, estimate + math.sqrt(above))),
        confidence,
        sum(part.trials for _, part in parts),
        sum(part.clusters for _, part in parts),
        seed,
        f"{len(parts)} strata, {', '.join(methods)}",
    )


def _check_weights(weights: Sequence[float]) -> None:
    total = math.fsum(weights)
    if not math.isclose(total, 1, abs_tol=1e-9) or any(weight < 0 for weight in weights):
        raise InternalError(f"weights of strata are not shares of one population: sum {total}")


def allocate(
    strata: Sequence[Stratum],
    total: int,
    method: Literal["proportional", "neyman"] = "proportional",
    least: int = 1,
) -> dict[str, int]:
    """How to divide `total` trials: stratum -> trials, each at least `least`.

    proportional : by weight. neyman : by weight x sqrt(p (1 - p)), which makes the variance
    smallest (Neyman 1934); p from the trials and failures of a pilot, drawn to a half by one
    success and one failure so that no stratum counts as certain.
    """
    _check_weights([stratum.weight for stratum in strata])
    if total < least * len(strata):
        raise FlexhycaError(
            f"{total} trials are too few for {len(strata)} strata of at least {least}; "
            f"give {least * len(strata)} or more, or merge strata"
        )
    wanted = {}
    for stratum in strata:
        p = (stratum.failures + 1) / (stratum.trials + 2)
        deviation = math.sqrt(p * (1 - p)) if method == "neyman" else 1.0
        wanted[stratum.name] = stratum.weight * deviation
    free = total - least * len(strata)
    scale = free / math.fsum(wanted.values())
    given = {name: math.floor(amount * scale) for name, amount in wanted.items()}
    # Largest remainders first; ties in the order of the strata.
    rest = sorted(wanted, key=lambda name: given[name] - wanted[name] * scale)
    for name in rest[: free - sum(given.values())]:
        given[name] += 1
    return {name: least + amount for name, amount in given.items()}


@dataclass(frozen=True)
class Comparison:
    """Two schemes on the same faults: first minus second.

    only_first, only_second : trials that failed under one scheme only. p_value : McNemar's exact
    test of no difference, of all that it depends on: these two counts.
    """

    interval: Interval
    only_first: int
    only_second: int
    p_value: float


def paired_shares(
    first: ArrayLike, second: ArrayLike, seed: int, confidence: float = CONFIDENCE
) -> Comparison:
    """The difference of two failure shares on one list of faults (Newcombe 1998, method 10).

    first, second : 1-D, true where the fault is a failure under the scheme, same order.
    """
    import numpy as np
    from scipy.stats import binomtest

    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise InternalError(f"paired trials of shapes {a.shape} and {b.shape}")
    n = len(a)
    both, neither = int((a & b).sum()), int((~a & ~b).sum())
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p1, p2 = (both + only_a) / n, (both + only_b) / n
    (low1, high1), (low2, high2) = wilson(p1 * n, n, confidence), wilson(p2 * n, n, confidence)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product: float = both * neither - only_a * only_b
    if product > 0:
        product = max(product - n / 2, 0)  # the correction that makes it method 10
    phi = product / math.sqrt(margins) if margins else 0.0
    down, up = p1 - low1, high1 - p1
    down2, up2 = p2 - low2, high2 - p2
    difference = (only_a - only_b) / n
    low = difference - math.sqrt(max(0.0, down**2 - 2 * phi * down * up2 + up2**2))
    high = difference + math.sqrt(max(0.0, up**2 - 2 * phi * up * down2 + down2**2))
    interval = Interval(
        *(difference, low, high, confidence, n, n, seed, "Newcombe, paired"), difference=True
    )
    unequal = only_a + only_b
    p_value = float(binomtest(only_a, unequal, 0.5).pvalue) if unequal else 1.0
    return Comparison(interval, only_a, only_b, p_value)


def paired_ratios(
    first: ArrayLike,
    second: ArrayLike,
    denominators: ArrayLike,
    seed: int,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> Interval:
    """The difference of two accuracies on the same faults and images: paired bootstrap.

    first, second : 1-D, correct images of each cluster under the schemes; not finite counts as 0.
    denominators : images of each cluster. As in `clustered`; where every cluster has the same
    difference, or clusters are fewer than 10, the interval allows for the share of unlike
    clusters that may have been missed.
    """
    import numpy as np

    a, b, below = (np.asarray(values, float) for values in (first, second, denominators))
    a, b = np.where(np.isfinite(a), a, 0.0), np.where(np.isfinite(b), b, 0.0)
    _check_clusters(a, below)
    _check_clusters(b, below)
    estimate = float((a - b).sum() / below.sum())
    # An unlike cluster has not been seen among so many, and would differ by 1 at most.
    spare = wilson(0, len(a), confidence)[1]
    unseen = estimate - spare, estimate + spare
    low, high, method = _bounds(a - b, below, unseen, seed, confidence, resamples, "paired ")
    low, high = max(-1.0, min(low, estimate)), min(1.0, max(high, estimate))
    return Interval(
        *(estimate, low, high, confidence, round(below.sum()), len(a), seed, method),
        difference=True,
    )
