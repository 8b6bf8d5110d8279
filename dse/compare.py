"""Protection schemes and designs side by side (paper, Figs. 7, 8 and 12 in one; Table II).

All run the same network on one machine, whose protection they replace, and meet the same patterns
of wrong bits on the same images, those of a confirmation: no search has seen them.  What a row
costs and whether it keeps its limits is counted as a search counts it (`costs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import pool
from ..compiler.importance.ranking import Ranking
from ..config import Config, load_config
from ..config.schemes import REDUNDANT_SCHEMES, SCHEMES, unnamed_layers, with_scheme
from ..config.search import AccuracyGoal, Limits
from ..errors import CompileError, ConfigError, FlexhycaError
from ..faults.ber.results import Verdict
from ..faults.campaign.statistics import Interval, paired_ratios
from ..hdl.area.machine import machine_area
from ..isa.protection import layer_copies
from ..network.names import match_layers
from .costs import CostRecord, Costs, room
from .designs import depth_over
from .evaluate import BLOCK, Block, StageJob, Workload, accuracy_job
from .grid import GridPoint
from .request import SearchRequest, check_goals, own_rates, problems_of, search_of
from .results import Results
from .sweep import Context, Subject, job_of, measure_costs

BASE = "base"  #: what cycles, traffic and area are relative to
REFERENCE = "tmr_cl"  #: whose accuracy the others' are compared with

#: Told what begins and how many steps it has; the value is told of steps that are done.
PhaseProgress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]


@contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[int], object]]:
    """No progress."""
    yield lambda count: None


@dataclass(frozen=True)
class CompareRequest:
    """What is compared. search : model, machine, goals, limits, images, patterns and seed, as
    `optimise` takes them; its space does not matter.

    designs : names or files of configurations. protect : layers that redundant schemes compute
    three times. placement : of important neurons, where only time is asked for.
    """

    search: SearchRequest
    schemes: tuple[str, ...] = tuple(SCHEMES)
    designs: tuple[str, ...] = ()
    protect: tuple[str, ...] = ()
    placement: str | None = None
    batch: int = 1


@dataclass(frozen=True)
class ComparedMachine:
    """A machine of a row. paper : its name there; empty for a design.

    config : None where it is impossible, and `reason` says why.
    """

    name: str
    paper: str
    config: Config | None
    reason: str = ""


@dataclass(frozen=True)
class ComparePlan:
    """A request that was checked. base : the unprotected machine."""

    request: CompareRequest
    settings: Config
    base: Config
    limits: Limits
    machines: tuple[ComparedMachine, ...]


@dataclass(frozen=True)
class RateResult:
    """Accuracy of a row at a bit error rate; intervals are over patterns, for these images.

    accuracy : relative to acc0. loss : acc0 - accuracy. minus_cl, minus_before : accuracy beyond
    that of tmr_cl and of the row before, on the same patterns; None where there is no such row, and
    exactly 0 where the two machines protect the same bits.
    """

    goal: AccuracyGoal
    accuracy: Interval
    loss: Interval
    minus_cl: Interval | None
    minus_before: Interval | None
    verdict: Verdict


@dataclass(frozen=True)
class ComparedRow:
    """What was found of a machine; of an impossible one nothing.

    areas : scope -> overhead over base. cycles, traffic : as the limits count them. room : see
    `costs.room`. fault_free : accuracy without faults, relative to acc0. before : the row that
    `minus_before` is about.
    """

    machine: ComparedMachine
    costs: Costs | None = None
    areas: Mapping[str, float] | None = None
    cycles: float = 0.0
    traffic: float = 0.0
    room: Mapping[str, float] | None = None
    fault_free: float | None = None
    before: str | None = None
    rates: tuple[RateResult, ...] = ()


@dataclass(frozen=True)
class SideBySide:
    """What was found. workload, acc0 : None where only time was asked for.

    placement : of important neurons; None where there are none. protected, protected_share : the
    layers that are computed three times, and their share of the products. rates : the network's
    own, where they were asked for. computed : jobs that were not in the study.
    """

    plan: ComparePlan
    subject: Subject
    rows: tuple[ComparedRow, ...]
    placement: str | None
    protected: tuple[str, ...]
    protected_share: float
    workload: Workload | None = None
    acc0: float | None = None
    rates: tuple[float, float] | None = None
    computed: int = 0


def plan_of(request: CompareRequest, accuracy: bool = True) -> ComparePlan:
    """The machines of a request; ConfigError or FlexhycaError where it asks for what is not there.

    A machine that contradicts itself is planned, with its reason.
    """
    asked = request.search
    search, settings = search_of(asked), load_config(asked.config, asked.changes)
    if accuracy:
        check_goals(asked, search)
    machines = [_scheme(name, settings, request.protect) for name in request.schemes]
    machines += [ComparedMachine(Path(d).stem, "", load_config(d)) for d in request.designs]
    names = [machine.name for machine in machines]
    if not names:
        raise ConfigError("nothing to compare; give schemes or designs")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two rows are called {name}; give it once, or rename a design's file"
            )
    if request.protect and not set(request.schemes) & set(REDUNDANT_SCHEMES):
        raise ConfigError(
            f"protect: {','.join(names)} computes nothing three times; leave it out, or compare "
            f"{' or '.join(REDUNDANT_SCHEMES)}, too"
        )
    _refuse_none(machines)
    base = with_scheme(settings, BASE)
    return ComparePlan(request, settings, base, search.limits, tuple(machines))


def _scheme(name: str, settings: Config, layers: Sequence[str]) -> ComparedMachine:
    try:
        config = with_scheme(settings, name, layers)
    except ConfigError as error:
        if name not in SCHEMES:
            raise
        reason = "; ".join(str(error).splitlines())
        return ComparedMachine(name, SCHEMES[name].paper, None, reason)
    if reason := unnamed_layers(config):
        return ComparedMachine(name, SCHEMES[name].paper, None, reason)
    return ComparedMachine(name, SCHEMES[name].paper, config)


def _refuse_none(machines: Sequence[ComparedMachine]) -> None:
    if all(machine.config is None for machine in machines):
        raise FlexhycaError("; ".join(f"{machine.name}: {machine.reason}" for machine in machines))


def check_layers(plan: ComparePlan, subject: Subject) -> None:
    """FlexhycaError where the network has none of the layers that are to be protected."""
    try:
        match_layers(plan.request.protect, list(_products(subject, plan.base)))
    except FlexhycaError as error:
        raise FlexhycaError(f"protect: {error}") from None


def side_by_side(
    plan: ComparePlan,
    subject: Subject,
    ranking: Callable[[], Ranking],
    placement: str,
    workers: int = 1,
    results: Results | None = None,
    progress: PhaseProgress = silent,
) -> SideBySide:
    """Work all rows out. ranking : of the neurons, asked for if a machine has important ones.

    results : of accuracies; without them only time, traffic and area are found. Raises
    FlexhycaError where no machine is possible, or the unprotected one is not.
    """
    records = _records(plan, subject, ranking, workers, progress)
    networks = {} if results is None else _networks(plan, results, progress)
    machines = [_impossible(machine, records, networks) for machine in plan.machines]
    _refuse_none(machines)
    possible = [(m.name, m.config) for m in machines if m.config is not None]
    rows = [_row(plan, machine, subject, records) for machine in machines]
    protected, share = _protected(subject, [config for _, config in possible])
    important = any(records[c.config_hash]["important_neurons"] for _, c in possible)
    found = SideBySide(
        plan, subject, tuple(rows), placement if important else None, protected, share
    )
    return found if results is None else _judged(found, dict(possible), networks, results, progress)


_Answers = Mapping[str, Mapping[str, Any]]  # hash of a configuration -> a stage's answer


def _records(
    plan: ComparePlan,
    subject: Subject,
    ranking: Callable[[], Ranking],
    workers: int,
    progress: PhaseProgress,
) -> dict[str, CostRecord]:
    """Hash of a configuration -> what its run costs, or its error."""
    jobs = [job_of(GridPoint(config, "given", {})) for config in _distinct(plan)]
    rankings = {"given": ranking()} if any(job.placement for job in jobs) else {}
    found: dict[str, CostRecord] = {}
    answers = pool.run_jobs(
        measure_costs, Context(subject, rankings), jobs, min(workers, len(jobs))
    )
    with progress("timing", len(jobs)) as step, closing(answers):
        for index, record in answers:
            found[jobs[index].config.config_hash] = record
            step(1)
    base = found[plan.base.config_hash]
    if "error" in base:
        raise CompileError(base["error"])
    return found


def _networks(plan: ComparePlan, results: Results, progress: PhaseProgress) -> _Answers:
    """Hash of a configuration -> its quantised network's answer, or its error."""
    configs = _distinct(plan)
    jobs = [StageJob("network", config) for config in configs]
    with progress("networks", len({results.key(job) for job in jobs})) as step:
        answers = results.all(jobs, step)
    found = {config.config_hash: own for config, own in zip(configs, answers, strict=True)}
    base = found[plan.base.config_hash]
    if "error" in base:
        raise FlexhycaError(f"the unprotected machine: {base['error']}")
    if not base["right"]["confirm"]:
        raise FlexhycaError(
            f"{results.workload.model.name}: the unprotected network classifies none of the images "
            "rightly, so there is no accuracy to keep; give trained --weights, or --no-accuracy"
        )
    return found


