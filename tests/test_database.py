"""Damage that checksums of rows cannot see: rows out of order in SQLite's own tree."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flexhyca.database import Database, is_database
from flexhyca.dse.keys import ResultKey
from flexhyca.dse.study import Study
from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.run import run_campaign
from flexhyca.faults.campaign.store import Campaign, repair
from flexhyca.tests.faults.campaign.experiments import Drawn
from flexhyca.tests.fuzz import nonsense

_LEAVES = (0x0D, 0x0A)  # of tables, and of indexes and tables without a rowid


def leaves(content: bytes) -> Iterator[tuple[int, int]]:
    """(offset of the cell pointers, how many) of each leaf page with several rows."""
    (size,) = struct.unpack_from(">H", content, 16)
    size = 65536 if size == 1 else size
    for start in range(0, len(content), size):
        head = start + (100 if start == 0 else 0)
        (cells,) = struct.unpack_from(">H", content, head + 3)
        if content[head] in _LEAVES and cells > 1 and start:
            yield head + 8, cells


def swapped(content: bytes, seed: int) -> bytes:
    """The file with two rows of a page in each other's place."""
    rng = np.random.default_rng(seed)
    pages = list(leaves(content))
    place, cells = pages[rng.integers(len(pages))]
    i, j = sorted(rng.choice(cells, 2, replace=False).tolist())
    out = bytearray(content)
    a, b = place + 2 * i, place + 2 * j
    out[a : a + 2], out[b : b + 2] = content[b : b + 2], content[a : a + 2]
    return bytes(out)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("campaign") / "c.db"
    run_campaign(Drawn(), path, 3000)
    return path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "s.db"
    with Study(path, {"of": "tests"}) as own:
        for i in range(800):
            own.add(ResultKey("timing", f"{i:024x}"), {"cycles": i})
    return path


@pytest.mark.parametrize("seed", range(12))
def test_a_campaign_with_rows_out_of_order_is_refused_and_repaired(
    seed: int, campaign: Path, tmp_path: Path
) -> None:
    path, saved = tmp_path / "c.db", tmp_path / "saved.db"
    content = swapped(campaign.read_bytes(), seed)
    path.write_bytes(content)
    for attempt in (lambda: Campaign(path), lambda: run_campaign(Drawn(), path, 5000)):
        with pytest.raises(FlexhycaError, match=r"is damaged \(.*flexhyca campaign repair"):
            attempt()
    assert path.read_bytes() == content
    kept, wanted, _ = repair(path, saved)
    assert path.read_bytes() == content
    assert kept == wanted == 3000
    run_campaign(Drawn(), saved, 3000)
    with Campaign(saved) as own, Campaign(campaign) as whole:
        assert list(own.prefix()) == list(whole.prefix())


@pytest.mark.parametrize("seed", range(12))
def test_a_study_with_rows_out_of_order_is_refused(seed: int, study: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    content = swapped(study.read_bytes(), seed)
    path.write_bytes(content)
    with pytest.raises(FlexhycaError, match=r"is damaged \("):
        Study(path, {"of": "tests"})
    assert path.read_bytes() == content


def test_a_repair_loses_what_is_wrong_and_no_more(campaign: Path, tmp_path: Path) -> None:
    content = bytearray(campaign.read_bytes())
    place, _ = list(leaves(bytes(content)))[-1]
    end = place // 4096 * 4096 + 4096
    content[end - 40] ^= 0x10  # in the page's first row
    path = tmp_path / "c.db"
    path.write_bytes(content)
    kept, wanted, left_out = repair(path, tmp_path / "saved.db")
    assert left_out <= 1
    assert wanted - 2 <= kept < wanted
    found = run_campaign(Drawn(), tmp_path / "saved.db", 3000)
    assert found.computed == wanted - kept
    assert found.trials == 3000


def test_a_damaged_description_cannot_be_repaired(campaign: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    path.write_bytes(campaign.read_bytes().replace(b'"kind"', b'"kinb"', 1))
    with pytest.raises(FlexhycaError, match="is damaged"):
        repair(path, tmp_path / "saved.db")
    assert not (tmp_path / "saved.db").exists()


def test_structure_is_looked_at_only_where_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    Database(path, 7, "CREATE TABLE t (n INTEGER)", "a test", "delete it").close()
    assert is_database(path)
    Database(path, 7, None, "a test", "delete it").close()


NO_TRIALS = {
    -5: '["conv1",1,"masked",0.5,1,1]',
    2**62: '["conv1",1,"masked",0.5,1,1]',
    7: "null",
    8: "[]",
    9: "{}",
    10: "NaN",
    11: '["conv1","1","masked",0.5,1,1]',
    12: "[",
}


@pytest.mark.parametrize("number", NO_TRIALS)
def test_a_row_that_is_no_trial_is_refused_and_left_out(
    number: int, campaign: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(campaign, tmp_path / "c.db"))
    nonsense.row(path, number, NO_TRIALS[number])
    line = rf"c\.db: is damaged \(row {number} .*repair"
    with pytest.raises(FlexhycaError, match=line), Campaign(path) as own:
        own.tally()
    inside = 0 <= number < 3000
    assert repair(path, tmp_path / "saved.db") == (3000 - inside, 3000, 1)
    found = run_campaign(Drawn(), tmp_path / "saved.db", 3000)
    assert (found.trials, found.computed) == (3000, inside)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("goal", '"x"'),
        ("goal", "null"),
        ("goal", "[3000]x"),
        ("goal", "[-1, null, null]"),
        ("goal", "[1e3, null, null]"),
        ("campaign", "{}"),
        ("campaign", "[]"),
        ("campaign", "NaN"),
        ("format", '{"a": 1}'),
    ],
)
def test_a_fact_that_is_none_is_one_line(
    name: str, text: str, campaign: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(campaign, tmp_path / "c.db"))
    nonsense.fact(path, name, text)
    with pytest.raises(FlexhycaError) as caught:
        Campaign(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
