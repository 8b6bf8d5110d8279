"""What the three questions at bit error rates print alike: titles, trials, rates in FIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...faults.ber.results import Counts
    from ...faults.ber.study import BerStudy


def size(counts: Counts) -> str:
    """The trials of an accuracy."""
    return f"{counts.patterns:,} patterns x {int(counts.images[0, 0])} images a case"


def title(study: BerStudy, counts: Counts | None = None) -> str:
    """What stands above tables and pictures; with the trials, where all numbers have the same."""
    trials = "" if counts is None else f"{size(counts)}, "
    return f"{study.programs.model.name}: {trials}95 % intervals over patterns, seed {study.seed}"


def fault_free(counts: Counts) -> str:
    """Head of a column of accuracies without faults, in which each image counts once."""
    return f"fault-free, {counts.golden_accuracy(0).trials:,} images"


def print_scope(study: BerStudy, also: str = "") -> None:
    """What the intervals above hold for. also : how to have them for more."""
    images = f"these {study.programs.images:,} images"
    print(f"intervals hold for {images}, this calibration and this ranking{also} (docs/ber.md)")


def print_links(study: BerStudy) -> None:
    """What each rate is in FIT, one line a rate."""
    live = study.exposure.cycles
    print(f"{study.exposure.bits:,} bits an image live {live:,.0f} cycles on average, so that")
    for link in study.links():
        fit, clock = link["fit_per_mbit"], link["clock_mhz"]
        print(f"  ber {link['ber']:.3g} is {fit:.3g} FIT per Mbit at {clock:g} MHz")
