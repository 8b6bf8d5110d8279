"""What the registers of the array and the DPPU hold in the fault-free run, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...isa.instructions import Engine
from ...isa.registers import BY_UNIT, UNIT_OF_DATAFLOW
from ...simulator.array.live import windows
from ...simulator.array.stored import (
    Shape,
    Stored,
    os_stored,
    runs,
    stationary_stored,
    value,
)
from ...simulator.dppu.schedule import dppu_schedule, shape_of
from ...simulator.dppu.stored import dppu_stored
from ...simulator.inject.fault_plan import DPPU_UNITS
from ...simulator.inject.fault_run import FaultRun
from ...simulator.inject.sites import END, FLIP, Site
from ...simulator.text.spans import Span
from ...simulator.text.work import REDUCTION


class Content(NamedTuple):
    """A number that is stored: in words, and `value`, of `bits` bits, in cycle `cycle`.

    product : the words are a multiplication, of which the number is the result.
    A number that is used in no cycle of the fault: no value, and `cycles`, the stretches (first,
    last) in which there is one.
    """

    cycle: int
    meaning: str = ""
    value: int | None = None
    bits: int = 0
    cycles: tuple[tuple[int, int], ...] = ()
    product: bool = False


def content(run: FaultRun, span: Span, site: Site) -> Content:
    """Of a register of the array, its delay lines or the DPPU; of a stuck bit, the first used."""
    if site.unit in DPPU_UNITS and site.register == "position":
        return _position(run, span, site)
    find, bits = _finder(run, span, site), _bits(run, site)
    stored = find(site.cycle)
    if stored is None:
        used = tuple(_used(run, span, site, find))
        first = _first(used, site)
        if first is None:
            return Content(site.cycle, cycles=used)
        site = replace(site, cycle=first)
        stored = find(first)
        assert stored is not None
    x = run.difference.golden(run.network.layers[span.layer].input)
    tile = run.evaluate.operands(span, x)
    number = value(stored, tile.act, tile.wgt, tile.start, bits)
    meaning = _meaning(run, span, stored, site.register)
    return Content(site.cycle, meaning, number, bits, product=_is_product(stored))


def is_used(run: FaultRun, span: Span, site: Site) -> bool:
    """Whether a register of the array, its delay lines or the DPPU is used in a tile."""
    return bool(_used(run, span, site, _finder(run, span, site)))


def place(site: Site) -> str:
    """A register, by where it stands."""
    name, row, col = site.register, site.row, site.col
    if site.unit in UNIT_OF_DATAFLOW.values():
        return f"{name} of PE ({row}, {col})"
    if site.unit == "skew" and name == "wgt":
        return f"{name} in delay stage {row} of column {col}"
    if site.unit.startswith("skew"):
        return f"{name} in delay stage {col} of row {row}"
    where = {
        "file_act": f"file_act of row {row}, place {col}",
        "file_wgt": f"file_wgt of column {col}, place {row}",
        "psum": f"psum of entry {row} of the position table",
        "position": f"position register of entry {row} of the table",
    }
    kind = "node" if name.startswith("tree") else "lane"
    return "the DPPU's " + where.get(name, f"{name} of group {row}, {kind} {col}")


def output_of(run: FaultRun, span: Span, row: int, col: int) -> str:
    """A word of a tile, as an element of the layer's output."""
    width = run.network.tensors[run.network.layers[span.layer].output].w
    y, x = divmod(span.m0 + row, width)
    return f"({y}, {x}, channel {span.n0 + col})"


# ---- where and when ----------------------------------------------------------------------------


def _bits(run: FaultRun, site: Site) -> int:
    return BY_UNIT[site.unit][site.register].bits(run.network.arithmetic)


def shape_of_tile(run: FaultRun, span: Span) -> Shape:
    """A tile on the array that computes it."""
    array = run.spans.array(span).array
    parts = tuple(run.spans.depth[list(span.gemms)].tolist())
    return Shape(span.m, span.n, parts, array.rows, array.cols)


def _finder(run: FaultRun, span: Span, site: Site) -> Callable[[int], Stored | None]:
    """What is in the register, by cycle."""
    where = site.register, site.row, site.col
    if site.unit in DPPU_UNITS:
        excess = site.unit == DPPU_UNITS[1]
        work = run.spans.dppu(span, excess)
        if not work.steps:
            return lambda cycle: None
        schedule = dppu_schedule(work.parts, work.neurons, shape_of(run.program.config, excess))
        return partial(dppu_stored, schedule, _positions(run, span, excess), *where)
    stored = os_stored if site.unit in ("array", "skew") else stationary_stored
    return partial(stored, shape_of_tile(run, span), site.unit, *where)


def _used(
    run: FaultRun, span: Span, site: Site, find: Callable[[int], Stored | None]
) -> list[tuple[int, int]]:
    """Stretches of cycles, (first, last), in which what is in the register is used."""
    if site.unit in DPPU_UNITS and site.register in ("psum", "position"):
        return _resident(run, span, site)
    if site.unit in DPPU_UNITS:
        steps = run.spans.dppu(span, site.unit == DPPU_UNITS[1]).steps
        return runs([cycle for cycle in range(steps) if find(cycle) is not None])
    register = BY_UNIT[site.unit][site.register]
    first, count = windows(register, span, run.spans, np.array([[site.row, site.col]]))
    pairs = zip(first[:, 0].tolist(), count[:, 0].tolist(), strict=True)
    return [(begin, begin + length - 1) for begin, length in pairs if length]


