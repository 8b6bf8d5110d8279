"""Cross-layer optimisation: the cheapest design that keeps its goals (paper, III-E, Algorithm 3).

Area, cycles and traffic of every design are known before the first fault (`designs`).  A search
then evaluates accuracy keys, each on a few patterns of wrong bits; the cheapest that seems to do is
judged on patterns and images that it never saw.  Few images confirm only what is better than its
goal by the width of their interval, so where the cheapest is not met, the search goes on for
designs that lose less, the cheapest of those is judged, and so on.  The study is the only state: a
search that was killed reads what it has asked and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...config import Config
from ...config.schemes import with_scheme
from ...config.search import AccuracyGoal
from ...errors import FlexhycaError
from ...faults.ber.results import Verdict
from ..designs import Design, Designs, candidates
from ..evaluate import BLOCK, Block, PatternPurpose, StageJob, accuracy_job
from ..keys import ResultKey
from ..results import Results
from ..study import StudyEvent
from .candidates import CandidateField, Observation
from .confirm import Confirmation, Need, Terms, Walked, judge, next_candidate, next_limit
from .evaluation import Evaluation, Options, Problem, Running
from .optimisers import OPTIMISERS, front_optimiser
from .prune import SIGMAS, dearer, pruned

_UNCONFIRMED = 1 + 1e-9  # ratio, just above what is feasible


@dataclass(frozen=True)
class SearchOutcome:
    """A search and what came of it. searched : in the order of asking. out : candidate -> why.

    cut : candidates that were not examined as the budget ended the search. limit : share of the
    loss that is allowed which the search looked for in the end, so that the images suffice to
    confirm it. confirmation : None where a Pareto set was asked for.
    """

    problem: Problem
    field: CandidateField
    chosen: Sequence[Design]
    searched: Sequence[Evaluation]
    out: Mapping[int, str]
    cut: int
    limit: float
    confirmation: Confirmation | None

    @property
    def winner(self) -> Design | None:
        """The cheapest design that is confirmed."""
        found = self.confirmation and self.confirmation.winner
        return self.chosen[found.number] if found else None

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """Candidate -> what its confirmation said."""
        walked = self.confirmation.walked if self.confirmation else ()
        return {own.number: own.verdict for own in walked}

    @property
    def passed_over(self) -> list[Evaluation]:
        """What seems to keep the goals and is cheaper than the winner, but was not judged."""
        if self.confirmation is None:
            return []
        found = self.confirmation.winner
        end = found.number if found else len(self.chosen)
        return [
            own
            for own in self.searched
            if own.observation.ratio <= 1
            and own.observation.number < end
            and own.observation.number not in self.verdicts
        ]


#: Told after each step: evaluations so far, and what is going on.
Say = Callable[[int, str], object]


def _silent(done: int, what: str) -> None:
    """No progress."""


def search_designs(
    problem: Problem,
    designs: Designs,
    results: Results,
    options: Options,
    say: Say = _silent,
) -> SearchOutcome:
    """Search, then confirm. Raises ConfigError where no design keeps to the limits, and
    FlexhycaError where no network of the space is accurate enough without faults."""
    space, chosen = candidates(designs.within(), designs.space)
    search = _Search(problem, designs.space.names, space, chosen, results, options, say)
    search.tightened()  # where it was killed before
    while True:
        search.run()
        if options.front:
            break
        search.judge(search.next_candidate())
        if not search.tightened():
            break
    while not options.front and search.winner is None:
        left = search.next_candidate(1.0)
        if left is None:
            break
        search.judge(left, at_end=True)
    return SearchOutcome(
        problem,
        space,
        chosen,
        search.evaluations(),
        search.reasons(),
        search.unexamined(),
        search.limit,
        None if options.front else search.confirmation(),
    )


def recount(name: str, designs: Designs, results: Results, options: Options) -> list[str]:
    """What a study says of a search that its results do not.  Nothing is logged.

    name : of the problem. All results that its evaluations need have to be there.
    """
    events = results.study.events(name)
    goals = tuple(AccuracyGoal(**goal) for goal in events[0].content["goals"])
    space, chosen = candidates(designs.within(), designs.space)
    numbers = {design.key: i for i, design in enumerate(chosen)}
    wrong = []
    for said in (event.content for event in events if event.event == "seen"):
        if said["key"] not in numbers:
            return [f"{name}: {said['key']} is no design of the space"]
        own = Running(numbers[said["key"]], goals, said["limit"], options)
        design = chosen[own.number]
        while not own.done:
            own.take(results.block("search", _known(results, design, own)))
        if said != {"limit": said["limit"], **own.evaluation(design).to_dict()}:
            wrong.append(f"{name}: evaluation of {said['key']} at limit {said['limit']:.3g}")
    judged = [event.content for event in events if event.event == "judged"]
    if judged:
        problem = Problem(name, goals)
        search = _Search(problem, designs.space.names, space, chosen, results, options, _silent)
        for said, one in zip(judged, search.confirmation().walked, strict=True):
            if said != {**said, **search.verdict_of(one)}:
                wrong.append(f"{name}: verdict on {said['key']}")
    return wrong


def _known(results: Results, design: Design, own: Running) -> dict[str, Any]:
    goal, first = own.wanted
    (answer,) = results.all([accuracy_job(design.point.config, goal.ber, "search", first)])
    return answer


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
        self._walked: list[int] = []  # in this order
        self._judged: dict[int, Walked] = {}  # those of them that this process has looked at
        self.winner: int | None = None  # so far
        self._fresh = True  # whether something was evaluated since
        self._ended_with = 0  # budget
        self.limit = 1.0
        self._seen: set[tuple[int, float]] = set()  # evaluations that are logged
        self._hopeless = self._without_faults()
        events = results.study.events(problem.name)
        self._events = len(events)
        with results.study.reading("the events of a search"):
            for event in events:
                _REPLAYED[event.event](self, event.content)
        if not events:
            goals = [goal.model_dump() for goal in problem.goals]
            self._log("began", {"names": list(names), "goals": goals})

    def _asked(self, content: Mapping[str, Any]) -> None:
        self._fresh = True
        self._begin(self._numbers[content["key"]])

    def _left_out(self, content: Mapping[str, Any]) -> None:
        out = (self._numbers[key] for key in content["out"])
        self._pruned.update(dict.fromkeys(out, self._numbers[content["by"]]))

    def _known(self, content: Mapping[str, Any]) -> None:
        self._seen.add((self._numbers[content["key"]], content["limit"]))

    def _walk(self, content: Mapping[str, Any]) -> None:
        number = self._numbers[content["key"]]
        self._walked.append(number)
        if content["verdict"] == "met":
            self.winner = number if self.winner is None else min(self.winner, number)
        self._fresh, self._ended_with = False, content["ended with"]

    def _tighten(self, content: Mapping[str, Any]) -> None:
        """Look for designs that lose less; what was evaluated may need more patterns for that."""
        self.limit, self._fresh = content["limit"], True
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
        if self._ended or len(self._waiting) >= self.options.ahead:
            return False
        found = self._wanted()
        for number in found:
            point = self.chosen[number].point
            self._log("asked", {"key": self.chosen[number].key, "values": list(point.values)})
        return bool(found)

    def _wanted(self) -> list[int]:
        """What the optimiser would evaluate next; nothing at the end of its search."""
        pending = [number for number, own in self._running.items() if not own.done]
        closed = {*self._hopeless, *self._pruned}
        if self.options.front:
            own = front_optimiser(self.field, self.options.front)
        else:
            closed |= set(self._dearer())
            own = OPTIMISERS[self.options.optimiser]
        return own.ask(self.field, self.history, pending, closed, 1, self.options.seed)

    @property
    def _ended(self) -> bool:
        """Whether the budget is spent, or what is left was judged as nothing else was to be had."""
        spent = len(self._running) >= self.options.budget
        return spent or self._ended_with >= self.options.budget

    def unexamined(self) -> int:
        """Candidates that are left where the budget is spent and the search not at its end."""
        if len(self._running) < self.options.budget or not self._wanted():
            return 0
        return len(self.chosen) - len({*self._running, *self.reasons()})

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
        found = dearer(self.field, self.history) if self.options.prune else {}
        found |= dict.fromkeys(range(self._end, len(self.chosen)), self._end)
        return {number: why for number, why in found.items() if number not in self._running}

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
            replace(own, ratio=max(own.ratio, _UNCONFIRMED))
            if own.number in self._walked and own.number != self.winner
            else own
            for own in found
        ]

    def evaluations(self) -> list[Evaluation]:
        """The same with their designs."""
        return [
            own.evaluation(self.chosen[number]) for number, own in self._running.items() if own.done
        ]

    def reasons(self) -> dict[int, str]:
        """Candidates that were left out -> why."""
        found = {number: f"pruned by {by}" for number, by in self._pruned.items()}
        found |= dict.fromkeys(self._dearer(), "not cheaper than a feasible one")
        return found | dict.fromkeys(self._hopeless, "misses without faults")

    @property
    def _end(self) -> int:
        """Candidates from here on are not cheaper than what is confirmed."""
        return len(self.chosen) if self.winner is None else self.winner

    def next_candidate(self, limit: float | None = None) -> int | None:
        """Whom to judge now, if something was evaluated since. limit : for another one."""
        if limit is None and not self._fresh:
            return None
        seen = (own.observation(limit) for own in self._running.values() if own.done)
        first = (self.limit if limit is None else limit) == 1.0
        return next_candidate(seen, self._walked, self._end, first)

    def tightened(self) -> bool:
        """Whether there is sense in a search for designs that lose less; it has begun then.

        There is where one that seemed to do was judged and is not met: a design has to be better
        than its goal by the width of an interval, which is less where less is lost. Of what was
        seen in a confirmation nothing else is used, so that its error budget stays.
        """
        if self._fresh or not any(number < self._end for number in self._walked):
            return False
        limit = next_limit(self.limit, self._running[self._walked[-1]].observation(1.0).ratio)
        if limit is None:
            return False
        if self._ended_with >= self.options.budget or (
            self._ended and self.next_candidate(1.0) is None
        ):
            return False
        self._log("tightened", {"limit": limit})
        return True

    def _without_faults(self) -> set[int]:
        """Candidates whose network clearly misses a goal without any fault."""
        most = max(goal.accuracy for goal in self.problem.goals)
        right0 = self._right(with_scheme(self.results.workload.base, "base"), "search")
        spread = SIGMAS * math.sqrt(right0 * most * (1 - most))
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
        if self.winner is not None:
            return f"{self.chosen[self.winner].area:.1%} is confirmed, looking for cheaper ones"
        feasible = [o for o in self.history if o.ratio <= 1]
        if not feasible:
            return "none feasible yet"
        best = min(feasible, key=lambda o: o.number)
        design = self.chosen[best.number]
        return f"best so far {design.area:.1%} at {best.ratio:.2f} of the loss that is allowed"

    def judge(self, number: int | None, at_end: bool = False) -> None:
        """Judge a candidate, if there is one, on patterns and images that the search never saw.

        at_end : no better ones are to be had for this budget.
        """
        if number is None:
            return
        own = self._look(number, len(self._walked) + 1)
        budget = self.options.budget if at_end else 0
        self._log("judged", {**self.verdict_of(own), "ended with": budget})

    def confirmation(self) -> Confirmation:
        """All that were judged."""
        return Confirmation(tuple(self._look(n, i) for i, n in enumerate(self._walked, 1)))

    def _look(self, number: int, place: int) -> Walked:
        if number not in self._judged:
            self._judged[number] = judge(number, place, self._terms(), self._patterns)
        return self._judged[number]

    def _patterns(self, need: Need) -> list[Block]:
        """What a look at a candidate wants, a block for each goal."""
        design, end = self.chosen[need.number], need.first + need.patterns
        self.say(len(self.history), f"judging {design.area:.1%}, {end:,} patterns")
        jobs = [
            accuracy_job(design.point.config, goal.ber, "confirm", first)
            for goal in self.problem.goals
            for first in range(need.first, end, BLOCK)
        ]
        blocks = [self.results.block("confirm", answer) for answer in self.results.all(jobs)]
        count = need.patterns // BLOCK
        return [Block.joined(blocks[i : i + count]) for i in range(0, len(blocks), count)]

    def verdict_of(self, own: Walked) -> dict[str, Any]:
        """What is logged of a candidate."""
        design = self.chosen[own.number]
        return {"key": design.key, "values": list(design.point.values), **own.to_dict()}

    def _terms(self) -> Terms:
        """What has to be shown."""
        workload = self.results.workload
        return Terms(
            goals=tuple(goal.accuracy for goal in self.problem.goals),
            images=len(workload.images["confirm"]),
            right0=self._right(with_scheme(workload.base, "base"), "confirm"),
            seed=workload.seed,
            alpha=self.options.alpha,
            most=self.options.most,
            for_images=0.0 if self.options.these_images else Terms.for_images,
        )


#: What a search did, as its study names it -> doing it.
_REPLAYED: dict[str, Callable[[_Search, Mapping[str, Any]], None]] = {
    "began": lambda search, content: None,
    "asked": _Search._asked,
    "pruned": _Search._left_out,
    "seen": _Search._known,
    "judged": _Search._walk,
    "tightened": _Search._tighten,
}
