"""The register-true stepper of the stationary arrays: literal, slow, obviously right (numba).

In every step the faults act on what is stored, then all registers take their next state at once.
"""

from __future__ import annotations

import numpy as np

from ...errors import InternalError
from ...kernels import kernel
from ...network.arrays import I8, I32, I64
from .flips import COL, FROM, REGISTER, ROW, TO, strike
from .roles import SUMS, stationary_codes
from .timing import STATIONARY_PIPELINE_STEPS, fold_begins

_PRELOAD, _HELD, _STREAMED, _PSUM, _SKEW_STREAMED = stationary_codes(
    ("preload", "held", "streamed", "psum"),
    ("streamed",),
    "simulator/array/stationary_stepper.py: step_stationary",
)


@kernel
def step_stationary(
    streamed_in: I8,
    held_in: I8,
    buffer: I32,
    folds: I64,
    rows: int,
    cols: int,
    streamed_bits: int,
    held_bits: int,
    acc_bits: int,
    overlapped: bool,
    plan: I64,
) -> tuple[I32, int]:
    """Step every register of a weight- or input-stationary array (see `stationary_array`).

    streamed_in : (s, k). held_in : (n, k), n <= cols. buffer : (s, n), the sums so far. folds :
    operands of each, at most `rows`. overlapped : whether a fold is preloaded while the one before
    it streams. plan : `flips.tile_plan` of the units of the array, its delay lines and the buffer,
    whose row and column are those of `buffer` here.
    Sums are kept in the top `acc_bits` bits of an int32, so that they wrap by themselves.
    """
    count = len(streamed_in)
    n = len(held_in)
    up = np.int32(32 - acc_bits)
    preload, held = np.zeros((rows, cols), np.int8), np.zeros((rows, cols), np.int8)
    streamed, streamed_next = np.zeros((rows, cols), np.int8), np.zeros((rows, cols), np.int8)
    skew = np.zeros((rows, rows), np.int8)  # stage s of row r
    # Beside each operand on its way stands whether it is one.
    valid, valid_next = np.zeros((rows, cols), np.bool_), np.zeros((rows, cols), np.bool_)
    valid_skew = np.zeros((rows, rows), np.bool_)
    psum, psum_next = np.zeros((rows, cols), np.int32), np.zeros((rows, cols), np.int32)
    product = np.zeros(cols, np.int16)  # of the row at hand: wires, no register
    sums = buffer << up
    first = np.zeros(len(folds) + 1, np.int64)  # operand of each fold
    first[1:] = np.cumsum(folds)
    begin = fold_begins(count, folds, n, overlapped)
    enters = begin[:-1] + folds  # step in which vector 0 of each fold enters
    last = len(folds) - 1
    loading = streaming = leaving = 0  # the fold that is preloaded, that enters, that is written
    for t in range(begin[-1] + STATIONARY_PIPELINE_STEPS):
        for i in range(len(plan)):
            if not plan[i, FROM] <= t < plan[i, TO]:
                continue
            register, r, c = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
            if register == _PRELOAD:
                preload[r, c] = strike(plan, i, preload[r, c], held_bits)
            elif register == _HELD:
                held[r, c] = strike(plan, i, held[r, c], held_bits)
            elif register == _STREAMED:
                streamed[r, c] = strike(plan, i, streamed[r, c], streamed_bits)
            elif register == _PSUM:
                psum[r, c] = np.int32(strike(plan, i, psum[r, c] >> up, acc_bits)) << up
            elif register == _SKEW_STREAMED:
                skew[r, c] = strike(plan, i, skew[r, c], streamed_bits)
            elif register == SUMS:
                sums[r, c] = np.int32(strike(plan, i, sums[r, c] >> up, acc_bits)) << up
            else:
                raise InternalError("stationary_stepper.py: no branch for a register")
        # write: vector i leaves column c in step U+1+i+c of its stream, if it is valid
        if leaving < streaming and t > enters[leaving] + folds[leaving] + count + n - 1:
            leaving += 1
        for own in range(leaving, streaming + 1):
            behind = t - (enters[own] + folds[own] + 1)
            for c in range(max(0, behind - count + 1), min(n, behind + 1)):
                sums[behind - c, c] += psum[folds[own] - 1, c]
        for r in range(rows):  # sum
            for c in range(cols):
                product[c] = np.int16(streamed[r, c]) * np.int16(held[r, c]) if valid[r, c] else 0
            if r:
                for c in range(cols):
                    psum_next[r, c] = psum[r - 1, c] + (np.int32(product[c]) << up)
            else:
                for c in range(cols):
                    psum_next[0, c] = np.int32(product[c]) << up
        psum, psum_next = psum_next, psum
        if loading < last and t == begin[loading + 1]:
            loading += 1
        if streaming < last and t == enters[streaming + 1]:
            streaming += 1
        i = t - enters[streaming]  # all rows read vector i in one step, and delay it
        for r in range(rows):
            for c in range(1, cols):
                streamed_next[r, c], valid_next[r, c] = streamed[r, c - 1], valid[r, c - 1]
            comes = 0 <= i < count and r < folds[streaming]
            value = streamed_in[i, first[streaming] + r] if comes else 0
            streamed_next[r, 0] = skew[r, r - 1] if r else value
            valid_next[r, 0] = valid_skew[r, r - 1] if r else comes
            for stage in range(r - 1, 0, -1):
                skew[r, stage], valid_skew[r, stage] = skew[r, stage - 1], valid_skew[r, stage - 1]
            if r:
                skew[r, 0], valid_skew[r, 0] = value, comes
        # latch: all PEs at once; overlapped, each with the first operand of a stream
        for r in range(rows):
            for c in range(cols):
                starts = t == enters[loading]
                if overlapped:
                    starts = valid_next[r, c] and not valid[r, c]
                if starts:
                    held[r, c] = preload[r, c]
        streamed, streamed_next = streamed_next, streamed
        valid, valid_next = valid_next, valid
        step = t - begin[loading]
        if step < folds[loading]:
            for r in range(rows - 1, 0, -1):
                for c in range(cols):
                    preload[r, c] = preload[r - 1, c]
            at = first[loading] + folds[loading] - 1 - step  # the value of the last row comes first
            for c in range(cols):
                preload[0, c] = held_in[c, at] if c < n else 0
    return sums >> up, begin[-1]
