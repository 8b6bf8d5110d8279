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
from .timing import STATIONARY_PIPELINE_STEPS, fold_cycles

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
    plan: I64,
) -> tuple[I32, int]:
    """Step every register of a weight- or input-stationary array (see `stationary_array`).

    streamed_in : (s, k). held_in : (n, k), n <= cols. buffer : (s, n), the sums so far. folds :
    operands of each, at most `rows`. plan : `flips.tile_plan` of the units of the array, its delay
    lines and the buffer, whose row and column are those of `buffer` here.
    Sums are kept in the top `acc_bits` bits of an int32, so that they wrap by themselves.
    """
    count = len(streamed_in)
    n = len(held_in)
    up = np.int32(32 - acc_bits)
    preload, held = np.zeros((rows, cols), np.int8), np.zeros((rows, cols), np.int8)
    streamed, streamed_next = np.zeros((rows, cols), np.int8), np.zeros((rows, cols), np.int8)
    skew = np.zeros((rows, rows), np.int8)  # stage s of row r
    psum, psum_next = np.zeros((rows, cols), np.int32), np.zeros((rows, cols), np.int32)
    product = np.zeros(cols, np.int16)  # of the row at hand: wires, no register
    sums = buffer << up
    first = np.zeros(len(folds) + 1, np.int64)  # operand of each fold, and step
    begin = np.zeros(len(folds) + 1, np.int64)
    first[1:] = np.cumsum(folds)
    begin[1:] = np.cumsum(fold_cycles(count, folds, n))
    fold = 0
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
        # Each pipeline stage works on the fold that the stage before it worked on a step ago.
        if t >= 2:  # write: vector i leaves column c in step 2U+1+i+c of its fold, if it is valid
            own = fold - 1 if fold and t - 2 < begin[fold] else fold
            used = folds[own]
            behind = t - 2 - begin[own] - (2 * used - 1)
            for c in range(max(0, behind - count + 1), min(n, behind + 1)):
                sums[behind - c, c] += psum[used - 1, c]
        if t >= 1:  # sum: a row without operands (partial fold) has no valid bit
            used = folds[fold - 1 if fold and t - 1 < begin[fold] else fold]
            for r in range(rows):
                if r < used:
                    for c in range(cols):
                        product[c] = np.int16(streamed[r, c]) * np.int16(held[r, c])
                else:
                    product[:] = 0
                if r:
                    for c in range(cols):
                        psum_next[r, c] = psum[r - 1, c] + (np.int32(product[c]) << up)
                else:
                    for c in range(cols):
                        psum_next[0, c] = np.int32(product[c]) << up
            psum, psum_next = psum_next, psum
        if fold < len(folds) - 1 and t == begin[fold + 1]:
            fold += 1
        step, used = t - begin[fold], folds[fold]
        runs = t < begin[-1]
        if step == used and runs:
            for r in range(rows):
                for c in range(cols):
                    held[r, c] = preload[r, c]
        if step < used and runs:
            for r in range(rows - 1, 0, -1):
                for c in range(cols):
                    preload[r, c] = preload[r - 1, c]
            last = used - 1 - step  # the row that the value is for
            for c in range(cols):
                preload[0, c] = held_in[c, first[fold] + last] if c < n else 0
        for r in range(rows):
            for c in range(1, cols):
                streamed_next[r, c] = streamed[r, c - 1]
            i = step - used  # all rows read vector i in one step, and delay it
            valid = runs and 0 <= i < count
            enters = streamed_in[i, first[fold] + r] if valid and r < used else 0
            streamed_next[r, 0] = skew[r, r - 1] if r else enters
            for stage in range(r - 1, 0, -1):
                skew[r, stage] = skew[r, stage - 1]
            if r:
                skew[r, 0] = enters
        streamed, streamed_next = streamed_next, streamed
    return sums >> up, begin[-1]
