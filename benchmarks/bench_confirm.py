"""How often a confirmed winner is none: whole studies, simulated, from search to confirmation.

    python benchmarks/bench_confirm.py [--studies 1000] [--images 180] [--json FILE]
    python benchmarks/bench_confirm.py --table FILE.npz [--studies 1000]

A study has candidates in ascending area. A search evaluates each with up to 60 patterns, in blocks
of 10 with early stop, and hands on those that look good enough; `dse.search.confirm` walks them.
A winner is false if its margin (accuracy - goal x acc0) is negative at a goal.

Without a table everything is simulated and studies are independent: images and patterns are drawn
anew for each. An image is lost with the probability Phi(a + 0.9 B + 0.2 U): B is the image's,
normal; U is the pattern's, skewed; a is the candidate's. 0.9 and 0.2 were fitted to digits (400
patterns of 360 images; tmr_crt1 and tmr_cl between 1 and 14 % loss). The truth is then known by
integration, once for the population of images, and once for the study's own.

With a table of real patterns, arrays `areas` (candidates,), `goals` (goals,), `images` and `right0`
(patterns, images a pattern), `right` (candidates, goals, patterns, images a pattern), `count` (how
many images there are): the first half is for the search, the second for confirmation, and every
study draws patterns from them with replacement. Studies are independent *given the table*, whose
second half is then the population of patterns, with its means as the truth; images stay as they
are, so that claims are about them alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import beta, gamma

from flexhyca.dse.evaluate import Block
from flexhyca.dse.search.confirm import (
    Confirmation,
    Need,
    Terms,
    margins,
    next_step,
    outlook,
    settled,
)

PER, BLOCK, FULL = 50, 10, 60  # images a pattern; patterns a look of the search, and most
OF_IMAGE, OF_PATTERN = 0.9, 0.2
LUCK = (gamma.ppf((np.arange(100) + 0.5) / 100, 4) - 4) / 2


class World(Protocol):
    """What a study happens in. areas : of the candidates, ascending."""

    areas: NDArray[np.float64]
    terms: Terms

    def patterns(self, purpose: int, need: Need) -> list[Block]:
        """A block for each goal. purpose : 0 search, 1 confirmation."""

    def truths(self, number: int) -> dict[str, float]:
        """The margin of a candidate at its worst goal, by what it is a mean of."""


@dataclass
class Simulated:
    """Candidates whose loss falls from 12 to 0.3 %, not quite in the order of their areas."""

    terms: Terms
    key: tuple[int, ...]
    candidates: int = 40
    disasters: float = 0.0  # share of patterns that lose 90 % of the images

    def __post_init__(self) -> None:
        rng = np.random.default_rng([*self.key, 9])
        self.areas = np.linspace(0.05, 0.45, self.candidates)
        logs = np.linspace(np.log(0.12), np.log(0.003), self.candidates)
        losses = np.exp(logs + rng.normal(0, 0.25, self.candidates))
        steps = 1.0 + 0.8 * np.arange(len(self.terms.goals))  # a higher rate for each further goal
        self.levels = ndtri(np.clip(losses[:, None] * steps, 0, 0.9))
        self.levels *= np.sqrt(1 + OF_IMAGE**2 + OF_PATTERN**2)
        self.hardness = rng.normal(size=(2, self.terms.images))
        self.right0 = np.arange(self.terms.images) < self.terms.right0

    def patterns(self, purpose: int, need: Need) -> list[Block]:
        """The same patterns for all candidates and goals, as in a real study."""
        rng = np.random.default_rng([*self.key, purpose, need.first])
        images = rng.random((need.patterns, self.terms.images)).argsort(axis=1)[:, :PER]
        luck = (rng.gamma(4, 1, need.patterns) - 4) / 2
        disaster, chance = rng.random(need.patterns) < self.disasters, rng.random(images.shape)
        blocks = []
        for level in self.levels[need.number]:
            lost = ndtr(
                level + OF_IMAGE * self.hardness[purpose][images] + OF_PATTERN * luck[:, None]
            )
            lost = np.where(disaster[:, None], 0.9, lost)
            right0 = self.right0[images]
            blocks.append(Block(images, right0 & (chance >= lost), right0))
        return blocks

    def truths(self, number: int) -> dict[str, float]:
        """By integration; `images` : of the confirmation's own."""
        levels = self.levels[number][:, None] + OF_PATTERN * LUCK  # (goals, patterns)
        hardness = OF_IMAGE * self.hardness[1][self.right0]
        losses = {
            "population": ndtr(levels / (1 + OF_IMAGE**2) ** 0.5).mean(axis=1),
            "images": ndtr(levels[..., None] + hardness).mean(axis=(1, 2)),
        }
        acc0 = self.terms.right0 / self.terms.images
        return {
            name: float(acc0 * min(1 - self.disasters * 0.9 - (1 - self.disasters) * loss - goals))
            for name, loss in losses.items()
            for goals in [np.array(self.terms.goals)]
        }


