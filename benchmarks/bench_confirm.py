"""How often a confirmed winner is none: whole studies, simulated, from search to confirmation.

    python benchmarks/bench_confirm.py [--studies 1000] [--images 180] [--json FILE]
    python benchmarks/bench_confirm.py --table FILE.npz [--studies 1000]
    python benchmarks/bench_confirm.py --early-only

A study has candidates in ascending area. A search evaluates each with up to 60 patterns and early
stop; `dse.search.confirm` walks one that looks good enough (after all 60) after the other.
A winner is false if its margin (accuracy - goal x acc0) is negative at a goal. `regret` is its area
overhead beyond that of the cheapest candidate that truly meets all goals.

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
are, so that claims are about them alone. Winners whose truth is within the table's own standard
error of the goal are counted apart.

Early stop is measured on candidates at one goal, 0.95, whose margins are spread evenly over -30 to
+5 points, and on those within 1 point: patterns saved, and verdicts that all patterns would change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import beta, gamma

from flexhyca.dse.evaluate import Block
from flexhyca.dse.search.candidates import Observation
from flexhyca.dse.search.confirm import (
    Confirmation,
    Need,
    Terms,
    Walked,
    judge,
    margins,
    next_candidate,
    next_limit,
    settled,
)
from flexhyca.faults.campaign.sequential import decide

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


@dataclass(eq=False)
class Simulated:
    """Candidates whose loss falls from 12 to 0.3 %, not quite in the order of their areas."""

    terms: Terms
    key: tuple[int, ...]
    disasters: float = 0.0  # share of patterns that lose 90 % of the images
    losses: NDArray[np.float64] | None = None  # of candidates, at the first rate

    def __post_init__(self) -> None:
        rng, losses = np.random.default_rng([*self.key, 9]), self.losses
        if losses is None:
            losses = np.exp(np.linspace(np.log(0.12), np.log(0.003), 40) + rng.normal(0, 0.25, 40))
        self.areas = np.linspace(0.05, 0.45, len(losses))
        steps = 1.0 + 0.8 * np.arange(len(self.terms.goals))  # a higher rate for each further goal
        self.levels = ndtri(np.clip(losses[:, None] * steps, 0, 0.9))
        self.levels *= np.sqrt(1 + OF_IMAGE**2 + OF_PATTERN**2)
        self.hardness = rng.normal(size=(2, self.terms.images))
        self.right0 = np.arange(self.terms.images) < self.terms.right0

    def patterns(self, purpose: int, need: Need) -> list[Block]:
        """The same patterns for all candidates and goals, as in a real study."""
        images, right0, most = self._drawn(purpose, need.first, need.patterns)
        return [
            Block(images, right0 & (most > level), right0) for level in self.levels[need.number]
        ]

    @lru_cache(maxsize=16)  # noqa: B019  one study at a time
    def _drawn(self, purpose: int, first: int, count: int) -> tuple[NDArray[Any], ...]:
        """Images, whether they are right without faults, and the level at which each is lost."""
        rng = np.random.default_rng([*self.key, purpose, first])
        images = rng.random((count, self.terms.images)).argsort(axis=1)[:, :PER]
        luck = (rng.gamma(4, 1, count) - 4) / 2
        disaster, chance = rng.random(count) < self.disasters, rng.random(images.shape)
        most = (
            ndtri(chance) - OF_IMAGE * self.hardness[purpose][images] - OF_PATTERN * luck[:, None]
        )
        lost_anyway = np.where(chance < 0.9, -np.inf, np.inf)
        return images, self.right0[images], np.where(disaster[:, None], lost_anyway, most)

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


def mean_margins(blocks: Sequence[Block], terms: Terms) -> NDArray[np.float64]:
    """Of each pattern, (goals, patterns)."""
    pairs = zip(blocks, terms.goals, strict=True)
    return np.array([margins(block, goal).mean(axis=1) for block, goal in pairs])


def stop(rows: NDArray[np.float64], alpha: float, on: Collection[str] = ("missed", "met")) -> int:
    """After how many patterns an evaluation stops. rows : margins (goals, patterns)."""
    looks = range(BLOCK, rows.shape[1], BLOCK)
    for held in looks:
        verdicts = [settled(row[:held], len(looks), alpha) for row in rows]
        if "missed" in verdicts or ("met" in on and set(verdicts) == {"met"}):
            return held
    return rows.shape[1]


@dataclass
class Searched:
    """What a search found. seen : of all candidates, after all patterns."""

    seen: list[Observation]
    patterns: int
    changed: int


def search(world: World, alpha: float) -> Searched:
    """Every candidate, with early stop.

    changed : candidates that would not look good enough, or would, after all patterns.
    """
    allowed = 1 - np.array(world.terms.goals)
    seen, used, changed = [], 0, 0
    for number in range(len(world.areas)):
        rows = mean_margins(world.patterns(0, Need(number, 0, FULL)), world.terms)
        held = stop(rows, alpha)
        good, after_all = (bool((part.mean(axis=1) >= 0).all()) for part in (rows[:, :held], rows))
        used, changed = used + (FULL if good else held), changed + (good != after_all)
        ratios = 1 - rows.mean(axis=1) / allowed
        worst = int(np.argmax(ratios))
        error = float(rows[worst].std(ddof=1)) / FULL**0.5 / allowed[worst]
        seen.append(Observation(number, float(ratios[worst]), error, 0.0, 0.0))
    return Searched(seen, used, changed)


def confirm(seen: Sequence[Observation], world: World) -> Confirmation:
    """One after the other, as `dse.search.optimise` does; all candidates are evaluated before."""
    walked: list[Walked] = []
    limit: float | None = 1.0
    while limit is not None:
        fresh = _next(_within(seen, limit), walked, limit == 1.0)
        if fresh is None:
            break
        walked.append(judge(fresh, len(walked) + 1, world.terms, partial(world.patterns, 1)))
        winner = Confirmation(tuple(walked)).winner
        if winner and winner.number <= min(one.number for one in walked):
            break
        limit = next_limit(limit, seen[fresh].ratio)
    while not Confirmation(tuple(walked)).winner:
        fresh = _next(seen, walked, True)
        if fresh is None:
            break
        walked.append(judge(fresh, len(walked) + 1, world.terms, partial(world.patterns, 1)))
    return Confirmation(tuple(walked))


def _next(seen: Sequence[Observation], walked: Sequence[Walked], first: bool) -> int | None:
    winner = Confirmation(tuple(walked)).winner
    end = winner.number if winner else len(seen)
    return next_candidate(seen, [one.number for one in walked], end, first)


def _within(seen: Sequence[Observation], limit: float) -> list[Observation]:
    return [replace(one, ratio=one.ratio / limit, error=one.error / limit) for one in seen]


def study(world: World, early: float) -> dict[str, Any]:
    """One study; plain numbers."""
    searched = search(world, early)
    found = confirm(searched.seen, world)
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


def early_stop(alpha: float, seed: int) -> dict[str, Any]:
    """What stopping saves, and what it changes; `exact` stops by `sequential.decide`."""
    goal, number, found = 0.95, 2000, {}
    terms = Terms((goal,), 180, 180, seed)
    rng = np.random.default_rng([seed, 3])
    for name, lowest, highest in (("-30..+5 points", -0.30, 0.049), ("within 1", -0.01, 0.01)):
        world = Simulated(terms, (seed,), losses=1 - goal - rng.uniform(lowest, highest, number))
        ways: dict[str, list[tuple[int, bool]]] = {"missed": [], "missed or met": [], "exact": []}
        for i in range(number):
            rows = mean_margins(world.patterns(0, Need(i, 60 * i, FULL)), terms)
            clear = decide(rows[0], (-goal, 1 - goal), alpha, alpha).values
            held = {
                "missed": stop(rows, alpha, ("missed",)),
                "missed or met": stop(rows, alpha),
                "exact": min(FULL, -(-clear // BLOCK) * BLOCK),
            }
            for way, n in held.items():
                ways[way].append((n, (rows[0, :n].mean() >= 0) != (rows[0].mean() >= 0)))
        found[name] = {
            way: {
                "saves": number * FULL / sum(n for n, _ in rows),
                "changed": sum(changed for _, changed in rows) / number,
            }
            for way, rows in ways.items()
        }
        spreads = [
            mean_margins(world.patterns(0, Need(i, 0, FULL)), terms).std() for i in range(50)
        ]
        found[name]["deviation of a pattern"] = [min(spreads), max(spreads)]
    return found


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


def studies(args: argparse.Namespace) -> list[dict[str, Any]]:
    """All of them, of a table or simulated."""
    images, part = args.images, args.for_images
    given = tuple(map(float, args.goals.split(","))) if args.goals else ()
    goals = given or (0.97, 0.95)
    right0, arrays = round(args.acc0 * images), {}
    if args.table:
        with np.load(args.table, allow_pickle=False) as file:
            arrays = dict(file)
        goals = given or tuple(map(float, arrays["goals"]))
        images, part = int(arrays["count"]), 0.0
        right0 = len(np.unique(arrays["images"][arrays["right0"]]))
    terms = Terms(goals, images, right0, args.seed, args.alpha, part, FULL, args.most)
    rows = []
    for number in range(args.studies):
        key = args.seed, number
        world: World = Simulated(terms, key, args.disasters)
        if args.table:
            world = Table(terms, key, arrays)
        rows.append(study(world, args.early))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--table", type=Path, help="real patterns instead of simulated ones")
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--goals", help="relative accuracies: 0.97,0.95, or those of the table")
    parser.add_argument("--images", type=int, default=180, help="of the confirmation")
    parser.add_argument("--acc0", type=float, default=1.0)
    parser.add_argument("--disasters", type=float, default=0.0)
    parser.add_argument("--alpha", type=float, default=Terms.alpha)
    parser.add_argument("--for-images", type=float, default=Terms.for_images)
    parser.add_argument("--most", type=int, default=Terms.most)
    parser.add_argument("--early", type=float, default=0.01, help="alpha of early stop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--early-only", action="store_true", help="measure early stop alone")
    parser.add_argument("--json", type=Path, help="write the numbers there, too")
    args = parser.parse_args()
    start = time.perf_counter()
    found = {} if args.early_only else summary(studies(args))
    if not args.table:
        found["early stop"] = early_stop(args.early, args.seed)
    found["seconds"] = time.perf_counter() - start
    for name, value in found.items():
        print(f"{name:32} {value}")
    if args.json:
        args.json.write_text(json.dumps({"options": vars(args), **found}, indent=1, default=str))


if __name__ == "__main__":
    main()
