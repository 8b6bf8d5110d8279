"""Exact corrections of a stationary tile's sums (numba); the slow twin is `stationary_stepper`.

A value that is wrong on its way is another factor in every product that it still meets; so only the
sums of the columns and vectors that a fault can reach are added up again, fold by fold, and a word
of the partial-sum buffer that is hit is followed alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...kernels import kernel
from ...network.arrays import I8, I32, I64
from ...network.fixedpoint_kernels import signed
from .flips import COL, FROM, REGISTER, ROW, TO, arrives, passed, stored
from .roles import SUMS, stationary_codes
from .timing import STATIONARY_PIPELINE_STEPS, fold_begins, fold_latches, fold_reads

_PRELOAD, _HELD, _STREAMED, _PSUM, _SKEW_STREAMED = stationary_codes(
    ("preload", "held", "streamed", "psum"),
    ("streamed",),
    "simulator/array/stationary_corrections.py: stationary_corrections",
)


@kernel
def _reached(
    plan: I64, c: int, begin: int, used: int, waits: int, touched: NDArray[np.bool_]
) -> tuple[bool, bool, bool]:
    """What faults reach of column c in the fold that begins in step `begin`.

    waits : steps at most from when the chain is full until a PE has latched.
    Marks in `touched` the vectors that meet a wrong value on their own way. Returns whether a held
    value is hit; whether it or one in the preload chain is: then all vectors may be wrong; and
    whether any is marked.
    """
    touched[:] = False
    some = held = preload = False
    for i in range(len(plan)):
        register, r, at = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
        begins, ends, first = plan[i, FROM], plan[i, TO], begin + fold_reads(used, 0, 0)
        reaches = False
        if register == _PRELOAD:
            preload |= at == c and begins <= begin + used + waits and ends > begin
        elif register == _HELD:
            read_last = begin + fold_reads(used, r, c) + len(touched) - 1
            held |= at == c and r < used and begins <= read_last and ends > first
        elif register == _PSUM:
            reaches, first = at == c and r < used, begin + fold_reads(used, r + 1, c)
        elif register == _STREAMED:
            reaches, first = at <= c and r < used, begin + fold_reads(used, r, at)
        elif register == _SKEW_STREAMED:
            reaches, first = r < used, begin + fold_reads(used, 0, at)
        elif register != SUMS:  # which are followed word by word
            raise InternalError("stationary_corrections.py: _reached has no branch for a register")
        if reaches and ends > first and begins < first + len(touched):
            touched[max(0, begins - first) : ends - first] = True
            some = True
    return held, held or preload, some


@kernel
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
    overlapped: bool,
    plan: I64,
) -> tuple[I64, I64, I64]:
    """Vectors, columns and changes of the sums; arguments as of `step_stationary`."""
    count, n = len(streamed), len(held)
    begins = fold_begins(count, folds, n, overlapped)
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
            many[r] = passed(plan, _STREAMED, _SKEW_STREAMED, ROW, COL, r, c, own[r])
            row_hit[r] = many[r] > 0
        alone = words[c]  # the column's sums are followed from row to row, or only rows that differ
        for i in range(faults):
            if plan[i, COL] == c and plan[i, REGISTER] == _PSUM:
                alone = True
            elif plan[i, COL] == c and plan[i, REGISTER] == _HELD:
                row_hit[plan[i, ROW]] = True
            elif plan[i, COL] == c and plan[i, REGISTER] == _PRELOAD:
                row_hit[plan[i, ROW] :] = True
        k0 = 0
        for fold in range(len(folds)):
            begin, used = begins[fold], folds[fold]
            waits = used - 1 + c if overlapped else 0
            moves, all_vectors, some = _reached(plan, c, begin, used, waits, touched)
            if not (some or all_vectors or words[c]):
                k0 += used
                continue
            for r in range(used):  # down the preload chain, until the PE latches it
                value[r], now[r] = held[c, k0 + r], begin + fold_latches(used, r, c, overlapped)
                if all_vectors:
                    for step in range(begin + used - r, now[r] + 1):
                        at = min(r, step - (begin + used - r))
                        value[r] = stored(plan, _PRELOAD, at, c, step, value[r], held_bits)
            for i in range(count):
                if not (touched[i] or all_vectors or word[i, c] >= 0):
                    continue
                total = clean = 0
                # Step in which the first register before a row's first PE is read.
                first = begin + fold_reads(used, 0, 0) + i
                for r in range(used):
                    if not (alone or row_hit[r]):
                        continue
                    read = first + r + c
                    if r:
                        total = stored(plan, _PSUM, r - 1, c, read, total, acc_bits)
                    while moves and now[r] < read:
                        now[r] += 1
                        value[r] = stored(plan, _HELD, r, c, now[r], value[r], held_bits)
                    x = int(streamed[i, k0 + r])
                    clean += x * int(held[c, k0 + r])
                    x = arrives(plan, own[r], many[r], first, x, streamed_bits)
                    total = signed(total + x * value[r], acc_bits)
                total = stored(plan, _PSUM, used - 1, c, first + used + c, total, acc_bits)
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
                fold = 0
                for t in range(begins[-1] + STATIONARY_PIPELINE_STEPS):
                    total = stored(plan, SUMS, i, c, t, total, acc_bits)
                    if fold == len(folds):
                        continue
                    if t == begins[fold] + fold_reads(folds[fold], folds[fold], c) + i:
                        clean += parts[at, fold]
                        total = signed(total + parts[at, fold], acc_bits)
                        fold += 1
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
