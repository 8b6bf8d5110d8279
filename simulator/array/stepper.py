"""The register-true reference of the output-stationary array: slow, literal, obviously right.

Every register of every PE is stepped on every clock edge.  PE (r, c) holds `act` (moves right),
`wgt` (moves down), `prod` and `acc`.  Step 0 is the edge at which PE (0, 0) latches its first
operand: PE (r, c) latches operand k at step k+r+c, its product at the next edge, and adds it at
the one after.  All rows read operand k from the buffer in step k; row r delays it in the r stages
of its skew line, column c in c.  Accumulation is gated by a valid bit that travels with the
operands.  After step K+R+C-3 the rows leave one a step.  A flip at step t acts on the stored value
before it is read in step t.

With `array.double_buffered_accumulators` the two accumulators of a PE take turns: a tile has one of
them, from its first step to its last, while the next tile's operands follow in the other registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...config import Arithmetic
from ...errors import InternalError
from ...isa.registers import Register
from .flips import (
    BIT,
    COL,
    COPY,
    FLIP,
    FROM,
    KIND,
    REGISTER,
    ROW,
    SHARED,
    UNIT_STEP,
    Flip,
    make_plan,
)
from .kernels import step_os_tile
from .stepper_kernels import step_os_tile_copies
from .timing import os_tile_cycles

__all__ = ["Flip", "os_plan", "os_tile"]


def os_plan(
    flips: Sequence[Flip],
    k: int,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    protected: range = range(0),
    product: range | None = None,
) -> NDArray[np.int64]:
    """The faults of a tile over k operands as the kernels read them (`flips.make_plan`)."""

    def places(register: Register) -> tuple[int, int]:
        if register.unit == "array":
            return rows, cols
        return (rows, rows - 1) if register.name == "act" else (cols - 1, cols)

    steps = os_tile_cycles(k, rows, cols)
    return make_plan(("array", "skew"), flips, steps, places, arithmetic, protected, product)


def os_tile(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    bias: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
    protected: range = range(0),
    voter: str = "feedback",
    product: range | None = None,
) -> tuple[NDArray[np.int32], int]:
    """Run one tile on a rows x cols array.

    act : (m, k), m <= rows. wgt : (n, k), n <= cols. bias : (n,), or (m, n) for sums
    that go on; fits acc_bits. protected : columns of prod and acc that have three copies, which are
    voted behind each register (`feedback`) or when the sum leaves (`output`). product : those of
    prod, if they are others; with `feedback` only.
    Returns (accumulators (m, n), cycles). Raises FlexhycaError for a flip outside the array.
    """
    m, k = act.shape
    n = wgt.shape[0]
    if m > rows or n > cols or wgt.shape[1] != k or k < 1:
        raise InternalError(f"tile {act.shape} x {wgt.shape} on a {rows}x{cols} array")
    plan = os_plan(flips, k, rows, cols, arithmetic, protected, product)
    tile = (
        np.ascontiguousarray(act, np.int8),
        np.ascontiguousarray(wgt, np.int8),
        np.ascontiguousarray(np.broadcast_to(np.asarray(bias, np.int32), (m, n))),
        rows,
        cols,
        arithmetic.act_bits,
        arithmetic.weight_bits,
        arithmetic.acc_bits,
    )
    one = (plan[:, KIND] == FLIP) & (plan[:, COPY] == SHARED) & (plan[:, REGISTER] < UNIT_STEP)
    if one.all():
        simple = plan[np.argsort(plan[:, FROM], kind="stable")]
        out, cycles = step_os_tile(*tile, simple[:, [FROM, REGISTER, ROW, COL, BIT]])
    else:
        columns = protected.start, protected.stop
        out, cycles = step_os_tile_copies(*tile, plan, *columns, voter == "feedback")
    return out, int(cycles)
