"""The sites of a trial in a line that can be read; where they are many, all of them in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from ...simulator.inject.sites import Site

_SHOWN = 10


def named(sites: Sequence[Site]) -> str:
    """Sites for a message: ten at most; the others stand in a file that the text names."""
    shown = "; ".join(map(str, sites[:_SHOWN]))
    if len(sites) <= _SHOWN:
        return shown
    lines = "".join(f"{site}\n" for site in sites)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="flexhyca-sites-", suffix=".txt", delete=False
        ) as file:
            file.write(lines)
    except OSError as error:
        where = f"which cannot be kept in a file: {error.strerror}"
    else:
        where = f"all of them in {file.name}"
    return f"{shown}; and {len(sites) - _SHOWN:,} more sites, {where}"
