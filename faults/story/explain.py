"""The story of a fault: what was stored, what it became, what it reached, where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import ProgramError
from ...isa.assembly import line
from ...isa.registers import BUFFER_BYTES
from ...simulator.inject.buffer_faults import Read
from ...simulator.inject.control import words
from ...simulator.inject.fault_run import FaultRun, Hit, Outcome
from ...simulator.inject.sites import Site
from ...simulator.text.spans import Span
from ..machine.outcomes import OUTCOMES, STAGES, outcome
from .hit_words import hit_lines, hit_tile, meets_zeros
from .region import region

_SHOWN = 6  #: words, and readers, that are listed


def explain(run: FaultRun, sites: Sequence[Site], result: Outcome) -> Iterator[str]:
    """Lines about `result`, the outcome of `run.run(sites)`."""
    yield from (str(site) for site in sites)
    told: Span | None = None
    for site in sites:
        span = hit_tile(run, site)
        if span != told:
            yield _tile(run, span)
        told = span
        if site.register == "instruction":
            yield from _instruction(run, site)
        else:
            yield from hit_lines(run, span, site, sites)
    yield from _listed([_reader(run, read) for read in result.reads], "reads")
    # Where instructions are wrong, too, the machine runs as it is, and nobody keeps the readers.
    ordered = not any(s.register == "instruction" for s in sites)
    if (
        ordered
        and not result.reads
        and any(s.unit == "buffer" and s.register in BUFFER_BYTES for s in sites)
    ):
        yield "nothing reads the wrong byte before it is written again"
    for hit in [hit for hit in result.hits if len(hit.elements)] or result.hits[:1]:
        if hit.span != told:
            yield _tile(run, hit.span)
        told = hit.span
        yield from _words(run, hit)
        if not len(hit.elements) and len(sites) == 1 and meets_zeros(run, hit.span, sites[0]):
            yield "  every operand that it is multiplied by is 0"
    for name, count in result.changed.items():
        size = next(t.elements for t in run.network.tensors if t.name == name)
        yield f"  {name}: {count} of {size} elements differ"
    name = outcome(run.golden, result.output, result.masked, result.failure)
    kind, _, stage = name.partition(":")
    if stage:
        yield f"masked ({stage}): {STAGES[stage]}"
    elif result.failure:
        yield f"{kind}: {OUTCOMES[kind]}; {result.reason}"
    else:
        before, after = (int(np.argmax(x)) for x in (run.golden, result.output))
        yield f"{kind}: {OUTCOMES[kind]}; prediction {before} -> {after}"


def _tile(run: FaultRun, span: Span) -> str:
    operands = f", {run.evaluate.depth(span)} operands a sum" if span.gemms else ""
    return (
        f"tile {span.number} of {run.network.layers[span.layer].name}: "
        f"pixels {span.m0}..{span.m0 + span.m - 1}, "
        f"channels {span.n0}..{span.n0 + span.n - 1}{operands}"
    )


def _instruction(run: FaultRun, site: Site) -> Iterator[str]:
    """The instruction that is hit, before and after."""
    span = run.spans.own[run.program.layer_names.index(site.layer)][site.tile]
    pc = span.begin + site.row
    low, high = run.program.text[pc].tolist()
    shared = run.program.config.buffers.scratchpad_bytes > 0
    yield f"instruction {pc}: {line(low, high, pc, shared)}"
    try:
        low, high = words((low, high), [(site.bit, site.stuck)])
        yield f"becomes: {line(low, high, pc, shared)}"
    except ProgramError as error:
        yield f"becomes nothing: {error.what}"


def _reader(run: FaultRun, read: Read) -> str:
    """Who reads a wrong byte as what."""
    span = run.spans.by_pc[read.pc]
    layer = run.network.layers[span.layer]
    tile = f"tile {span.number} of {layer.name}"
    first, second = read.at
    if read.what in ("input", "other"):
        tensor = run.network.tensors[layer.input if read.what == "input" else layer.residual]
        place, channel = divmod(first, tensor.c)
        y, x = divmod(place, tensor.w)
        what = f"element ({y}, {x}, channel {channel}) of {tensor.name}"
    elif read.what == "weight":
        what = f"weight {second} of output channel {span.n0 + first}"
    elif read.what == "bias":
        what = f"byte {second} of the bias of output channel {span.n0 + first}"
    elif read.what == "residual":
        what = f"residual operand of word {first}"
    else:
        what = f"byte {first} of its position table"
    return f"{read.engine.name} reads it at pc {read.pc} ({tile}): {what}"


def _listed(lines: Sequence[str], what: str) -> Iterator[str]:
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"  ... and {len(lines) - _SHOWN} more {what}"


def _words(run: FaultRun, hit: Hit) -> Iterator[str]:
    """The words that differ, before and after; sums, stored and cut."""
    layer, a = run.network.layers[hit.span.layer], run.network.arithmetic
    out = run.network.tensors[layer.output]
    if not len(hit.elements):
        yield "no sum differs"
        return
    if hit.summed:
        yield (
            f"{len(hit.elements)} sum(s) differ; stored are bits {layer.shift + a.act_bits - 1}.."
            f"{layer.shift} ({a.overflow}), clamped to {layer.act_lo}..{layer.act_hi}:"
        )
    else:
        yield f"{len(hit.elements)} stored value(s) differ:"
    where = region(hit.elements, out.w, out.c)
    if hit.summed:
        gone = int(hit.overwritten.sum())
        stored_so = int(((hit.stored_before != hit.stored_after) & ~hit.overwritten).sum())
        where += f"; stored differently: {stored_so}"
        where += f", overwritten by the DPPU: {gone}" if gone else ""
    yield f"  reached: {where}"
    lines = []
    for i, at in enumerate(hit.elements.tolist()):
        pixel, channel = divmod(at, out.c)
        end = ""
        if hit.summed:
            end = f", stored {hit.stored_before[i]} -> {hit.stored_after[i]}"
            if hit.overwritten[i]:
                end = ", overwritten by the DPPU"
        lines.append(
            f"  ({pixel // out.w}, {pixel % out.w}, channel {channel}): "
            f"{hit.before[i]} -> {hit.after[i]}{end}"
        )
    yield from _listed(lines, "words")
