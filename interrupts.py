"""Ctrl-C that nobody swallows, and that ends in one line and exit code 130.

KeyboardInterrupt is raised wherever the program is, in a callback of a library that swallows it,
say.  So the wish is kept, too: it is raised again until something comes of it, loops ask for it
(`check`), and what comes out of a command is judged by it (`heeded`).  It is not raised while a
library is imported: in its first lines one in C makes an ImportError of it, ends the process, or
hangs; that is over in a second.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: Exit code of a command that Ctrl-C has ended, as of one that died of signal 2 in a shell.
ENDED = 128 + signal.SIGINT
_IMPORT = "<frozen importlib._bootstrap>"  # the file name of its frames
_MOMENT_S = 0.1  # until it is raised again
_asked = False
_later = 0  # how many callers wait until it may be raised
_commands = 0  # that are in `heeded`
_told = False  # what the command had to say
_leaving = False
_repeated = False  # the signal that comes is ours


@contextmanager
def heeded() -> Iterator[None]:
    """A command: whatever it raises after Ctrl-C is one line and exit code 130.

    One that has finished, or has said its own line and ends with that code, is left as it is.
    """
    global _asked, _commands, _told
    _commands += 1
    _listen()
    try:
        yield
    except BaseException as error:
        if not (_asked or isinstance(error, KeyboardInterrupt)):
            raise
        if isinstance(error, SystemExit) and error.code in (None, 0, ENDED):
            raise
        _told = True
        with later(), suppress(OSError, ValueError):  # it may be closed
            if sys.stderr is not None:
                print("interrupted; no result was written", file=sys.stderr, flush=True)
        raise SystemExit(ENDED) from None
    finally:
        _commands -= 1
        if not _commands:
            _asked = _told = False  # it is nothing to what runs next in this process


def _listen() -> None:
    """From now on Ctrl-C is kept, unless it is ignored (nohup) or handled by somebody else."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _keep)
        others = sys.unraisablehook

        def tell(problem: sys.UnraisableHookArgs) -> None:
            # Swallowed by a callback, which Python would show with a traceback: `check` finds it.
            if not (_asked and issubclass(problem.exc_type, KeyboardInterrupt)):
                others(problem)

        sys.unraisablehook = tell


class CtrlC(KeyboardInterrupt):
    """Ours, because Python ends by signal 2 where its own has passed through exec of a text."""


def _keep(number: int, frame: FrameType | None) -> None:
    global _asked, _repeated
    repeated, _repeated = _repeated, False
    if repeated and (_leaving or _told or not (_asked and _commands)):
        return
    again, _asked = _asked, True
    if _leaving and not again:
        return  # all is done but the end of the process, which has no line to say
    if repeated or not again:
        _press_again(number)
    if not (_later or _imports(frame) or (repeated and _is_raised())):
        raise CtrlC


def _press_again(number: int) -> None:
    """In a moment, because this time it may be too early, or swallowed."""

    def press() -> None:
        global _repeated
        _repeated = True
        signal.pthread_kill(here, number)

    here = threading.get_ident()  # the main thread, in which handlers run
    moment = threading.Timer(_MOMENT_S, press)
    moment.daemon = True
    with suppress(RuntimeError):  # no more threads: `check` and `heeded` remain
        moment.start()


def _is_raised() -> bool:
    """Whether it is on its way out, and what runs here cleans up behind it."""
    left, seen = [sys.exception()], set()
    while left:
        error = left.pop()
        if isinstance(error, KeyboardInterrupt):
            return True
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            left += [error.__context__, error.__cause__]
    return False


def _imports(frame: FrameType | None) -> bool:
    """Whether an import is going on in this frame or in one that called it."""
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None


@contextmanager
def later() -> Iterator[None]:
    """Ctrl-C is raised behind this, which takes seconds at most and must be done whole."""
    global _later
    _later += 1
    before = _asked
    try:
        yield
    finally:
        _later -= 1
    if _asked and not before:
        check()


def leave() -> None:
    """The command is over: Ctrl-C says nothing any more, unless it is pressed twice."""
    global _leaving
    _leaving = True


def asked() -> bool:
    """Whether Ctrl-C was pressed, even if somebody has swallowed it since."""
    return _asked


def check() -> None:
    """Raise KeyboardInterrupt if it was asked for, even if somebody has swallowed it since."""
    if _asked:
        raise CtrlC
