"""Files are written whole or not at all; tables align."""

import json
from pathlib import Path

import numpy as np
import pytest

from flexhyca.cli import output
from flexhyca.errors import FlexhycaError


def test_a_failing_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        output.write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "result.json"

    def fail(temporary: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(FlexhycaError) as caught:
        output.write_file(path, fail)
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert not list(tmp_path.iterdir())


def test_numpy_values_become_json(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    output.write_json(str(path), {"a": np.int64(3), "b": np.arange(2), "c": np.float32(0.5)})
    assert json.loads(path.read_text()) == {"a": 3, "b": [0, 1], "c": 0.5}


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        output.write_json(output.STDOUT, {"a": float("nan")})


def test_table_puts_numbers_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("name", "cycles", "share"), [("a", 5, 0.25), ("long", 12345, 0.5)])
    assert capsys.readouterr().out == (
        "name  cycles  share\na          5   0.25\nlong  12,345    0.5\n"
    )


def test_a_link_is_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "result.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    output.write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
