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

All rows read pixel m from the buffer in step R+m; row r delays it in the r stages of its skew line.
The words of the partial-sum buffer are stored state, too (unit `buffer`, register `output`): word
m * N + n, from step 0 on.

IS is the mirror: activations are kept (row = operand, column = pixel), weights are streamed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...config import Arithmetic
from ...errors import InternalError
from ...isa.registers import Register
from .flips import (
    COL,
    REGISTER,
    ROW,
    Flip,
    Places,
    make_plan,
)
from .stepper_kernels import SUMS, step_stationary
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
    folds: Sequence[int] = (),
) -> tuple[NDArray[np.int32], int]:
    """Run the folds of a tile back to back, weights held.

    act : (m, k). wgt : (n, k), n <= cols. psum : (m, n), what the partial-sum buffer holds before
    (bias or earlier folds), fits acc_bits. folds : operands of each fold, at most `rows`; without
    them, `rows` of each but the last.
    Flips count their steps from the start of the first fold, up to `cycles` + 1.
    Returns (buffer (m, n) afterwards, cycles). Raises FlexhycaError for a flip outside the array.
    """
    folds = folds or even_folds(act.shape[1], rows)
    plan = ws_plan(flips, act.shape[0], wgt.shape[0], len(folds), rows, cols, arithmetic)
    bits = arithmetic.act_bits, arithmetic.weight_bits, arithmetic.acc_bits
    return _run(act, wgt, psum, folds, rows, cols, bits, plan)


def is_fold(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    psum: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
    folds: Sequence[int] = (),
) -> tuple[NDArray[np.int32], int]:
    """Run the folds of a tile back to back, activations held.

    act : (m, k), m <= cols. wgt : (n, k). psum : (m, n). Otherwise as `ws_fold`; column c of the
    array is pixel c.
    """
    folds = folds or even_folds(act.shape[1], rows)
    plan = is_plan(flips, act.shape[0], wgt.shape[0], len(folds), rows, cols, arithmetic)
    bits = arithmetic.weight_bits, arithmetic.act_bits, arithmetic.acc_bits
    out, cycles = _run(wgt, act, psum.T, folds, rows, cols, bits, plan)
    return np.ascontiguousarray(out.T), cycles


def even_folds(k: int, rows: int) -> list[int]:
    """Operands of each fold where a reduction of `k` is not cut otherwise."""
    return [min(rows, k - at) for at in range(0, k, rows)]


def ws_plan(
    flips: Sequence[Flip], m: int, n: int, folds: int, rows: int, cols: int, arithmetic: Arithmetic
) -> NDArray[np.int64]:
    """The faults of a tile of m pixels, n filters as `step_stationary` reads them."""
    steps = ws_fold_cycles(m, rows, cols) * folds + STATIONARY_PIPELINE_STEPS
    plan = make_plan(
        ("array_ws", "skew_ws", "buffer"), flips, steps, _places(rows, cols, m * n), arithmetic
    )
    words = plan[:, REGISTER] == SUMS
    plan[words, ROW], plan[words, COL] = np.divmod(plan[words, ROW], n)
    return plan


def is_plan(
    flips: Sequence[Flip], m: int, n: int, folds: int, rows: int, cols: int, arithmetic: Arithmetic
) -> NDArray[np.int64]:
    """As `ws_plan`: m pixels are held, n filters streamed."""
    steps = is_fold_cycles(n, rows, cols) * folds + STATIONARY_PIPELINE_STEPS
    plan = make_plan(
        ("array_is", "skew_is", "buffer"), flips, steps, _places(rows, cols, m * n), arithmetic
    )
    words = plan[:, REGISTER] == SUMS
    plan[words, COL], plan[words, ROW] = np.divmod(plan[words, ROW], n)
    return plan


def _places(rows: int, cols: int, words: int) -> Places:
    def places(register: Register) -> tuple[int, int]:
        if register.unit == "buffer":
            return (words, 1) if register.name == "output" else (0, 0)
        return (rows, rows - 1) if register.unit.startswith("skew") else (rows, cols)

    return places


def _run(
    streamed: NDArray[np.int8],
    held: NDArray[np.int8],
    buffer: NDArray[np.int32],
    folds: Sequence[int],
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
    if sum(folds) != k or not 1 <= min(folds) <= max(folds) <= rows:
        raise InternalError(f"folds of {list(folds)} operands of {k}, in {rows} rows")
    out, cycles = step_stationary(
        np.ascontiguousarray(streamed, np.int8),
        np.ascontiguousarray(held, np.int8),
        np.ascontiguousarray(buffer, np.int32),
        np.array(folds, np.int64),
        rows,
        cols,
        *bits,
        plan,
    )
    return out, int(cycles)
