"""Where numba keeps what it has compiled.

It wants a place beside our sources, or one in the user's home.  Where neither can be written (an
installation of the administrator's, a container without a home) it does not compile at all; then
compiled code lives in a folder of this process and of its workers, and the next run compiles anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VARIABLE = "NUMBA_CACHE_DIR"


def keep_compiled_code() -> None:
    """See to it that numba finds a place; to be called before numba is imported.

    Warns with FlexhycaWarning where compiled code is lost at the end. The folder is nobody else's,
    as numba loads what lies in it.
    """
    if "numba" in sys.modules or any(map(_is_writable, _places())):
        return
    import atexit
    import tempfile
    import warnings

    from .errors import FlexhycaWarning

    folder = tempfile.mkdtemp(prefix="flexhyca-numba-")
    os.environ[_VARIABLE] = folder
    atexit.register(_remove, folder, os.getpid())
    warnings.warn(
        f"compiled code cannot be kept, so each run compiles anew (half a minute): neither "
        f"{Path(__file__).parent} nor a cache in the home folder can be written; set {_VARIABLE} "
        "to a folder that can",
        FlexhycaWarning,
        stacklevel=2,
    )


def damaged_cache(error: BaseException) -> str | None:
    """The folder of the compiled code that could not be read; None where that was not the reason.

    numba believes its files, so one that is cut short ends in an error of any type.
    """
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__") == "numba.core.caching":
            path = getattr(frame.tb_frame.f_locals.get("self"), "cache_path", None)
            if path is not None:
                return str(path)
        frame = frame.tb_next
    return None


def _places() -> list[Path]:
    found = [Path(__file__).parent]
    if given := os.environ.get(_VARIABLE):
        found.append(Path(given))
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        found.append(Path(caches) / "numba")
    except RuntimeError:
        pass  # no home
    return found


def _is_writable(place: Path) -> bool:
    """Whether it can be written, or made."""
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        return place.is_dir() and os.access(place, os.W_OK)
    except OSError:
        return False


def _remove(folder: str, owner: int) -> None:
    import shutil

    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
