"""What faults in the registers of a weight- or input-stationary tile add to its sums, exactly.

The fast twin of `stepper_stationary`.  A value that is wrong on its way is another factor in every
product that it still meets; so only the sums of the columns and vectors that a fault can reach are
added up again, fold by fold, and a word of the partial-sum buffer that is hit is followed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...config import Arithmetic
from .fault_kernels import arrives, passed
from .flips import (
    COL,
    FROM,
    REGISTER,
    ROW,
    TO,
    Flip,
    stored,
)
from .kernels import (
    HELD,
    I8,
    I32,
    I64,
    PRELOAD,
    PSUM,
    STREAMED,
)
from .stepper_kernels import SKEW_STREAMED, SUMS
from .stepper_stationary import even_folds, is_plan, ws_plan
from .voters import signed

Changes = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def ws_faults(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    psum: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
    folds: Sequence[int] = (),
) -> Changes:
    """Rows (pixels), columns (filters) and changes of the sums; some may change by 0.

    Arguments as of `ws_fold`. The changes are modulo 2**acc_bits. Raises FlexhycaError for a flip
    outside the array.
    """
    folds = folds or even_folds(act.shape[1], rows)
    plan = ws_plan(flips, act.shape[0], wgt.shape[0], len(folds), rows, cols, arithmetic)
    bits = arithmetic.act_bits, arithmetic.weight_bits, arithmetic.acc_bits
    return _run(act, wgt, psum, folds, rows, cols, bits, plan)


def is_faults(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    psum: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
    folds: Sequence[int] = (),
) -> Changes:
    """As `ws_faults`, with the arguments of `is_fold`."""
    folds = folds or even_folds(act.shape[1], rows)
    plan = is_plan(flips, act.shape[0], wgt.shape[0], len(folds), rows, cols, arithmetic)
    bits = arithmetic.weight_bits, arithmetic.act_bits, arithmetic.acc_bits
    filters, pixels, change = _run(wgt, act, psum.T, folds, rows, cols, bits, plan)
    return pixels, filters, change


def _run(
    streamed: NDArray[np.int8],
    held: NDArray[np.int8],
    buffer: NDArray[np.int32],
    folds: Sequence[int],
    rows: int,
    cols: int,
    bits: tuple[int, int, int],
    plan: NDArray[np.int64],
) -> Changes:
    return stationary_corrections(
        np.ascontiguousarray(streamed, np.int8),
        np.ascontiguousarray(held, np.int8),
        np.ascontiguousarray(buffer, np.int32),
        np.array(folds, np.int64),
        rows,
        cols,
        *bits,
        plan,
    )


@njit(cache=True, nogil=True)
def _reached(
    plan: I64, c: int, begin: int, used: int, rows: int, period: int, touched: NDArray[np.bool_]
) -> tuple[bool, bool, bool]:
    """What faults reach of column c in the fold that begins in step `begin`.

    Marks in `touched` the vectors that meet a wrong value on their own way. Returns whether a held
    value is hit; whether it or one in the preload chain is: then all vectors may be wrong; and
    whether any is marked.
    """
    touched[:] = False
    some = held = preload = False
    for i in range(len(plan)):
        register, r, at = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
        begins, ends, first = plan[i, FROM], plan[i, TO], begin + rows + 1
        if register == PRELOAD:
            preload |= at == c and begins <= begin + rows and ends > begin
        elif register == HELD:
            held |= at == c and r < used and begins <= begin + period + rows and ends > first
        elif register != SUMS:
            if register == PSUM:
                reaches, first = at == c, first + 1 + r + c
            elif register == STREAMED:
                reaches, first = at <= c and r < used, first + r + at
            else:
                reaches, first = r < used, first + at
            if reaches and ends > first and begins < first + len(touched):
                touched[max(0, begins - first) : ends - first] = True
                some = True
    return held, held or preload, some


@njit(cache=True, nogil=True)
def stationary_corrections(
    streamed: I8,
    held: I8,
    buffer: I32,
    folds: I64,
    rows: int,
    cols: int,
    streamed_bits: int,
    held_bits: int,
    acc_bits: int,
    plan: I64,
) -> tuple[I64, I64, I64]:
    """Vectors, columns and changes of the sums; arguments as of `step_stationary`."""
    count, n = len(streamed), len(held)
    period = count + 2 * rows + cols - 2
    faults = len(plan)
    hit = np.zeros((count, n), np.bool_)
    change = np.zeros((count, n), np.int64)
    word = np.full((count, n), -1, np.int64)  # of the buffer, that is hit: number of the fault
    words = np.zeros(n, np.bool_)  # columns that have such a word
    for i in range(faults):
        if plan[i, REGISTER] == SUMS:
            word[plan[i, ROW], plan[i, COL]] = i
            words[plan[i, COL]] = True
    parts = np.zeros((faults, len(folds)), np.int64)  # what a fold adds to such a word
    own, many = np.empty((rows, faults, 2), np.int64), np.empty(rows, np.int64)
    touched, row_hit = np.empty(count, np.bool_), np.empty(rows, np.bool_)
    value, now = np.empty(rows, np.int64), np.empty(rows, np.int64)
    for c in range(n):
        for r in range(rows):
            many[r] = passed(plan, STREAMED, SKEW_STREAMED, ROW, COL, r, c, own[r])
            row_hit[r] = many[r] > 0
        alone = words[c]  # the column's sums are followed from row to row, or only rows that differ
        for i in range(faults):
            if plan[i, COL] == c and plan[i, REGISTER] == PSUM:
                alone = True
            elif plan[i, COL] == c and plan[i, REGISTER] == HELD:
                row_hit[plan[i, ROW]] = True
            elif plan[i, COL] == c and plan[i, REGISTER] == PRELOAD:
                row_hit[plan[i, ROW] :] = True
        k0 = 0
        for fold in range(len(folds)):
            begin, used = fold * period, folds[fold]
            moves, all_vectors, some = _reached(plan, c, begin, used, rows, period, touched)
            if not (some or all_vectors or words[c]):
                k0 += used
                continue
            for r in range(used):  # down the preload chain; the PE latches at the end of step R
                value[r], now[r] = held[c, k0 + r], begin + rows
                if all_vectors:
                    for above in range(r + 1):
                        step = begin + rows - r + above
                        value[r] = stored(plan, PRELOAD, above, c, step, value[r], held_bits)
            for i in range(count):
                if not (touched[i] or all_vectors or word[i, c] >= 0):
                    continue
                total = clean = 0
                first = begin + rows + 1 + i  # step in which a row's first register is read
                for r in range(rows):
                    if not (alone or row_hit[r]):
                        continue
                    read = first + r + c
                    if r:
                        total = stored(plan, PSUM, r - 1, c, read, total, acc_bits)
                    if r < used:
                        while moves and now[r] < read:
                            now[r] += 1
                            value[r] = stored(plan, HELD, r, c, now[r], value[r], held_bits)
                        x = int(streamed[i, k0 + r])
                        clean += x * int(held[c, k0 + r])
                        x = arrives(plan, own[r], many[r], first, x, streamed_bits)
                        total = signed(total + x * value[r], acc_bits)
                total = stored(plan, PSUM, rows - 1, c, first + rows + c, total, acc_bits)
                change[i, c] += total - clean
                hit[i, c] = True
                if word[i, c] >= 0:
                    parts[word[i, c], fold] = total
            k0 += used
    for i in range(count):
        for c in range(n):
            if word[i, c] >= 0:  # its sums, and then again with its own faults
                at, clean = word[i, c], int(buffer[i, c])
                total = clean
                for t in range(len(folds) * period + 2):
                    total = stored(plan, SUMS, i, c, t, total, acc_bits)
                    fold, step = (t - 2) // period, (t - 2) % period
                    if t >= 2 and step == 2 * rows - 1 + i + c:
                        clean += parts[at, fold]
                        total = signed(total + parts[at, fold], acc_bits)
                change[i, c] += total - clean
    found = hit.sum()
    out_i, out_c = np.empty(found, np.int64), np.empty(found, np.int64)
    out = np.empty(found, np.int64)
    at = 0
    for i in range(count):
        for c in range(n):
            if hit[i, c]:
                out_i[at], out_c[at], out[at] = i, c, change[i, c]
                at += 1
    return out_i, out_c, out
