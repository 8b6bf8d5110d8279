"""``python -m flexhyca`` is the command ``flexhyca``."""

from .cli import main

main()
