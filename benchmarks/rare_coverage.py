"""How often intervals over clusters hold the truth where a rare kind of cluster is bad.

A cluster of 50 images is bad with some probability; of its images a smaller share is right than of
the others, of which 95 % are. Campaigns are drawn from that, so that the truth is known.

    python benchmarks/rare_coverage.py [RUNS]
"""

from __future__ import annotations

import sys

import numpy as np

from flexhyca.faults.campaign.statistics import clustered

SIZES = (10, 20, 30, 50, 60, 100, 150, 200, 300, 400)
SHARES, ACCURACIES = (0.01, 0.02, 0.05, 0.1), (0.1, 0.4)
IMAGES, USUAL = 50, 0.95
RESAMPLES = 1000


def covered(share: float, accuracy: float, size: int, runs: int) -> float:
    """Share of campaigns of `size` clusters whose interval holds the mean of all clusters."""
    rng = np.random.default_rng([size, round(1000 * share), round(100 * accuracy)])
    truth = share * accuracy + (1 - share) * USUAL
    held = 0
    for _ in range(runs):
        right = rng.binomial(IMAGES, np.where(rng.random(size) < share, accuracy, USUAL))
        seed = int(rng.integers(2**31))
        found = clustered(right, np.full(size, IMAGES), seed, resamples=RESAMPLES)
        held += found.low <= truth <= found.high
    return held / runs


def main(runs: int = 1000) -> None:
    """Print the table of docs/campaigns.md."""
    print("| share of campaigns |", " | ".join(map(str, SIZES)), "|")
    print("|---|" + "---|" * len(SIZES))
    for accuracy in ACCURACIES:
        for share in SHARES:
            found = [covered(share, accuracy, size, runs) for size in SIZES]
            cells = " | ".join(f"{each:.2f}" for each in found)
            print(f"| {share:.0%} of clusters at {accuracy:.0%} | {cells} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
