"""The search: what it finds is what trying everything finds, however often it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flexhyca.config import load_config
from flexhyca.dse.evaluate import BLOCK, StageJob
from flexhyca.dse.history import differing_results
from flexhyca.dse.labelled import Kept, working
from flexhyca.dse.request import SearchRequest
from flexhyca.dse.study import Study, StudyEvent
from flexhyca.errors import ConfigError, FlexhycaError
from flexhyca.report.search import report, winner_yaml
from flexhyca.tests.dse import search_runs
from flexhyca.tests.support import kill_a_worker


def content(path: Path) -> list[tuple[Any, ...]]:
    """All that a study holds, in the order of its keys; not how it was asked for."""
    with sqlite3.connect(path) as db:
        tables = ("identity", "results", "trials")
        return [row for table in tables for row in db.execute(f"SELECT * FROM {table}")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "s.db"
    search_runs.found(path.parent, study=path)
    return path


@pytest.mark.parametrize("optimiser", ["walk", "gpyopt"])
def test_the_cheapest_is_found(optimiser: str, undisturbed: Path, tmp_path: Path) -> None:
    asked = search_runs.request(tmp_path, optimiser=optimiser)
    every = replace(asked, options=replace(asked.options, optimiser="grid", prune=False, budget=99))
    whole = search_runs.found(tmp_path, every, reuse=(undisturbed,)).outcomes[0]
    assert len(whole.searched) + len(whole.out) == len(whole.chosen) == 15
    feasible = [own.design for own in whole.searched if own.observation.ratio <= 1]
    best = min(feasible, key=lambda design: design.area)
    outcome = search_runs.found(tmp_path, asked, reuse=(undisturbed,)).outcomes[0]
    found = [own.design for own in outcome.searched if own.observation.ratio <= 1]
    assert min(found, key=lambda design: design.area).key == best.key
    assert len(outcome.searched) < len(whole.searched)
    for number, why in outcome.out.items():
        if why.startswith("pruned"):
            own = next(e for e in whole.searched if e.design.key == whole.chosen[number].key)
            assert own.observation.ratio > outcome.limit


def test_what_it_gives(undisturbed: Path, tmp_path: Path) -> None:
    found = search_runs.found(tmp_path, reuse=(undisturbed,))
    result = json.loads(json.dumps(report(found)))
    best = result["best"]
    assert found.computed == 0
    assert best["confirmed"]
    assert best["interval"][0] <= best["accuracy"] <= best["interval"][1]
    assert best["interval"][0] >= 0.95
    assert {row["problem"] for row in result["evaluations"]} == {"II' (0.95 acc0 at 0.0034)"}
    (winner,) = (row for row in result["evaluations"] if row["winner"])
    assert winner["parameters"] == best["parameters"]
    judged = {row["area_overhead"]: row["verdict"] for row in result["evaluations"]}
    (problem,) = result["problems"]
    assert {one["area_overhead"]: one["verdict"] for one in problem["confirmations"]} == {
        area: verdict for area, verdict in judged.items() if verdict
    }
    assert all(judged[area] is None for area in problem["passed over"])
    path = tmp_path / "best.yaml"
    path.write_text(winner_yaml(found, "flexhyca optimise digits"))
    config = load_config(path)
    design = found.best.winner
    assert design is not None
    assert config.config_hash == design.point.config.config_hash
    assert f"confirmed on {len(found.workload.images['confirm'])} images" in path.read_text()


def test_confirmation_has_patterns_and_images_of_its_own(undisturbed: Path) -> None:
    data = search_runs.exploration.labelled_images("digits")
    asked = search_runs.request(undisturbed.parent)
    with working(data, load_config(), asked.ber, 0, Kept(), {}, {}) as results:
        pixels = {
            name: {image.tobytes() for image in part.images}
            for name, part in results.workload.images.items()
        }
        pixels["calibration"] = {i.tobytes() for i in results.workload.calibration.images}
        assert len(pixels["search"] | pixels["confirm"] | pixels["calibration"]) == 120 + 240 + 256
        results.all([StageJob("network", results._base), StageJob("network", load_config())])
        own = {"ber": 3e-3, "first": 0, "count": BLOCK}
        blocks = [
            results.block(purpose, results.all([StageJob("accuracy", load_config(), job)])[0])
            for purpose in ("search", "confirm")
            if (job := {**own, "purpose": purpose})
        ]
    assert not np.array_equal(blocks[0].right, blocks[1].right)
    for block in blocks:
        assert all(len(set(row)) == 50 for row in block.images.tolist())


def started(path: Path, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flexhyca.tests.dse.search_runs", str(path), str(workers)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def results_in(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def killed_at(path: Path, moments: list[int], workers: int) -> int:
    """Start, kill -9 when so many results are there, and again; how often it was still running."""
    kills = 0
    for moment in moments:
        process = started(path, workers)
        while process.poll() is None and results_in(path) < moment:
            time.sleep(0.005)
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    process = started(path, workers)
    assert process.wait() == 0, process.stderr and process.stderr.read()
    return kills


def test_a_search_goes_on_from_any_event(undisturbed: Path, tmp_path: Path) -> None:
    """Also from between a confirmation and what is concluded from it."""
    with Study(undisturbed, None) as study:
        (name,) = study.problems()
        kinds = [event.event for event in study.events(name)]
    ends = [i + 1 for i, kind in enumerate(kinds) if kind in ("judged", "tightened")]
    assert len(ends) >= 3
    for end in (1, *ends, len(kinds)):
        path = tmp_path / f"{end}.db"
        shutil.copy(undisturbed, path)
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM trials WHERE number >= ?", (end,))
        assert search_runs.found(tmp_path, study=path).computed == 0
        assert content(path) == content(undisturbed)


def test_a_larger_budget_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    small = search_runs.request(tmp_path, budget=2)
    first = search_runs.found(tmp_path, small, study=tmp_path / "s.db", reuse=(undisturbed,)).best
    assert first.cut > 0
    assert first.winner is None
    whole = search_runs.found(tmp_path, study=tmp_path / "s.db").best
    assert whole.cut == 0
    assert whole.winner is not None


def test_what_a_study_says_is_counted_again(undisturbed: Path, tmp_path: Path) -> None:
    """A changed evaluation or verdict is noticed, even one whose checksum fits."""
    path, given = tmp_path / "s.db", search_runs.exploration.labelled_images("digits")
    asked = search_runs.request(tmp_path)
    with Study(undisturbed, None) as study:
        (name,) = study.problems()
        events, identity = study.events(name), study.identity
    for kind, field, what in (
        ("seen", "ratio", "evaluation of"),
        ("judged", "patterns", "verdict on"),
    ):
        number = max(i for i, event in enumerate(events) if event.event == kind)
        content = events[number].content
        changed = {**content, field: content[field] / 2 if kind == "seen" else 60}
        path.unlink(missing_ok=True)
        with Study(path, identity, asked.to_dict()) as other:
            other.take_from(undisturbed)
            own = [*events[:number], StudyEvent(kind, changed), *events[number + 1 :]]
            other.log(name, 0, own)
        _, wrong = differing_results(path, asked, given, 1, 0)
        assert [text.partition(what)[0] for text in wrong] == [f"{name}: "]


def test_an_unfinished_study_is_no_wrong_one(undisturbed: Path, tmp_path: Path) -> None:
    """Wherever it was killed; and results that are missing are."""
    given, asked = search_runs.exploration.labelled_images("digits"), search_runs.request(tmp_path)
    path = tmp_path / "s.db"
    shutil.copy(undisturbed, path)
    with sqlite3.connect(path) as db:
        (count,) = db.execute("SELECT count(*) FROM trials").fetchone()
    for number in (count - 1, count // 2, 2):
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM trials WHERE number >= ?", (number,))
        assert differing_results(path, asked, given, 1, 0) == (1, [])
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM results WHERE stage = 'timing'")
    checked, (wrong,) = differing_results(path, asked, given, 1, 0)
    assert checked == 0
    assert wrong.endswith("results are missing")


@pytest.mark.slow
def test_a_killed_search_ends_as_an_undisturbed_one(undisturbed: Path, tmp_path: Path) -> None:
    total = results_in(undisturbed)
    moments = [int(share * total) for share in (0.1, 0.3, 0.5, 0.65, 0.8, 0.95)]
    assert killed_at(tmp_path / "s.db", moments, 1) >= 5
    assert content(tmp_path / "s.db") == content(undisturbed)


@pytest.mark.slow
def test_workers_lose_and_double_nothing(undisturbed: Path, tmp_path: Path) -> None:
    total = results_in(undisturbed)
    assert killed_at(tmp_path / "s.db", [total // 4, total // 2, 3 * total // 4], 3) >= 2
    nothing_lost_or_doubled(tmp_path / "s.db", undisturbed)


@pytest.mark.slow
def test_a_worker_of_a_cluster_is_killed(cluster: Any, undisturbed: Path, tmp_path: Path) -> None:
    path, total, killed = tmp_path / "s.db", results_in(undisturbed), list[int]()

    def half_way() -> None:
        while results_in(path) < total // 2:
            time.sleep(0.005)
        killed.append(kill_a_worker(cluster))

    waiting = threading.Thread(target=half_way)
    waiting.start()
    search_runs.found(tmp_path, study=path, dask=cluster.scheduler_address)
    waiting.join()
    assert killed
    nothing_lost_or_doubled(path, undisturbed)


def nothing_lost_or_doubled(path: Path, undisturbed: Path) -> None:
    with Study(path, None) as study, Study(undisturbed, None) as alone:
        (name,) = study.problems()
        events = study.events(name)
        asked = [event.content["key"] for event in events if event.event == "asked"]
        seen = [seen_as(event) for event in events if event.event == "seen"]
        assert len(set(asked)) == len(asked)
        assert len(set(seen)) == len(seen)
        assert {key for key, _ in seen} == set(asked)
        # Which answers come first decides which limits a candidate is looked at with.
        own = {seen_as(event): event.content for event in events if event.event == "seen"}
        same = [e for e in alone.events(name) if e.event == "seen" and seen_as(e) in own]
        assert same
        for event in same:
            assert own[seen_as(event)] == event.content


def seen_as(event: Any) -> tuple[str, float]:
    """The candidate that was seen, and the part of its allowed loss that it was looked at with."""
    return event.content["key"], event.content["limit"]


def test_another_space_is_refused_with_what_differs(undisturbed: Path, tmp_path: Path) -> None:
    asked = search_runs.request(tmp_path)
    path = Path(asked.space)
    path.write_text(path.read_text().replace("[8, 9, 11]", "[8, 9]"))
    before = undisturbed.read_bytes()
    with pytest.raises(FlexhycaError) as caught:
        search_runs.found(tmp_path, asked, study=undisturbed)
    assert str(caught.value) == (
        f"{undisturbed}: belongs to another study (parameters.protection.q_scale: 8 9 11 there, "
        "8 9 here); delete it, or give another --study"
    )
    assert undisturbed.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenario": "III"}, "scenario 'III': there is none; use I, II, I', II', both, own"),
        ({"bers": (2.0,)}, "ber 2: give a number above 0 and up to 0.5"),
        ({"bers": (1e-3,), "goals": (1.2,)}, "goal 1.2: give a number above 0 and up to 1"),
        ({"bers": (1e-3,), "goals": (0.9, 0.8)}, "goal: 2 goals for 1 rates"),
        ({"rates": (float("nan"), 1.0)}, "own-rates nan,1: give two above 0 and up to 0.5"),
        ({"rates": (2e-3, 1e-3)}, "own-rates 0.002,0.001: give two above 0"),
        ({"limits": {"bandwidth": "foo"}}, "limit bandwidth = 'foo': input should be 'weights'"),
        ({"limits": {"traffic": float("inf")}}, "limit traffic = inf: input should be a finite"),
        ({"limits": {"cycle": 1}}, "limit 'cycle': there is none; use cycles, traffic"),
        (
            {"limits": {"traffic": -9.0}},
            "no design of the space keeps to the limits: cycles <= 1.1 is kept by",
        ),
        (
            {"bers": (1e-3,), "goals": (1.0,), "changes": ("protection.q_scale=11",)},
            "goal 1 of given (1 acc0 at 0.001) is impossible",
        ),
    ],
)
def test_what_is_impossible(
    change: dict[str, Any], message: str, undisturbed: Path, tmp_path: Path
) -> None:
    asked: SearchRequest = replace(search_runs.request(tmp_path), **change)
    if "changes" in change:
        path = Path(asked.space)
        path.write_text("parameters:\n  protection.nb_th: [1, 2]\nlimits: {traffic: 1}\n")
    with pytest.raises((ConfigError, FlexhycaError)) as caught:
        search_runs.found(tmp_path, asked, reuse=(undisturbed,))
    assert str(caught.value).startswith(message)
    if message.startswith("no design"):
        assert "traffic <= -9 is kept by 0 of" in str(caught.value)
        assert "the least is 0 (9 too much) at s_th=0" in str(caught.value)
