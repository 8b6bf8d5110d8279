"""Exact corrections of an output-stationary tile's sums (numba); the slow twin is `os_stepper`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...isa.protection import COPIES
from ...kernels import kernel
from ...network.arrays import I8, I32, I64
from ...network.fixedpoint_kernels import signed
from .flips import (
    COL,
    COPY,
    FROM,
    REGISTER,
    ROW,
    TO,
    UNCOPIED,
    arrives,
    codes,
    passed,
    stored_copies,
)
from .timing import os_leaves, os_reads
from .voters import add_apart, vote, widen

_WHERE = "simulator/array/os_corrections.py: os_corrections"
_ACT, _WGT, _PROD, _ACC = codes("array", ("act", "wgt", "prod", "acc"), _WHERE)
_SKEW_ACT, _SKEW_WGT = codes("skew", ("act", "wgt"), _WHERE, place=1)


@kernel
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


@kernel
def _meets(f: I64, first: int, k: int) -> bool:
    """Whether fault f acts while its register holds one of k numbers, from step `first` on."""
    return bool(f[FROM] - first < k and f[TO] - first > 0)


@kernel
def _of_pe(plan: I64, r: int, c: int) -> I64:
    """The rows of a plan that are of a place."""
    count = 0
    for i in range(len(plan)):
        count += plan[i, ROW] == r and plan[i, COL] == c
    own = np.empty((count, plan.shape[1]), np.int64)
    at = 0
    for i in range(len(plan)):
        if plan[i, ROW] == r and plan[i, COL] == c:
            own[at] = plan[i]
            at += 1
    return own


@kernel
def reached_sums(plan: I64, m: int, n: int, k: int, leaves: int) -> I64:
    """PEs of the tile that a fault can matter to: (m, n) flags."""
    hit = np.zeros((m, n), np.int64)
    for i in range(len(plan)):
        f = plan[i]
        register, r, c = f[REGISTER], f[ROW], f[COL]
        reads = os_reads(r, c)
        if register == _SKEW_ACT:
            if r < m and _meets(f, 1 + c, k):
                hit[r, :] = 1
        elif register == _SKEW_WGT:
            if c < n and _meets(f, 1 + r, k):
                hit[:, c] = 1
        elif register == _ACT:
            if r < m and _meets(f, reads, k):
                hit[r, c:] = 1
        elif register == _WGT:
            if c < n and _meets(f, reads, k):
                hit[r:, c] = 1
        elif register == _PROD:
            if r < m and c < n and _meets(f, reads + 1, k):
                hit[r, c] = 1
        elif register == _ACC:
            if r < m and c < n and f[FROM] <= leaves + r:
                hit[r, c] = 1
        else:
            raise InternalError("os_corrections.py: reached_sums has no branch for a register")
    return hit


@kernel
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

    act, wgt : (k,), its operands. products : (k, COPIES), where they are `touched`. plan : what is
    wrong in it. bits : of a product and of the accumulator.
    """
    prod_bits, acc_bits = bits
    total, product = np.empty(COPIES, np.int64), np.empty(COPIES, np.int64)
    first = os_reads(r, c) + 1  # step in which product 0 is read
    total[:] = start
    exact = start
    for t in range(leaves):
        stored_copies(plan, _ACC, r, c, t, total, acc_bits)
        x = t - first
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
    stored_copies(plan, _ACC, r, c, leaves, total, acc_bits)
    return vote(total) - exact


@kernel
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
    """What a plan adds to the sums of a tile (see `os_array`): rows, columns, changes.

    Arguments as of `step_os_tile_copies`.  From the steps of `timing` on a PE reads its operands
    from `act` and `wgt`, one a step, their product a step later from `prod`, and `acc` holds the
    sum of the products before that one.
    """
    m, k = act.shape
    n = wgt.shape[0]
    bits = act_bits + weight_bits, acc_bits
    leaves = os_leaves(k, m, n, 0)
    hit = reached_sums(plan, m, n, k, leaves)
    found = hit.sum()
    out_r, out_c = np.empty(found, np.int64), np.empty(found, np.int64)
    out = np.empty(found, np.int64)
    acts, wgts = np.empty((len(plan), 2), np.int64), np.empty((len(plan), 2), np.int64)
    mine = np.empty((1, 2), np.int64)
    touched, products = np.empty(k, np.bool_), np.empty((k, COPIES), np.int64)
    at = 0
    for r in range(m):
        for c in range(n):
            if not hit[r, c]:
                continue
            many_acts = passed(plan, _ACT, _SKEW_ACT, ROW, COL, r, c, acts)
            many_wgts = passed(plan, _WGT, _SKEW_WGT, COL, ROW, c, r, wgts)
            touched[:] = False
            first, last = _mark(plan, acts, many_acts, touched, k, 0)
            first, last = _mark(plan, wgts, many_wgts, touched, first, last)
            follow = own_product = False
            own = _of_pe(plan, r, c)
            for i in range(len(own)):
                if own[i, REGISTER] == _PROD:
                    mine[0, 0], mine[0, 1] = i, os_reads(r, c)
                    first, last = _mark(own, mine, 1, touched, first, last)
                    own_product = True
                    follow |= not feedback and own[i, COPY] != UNCOPIED
                elif own[i, REGISTER] == _ACC:
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
                products[x, :] = a * w
                if own_product:
                    step = os_reads(r, c) + 1 + x
                    stored_copies(own, _PROD, r, c, step, products[x], bits[0])
                change += vote(products[x])
            if follow:
                change = _alone(
                    act[r], wgt[c], int(start[r, c]), products, touched, r, c, leaves + r, own,
                    bits, low, high, feedback,
                )  # fmt: skip
            out_r[at], out_c[at], out[at] = r, c, change
            at += 1
    return out_r, out_c, out
