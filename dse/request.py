"""A request for a search: from a model's name to designs, problems and what comes of each.

Here stands what a study is of (its identity), so that it can be resumed by its file alone, and is
refused for another network, other images or another space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from ..config import load_config
from ..config.search import MOST_BER, AccuracyGoal, Search, goal_of, load_search, with_limits
from ..errors import ConfigError
from ..faults.ber.options import BerOptions
from ..faults.ber.study import GOALS, RATES
from .designs import Designs, work_out_designs
from .evaluate import StageJob, Workload
from .labelled import Kept, LabelledModel, working
from .results import Results
from .search.evaluation import Options, Problem
from .search.optimise import SearchOutcome, search_designs
from .space import Space

_LOSSES = (0.1, 0.4)  # of base at I' and II'
#: Scenario -> its goals: the paper's rates, or the network's own.
_PAPER = dict(zip(("I", "II"), zip(RATES, GOALS, strict=True), strict=True))
_OWN = {"I'": ("first", GOALS[0]), "II'": ("second", GOALS[1])}
_PAIRS = {"both": ("I", "II"), "own": ("I'", "II'")}
SCENARIOS = (*_PAPER, *_OWN, *_PAIRS)


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for; all of it but the places of files decides what comes out.

    scenario : of `SCENARIOS` or of the space's file; both and own are each of their two by itself,
    then both goals by one design (Equation 2). bers, goals : instead, goals of one design. rates :
    I' and II' where they are known. limits : fields of `Limits` that differ from the space's.
    """

    model: str
    config: str = "flexhyca-32x32"
    changes: tuple[str, ...] = ()
    space: str = "full"
    scenario: str = "own"
    bers: tuple[float, ...] = ()
    goals: tuple[float, ...] = ()
    rates: tuple[float, float] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    ber: BerOptions = field(default_factory=BerOptions)
    options: Options = field(default_factory=Options)
    weights: str | None = None
    data: str | None = None
    images: int | str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchRequest:
        """The request again."""
        found: SearchRequest = TypeAdapter(cls).validate_python(values)
        return found


@dataclass(frozen=True)
class Found:
    """What came of a request. rates : I' and II', where they were asked for."""

    request: SearchRequest
    designs: Designs
    workload: Workload
    outcomes: Sequence[SearchOutcome]
    rates: tuple[float, float] | None
    computed: int

    @property
    def best(self) -> SearchOutcome:
        """The problem that has the most goals: one design for all of them."""
        return max(self.outcomes, key=lambda outcome: len(outcome.problem.goals))


class Events:
    """What is told of progress; does nothing."""

    def stage(self, what: str, done: int, total: int) -> None:
        """Designs are worked out."""

    def problem(self, name: str, number: int, total: int) -> None:
        """A search begins."""

    def searched(self, done: int, what: str) -> None:
        """Where it stands."""


def run_search(
    request: SearchRequest, subject: LabelledModel, kept: Kept, events: Events | None = None
) -> Found:
    """Search and confirm, or go on with it.

    Raises ConfigError and FlexhycaError where something that was asked for is impossible.
    """
    events = events or Events()
    search, space = search_of(request), space_of(request)
    base = space.base
    for change in request.changes:
        if change.partition("=")[0].strip() in space.names:
            raise ConfigError(
                f"set {change}: {search.name} searches this field; leave it out, or give "
                "a --space whose values are those"
            )
    check_goals(request, search)
    own = _identity(request, search, space)
    asked = request.to_dict()
    with working(subject, base, request.ber, request.options.seed, kept, own, asked) as results:
        designs = work_out_designs(space, search.limits, results, events.stage)
        designs.within()  # refused before any fault
        rates = own_rates(request, search, results)
        problems = problems_of(request, search, rates)
        outcomes = []
        for number, problem in enumerate(problems, 1):
            events.problem(problem.name, number, len(problems))
            options = replace(request.options, ahead=kept.at_once)
            outcomes.append(search_designs(problem, designs, results, options, events.searched))
        return Found(request, designs, results.workload, outcomes, rates, results.computed)