def _distinct(plan: ComparePlan) -> list[Config]:
    own = [machine.config for machine in plan.machines if machine.config is not None]
    return list({config.config_hash: config for config in (plan.base, *own)}.values())


def _impossible(machine: ComparedMachine, *stages: _Answers) -> ComparedMachine:
    """The machine without its configuration, and why, where a stage has refused it."""
    if machine.config is None:
        return machine
    for answers in stages:
        error = answers.get(machine.config.config_hash, {}).get("error")
        if error is not None:
            return replace(machine, config=None, reason=error)
    return machine


def _row(
    plan: ComparePlan, machine: ComparedMachine, subject: Subject, records: _Answers
) -> ComparedRow:
    config, base = machine.config, plan.base
    if config is None:
        return ComparedRow(machine)
    costs = Costs(
        records[config.config_hash],
        records[base.config_hash],
        subject.weight_bytes,
        depth_over(config, base),
    )
    own, plain = machine_area(config).scopes, machine_area(base).scopes
    cycles, traffic = costs.cycles(plan.limits.perf), costs.traffic(plan.limits.bandwidth)
    return ComparedRow(
        machine,
        costs,
        {a.name: round(a.area_ge / b.area_ge - 1, 4) for a, b in zip(own, plain, strict=True)},
        cycles,
        traffic,
        room(plan.limits, cycles, traffic),
    )


