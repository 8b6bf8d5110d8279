"""What a register holds in a step of a fault-free tile, in closed form; None: nothing that is used.

The times are those of the register-true steppers (`stepper`, `stepper_stationary`); a register is
looked at where a fault of that step would act, so before it is read.  A property test holds the two
equal, bit by bit, without a probe inside the steppers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...network import fixedpoint
from .timing import PIPELINE_STEPS


class Stored(NamedTuple):
    """A number of a tile.

    what : `act` or `wgt`, the operand `first`; `sum`, that of the products of operands first..end-1
    (one: a product). row, col : of the tile, the one that an operand has. start : whether the
    sum's bias is in it.
    """

    what: str
    row: int
    col: int
    first: int
    end: int
    start: bool = False


class Shape(NamedTuple):
    """A tile of m x n sums on an array of rows x cols PEs. parts : operands of each GEMM."""

    m: int
    n: int
    parts: tuple[int, ...]
    rows: int
    cols: int

    @property
    def k(self) -> int:
        """Operands of each sum."""
        return sum(self.parts)


def value(
    stored: Stored,
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    start: NDArray[np.int64],
    bits: int,
) -> int:
    """The signed number. act : (m, k). wgt : (n, k). start : (n,), biases. bits : of the register.

    Sums wrap in it.
    """
    if stored.what == "act":
        return int(act[stored.row, stored.first])
    if stored.what == "wgt":
        return int(wgt[stored.col, stored.first])
    own = slice(stored.first, stored.end)
    total = act[stored.row, own].astype(np.int64) @ wgt[stored.col, own].astype(np.int64)
    if stored.start:
        total += int(start[stored.col])
    return int(fixedpoint.wrap(total, bits))


def os_stored(
    shape: Shape, unit: str, register: str, row: int, col: int, step: int
) -> Stored | None:
    """Of an output-stationary array or its skew lines (unit `array`, `skew`).

    In step t PE (r, c) reads operand t-1-r-c, and the product of the one before; a stage of a skew
    line holds an operand one step earlier.
    """
    m, n, k = shape.m, shape.n, shape.k
    if unit == "skew":
        line, stage = (row, col) if register == "act" else (col, row)
        return _operand(register, line, step - 1 - stage, shape)
    if row >= m or col >= n:
        return None
    at = step - 1 - row - col
    match register:
        case "act":
            return _operand("act", row, at, shape)
        case "wgt":
            return _operand("wgt", col, at, shape)
        case "prod":
            return Stored("sum", row, col, at - 1, at) if 0 <= at - 1 < k else None
        case "acc":  # from the first step until its row leaves
            leaves = k + shape.rows + shape.cols - 2 + max(0, PIPELINE_STEPS - shape.rows) + row
            if step > leaves:
                return None
            return Stored("sum", row, col, 0, min(max(at - 1, 0), k), start=True)
    raise InternalError(f"register {register!r} of unit {unit!r}")


def stationary_stored(
    shape: Shape, unit: str, register: str, row: int, col: int, step: int
) -> Stored | None:
    """Of a weight- or input-stationary array, its delay lines or its partial-sum buffer.

    unit : `array_ws`, `skew_ws`, `array_is`, `skew_is`. Register `output` is the buffer, of which
    `row` is the word.
    """
    is_ws = unit.endswith("ws")
    moves, stays = ("act", "wgt") if is_ws else ("wgt", "act")
    vectors, held = (shape.m, shape.n) if is_ws else (shape.n, shape.m)
    rows = shape.rows
    period = vectors + 2 * rows + shape.cols - 2
    if register == "output":
        place = divmod(row, shape.n)
        # A fold adds to the word at the end of this step.
        begins = np.arange(len(shape.parts)) * period
        added = int((begins + 2 * rows + 1 + sum(place) < step).sum())
        return Stored("sum", *place, 0, sum(shape.parts[:added]), start=True)
    if col >= held and not unit.startswith("skew"):
        return None
    before = 0
    for fold, used in enumerate(shape.parts):
        at = step - fold * period  # within the fold; the last steps are those of the next one's
        if unit.startswith("skew"):
            vector = at - (rows + 1 + col)
            if row < used and 0 <= vector < vectors:
                return _operand(moves, vector, before + row, shape)
        elif register == "preload":  # of the operand that goes down to a row below
            to = rows - at + row
            if row < at <= rows and to < used:
                return _operand(stays, col, before + to, shape)
        elif register == stays:
            if row < used and rows + 1 <= at < rows + 1 + vectors + row + col:
                return _operand(stays, col, before + row, shape)
        elif register == moves:
            vector = at - (rows + 1 + row + col)
            if row < used and 0 <= vector < vectors:
                return _operand(moves, vector, before + row, shape)
        elif register == "psum":
            vector = at - (rows + 2 + row + col)
            if 0 <= vector < vectors:
                place = (vector, col) if is_ws else (col, vector)
                return Stored("sum", *place, before, before + min(row + 1, used))
        else:
            raise InternalError(f"register {register!r} of unit {unit!r}")
        before += used
    return None


def _operand(side: str, line: int, k: int, shape: Shape) -> Stored | None:
    """Operand k of a row (`act`) or column (`wgt`) of the tile, if there is one."""
    if not (0 <= k < shape.k and line < (shape.m if side == "act" else shape.n)):
        return None
    return Stored(side, line if side == "act" else -1, line if side == "wgt" else -1, k, k + 1)


def runs(steps: Sequence[int]) -> list[tuple[int, int]]:
    """Steps, ascending, as stretches (first, last)."""
    found: list[tuple[int, int]] = []
    for step in steps:
        if found and found[-1][1] == step - 1:
            found[-1] = found[-1][0], step
        else:
            found.append((step, step))
    return found
