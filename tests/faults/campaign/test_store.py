"""A campaign's file: the same trials come back, another campaign and damage are refused."""

import json
import math
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.parquet import read_table
from typer.testing import CliRunner

from flexhyca.cli import app
from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.faults.campaign.experiment import checked_rows, description
from flexhyca.faults.campaign.export import write_csv, write_parquet
from flexhyca.faults.campaign.lock import alone, check_free
from flexhyca.faults.campaign.store import Campaign
from flexhyca.faults.campaign.stored import CampaignGoal
from flexhyca.tests.faults.campaign.experiments import Drawn, Wrong
from flexhyca.tests.fuzz.damage import damaged, one_line

EXPERIMENT = Drawn()


def filled(path: Path, numbers: Any, goal: CampaignGoal) -> None:
    with Campaign(path, description(EXPERIMENT)) as campaign:
        campaign.set_goal(goal)
        campaign.add(
            checked_rows(EXPERIMENT.columns, EXPERIMENT.run(numbers), numbers, "Drawn"),
        )


def test_trials_come_back_in_order_up_to_the_first_gap(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    filled(path, [7, 6, 0, 1, 2], CampaignGoal(10))
    filled(path, [1, 4], CampaignGoal(10))
    with Campaign(path) as campaign:
        assert [row["index"] for row in campaign.all_rows()] == [0, 1, 2, 4, 6, 7]
        assert [row["index"] for row in campaign.all_rows(3)] == [4, 6, 7]
        rows = list(campaign.prefix())
        assert [str(row) for row in rows] == [str(row) for row in EXPERIMENT.run(range(3))]
        assert campaign.missing(10) == [(3, 4), (5, 6), (8, 10)]
        assert campaign.missing(2) == []
        assert (campaign.count(), campaign.goal.end) == (6, 10)
        assert campaign.tally().trials == 3
        assert campaign.spec == EXPERIMENT.spec()
    filled(path, [3, 5], CampaignGoal(10, 0.1, 5))
    with Campaign(path) as campaign:
        assert len(list(campaign.prefix())) == campaign.goal.end == 5


def test_long_campaigns_are_read_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexhyca.faults.campaign.store._SLICE", 4)
    for count in (3, 4, 8, 9):
        path = tmp_path / f"{count}.db"
        filled(path, range(count), CampaignGoal(count))
        with Campaign(path) as campaign:
            assert [row["index"] for row in campaign.prefix()] == list(range(count))


def test_another_campaign_is_refused_field_by_field(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    Campaign(path, description(Drawn(folder="a"))).close()
    Campaign(path, description(Drawn(folder="b"))).close()
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path, description(Drawn(seed=2, rate=0.5, folder="b")))
    assert str(caught.value) == (
        f"{path}: holds another campaign; give another file\n"
        "  seed: 1 there, 2 here\n"
        "  model.rate: 0.2 there, 0.5 here"
    )
    other = description(Drawn(folder="a"))
    del other["spec"]["model"]
    other["columns"]["image"] = "int"
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path, other)
    assert str(caught.value).splitlines()[1:] == [
        "  columns.image: nothing there, int here",
        "  model.rate: 0.2 there, nothing here",
    ]
    many = description(Drawn(folder="a"))
    many["spec"] |= {f"more{i}": i for i in range(9)}
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path, many)
    lines = str(caught.value).splitlines()
    assert (lines[6], lines[7:]) == ("  more5: nothing there, 5 here", ["  ... and 3 more fields"])


def test_a_campaign_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    Campaign(path, description(EXPERIMENT)).close()
    other = description(Drawn(seed=2)) | {"code": "abc"}
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path, other)
    assert str(caught.value) == (
        f"{path}: was made by another version of flexhyca (e3b0c44298fc, here abc), whose trials "
        "may differ; give another file, or go on with that version"
    )