def _protected(subject: Subject, configs: Sequence[Config]) -> tuple[tuple[str, ...], float]:
    """The layers that are computed three times, and their share of the products."""
    for config in configs:
        products = _products(subject, config)
        chosen = tuple(name for name in products if layer_copies(config, name) > 1)
        if chosen:
            return chosen, sum(products[name] for name in chosen) / sum(products.values())
    return (), 0.0


def _products(subject: Subject, config: Config) -> dict[str, int]:
    """Layer with weights -> its multiplications."""
    network = subject.network_for(config)
    return {network.layers[i].name: network.macs(i) for i in network.weights}


def _judged(
    found: SideBySide,
    possible: Mapping[str, Config],
    networks: _Answers,
    results: Results,
    progress: PhaseProgress,
) -> SideBySide:
    """The rows with their accuracies at all rates."""
    plan, workload = found.plan, results.workload
    asked, images = plan.request.search, len(workload.images["confirm"])
    search = search_of(asked)
    with progress("own rates", 1):
        rates = own_rates(asked, search, results)
    goals = max((problem.goals for problem in problems_of(asked, search, rates)), key=len)
    blocks = _blocks(possible, goals, asked.options.patterns, results, progress)
    right = {name: networks[c.config_hash]["right"]["confirm"] for name, c in possible.items()}
    right0 = networks[plan.base.config_hash]["right"]["confirm"]
    rows, before = [], None
    for row in found.rows:
        name = row.machine.name
        if name not in possible:
            rows.append(row)
            continue
        than = [other if other != name else None for other in (REFERENCE, before)]
        own = tuple(
            _result(
                goal,
                blocks[name, i],
                [blocks.get((other, i)) if other else None for other in than],
                right0 / images,
                workload.seed,
            )
            for i, goal in enumerate(goals)
        )
        rows.append(replace(row, fault_free=right[name] / right0, before=before, rates=own))
        before = name
    return replace(
        found,
        rows=tuple(rows),
        workload=workload,
        acc0=right0 / images,
        rates=rates,
        computed=results.computed,
    )


