"""An evaluation of a search: goal after goal, a block of patterns after the other, until clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...config.search import AccuracyGoal
from ...errors import FlexhycaError
from ..designs import Design
from ..evaluate import BLOCK, Block
from .candidates import Observation
from .confirm import margins, settled
from .front import SENSES
from .optimisers import OPTIMISERS

_MOST = 10**6  # of what is counted
LEAST_LOSS = 1e-3  #: that may be lost, for ratios: a goal of 1 allows none


@dataclass(frozen=True)
class Options:
    """How to search. optimiser : of `OPTIMISERS`. budget : evaluations of accuracy.

    patterns : of an evaluation, in blocks of 10, at most. early : chance that an evaluation stops
    early on the wrong side. alpha : that a winner is none. most : patterns that confirm one goal of
    a candidate. front : objectives of a Pareto set, instead of the cheapest design. these_images :
    confirm for the images at hand alone, not for such images.
    """

    optimiser: str = "gpyopt"
    budget: int = 40
    patterns: int = 60
    early: float = 0.01
    prune: bool = True
    alpha: float = 0.02
    most: int = 3840
    seed: int = 0
    ahead: int = 1
    front: tuple[str, ...] = ()
    these_images: bool = False

    def __post_init__(self) -> None:
        known, front = ", ".join(OPTIMISERS), set(self.front)
        if self.optimiser not in OPTIMISERS:
            raise FlexhycaError(f"optimiser {self.optimiser!r}: there is none; use {known}")
        repeated = len(front) != len(self.front)
        if front and (repeated or not {"accuracy", "area"} <= front <= set(SENSES)):
            raise FlexhycaError(
                f"front {','.join(self.front)}: give accuracy,area and, if wanted, cycles and "
                "traffic, each once"
            )
        for name in ("budget", "patterns", "most"):
            if not 1 <= getattr(self, name) <= _MOST:
                given = getattr(self, name)
                raise FlexhycaError(f"{name} {given}: give 1 to {_MOST:,}")
        if self.patterns % BLOCK:
            raise FlexhycaError(f"patterns {self.patterns}: give a multiple of {BLOCK}")


@dataclass(frozen=True)
class Problem:
    """Goals that one design has to meet, all of them."""

    name: str
    goals: tuple[AccuracyGoal, ...]


class Evaluation(NamedTuple):
    """What a search has seen of a candidate."""

    design: Design
    observation: Observation
    patterns: tuple[int, ...]  #: of each goal

    def to_dict(self) -> dict[str, Any]:
        """For JSON. ratio : see `Observation`, of all the loss that the goals allow."""
        own = self.observation
        return {
            "key": self.design.key,
            "values": list(self.design.point.values),
            "area_overhead": self.design.area,
            "cycles_ratio": self.design.cycles,
            "extra_traffic": self.design.traffic,
            "ratio": own.ratio,
            "error": own.error,
            "accuracy": own.accuracy,
            "accuracy_error": own.accuracy_error,
            "patterns": list(self.patterns),
        }


@dataclass
class Running:
    """An evaluation on its way: one goal after the other, a block of patterns after the other."""

    number: int
    goals: Sequence[AccuracyGoal]
    limit: float
    options: Options
    blocks: list[Block] = field(default_factory=list)  #: of each goal that was begun
    missed: bool = False
    _ended: int = 0  # goals

    @property
    def done(self) -> bool:
        """Whether all goals are evaluated, or one is missed and so the others do not matter."""
        return self.missed or self._ended == len(self.goals)

    @property
    def wanted(self) -> tuple[AccuracyGoal, int]:
        """The goal that is evaluated now, and its first pattern that is missing."""
        begun = len(self.blocks) > self._ended
        return self.goals[self._ended], len(self.blocks[-1].right) if begun else 0

    def take(self, block: Block) -> None:
        """Add the patterns that were wanted."""
        if len(self.blocks) > self._ended:
            self.blocks[-1] = Block.joined([self.blocks[-1], block])
        else:
            self.blocks.append(block)
        goal = 1 - self.limit * (1 - self.goals[self._ended].accuracy)
        values = margins(self.blocks[-1], goal).mean(axis=1)
        looks = max(1, self.options.patterns // BLOCK - 1)  # at the last one nothing is left
        verdict = settled(values, looks, self.options.early)
        if verdict != "open" or len(values) >= self.options.patterns:
            self._ended += 1
            self.missed = verdict == "missed"

    def evaluation(self, design: Design) -> Evaluation:
        """What is known, of all the loss that the goals allow."""
        patterns = tuple(len(block.right) for block in self.blocks)
        return Evaluation(design, self.observation(1.0), patterns)

    def observation(self, limit: float | None = None) -> Observation:
        """What the patterns say. limit : another share of the loss than the search looks for."""
        found = [_loss(block) for block in self.blocks]
        share = self.limit if limit is None else limit
        allowed = [max(share * (1 - goal.accuracy), LEAST_LOSS) for goal in self.goals]
        ratios = [
            (loss / most, error / most) for (loss, error), most in zip(found, allowed, strict=False)
        ]
        (loss, error), worst = found[0], max(ratios)
        return Observation(self.number, *worst, 1 - loss, error)


def _loss(block: Block) -> tuple[float, float]:
    """Share of acc0 that is lost, and its standard error over patterns (ratio estimator)."""
    right, right0 = block.right.sum(axis=1), block.right0.sum(axis=1)
    loss = 1 - right.sum() / right0.sum()
    residuals, n = right0 - right - loss * right0, len(right)
    error = math.sqrt(float(residuals @ residuals) / (n * max(n - 1, 1))) / right0.mean()
    return float(loss), max(error, 1 / float(right0.sum()))  # one image more or less, at least
