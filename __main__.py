"""``python -m flexhyca`` is the command ``flexhyca``.

The command line is imported here, so that a table that is not complete (`tables`) is one line, too.
"""

import sys

from .errors import InternalError


def start() -> None:
    """Run the command line."""
    try:
        from .cli import main
    except InternalError as error:
        sys.exit(f"internal error (please report it): {error}")
    main()


if __name__ == "__main__":
    start()
