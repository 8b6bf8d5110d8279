"""kill -9 of commands that write, at many moments: the file is the old one or the whole new one.

What is kept of a run that was killed is used by the next one, which ends as an undisturbed one.
`python -m flexhyca.tests.fuzz.kills [MOMENTS]` kills each command at so many moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flexhyca.hdl.area.row_file import read_rows
from flexhyca.hdl.area.table import shipped, source_digest

_SWEEP = (
    "sweep digits --csv out.csv --vary dppu.size=16..128:16 --vary protection.s_th=0.02..0.12:0.02"
)
#: Command -> what it writes, and what that holds before; None: it is not there.
COMMANDS: dict[str, tuple[str, bytes | None]] = {
    _SWEEP: ("out.csv", b"old\n"),
    "compile resnet20 -o out.fhx": ("out.fhx", None),
    "compile digits -o out.fhx": ("out.fhx", b"old"),
}
_TABLE = "area table --rebuild --out table.json"  # half an hour if it is left alone


class Killed(NamedTuple):
    """A command that was killed. running : kills that met it. wrong : what was found beside it."""

    command: str
    kills: int
    running: int
    wrong: list[str]


def start(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command in a folder, alone in its process group."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "flexhyca", *command.split()],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def whole(command: str, folder: Path) -> float:
    """Run to the end; how long it took."""
    begin, process = time.perf_counter(), start(command, folder)
    _, error = process.communicate()
    assert process.returncode == 0, error.decode()
    return time.perf_counter() - begin


def killed(command: str, moments: int, seed: int) -> Killed:
    """Kill at moments spread over the run, then let it end; compare what it writes each time."""
    rng, wrong, running = random.Random(seed), list[str](), 0
    target, old = COMMANDS[command]
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "alone"
        alone.mkdir()
        whole(command, alone)  # compiles
        seconds = whole(command, alone)
        want = (alone / target).read_bytes()
        names = {path.name for path in alone.iterdir()}
        for number in range(moments):
            folder = Path(place) / str(number)
            folder.mkdir()
            if old is not None:
                (folder / target).write_bytes(old)
            running += killed_after(command, folder, seconds * (number + rng.random()) / moments)
            if _content(folder / target) not in (old, want):
                wrong.append(f"moment {number}: {target} is neither old nor whole")
            whole(command, folder)
            if _content(folder / target) != want:
                wrong.append(f"moment {number}: {target} differs after it went on")
            if left := {path.name for path in folder.iterdir()} - names:
                wrong.append(f"moment {number}: left {sorted(left)}")
    return Killed(command, moments, running, wrong)


def killed_after(command: str, folder: Path, seconds: float) -> bool:
    """Start and kill; whether it was still running."""
    process = start(command, folder)
    time.sleep(seconds)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return running


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def killed_table(moments: int, seed: int) -> Killed:
    """The area table, made further and further: no row is lost, and each is the shipped one."""
    rng, wrong, running, rows = random.Random(seed), list[str](), 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(moments):
            running += killed_after(_TABLE, folder, rng.uniform(8, 30))
            if (folder / "table.json").exists():
                wrong.append(f"moment {number}: the table is there")
            found = read_rows(folder / "table.json.partial", source_digest())
            wrong += [f"moment {number}: {p}" for p, row in found.items() if row != shipped()[p]]
            if len(found) < rows:
                wrong.append(f"moment {number}: {rows - len(found)} rows are lost")
            rows = len(found)
    return Killed(f"{_TABLE} ({rows} rows)", moments, running, wrong)


def main(arguments: Sequence[str]) -> int:
    """Print a line a command; 1 if anything was wrong."""
    moments, bad = int(arguments[0]) if arguments else 20, 0
    runs = [partial(killed, command, moments, 0) for command in COMMANDS]
    for run in (*runs, partial(killed_table, moments, 0)):
        found = run()
        bad += len(found.wrong)
        counts = f"{found.kills} kills, {found.running} while it ran, {len(found.wrong)} wrong"
        print(f"{counts}: {found.command}", flush=True)
        for line in found.wrong:
            print(f"  {line}")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
