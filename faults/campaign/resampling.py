"""Bounds of a ratio over clusters: by resampling them, and by Student's t from their spread.

Both see only the clusters that were drawn. The bootstrap follows a skewed distribution; but it
takes the spread that it finds for the true one, which the quantiles of Student's t allow for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...errors import FlexhycaError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DRAWN = 4_000_000  # counts that are drawn at once


def quantile(confidence: float) -> float:
    """The two-sided quantile of the normal distribution: 1.96 at 0.95."""
    from scipy.special import ndtri

    if not 0 < confidence < 1:
        raise FlexhycaError(f"confidence {confidence} is not between 0 and 1; use 0.95 or 0.99")
    return float(ndtri((1 + confidence) / 2))


def student(
    above: NDArray[np.float64], below: NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    """Bounds of sum(above) / sum(below) over 2 clusters or more, by n - 1 degrees of freedom.

    The variance is that of the ratio estimator (Cochran 1977, 6.4), from the residuals
    above - ratio x below.
    """
    from scipy.special import stdtrit

    clusters, total = len(above), below.sum()
    ratio = float(above.sum() / total)
    squares = float(((above - ratio * below) ** 2).sum())
    error = math.sqrt(squares * clusters / (clusters - 1)) / float(total)
    half = float(stdtrit(clusters - 1, (1 + confidence) / 2)) * error
    return ratio - half, ratio + half


def bootstrap(
    above: NDArray[np.float64],
    below: NDArray[np.float64],
    seed: int,
    confidence: float,
    resamples: int,
) -> tuple[float, float] | None:
    """Bounds of sum(above) / sum(below) over resampled clusters; None where all are alike.

    Bias-corrected and accelerated (Efron 1987).
    """
    import numpy as np

    # Equal clusters are exchangeable: how often each kind is drawn is one multinomial draw.
    kinds, counts = np.unique(np.stack([above, below]), axis=1, return_counts=True)
    if len(set(kinds[0] / kinds[1])) == 1:
        return None
    rng = np.random.default_rng([seed, 0x626F6F74])  # "boot": apart from the trials' own streams
    ratios = np.empty(resamples)
    step = max(1, _DRAWN // len(counts))  # bounds the memory; the stream is the same
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.multinomial(len(above), counts / len(above), size=size)
        ratios[start : start + size] = (drawn @ kinds[0]) / (drawn @ kinds[1])
    left_out = (above.sum() - kinds[0]) / (below.sum() - kinds[1])
    return _accelerated(ratios, float(above.sum() / below.sum()), left_out, counts, confidence)


def _accelerated(
    resampled: NDArray[np.float64],
    estimate: float,
    left_out: NDArray[np.float64],
    counts: NDArray[np.int64],
    confidence: float,
) -> tuple[float, float]:
    """Efron's BCa bounds; `left_out` is the estimate without one cluster of each kind."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    below = (np.mean(resampled < estimate) + np.mean(resampled <= estimate)) / 2
    resamples = len(resampled)
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    away = np.average(left_out, weights=counts) - left_out
    spread = float((counts * away**2).sum())
    acceleration = float((counts * away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    z = quantile(confidence)
    ends = []
    for end in (-z, z):
        shifted = bias + end
        ends.append(ndtr(bias + shifted / (1 - acceleration * shifted)))
    low, high = np.quantile(resampled, ends)
    return float(low), float(high)
