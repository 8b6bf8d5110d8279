"""One command that ends itself by SIGKILL at a chosen moment: for `kills`.

    python -m flexhyca.tests.fuzz.situations.killed FOLDER EVENT COMMAND ...

EVENT : at the how manieth thing that happens to files of FOLDER (opened, renamed, removed ...); 0
for none.  How many there were is the last line of standard error.
"""

from __future__ import annotations

import os
import signal
import sys

from flexhyca.cli import main
from flexhyca.hdl.area import table

POINTS = 5  # of the area table, which takes minutes whole


def begin(folder: str, moment: int) -> None:
    """Count what happens to the files of a folder from now on."""
    seen = 0

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "cpython.run_stdin" or not event.startswith(("open", "os.", "sqlite3.connect")):
            return
        if any(str(a).startswith(folder) for a in arguments if isinstance(a, str | bytes)):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    import atexit

    atexit.register(lambda: print(f"events: {seen}", file=sys.stderr))


if __name__ == "__main__":
    place, number, *words = sys.argv[1:]
    few = table.points()[:POINTS]
    table.points = lambda: few
    begin(place, int(number))
    sys.argv = ["flexhyca", *words]
    main()
