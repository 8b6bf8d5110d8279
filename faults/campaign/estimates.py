"""From rows to intervals: what a campaign's declared quantities are, so far and in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from ...errors import InternalError
from ...tables import complete
from . import statistics
from .experiment import (
    QUANTITIES,
    Change,
    Loss,
    PairedDifference,
    Quantity,
    Ratio,
    Share,
    TrialRow,
)
from .statistics import CONFIDENCE, Interval

_Group: TypeAlias = tuple[Any, ...]
_Counters: TypeAlias = dict[Any, Counter[str]]


class Estimate(NamedTuple):
    """What was estimated: `name` says which share, `group` of which scheme and the like."""

    name: str
    group: dict[str, Any]
    interval: Interval

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
        return list(self._each(confidence))

    def within(self, margin: float, confidence: float = CONFIDENCE) -> bool:
        """Whether half of the width of every estimate's interval is at most this.

        Not while one cannot be given, or there is none.
        """
        if any(not count.complete for count in self._counts):
            return False
        each = self._each(confidence)
        first = next(each, None)
        return first is not None and all(e.interval.margin <= margin for e in chain([first], each))

    def _each(self, confidence: float) -> Iterator[Estimate]:
        for count in self._counts:
            yield from count.estimates(self._seed, confidence)


def _class_of(value: str) -> str:
    return value.partition(":")[0]


class _ShareCount:
    def __init__(self, share: Share) -> None:
        self._share = share
        #: group -> stratum -> cluster (or "", where each trial is one) -> value -> trials
        self._groups: dict[_Group, dict[str, _Counters]] = {}

    def add(self, row: TrialRow) -> None:
        share = self._share
        group = tuple(row[name] for name in share.by)
        weighted = share.weights is not None  # else all are one sample
        stratum = "/".join(str(row[name]) for name in share.strata if weighted)
        if share.weights is not None and stratum not in share.weights:
            raise InternalError(f"stratum {stratum} has no weight")
        cluster = row[share.cluster] if share.cluster else ""
        counters = self._groups.setdefault(group, {}).setdefault(stratum, {})
        counters.setdefault(cluster, Counter())[str(row[share.column])] += 1

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
            counters = chain.from_iterable(own.values() for own in strata.values())
            values = sorted(set(chain.from_iterable(counters)))
            failed = [value for value in values if _class_of(value) not in share.good]
            shown = {"failure": failed}
            for name in dict.fromkeys([*share.classes, *map(_class_of, values)]):
                parts = [value for value in values if _class_of(value) == name]
                worse = [value for value in values if share.within.get(_class_of(value)) == name]
                shown[name] = parts + worse
                shown |= {value: [value] for value in parts if value != name}
            for name, counted in shown.items():
                rate = self._rate(strata, counted, seed, confidence)
                yield Estimate(f"{share.column} {name}", named, rate)

    def _rate(
        self, strata: dict[str, _Counters], values: Sequence[str], seed: int, confidence: float
    ) -> Interval:
        weights = self._share.weights
        if weights is None:  # without strata there is one
            (counters,) = strata.values()
            return self._of(counters, values, seed, confidence)
        parts = [
            (weight, self._of(strata[name], values, seed, confidence))
            for name, weight in weights.items()
            if weight
        ]
        return statistics.weighted(parts, seed, confidence)

    def _of(
        self, counters: _Counters, values: Sequence[str], seed: int, confidence: float
    ) -> Interval:
        counted = [sum(counter[value] for value in values) for counter in counters.values()]
        totals = [counter.total() for counter in counters.values()]
        if self._share.cluster:
            return statistics.clustered(counted, totals, seed, confidence)
        return statistics.share(sum(counted), sum(totals), seed, confidence)


class _Clusters:
    """Sums of columns over clusters, by group. A missing or NaN numerator counts as 0."""

    complete = True

    def __init__(self, above: Sequence[str], below: str, cluster: str, by: tuple[str, ...]) -> None:
        self._above, self._below, self._cluster, self.by = above, below, cluster, by
        #: group -> cluster -> [sum of each of `above`, of `below`]
        self.groups: dict[_Group, dict[Any, list[float]]] = {}

    def add(self, row: TrialRow) -> None:
        below = row[self._below]
        if not isinstance(below, int) or below <= 0:
            raise InternalError(f"trial {row['index']}: {self._below} = {below!r}")
        clusters = self.groups.setdefault(tuple(row[name] for name in self.by), {})
        sums = clusters.setdefault(row[self._cluster], [0] * (len(self._above) + 1))
        for i, name in enumerate(self._above):
            value = row[name]
            if isinstance(value, int | float) and math.isfinite(value):
                if not 0 <= value <= below:
                    raise InternalError(f"trial {row['index']}: {name} = {value!r} of {below}")
                sums[i] += value
        sums[-1] += below

    def named(self, group: _Group) -> dict[str, Any]:
        return dict(zip(self.by, group, strict=True))


class _RatioCount(_Clusters):
    def __init__(self, ratio: Ratio) -> None:
        super().__init__([ratio.above], ratio.below, ratio.cluster, ratio.by)
        self._name = f"{ratio.above}/{ratio.below}"

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        for group, clusters in self.groups.items():
            above, below = zip(*clusters.values(), strict=True)
            interval = statistics.clustered(above, below, seed, confidence)
            yield Estimate(self._name, self.named(group), interval)


class _LossCount(_Clusters):
    def __init__(self, loss: Loss) -> None:
        super().__init__([loss.before, loss.after], loss.below, loss.cluster, loss.by)
        self._name = f"({loss.before} - {loss.after})/{loss.below}"

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        for group, clusters in self.groups.items():
            before, after, below = zip(*clusters.values(), strict=True)
            interval = statistics.paired_ratios(before, after, below, seed, confidence)
            yield Estimate(self._name, self.named(group), interval)


class _DifferenceCount(_Clusters):
    def __init__(self, difference: PairedDifference) -> None:
        own = difference
        super().__init__([own.above], own.below, own.cluster, own.by)
        self._name, self._between = f"{own.above}/{own.below} difference", own.between
        self._with_first_only = own.with_first_only

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        between = self.by.index(self._between)
        alike: dict[_Group, list[_Group]] = {}  # but for that column
        for group in self.groups:
            before = alike.setdefault(group[:between] + group[between + 1 :], [])
            for other in before[:1] if self._with_first_only else reversed(before):
                interval = self._interval(group, other, seed, confidence)
                if interval is not None:
                    named = {**self.named(group), "minus": other[between]}
                    yield Estimate(self._name, named, interval)
            before.append(group)

    def _interval(
        self, group: _Group, other: _Group, seed: int, confidence: float
    ) -> Interval | None:
        """None where the two have no cluster in common yet."""
        own, its = self.groups[group], self.groups[other]
        common = [cluster for cluster in own if cluster in its]
        if not common:
            return None
        first, second = ([sums[c][0] for c in common] for sums in (own, its))
        below = [own[cluster][1] for cluster in common]
        return statistics.paired_ratios(first, second, below, seed, confidence)


class _ChangeCount:
    complete = True

    def __init__(self, change: Change) -> None:
        self._change = change
        #: group -> cluster (or "") -> (right with the faults, and without) -> trials
        self._groups: dict[_Group, dict[Any, Counter[tuple[bool, bool]]]] = {}

    def add(self, row: TrialRow) -> None:
        own = self._change
        after, before = row[own.after], row[own.before]
        if before is not None:
            clusters = self._groups.setdefault(tuple(row[name] for name in own.by), {})
            pairs = clusters.setdefault(row[own.cluster] if own.cluster else "", Counter())
            pairs[bool(after), bool(before)] += 1

    def estimates(self, seed: int, confidence: float) -> Iterator[Estimate]:
        for group, clusters in self._groups.items():
            named = dict(zip(self._change.by, group, strict=True))
            right, change = self._intervals(list(clusters.values()), seed, confidence)
            yield Estimate("accuracy", named, right)
            yield Estimate("accuracy minus fault-free", named, change)

    def _intervals(
        self, clusters: Sequence[Counter[tuple[bool, bool]]], seed: int, confidence: float
    ) -> tuple[Interval, Interval]:
        if not self._change.cluster:
            after, before = zip(*clusters[0].elements(), strict=True)
            right = statistics.share(sum(after), len(after), seed, confidence)
            return right, statistics.paired_shares(after, before, seed, confidence).interval
        rights, firsts = (
            [sum(n for pair, n in pairs.items() if pair[which]) for pairs in clusters]
            for which in (0, 1)
        )
        totals = [pairs.total() for pairs in clusters]
        return (
            statistics.clustered(rights, totals, seed, confidence),
            statistics.paired_ratios(rights, firsts, totals, seed, confidence),
        )


_COUNTS: dict[type[Quantity], Any] = {
    Share: _ShareCount,
    Ratio: _RatioCount,
    Change: _ChangeCount,
    Loss: _LossCount,
    PairedDifference: _DifferenceCount,
}
complete(
    "QUANTITIES in faults/campaign/experiment.py",
    QUANTITIES.values(),
    _COUNTS,
    "faults/campaign/estimates.py: _COUNTS",
)
