"""What the sites of one inference amount to, tile by tile: the input of both executions.

Sites are checked against the machine and the program here, and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ...config import Config
from ...errors import FlexhycaError
from ...isa.instructions import Cells
from ...isa.protection import (
    copies,
    hardening,
    layer_columns,
    layer_copies,
    redundancy_of,
)
from ...isa.registers import (
    BUFFER_BYTES,
    BY_UNIT,
    DPPU_UNITS,
    UNIT_OF_DATAFLOW,
    Register,
    all_handled,
)
from ...network import fixedpoint
from ..array.flips import Flip
from ..dppu.schedule import shape_of
from ..text.spans import Span, Spans
from .sites import (
    ALL,
    END,
    EVERY,
    FLIP,
    Site,
    check_limit,
    check_place,
)
from .units import moments

Key = tuple[int, int]  #: layer, number of the tile in it
Moment = tuple[int, int]  #: pc, and the step of its stream before which something happens


class Word(NamedTuple):
    """Wrong bits of a byte in a memory, from `begin` on.

    stuck : FLIP, or the value that the bits hold until `end` (None: for ever); later on they keep
    it until they are written.
    """

    buffer: Cells
    address: int
    mask: int
    stuck: int
    begin: Moment
    end: Moment | None


class Sum(NamedTuple):
    """A wrong bit of a word in a tile's slot. moment : after that visit of the array, or at last
    after the DPPU's merge."""

    moment: int
    word: int
    bit: int
    stuck: int


@dataclass
class Plan:
    """Faults by what they are in.

    flips : of the array and its skew lines, a list for each run or third of a redundant layer, one
    list else. sums, results : words of the output buffer before VEC, and after it. instructions :
    pc -> (bit, stuck) of its word. dppu : by layer, tile and one of `DPPU_UNITS`.
    """

    flips: dict[Key, tuple[list[Flip], ...]] = field(default_factory=dict)
    dppu: dict[tuple[int, int, str], list[Flip]] = field(default_factory=dict)
    words: list[Word] = field(default_factory=list)
    sums: dict[Key, list[Sum]] = field(default_factory=dict)
    results: dict[Key, list[Sum]] = field(default_factory=dict)
    instructions: dict[int, list[tuple[int, int]]] = field(default_factory=dict)


def make_plan(sites: Sequence[Site], spans: Spans) -> Plan:
    """The plan of `sites`; FlexhycaError, naming the site, for one that does not exist.

    In which order they are given does not matter. Of those that meet, flips come first, then bits
    that are stuck at 0, then at 1, as in `array.flips`; every list of the plan has this order.
    """
    plan = Plan()
    for site in sorted(sites, key=lambda site: site.stuck):
        register = check_place(site, spans.program.config)
        if site.register == "instruction" and site.tile == EVERY:
            raise FlexhycaError(
                f"site {site}: an instruction word is of one tile; name the layer and the tile"
            )
        own = _spans(site, spans)
        for span in own if site.layer != ALL else ():
            _check_tile(site, register, span, spans)
        if register.buffer is not None:
            plan.words.append(_word(site, register.buffer, own))
            continue
        for span in own:
            if site.unit == "buffer":
                _SLOTS[site.register](plan, site, span, spans)
                continue
            for part in copies_in_a_layer(site, span, spans) if site.layer == ALL else (site,):
                _add_flip(plan, part, span, spans)
    return plan


def copies_of(
    spans: Spans, span: Span, unit: str, register: str, bit: int, col: int
) -> tuple[int, int]:
    """Copies of a bit: runs or thirds of a redundant layer, times flip-flops of a protected bit.

    col : of the PE, which may be in a hardened column.
    """
    program = spans.program
    if unit == "buffer" and (register != "output" or program.config.array.keeps_sums):
        return 1, 1
    layers = layer_copies(program.config, program.layer_names[span.layer])
    shift = program.network.layers[span.layer].shift
    hardened = col < program.config.protection.hardened_cols
    return layers, copies(program.config, shift, register, bit, unit, hardened)