def test_files_that_are_no_campaign(tmp_path: Path) -> None:
    text, other, empty = tmp_path / "text", tmp_path / "other.db", tmp_path / "empty"
    text.write_text("index,outcome\n" * 1000)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE trials (cost TEXT)")
    empty.touch()
    for path, why in (
        (text, "file is not a database"),
        (other, "a database of another program"),
    ):
        before = path.read_bytes()
        for described in (None, description(EXPERIMENT)):
            with pytest.raises(FlexhycaError) as caught:
                Campaign(path, described)
            assert str(caught.value) == (
                f"{path}: is not a campaign of flexhyca ({why}); give another file"
            )
        assert path.read_bytes() == before
    for path, error in (
        (empty, "is not a campaign of flexhyca (empty); give another file"),
        (tmp_path / "none", "there is no such file"),
    ):
        with pytest.raises(FlexhycaError) as caught:
            Campaign(path)
        assert str(caught.value) == f"{path}: {error}"
    with pytest.raises(FlexhycaError) as caught:
        Campaign(tmp_path, description(EXPERIMENT))
    assert str(caught.value) == f"{tmp_path}: is a folder"


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE trials SET content = replace(content, 'conv1', 'conv9')", "a wrong checksum"),
        ("UPDATE trials SET number = number + 3 WHERE number = 2", "a wrong checksum"),
        ("UPDATE trials SET content = x'00'", "a wrong checksum"),
        ("UPDATE facts SET value = '[9,null,null]' WHERE name = 'goal'", "a wrong checksum"),
        ("DELETE FROM facts WHERE name = 'campaign'", "no campaign"),
        ("DROP TABLE trials", "no such table: trials"),
    ],
)
def test_damage_is_not_believed(tmp_path: Path, statement: str, why: str) -> None:
    path = tmp_path / "c.db"
    filled(path, range(3), CampaignGoal(3))
    with sqlite3.connect(path) as db:
        db.execute(statement)
    with pytest.raises(FlexhycaError) as caught, Campaign(path) as campaign:
        list(campaign.all_rows())
    advice = "`flexhyca campaign repair` saves what is whole; or delete it, or give another file"
    assert str(caught.value) == f"{path}: is damaged ({why}); {advice}"


