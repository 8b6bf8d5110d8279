"""How often the intervals of bit error campaigns hold the truth, by the number of patterns.

The truth is that of 6,000 patterns of digits; campaigns of fewer are drawn from them. Beside the
intervals as they are (`clustered`, `paired_ratios`): the bootstrap alone.

    python benchmarks/interval_coverage.py [PATTERNS] [RUNS]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from flexhyca.faults.campaign.resampling import bootstrap
from flexhyca.faults.campaign.statistics import CONFIDENCE, clustered, paired_ratios
from flexhyca.faults.campaign.store import Campaign

SIZES = (10, 20, 50, 79, 80, 100, 200)
RATES, SCHEMES = (1e-3, 2e-3), ("base", "tmr_crt1")
RESAMPLES = 1000


def patterns(count: int) -> tuple[dict[tuple[str, float], np.ndarray], int]:
    """Right images of each pattern by case, and how many images a pattern has."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "digits.db")
        command = [sys.executable, "-m", "flexhyca", "inject", "digits", "--faults", "ber"]
        command += ["--ber", ",".join(map(str, RATES)), "--scheme", ",".join(SCHEMES)]
        command += ["--trials", str(count), "--out", str(file)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found: dict[tuple[str, float], list[int]] = {}
        with Campaign(file) as campaign:
            for row in campaign.prefix():
                found.setdefault((row["scheme"], row["ber"]), []).append(row["correct"])
                images = row["images"]
    return {case: np.array(right, float) for case, right in found.items()}, images


def covered(values: np.ndarray, other: np.ndarray | None, images: int, size: int, runs: int):
    """Shares of campaigns whose interval, and whose bootstrap alone, hold the mean of all."""
    rng = np.random.default_rng([size, 7])
    change = values if other is None else values - other
    truth, held, alone = change.mean() / images, 0, 0
    below = np.full(size, float(images))
    for _ in range(runs):
        drawn, seed = rng.integers(len(values), size=size), int(rng.integers(2**31))
        if other is None:
            found = clustered(values[drawn], below, seed, resamples=RESAMPLES)
        else:
            found = paired_ratios(values[drawn], other[drawn], below, seed, resamples=RESAMPLES)
        held += found.low <= truth <= found.high
        bounds = bootstrap(change[drawn], below, seed, CONFIDENCE, RESAMPLES)
        alone += bounds is not None and bounds[0] <= truth <= bounds[1]
    return held / runs, alone / runs


def main(count: int = 6000, runs: int = 2000) -> None:
    """Print the table of docs/campaigns.md."""
    right, images = patterns(count)
    error = 100 * 1.96 * (0.95 * 0.05 / runs) ** 0.5
    print(
        f"Truth: the mean of {count:,} patterns of {images} images (seed 0). A cell: the share of "
        f"{runs:,} campaigns of so many of them (generator [patterns, 7], {RESAMPLES:,} resamples) "
        f"whose {CONFIDENCE:.0%} interval holds it, itself known to +- {error:.1f} points.\n"
    )
    rows = {f"`{scheme}` at {rate:g}": (own, None) for (scheme, rate), own in right.items()}
    for rate in RATES:
        pair = right["tmr_crt1", rate], right["base", rate]
        rows[f"`tmr_crt1` - `base` at {rate:g}"] = pair
    print("| share of campaigns |", " | ".join(map(str, SIZES)), "|")
    print("|---|" + "---|" * len(SIZES))
    for name, (values, other) in rows.items():
        found = [covered(values, other, images, size, runs) for size in SIZES]
        print(f"| digits, {name} |", " | ".join(f"{held:.3f}" for held, _ in found), "|")
        print("| the bootstrap alone |", " | ".join(f"{b:.3f}" for _, b in found), "|", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