def copies_at(spans: Spans, span: Span, site: Site) -> tuple[int, int]:
    """Those of a site's bit."""
    return copies_of(spans, span, site.unit, site.register, site.bit, site.col)


def copies_in_a_layer(site: Site, span: Span, spans: Spans) -> Iterator[Site]:
    """What a bit of a register that is stuck for ever is in a tile: a site for each run, or none.

    The hardware is the same in all layers. Runs of a redundant layer use it one after the other. In
    `space` a column is one of a third of the array; delay lines of the rows feed all thirds.
    """
    config, name = spans.program.config, spans.program.layer_names[span.layer]
    made = redundancy_of(config, name).copies
    runs = tuple(range(made.runs * made.parts))
    _, own = copies_at(spans, span, site)
    row, col = site.row, site.col
    if made.parts > 1 and not BY_UNIT[site.unit][site.register].feeds_rows:
        run, col = divmod(col, layer_columns(config, name))
        runs = (run,) if run < made.parts else ()
    if BY_UNIT[site.unit][site.register].exists(row, col):
        for run in runs:
            yield replace(site, col=col, copy=run * own + site.copy)


def flip_of(site: Site, own: int) -> tuple[int, Flip]:
    """The run of a tile that a site of it is in, and what it is there. own : copies of the bit."""
    run, copy = divmod(site.copy, own)
    return run, Flip(
        site.cycle,
        site.register,
        site.row,
        site.col,
        site.bit,
        copy,
        "array" if site.unit in UNIT_OF_DATAFLOW.values() else site.unit,
        site.stuck,
        site.until,
    )


def _add_flip(plan: Plan, site: Site, span: Span, spans: Spans) -> None:
    runs, own = copies_at(spans, span, site)
    run, flip = flip_of(site, own)
    key = span.layer, span.number
    if site.unit in DPPU_UNITS:
        excess = site.unit == DPPU_UNITS[1]
        work, shape = spans.dppu(span, excess), shape_of(spans.program.config, excess)
        if work.steps and site.row < shape.places(site.register, work.neurons)[0]:
            plan.dppu.setdefault((*key, site.unit), []).append(flip)
    else:
        plan.flips.setdefault(key, tuple([] for _ in range(runs)))[run].append(flip)


