"""Cross-layer optimisation: the cheapest design that keeps its goals (paper, III-E, Algorithm 3).

Area, cycles and traffic of every design are known before the first fault (`designs`).  A search
then evaluates accuracy keys, each on a few patterns of wrong bits; what it leaves is confirmed on
patterns and images that it never saw.  The study is the only state: a search that was killed reads
what it has asked and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...config import Config
from ...config.schemes import with_scheme
from ...errors import FlexhycaError
from ..designs import Design, Designs, candidates
from ..evaluate import BLOCK, Block, PatternPurpose, StageJob, accuracy_job
from ..keys import ResultKey
from ..results import Results
from ..study import StudyEvent
from .candidates import CandidateField, Observation
from .confirm import (
    Confirmation,
    Judgement,
    Looks,
    Terms,
    next_step,
    outlook,
    promise,
)
from .evaluation import LEAST_LOSS, Evaluation, Options, Problem, Running
from .optimisers import OPTIMISERS, front_optimiser
from .prune import dearer, pruned

_CLEAR = 2.0  # standard errors
_ROUND = 3  # candidates that are confirmed before the search is told to look for better ones
_HOPE = 1.0  # standard errors by which a candidate may be too bad to be confirmed
_UNCONFIRMED = 1 + 1e-9  # ratio, just above what is feasible
_LEAST_LIMIT = 0.05  # of the loss that is allowed, below which no search looks for less


@dataclass(frozen=True)
class SearchOutcome:
    """A search and what came of it. searched : in the order of asking. out : candidate -> why.

    limit : share of the loss that is allowed which the search looked for in the end, so that the
    images suffice to confirm it. confirmation : None where a Pareto set was asked for.
    """

    problem: Problem
    field: CandidateField
    chosen: Sequence[Design]
    searched: Sequence[Evaluation]
    out: Mapping[int, str]
    limit: float
    confirmation: Confirmation | None

    @property
    def winner(self) -> Design | None:
        """The cheapest design that is confirmed."""
        found = self.confirmation and self.confirmation.winner
        return self.chosen[found.number] if found else None


#: Told after each step: evaluations so far, and what is going on.
Say = Callable[[int, str], object]


def search_designs(
    problem: Problem,
    designs: Designs,
    results: Results,
    options: Options,
    say: Say = lambda done, what: None,
) -> SearchOutcome:
    """Search, then confirm. Raises ConfigError where no design keeps to the limits, and
    FlexhycaError where no network of the space is accurate enough without faults."""
    space, chosen = candidates(designs.within(), designs.space)
    search = _Search(problem, designs.space.names, space, chosen, results, options, say)
    confirmation = None
    while True:
        search.run()
        if options.front:
            break
        if search.tightened(walked=False):
            continue
        confirmation = search.confirmed()
        if confirmation.winner or not search.tightened(walked=True):
            break
    return SearchOutcome(
        problem, space, chosen, search.evaluations(), search.reasons(), search.limit, confirmation
    )


class _Search:
    """What was asked, in which order, and what came back."""

    def __init__(
        self,
        problem: Problem,
        names: Sequence[str],
        space: CandidateField,
        chosen: Sequence[Design],
        results: Results,
        options: Options,
        say: Say,
    ) -> None:
        """names : of the parameters, for the study."""
        self.problem, self.field, self.chosen = problem, space, chosen
        self.results, self.options, self.say = results, options, say
        self._numbers = {design.key: i for i, design in enumerate(chosen)}
        self._running: dict[int, Running] = {}  # in the order of asking
        self._waiting: dict[tuple[ResultKey, int], Running] = {}
        self._pruned: dict[int, int] = {}  # candidate -> by which
        self._walked: list[int] = []  # that earlier rounds could not confirm
        self.limit = 1.0
        self._seen: set[tuple[int, float]] = set()  # evaluations that are logged
        self._hopeless = self._without_faults()
        events = results.study.events(problem.name)
        self._events = len(events)
        for event in events:
            _REPLAYED[event.event](self, event.content)
        if not events:
            goals = [goal.model_dump() for goal in problem.goals]
            self._log("began", {"names": list(names), "goals": goals})

    def _asked(self, content: Mapping[str, Any]) -> None:
        self._begin(self._numbers[content["key"]])

    def _left_out(self, content: Mapping[str, Any]) -> None:
        out = (self._numbers[key] for key in content["out"])
        self._pruned.update(dict.fromkeys(out, self._numbers[content["by"]]))

    def _known(self, content: Mapping[str, Any]) -> None:
        self._seen.add((self._numbers[content["key"]], content["limit"]))

    def _tighten(self, content: Mapping[str, Any]) -> None:
        """Look for designs that lose less; what was evaluated may need more patterns for that."""
        self.limit = content["limit"]
        self._walked = [self._numbers[key] for key in content["walked"]]
        self._waiting.clear()
        for number in self._running:
            self._begin(number)

    def run(self) -> None:
        """Ask and evaluate until the optimiser has no more questions, or the budget is spent."""
        while True:
            self._keep_seen()
            self._prune()
            while self._ask():
                self._keep_seen()
                self._prune()
            if not self._waiting:
                return
            job, answer = self.results.next()
            running = self._waiting.pop(self.results.key(job))
            running.take(self.results.block("search", answer))
            self._advance(running)
            self._keep_seen()
            if running.done:
                self.say(len(self.history), self._best())

    def _ask(self) -> bool:
        """Begin one more evaluation, if there may and need be one."""
        if len(self._running) >= self.options.budget or len(self._waiting) >= self.options.ahead:
            return False
        pending = [number for number, own in self._running.items() if not own.done]
        closed = {*self._hopeless, *self._pruned}
        seed, front = self.options.seed, self.options.front
        if front:
            own = front_optimiser(self.field, front)
        else:
            closed |= set(self._dearer())
            own = OPTIMISERS[self.options.optimiser]
        found = own.ask(self.field, self.history, pending, closed, 1, seed)
        for number in found:
            point = self.chosen[number].point
            self._log("asked", {"key": self.chosen[number].key, "values": list(point.values)})
        return bool(found)

    def _begin(self, number: int) -> None:
        self._running[number] = Running(number, self.problem.goals, self.limit, self.options)
        self._advance(self._running[number])

    def _advance(self, running: Running) -> None:
        """Take the patterns that the study has; let a worker find out the next ones."""
        while not running.done:
            goal, first = running.wanted
            config = self.chosen[running.number].point.config
            job = accuracy_job(config, goal.ber, "search", first)
            answer = self.results.known(job)
            if answer is None:
                self._waiting[self.results.key(job)] = running
                self.results.submit(job)
                return
            running.take(self.results.block("search", answer))

    def _prune(self) -> None:
        """Leave out what protects less than a candidate that clearly misses, and log it."""
        if not self.options.prune:
            return
        found = pruned(self.field, self.history)
        fresh: dict[int, list[int]] = {}
        for number, by in found.items():
            if number not in self._pruned and number not in self._running:
                fresh.setdefault(by, []).append(number)
        for by, numbers in fresh.items():
            out = [self.chosen[number].key for number in numbers]
            self._log("pruned", {"by": self.chosen[by].key, "out": out})

    def _keep_seen(self) -> None:
        """Log what evaluations said, so that the study can be read without the network."""
        for own in self.evaluations():
            if (own.observation.number, self.limit) not in self._seen:
                self._log("seen", {"limit": self.limit, **own.to_dict()})

    def _dearer(self) -> dict[int, int]:
        return dearer(self.field, self.history) if self.options.prune else {}

    def _log(self, event: str, content: Mapping[str, Any]) -> None:
        """Keep what is done, and do it: just as a search that goes on does."""
        self.results.study.log(self.problem.name, self._events, [StudyEvent(event, content)])
        self._events += 1
        _REPLAYED[event](self, content)

    @property
    def history(self) -> list[Observation]:
        """Of the evaluations that are done, in the order in which they were asked for.

        Who could not be confirmed is no solution, however good it looks.
        """
        found = [own.observation() for own in self._running.values() if own.done]
        return [
            replace(own, ratio=max(own.ratio, _UNCONFIRMED)) if own.number in self._walked else own
            for own in found
        ]

    def evaluations(self) -> list[Evaluation]:
        """The same with their designs."""
        return [
            Evaluation(
                self.chosen[number],
                own.observation(1.0),
                tuple(len(block.right) for block in own.blocks),
            )
            for number, own in self._running.items()
            if own.done
        ]

    def reasons(self) -> dict[int, str]:
        """Candidates that were left out -> why."""
        found = {number: f"pruned by {by}" for number, by in self._pruned.items()}
        found |= dict.fromkeys(self._dearer(), "dearer than a feasible one")
        return found | dict.fromkeys(self._hopeless, "misses without faults")

    def _outlooks(self) -> dict[int, list[Judgement]]:
        """Candidates that may be feasible -> what confirmation will ask of them, in ascending area.

        By all patterns of the search, of those whose evaluation ended early, too. Whether a
        candidate is confirmed depends on more than whether it keeps the goals: where few images
        suffer much it takes more of them to tell.
        """
        images = len(self.results.workload.images["confirm"])
        terms, place = self._terms("search"), len(self._walked) + 1
        found = {}
        for own in sorted(self._running.values(), key=lambda running: running.number):
            seen = own.observation(1.0) if own.done and not own.missed else None
            if own.number in self._walked or not seen or seen.ratio - _CLEAR * seen.error > 1:
                continue
            config, count = self.chosen[own.number].point.config, self.options.patterns
            blocks = [
                self.results.patterns(config, goal.ber, "search", count)
                for goal in self.problem.goals
            ]
            found[own.number] = outlook(blocks, terms, images, place)
        return found

    def _plausible(self) -> list[int]:
        """Whom to confirm: those of earlier rounds, then the cheapest few that may be confirmed."""
        own = {number: promise(judged) for number, judged in self._outlooks().items()}
        found = [number for number, errors in own.items() if errors >= -_HOPE]
        return self._walked + (found[:_ROUND] or sorted(own, key=lambda n: -own[n])[:1])

    def tightened(self, walked: bool) -> bool:
        """Whether there is sense in a search for designs that lose less.

        There is where the cheapest one that seems feasible will hardly be confirmed, as the images
        are few: a design has to be better than its goal by the width of their interval, which is
        less where less is lost. How much less is read off the search's own patterns and images. Of
        a confirmation it is only known that none was met (`walked`), so that its budget stays.
        """
        own, limit = self._outlooks(), self.limit
        if len(self._running) >= self.options.budget or not own or limit < _LEAST_LIMIT:
            return False
        feasible = {o.number for o in self.history if o.ratio <= 1}
        cheapest = next((judged for number, judged in own.items() if number in feasible), None)
        if not walked and (cheapest is None or promise(cheapest) >= -_HOPE):
            return False
        seen = self._plausible() if walked else self._walked
        keys = [self.chosen[number].key for number in seen]
        for judged in cheapest or max(own.values(), key=promise):
            allowed = max(1 - judged.goal, LEAST_LOSS)
            lost = max(1 - judged.margin.estimate / allowed, LEAST_LOSS)
            # The largest share x of the loss with 1 - x >= needed sqrt(x / lost).
            root = judged.needed / allowed / math.sqrt(lost)
            limit = min(limit, ((math.sqrt(root * root + 4) - root) / 2) ** 2)
        self._log("tightened", {"limit": round(min(limit, 0.9 * self.limit), 4), "walked": keys})
        return True

    def _without_faults(self) -> set[int]:
        """Candidates whose network clearly misses a goal without any fault."""
        most = max(goal.accuracy for goal in self.problem.goals)
        right0 = self._right(with_scheme(self.results.workload.base, "base"), "search")
        spread = _CLEAR * math.sqrt(right0 * most * (1 - most))
        least = right0 * most - spread
        found = [self._right(design.point.config, "search") for design in self.chosen]
        hopeless = {i for i, right in enumerate(found) if right < least}
        if len(hopeless) == len(found):
            kept = max(found) / right0
            raise FlexhycaError(
                f"goal {most:g} of {self.problem.name} is impossible: without any fault the most "
                f"accurate network of the space keeps {kept:.4f} of acc0, {most - kept:.2g} too "
                "little; give a lower goal, or lower values of protection.q_scale"
            )
        return hopeless

    def _right(self, config: Config, purpose: PatternPurpose) -> int:
        answer = self.results.known(StageJob("network", config))
        assert answer is not None  # `designs.work_out`
        return int(answer["right"][purpose])

    def _best(self) -> str:
        feasible = [o for o in self.history if o.ratio <= 1]
        if not feasible:
            return "none feasible yet"
        best = min(feasible, key=lambda o: o.number)
        design = self.chosen[best.number]
        return f"best so far {design.area:.1%} at {best.ratio:.2f} of the loss that is allowed"

    def confirmed(self) -> Confirmation:
        """Walk up in area, on patterns and images that the search never saw."""
        goals, terms = self.problem.goals, self._terms("confirm")
        numbers, seen, looks = self._plausible(), dict[int, Sequence[Block]](), Looks()
        while True:
            step = next_step(numbers, seen, terms, self.options.ahead, looks)
            if isinstance(step, Confirmation):
                return step
            jobs = [
                accuracy_job(self.chosen[need.number].point.config, goal.ber, "confirm", first)
                for need in step
                for goal in goals
                for first in range(need.first, need.first + need.patterns, BLOCK)
            ]
            place = numbers.index(step[0].number) + 1
            self.say(
                len(self.history),
                f"confirming {place} of {len(numbers)}, "
                f"{step[0].first + step[0].patterns:,} patterns",
            )
            answers = iter(self.results.all(jobs))
            for need in step:
                held = [[block] for block in seen.get(need.number, ())] or [[] for _ in goals]
                more = [self._patterns(answers, need.patterns // BLOCK) for _ in goals]
                pairs = zip(held, more, strict=True)
                seen[need.number] = [Block.joined([*own, *fresh]) for own, fresh in pairs]

    def _terms(self, purpose: PatternPurpose) -> Terms:
        """What has to be shown, with the images of a purpose."""
        return Terms(
            goals=tuple(goal.accuracy for goal in self.problem.goals),
            images=len(self.results.workload.images[purpose]),
            right0=self._right(with_scheme(self.results.workload.base, "base"), purpose),
            seed=self.results.workload.seed,
            alpha=self.options.alpha,
            most=self.options.most,
            for_images=0.0 if self.options.these_images else Terms.for_images,
        )

    def _patterns(self, answers: Iterator[dict[str, Any]], count: int) -> list[Block]:
        return [self.results.block("confirm", next(answers)) for _ in range(count)]


#: What a search did, in its study -> doing it.
_REPLAYED: dict[str, Callable[[_Search, Mapping[str, Any]], None]] = {
    "began": lambda search, content: None,
    "asked": _Search._asked,
    "pruned": _Search._left_out,
    "seen": _Search._known,
    "tightened": _Search._tighten,
}