@dataclass
class Table:
    """Patterns of a table, drawn with replacement."""

    terms: Terms
    key: tuple[int, ...]
    arrays: dict[str, Any]

    def __post_init__(self) -> None:
        self.areas = self.arrays["areas"]

    def _block(self, number: int, goal: int, rows: NDArray[np.int64]) -> Block:
        a = self.arrays
        return Block(a["images"][rows], a["right"][number, goal][rows], a["right0"][rows])

    def _half(self, purpose: int) -> NDArray[np.int64]:
        return np.array_split(np.arange(len(self.arrays["images"])), 2)[purpose]

    def patterns(self, purpose: int, need: Need) -> list[Block]:
        rng = np.random.default_rng([*self.key, purpose, need.first])
        rows = rng.choice(self._half(purpose), need.patterns)
        return [self._block(need.number, goal, rows) for goal in range(len(self.terms.goals))]

    def truths(self, number: int) -> dict[str, float]:
        """`error` : how well the table itself knows."""
        rows, found = self._half(1), []
        for i, goal in enumerate(self.terms.goals):
            means = margins(self._block(number, i, rows), goal).mean(axis=1)
            found.append((float(means.mean()), float(means.std(ddof=1)) / len(means) ** 0.5))
        return dict(zip(("table", "error"), min(found), strict=True))


@dataclass
class Searched:
    """What a search found. handed : candidates that look good enough, in ascending area."""

    handed: list[int]
    patterns: int
    changed: int


