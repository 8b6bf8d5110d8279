"""Confirmation: whether a candidate really meets its goals, on patterns the search never saw.

Candidates are walked one after the other (`next_candidate`, `next_limit`), each until it is clear
whether it meets all goals, with twice the patterns at every look (`judge`); the cheapest that does
is the winner.  What is judged is the *margin*: accuracy minus goal x acc0, as a mean over patterns
of wrong bits and over images, which both are samples.

One error budget: that any candidate is called met although its margin is negative has a probability
of `Terms.alpha` at most. The j-th candidate has alpha / (j (j + 1)) of it, which sums up to alpha
however many are walked, as long as who is j-th does not depend on patterns and images of the
confirmation, but for whether those before were met. Its goals need not share that, as whoever
misses one is wrongly met only if wrong there. Think of the margin that just these images have under
all patterns. A wrong "met" needs one of two accidents: that margin is below its bound
(`least_mean`, which holds at all looks), or it is better than that of images as such by more than
`skewed_margin` (images are drawn once, so that looking again adds nothing). Each has its part of
the budget; what they take off is added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...faults.ber.results import Verdict
from ...faults.campaign.crossed import ImageValues, image_values, skewed_margin
from ...faults.campaign.sequential import SideOfZero, greatest_mean, least_mean, side_of_zero
from ...faults.campaign.statistics import Interval
from ..evaluate import Block
from .candidates import Observation
from .prune import SIGMAS

Limit = Literal["patterns", "images"]
_LESS = 0.7  # of what one loses that was not met
_LEAST_LIMIT = 0.05  # of the loss that is allowed, below which no search looks for less
_REACH = 3.0  # standard errors by which more patterns are not expected to move an estimate


@dataclass(frozen=True)
class Terms:
    """What has to be shown, and how surely.

    goals : accuracies relative to acc0, one for each bit error rate; all have to be met. images :
    how many there are. right0 : how many of them the unprotected network classifies rightly without
    faults. seed : of the patterns. alpha : see above. for_images : part of alpha for the images,
    below 1; 0 : claims are about these images alone. first, most : patterns of first and last look.
    """

    goals: tuple[float, ...]
    images: int
    right0: int
    seed: int
    alpha: float = 0.05
    for_images: float = 0.8
    first: int = 60
    most: int = 4000


@dataclass(frozen=True)
class Judgement:
    """A candidate at one goal. margin : accuracy - goal x acc0; met is one that is not below 0.

    accuracy : relative to acc0. limited_by : of what there are too few for a verdict; None where it
    is open, but hardly better than its goal with any number of them. needed : margin that would be
    met with all patterns. hope : whether more of them may make it so. enough : how many such images
    would do, by and large, where they are too few.
    """

    goal: float
    verdict: Verdict
    margin: Interval
    accuracy: Interval
    limited_by: Limit | None
    needed: float
    hope: bool
    enough: int | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "goal": self.goal,
            "verdict": self.verdict,
            "accuracy": self.accuracy.to_dict(),
            "margin": self.margin.to_dict(),
            "limited_by": self.limited_by,
        }


@dataclass(frozen=True)
class Walked:
    """A candidate, and what was found of it after `patterns`, one judgement a goal."""

    number: int
    patterns: int
    judgements: tuple[Judgement, ...]

    @property
    def met(self) -> bool:
        """Whether it meets all goals."""
        return self.verdict == "met"

    @property
    def clear(self) -> bool:
        """Whether it is met, or more patterns will not make it so."""
        return self.met or not all(own.verdict == "met" or own.hope for own in self.judgements)

    @property
    def verdict(self) -> Verdict:
        """Over all goals: missed if one is, else open if one is."""
        said = {own.verdict for own in self.judgements}
        return "missed" if "missed" in said else "open" if "open" in said else "met"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "patterns": self.patterns,
            "verdict": self.verdict,
            "goals": [own.to_dict() for own in self.judgements],
        }


@dataclass(frozen=True)
class Confirmation:
    """All that were walked, in this order."""

    walked: tuple[Walked, ...]

    @property
    def winner(self) -> Walked | None:
        """The cheapest that meets all goals."""
        return min((own for own in self.walked if own.met), key=lambda o: o.number, default=None)

    @property
    def closest(self) -> Walked | None:
        """The winner, or whose worst goal lacks least of what it would be met with."""
        return self.winner or max(self.walked, key=_room, default=None)


def _room(walked: Walked) -> float:
    return min(own.margin.estimate - own.needed for own in walked.judgements)


class Need(NamedTuple):
    """Patterns `first` ... `first + patterns - 1` of a candidate, at all rates."""

    number: int
    first: int
    patterns: int


def next_candidate(
    seen: Iterable[Observation], walked: Container[int], end: int, first: bool
) -> int | None:
    """Whom to walk now: the cheapest that seems to lose as little as is searched for.

    walked : before. end : candidates from here on are not cheaper than what is met. first : the
    goals themselves are searched for, so that who only may keep them is walked, too.
    """
    sigmas = SIGMAS if first else 0.0
    found = (
        own.number
        for own in seen
        if own.ratio - sigmas * own.error <= 1 and own.number < end and own.number not in walked
    )
    return min(found, default=None)


def next_limit(limit: float, lost: float) -> float | None:
    """The share of the loss that is allowed to search for after one that is not met.

    lost : the share that it seems to lose. Whoever loses about as much would hardly be met either,
    at the price of a place in the walk.
    """
    less = _LESS * min(limit, max(lost, _LEAST_LIMIT / _LESS))
    return less if less >= _LEAST_LIMIT else None


def judge(
    number: int, place: int, terms: Terms, evaluate: Callable[[Need], Sequence[Block]]
) -> Walked:
    """Look at a candidate with twice the patterns each time, until it is clear.

    place : in the walk, from 1 on. evaluate : gives patterns that are wanted, a block a goal.
    """
    blocks: list[list[Block]] = [[] for _ in terms.goals]
    held, patterns = 0, terms.first
    while True:
        for own, more in zip(blocks, evaluate(Need(number, held, patterns - held)), strict=True):
            own.append(more)
        pairs = zip(map(Block.joined, blocks), terms.goals, strict=True)
        found = Walked(number, patterns, tuple(_judge(*pair, place, terms) for pair in pairs))
        if found.clear or patterns == terms.most:
            return found
        held, patterns = patterns, min(2 * patterns, terms.most)


def _judge(block: Block, goal: float, place: int, terms: Terms) -> Judgement:
    values, n = margins(block, goal), len(block.right)
    means, images = values.mean(axis=1), image_values(block.images, values, terms.images)
    for_met, part = _share(terms, place), terms.for_images
    for_missed = for_met / len(terms.goals)  # missed if any goal is
    # A pattern has no more images that are wrong without faults than there are.
    most = 1 - goal * max(0.0, 1 - (terms.images - terms.right0) / values.shape[1])
    low = least_mean(means, -goal, for_met * (1 - part))
    high = greatest_mean(means, most, for_missed * (1 - part))
    below = skewed_margin(images.values, for_met * part) if part else 0.0
    above = skewed_margin(-images.values, for_missed * part) if part else 0.0
    estimate, variance = float(means.mean()), float(means.var()) / n
    low, high = min(estimate, max(-goal, low - below)), max(estimate, min(1.0, high + above))
    sure, method = 1 - for_met - for_missed, "betting; Hall's t of images" if part else "betting"
    margin = Interval(estimate, low, high, sure, values.size, n, terms.seed, method, True)
    verdict: Verdict = "met" if margin.low >= 0 else "missed" if margin.high < 0 else "open"
    needed = _needed(images, terms.images, goal, place, terms)
    reach = estimate + _REACH * math.sqrt(variance)
    hope = verdict == "open" and reach >= needed
    limit: Limit | None = None
    enough = None
    if verdict == "open" and reach >= _price(goal, place, terms):
        limit = "patterns" if hope else "images"
    if limit == "images":
        counts = _counts(terms.images)
        asked = ((n, _needed(images, n, goal, place, terms)) for n in counts)
        enough = next((n for n, needs in asked if needs <= estimate), None)
    relative = _relative(margin, goal, terms)
    return Judgement(goal, verdict, margin, relative, limit, needed, hope, enough)


def _share(terms: Terms, place: int) -> float:
    """Of the error budget, for the candidate at a place of the walk."""
    return terms.alpha / (place * (place + 1))


def _price(goal: float, place: int, terms: Terms) -> float:
    """What a bound takes off a margin, whatever the patterns say."""
    return -goal * math.log(_share(terms, place) * (1 - terms.for_images)) / terms.most


def _needed(images: ImageValues, count: int, goal: float, place: int, terms: Terms) -> float:
    """The margin that is met with all patterns, if there were `count` such images.

    Whatever patterns follow, the images' own spread stays.
    """
    price, alpha = _price(goal, place, terms), _share(terms, place) * terms.for_images
    if not alpha:
        return price
    return price + skewed_margin(images.values, alpha, count) * math.sqrt(images.lasting)


def _counts(first: int) -> Iterator[int]:
    """Rough numbers of images, from `first` to a thousand times as many."""
    return (int(float(f"{first * 1.25**k:.2g}")) for k in range(32))


def _relative(margin: Interval, goal: float, terms: Terms) -> Interval:
    """The accuracy relative to acc0, of which the margin is what is beyond the goal."""
    acc0 = terms.right0 / terms.images
    low, estimate, high = (
        max(0.0, goal + bound / acc0) for bound in (margin.low, margin.estimate, margin.high)
    )
    return replace(margin, low=low, estimate=estimate, high=high, difference=False)


def margins(block: Block, goal: float) -> NDArray[np.float64]:
    """What each image gives for the margin, (patterns, images a pattern): right - goal x right0."""
    values: NDArray[np.float64] = block.right - goal * block.right0
    return values


_VERDICTS: dict[SideOfZero, Verdict] = {"above": "met", "below": "missed", "open": "open"}


def settled(margin: NDArray[np.float64], looks: int, alpha: float) -> Verdict:
    """Whether an evaluation of the search may stop here, or is open and goes on (`side_of_zero`).

    margin : (patterns,), means of `margins` over the images. looks : how often it is asked at most.
    It costs nothing of the budget: what a search takes from it is confirmed on other patterns.
    """
    return _VERDICTS[side_of_zero(margin, looks, alpha)]
