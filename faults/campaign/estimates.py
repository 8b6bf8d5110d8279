"""From rows to intervals: what a campaign's declared quantities are, so far and in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from ...errors import InternalError
from . import statistics
from .experiment import (
    Change,
    Quantity,
    Ratio,
    Share,
    TrialRow,
)
from .statistics import CONFIDENCE, Interval, Stratum

_Group: TypeAlias = tuple[Any, ...]


class Estimate(NamedTuple):
    """What was estimated: `name` says which share, `group` of which scheme and the like.

    leading : it is the quantity's own (the failures; the accuracy), not that of one class beside
    it; these decide when a campaign may stop.
    """

    name: str
    group: dict[str, Any]
    interval: Interval
    leading: bool

    @property
    def label(self) -> str:
        """Name and group in one line."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.group.items())])


class Tally:
    """The rows of a campaign, counted as they come; `estimates` at any time."""

    def __init__(self, quantities: Sequence[Quantity], seed: int) -> None:
        self._counts = [_COUNTS[type(quantity)](quantity) for quantity in quantities]
        self._seed = seed
        self.trials = 0

    def add(self, row: TrialRow) -> None:
        """Count a row."""
        self.trials += 1
        for count in self._counts:
            count.add(row)

    def estimates(self, confidence: float = CONFIDENCE) -> list[Estimate]:
        """Every quantity in every group, in the order in which groups first came."""
        return [e for count in self._counts for e in count.estimates(self._seed, confidence)]

    def margin(self, confidence: float = CONFIDENCE) -> float:
        """The widest leading interval's half width; infinite while one cannot be given."""
        if not self.trials or any(not count.complete for count in self._counts):
            return math.inf
        leading = [e for e in self.estimates(confidence) if e.leading]
        return max((e.interval.margin for e in leading), default=math.inf)


def _class_of(value: str) -> str:
    return value.partition(":")[0]


class _ShareCount:
    def __init__(self, share: Share) -> None:
        self._share = share
        #: group -> stratum -> value -> trials
        self._groups: dict[_Group, dict[str, Counter[str]]] = {}

    def add(self, row: TrialRow) -> None:
        share = self._share
        group = tuple(row[name] for name in share.by)
        stratum = "/".join(str(row[name]) for name in share.strata)
        strata = self._groups.setdefault(group, {})
        strata.setdefault(stratum, Counter())[str(row[share.column])] += 1

    @property
    def complete(self) -> bool:
        """All strata have trials, so that estimates can be given."""
        weights = self._share.weights
        return weights is None or all(
            all(name in strata for name, weight in weights.items() if weight)
            for strata in self._groups.values()
        )

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        if not self.complete:
            return
        share = self._share
        for group, strata in self._groups.items():
            named = dict(zip(share.by, group, strict=True))
            values = sorted({value for counter in strata.values() for value in counter})
            failed = [value for value in values if _class_of(value) not in share.good]
            shown = {"failure": failed}
            for name in dict.fromkeys([*share.classes, *map(_class_of, values)]):
                parts = [value for value in values if _class_of(value) == name]
                worse = [value for value in values if share.within.get(_class_of(value)) == name]
                shown[name] = parts + worse
                shown |= {value: [value] for value in parts if value != name}
            for name, counted in shown.items():
                rate = self._rate(strata, counted, seed, confidence)
                yield Estimate(f"{share.column} {name}", named, rate, name == "failure")

    def _rate(
        self, strata: dict[str, Counter[str]], values: Sequence[str], seed: int, confidence: float
    ) -> Interval:
        counts = {
            name: (sum(counter[value] for value in values), counter.total())
            for name, counter in strata.items()
        }
        weights = self._share.weights
        if weights is None:
            failures = sum(count for count, _ in counts.values())
            trials = sum(total for _, total in counts.values())
            return statistics.share(failures, trials, seed, confidence)
        unknown = sorted(counts.keys() - weights.keys())
        if unknown:
            raise InternalError(f"stratum {unknown[0]} has no weight")
        layers = [
            Stratum(name, weight, counts[name][1], counts[name][0])
            for name, weight in weights.items()
            if weight
        ]
        return statistics.stratified(layers, seed, confidence).interval


class _RatioCount:
    complete = True

    def __init__(self, ratio: Ratio) -> None:
        self._ratio = ratio
        #: group -> cluster -> [above, below]
        self._groups: dict[_Group, dict[Any, list[float]]] = {}

    def add(self, row: TrialRow) -> None:
        ratio = self._ratio
        above, below = row[ratio.above], row[ratio.below]
        if not isinstance(below, int) or below <= 0:
            raise InternalError(f"trial {row['index']}: {ratio.below} = {below!r}")
        usable = isinstance(above, int | float) and math.isfinite(above)
        clusters = self._groups.setdefault(tuple(row[name] for name in ratio.by), {})
        sums = clusters.setdefault(row[ratio.cluster], [0, 0])
        sums[0] += above if usable else 0  # type: ignore[operator]
        sums[1] += below

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        ratio = self._ratio
        for group, clusters in self._groups.items():
            above, below = zip(*clusters.values(), strict=True)
            interval = statistics.clustered(above, below, seed, confidence)
            named = dict(zip(ratio.by, group, strict=True))
            yield Estimate(f"{ratio.above}/{ratio.below}", named, interval, True)


class _ChangeCount:
    complete = True

    def __init__(self, change: Change) -> None:
        self._change = change
        self._pairs: Counter[tuple[bool, bool]] = Counter()  # right with the faults, and without

    def add(self, row: TrialRow) -> None:
        after, before = row[self._change.after], row[self._change.before]
        if before is not None:
            self._pairs[bool(after), bool(before)] += 1

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        trials = self._pairs.total()
        if not trials:
            return
        after, before = zip(*self._pairs.elements(), strict=True)
        right = statistics.share(sum(after), trials, seed, confidence)
        change = statistics.paired_shares(after, before, seed, confidence).interval
        yield Estimate("accuracy", {}, right, False)
        yield Estimate("accuracy minus fault-free", {}, change, False)


_COUNTS: dict[type[Quantity], Any] = {
    Share: _ShareCount,
    Ratio: _RatioCount,
    Change: _ChangeCount,
}
