"""Numba kernels: arrays and integers in, arrays and integers out.

Numba types int32*int32 as int64; where 32-bit wrap matters, the value is stored in an int32 array.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# isa.registers codes
ACT, WGT, PROD, ACC = 0, 1, 2, 3  # array
PRELOAD, HELD, STREAMED, PSUM = 0, 1, 2, 3  # array_ws, array_is


@njit(cache=True)
def flip_signed(value: int, bit: int, bits: int) -> int:
    """Flip a bit of a two's-complement number of `bits` bits."""
    sign = 1 << (bits - 1)
    return (((value ^ (1 << bit)) + sign) & ((1 << bits) - 1)) - sign


@njit(cache=True, nogil=True)
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
    """Step every register of an output-stationary array through one tile (see `stepper`).

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
    first_row_leaves = k + rows + cols - 2 + max(0, 3 - rows)
    t = flip = done = 0
    while done < rows:
        while flip < len(flips) and flips[flip, 0] == t:
            _, register, r, c, bit = flips[flip]
            at = r * cols + c
            if register == ACT:
                act[at] = flip_signed(act[at], bit, act_bits)
            elif register == WGT:
                wgt[at] = flip_signed(wgt[at], bit, weight_bits)
            elif register == PROD:
                prod[at] = flip_signed(prod[at], bit, act_bits + weight_bits)
            else:
                acc[at] ^= np.int32(1 << bit)
            flip += 1
        if t >= first_row_leaves:  # one row leaves through the column buses
            if done < m:
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


@njit(cache=True, nogil=True)
def dot(act: I8, wgt: I8, start: I32, acc_bits: int) -> I32:
    """start (n,) or (m, n) + act (m, k) . wgt (n, k), wrapped to acc_bits; order is irrelevant."""
    m, k = act.shape
    n = wgt.shape[0]
    out = np.empty((m, n), np.int32)
    half = np.int64(1) << np.int64(acc_bits - 1)
    for i in range(m):
        for j in range(n):
            total = np.int64(start[i, j])
            for x in range(k):
                total += np.int64(act[i, x]) * np.int64(wgt[j, x])
            out[i, j] = ((total + half) & (2 * half - 1)) - half
    return out
