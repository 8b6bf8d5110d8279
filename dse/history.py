"""What a study of a search holds, read from its file alone: tables, Optuna, and a check."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..config.schemes import with_scheme
from .evaluate import BLOCK, StageJob, accuracy_job
from .labelled import Kept, LabelledModel, working
from .request import SearchRequest, space_of
from .results import Results
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
    """A row an evaluation, in the order in which they were done; of several the last."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for problem in study.problems():
        names: list[str] = []
        for number, (event, content) in enumerate(study.events(problem)):
            if event == "began":
                names = content["names"]
            if event != "seen":
                continue
            values = dict(zip(names, content["values"], strict=True))
            found[problem, content["key"]] = {
                "problem": problem,
                "event": number,
                **values,
                **{name: content[name] for name in _SHOWN},
                "ratio": content["ratio"],
                "error": content["error"],
                "patterns": " ".join(map(str, content["patterns"])),
                "design": " ".join(f"{k.partition('.')[2]}={v}" for k, v in values.items()),
            }
    return list(found.values())


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
        names = [name for name in own[0] if "." in name] if own else []
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
                    user_attrs={name: row[name] for name in (*_SHOWN, "ratio", "error")},
                    system_attrs={"constraints": [row["ratio"] - 1]},
                )
            )
    storage.engine.dispose()


def differing_results(
    path: Path, request: SearchRequest, given: LabelledModel, count: int, seed: int
) -> tuple[int, list[str]]:
    """How many results were worked out again, and which are others now.

    Raises FlexhycaError where the network or the images are not those of the study.
    """
    space, seed_of = space_of(request), request.options.seed
    with (
        Study(path, None) as kept,
        working(given, space.base, request.ber, seed_of, Kept(), {}, {}) as results,
    ):
        kept.require(results.study.identity)
        jobs = list(_jobs(kept, space, results))
        chosen = np.random.default_rng(seed).permutation(len(jobs))[:count]
        wrong = [
            f"{jobs[i].stage} {dict(jobs[i].arguments)} of {jobs[i].config.config_hash[:12]}"
            for i in chosen.tolist()
            if results.all([jobs[i]])[0] != kept.find(*results.key(jobs[i]))
        ]
    return len(chosen), wrong


def _jobs(kept: Study, space: Space, results: Results) -> Iterator[StageJob]:
    """The jobs whose results the evaluations of a study need."""
    base = with_scheme(space.base, "base")
    results.all([StageJob("network", base)])
    for problem in kept.problems():
        goals: list[dict[str, float]] = []
        for event, content in kept.events(problem):
            if event == "began":
                goals = content["goals"]
            if event != "seen":
                continue
            config = space.config(tuple(content["values"]))
            results.all([StageJob("network", config)])
            yield StageJob("network", config)
            yield StageJob("timing", config)
            for goal, patterns in zip(goals, content["patterns"], strict=False):
                for first in range(0, patterns, BLOCK):
                    yield accuracy_job(config, goal["ber"], "search", first)
