"""Algorithm 2: how many top bits of important and of ordinary neurons to protect (paper, III-B).

The paper tries all pairs and takes the cheapest whose accuracy is above the goal.  Trying them in
ascending cost gives the same answer, as the first that is above the goal is the cheapest; and where
a pair clearly misses, all that protect no more bits are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..config import Config
from ..config.accelerator import contradictions
from ..config.schemes import with_scheme
from ..config.search import AccuracyGoal
from ..errors import ConfigError
from ..faults.campaign.statistics import Interval, paired_ratios
from ..hdl.area.machine import machine_area
from .evaluate import StageJob
from .results import Results

_SIGMAS = 3.0  # standard errors beyond which a pair misses clearly


class BitPair(NamedTuple):
    """ib_th, nb_th, and the area overhead of the computing array."""

    ib_th: int
    nb_th: int
    cost: float


@dataclass(frozen=True)
class TriedBits:
    """A pair that was evaluated. margin : accuracy - goal x acc0; accuracy : relative to acc0."""

    pair: BitPair
    margin: Interval
    accuracy: float
    clearly: bool  #: whether it misses by more than noise

    @property
    def above(self) -> bool:
        """Algorithm 2's acc > ACC."""
        return self.margin.estimate > 0


@dataclass(frozen=True)
class BitChoice:
    """tried : in the order of evaluation. out : pair that was left out -> which one says so.

    best : None where no pair is above the goal. pairs : all there are, in ascending cost.
    """

    pairs: Sequence[BitPair]
    tried: Sequence[TriedBits]
    out: Mapping[BitPair, BitPair]
    best: TriedBits | None


def pairs_of(config: Config, most: int) -> list[BitPair]:
    """All pairs 1 <= nb_th <= ib_th <= `most` that the machine allows, the cheapest first.

    Of equal ones first that which Algorithm 2 tries first. Without a DPPU no neuron is important,
    so both are the same. Raises ConfigError where there is none.
    """
    found, problems = [], []
    for nb_th in range(1, most + 1):
        for ib_th in range(nb_th, (most if config.dppu.size else nb_th) + 1):
            own = with_bits(config, ib_th, nb_th)
            problems = contradictions(own)
            if not problems:
                cost = machine_area(own).scopes[0].relative - 1
                found.append(BitPair(ib_th, nb_th, cost))
    if not found:
        raise ConfigError(f"bits: no pair is possible; {' '.join(problems[0])}")
    return sorted(found, key=lambda pair: (pair.cost, pair.ib_th, pair.nb_th))


def with_bits(config: Config, ib_th: int, nb_th: int) -> Config:
    """The machine that protects so many bits."""
    bits = {"ib_th": ib_th, "nb_th": nb_th}
    return config.model_copy(update={"protection": config.protection.model_copy(update=bits)})


def choose_bits(
    config: Config,
    goal: AccuracyGoal,
    pairs: Sequence[BitPair],
    results: Results,
    patterns: int,
    prune: bool = True,
    say: Callable[[TriedBits], object] = lambda tried: None,
) -> BitChoice:
    """The cheapest pair whose accuracy is above the goal, on `patterns` patterns each.

    prune : begin each nb_th with the most bits of important neurons, and leave out all that
    protect no more than a pair that clearly misses.
    """
    reference = with_scheme(results.workload.base, "base")
    answers = results.all([StageJob("network", reference), StageJob("network", config)])
    for answer in answers:
        if "error" in answer:
            raise ConfigError(f"bits: {answer['error']}")
    right0, right = (answer["right"]["search"] for answer in answers)
    if right <= goal.accuracy * right0:
        raise ConfigError(
            f"goal {goal.accuracy:g} is impossible: without any fault the network keeps "
            f"{right / right0:.4f} of acc0, and it has to be above the goal; give a lower one, or "
            "a lower protection.q_scale"
        )
    places = {pair: i for i, pair in enumerate(pairs)}
    tried: dict[BitPair, TriedBits] = {}
    out: dict[BitPair, BitPair] = {}

    def left() -> list[BitPair]:
        first = min((places[p] for p, own in tried.items() if own.above), default=len(pairs))
        return [p for p in pairs[:first] if p not in tried and p not in out]

    def evaluate(pair: BitPair) -> None:
        tried[pair] = _tried(config, goal, pair, results, patterns)
        say(tried[pair])
        if prune and tried[pair].clearly:
            for other in pairs:
                if other.ib_th <= pair.ib_th and other.nb_th <= pair.nb_th and other not in tried:
                    out.setdefault(other, pair)

    if prune:
        for nb_th in sorted({pair.nb_th for pair in pairs}):
            top = max((p for p in pairs if p.nb_th == nb_th), key=lambda p: p.ib_th)
            if top not in left():
                continue
            evaluate(top)
            if not tried[top].clearly:
                break
    while waiting := left():
        evaluate(waiting[0])
    above = [own for own in tried.values() if own.above]
    best = min(above, key=lambda own: places[own.pair], default=None)
    return BitChoice(pairs, list(tried.values()), out, best)


def _tried(
    config: Config, goal: AccuracyGoal, pair: BitPair, results: Results, patterns: int
) -> TriedBits:
    own = with_bits(config, pair.ib_th, pair.nb_th)
    block = results.patterns(own, goal.ber, "search", patterns)
    right, right0 = block.right.sum(axis=1), block.right0.sum(axis=1)
    images = np.full(len(right), block.right.shape[1])
    margin = paired_ratios(right, goal.accuracy * right0, images, results.workload.seed)
    spread = float((right - goal.accuracy * right0).std(ddof=1)) / images[0] / len(right) ** 0.5
    clearly = margin.estimate + _SIGMAS * spread < 0
    return TriedBits(pair, margin, float(right.sum() / right0.sum()), clearly)
