"""Registers of the array in a tile with faults: stepped one by one, or corrected exactly.

The two are twins of one signature: the sums that leave the array for operands that arrive at it.
A redundant layer has three runs (or thirds) of the array, whose sums are voted bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...isa.protection import layer_columns, protected_columns
from ...network import fixedpoint
from ..array.array_faults import os_tile_faults
from ..array.flips import Flip
from ..array.kernels import dot
from ..array.stationary_faults import is_faults, ws_faults
from ..array.stepper import os_tile
from ..array.stepper_stationary import is_fold, ws_fold
from ..array.timing import (
    STATIONARY_PIPELINE_STEPS,
    is_fold_cycles,
    os_tile_cycles,
    ws_fold_cycles,
)
from ..text.spans import Span, Spans

Int8: TypeAlias = NDArray[np.int8]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Runs = Sequence[Sequence[Flip]]  #: faults of each run of the tile, one or three


def voted(runs: Sequence[Int64]) -> Int64:
    """Sums of three runs, each bit that of the majority."""
    if len(runs) == 1:
        return runs[0]
    a, b, c = runs
    return (a & b) | (a & c) | (b & c)


def stepped(
    act: Int8, wgt: Int8, start: Int32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> Int32:
    """start (m, n) + act (m, k) . wgt (n, k), every register stepped.

    folds : operands of each part of the reduction, which a stationary array takes one by one.
    """
    dataflow, sums = spans.program.config.array.dataflow, []
    for flips in runs:
        if dataflow == "os":
            out, _ = os_tile(
                act, wgt, start, flips=flips, **_pes(spans, span), **_voter(spans, span)
            )
        else:
            fold = ws_fold if dataflow == "ws" else is_fold
            out, _ = fold(act, wgt, start, flips=flips, folds=folds, **_pes(spans, span))
        sums.append(out.astype(np.int64))
    return voted(sums).astype(np.int32)


def corrected(
    act: Int8, wgt: Int8, start: Int32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> Int32:
    """The same, from the fault-free product."""
    acc_bits = spans.program.network.arithmetic.acc_bits
    out = dot(act, wgt, start, acc_bits) + changes(act, wgt, start, spans, span, runs, folds)
    return fixedpoint.wrap(out, acc_bits).astype(np.int32)


def changes(
    act: Int8, wgt: Int8, start: Int32, spans: Spans, span: Span, runs: Runs, folds: Sequence[int]
) -> Int64:
    """What faults add, modulo 2**acc_bits, to the sums of a tile with all its operands: (m, n)."""
    acc_bits = spans.program.network.arithmetic.acc_bits
    dataflow, found = spans.program.config.array.dataflow, []
    for flips in runs:
        by = np.zeros(start.shape, np.int64)
        if flips and dataflow == "os":
            rows, cols, more = os_tile_faults(
                act, wgt, start, flips=flips, **_pes(spans, span), **_voter(spans, span)
            )
            by[rows, cols] += more
        elif flips:
            faults = ws_faults if dataflow == "ws" else is_faults
            rows, cols, more = faults(
                act, wgt, start, flips=flips, folds=folds, **_pes(spans, span)
            )
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


def steps(spans: Spans, span: Span, m: int, k: int, n: int, folds: int) -> int:
    """Steps of a tile of any size on the array that computes the layer of `span`."""
    pes, dataflow = _pes(spans, span), spans.program.config.array.dataflow
    if dataflow == "os":
        return os_tile_cycles(k, pes["rows"], pes["cols"])
    one = ws_fold_cycles(m, pes["rows"], pes["cols"])
    if dataflow == "is":
        one = is_fold_cycles(n, pes["rows"], pes["cols"])
    return folds * one + STATIONARY_PIPELINE_STEPS


def _pes(spans: Spans, span: Span) -> dict[str, Any]:
    config = spans.program.config
    return {
        "rows": config.array.rows,
        "cols": layer_columns(config, spans.program.layer_names[span.layer]),
        "arithmetic": spans.program.network.arithmetic,
    }


def _voter(spans: Spans, span: Span) -> dict[str, Any]:
    config, shift = spans.program.config, spans.program.network.layers[span.layer].shift
    return {
        "protected": protected_columns(config, shift),
        "product": protected_columns(config, shift, register="prod"),
        "voter": config.protection.voter,
    }
