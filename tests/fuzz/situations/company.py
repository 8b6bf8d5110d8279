"""Processes that share a file, lose a worker, or lose their cluster: nothing is lost or doubled.

A command that cannot go on says so in one line; started again it ends with what an undisturbed one
gives.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from flexhyca.tests.fuzz.attacks import Attack
from flexhyca.tests.fuzz.command_line.inputs import SPACE


class Work(NamedTuple):
    """command : FILE is what it keeps. table : what prints that, for `rows`."""

    command: str
    table: str


_SEARCH = (
    "optimise digits --space space.yaml --optimiser walk --ber 1.7e-3 --goal 0.8 --patterns 40 "
    "--study FILE"
)
WORKS = {
    "a campaign of register faults": Work(
        "inject digits --faults register --trials 3000 --out FILE",
        "campaign export FILE --csv TABLE",
    ),
    "a campaign of bit errors": Work(
        "inject digits --faults ber --ber 1e-3 --trials 600 --images-per-pattern 20 --out FILE",
        "campaign export FILE --csv TABLE",
    ),
    # Its winner: with workers a search asks ahead, so that more is evaluated.
    "a study of a search": Work(_SEARCH, f"{_SEARCH} --out TABLE"),
    "a study of a sweep": Work(
        "sweep digits --placement random --vary array.rows=4..32:2 --csv TABLE --study FILE",
        "sweep digits --placement random --vary array.rows=4..32:2 --csv TABLE --study FILE",
    ),
}
_REFUSED = "error: "


def _words(command: str, folder: Path, table: str) -> list[str]:
    words = command.replace("FILE", "kept.db").replace("TABLE", table).split()
    (folder / "space.yaml").write_text(SPACE)
    return [sys.executable, "-P", "-m", "flexhyca", *words]


def _start(folder: Path, command: str, *more: str, table: str = "x.csv") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*_words(command, folder, table), *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def _end(process: subprocess.Popen[str]) -> int:
    """The exit code of a command that ended well, or with one line."""
    _, err = process.communicate(timeout=900)
    errors = [line for line in err.splitlines() if line.startswith(_REFUSED)]
    assert "Traceback" not in err, err
    assert process.returncode in (0, 2), err
    assert len(errors) == (1 if process.returncode else 0), err
    return process.returncode


def _rows(folder: Path, work: Work) -> list[str]:
    assert _end(_start(folder, work.table, table="table.yaml")) == 0
    lines = (folder / "table.yaml").read_text().splitlines()
    return sorted(line for line in lines if not line.startswith("#"))


def _done(folder: Path, work: Work) -> list[str]:
    """The rows after a last run that nobody disturbs."""
    assert _end(_start(folder, work.command)) == 0
    left = {path.name for path in folder.iterdir()}
    assert left <= {"kept.db", "x.csv", "space.yaml", "table.yaml"}, left
    return _rows(folder, work)


def _undisturbed(folder: Path, work: Work) -> tuple[list[str], float]:
    folder.mkdir()
    begin = time.monotonic()
    assert _end(_start(folder, work.command)) == 0
    return _rows(folder, work), time.monotonic() - begin


class _Case(NamedTuple):
    """A work in a folder of its own, number `number` of its kind, with what it ends with alone."""

    number: int
    name: str
    work: Work
    folder: Path
    right: list[str]
    took: float


def _cases(folder: Path, cases: int, works: Mapping[str, Work] = WORKS) -> Iterator[_Case]:
    """So many, of all works in turn. Behind each the folder ends as an undisturbed one."""
    for place, (name, work) in enumerate(works.items()):
        own = range((cases + len(works) - 1 - place) // len(works))
        if not own:
            return
        right, took = _undisturbed(folder / name, work)
        for number in own:
            here = folder / f"{name} {number}"
            here.mkdir()
            yield _Case(number, name, work, here, right, took)
            assert _done(here, work) == right, name


def together(folder: Path, cases: int) -> int:
    """Two processes on one file, the second one begun at any moment of the first."""
    rng, done = random.Random(0), 0
    for case in _cases(folder, cases):
        first = _start(case.folder, case.work.command)
        time.sleep(rng.choice([0, rng.uniform(0, case.took)]))
        second = _start(case.folder, case.work.command, table="y.csv")
        codes = _end(first), _end(second)
        assert 0 in codes, case.name
        (case.folder / "y.csv").unlink(missing_ok=True)
        done += 1
    return done


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that `pool` has started."""
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def worker_killed(folder: Path, cases: int) -> int:
    """As the kernel does where memory runs out."""
    rng, done = random.Random(1), 0
    for case in _cases(folder, cases):
        process = _start(case.folder, case.work.command, "--workers", "2")
        while process.poll() is None and not _workers(process):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 8))
        for child in _workers(process)[: 1 + case.number % 2]:
            child.send_signal(signal.SIGKILL)
        _end(process)
        done += 1
    return done


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers: its address, and these processes in that order."""
    told = folder / "scheduler.json"
    common = ("--scheduler-file", str(told), "--no-dashboard")
    started = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", f"distributed.cli.dask_{kind}", *common, *more],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,
        )
        for kind, *more in (
            ("scheduler", "--port", "0"),
            ("worker", "--nthreads", "1"),
            ("worker", "--nthreads", "1"),
        )
    ]
    try:
        while not told.exists() or not told.read_text().endswith("}"):
            time.sleep(0.05)
        yield json.loads(told.read_text())["address"], started
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def cluster_lost(folder: Path, cases: int) -> int:
    """A worker, both, or the scheduler of a Dask cluster go away."""
    rng, done = random.Random(2), 0
    chosen = {name: work for name, work in WORKS.items() if not work.command.startswith("sweep")}
    for case in _cases(folder, cases, chosen):
        place = folder / f"cluster {case.folder.name}"
        place.mkdir()
        with _cluster(place) as (address, (scheduler, *workers)):
            process = _start(case.folder, case.work.command, "--dask", address)
            while process.poll() is None and not (case.folder / "kept.db").exists():
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 8))
            gone = [[scheduler], workers[:1], [*workers, scheduler]][case.number % 3]
            for one in gone:
                if one.poll() is None:
                    os.killpg(one.pid, signal.SIGKILL)
            code = _end(process)
            assert code == 0 or scheduler in gone, case.name
        done += 1
    return done


ATTACKS = (
    Attack("two processes on one file", together, 0, 12),
    Attack("a worker that the kernel ends", worker_killed, 0, 8),
    Attack("a Dask worker or scheduler that goes away", cluster_lost, 0, 9),
)
