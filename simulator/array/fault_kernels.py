"""Numba kernels of exact fault corrections; their slow twins are the register-true steppers."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .flips import (
    COL,
    COPY,
    FROM,
    REGISTER,
    ROW,
    SHARED,
    TO,
    stored_copies,
    strike,
)
from .kernels import (
    ACC,
    ACT,
    I8,
    I32,
    I64,
    PROD,
    WGT,
)
from .stepper_kernels import SKEW_ACT, SKEW_WGT
from .voters import (
    add_apart,
    majority,
    signed,
    vote,
    widen,
)


@njit(cache=True, nogil=True)
def passed(
    plan: I64, register: int, skew: int, line: int, along: int, number: int, last: int, own: I64
) -> int:
    """Faults of a line of registers that an operand passes up to its PE, in the order of passing.

    register, skew : codes of the line's registers in the PEs, and before the first one. line,
    along : columns of the plan that number the lines, and the registers of a line. number : the
    line, which has as many stages of `skew`. last : the PE.
    Puts (row of the plan, how many registers lie before it) into `own`; returns how many.
    """
    count = 0
    for i in range(len(plan)):
        f = plan[i]
        if f[line] != number:
            continue
        if f[REGISTER] == register and f[along] <= last:
            place = number + f[along]
        elif f[REGISTER] == skew:
            place = f[along]
        else:
            continue
        at = count
        while at and own[at - 1, 1] > place:
            own[at] = own[at - 1]
            at -= 1
        own[at, 0], own[at, 1] = i, place
        count += 1
    return count


@njit(cache=True, nogil=True)
def arrives(plan: I64, own: I64, count: int, first: int, value: int, bits: int) -> int:
    """An operand after the registers that it has passed.

    own, count : of `passed`. first : the step in which the line's first register is read while it
    holds the operand; the next one is read a step later.
    """
    for i in range(count):
        fault, step = own[i, 0], first + own[i, 1]
        if plan[fault, FROM] <= step < plan[fault, TO]:
            value = strike(plan, fault, value, bits)
    return value


@njit(cache=True, nogil=True)
def _mark(
    plan: I64, own: I64, count: int, touched: NDArray[np.bool_], first: int, last: int
) -> tuple[int, int]:
    """Mark the operands that faults `own` (of `passed`) meet; returns the range of all so far."""
    for i in range(count):
        fault, before = own[i, 0], own[i, 1] + 1
        begin = max(0, plan[fault, FROM] - before)
        end = min(len(touched), plan[fault, TO] - before)
        if begin < end:
            touched[begin:end] = True
            first, last = min(first, begin), max(last, end)
    return first, last


@njit(cache=True, nogil=True)
def _reached(plan: I64, rows: int, m: int, n: int, k: int, leaves: int) -> I64:
    """PEs of the tile that a fault can matter to: (m, n) flags."""
    hit = np.zeros((m, n), np.int64)
    for i in range(len(plan)):
        f = plan[i]
        register, r, c = f[REGISTER], f[ROW], f[COL]
        if register == SKEW_ACT:
            if r < m and f[FROM] - 1 - c < k and f[TO] - 1 - c > 0:
                hit[r, :] = 1
        elif register == SKEW_WGT:
            if c < n and f[FROM] - 1 - r < k and f[TO] - 1 - r > 0:
                hit[:, c] = 1
        elif register == ACC:
            if r < m and c < n and f[FROM] <= leaves + r:
                hit[r, c] = 1
        else:  # the operand, or product, that is read last and first in the fault's steps
            after = r + c + (2 if register == PROD else 1)
            if f[FROM] - after >= k or f[TO] - after <= 0:
                continue
            if register == ACT and r < m:
                hit[r, c:] = 1
            elif register == WGT and c < n:
                hit[r:, c] = 1
            elif register == PROD and r < m and c < n:
                hit[r, c] = 1
    return hit


@njit(cache=True, nogil=True)
def _alone(
    act: I8,
    wgt: I8,
    start: int,
    products: I64,
    touched: NDArray[np.bool_],
    r: int,
    c: int,
    leaves: int,
    plan: I64,
    bits: tuple[int, int],
    low: int,
    high: int,
    feedback: bool,
) -> int:
    """What the accumulator of PE (r, c) differs by in the step in which it leaves.

    act, wgt : (k,), its operands. products : (k, 3), where they are `touched`. bits : of a product
    and of the accumulator.
    """
    prod_bits, acc_bits = bits
    total, product = np.empty(3, np.int64), np.empty(3, np.int64)
    total[:] = start
    exact = start
    for t in range(leaves):
        stored_copies(plan, ACC, r, c, t, total, acc_bits)
        x = t - 2 - r - c
        valid = 0 <= x < len(act)
        product[:] = 0
        if valid:
            clean = int(act[x]) * int(wgt[x])
            exact += clean
            product[:] = clean
            if touched[x]:
                product[:] = products[x]
        if feedback:
            total[:] = signed(vote(total) + vote(product), acc_bits)
        elif valid:
            widen(product, prod_bits, low, high)
            add_apart(total, product, total, acc_bits, high)
    stored_copies(plan, ACC, r, c, leaves, total, acc_bits)
    return vote(total) - exact


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
    plan: I64,
    low: int,
    high: int,
    feedback: bool,
) -> tuple[I64, I64, I64]:
    """What a plan adds to the sums of a tile (see `array_faults`): rows, columns, changes.

    Arguments as of `step_os_tile_copies`.  In step t PE (r, c) reads operand t-1-r-c from `act` and
    `wgt`, product t-2-r-c from `prod`, and `acc` holds the sum of the products before that one; row
    r leaves in step k+rows+cols-2+r, in an array of fewer than three rows later.
    """
    m, k = act.shape
    n = wgt.shape[0]
    bits = act_bits + weight_bits, acc_bits
    leaves = k + rows + cols - 2 + max(0, 3 - rows)
    hit = _reached(plan, rows, m, n, k, leaves)
    found = hit.sum()
    out_r, out_c = np.empty(found, np.int64), np.empty(found, np.int64)
    out = np.empty(found, np.int64)
    acts, wgts = np.empty((len(plan), 2), np.int64), np.empty((len(plan), 2), np.int64)
    mine = np.empty((1, 2), np.int64)
    touched, products = np.empty(k, np.bool_), np.empty((k, 3), np.int64)
    at = 0
    for r in range(m):
        for c in range(n):
            if not hit[r, c]:
                continue
            many_acts = passed(plan, ACT, SKEW_ACT, ROW, COL, r, c, acts)
            many_wgts = passed(plan, WGT, SKEW_WGT, COL, ROW, c, r, wgts)
            touched[:] = False
            first, last = _mark(plan, acts, many_acts, touched, k, 0)
            first, last = _mark(plan, wgts, many_wgts, touched, first, last)
            follow = own_product = False
            for i in range(len(plan)):
                if plan[i, ROW] != r or plan[i, COL] != c:
                    continue
                if plan[i, REGISTER] == PROD:
                    mine[0, 0], mine[0, 1] = i, r + c + 1
                    first, last = _mark(plan, mine, 1, touched, first, last)
                    own_product = True
                    follow |= not feedback and plan[i, COPY] != SHARED
                elif plan[i, REGISTER] == ACC:
                    follow = True
            # What is added to a sum does not depend on the sum: without a fault in `acc`, and with
            # one set of flip-flops, only the products that differ count.
            change = 0
            for x in range(first, last):
                if not touched[x]:
                    continue
                a, w = int(act[r, x]), int(wgt[c, x])
                change -= a * w
                a = arrives(plan, acts, many_acts, x + 1, a, act_bits)
                w = arrives(plan, wgts, many_wgts, x + 1, w, weight_bits)
                products[x, 0] = products[x, 1] = products[x, 2] = a * w
                if own_product:
                    stored_copies(plan, PROD, r, c, x + 2 + r + c, products[x], bits[0])
                change += majority(products[x, 0], products[x, 1], products[x, 2])
            if follow:
                change = _alone(
                    act[r], wgt[c], int(start[r, c]), products, touched, r, c, leaves + r, plan,
                    bits, low, high, feedback,
                )  # fmt: skip
            out_r[at], out_c[at], out[at] = r, c, change
            at += 1
    return out_r, out_c, out
