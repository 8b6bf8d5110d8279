"""Registers of the array in a tile with faults: stepped one by one, or corrected exactly.

The two are twins of one signature: the sums that leave the array for operands that arrive at it.
A redundant layer has three runs (or thirds) of the array, whose sums are voted bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ...config import Config
from ...isa.protection import hardening, layer_columns, protected_columns
from ...isa.registers import BY_UNIT
from ...network import fixedpoint
from ...network.arrays import I8, I32, I64
from ...network.layers import Layer
from ..array.dataflows import DATAFLOWS
from ..array.flips import Flip
from ..array.kernels import dot
from ..array.tile import Pes, TileShape
from ..array.unit import ArrayUnit
from ..text.spans import Span, Spans, Visit
from .sites import END, FLIP

Runs = Sequence[Sequence[Flip]]  #: faults of each run of the tile, one or three


def voted(runs: Sequence[I64]) -> I64:
    """Sums of three runs, each bit that of the majority."""
    if len(runs) == 1:
        return runs[0]
    a, b, c = runs
    return (a & b) | (a & c) | (b & c)


def stepped(
    act: I8, wgt: I8, start: I32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> I32:
    """start (m, n) + act (m, k) . wgt (n, k), every register stepped.

    folds : operands of each part of the reduction, which a stationary array takes one by one.
    """
    flow, sums = _flow(spans), [start.astype(np.int64) for _ in runs]
    for cols, pes in _pes(spans, span, start.shape[1]):
        for own, flips in zip(sums, runs, strict=True):
            out, _ = flow.step(act, wgt, start, pes, _of_columns(flips, cols, spans), folds)
            own[:, cols.start : cols.stop] = out[:, cols.start : cols.stop]
    return voted(sums).astype(np.int32)


def corrected(
    act: I8, wgt: I8, start: I32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> I32:
    """The same, from the fault-free product."""
    acc_bits = spans.program.network.arithmetic.acc_bits
    out = dot(act, wgt, start, acc_bits) + changes(act, wgt, start, spans, span, runs, folds)
    return fixedpoint.wrap(out, acc_bits).astype(np.int32)


def changes(
    act: I8, wgt: I8, start: I32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> I64:
    """What faults add, modulo 2**acc_bits, to the sums of a tile with all its operands: (m, n)."""
    acc_bits = spans.program.network.arithmetic.acc_bits
    flow, found = _flow(spans), [np.zeros(start.shape, np.int64) for _ in runs]
    for part, pes in _pes(spans, span, start.shape[1]):
        for by, flips in zip(found, runs, strict=True):
            if own := _of_columns(flips, part, spans):
                rows, cols, more = flow.correct(act, wgt, start, pes, own, folds)
                inside = (cols >= part.start) & (cols < part.stop)
                by[rows[inside], cols[inside]] += more[inside]
    if len(found) == 1:  # no vote: what the sums are does not matter
        return found[0]
    rows, cols = np.nonzero(np.any(found, 0))
    exact = np.einsum("ik,ik->i", act[rows].astype(np.int64), wgt[cols].astype(np.int64))
    before = fixedpoint.wrap(exact + start[rows, cols], acc_bits)
    after = voted([fixedpoint.wrap(before + by[rows, cols], acc_bits) for by in found])
    out = np.zeros(start.shape, np.int64)
    out[rows, cols] = after - before
    return out


def of_visit(runs: Runs, visit: Visit, cycles: int) -> list[tuple[Flip, ...]]:
    """Those faults of a tile that meet a visit of so many cycles, in its steps."""
    return [_of_run(tuple(own), visit.start, cycles) for own in runs]


@lru_cache(64)  # of stuck PEs the tiles of a layer have the same, in every run
def _of_run(own: tuple[Flip, ...], start: int, cycles: int) -> tuple[Flip, ...]:
    return tuple(f for flip in own for f in _within(flip, start, cycles))


def _within(flip: Flip, start: int, cycles: int) -> Iterator[Flip]:
    step, until = flip.step - start, flip.until if flip.until == END else flip.until - start
    if flip.stuck == FLIP:
        if 0 <= step < cycles:
            yield flip._replace(step=step)
    elif step < cycles and (until == END or until > 0):
        yield flip._replace(step=max(0, step), until=END if until >= cycles else until)


def tile_steps(spans: Spans, span: Span, m: int, n: int, folds: Sequence[int]) -> int:
    """Steps of a tile of any size on the array that computes the layer of `span`."""
    _, pes = _pes(spans, span, n)[0]
    shape = TileShape(m, n, tuple(folds), pes.rows, pes.cols, pes.overlapped)
    return _flow(spans).cycles(shape)


def _flow(spans: Spans) -> ArrayUnit:
    return DATAFLOWS[spans.program.config.array.dataflow]


def _pes(spans: Spans, span: Span, sums: int) -> list[tuple[range, Pes]]:
    """The array that computes a tile: columns of sums whose PEs are alike, and as if all were so.

    PEs share operands, whose registers have no copies; products and sums are each PE's own. sums :
    columns of them, which are those of the PEs where they keep the sums, and where they are not all
    alike.
    """
    config, layer = spans.program.config, spans.program.network.layers[span.layer]
    parts = hardening(config, layer_columns(config, layer.name))
    if len(parts) == 1:
        parts = [(parts[0][0], range(sums))]
    return [(cols, pes_of_layer(config, layer, hardened)) for hardened, cols in parts]


def pes_of_layer(config: Config, layer: Layer, hardened: bool = False) -> Pes:
    """The PEs that compute a layer. hardened : those of hardened columns."""
    unit, shift = DATAFLOWS[config.array.dataflow].unit, layer.shift
    return Pes(
        config.array.rows,
        layer_columns(config, layer.name),
        config.arithmetic,
        protected_columns(config, shift, unit, hardened=hardened),
        protected_columns(config, shift, unit, "prod", hardened),
        config.protection.voter,
        config.array.overlaps,
    )


def _of_columns(flips: Sequence[Flip], cols: range, spans: Spans) -> Sequence[Flip]:
    """What matters to the sums of some columns: what is in their PEs, and in any operand."""
    if not spans.program.config.protection.hardened_cols:
        return flips
    unit = _flow(spans).unit
    return [
        flip
        for flip in flips
        if flip.unit != "array" or not BY_UNIT[unit][flip.register].protected or flip.col in cols
    ]
