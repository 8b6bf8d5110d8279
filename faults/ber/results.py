"""What a campaign at a bit error rate says: accuracies, losses and differences, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import FlexhycaError
from ..campaign.experiment import TrialRow
from ..campaign.over_images import over_clusters_and_images
from ..campaign.statistics import (
    CONFIDENCE,
    Interval,
    clustered,
    paired_ratios,
    wilson,
)
from .options import Case

Verdict = Literal["met", "missed", "open"]


class Counts:
    """The rows of a campaign by case and pattern; patterns that not all cases have are left out.

    Every array is (cases, patterns); `patterns` is their number. Intervals are over patterns: they
    are those of these images. `over_images` has them for others of their kind.
    """

    def __init__(
        self,
        rows: Iterable[TrialRow],
        cases: Sequence[Case],
        seed: int,
        total: int,
        drawn: NDArray[np.int64],
    ) -> None:
        """total : different images that there are. drawn : (patterns, images), their numbers."""
        self.cases, self.seed, self._total = list(cases), seed, total
        held = list(rows)
        self.patterns = len(held) // len(cases)
        if not self.patterns:
            raise FlexhycaError(
                f"{len(held)} trials are less than one pattern under {len(cases)} cases; do more"
            )
        held = held[: self.patterns * len(cases)]
        self.images, self.correct, self.golden, self.acc0, self.changed = (
            np.array([row[name] for row in held], np.int64).reshape(self.patterns, -1).T
            for name in ("images", "correct", "golden_correct", "acc0_correct", "changed")
        )
        self.drawn = drawn[: self.patterns]
        #: Of each image of each pattern, (cases, patterns, images): whether it is right.
        self._right, self._acc0_right = (
            np.stack([unpacked(str(row[name]), drawn.shape[1]) for row in held])
            .reshape(self.patterns, len(cases), -1)
            .swapaxes(0, 1)
            for name in ("right", "acc0_right")
        )

    def accuracy(self, i: int) -> Interval:
        """Of case `i`."""
        return clustered(self.correct[i], self.images[i], self.seed)

    def golden_accuracy(self, i: int, of_acc0: bool = False) -> Interval:
        """Without faults: of case `i`'s program, or of the reference. Each image counts once."""
        right, images = (self.acc0 if of_acc0 else self.golden)[i].sum(), self.images[i].sum()
        count, estimate = min(int(images), self._total), float(right / images)
        low, high = wilson(estimate * count, count)
        bounds = min(low, estimate), max(high, estimate)
        return Interval(estimate, *bounds, CONFIDENCE, count, count, self.seed, "Wilson")

    def difference(self, i: int, other: int) -> Interval:
        """Accuracy of case `i` minus that of `other`, on the same patterns."""
        return paired_ratios(self.correct[i], self.correct[other], self.images[i], self.seed)

    def loss(self, i: int) -> Interval:
        """acc0 minus the accuracy of case `i`, on the same images."""
        return paired_ratios(self.acc0[i], self.correct[i], self.images[i], self.seed)

    def over_images(self, i: int, less: int | None = None) -> tuple[Interval, Interval]:
        """Accuracy and loss of case `i` over patterns and images.

        less : another case, of which the accuracy is taken off in place of the loss.
        """
        right, acc0 = (x[i].astype(float) for x in (self._right, self._acc0_right))
        other, own = (acc0 - right, self.loss(i))
        if less is not None:
            other, own = right - self._right[less], self.difference(i, less)
        pairs = ((right, self.accuracy(i)), (other, own))
        accuracy, second = (
            over_clusters_and_images(interval, values, self.drawn, self._total)
            for values, interval in pairs
        )
        return accuracy, second

    def above(self, i: int, goal: float) -> Interval:
        """Accuracy of case `i` minus `goal` x acc0."""
        wanted = goal * self.acc0[i]
        return paired_ratios(self.correct[i], wanted, self.images[i], self.seed)

    def verdict(self, i: int, goal: float) -> Verdict:
        """Whether the goal is met; open while the interval has it on both sides."""
        margin = self.above(i, goal)
        return "met" if margin.low >= 0 else "missed" if margin.high < 0 else "open"


@dataclass(frozen=True)
class CaseResult:
    """A scheme at a rate. golden : its own fault-free accuracy; acc0 : the reference's.

    goal : relative to acc0; None, and no verdict, where none was asked for.
    """

    case: Case
    goal: float | None
    verdict: Verdict | None
    accuracy: Interval
    golden: Interval
    acc0: Interval
    loss: Interval
    changed: Interval
    accuracy_over_images: Interval
    loss_over_images: Interval

    def to_dict(self) -> dict[str, Any]:
        """For JSON; intervals with their trials and seed, and the estimates by themselves."""
        accuracy = self.accuracy
        judged = {} if self.goal is None else {"goal": self.goal, "verdict": self.verdict}
        return {
            "scheme": self.case.scheme,
            "ber": self.case.ber,
            "protect": list(self.case.protect),
            "accuracy": accuracy.estimate,
            "interval": [accuracy.low, accuracy.high],
            "confidence": accuracy.confidence,
            "trials": accuracy.trials,
            "patterns": accuracy.clusters,
            "seed": accuracy.seed,
            "golden_accuracy": self.golden.estimate,
            "acc0": self.acc0.estimate,
            **judged,
            "details": {name: getattr(self, name).to_dict() for name in _DETAILS},
        }


_DETAILS = (
    *("accuracy", "golden", "acc0", "loss", "changed"),
    *("accuracy_over_images", "loss_over_images"),
)


def packed(right: NDArray[np.bool_]) -> str:
    """Flags of images as hexadecimal digits, the first image in the highest bit."""
    return np.packbits(right).tobytes().hex()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """The flags of `count` images again."""
    flags = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=count)
    return flags.astype(np.bool_)


def results(counts: Counts, goals: Sequence[float] | None = None) -> list[CaseResult]:
    """One a case. goals : of each case, relative to acc0; without them there are no verdicts."""
    wanted: Sequence[float | None] = goals or [None] * len(counts.cases)
    return [
        CaseResult(
            case,
            goal,
            None if goal is None else counts.verdict(i, goal),
            counts.accuracy(i),
            counts.golden_accuracy(i),
            counts.golden_accuracy(i, of_acc0=True),
            counts.loss(i),
            clustered(counts.changed[i], counts.images[i], counts.seed),
            *counts.over_images(i),
        )
        for i, (case, goal) in enumerate(zip(counts.cases, wanted, strict=True))
    ]


@dataclass(frozen=True)
class SchemeDifference:
    """Accuracy of `scheme` minus that of `than`, at one rate, on the same patterns.

    next : `than` is the scheme before it in the order that was asked for.
    """

    scheme: str
    than: str
    ber: float
    next: bool
    interval: Interval
    over_images: Interval

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        own = {"scheme": self.scheme, "than": self.than, "ber": self.ber}
        return {**own, **self.interval.to_dict(), "over_images": self.over_images.to_dict()}


def differences(counts: Counts) -> list[SchemeDifference]:
    """Each scheme against each one before it at the same rate."""
    found = []
    for i, case in enumerate(counts.cases):
        before = [j for j in range(i) if counts.cases[j].ber == case.ber]
        for j in reversed(before):
            other = counts.cases[j].scheme
            pair = counts.difference(i, j), counts.over_images(i, j)[1]
            found.append(SchemeDifference(case.scheme, other, case.ber, j == before[-1], *pair))
    return found
