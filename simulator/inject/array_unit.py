"""Registers of the array in a tile with faults: stepped one by one, or corrected exactly.

The two are twins of one signature: the sums that leave the array for operands that arrive at it.
A redundant layer has three runs (or thirds) of the array, whose sums are voted bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from ...config import Config
from ...isa.protection import layer_columns, protected_columns
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
    flow, pes = _flow(spans), _pes(spans, span)
    sums = [flow.step(act, wgt, start, pes, flips, folds)[0].astype(np.int64) for flips in runs]
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
    flow, pes, found = _flow(spans), _pes(spans, span), []
    for flips in runs:
        by = np.zeros(start.shape, np.int64)
        if flips:
            rows, cols, more = flow.correct(act, wgt, start, pes, flips, folds)
            by[rows, cols] += more
        found.append(by)
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
    pes = _pes(spans, span)
    shape = TileShape(m, n, tuple(folds), pes.rows, pes.cols, pes.overlapped)
    return _flow(spans).cycles(shape)


def _flow(spans: Spans) -> ArrayUnit:
    return DATAFLOWS[spans.program.config.array.dataflow]


def _pes(spans: Spans, span: Span) -> Pes:
    layer = spans.program.network.layers[span.layer]
    return pes_of_layer(spans.program.config, layer)


def pes_of_layer(config: Config, layer: Layer) -> Pes:
    """The PEs that compute a layer."""
    unit, shift = DATAFLOWS[config.array.dataflow].unit, layer.shift
    return Pes(
        config.array.rows,
        layer_columns(config, layer.name),
        config.arithmetic,
        protected_columns(config, shift, unit),
        protected_columns(config, shift, unit, "prod"),
        config.protection.voter,
        config.array.overlaps,
    )