def _blocks(
    possible: Mapping[str, Config],
    goals: Sequence[AccuracyGoal],
    patterns: int,
    results: Results,
    progress: PhaseProgress,
) -> dict[tuple[str, int], Block]:
    """(row, number of a goal) -> all its patterns; the same object where nothing can differ."""
    firsts = range(0, patterns, BLOCK)
    jobs = {
        (name, i): [accuracy_job(config, goal.ber, "confirm", first) for first in firsts]
        for name, config in possible.items()
        for i, goal in enumerate(goals)
    }
    # Pattern by pattern: a worker draws each once for all machines.
    every = [own[k] for k in range(len(firsts)) for own in jobs.values()]
    with progress("accuracy", len({results.key(job) for job in every})) as step:
        answers = results.all(every, step)
    keys = {place: results.key(own[0]) for place, own in jobs.items()}
    found: dict[Any, Block] = {}
    for n, key in enumerate(keys.values()):
        if key not in found:
            own = [results.block("confirm", answer) for answer in answers[n :: len(jobs)]]
            found[key] = Block.joined(own)
    return {place: found[keys[place]] for place in jobs}


def _result(
    goal: AccuracyGoal, own: Block, others: Sequence[Block | None], acc0: float, seed: int
) -> RateResult:
    """others : tmr_cl, and the row before. acc0 : of all these images, so that which of them a
    pattern drew cancels out."""
    right, right0 = own.right.sum(axis=1), own.right0.sum(axis=1)
    images = np.full(len(right), own.right.shape[1])
    loss = paired_ratios(right0, right, images, seed)
    low, estimate, high = (
        min(max(0.0, 1 - bound / acc0), 1 / acc0) for bound in (loss.high, loss.estimate, loss.low)
    )
    accuracy = replace(loss, estimate=estimate, low=low, high=high, difference=False)
    minus_cl, minus_before = (_minus(own, other, loss) for other in others)
    wanted = goal.accuracy
    verdict: Verdict = "met" if low >= wanted else "missed" if high < wanted else "open"
    return RateResult(goal, accuracy, loss, minus_cl, minus_before, verdict)


def _minus(own: Block, other: Block | None, loss: Interval) -> Interval | None:
    """Accuracy beyond that of another row, on the same patterns."""
    if other is None:
        return None
    if other is own:  # the same bits are protected: equal, whatever the patterns
        return replace(loss, estimate=0.0, low=0.0, high=0.0, method="the same evaluation")
    images = np.full(len(own.right), own.right.shape[1])
    return paired_ratios(own.right.sum(axis=1), other.right.sum(axis=1), images, loss.seed)
