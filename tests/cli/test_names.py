"""Names that cannot be written, and what may be written but not replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flexhyca.tests.cli.conftest import Command

LONG, TOO_LONG = "n" * 250, "n" * 300


pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.fixture
def names(in_tmp: Path) -> dict[str, str]:
    """In the folder of the test: name -> what is wrong with it, as the line begins."""
    Path("loop1").symlink_to("loop2")
    Path("loop2").symlink_to("loop1")
    Path("dangling").symlink_to("nowhere/x")
    Path("folder").mkdir()
    Path("file").touch()
    return {
        TOO_LONG: f"error: {TOO_LONG[:97]} ... ",
        "loop1": "error: loop1: cannot be written: Symlink loop",
        "dangling": "error: dangling: the folder ",
        "folder": "error: folder: is a folder; give a file name in it",
        "file/x": "error: file/x: the folder ",
        "nowhere/x": "error: nowhere/x: the folder ",
    }


def test_names_that_cannot_be_written(flexhyca: Command, names: dict[str, str]) -> None:
    for name, line in names.items():
        run = flexhyca("models", "--json", name)
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith(line), run.err
        assert run.err.count("\n") == 1


def test_a_long_name_is_written(flexhyca: Command) -> None:
    assert flexhyca("models", "--json", LONG).code == 0
    assert sorted(path.name for path in Path().iterdir()) == [LONG]


def test_links_stay_and_their_files_are_written(flexhyca: Command) -> None:
    Path("link").symlink_to("there")
    assert flexhyca("models", "--json", "link").code == 0
    assert Path("link").is_symlink()
    assert Path("there").stat().st_size > 100


def test_a_pipe_is_written_and_stays(flexhyca: Command) -> None:
    os.mkfifo("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_text()))
    reader.start()
    assert flexhyca("models", "--json", "pipe").code == 0
    reader.join()
    assert "digits" in read[0]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


@pytest.mark.parametrize("out", ["json", "output"])
def test_devices_stay(flexhyca: Command, out: str) -> None:
    """A full one and one that takes everything; of our own, as tests may be root."""
    for name, minor, code in (("full", 7, 2), ("null", 3, 0)):
        try:
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            Path(name).write_bytes(b"")
        except OSError:
            pytest.skip("only root makes devices, on a file system that allows them")
        words = ("models", "--json", name) if out == "json" else ("compile", "digits", "-o", name)
        run = flexhyca(*words)
        assert run.code == code, run.err
        if code:
            assert run.err.startswith(f"error: {name}: cannot be written")
            assert "No space left on device" in run.err
        assert stat.S_ISCHR(Path(name).stat().st_mode)


def test_standard_output_is_closed_or_full() -> None:
    start = f"{sys.executable} -m flexhyca models"
    for words, code, line in (
        (">&-", 0, ""),
        ("--json - >&-", 2, "error: standard output is closed; name a file instead of -\n"),
        ("> /dev/full", 2, "error: standard output: no space left on device\n"),
    ):
        run = subprocess.run(f"{start} {words}", shell=True, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (code, line)


#: Commands that write what is no text; all other outputs take - for standard output.
NO_TEXTS = (
    "compile digits -o -",
    "asm text -o -",
    "campaign repair kept.db --out -",
    "campaign export kept.db --parquet -",
    "campaign show kept.db --masking --plot -",
    "accuracy digits --plot -",
    "simulate digits --plot -",
    "simulate digits --trace -",
    "compare digits --plot -",
    "compare digits --study -",
    "bits digits --ber 1e-3 --study -",
    "sweep digits --vary dppu.size=32 --csv -",
    "sweep digits --vary dppu.size=32 --csv x.csv --plot -",
    "sweep digits --vary dppu.size=32 --csv x.csv --study -",
    "optimise digits --ber 1e-3 --study -",
    "optimise digits --ber 1e-3 --plot -",
    "inject digits --faults ber --ber 1e-3 --trials 5 --plot -",
    "inject digits --faults ber --ber 1e-3 --trials 5 --out -",
    "inject digits --faults register --trials 5 --out -",
    "study plot kept.db -",
    "study export kept.db -",
    "area table --rebuild --out -",
    "area figures --out -",
    "hdl emit pe --out -",
)


@pytest.mark.parametrize("command", NO_TEXTS)
def test_no_file_is_called_like_standard_output(flexhyca: Command, command: str) -> None:
    Path("text").touch()
    run = flexhyca(*command.split())
    assert (run.code, run.out) == (2, "")
    assert (
        "-: standard output takes texts only" in run.err
        or "- must end in" in run.err
        or ("must be a file of its own" in run.err)
    )
    assert [path.name for path in Path().iterdir()] == ["text"]


#: Commands that work for long, each with every output that it has.
OUTPUTS = (
    "compile digits -o OUT",
    "simulate digits --json OUT",
    "accuracy digits --csv OUT",
    "compare digits --json OUT",
    "bits digits --ber 1e-3 --json OUT",
    "optimise digits --ber 1e-3 --json OUT",
    "sweep digits --vary dppu.size=32 --study x.db --csv OUT",
    "inject digits --faults ber --ber 1e-3 --json OUT",
    "inject digits --faults register --json OUT",
    "area table --rebuild --out OUT",
)


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_full_device_is_met_before_the_work(
    flexhyca: Command, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("api.load_model", "exploration.compared", "hdl.area.table.rebuild"):
        monkeypatch.setattr(f"flexhyca.{work}", lambda *_, **__: pytest.fail("worked"))
    run = flexhyca(*command.replace("OUT", "/dev/full").split())
    assert (run.code, run.out) == (2, "")
    assert run.err == "error: /dev/full: cannot be written: No space left on device\n"
    assert not list(Path().iterdir())
    assert not Path("/dev/full.partial").exists()
