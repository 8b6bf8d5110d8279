"""The register-true steppers with every fault hook: literal, slow, obviously right (numba).

In every step the faults act on what is stored, then all registers take their next state at once.
`kernels.step_os_tile` steps the same output-stationary array, without copies and stuck bits, fast.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...isa.registers import BY_UNIT
from .flips import (
    COL,
    FROM,
    REGISTER,
    ROW,
    TO,
    UNIT_STEP,
    strike,
    strike_copies,
)
from .kernels import (
    ACC,
    ACT,
    HELD,
    I8,
    I32,
    I64,
    PRELOAD,
    PROD,
    PSUM,
    STREAMED,
    WGT,
)
from .voters import (
    add_apart,
    majority,
    signed,
    vote,
    widen,
)

#: Codes of the delay lines in a plan.
SKEW_ACT, SKEW_WGT = UNIT_STEP + 0, UNIT_STEP + 1
SKEW_STREAMED = UNIT_STEP + 0  #: of the stationary arrays
#: Code of the partial-sum buffer: register `output` of the third unit, `buffer`.
SUMS = 2 * UNIT_STEP + BY_UNIT["buffer"]["output"].code


@njit(cache=True, nogil=True)
def step_os_tile_copies(
    act_in: I8,
    wgt_in: I8,
    start: I32,
    rows: int,
    cols: int,
    act_bits: int,
    weight_bits: int,
    acc_bits: int,
    plan: I64,
    low: int,
    high: int,
    feedback: bool,
) -> tuple[I32, int]:
    """Step every flip-flop of an output-stationary array through one tile (see `stepper`).

    start : (m, n). plan : `flips.make_plan` of units array, skew. Columns [low, high) of `prod` and
    `acc` have three copies; feedback : their voters stand behind each register, else at the output.
    """
    m, k = act_in.shape
    n = wgt_in.shape[0]
    prod_bits = act_bits + weight_bits
    act, wgt = np.zeros((rows, cols), np.int64), np.zeros((rows, cols), np.int64)
    skew_act, skew_wgt = np.zeros((rows, rows), np.int64), np.zeros((cols, cols), np.int64)
    prod, acc = np.zeros((rows, cols, 3), np.int64), np.zeros((rows, cols, 3), np.int64)
    wide = np.zeros(3, np.int64)
    out = np.zeros((m, n), np.int32)
    for r in range(m):
        for c in range(n):
            acc[r, c, :] = start[r, c]
    first_row_leaves = k + rows + cols - 2 + max(0, 3 - rows)
    total = first_row_leaves + rows
    for t in range(total):
        for i in range(len(plan)):
            if not plan[i, FROM] <= t < plan[i, TO]:
                continue
            register, r, c = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
            if register == ACT:
                act[r, c] = strike(plan, i, act[r, c], act_bits)
            elif register == WGT:
                wgt[r, c] = strike(plan, i, wgt[r, c], weight_bits)
            elif register == PROD:
                strike_copies(plan, i, prod[r, c], prod_bits)
            elif register == ACC:
                strike_copies(plan, i, acc[r, c], acc_bits)
            elif register == SKEW_ACT:
                skew_act[r, c] = strike(plan, i, skew_act[r, c], act_bits)
            else:
                skew_wgt[r, c] = strike(plan, i, skew_wgt[r, c], weight_bits)
        if t >= first_row_leaves and t - first_row_leaves < m:
            for c in range(n):
                out[t - first_row_leaves, c] = vote(acc[t - first_row_leaves, c])
        for r in range(rows):
            for c in range(cols):
                valid = 0 <= t - 2 - r - c < k
                if feedback:
                    total_sum = majority(acc[r, c, 0], acc[r, c, 1], acc[r, c, 2])
                    if valid:
                        product = majority(prod[r, c, 0], prod[r, c, 1], prod[r, c, 2])
                        total_sum = signed(total_sum + product, acc_bits)
                    acc[r, c, 0] = acc[r, c, 1] = acc[r, c, 2] = total_sum
                elif valid:
                    wide[:] = prod[r, c]
                    widen(wide, prod_bits, low, high)
                    add_apart(acc[r, c], wide, acc[r, c], acc_bits, high)
                prod[r, c, 0] = prod[r, c, 1] = prod[r, c, 2] = act[r, c] * wgt[r, c]
        for r in range(rows):
            for c in range(cols - 1, 0, -1):
                act[r, c] = act[r, c - 1]
            enters = act_in[r, t] if r < m and t < k else 0
            act[r, 0] = skew_act[r, r - 1] if r else enters
            for stage in range(r - 1, 0, -1):
                skew_act[r, stage] = skew_act[r, stage - 1]
            if r:
                skew_act[r, 0] = enters
        for c in range(cols):
            for r in range(rows - 1, 0, -1):
                wgt[r, c] = wgt[r - 1, c]
            enters = wgt_in[c, t] if c < n and t < k else 0
            wgt[0, c] = skew_wgt[c - 1, c] if c else enters
            for stage in range(c - 1, 0, -1):
                skew_wgt[stage, c] = skew_wgt[stage - 1, c]
            if c:
                skew_wgt[0, c] = enters
    return out, total


@njit(cache=True, nogil=True)
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
    """Step every register of a weight- or input-stationary array (see `stepper_stationary`).

    streamed_in : (s, k). held_in : (n, k), n <= cols. buffer : (s, n), the sums so far. folds :
    operands of each, at most `rows`. plan : `flips.make_plan` of the units of the array, its delay
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
    fold_cycles = count + 2 * rows + cols - 2
    first = np.zeros(len(folds) + 1, np.int64)  # operand of each fold
    first[1:] = np.cumsum(folds)
    for t in range(len(folds) * fold_cycles + 2):
        for i in range(len(plan)):
            if not plan[i, FROM] <= t < plan[i, TO]:
                continue
            register, r, c = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
            if register == PRELOAD:
                preload[r, c] = strike(plan, i, preload[r, c], held_bits)
            elif register == HELD:
                held[r, c] = strike(plan, i, held[r, c], held_bits)
            elif register == STREAMED:
                streamed[r, c] = strike(plan, i, streamed[r, c], streamed_bits)
            elif register == PSUM:
                psum[r, c] = np.int32(strike(plan, i, psum[r, c] >> up, acc_bits)) << up
            elif register == SKEW_STREAMED:
                skew[r, c] = strike(plan, i, skew[r, c], streamed_bits)
            else:
                sums[r, c] = np.int32(strike(plan, i, sums[r, c] >> up, acc_bits)) << up
        # Each pipeline stage works on the fold that the stage before it worked on a step ago.
        if t >= 2:  # write: vector i leaves column c in step 2R+1+i+c of its fold, if it is valid
            behind = (t - 2) % fold_cycles - (2 * rows - 1)
            for c in range(max(0, behind - count + 1), min(n, behind + 1)):
                sums[behind - c, c] += psum[rows - 1, c]
        if t >= 1:  # sum: a row without operands (partial fold) has no valid bit, and passes it on
            used = folds[min((t - 1) // fold_cycles, len(folds) - 1)]
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
        fold, step = t // fold_cycles, t % fold_cycles
        if step == rows:
            for r in range(rows):
                for c in range(cols):
                    held[r, c] = preload[r, c]
        runs = fold < len(folds)
        if step < rows and runs:
            for r in range(rows - 1, 0, -1):
                for c in range(cols):
                    preload[r, c] = preload[r - 1, c]
            last = rows - 1 - step  # the row that the value is for
            for c in range(cols):
                exists = c < n and last < folds[fold]
                preload[0, c] = held_in[c, first[fold] + last] if exists else 0
        for r in range(rows):
            for c in range(1, cols):
                streamed_next[r, c] = streamed[r, c - 1]
            i = step - rows  # all rows read vector i in one step, and delay it
            valid = runs and 0 <= i < count
            enters = streamed_in[i, first[fold] + r] if valid and r < folds[fold] else 0
            streamed_next[r, 0] = skew[r, r - 1] if r else enters
            for stage in range(r - 1, 0, -1):
                skew[r, stage] = skew[r, stage - 1]
            if r:
                skew[r, 0] = enters
        streamed, streamed_next = streamed_next, streamed
    return sums >> up, len(folds) * fold_cycles
