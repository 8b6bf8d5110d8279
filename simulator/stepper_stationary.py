"""The register-true reference of the weight-stationary and input-stationary arrays.

Every register of every PE is stepped on every clock edge.  WS PE (r, c) keeps one weight: row r of
the array is operand k of the reduction, column c is filter n.  Its registers are `preload` (moves
down, only while a fold is preloaded), `wgt` (the weight in use), `act` (moves right) and `psum`
(moves down); the product is combinational.  A fold holds R operands of C filters and streams M
pixels through them.  In the steps of a fold:

    0 .. R-1       the chain of `preload` takes a weight a column and step, the last row's first
    R              every `wgt` latches its `preload`
    R+m+r+c        PE (r, c) latches `act` of pixel m
    R+1+m+r+c      PE (r, c) latches `psum` = the one above + act * wgt
    2R+1+m+c       the bottom `psum` of column c is added to word (m, c) of the partial-sum buffer

So the last operand is latched in step M+2R+C-3, and a fold takes M + 2R + C - 2 cycles.  The two
pipeline edges after it, sum and write, fall into the first two steps of the next fold, which only
move its preload chain; after the last fold they are the steps `cycles` and `cycles`+1.  Valid bits
travel with the operands: what belongs to no pixel adds nothing and is not written, and in a partial
fold the rows without operands pass the sum on.  A flip at step t acts on the stored value before it
is read in step t; one in `wgt` stays until the next fold latches.

IS is the mirror: activations are kept (row = operand, column = pixel), weights are streamed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InternalError
from ..isa.layers import Arithmetic
from .kernels import step_stationary
from .stepper import Flip, flip_plan
from .timing import STATIONARY_PIPELINE_STEPS, is_fold_cycles, ws_fold_cycles


def ws_fold(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    psum: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
) -> tuple[NDArray[np.int32], int]:
    """Run one fold, or with k > rows ceil(k / rows) folds back to back, weights held.

    act : (m, k). wgt : (n, k), n <= cols. psum : (m, n), what the partial-sum buffer holds before
    (bias or earlier folds), fits acc_bits.
    Flips count their steps from the start of the first fold, up to `cycles` + 1.
    Returns (buffer (m, n) afterwards, cycles). Raises FlexhycaError for a flip outside the array.
    """
    cycles = ws_fold_cycles(act.shape[0], rows, cols) * -(-act.shape[1] // rows)
    plan = flip_plan("array_ws", flips, cycles + STATIONARY_PIPELINE_STEPS, rows, cols, arithmetic)
    bits = arithmetic.act_bits, arithmetic.weight_bits, arithmetic.acc_bits
    return _run(act, wgt, psum, rows, cols, bits, plan)


def is_fold(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    psum: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
) -> tuple[NDArray[np.int32], int]:
    """Run one fold, or with k > rows ceil(k / rows) folds back to back, activations held.

    act : (m, k), m <= cols. wgt : (n, k). psum : (m, n). Otherwise as `ws_fold`; column c of the
    array is pixel c.
    """
    cycles = is_fold_cycles(wgt.shape[0], rows, cols) * -(-act.shape[1] // rows)
    plan = flip_plan("array_is", flips, cycles + STATIONARY_PIPELINE_STEPS, rows, cols, arithmetic)
    bits = arithmetic.weight_bits, arithmetic.act_bits, arithmetic.acc_bits
    out, cycles = _run(wgt, act, psum.T, rows, cols, bits, plan)
    return np.ascontiguousarray(out.T), cycles


def _run(
    streamed: NDArray[np.int8],
    held: NDArray[np.int8],
    buffer: NDArray[np.int32],
    rows: int,
    cols: int,
    bits: tuple[int, int, int],
    plan: NDArray[np.int64],
) -> tuple[NDArray[np.int32], int]:
    (count, k), n = streamed.shape, held.shape[0]
    if n > cols or held.shape[1] != k or min(count, n, k) < 1 or buffer.shape != (count, n):
        raise InternalError(
            f"streamed {streamed.shape}, held {held.shape}, sums {buffer.shape} "
            f"on a {rows}x{cols} array"
        )
    out, cycles = step_stationary(
        np.ascontiguousarray(streamed, np.int8),
        np.ascontiguousarray(held, np.int8),
        np.ascontiguousarray(buffer, np.int32),
        rows,
        cols,
        *bits,
        plan,
    )
    return out, int(cycles)
