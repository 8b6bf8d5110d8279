"""Run the command line inside the test's process: torch is imported once, not once a test."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from flexhyca.cli import main


class Run(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Run]


@pytest.fixture
def flexhyca(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> Run:
        monkeypatch.setattr("sys.argv", ["flexhyca", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        code = done.value.code
        return Run(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
