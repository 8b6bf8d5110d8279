"""What the registers of the array and the DPPU hold in the fault-free run, and what it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, get_args, get_type_hints

from ...errors import InternalError
from ...isa.instructions import Engine
from ...isa.registers import (
    BY_UNIT,
    DPPU_UNITS,
    SKEW_OF_DATAFLOW,
    TREE_STAGES,
    UNIT_OF_DATAFLOW,
    all_handled,
)
from ...simulator.array.tile import Held, value
from ...simulator.inject.fault_run import FaultRun
from ...simulator.inject.sites import END, FLIP, Site
from ...simulator.inject.tile_sums import TileOperands
from ...simulator.inject.units import unit_in_tile
from ...simulator.text.spans import Span
from ...simulator.text.work import REDUCTION
from ...tables import complete


class Content(NamedTuple):
    """A number that is stored: in words, and `value`, of `bits` bits, in cycle `cycle`.

    product : the words are a multiplication, of which the number is the result.
    A number that is used in no cycle of the fault: no value, and `cycles`, the stretches (first,
    last) in which there is one. is_operand : whether it is multiplied.
    """

    cycle: int
    meaning: str = ""
    value: int | None = None
    bits: int = 0
    cycles: tuple[tuple[int, int], ...] = ()
    is_operand: bool = False
    product: bool = False


def content(run: FaultRun, span: Span, site: Site) -> Content:
    """Of a register of the array, its delay lines or the DPPU; of a stuck bit, the first used."""
    unit, register = unit_in_tile(site.unit, span, run.spans), BY_UNIT[site.unit][site.register]
    held = unit.hold(register, site.row, site.col, site.cycle)
    if held is None:
        used = tuple(unit.stretches(register, site.row, site.col))
        first = _first(used, site)
        if first is None:
            return Content(site.cycle, cycles=used)
        site = replace(site, cycle=first)
        held = unit.hold(register, site.row, site.col, first)
        assert held is not None
    bits = register.bits(run.network.arithmetic)
    meaning, number = _MEANINGS[held.what](run, span, held, bits)
    is_operand, product = held.what in ("act", "wgt"), _is_product(held)
    return Content(site.cycle, meaning, number, bits, is_operand=is_operand, product=product)


def is_used(run: FaultRun, span: Span, site: Site) -> bool:
    """Whether a register of the array, its delay lines or the DPPU is used in a tile."""
    unit, register = unit_in_tile(site.unit, span, run.spans), BY_UNIT[site.unit][site.register]
    return bool(unit.stretches(register, site.row, site.col))


def place(site: Site) -> str:
    """A register, by where it stands."""
    return _PLACES[site.unit](site)


def _pe(site: Site) -> str:
    return f"{site.register} of PE ({site.row}, {site.col})"


def _delay(site: Site) -> str:
    if BY_UNIT[site.unit][site.register].line == "col":
        return f"{site.register} in delay stage {site.row} of column {site.col}"
    return f"{site.register} in delay stage {site.col} of row {site.row}"


def _dppu(site: Site) -> str:
    return f"the DPPU's {_DPPU_PLACES[site.register].format(**vars(site))}"


_DPPU_PLACES = {
    "file_act": "file_act of row {row}, place {col}",
    "file_wgt": "file_wgt of column {col}, place {row}",
    "act": "act of group {row}, lane {col}",
    "wgt": "wgt of group {row}, lane {col}",
    "prod": "prod of group {row}, lane {col}",
    "psum": "psum of entry {row} of the position table",
    "position": "position register of entry {row} of the table",
    **dict.fromkeys(
        (f"tree{stage}" for stage in range(1, TREE_STAGES + 1)),
        "{register} of group {row}, node {col}",
    ),
}
for _unit in DPPU_UNITS:
    all_handled(_unit, _DPPU_PLACES, "faults/story/contents.py: _DPPU_PLACES")
_PLACES: dict[str, Callable[[Site], str]] = {
    **dict.fromkeys(UNIT_OF_DATAFLOW.values(), _pe),
    **dict.fromkeys(SKEW_OF_DATAFLOW.values(), _delay),
    **dict.fromkeys(DPPU_UNITS, _dppu),
}
complete(
    "units in isa/registers.py", BY_UNIT, [*_PLACES, "buffer"], "faults/story/contents.py: _PLACES"
)


def output_of(run: FaultRun, span: Span, row: int, col: int) -> str:
    """A word of a tile, as an element of the layer's output."""
    width = run.network.tensors[run.network.layers[span.layer].output].w
    y, x = divmod(span.m0 + row, width)
    return f"({y}, {x}, channel {span.n0 + col})"


