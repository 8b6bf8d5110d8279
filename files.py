"""Files that are read: bounded, ordinary ones, and remembered, so that no result replaces one.

And files that are written: all of them or nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_PACKAGE = Path(__file__).parent
_TEXT = 1 << 24  # bytes of a configuration, a space or a topology: larger ones are something else
_LONGEST_SUFFIX = 16
_TEMPORARY = ".flexhyca."
_read: dict[tuple[int, int], Path] = {}  # by device and inode


def reading(path: str | os.PathLike[str], most: int | None = None) -> Path:
    """`path`, which is about to be read. most : bytes; None for any number.

    Raises OSError for what never ends or never begins (a device, a pipe without a writer) and for
    more than `most`; not for what does not exist, of which the reader has more to say.
    """
    place = Path(path)
    try:
        found = place.stat()
    except (OSError, ValueError):
        return place
    if stat.S_ISREG(found.st_mode):
        _read[found.st_dev, found.st_ino] = place
    elif not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "is a device or a pipe; give an ordinary file")
    if most is not None and found.st_size > most:
        raise OSError(
            errno.EFBIG, f"has {found.st_size:,} bytes, more than {most:,}; is it another file?"
        )
    return place


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """A short text; OSError as `reading`, UnicodeDecodeError for what is none."""
    return reading(path, _TEXT).read_text(encoding)


def home() -> Path | None:
    """The user's home; None where nobody can say (no HOME and no entry of the user, HOME=~)."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def forget() -> None:
    """Another command begins in this process."""
    _read.clear()


def was_read(path: str | Path) -> Path | None:
    """Under which name this process has read the file that `path` is, if it has."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return _read.get((found.st_dev, found.st_ino))


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two names are of one file: by inode, whatever links and letter case say.

    Names of files that are not there yet are compared in their folders.
    """
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        pass
    try:
        return Path(one).resolve() == Path(other).resolve()
    except (OSError, RuntimeError, ValueError):
        return False


def in_package(path: Path) -> bool:
    """Whether a resolved name is of a file of the package itself, there or not.

    A checkout is the package, too: what stands beside its folders of modules is anybody's.
    """
    below = path.parent
    while not below.parent.exists() or not below.parent.samefile(_PACKAGE):
        if below == below.parent:
            return path.suffix in (".py", ".typed") and path.parent.samefile(_PACKAGE)
        below = below.parent
    return (below / "__init__.py").is_file()


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have is of none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether there is a device or a pipe, which is written to and never replaced."""
    place = Path(path)
    return place.exists() and not place.is_file() and not place.is_dir()


def try_to_write(place: Path) -> None:
    """Raise OSError where a resolved name could not be written now; nothing is changed.

    A pipe is not tried, because its reader would see an end.
    """
    if not is_special(place):
        with tempfile.TemporaryFile(prefix=_TEMPORARY, dir=place.parent):
            return
    if not place.is_fifo():
        handle = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            os.write(handle, b"")
        finally:
            os.close(handle)


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename: all of it or nothing.

    What a link points to is written, not the link. Raises OSError, which names `path`.
    """
    try:
        _write_whole(path, write)
    except OSError as error:
        if error.errno is None:  # not of the system: what `write` has to say
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _write_whole(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    target = Path(path).resolve()
    special = is_special(target)
    # The suffix stays, for writers that choose the format by it.
    suffix = target.suffix if len(target.suffix) < _LONGEST_SUFFIX else ""
    folder = None if special else target.parent
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix=suffix, dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        if special:
            with target.open("wb") as device:
                device.write(temporary.read_bytes())
            return
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp's 0600 is not what a user expects of a result
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
