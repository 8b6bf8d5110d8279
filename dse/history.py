"""What a study of a search holds, read from its file alone: tables, Optuna, and a check."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config.schemes import with_scheme
from .designs import stage_jobs, stage_part, work_out_designs
from .evaluate import BLOCK, PatternPurpose, StageJob, accuracy_job
from .labelled import Kept, LabelledModel, working
from .request import SearchRequest, search_of, space_of
from .results import Results
from .search.optimise import recount
from .space import Space
from .study import Study

_SHOWN = ("area_overhead", "cycles_ratio", "extra_traffic", "accuracy", "accuracy_error")


def summary(study: Study) -> dict[str, Any]:
    """What it is of, and how many events of which kind each search has."""
    return {
        "identity": study.identity,
        "request": study.request,
        "problems": {
            name: dict(Counter(event.event for event in study.events(name)))
            for name in study.problems()
        },
    }


def evaluations(study: Study) -> list[dict[str, Any]]:
    """A row an evaluation, in the order in which they were done; of several the last.

    verdict : what its confirmation said, None where there was none. winner : so far.
    """
    with study.reading("the events of a search"):
        return [row for problem in study.problems() for row in _evaluations(study, problem)]


def _evaluations(study: Study, problem: str) -> list[dict[str, Any]]:
    names: list[str] = []
    first: dict[str, float] = {}  # goal
    found: dict[str, dict[str, Any]] = {}
    verdicts: dict[str, str] = {}
    for number, (event, content) in enumerate(study.events(problem)):
        if event == "began":
            names, first = content["names"], content["goals"][0]
        elif event == "judged":
            verdicts[content["key"]] = content["verdict"]
        elif event == "seen":
            values = dict(zip(names, content["values"], strict=True))
            found[content["key"]] = {
                "problem": problem,
                "event": number,
                "ber": first["ber"],
                "goal": first["accuracy"],
                **values,
                **{name: content[name] for name in _SHOWN},
                "ratio": content["ratio"],
                "error": content["error"],
                "patterns": " ".join(map(str, content["patterns"])),
            }
    met = (key for key, verdict in verdicts.items() if verdict == "met")
    best = min(met, key=lambda key: float(found[key]["area_overhead"]), default=None)
    return [
        {**row, "verdict": verdicts.get(key), "winner": key == best} for key, row in found.items()
    ]


def parameters(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of evaluations that are fields of the configuration, such as dppu.size."""
    return [name for name in rows[0] if "." in name] if rows else []


def to_optuna(study: Study, path: Path) -> None:
    """A storage of Optuna with a study a search: area is minimised, ratio - 1 is the constraint."""
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    path.unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    rows = evaluations(study)
    for problem in study.problems():
        own = [row for row in rows if row["problem"] == problem]
        target = optuna.create_study(storage=storage, study_name=problem, direction="minimize")
        names = parameters(own)
        spans: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(
                sorted({row[name] for row in own}, key=str)
            )
            for name in names
        }
        for row in own:
            target.add_trial(
                optuna.trial.create_trial(
                    params={name: row[name] for name in names},
                    distributions=spans,
                    value=row["area_overhead"],
                    user_attrs={
                        name: row[name] for name in (*_SHOWN, "ratio", "error", "verdict", "winner")
                    },
                    system_attrs={"constraints": [row["ratio"] - 1]},
                )
            )
    storage.engine.dispose()


def differing_results(
    path: Path, request: SearchRequest, given: LabelledModel, count: int, seed: int
) -> tuple[int, list[str]]:
    """How many results were worked out again, and what is missing or another now.

    Of all results that designs, evaluations and confirmations need some are worked out again; what
    the study says of evaluations and confirmations is counted again from all of them. Raises
    FlexhycaError where the network or the images are not those of the study.
    """
    search, space, seed_of = search_of(request), space_of(request), request.options.seed
    with (
        Study(path, None) as kept,
        working(given, space.base, request.ber, seed_of, Kept(), {}, {}) as results,
    ):
        kept.require(results.study.identity)
        evaluations(kept)  # whose events are then those of a search
        jobs = list(_jobs(kept, space, results))
        missing = sum(kept.find(*results.key(job)) is None for job in jobs)
        if missing:
            return 0, [f"{missing} of {len(jobs)} results are missing"]
        chosen = np.random.default_rng(seed).permutation(len(jobs))[:count]
        wrong = [
            f"{jobs[i].stage} {dict(jobs[i].arguments)} of {jobs[i].config.config_hash[:12]}"
            for i in chosen.tolist()
            if results.all([jobs[i]])[0] != kept.find(*results.key(jobs[i]))
        ]
        results.study.take_from(path)
        designs = work_out_designs(space, search.limits, results)
        for name in kept.problems():
            results.study.log(name, 0, kept.events(name))
            wrong += recount(name, designs, results, request.options)
    return len(chosen), wrong


def _jobs(kept: Study, space: Space, results: Results) -> Iterator[StageJob]:
    """The jobs whose results a study has."""
    base = with_scheme(space.base, "base")
    results.all([StageJob("network", base)])
    if kept.problems():  # which begin when all of this is there
        points, part = space.points(), stage_part(space, "network")
        networks = stage_jobs(space, points, "network")
        yield from networks.values()
        failed = {
            own for own, job in networks.items() if "error" in (kept.find(*results.key(job)) or {})
        }
        built = [point for point in points if part(point.values) not in failed]
        yield from stage_jobs(space, built, "timing").values()
    for problem in kept.problems():
        goals: list[dict[str, float]] = []
        for event, content in kept.events(problem):
            if event == "began":
                goals = content["goals"]
            elif event == "seen":
                counts = list(zip(goals, content["patterns"], strict=False))
                yield from _blocks(content, "search", counts, space, results)
            elif event == "judged":
                counts = [(goal, content["patterns"]) for goal in goals]
                yield from _blocks(content, "confirm", counts, space, results)


def _blocks(
    content: Mapping[str, Any],
    purpose: PatternPurpose,
    counts: Iterable[tuple[Mapping[str, float], int]],
    space: Space,
    results: Results,
) -> Iterator[StageJob]:
    """Of a candidate. counts : goals and how many patterns each had."""
    config = space.config(tuple(content["values"]))
    results.all([StageJob("network", config)])
    for goal, patterns in counts:
        for first in range(0, patterns, BLOCK):
            yield accuracy_job(config, goal["ber"], purpose, first)
