"""A study: what was done is found again, and nothing foreign is mixed in."""

import sqlite3
from pathlib import Path

import pytest

from flexhyca.dse.keys import ResultKey
from flexhyca.dse.study import Study, StudyEvent
from flexhyca.errors import FlexhycaError

IDENTITY = {"model": "a", "weights": "none"}


def test_results_are_kept(tmp_path: Path) -> None:
    key, ranking = ResultKey("timing", "abc"), ResultKey("ranking", "abc")
    cost = {"cycles": 5, "utilization": 1 / 3, "dram": {"weight": 1 << 40}}
    with Study(tmp_path / "s.db", IDENTITY, {"data": "here"}) as study:
        assert study.find(key) is None
        study.add(key, cost)
        study.add(key, {"cycles": 6})  # append-only: the first stays
        study.add(key, {"cycles": 7}, 1)
        study.add_bytes(ranking, b"\0\1")
    with Study(tmp_path / "s.db", IDENTITY) as study:
        assert study.find(key) == cost
        assert study.find(key, 1) == {"cycles": 7}
        assert study.find(ResultKey("timing", "abd")) is None
        assert study.find_bytes(ranking) == b"\0\1"
        assert study.find_bytes(key._replace(digest="")) is None
        assert study.request == {"data": "here"}
    with Study(None, IDENTITY) as later:
        assert later.take_from(tmp_path / "s.db") == 3
        assert later.find(key) == cost


def test_events_are_kept_in_order(tmp_path: Path) -> None:
    first, second = StudyEvent("asked", {"values": [1, 0.5]}), StudyEvent("pruned", {"by": 3})
    with Study(tmp_path / "s.db", IDENTITY) as study:
        study.log("I", 0, [first])
        study.log("I", 1, [second])
        with pytest.raises(FlexhycaError, match="cannot be written"):
            study.log("I", 1, [first])
    with Study(tmp_path / "s.db", None) as study:
        assert study.events("I") == [first, second]
        assert study.events("II") == []
        assert study.problems() == ["I"]
        assert study.identity == IDENTITY
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("DELETE FROM trials WHERE number = 0")
    with (
        Study(tmp_path / "s.db", None) as study,
        pytest.raises(FlexhycaError, match="events are missing"),
    ):
        study.events("I")


def test_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Study(path, IDENTITY).close()
    with pytest.raises(FlexhycaError) as caught:
        Study(path, {"model": "b", "batch": "1"})
    assert str(caught.value) == (
        f"{path}: belongs to another study (model: a there, b here; batch: nothing there, 1 here; "
        "weights: none there, nothing here); delete it, or give another --study"
    )


def test_other_files_are_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("cycles\n" * 1000)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE runs (cost TEXT)")
    for path, why in (
        (text, "file is not a database"),
        (other, "a database of another program"),
    ):
        before = path.read_bytes()
        with pytest.raises(FlexhycaError) as caught:
            Study(path, IDENTITY)
        assert str(caught.value) == (f"{path}: is not a study ({why}); give another --study")
        assert path.read_bytes() == before
