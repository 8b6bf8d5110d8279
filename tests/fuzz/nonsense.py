"""Databases of ours whose checksums are right, and whose content no campaign or study writes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from typer.testing import CliRunner

from flexhyca.cli import app
from flexhyca.database import checksum
from flexhyca.dse.keys import ResultKey
from flexhyca.dse.study import Study, StudyEvent
from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.run import run_campaign
from flexhyca.tests.faults.campaign.experiments import Drawn
from flexhyca.tests.fuzz.attacks import Attack, tried

TRIALS = 60
VALUES: list[Any] = [
    *(None, [], {}, [None], "x", "", 0, -5, 1, 2**62, 2**70, 0.5, True, float("nan")),
    *(float("inf"), [1, 2, 3], ["x", None, None], [-5, None, None], [10**30, None, None]),
    *([60, 0.01, 90], [60, 2.0, None], [60, None, -1], {"spec": {}}, [[]] * 6, [0] * 6),
    *(["conv1", 1, "masked", float("inf"), 0, 0], ["conv1", 1, None, 0.5, None, None]),
    *(["conv1", 1, "masked", 0.5, 2**70, 1], ["conv1", 1, "masked", 0.5, 1, 2**62]),
    {"names": 3, "goals": [], "key": [], "values": None, "verdict": {}, "patterns": "x"},
]
TEXTS = (*map(json.dumps, VALUES), "", "{", "[" * 100_000)
NUMBERS = (-5, -1, 2**62, 2**63 - 1, TRIALS, 10**11)


@cache
def campaign(folder: Path) -> Path:
    """A small one."""
    path = folder / "whole.db"
    path.unlink(missing_ok=True)
    run_campaign(Drawn(), path, TRIALS)
    return path


@cache
def study(folder: Path) -> Path:
    """With a request, results and the events of a search."""
    path = folder / "whole_study.db"
    path.unlink(missing_ok=True)
    with Study(path, {"of": "tests"}, {"model": "digits"}) as own:
        own.add(ResultKey("timing", "0" * 24), {"cycles": 3})
        goals = [{"ber": 1e-3, "accuracy": 0.97}]
        seen = {
            "key": "a",
            "values": [32],
            "area_overhead": 0.1,
            "cycles_ratio": 1.0,
            "extra_traffic": 0.0,
            "accuracy": 0.9,
            "accuracy_error": 0.01,
            "ratio": 0.5,
            "error": 0.1,
            "patterns": [20],
            "limit": 1.0,
        }
        own.log("I", 0, [StudyEvent("began", {"names": ["dppu.size"], "goals": goals})])
        own.log("I", 1, [StudyEvent("seen", seen)])
        own.log("I", 2, [StudyEvent("judged", {"key": "a", "verdict": "met", "patterns": 20})])
    return path


def row(path: Path, number: int, text: str) -> None:
    """Put a trial there, with the checksum that it should have."""
    with closing(sqlite3.connect(path)) as db, db:
        crc = checksum(text, f"{number}:")
        db.execute("REPLACE INTO trials VALUES (?, ?, ?)", (number, text, crc))


def fact(path: Path, name: str, text: str) -> None:
    """Say another thing of the campaign."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("REPLACE INTO facts VALUES (?, ?, ?)", (name, text, checksum(text, name)))


def changed_description(path: Path, name: str, value: Any) -> None:
    """Another value of one of its fields."""
    with closing(sqlite3.connect(path)) as db:
        ((text,),) = db.execute("SELECT value FROM facts WHERE name = 'campaign'").fetchall()
    fact(path, "campaign", json.dumps({**json.loads(text), name: value}))


def event(path: Path, number: int, text: str) -> None:
    """Another event of the search, of the kind that stands there."""
    with closing(sqlite3.connect(path)) as db, db:
        ((kind,),) = db.execute("SELECT event FROM trials WHERE number = ?", (number,)).fetchall()
        crc = checksum(text, f"I {number} {kind}")
        db.execute("REPLACE INTO trials VALUES ('I', ?, ?, ?, ?)", (number, kind, text, crc))


def request(path: Path, text: str) -> None:
    """Another request."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE request SET content = ?, crc = ?", (text, checksum(text, "request")))


def judge(commands: list[list[str]], path: Path) -> None:
    """Each command ends well, or with one line about the file, which stays as it is."""
    before = path.read_bytes()
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert path.read_bytes() == before
        if result.exit_code == 0:
            assert "-" not in [word for word in result.output.split() if word == "-5"]
            continue
        assert isinstance(result.exception, FlexhycaError), (command, result.exception)
        line = str(result.exception)
        assert line.startswith(f"{path}: "), line
        assert "\n" not in line
        assert len(line) < 600, line


def judge_campaign(path: Path) -> None:
    """`show`, `export` and `repair`."""
    saved = path.with_name("saved.db")
    saved.unlink(missing_ok=True)
    judge(
        [
            ["campaign", "show", str(path)],
            ["campaign", "show", str(path), "--masking"],
            ["campaign", "export", str(path), "--csv", str(path.with_name("t.csv"))],
            ["campaign", "repair", str(path), "--out", str(saved)],
        ],
        path,
    )
    if saved.exists():  # what was saved is a campaign
        result = CliRunner().invoke(app, ["campaign", "show", str(saved)])
        assert result.exit_code == 0, result.exception


def judge_study(path: Path) -> None:
    """What reads a study without its model."""
    judge(
        [
            ["study", "show", str(path)],
            ["study", "export", str(path), str(path.with_name("t.csv"))],
            ["study", "verify", str(path)],
        ],
        path,
    )


TEXT = st.integers(0, len(TEXTS) - 1).map(TEXTS.__getitem__)  # whose repr is short
CAMPAIGNS: st.SearchStrategy[Callable[[Path], None]] = st.one_of(
    st.tuples(st.integers(0, TRIALS - 1) | st.sampled_from(NUMBERS), TEXT).map(
        lambda case: lambda path: row(path, *case)
    ),
    st.tuples(st.sampled_from(("goal", "campaign", "format")), TEXT).map(
        lambda case: lambda path: fact(path, *case)
    ),
    st.tuples(
        st.sampled_from(
            ("kind", "code", "spec", "columns", "quantities", "together", "names", "locations")
        ),
        st.sampled_from(VALUES),
    ).map(lambda case: lambda path: changed_description(path, *case)),
)
STUDIES: st.SearchStrategy[Callable[[Path], None]] = st.one_of(
    st.tuples(st.integers(0, 2), TEXT).map(lambda case: lambda path: event(path, *case)),
    TEXT.map(lambda text: lambda path: request(path, text)),
)


def _changed(
    whole: Path,
    changes: st.SearchStrategy[Callable[[Path], None]],
    judge: Callable[[Path], None],
    cases: int,
) -> int:
    def check(change: Callable[[Path], None]) -> None:
        path = Path(shutil.copy(whole, whole.with_name("changed.db")))
        change(path)
        judge(path)

    return tried(changes, check, cases)


def campaigns(folder: Path, cases: int) -> int:
    """Rows and facts of campaigns."""
    return _changed(campaign(folder), CAMPAIGNS, judge_campaign, cases)


def studies(folder: Path, cases: int) -> int:
    """Events and requests of studies."""
    return _changed(study(folder), STUDIES, judge_study, cases)


ATTACKS = (
    Attack("campaigns with right checksums and wrong content", campaigns, 60, 2_000),
    Attack("studies with right checksums and wrong content", studies, 40, 1_000),
)
