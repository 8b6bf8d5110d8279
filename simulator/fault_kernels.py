"""Numba kernels of exact fault corrections; their slow twins are the register-true steppers."""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernels import ACC, ACT, I8, I32, I64, PROD, WGT, flip_signed


@njit(cache=True, nogil=True)
def os_corrections(
    act: I8,
    wgt: I8,
    start: I32,
    rows: int,
    cols: int,
    act_bits: int,
    weight_bits: int,
    acc_bits: int,
    flips: I64,
) -> tuple[I64, I64, I64]:
    """What `flips` add to the sums of a tile (see `array_faults`): rows, columns, changes.

    In step t PE (r, c) reads operand t-1-r-c from `act` and `wgt`, product t-2-r-c from `prod`, and
    `acc` holds the sum of the products before that one; row r leaves in step k+rows+cols-2+r, in an
    array of fewer than three rows later.
    """
    m, k = act.shape
    n = wgt.shape[0]
    leaves = k + rows + cols - 2 + max(0, 3 - rows)
    hit = np.zeros((m, n), np.bool_)
    for i in range(len(flips)):
        step, register, r, c = flips[i, 0], flips[i, 1], flips[i, 2], flips[i, 3]
        if r >= m or c >= n:
            continue
        operand = step - 1 - r - c
        if register == ACT and 0 <= operand < k:
            hit[r, c:] = True
        elif register == WGT and 0 <= operand < k:
            hit[r:, c] = True
        elif register == ACC:
            hit[r, c] |= step <= leaves + r
        elif register == PROD:
            hit[r, c] |= 0 <= operand - 1 < k
    found = hit.sum()
    out_r, out_c = np.empty(found, np.int64), np.empty(found, np.int64)
    out = np.empty(found, np.int64)
    half = np.int64(1) << (acc_bits - 1)
    own = np.empty((len(flips), 3), np.int64)  # (place in the sum, kind, bit), by place
    at = 0
    for r in range(m):
        for c in range(n):
            if not hit[r, c]:
                continue
            count = 0
            for i in range(len(flips)):
                step, register, fr, fc, bit = flips[i]
                operand = step - 1 - fr - fc
                if register == ACT:
                    if fr != r or fc > c or not 0 <= operand < k:
                        continue
                elif register == WGT:
                    if fc != c or fr > r or not 0 <= operand < k:
                        continue
                elif fr != r or fc != c:
                    continue
                elif register == PROD:
                    operand -= 1
                    if not 0 <= operand < k:
                        continue
                elif step > leaves + r:
                    continue
                else:
                    operand = min(max(operand - 1, 0), k)  # products before it have been added
                # An accumulator flip comes before the product of its place is added.
                order = 2 * operand + (0 if register == ACC else 1)
                j = count
                while j and own[j - 1, 0] > order:
                    own[j] = own[j - 1]
                    j -= 1
                own[j, 0], own[j, 1], own[j, 2] = order, register, bit
                count += 1
            change, summed, added, i = np.int64(0), np.int64(start[r, c]), 0, 0
            while i < count:
                operand = own[i, 0] // 2
                if own[i, 1] == ACC:
                    while added < operand:
                        summed += np.int64(act[r, added]) * np.int64(wgt[c, added])
                        added += 1
                    value = ((summed + change + half) & (2 * half - 1)) - half
                    change += flip_signed(value, own[i, 2], acc_bits) - value
                    i += 1
                    continue
                a, w = np.int64(act[r, operand]), np.int64(wgt[c, operand])
                product, flipped = a * w, np.int64(0)
                while i < count and own[i, 0] == 2 * operand + 1:
                    if own[i, 1] == ACT:
                        a = flip_signed(a, own[i, 2], act_bits)
                    elif own[i, 1] == WGT:
                        w = flip_signed(w, own[i, 2], weight_bits)
                    else:
                        flipped ^= np.int64(1) << own[i, 2]
                    i += 1
                bits = act_bits + weight_bits
                sign = np.int64(1) << (bits - 1)
                faulty = (((a * w) ^ flipped) + sign & (2 * sign - 1)) - sign
                change += faulty - product
            out_r[at], out_c[at], out[at] = r, c, change
            at += 1
    return out_r, out_c, out
