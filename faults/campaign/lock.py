"""One process at a time runs the campaign of a file; the lock is a file beside it.

SQLite's own locks would shut readers out.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...database import LOCK
from ...errors import FlexhycaError


def check_free(path: Path) -> None:
    """Raise FlexhycaError where another process runs the campaign in `path`.

    For whoever has seconds of work to do before it is opened; `alone` decides.
    """
    lock = _lock_of(path)
    if lock.exists():
        with suppress(FileNotFoundError):
            os.close(_locked(path, lock, os.O_RDWR))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes from running the campaign in `path`; reading it stays possible.

    The lock is the operating system's, so it ends with the process however that ends; the file
    itself is removed in the end, and one that was left over hinders nobody. Raises FlexhycaError
    if it is taken.
    """
    lock = _lock_of(path)
    handle = _locked(path, lock)
    while not _is(lock, handle):  # its last owner has just removed it
        os.close(handle)
        handle = _locked(path, lock)
    try:
        with suppress(OSError):  # a full disk: the lock holds without its owner's number
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _lock_of(path: Path) -> Path:
    own = path.resolve()  # by whatever link, one lock
    return own.with_name(own.name + LOCK)


def _locked(path: Path, lock: Path, how: int = os.O_RDWR | os.O_CREAT) -> int:
    try:
        handle = os.open(lock, how | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except FileNotFoundError:
        if how & os.O_CREAT:
            raise FlexhycaError(f"{path}: cannot be written: its folder is gone") from None
        raise
    except OSError as error:
        raise FlexhycaError(f"{path}: cannot be written: {error.strerror}") from None
    if not _is_ours(handle):
        os.close(handle)
        raise FlexhycaError(
            f"{lock}: is no lock of flexhyca, and stands where that of {path.name} has to be; "
            "move it away"
        )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(handle, 20, 0).decode("ascii", "replace")
        os.close(handle)
        if not isinstance(error, BlockingIOError):
            raise FlexhycaError(f"{lock}: cannot be locked: {error.strerror}") from None
        raise FlexhycaError(
            f"{path}: process {owner or '(just started)'} is writing it; "
            "wait until it has ended, or end it"
        ) from None
    return handle


def _is_ours(handle: int) -> bool:
    """Whether an open file is a lock: an owner's number, or nothing yet."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        return False
    held = os.pread(handle, 21, 0)
    return not held or (held.isdigit() and len(held) <= 20)


def _is(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