def _spans(site: Site, spans: Spans) -> Sequence[Span]:
    """The tiles that a site names."""
    if site.layer == ALL:
        register = BY_UNIT[site.unit][site.register]
        check_limit(site, "bit", site.bit, register.bits(spans.program.network.arithmetic))
        counts = [
            (span, copies_at(spans, span, site)[1])
            for span in spans.all
            if has_register(register, span)
        ]
        check_limit(site, "copy", site.copy, max((count for _, count in counts), default=1))
        # A copy that is routed to the bit in some layers only is stuck there only.
        left = [span for span, count in counts if site.copy < count]
        return [span for span in left if moments(register, span, spans)]
    names = {name: i for i, name in enumerate(spans.program.layer_names)}
    if site.layer not in names:
        near = difflib.get_close_matches(site.layer, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"layers are {', '.join(names)}"
        raise FlexhycaError(
            f"site {site}: layer {site.layer!r} is not in {spans.program.name}; {hint}"
        )
    own = spans.own[names[site.layer]]
    if own and not has_register(BY_UNIT[site.unit][site.register], own[0]):
        raise FlexhycaError(
            f"site {site}: layer {site.layer!r} is no conv or linear layer, and {site.register} "
            "holds nothing of it; `flexhyca sites` lists what is used"
        )
    if site.tile == EVERY:
        return own
    check_limit(site, "tile", site.tile, len(own))
    return own[site.tile : site.tile + 1]


def alike(register: Register, config: Config) -> list[range | None]:
    """Columns of the array whose places of a register have the same copies; None for all places."""
    if not register.protected or register.unit not in UNIT_OF_DATAFLOW.values():
        return [None]
    parts = [cols for _, cols in hardening(config, config.array.cols)]
    return list(parts) if len(parts) > 1 else [None]


def has_register(register: Register, span: Span) -> bool:
    """Whether the register works in the tile at all."""
    return bool(span.gemms) or (register.unit == "buffer" and register.name != "output")


def is_used_by(site: Site, span: Span, spans: Spans) -> bool:
    """Whether a bit that is stuck for ever is one that the tile has, with that copy."""
    register = BY_UNIT[site.unit][site.register]
    if not has_register(register, span) or not moments(register, span, spans):
        return False
    return site.copy < copies_at(spans, span, site)[1]


def _check_tile(site: Site, register: Register, span: Span, spans: Spans) -> None:
    network = spans.program.network
    if site.unit != "buffer":
        machine = spans.array(span)
        if machine is not spans.program.config:  # fewer columns than have been checked
            check_place(site, machine)
    if site.tile != EVERY:
        cycles = moments(register, span, spans)
        check_limit(site, "cycle", site.cycle, cycles)
        if site.until > cycles:
            raise FlexhycaError(
                f"site {site}: until={site.until} is after the tile's {cycles} cycles; leave "
                "it out for a bit that is stuck to the end"
            )
    check_limit(site, "bit", site.bit, register.bits(network.arithmetic))
    runs, own = copies_at(spans, span, site)
    check_limit(site, "copy", site.copy, runs * own)
    if site.register == "instruction":
        check_limit(site, "word", site.row, span.end - span.begin)


def _sum(plan: Plan, site: Site, span: Span, spans: Spans) -> None:
    """A word of the output buffer that holds a sum."""
    if not spans.program.config.array.keeps_sums:  # the array adds to it in every fold
        if site.row < span.m * span.n:
            _add_flip(plan, site, span, spans)
        return
    last = site.cycle + 1
    if site.stuck != FLIP:
        last = span.moments if site.until == END else site.until
    plan.sums.setdefault((span.layer, span.number), []).extend(
        Sum(moment, site.row, site.bit, site.stuck) for moment in range(site.cycle, last)
    )


def _result(plan: Plan, site: Site, span: Span, spans: Spans) -> None:
    """A word of the output buffer that VEC has finished."""
    word = Sum(site.cycle, site.row, site.bit, site.stuck)
    plan.results.setdefault((span.layer, span.number), []).append(word)


def _instruction(plan: Plan, site: Site, span: Span, spans: Spans) -> None:
    pc = span.begin + site.row
    plan.instructions.setdefault(pc, []).append((site.bit, site.stuck))


#: Words of the buffers that are no bytes of one, by what a fault in them is.
_SLOTS = {"output": _sum, "result": _result, "instruction": _instruction}
all_handled("buffer", [*_SLOTS, *BUFFER_BYTES], "simulator/inject/fault_plan.py: _SLOTS")


def _word(site: Site, buffer: Cells, own: Sequence[Span]) -> Word:
    """A byte of a buffer, in program order."""
    begin: Moment = (-1, 0)
    end: Moment | None = None
    if site.tile == EVERY and site.layer != ALL:
        begin, end = (own[0].begin, 0), (own[-1].end, 0)
    elif site.tile != EVERY:
        (span,) = own
        begin = _moment(site.register, span, site.cycle)
        if site.stuck != FLIP:
            end = (span.end, 0)
            if site.register != "position" and site.until not in (END, span.cycles):
                end = _moment(site.register, span, site.until)
    return Word(buffer, site.row, 1 << site.bit, site.stuck, begin, end)


def _moment(register: str, span: Span, cycle: int) -> Moment:
    """When in program order a cycle of a tile is."""
    if register == "position" and span.dppus:
        return span.dppus[0], 0
    if not span.gemms:
        return span.vec, 0
    part = max(i for i, start in enumerate(span.starts) if start <= cycle)
    return span.gemms[part], cycle - span.starts[part]


def force(value: int, bit: int, stuck: int, bits: int) -> int:
    """A two's complement word of `bits` with one of them flipped, or held at `stuck`."""
    mask = 1 << bit
    word = value ^ mask if stuck == FLIP else (value & ~mask) | (stuck << bit)
    return int(fixedpoint.wrap(word, bits))
