"""The register-true output-stationary array: literal, slow, obviously right (numba).

In every step the faults act on what is stored, then all registers take their next state at once.
`step_os_tile` is the array without copies and stuck bits, as fast as it gets;
`step_os_tile_copies` steps every flip-flop, those of the delay lines included.
"""

from __future__ import annotations

import numpy as np

from ...errors import InternalError
from ...isa.protection import COPIES
from ...kernels import kernel
from ...network.arrays import I8, I32, I64
from ...network.fixedpoint_kernels import signed
from .flips import COL, FROM, REGISTER, ROW, TO, codes, strike, strike_copies
from .timing import os_leaves
from .voters import add_apart, majority, vote, widen

_WHERE = "simulator/array/os_stepper.py: step_os_tile, step_os_tile_copies"
_ACT, _WGT, _PROD, _ACC = codes("array", ("act", "wgt", "prod", "acc"), _WHERE)
_SKEW_ACT, _SKEW_WGT = codes("skew", ("act", "wgt"), _WHERE, place=1)


@kernel
def step_os_tile(
    act_in: I8,
    wgt_in: I8,
    start: I32,
    rows: int,
    cols: int,
    act_bits: int,
    weight_bits: int,
    acc_bits: int,
    flips: I64,
) -> tuple[I32, int]:
    """Step every register of an output-stationary array through one tile (see `os_array`).

    start : (m, n) what the accumulators hold before step 0. flips : (f, 5) of (step, register,
    row, col, bit), sorted by step.
    Register (row, col) is element row * cols + col: one long loop a register is what vectorises.
    Accumulators hold `acc_bits` bits; what int32 has above them is never looked at.
    """
    m, k = act_in.shape
    n = wgt_in.shape[0]
    size = rows * cols
    act, act_next = np.zeros(size, np.int8), np.zeros(size, np.int8)
    wgt, wgt_next = np.zeros(size, np.int8), np.zeros(size, np.int8)
    # The valid bit, 0 or -1, beside `act` and, a step later, beside `prod`.
    valid, valid_next = np.zeros(size, np.int16), np.zeros(size, np.int16)
    valid_prod = np.zeros(size, np.int16)
    prod = np.zeros(size, np.int16)
    acc = np.zeros(size, np.int32)
    for r in range(m):
        for c in range(n):
            acc[r * cols + c] = start[r, c]
    out = np.zeros((m, n), np.int32)
    up = np.int32(32 - acc_bits)
    first_row_leaves = os_leaves(k, m, n, 0)
    t = flip = done = 0
    while done < m:
        while flip < len(flips) and flips[flip, 0] == t:
            _, register, r, c, bit = flips[flip]
            at = r * cols + c
            if register == _ACT:
                act[at] = signed(act[at] ^ (1 << bit), act_bits)
            elif register == _WGT:
                wgt[at] = signed(wgt[at] ^ (1 << bit), weight_bits)
            elif register == _PROD:
                prod[at] = signed(prod[at] ^ (1 << bit), act_bits + weight_bits)
            elif register == _ACC:
                acc[at] ^= np.int32(1 << bit)
            else:
                raise InternalError("os_stepper.py: step_os_tile has no branch for a register")
            flip += 1
        if t >= first_row_leaves:  # one row leaves through the column buses
            for c in range(n):
                out[done, c] = np.int32(acc[done * cols + c] << up) >> up
            done += 1
        for i in range(size):
            acc[i] += np.int32(prod[i] & valid_prod[i])
        for i in range(size):
            prod[i] = np.int16(act[i]) * np.int16(wgt[i])
        right, right_valid, down = act_next[1:], valid_next[1:], wgt_next[cols:]
        for i in range(size - 1):  # what enters a row's first PE here is overwritten below
            right[i] = act[i]
        for i in range(size - 1):
            right_valid[i] = valid[i]
        for i in range(size - cols):
            down[i] = wgt[i]
        for r in range(rows):
            enters = r < m and 0 <= t - r < k
            act_next[r * cols] = act_in[r, t - r] if enters else 0
            valid_next[r * cols] = -1 if enters else 0
        for c in range(cols):
            wgt_next[c] = wgt_in[c, t - c] if c < n and 0 <= t - c < k else 0
        act, act_next = act_next, act
        wgt, wgt_next = wgt_next, wgt
        valid_prod, valid, valid_next = valid, valid_next, valid_prod
        t += 1
    return out, t


@kernel
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
    """Step every flip-flop of an output-stationary array through one tile (see `os_array`).

    start : (m, n). plan : `flips.tile_plan` of units array, skew. Columns [low, high) of `prod` and
    `acc` have three copies; feedback : their voters stand behind each register, else at the output.
    """
    m, k = act_in.shape
    n = wgt_in.shape[0]
    prod_bits = act_bits + weight_bits
    act, wgt = np.zeros((rows, cols), np.int64), np.zeros((rows, cols), np.int64)
    skew_act, skew_wgt = np.zeros((rows, rows), np.int64), np.zeros((cols, cols), np.int64)
    prod = np.zeros((rows, cols, COPIES), np.int64)
    acc = np.zeros((rows, cols, COPIES), np.int64)
    wide = np.zeros(COPIES, np.int64)
    out = np.zeros((m, n), np.int32)
    for r in range(m):
        for c in range(n):
            acc[r, c, :] = start[r, c]
    first_row_leaves = os_leaves(k, m, n, 0)
    total = first_row_leaves + m
    for t in range(total):
        for i in range(len(plan)):
            if not plan[i, FROM] <= t < plan[i, TO]:
                continue
            register, r, c = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
            if register == _ACT:
                act[r, c] = strike(plan, i, act[r, c], act_bits)
            elif register == _WGT:
                wgt[r, c] = strike(plan, i, wgt[r, c], weight_bits)
            elif register == _PROD:
                strike_copies(plan, i, prod[r, c], prod_bits)
            elif register == _ACC:
                strike_copies(plan, i, acc[r, c], acc_bits)
            elif register == _SKEW_ACT:
                skew_act[r, c] = strike(plan, i, skew_act[r, c], act_bits)
            elif register == _SKEW_WGT:
                skew_wgt[r, c] = strike(plan, i, skew_wgt[r, c], weight_bits)
            else:
                raise InternalError("os_stepper.py: step_os_tile_copies: no branch for a register")
        if t >= first_row_leaves:
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
