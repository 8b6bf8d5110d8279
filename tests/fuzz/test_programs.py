"""Program files, damaged or wild: refused in one line, or run alike by every execution."""

import os
import subprocess
import sys

import pytest

from flexhyca.isa.validate import validate
from flexhyca.tests.fuzz import programs

#: Enough for torch and a program of some kilobytes, too little for what a wild size asks for.
_MOST_MEMORY = 12 << 30


def test_the_undamaged_programs_run():
    for program in programs.programs():
        validate(program, "x")
        assert programs.execute(program) == "ran"


def test_damaged_programs(tmp_path):
    seen = programs.attack(tmp_path / "wild.fhx", 100)
    assert seen["refused"]


@pytest.mark.slow
def test_many_damaged_programs_with_bounds_checked(tmp_path):
    """The compiled kernels check no bounds; here they do, and memory is short."""
    code = (
        "import pathlib, resource, sys\n"
        "import flexhyca.tests.conftest\n"
        "from flexhyca.tests.fuzz.programs import attack\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({_MOST_MEMORY}, {_MOST_MEMORY}))\n"
        f"seen = attack(pathlib.Path({str(tmp_path / 'wild.fhx')!r}), 4000)\n"
        "sys.exit(not (seen['refused'] and seen['ran'] and seen['DeadlockError']))\n"
    )
    cache = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