def search(world: World, alpha: float, promise: float) -> Searched:
    """Every candidate, with early stop. promise : errors that a margin has to be above 0.

    changed : candidates that would not be handed on, or would be, after all patterns.
    """
    handed, used, changed = [], 0, 0
    for number in range(len(world.areas)):
        blocks = world.patterns(0, Need(number, 0, FULL))
        pairs = list(zip(blocks, world.terms.goals, strict=True))
        rows = np.array([margins(block, goal).mean(axis=1) for block, goal in pairs])
        stop = FULL
        for held in range(BLOCK, FULL, BLOCK):
            verdicts = [settled(row[:held], FULL // BLOCK - 1, alpha) for row in rows]
            if "missed" in verdicts:
                stop = held
                break
        good, after_all = (bool((part.mean(axis=1) >= 0).all()) for part in (rows[:, :stop], rows))
        used, changed = used + stop, changed + (good != after_all)
        cuts = [Block(*(part[:stop] for part in block)) for block in blocks]
        good = good and outlook(cuts, world.terms) >= promise
        if good:
            handed.append(number)
    return Searched(handed, used, changed)


def confirm(handed: Sequence[int], world: World) -> Confirmation:
    seen: dict[int, list[Block]] = {}
    while not isinstance(step := next_step(handed, seen, world.terms), Confirmation):
        for need in step:
            more = world.patterns(1, need)
            held = seen.get(need.number, [Block(*(x[:0] for x in block)) for block in more])
            seen[need.number] = [
                Block(*map(np.concatenate, zip(*pair, strict=True)))
                for pair in zip(held, more, strict=True)
            ]
    return step


def study(world: World, early: float, promise: float) -> dict[str, Any]:
    """One study; plain numbers."""
    searched = search(world, early, promise)
    found = confirm(searched.handed, world)
    truths = [world.truths(number) for number in range(len(world.areas))]
    name = next(iter(truths[0]))
    feasible = [i for i, own in enumerate(truths) if own[name] >= 0]
    winner = found.winner
    row: dict[str, Any] = {
        "searched": searched.patterns / len(world.areas),
        "changed": searched.changed / len(world.areas),
        "walked": len(found.walked),
        "patterns": sum(one.patterns for one in found.walked),
        "images": any(own.limited_by == "images" for one in found.walked for own in one.judgements),
        "feasible": bool(feasible),
        "won": winner is not None,
    }
    if winner:
        row |= {"truth": truths[winner.number]}
        if feasible:
            row["regret"] = float(world.areas[winner.number] - world.areas[feasible[0]])
    return row


def upper(count: int, total: int) -> float:
    """Clopper and Pearson's upper bound, one-sided, 95 %."""
    return 1.0 if count == total else float(beta.ppf(0.95, count + 1, total - count))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all studies; a false winner is one among all studies, with a winner or not."""
    total, won = len(rows), [row for row in rows if row["won"]]
    found: dict[str, Any] = {"studies": total, "won": len(won) / total}
    for name in ("population", "images", "table"):
        truths = [row["truth"] for row in won if name in row["truth"]]
        if truths:
            doubtful = [t for t in truths if abs(t[name]) <= t.get("error", 0.0)]
            false = sum(t[name] < 0 for t in truths if t not in doubtful)
            found[f"false ({name})"] = {
                "count": int(false),
                "upper": upper(int(false), total),
                "within the table's error": len(doubtful),
            }
    regrets = [row["regret"] for row in won if "regret" in row]
    return found | {
        "median area regret": statistics.median(regrets) if regrets else None,
        "best found": sum(regret <= 0 for regret in regrets) / total,
        "limited by images": sum(row["images"] for row in rows) / total,
        "walked": statistics.mean(row["walked"] for row in rows),
        "patterns to confirm": statistics.mean(row["patterns"] for row in rows),
        "patterns a candidate searched": statistics.mean(row["searched"] for row in rows),
        "verdicts changed by early stop": statistics.mean(row["changed"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--table", type=Path, help="real patterns instead of simulated ones")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--goals", default="0.97,0.95", help="relative accuracies")
    parser.add_argument("--images", type=int, default=180, help="of the confirmation")
    parser.add_argument("--acc0", type=float, default=1.0)
    parser.add_argument("--disasters", type=float, default=0.0)
    parser.add_argument("--alpha", type=float, default=Terms.alpha)
    parser.add_argument("--for-images", type=float, default=Terms.for_images)
    parser.add_argument("--most", type=int, default=Terms.most)
    parser.add_argument("--early", type=float, default=0.01, help="alpha of early stop")
    parser.add_argument("--promise", type=float, default=0.0, help="errors above 0 to be handed on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    args = parser.parse_args()
    goals, images = tuple(map(float, args.goals.split(","))), args.images
    right0, part, arrays = round(args.acc0 * images), args.for_images, {}
    if args.table:
        with np.load(args.table, allow_pickle=False) as file:
            arrays = dict(file)
        goals, images, part = tuple(map(float, arrays["goals"])), int(arrays["count"]), 0.0
        seen = np.unique(arrays["images"][arrays["right0"]])
        right0 = len(seen)
    terms = Terms(goals, images, right0, args.seed, args.alpha, part, FULL, args.most)
    start, rows = time.perf_counter(), []
    for number in range(args.studies):
        key = (args.seed, number)
        world: World = (
            Table(terms, key, arrays)
            if args.table
            else Simulated(terms, key, disasters=args.disasters)
        )
        rows.append(study(world, args.early, args.promise))
    found = summary(rows) | {"seconds": time.perf_counter() - start}
    for name, value in found.items():
        print(f"{name:32} {value}")
    if args.json:
        args.json.write_text(json.dumps({"options": vars(args), **found}, indent=1, default=str))


if __name__ == "__main__":
    main()