def _first(used: tuple[tuple[int, int], ...], site: Site) -> int | None:
    """The first cycle, of those in which a stuck bit is stuck, in which the register is used."""
    if site.stuck == FLIP:
        return None
    for begin, last in used:
        at = max(begin, site.cycle)
        if at <= last:
            return at if site.until == END or at < site.until else None
    return None


def _resident(run: FaultRun, span: Span, site: Site) -> list[tuple[int, int]]:
    """Cycles in which an entry's position and partial sum stand in their registers."""
    excess = site.unit == DPPU_UNITS[1]
    work = run.spans.dppu(span, excess)
    if site.row >= work.neurons or _positions(run, span, excess)[site.row, 0] < 0:
        return []
    schedule = dppu_schedule(work.parts, work.neurons, shape_of(run.program.config, excess))
    return [(schedule.loads[0], schedule.cycles - 1)]


def _positions(run: FaultRun, span: Span, excess: bool) -> NDArray[np.int64]:
    """Entries of the position table that the DPPU decodes: (neurons, 2)."""
    pc = run.spans.dppu(span, excess).pcs[0]
    return run.spans.decode(pc, run.spans.table(pc))


def _position(run: FaultRun, span: Span, site: Site) -> Content:
    """The bit of a position register; the meaning says where it points to."""
    used = tuple(_resident(run, span, site))
    cycle: int | None = site.cycle
    if not any(begin <= site.cycle <= last for begin, last in used):
        cycle = _first(used, site)
    if cycle is None:
        return Content(site.cycle, cycles=used)
    excess = site.unit == DPPU_UNITS[1]
    shape = shape_of(run.program.config, excess)
    row, col = _positions(run, span, excess)[site.row].tolist()
    word = row << shape.column_bits | col
    turned = word ^ 1 << site.col
    y, x = turned >> shape.column_bits, turned & ((1 << shape.column_bits) - 1)
    where = "" if y < span.m and x < span.n else ", outside the tile,"
    meaning = f"bit {site.col} of row {row}, column {col} (row {y}, column {x}{where} if it turns)"
    return Content(cycle, meaning, -(word >> site.col & 1), 1)


# ---- what it means -----------------------------------------------------------------------------


def _operand(run: FaultRun, span: Span, k: int) -> tuple[int, int, int]:
    """Kernel row, kernel column and input channel of operand k of a tile."""
    index, kernel_w = run.spans.windows[Engine.ARRAY], run.network.layers[span.layer].kernel_w
    own = dict.fromkeys(index[pc] for pc in span.gemms)
    for ky0, nky, kc0, kcc in run.program.windows[list(own)][:, REDUCTION].tolist():
        if k < nky * kernel_w * kcc:
            place, channel = divmod(k, kcc)
            ky, kx = divmod(place, kernel_w)
            return ky0 + ky, kx, kc0 + channel
        k -= nky * kernel_w * kcc
    raise InternalError(f"tile {span.number} has {k} operands less")


def _is_product(stored: Stored) -> bool:
    return stored.what == "sum" and not stored.start and stored.end == stored.first + 1


def _meaning(run: FaultRun, span: Span, stored: Stored, register: str) -> str:
    layer = run.network.layers[span.layer]
    depth = run.evaluate.depth(span)
    if stored.what == "sum":
        return _sum(run, span, stored, register, depth)
    ky, kx, channel = _operand(run, span, stored.first)
    if stored.what == "wgt":
        return (
            f"operand {stored.first} of output channel {span.n0 + stored.col}, its weight "
            f"({ky}, {kx}, channel {channel})"
        )
    source, width = run.network.tensors[layer.input], run.network.tensors[layer.output].w
    oy, ox = divmod(span.m0 + stored.row, width)
    y = oy * layer.stride_h + ky * layer.dilation_h - layer.pad_top
    x = ox * layer.stride_w + kx * layer.dilation_w - layer.pad_left
    what = "a zero of the padding"
    if 0 <= y < source.h and 0 <= x < source.w:
        what = f"element ({y}, {x}, channel {channel}) of {source.name}"
    return f"operand {stored.first} of output pixel ({oy}, {ox}), {what}"


def _sum(run: FaultRun, span: Span, stored: Stored, register: str, depth: int) -> str:
    at = output_of(run, span, stored.row, stored.col)
    tile = run.evaluate.operands(span, run.difference.golden(run.network.layers[span.layer].input))
    first, end = stored.first, stored.end
    if stored.start:
        bias = int(tile.start[stored.col])
        return f"partial sum of {at} after {end} of {depth} products (bias {bias})"
    if first == end:
        return f"no product in this cycle, for {at}"
    if _is_product(stored):
        a, b = int(tile.act[stored.row, first]), int(tile.wgt[stored.col, first])
        return f"product {first} of {at}: {a} x {b}"
    return f"sum of products {first}..{end - 1} of {at}"
