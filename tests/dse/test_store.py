"""A study: what was done is found again, and nothing foreign is mixed in."""

import sqlite3
from pathlib import Path

import pytest

from flexhyca.dse.store import PointKey, Study
from flexhyca.errors import FlexhycaError

IDENTITY = {"model": "a", "weights": "none"}


def test_runs_and_rankings_are_kept(tmp_path: Path) -> None:
    key = PointKey("random", 3, "abc")
    cost = {"cycles": 5, "utilization": 1 / 3, "dram": {"weight": 1 << 40}}
    with Study(tmp_path / "s.db", IDENTITY) as study:
        assert study.find(key) is None
        study.add(key, cost)
        study.add(key, {"cycles": 6})  # append-only: the first stays
        study.add_ranking("r", b"\0\1")
    with Study(tmp_path / "s.db", IDENTITY) as study:
        assert study.find(key) == cost
        assert study.find(PointKey("random", 4, "abc")) is None
        assert study.ranking("r") == b"\0\1"
        assert study.ranking("s") is None


def test_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Study(path, IDENTITY).close()
    with pytest.raises(FlexhycaError) as caught:
        Study(path, {"model": "b", "batch": "1"})
    assert str(caught.value) == (
        f"{path}: belongs to another study (model: a there, b here; batch: nothing there, 1 here; "
        "weights: none there, nothing here); delete it, or give another --csv or --study"
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
        assert str(caught.value) == (
            f"{path}: is not a study of `flexhyca sweep` ({why}); delete it, or give another "
            "--csv or --study"
        )
        assert path.read_bytes() == before