def _first(used: tuple[tuple[int, int], ...], site: Site) -> int | None:
    """The first cycle, of those in which a stuck bit is stuck, in which the register is used."""
    if site.stuck == FLIP:
        return None
    for begin, last in used:
        at = max(begin, site.cycle)
        if at <= last:
            return at if site.until == END or at < site.until else None
    return None


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


def _weight(run: FaultRun, span: Span, held: Held, bits: int) -> tuple[str, int]:
    ky, kx, channel = _operand(run, span, held.first)
    meaning = (
        f"operand {held.first} of output channel {span.n0 + held.col}, its weight "
        f"({ky}, {kx}, channel {channel})"
    )
    return meaning, number_of(run, span, held, bits)


def _activation(run: FaultRun, span: Span, held: Held, bits: int) -> tuple[str, int]:
    ky, kx, channel = _operand(run, span, held.first)
    layer = run.network.layers[span.layer]
    source, width = run.network.tensors[layer.input], run.network.tensors[layer.output].w
    oy, ox = divmod(span.m0 + held.row, width)
    y = oy * layer.stride_h + ky * layer.dilation_h - layer.pad_top
    x = ox * layer.stride_w + kx * layer.dilation_w - layer.pad_left
    what = "a zero of the padding"
    if 0 <= y < source.h and 0 <= x < source.w:
        what = f"element ({y}, {x}, channel {channel}) of {source.name}"
    meaning = f"operand {held.first} of output pixel ({oy}, {ox}), {what}"
    return meaning, number_of(run, span, held, bits)


def _is_product(held: Held) -> bool:
    return held.what == "sum" and not held.start and held.end == held.first + 1


def _sum(run: FaultRun, span: Span, held: Held, bits: int) -> tuple[str, int]:
    at, number = output_of(run, span, held.row, held.col), number_of(run, span, held, bits)
    tile = operands_of(run, span)
    first, end = held.first, held.end
    if held.start:
        bias, depth = int(tile.start[held.col]), run.evaluate.depth(span)
        return f"partial sum of {at} after {end} of {depth} products (bias {bias})", number
    if first == end:
        return f"no product in this cycle, for {at}", number
    if _is_product(held):
        a, b = int(tile.act[held.row, first]), int(tile.wgt[held.col, first])
        return f"product {first} of {at}: {a} x {b}", number
    return f"sum of products {first}..{end - 1} of {at}", number


def _position(run: FaultRun, span: Span, held: Held, bits: int) -> tuple[str, int]:
    """A bit of an entry of the position table; the meaning says where it points to."""
    low = run.program.config.position_column_bits
    word = held.row << low | held.col
    turned = word ^ 1 << held.first
    y, x = turned >> low, turned & ((1 << low) - 1)
    where = "" if y < span.m and x < span.n else ", outside the tile,"
    meaning = (
        f"bit {held.first} of row {held.row}, column {held.col} (row {y}, column {x}{where} "
        "if it turns)"
    )
    return meaning, -(word >> held.first & 1)


_MEANINGS = {"act": _activation, "wgt": _weight, "sum": _sum, "position": _position}
complete(
    "Held.what in simulator/array/tile.py",
    get_args(get_type_hints(Held)["what"]),
    _MEANINGS,
    "faults/story/contents.py: _MEANINGS",
)


def operands_of(run: FaultRun, span: Span) -> TileOperands:
    """What streams into a tile in the fault-free run."""
    x = run.difference.golden(run.network.layers[span.layer].input)
    return run.evaluate.operands(span, x)


def number_of(run: FaultRun, span: Span, held: Held, bits: int) -> int:
    """The number of `bits` bits that is held."""
    tile = operands_of(run, span)
    return value(held, tile.act, tile.wgt, tile.start, bits)
