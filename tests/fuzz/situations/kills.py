"""`kill -9` of commands that write files: the old file, the whole new one, or one to go on with.

Half of the moments are things that happen to files (`killed`), the others lie anywhere in time.
The file of each moment is left to the next one, and what comes out at last is what an undisturbed
run gives.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flexhyca.tests.fuzz.attacks import Attack

OLD = b"what was there before"
#: What a killed process may leave: SQLite's journal, which the next one rolls back and removes,
#: and a temporary file of ours.
TEMPORARY = (".flexhyca.", "x.db-journal")


class Victim(NamedTuple):
    """command : words, with FOLDER for its folder. result : the file that it writes whole.

    kept : files beside it that the next run goes on with.
    """

    command: str
    result: str
    kept: tuple[str, ...]
    content: Callable[[bytes], object] = bytes


def _rows(content: bytes) -> object:
    return json.loads(content)


VICTIMS = {
    "compile": Victim("compile digits -o FOLDER/x.fhx", "x.fhx", ()),
    "sweep": Victim(
        "sweep digits --placement random --vary array.rows=4..32:2 --csv FOLDER/x.csv "
        "--study FOLDER/x.db",
        "x.csv",
        ("x.db",),
    ),
    "area table --rebuild": Victim(
        "area table --rebuild --out FOLDER/x.json", "x.json", ("x.json.partial",), _rows
    ),
}


def start(folder: Path, victim: Victim, moment: int) -> subprocess.Popen[str]:
    words = victim.command.replace("FOLDER", str(folder)).split()
    own = [sys.executable, "-m", "flexhyca.tests.fuzz.situations.killed", str(folder), str(moment)]
    return subprocess.Popen(
        [*own, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder
    )


def whole(folder: Path, victim: Victim) -> tuple[bytes, int, float]:
    """What an undisturbed run gives, how much happens to its files, and how long it takes."""
    folder.mkdir()
    begin = time.monotonic()
    process = start(folder, victim, 0)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    events = int(err.split()[-1])
    return (folder / victim.result).read_bytes(), events, time.monotonic() - begin


def _usable(folder: Path, victim: Victim) -> None:
    """A study that is left can be opened, or is not yet one."""
    from flexhyca.dse.study import Study

    path = folder / "x.db"
    if "x.db" in victim.kept and path.exists() and path.stat().st_size:
        with Study(path, None) as study:
            study.check()


def survive(folder: Path, name: str, moments: int) -> int:
    """So many kills, and a last run; how many hit."""
    victim, rng = VICTIMS[name], random.Random(name)
    right, events, took = whole(folder / "undisturbed", victim)
    place = folder / "killed"
    place.mkdir()
    (place / victim.result).write_bytes(OLD)
    hit = 0
    for number in range(moments):
        if number % 2:
            process = start(place, victim, 0)
            time.sleep(took * rng.uniform(0.1, 1.0))
            process.kill()
        else:
            process = start(place, victim, 1 + events * number // moments)
        _, err = process.communicate(timeout=600)
        assert process.returncode in (0, -9), err
        hit += process.returncode == -9
        found = (place / victim.result).read_bytes()
        assert found == OLD or victim.content(found) == victim.content(right), name
        left = {path.name for path in place.iterdir()} - {victim.result, *victim.kept}
        assert all(file.startswith(TEMPORARY) for file in left), left
        _usable(place, victim)
    last = start(place, victim, 0)
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    assert victim.content((place / victim.result).read_bytes()) == victim.content(right)
    left = {path.name for path in place.iterdir()} - {victim.result, *victim.kept}
    assert all(file.startswith(".flexhyca.") for file in left), left
    assert hit >= moments // 3
    return moments


def _attack(name: str) -> Attack:
    def attempt(folder: Path, moments: int) -> int:
        return survive(folder, name, moments)

    return Attack(f"kill -9 of {name}", attempt, 0, 20)


ATTACKS = tuple(_attack(name) for name in VICTIMS)
