"""Work for the pool's tests; a worker imports it, so it stands in a module of the package."""

import os
import signal
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
