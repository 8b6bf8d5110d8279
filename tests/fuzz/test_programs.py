"""Program files, damaged or wild: refused in one line, or run alike by every execution."""

import os
import subprocess
import sys
from pathlib import Path

from flexhyca.isa.validate import validate
from flexhyca.tests.fuzz import programs
from flexhyca.tests.fuzz.attacks import Attack

#: Enough for torch and a program of some kilobytes, too little for what a wild size asks for.
_MOST_MEMORY = 12 << 30
_FEW = 1000  # cases


def wild(folder: Path, cases: int) -> int:
    """Many: in a process of their own; kernels check their bounds, and memory is short."""
    if cases <= _FEW:
        return sum(programs.attack(folder / "wild.fhx", cases).values())
    code = (
        "import pathlib, resource, sys\n"
        "import flexhyca.tests.conftest\n"
        "from flexhyca.tests.fuzz.programs import attack\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({_MOST_MEMORY}, {_MOST_MEMORY}))\n"
        f"seen = attack(pathlib.Path({str(folder / 'wild.fhx')!r}), {cases})\n"
        "print(sum(seen.values()))\n"
        "sys.exit(not (seen['refused'] and seen['ran'] and seen['DeadlockError']))\n"
    )
    cache = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder / "numba")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return int(run.stdout.split()[-1])


ATTACKS = (Attack("programs (.fhx), damaged or odd: refused or run alike", wild, 100, 4000),)


def test_the_undamaged_programs_run():
    for program in programs.programs():
        validate(program, "x")
        assert programs.execute(program) == "ran"
