"""The register-true reference of the output-stationary array: slow, literal, obviously right.

Every register of every PE is stepped on every clock edge.  PE (r, c) holds `act` (moves right),
`wgt` (moves down), `prod` and `acc`.  Step 0 is the edge at which PE (0, 0) latches its first
operand: PE (r, c) latches operand k at step k+r+c, its product at the next edge, and adds it at the
one after.  Accumulation is gated by a valid bit that travels with the operands.  After step K+R+C-3
the rows leave one a step.  A flip at step t acts on the stored value before it is read in step t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaError, InternalError
from ..isa.layers import Arithmetic
from ..isa.registers import BY_UNIT
from .kernels import step_os_tile
from .timing import os_tile_cycles


class Flip(NamedTuple):
    """A transient flip of one stored bit of the array before it is read in `step`."""

    step: int
    register: str  #: a name in isa.registers: act, wgt, prod, acc; in WS and IS preload, psum too
    row: int
    col: int
    bit: int


def flip_plan(
    unit: str, flips: Sequence[Flip], steps: int, rows: int, cols: int, arithmetic: Arithmetic
) -> NDArray[np.int64]:
    """The flips as the kernels read them: (f, 5), in step order.

    Raises FlexhycaError for a register, PE, bit or step that does not exist.
    """
    plan = np.zeros((len(flips), 5), np.int64)
    for i, flip in enumerate(sorted(flips, key=lambda f: f.step)):
        register = BY_UNIT[unit].get(flip.register)
        if register is None:
            raise FlexhycaError(
                f"register {flip.register!r} does not exist in unit {unit!r}; "
                f"use one of {', '.join(BY_UNIT[unit])}"
            )
        for name, value, limit in (
            ("step", flip.step, steps),
            ("row", flip.row, rows),
            ("col", flip.col, cols),
            ("bit", flip.bit, register.bits(arithmetic)),
        ):
            if not 0 <= value < limit:
                raise FlexhycaError(
                    f"flip of {flip.register}: {name}={value} is outside 0..{limit - 1}"
                )
        plan[i] = flip.step, register.code, flip.row, flip.col, flip.bit
    return plan


def os_tile(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    bias: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
) -> tuple[NDArray[np.int32], int]:
    """Run one tile on a rows x cols array.

    act : (m, k), m <= rows. wgt : (n, k), n <= cols. bias : (n,), or (m, n) for sums
    that go on; fits acc_bits.
    Returns (accumulators (m, n), cycles). Raises FlexhycaError for a flip outside the array.
    """
    m, k = act.shape
    n = wgt.shape[0]
    if m > rows or n > cols or wgt.shape[1] != k or k < 1:
        raise InternalError(f"tile {act.shape} x {wgt.shape} on a {rows}x{cols} array")
    total = os_tile_cycles(k, rows, cols)
    plan = flip_plan("array", flips, total, rows, cols, arithmetic)
    out, cycles = step_os_tile(
        np.ascontiguousarray(act, np.int8),
        np.ascontiguousarray(wgt, np.int8),
        np.ascontiguousarray(np.broadcast_to(np.asarray(bias, np.int32), (m, n))),
        rows,
        cols,
        arithmetic.act_bits,
        arithmetic.weight_bits,
        arithmetic.acc_bits,
        plan,
    )
    return out, int(cycles)