def space_of(request: SearchRequest) -> Space:
    """What may be chosen; ConfigError where that is impossible."""
    return Space.of(search_of(request), load_config(request.config, request.changes))


def search_of(request: SearchRequest) -> Search:
    """The space's file with the request's limits; ConfigError for a limit that there is not."""
    search = load_search(request.space)
    return search.model_copy(update={"limits": with_limits(search.limits, request.limits)})


def check_goals(request: SearchRequest, search: Search) -> None:
    """Refuse scenarios and goals that do not exist, before anything is computed."""
    known = (*SCENARIOS, *search.scenarios)
    if not request.bers and request.scenario not in known:
        raise ConfigError(
            f"scenario {request.scenario!r}: there is none; use {', '.join(known)}, "
            "or give --ber and --goal"
        )
    if request.goals and not request.bers:
        raise ConfigError("goal: give the rate it holds at, too, such as --ber 1e-4")
    rates = request.rates
    if rates is not None and not 0 < rates[0] < rates[1] <= MOST_BER:
        raise ConfigError(
            f"own-rates {rates[0]:g},{rates[1]:g}: give two above 0 and up to {MOST_BER:g}, the "
            "lower one first"
        )
    _given(request)


def _given(request: SearchRequest) -> list[AccuracyGoal]:
    """The goals that are given instead of a scenario."""
    goals, bers = request.goals or GOALS[:1], request.bers
    if bers and len(goals) not in (1, len(bers)):
        raise ConfigError(
            f"goal: {len(goals)} goals for {len(bers)} rates; give one for all, or one for each"
        )
    return [goal_of(*pair) for pair in zip(bers, goals * len(bers), strict=False)]


def _identity(request: SearchRequest, search: Search, space: Space) -> dict[str, str]:
    """What all of a study has in common. The budget and how many work may change."""
    fixed = asdict(request.options)
    for name in ("budget", "ahead"):
        del fixed[name]
    return {
        **{
            f"parameters.{name}": " ".join(map(str, values))
            for name, values in zip(space.names, space.values, strict=True)
        },
        **{f"limits.{name}": str(value) for name, value in search.limits},
        **{f"search.{name}": str(value) for name, value in fixed.items()},
    }


def own_rates(
    request: SearchRequest, search: Search, results: Results
) -> tuple[float, float] | None:
    """I' and II', given or found; None where they are not asked for."""
    names = _PAIRS.get(request.scenario, (request.scenario,))
    if request.bers or request.scenario in search.scenarios or not set(names) & set(_OWN):
        return None
    if request.rates is not None:
        return request.rates
    low, high = _LOSSES
    base = results.workload.base
    (found,) = results.all([StageJob("rates", base, {"low": low, "high": high})])
    return found["first"], found["second"]


def problems_of(
    request: SearchRequest, search: Search, rates: tuple[float, float] | None
) -> list[Problem]:
    """One a scenario, and where there are two of them, one that has the goals of both."""
    if request.bers:
        return [_named("given", _given(request))]
    if request.scenario in search.scenarios:
        return [_named(request.scenario, search.scenarios[request.scenario])]
    single = {}
    for name in _PAIRS.get(request.scenario, (request.scenario,)):
        if name in _PAPER:
            ber, accuracy = _PAPER[name]
        else:
            assert rates is not None
            which, accuracy = _OWN[name]
            ber = rates[("first", "second").index(which)]
        single[name] = AccuracyGoal(ber=ber, accuracy=accuracy)
    found = [_named(name, [goal]) for name, goal in single.items()]
    if len(found) > 1:
        found.append(_named(" and ".join(single), list(single.values())))
    return found


def _named(name: str, goals: Sequence[AccuracyGoal]) -> Problem:
    """Its name in the study says what it is: another goal is another problem."""
    what = ", ".join(f"{goal.accuracy:g} acc0 at {goal.ber:g}" for goal in goals)
    return Problem(f"{name} ({what})", tuple(goals))
