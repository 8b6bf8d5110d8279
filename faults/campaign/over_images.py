"""Intervals over clusters and images: for other images of the kind that were drawn, too.

Clusters (patterns of wrong bits) are many and their images few, and the same ones in all of them:
an interval over clusters alone holds for these images. With 180 images of digits and any number of
patterns it is at 99.02 [98.96, 99.09], and all 360 are at 99.30.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from .crossed import image_values, skewed_margin
from .statistics import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def over_clusters_and_images(
    over_clusters: Interval,
    values: NDArray[np.float64],
    images: NDArray[np.int64],
    count: int,
) -> Interval:
    """The interval of a mean over clusters and images (crossed random effects).

    over_clusters : that of the same mean over clusters. values, images : (clusters, images), what
    each image gave, and its number. count : how many images there are.
    The two errors are independent, so that squared distances to the bounds add up (Zou and Donner
    2008): those over clusters, and those of the images' own part (`crossed.image_values`), by
    Student's t or without its skewness, whichever is wider. Where all images are alike, an unlike
    kind may have been missed: then the images' bounds are Wilson's.
    """
    estimate, alpha = over_clusters.estimate, (1 - over_clusters.confidence) / 2
    own = image_values(images, values, count)
    if float(own.values.max() - own.values.min()) > 0:
        lasting = math.sqrt(own.lasting)
        below, above = (lasting * skewed_margin(s * own.values, alpha) for s in (1, -1))
    elif over_clusters.difference:
        below = above = wilson(0, count, over_clusters.confidence)[1]
    else:
        low, high = wilson(estimate * count, count, over_clusters.confidence)
        below, above = max(0.0, estimate - low), max(0.0, high - estimate)
    least = -1.0 if over_clusters.difference else 0.0
    return replace(
        over_clusters,
        low=max(least, estimate - math.hypot(estimate - over_clusters.low, below)),
        high=min(1.0, estimate + math.hypot(over_clusters.high - estimate, above)),
        method=f"{over_clusters.method}; joined with {count} images",
    )
