"""``python -m flexhyca`` is the command ``flexhyca``.

The command line is imported here, so that a table that is not complete (`tables`) is one line, too,
and Ctrl-C while it is, a second of other people's libraries.
"""

import sys

from . import interrupts
from .errors import InternalError


def start() -> None:
    """Run the command line."""
    try:
        with interrupts.heeded():
            try:
                from .cli import main
            except InternalError as error:
                sys.exit(f"internal error (please report it): {error}")
            main()
    finally:
        interrupts.leave()


if __name__ == "__main__":
    start()
