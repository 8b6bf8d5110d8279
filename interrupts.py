"""Ctrl-C that nobody swallows.

KeyboardInterrupt is raised wherever the program is, which may be a callback of a library that
swallows it.  So the wish is kept, too, and long loops ask for it (`check`).
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_asked = False


def listen() -> None:
    """From now on Ctrl-C is kept, unless it is ignored (nohup) or handled by somebody else."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _keep)


def _keep(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    signal.default_int_handler(number, frame)


def check() -> None:
    """Raise KeyboardInterrupt if it was asked for, even if somebody has swallowed it since."""
    if _asked:
        raise KeyboardInterrupt
