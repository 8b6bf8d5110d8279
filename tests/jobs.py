"""Work for the pool's tests; a worker imports it, so it stands in a module of the package."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from flexhyca.errors import FlexhycaError


def power(base: int, exponent: int) -> int:
    if exponent == 13:
        raise FlexhycaError("13 brings no luck")
    if exponent == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return base**exponent


def once_fatal(folder: Path, job: int) -> int:
    """Kills the first worker that does job 2, and every one that does job 5."""
    mark = folder / str(job)
    if job == 5 or (job == 2 and not mark.exists()):
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class FatalToRead:
    """Kills the process that reads it; more follows than a pipe holds."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _die, ()


def threads(names: tuple[str, ...], _: int) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def start_another(folder: Path, _: int) -> None:
    """Starts a process that sleeps, says which in a file, and waits for it; as Yosys is run."""
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    with tempfile.TemporaryDirectory(dir=folder), subprocess.Popen(program) as process:
        (folder / f"{process.pid}.pid").write_text("")
        process.wait()
