"""Surroundings that a command does not expect: nothing may be written, little memory, odd settings.

Each case is a process of its own.  What comes out is what comes out anywhere, or one line says why
nothing does.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import flexhyca
from flexhyca.tests.fuzz.attacks import Attack
from flexhyca.tests.fuzz.command_line.inputs import TOPOLOGY

_ROOT = Path(flexhyca.__file__).parent
_OUTSIDE = ("tests", "docs", "benchmarks", ".*", "__pycache__", "out", "build", "*.egg-info")
_TIMES = re.compile(r"^  quantised in .*$", re.MULTILINE)
COMMANDS = (
    "simulate digits --images 20",
    "compile digits -o OUT",
    "inject digits --faults register --trials 5 --out OUT",
    "area pe --q-scale 9 --protect 5",
    "sweep t.csv --vary array.rows=8,16 --csv OUT",
    "config show --explain",
    "optimise --help",
)


def may_write_nothing() -> None:
    """In a new process: root, too, is told no where nobody may write."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE
        ctypes.CDLL(None).prctl(24, 2)  # CAP_DAC_READ_SEARCH


def _process(
    folder: Path,
    command: str,
    environment: Mapping[str, str | None],
    begin: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command in `folder`. environment : changes; None takes a variable away."""
    values = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-P", "-m", "flexhyca", *command.replace("OUT", "result").split()],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=folder,
        env={name: value for name, value in values.items() if value is not None},
        preexec_fn=begin,
        check=False,
        timeout=900,
    )


def _outcome(done: subprocess.CompletedProcess[str]) -> str:
    return _TIMES.sub("", done.stdout)


def _fresh(folder: Path) -> Path:
    if folder.exists():
        folder.chmod(0o755)
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / "t.csv").write_text(TOPOLOGY)
    return folder


def one_line(done: subprocess.CompletedProcess[str]) -> None:
    """It says in one line why it ended."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: "), done.stderr


def read_only(folder: Path, cases: int) -> int:
    """The package, the home and the caches may be read and not written."""
    place = folder / "package"
    shutil.copytree(_ROOT, place / "flexhyca", ignore=shutil.ignore_patterns(*_OUTSIDE))
    home = folder / "home"
    home.mkdir()
    for path in [*place.rglob("*"), place, home]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    environment = {
        "PYTHONPATH": str(place),
        "HOME": str(home),
        "NUMBA_CACHE_DIR": None,
        "XDG_CACHE_HOME": None,
    }
    try:
        for command in COMMANDS[:cases]:
            here = _fresh(folder / "here")
            done = _process(here, command, environment, may_write_nothing)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            if "digits" in command:
                assert "compiled code cannot be kept" in done.stderr
            usual = _process(_fresh(folder / "usual"), command, {})
            assert _outcome(done) == _outcome(usual)
    finally:
        for path in [place, home, *place.rglob("*")]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    return min(cases, len(COMMANDS))


#: Settings that change nothing but the width of help and tables of help.
SETTINGS: dict[str, dict[str, str | None]] = {
    "HOME unset": {"HOME": None, "XDG_CACHE_HOME": None},
    "HOME is a file": {"HOME": "/dev/null", "XDG_CACHE_HOME": None},
    "HOME is nowhere": {"HOME": "~", "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None},
    "LANG=C": {"LANG": "C", "LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "TMPDIR missing": {"TMPDIR": "/nonexistent/tmp"},
    "20 columns": {"COLUMNS": "20"},
    "no columns": {"COLUMNS": "0"},
    "PATH empty": {"PATH": ""},
    "the area cache is a device": {"XDG_CACHE_HOME": "/dev/null"},
}


def settings(folder: Path, cases: int) -> int:
    """Environment variables, each with each command."""
    usual: dict[str, str] = {}
    done = 0
    pairs = list(itertools.product(COMMANDS, SETTINGS))
    random.Random(0).shuffle(pairs)
    for command, name in pairs[:cases]:
        if command not in usual:
            usual[command] = _outcome(_process(_fresh(folder / "usual"), command, {}))
        run = _process(_fresh(folder / "here"), command, SETTINGS[name])
        assert run.returncode == 0, (name, command, run.stderr)
        assert "Traceback" not in run.stderr
        if not command.endswith("--help"):
            assert _outcome(run) == usual[command], (name, command)
        done += 1
    return done


def memory(folder: Path, cases: int) -> int:
    """`ulimit -v` from far too little to enough: done, or one line."""
    sizes = [150, 300, 500, 650, 800, 1000, 1300, 1500, 1620, 1800, 2500, 4000]  # MB
    commands = ("simulate digits --images 20", "inject digits --faults ber --trials 4 --out OUT",
                "accuracy digits --q-scale 7", "compile digits -o OUT")  # fmt: skip
    pairs = list(itertools.product(sizes, commands))
    random.Random(0).shuffle(pairs)
    for size, command in pairs[:cases]:
        limit = size * 10**6

        def bound(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        here = _fresh(folder / "here")
        done = _process(here, command, {"OMP_NUM_THREADS": "1"}, bound)
        if done.returncode:
            one_line(done)
            assert {path.name for path in here.iterdir()} <= {"t.csv", "result"}
        else:
            assert size >= 1500, command
    return min(cases, len(pairs))


def numba_cache(folder: Path, cases: int) -> int:
    """Its files cut off, with other bytes, or something else: compiled again."""
    cache, command = folder / "numba", "simulate digits --images 20"
    environment = {"NUMBA_CACHE_DIR": str(cache)}
    right = _outcome(_process(_fresh(folder / "here"), command, environment))
    rng = random.Random(0)
    for _ in range(cases):
        files = sorted(cache.rglob("*.nb[ic]"))
        assert files
        for path in files:
            content = bytearray(path.read_bytes())
            match rng.randrange(4):
                case 0:
                    content = content[: rng.randrange(len(content))]
                case 1:
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                case 2:
                    content = bytearray(rng.randbytes(50))
                case 3:
                    content = bytearray(rng.choice(files).read_bytes())
            path.write_bytes(content)
        done = _process(_fresh(folder / "here"), command, environment)
        assert done.returncode == 0, done.stderr
        assert _outcome(done) == right
    return cases


ATTACKS = (
    Attack("package, home and caches cannot be written", read_only, 0, len(COMMANDS)),
    Attack("odd environment variables", settings, 0, len(COMMANDS) * len(SETTINGS)),
    Attack("limited memory (ulimit -v)", memory, 0, 48),
    Attack("numba's cache, damaged", numba_cache, 0, 5),
)
