"""Rows of processing elements in a file that grows: the user's cache, and a table half made.

Each line has its checksum.  A line that is cut off, changed or of other sources is as if it were
not there, so such a file may be deleted, damaged or unreadable at any time: it saves work, and
decides nothing else.  Lines are appended in one write, so that two writers do no harm.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...database import checksum, is_checked
from ...files import reading
from .pe_area import Point, Row


def read_rows(path: Path, sources: str) -> dict[Point, Row]:
    """The whole lines of these sources; none where the file cannot be read."""
    try:
        lines = reading(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, RecursionError):  # not a line of ours
            text, crc = json.loads(line)
            if is_checked(text, crc):
                values = json.loads(text)
                if values["sources"] == sources:
                    found[Point(**values["point"])] = row_of(values)
    return found


def append_row(path: Path, sources: str, point: Point, row: Row) -> None:
    """Keep a row, whole or not at all; OSError where the file cannot be written."""
    text = json.dumps({"sources": sources, "point": asdict(point), **row._asdict()})
    # A line of its own, also behind one that was cut off.
    line = f"\n{json.dumps([text, checksum(text)])}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def row_of(values: dict[str, Any]) -> Row:
    """A row of the values that `Row._asdict` gives, among others."""
    return Row(**{name: values[name] for name in Row._fields})