def test_a_later_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.db"
    monkeypatch.setattr("flexhyca.faults.campaign.store._FORMAT", 2)
    Campaign(path, description(EXPERIMENT)).close()
    monkeypatch.undo()
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path)
    assert str(caught.value) == (
        f"{path}: has format 2, this version of flexhyca knows 1; "
        "use the version that wrote it, or give another file"
    )


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that another user can enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_file_that_may_only_be_read(readable: Path) -> None:
    path = readable / "c.db"
    filled(path, range(3), CampaignGoal(3))
    path.chmod(0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may write everything
    try:
        with Campaign(path) as campaign:
            assert campaign.count() == 3
        with (
            Campaign(path, description(EXPERIMENT)) as campaign,
            pytest.raises(FlexhycaError) as caught,
        ):
            campaign.set_goal(CampaignGoal(4))
        assert str(caught.value) == (
            f"{path}: cannot be written: attempt to write a readonly database"
        )
        if user == 0:
            with pytest.raises(FlexhycaError) as caught, alone(path):
                pass
            assert str(caught.value) == f"{path}: cannot be written: Permission denied"
    finally:
        os.seteuid(user)


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    filled(path, range(3), CampaignGoal(9))
    with Campaign(path, description(EXPERIMENT)) as campaign:
        campaign._file._db.execute("PRAGMA max_page_count = 1")  # SQLite's own full disk
        rows = checked_rows(EXPERIMENT.columns, EXPERIMENT.run(range(3, 900)), range(3, 900), "")
        with pytest.raises(FlexhycaError) as caught:
            campaign.add(rows)
        assert str(caught.value) == f"{path}: cannot be written: database or disk is full"
        assert campaign.count() == 3


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    lock = tmp_path / "c.db.lock"
    with alone(path), pytest.raises(FlexhycaError) as caught, alone(path):
        pass
    assert str(caught.value) == (
        f"{path}: process {os.getpid()} is writing it; wait until it has ended, or end it"
    )
    assert not lock.exists()
    lock.write_text("12345")  # left over by one that was killed
    with alone(path):
        assert lock.read_text() == str(os.getpid())
    assert not lock.exists()


def test_tables(tmp_path: Path) -> None:
    path, table, parquet = tmp_path / "c.db", tmp_path / "t.csv", tmp_path / "t.parquet"
    filled(path, range(400), CampaignGoal(400))
    with Campaign(path) as campaign:
        assert write_csv(campaign, table) == write_parquet(campaign, parquet) == 400
    wanted = EXPERIMENT.run(range(400))
    lines = table.read_bytes().split(b"\n")
    assert lines[0] == b"index,layer,bit,outcome,deviation,images,correct"
    crash = next(row for row in wanted if row["outcome"] == "crash")
    assert lines[crash["index"] + 1].endswith(b",crash,nan,20,")  # NaN and nothing are two things
    read = read_table(parquet).to_pylist()
    for row, expected in zip(read, wanted, strict=True):
        for name, value in expected.items():
            if value is None:
                assert row[name] is None
            elif isinstance(value, float) and math.isnan(value):
                assert math.isnan(row[name])
            else:
                assert (row[name], type(row[name])) == (value, type(value))


def test_rows_that_break_the_contract_are_bugs(tmp_path: Path) -> None:
    for how, error in (
        ("type", "Wrong: bit = 1.5 is no int"),
        ("column", "Wrong: trial 5 has a wrong column time"),
        ("", "Wrong: rows of other trials than [5, 6]... were given"),
    ):
        experiment = Wrong(folder=how)
        with pytest.raises(InternalError) as caught:
            checked_rows(experiment.columns, experiment.run([5, 6]), [5, 6], "Wrong")
        assert str(caught.value) == error
    for value in (True, 2**63, "1"):
        with pytest.raises(InternalError):
            checked_rows({"bit": "int"}, [{"index": 0, "bit": value}], [0], "x")
    (row,) = checked_rows({"b": "float"}, [{"index": 0, "b": 1}], [0], "x")
    assert json.dumps(row) == "[0, [1.0]]"
    with pytest.raises(InternalError, match="Drawn: its spec has no seed"):
        description(Drawn(seed=-1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "c.db"
    filled(path, range(60), CampaignGoal(60))
    return path.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_whatever_happens_to_the_bytes(data: st.DataObject, whole: bytes) -> None:
    """The rows that were written, fewer of them, or an error of one line."""
    content = data.draw(damaged(whole))
    rows = [str(row) for row in EXPERIMENT.run(range(60))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.db"
        for described in (None, description(EXPERIMENT)):
            path.write_bytes(content)
            try:
                with Campaign(path, described) as campaign:
                    found = [str(row) for row in campaign.all_rows()]
                    campaign.missing(60)
                    campaign.tally()
            except FlexhycaError as error:
                one_line(error)
            else:
                assert set(found) <= set(rows)


@pytest.mark.parametrize(
    "command",
    [
        "inject digits --faults register --trials 20 --out c.db",
        "inject digits --faults ber --trials 20 --out c.db",
        "optimise digits --study c.db",
        "bits digits --study c.db",
        "compare digits --study c.db",
    ],
)
def test_a_command_says_at_once_that_its_file_is_in_use(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is loaded, which takes half a minute on a busy machine."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flexhyca.api.load_model", load)
    check_free(tmp_path / "c.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link.db").symlink_to("c.db")
    for words in (command.split(), command.replace("c.db", "link.db").split()):
        with alone(tmp_path / "c.db"):
            result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, FlexhycaError), result.exception
        assert str(result.exception) == (
            f"{words[-1]}: process {os.getpid()} is writing it; wait until it has ended, or end it"
        )
