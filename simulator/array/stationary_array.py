"""The stationary arrays: stepped register by register, corrected exactly, and what they hold.

The reference steps every register of every PE on every clock edge.  WS PE (r, c) keeps one weight:
row r of the array is operand k of the reduction, column c is filter n.  Its registers are `preload`
(moves down, only while a fold is preloaded), `wgt` (the weight in use), `act` (moves right) and
`psum` (moves down); the product is combinational.  A fold holds up to R operands of C filters and
streams M pixels through them.  In the steps of a fold:

    0 .. U-1       the chain of `preload` takes a weight a column and step, the last row's first
    U              every `wgt` latches its `preload`
    U+m+r+c        PE (r, c) latches `act` of pixel m
    U+1+m+r+c      PE (r, c) latches `psum` = the one above + act * wgt
    2U+1+m+c       `psum` of row U-1 and column c is added to word (m, c) of the partial-sum buffer

where U rows have operands (all but in a partial fold) and H columns a filter.  So the last operand
is latched in step M+2U+H-3, and a fold takes M + 2U + H - 2 cycles.  The two pipeline edges after
it, sum and write, fall into the first two steps of the next fold, which only move its preload
chain; after the last fold they are the steps `cycles` and `cycles`+1.  Valid bits travel with the
operands: what belongs to no pixel adds nothing and is not written, and in a partial fold sums leave
above the rows without operands.  A flip at step t acts on the stored value before it is read in
step t; one in `wgt` stays until the next fold latches.

With `array.overlapped_preload` the next fold's chain moves while this one streams, and PE (r, c)
latches in step U+r+c, with its first operand: it had no valid one, and gets one, so that there is a
step without an operand between two streams.  The next fold begins `timing.fold_follows` steps after
this one, and its steps are counted from there.

All rows read pixel m from the buffer in step U+m; row r delays it in the r stages of its skew line.
The words of the partial-sum buffer are stored state, too (unit `buffer`, register `output`): word
m * N + n, from step 0 on.

IS is the mirror: activations are kept (row = operand, column = pixel), weights are streamed
(`roles`).  The fast twin corrects fault-free sums (`stationary_corrections`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...config import Arithmetic
from ...errors import InternalError
from ...isa.registers import Register
from ...network.arrays import I8, I32, I64
from .flips import COL, REGISTER, ROW, Flip, tile_plan
from .roles import ROLES, SUMS, Roles, check_roles
from .stationary_corrections import stationary_corrections
from .stationary_stepper import step_stationary
from .tile import Held, Pes, TileShape, Uses, operand, places_of
from .timing import (
    STATIONARY_PIPELINE_STEPS,
    fold_begins,
    fold_follows,
    fold_latches,
    fold_reads,
)
from .unit import ArrayUnit, Changes


class _Folds(NamedTuple):
    """The folds of a tile. vectors, held : streamed and held ones of each.

    used : (folds, 1), rows that have operands. overlapped : whether their preload is.
    """

    vectors: int
    held: int
    used: I64
    overlapped: bool


class _Moment(NamedTuple):
    """A place of a register in a step of a fold.

    i : how long it has been in use. k0, used : first operand of the fold, and how many it has.
    """

    row: int
    col: int
    step: int
    i: int
    k0: int
    used: int


class _Use(NamedTuple):
    """What a register is used for in a fold.

    when : (folds, row, col) -> first step and number of steps, and where. what : what it holds.
    """

    when: Callable[[_Folds, I64, I64], tuple[Any, Any, Any]]
    what: Callable[[Roles, _Moment], Held]


def _chain(f: _Folds, row: I64, col: I64) -> tuple[I64, I64, Any]:
    """What stands in the chain goes to row U - step + row, and comes in step row + 1.

    The row's own is the last, and stands there until it is latched.
    """
    latched = fold_latches(f.used, row, col, f.overlapped)
    return row + 1, latched - row, (col < f.held) & (row < f.used)


def _in_chain(roles: Roles, at: _Moment) -> Held:
    """The value of a row on its way, or of this row."""
    return operand(roles.held, at.col, at.k0 + at.row + max(0, at.used - at.step))


def _latched(f: _Folds, row: I64, col: I64) -> tuple[I64, I64, Any]:
    """From when it is latched on, until it meets the last vector; a step passes in between."""
    first = fold_latches(f.used, row, col, f.overlapped) + 1
    read = fold_reads(f.used, row, col) + f.vectors
    return first, read - first, (col < f.held) & (row < f.used)


def _sum(roles: Roles, at: _Moment) -> Held:
    """The sum of a vector and a column."""
    return Held("sum", *roles.places(at.i, at.col), at.k0, at.k0 + min(at.row + 1, at.used))


#: Of the registers of PEs, by role.
_USES = {
    "preload": _Use(_chain, _in_chain),
    "held": _Use(_latched, lambda roles, at: operand(roles.held, at.col, at.k0 + at.row)),
    "streamed": _Use(
        lambda f, row, col: (
            fold_reads(f.used, row, col),
            f.vectors,
            (col < f.held) & (row < f.used),
        ),
        lambda roles, at: operand(roles.streamed, at.i, at.k0 + at.row),
    ),
    "psum": _Use(
        lambda f, row, col: (
            fold_reads(f.used, row + 1, col),
            f.vectors,
            (col < f.held) & (row < f.used),
        ),
        _sum,
    ),
}
#: Of the delay lines, by role; the column is the stage.
_DELAYED = {
    "streamed": _Use(
        lambda f, row, stage: (fold_reads(f.used, 0 * stage, stage), f.vectors, row < f.used),
        lambda roles, at: operand(roles.streamed, at.i, at.k0 + at.row),
    )
}
check_roles(_USES, _DELAYED, "simulator/array/stationary_array.py: _USES, _DELAYED")


class Stationary(ArrayUnit):
    """A PE keeps an operand, and sums travel down, fold by fold; they stand in the output buffer.

    roles : names of the registers.
    """

    roles: ClassVar[Roles]

    # ---- time ---------------------------------------------------------------------------------

    def begins(self, shape: TileShape) -> list[int]:
        """Step in which each fold begins, and at last that in which they have ended."""
        vectors, held = self.roles.by_role(shape.m, shape.n)
        folds = np.array(shape.parts, np.int64)
        begins: list[int] = fold_begins(vectors, folds, held, shape.overlapped).tolist()
        return begins

    def cycles(self, shape: TileShape) -> int:
        """See `ArrayUnit.cycles`."""
        return self.begins(shape)[-1] + STATIONARY_PIPELINE_STEPS

    def starts(self, shape: TileShape) -> tuple[int, ...]:
        """See `ArrayUnit.starts`: a part is a fold."""
        return tuple(self.begins(shape)[:-1])

    def moments(self, visits: Sequence[TileShape]) -> int:
        """See `ArrayUnit.moments`: all the time."""
        return sum(map(self.cycles, visits))

    def read_steps(self, m: int, k: int, n: int) -> tuple[I64, I64]:
        """See `ArrayUnit.read_steps`: what is held, the last row first; then what streams."""
        held = k - 1 - np.arange(k)[None]
        streamed = k + np.arange(self.roles.by_role(m, n)[0])[:, None]
        return self.roles.by_role(streamed, held)

    # ---- values -------------------------------------------------------------------------------

    def step(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip] = (),
        parts: Sequence[int] = (),
    ) -> tuple[I32, int]:
        """See `ArrayUnit.step`.

        start : what the partial-sum buffer holds before (bias or earlier folds), fits acc_bits.
        parts : operands of each fold, at most `rows`; without them, `rows` of each but the last.
        Cycles are those of the folds; flips may come up to two steps later.
        """
        sums, cycles = step_stationary(*self._tile(act, wgt, start, pes, flips, parts))
        return np.ascontiguousarray(self.roles.by_role(sums, sums.T)[0]), int(cycles)

    def correct(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip],
        parts: Sequence[int] = (),
    ) -> Changes:
        """See `ArrayUnit.correct`; arguments as of `step`."""
        tile = self._tile(act, wgt, start, pes, flips, parts)
        vectors, columns, change = stationary_corrections(*tile)
        return *self.roles.places(vectors, columns), change

    def _tile(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip],
        parts: Sequence[int],
    ) -> tuple[Any, ...]:
        """A tile as the kernels take it: by what is streamed and what is held."""
        a, (m, n) = pes.arithmetic, (len(act), len(wgt))
        folds = parts or even_folds(act.shape[1], pes.rows)
        shape = TileShape(m, n, tuple(folds), pes.rows, pes.cols, pes.overlapped)
        plan = self.plan(flips, shape, a)
        streamed, held = self.roles.by_role(act, wgt)
        buffer, _ = self.roles.by_role(start, start.T)
        k, columns = streamed.shape[1], len(held)
        if (
            columns > pes.cols
            or held.shape[1] != k
            or min(m, n, k) < 1
            or buffer.shape != (len(streamed), columns)
        ):
            raise InternalError(
                f"streamed {streamed.shape}, held {held.shape}, sums {buffer.shape} "
                f"on a {pes.rows}x{pes.cols} array"
            )
        if sum(folds) != k or not 1 <= min(folds) <= max(folds) <= pes.rows:
            raise InternalError(f"folds of {list(folds)} operands of {k}, in {pes.rows} rows")
        return (
            np.ascontiguousarray(streamed, np.int8),
            np.ascontiguousarray(held, np.int8),
            np.ascontiguousarray(buffer, np.int32),
            np.array(folds, np.int64),
            pes.rows,
            pes.cols,
            *self.roles.by_role(a.act_bits, a.weight_bits),
            a.acc_bits,
            pes.overlapped,
            plan,
        )

    def plan(self, flips: Sequence[Flip], shape: TileShape, arithmetic: Arithmetic) -> I64:
        """The faults of a tile as the kernels read them.

        A word of the buffer is at (vector, column).
        """
        places = partial(_places, shape=shape)
        units = self.unit, self.skew, "buffer"
        plan = tile_plan(units, flips, self.cycles(shape), places, arithmetic)
        words = plan[:, REGISTER] == SUMS
        place = np.divmod(plan[words, ROW], shape.n)
        plan[words, ROW], plan[words, COL] = self.roles.by_role(*place)
        return plan

    # ---- what is stored -----------------------------------------------------------------------

    def count(self, shape: TileShape, register: Register, places: I64) -> Uses:
        """See `ArrayUnit.count`; a stretch for each fold."""
        row, col = places[:, 0][None], places[:, 1][None]
        if register.unit == "buffer":  # the words of the tile, all the time
            there = np.where(row < shape.m * shape.n, self.cycles(shape), 0)
            return Uses(places, np.zeros_like(row), there)
        vectors, held = self.roles.by_role(shape.m, shape.n)
        folds = _Folds(vectors, held, np.array(shape.parts)[:, None], shape.overlapped)
        first, length, there = self._use(register).when(folds, row, col)
        first = first + np.array(self.starts(shape))[:, None]
        count = np.where(there, np.maximum(0, length), 0)
        size = len(shape.parts), len(places)
        return Uses(places, np.broadcast_to(first, size), np.broadcast_to(count, size))

    def hold(
        self, shape: TileShape, register: Register, row: int, col: int, step: int
    ) -> Held | None:
        """See `ArrayUnit.hold`."""
        found = self.count(shape, register, np.array([[row, col]])).at(step)
        if found is None:
            return None
        if register.unit == "buffer":  # a fold adds to the word at the end of this step
            place = divmod(row, shape.n)
            used = np.array(shape.parts)
            adds = np.array(self.starts(shape)) + fold_reads(used, used, sum(place))
            end = sum(shape.parts[: int((adds < step).sum())])
            return Held("sum", *place, 0, end, start=True)
        fold, i = found
        own, k0 = step - self.starts(shape)[fold], sum(shape.parts[:fold])
        at = _Moment(row, col, own, i, k0, shape.parts[fold])
        return self._use(register).what(self.roles, at)

    def owned(self, shape: TileShape, register: Register, row: int, col: int) -> tuple[int, int]:
        """See `ArrayUnit.owned`: from its first use on, until the next tile's begins.

        A place that this tile does not use that early or that late has others as many steps.
        """
        if not shape.overlapped:
            return super().owned(shape, register, row, col)
        vectors, held = self.roles.by_role(shape.m, shape.n)
        last = fold_follows(vectors, shape.parts[-1], held, shape.parts[0])
        return self.from_first_use(shape, register, row, col, self.starts(shape)[-1] + int(last))

    def _use(self, register: Register) -> _Use:
        uses = _DELAYED if register.unit == self.skew else _USES
        return uses[self.roles.role_of(register.name)]


def _places(register: Register, shape: TileShape) -> tuple[int, int]:
    if register.unit == "buffer":
        return (shape.m * shape.n, 1) if register.name == "output" else (0, 0)
    return places_of(register, shape.rows, shape.cols)


def even_folds(k: int, rows: int) -> list[int]:
    """Operands of each fold where a reduction of `k` is not cut otherwise."""
    return [min(rows, k - at) for at in range(0, k, rows)]


class WeightStationary(Stationary):
    """A PE keeps a weight; pixels are streamed."""

    name, roles = "ws", ROLES["ws"]


class InputStationary(Stationary):
    """A PE keeps an activation; filters are streamed."""

    name, roles = "is", ROLES["is"]
