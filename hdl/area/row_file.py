"""Rows of processing elements in a file that grows: the user's cache, and a table half made.

Each line has its checksum.  A line that is cut off, changed, of other sources, or that no point can
have is as if it were not there, so such a file may be deleted, damaged or unreadable at any time:
it saves work, and decides nothing else.  Lines are appended in one write, so that two writers do no
harm, and the first one is there whole or not at all, so that no file of ours is empty.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_type_hints

from ...database import checksum, is_checked
from ...files import is_special, reading, write_whole
from ...tables import complete
from .pe_area import Point, Row

_MOST = 10**9  # of a count or an area of one PE


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
                    found[point_of(values["point"])] = row_of(values)
    return found


def append_row(path: Path, sources: str, point: Point, row: Row) -> None:
    """Keep a row, whole or not at all; OSError, which names the file, where it cannot be written.

    A device has nothing to go on with, and is left alone.
    """
    if is_special(path):
        return
    text = json.dumps({"sources": sources, "point": asdict(point), **row._asdict()})
    # A line of its own, also behind one that was cut off.
    line = f"\n{json.dumps([text, checksum(text)])}\n".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, lambda file: file.write_bytes(line))
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def point_of(values: Mapping[str, Any]) -> Point:
    """A point of the values that `asdict` gives; ValueError for what none can have."""
    return Point(**_sensible(Point, values, 0))


def row_of(values: Mapping[str, Any]) -> Row:
    """A row of the values that `Row._asdict` gives, among others; ValueError as `point_of`."""
    row = Row(**_sensible(Row, values, 1))
    # Areas are rounded to a thousandth.
    if abs(sum(row.parts.values()) - row.area_ge) > 0.001 * (len(row.parts) + 1):
        raise ValueError(f"parts of {sum(row.parts.values())} GE in {row.area_ge} GE")
    return row


def _sensible(kind: type, values: Mapping[str, Any], least: int) -> dict[str, Any]:
    """The fields of a point or a row. least : that a number may be."""
    found = {}
    for name, of in get_type_hints(kind).items():
        value = found[name] = values[name]
        if not _MEANS[of](value) or (isinstance(value, int | float) and value < least):
            raise ValueError(f"{name} {value!r} is nothing that a {kind.__name__} can have")
    return found


def _is_area(value: object) -> bool:
    return type(value) in (int, float) and 0 < cast("float", value) < _MOST


#: Type of a field -> whether a value is one. An area that NaN or infinity stands for is none.
_MEANS: dict[object, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str),
    int: lambda value: type(value) is int and value < _MOST,
    float: _is_area,
    dict[str, float]: lambda value: (
        isinstance(value, dict) and bool(value) and all(map(_is_area, value.values()))
    ),
}
complete(
    "the types of Point and Row in hdl/area/pe_area.py",
    dict.fromkeys([*get_type_hints(Point).values(), *get_type_hints(Row).values()]),
    _MEANS,
    "hdl/area/row_file.py: _MEANS",
)
