"""The output-stationary array: stepped register by register, corrected exactly, and what it holds.

The reference steps every register of every PE on every clock edge.  PE (r, c) holds `act` (moves
right), `wgt` (moves down), `prod` and `acc`.  Step 0 is the edge at which PE (0, 0) latches its
first operand: PE (r, c) latches operand k at step k+r+c, its product at the next edge, and adds it
at the one after.  All rows read operand k from the buffer in step k; row r delays it in the r
stages of its skew line, column c in c.  Accumulation is gated by a valid bit that travels with the
operands.  After step K+m+n-3 of a tile of m x n sums its rows leave one a step.  A flip at step t
acts on the stored value before it is read in step t.

With `array.double_buffered_accumulators` the two accumulators of a PE take turns: a tile has one of
them, from its first step to its last, while the next tile's operands follow in the other registers.

The fast twin corrects the fault-free sums.  A sum is a sum of products, so: a wrong operand is a
different operand in every PE that it still passes, a wrong product differs by its own bits; only a
PE whose accumulator is hit, or whose copies go on apart, is stepped alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Arithmetic
from ...config.schema import HEALS
from ...errors import InternalError
from ...isa.registers import Register, all_handled
from ...network.arrays import I8, I32, I64
from .flips import (
    BIT,
    COL,
    COPY,
    FLIPPED,
    FROM,
    KIND,
    REGISTER,
    ROW,
    UNCOPIED,
    UNIT_STEP,
    Flip,
    outvoted,
    tile_plan,
)
from .os_corrections import os_corrections, reached_sums
from .os_stepper import step_os_tile, step_os_tile_copies
from .tile import Held, Pes, TileShape, Uses, operand, places_of
from .timing import Count, os_leaves, os_reads, os_tile_cycles
from .unit import ArrayUnit, Changes


def os_plan(
    flips: Sequence[Flip],
    tile: tuple[int, int, int],
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    protected: range = range(0),
    product: range | None = None,
) -> I64:
    """The faults of a tile (k, m, n) as the kernels read them (`flips.tile_plan`)."""
    steps, places = os_tile_cycles(*tile), partial(places_of, rows=rows, cols=cols)
    return tile_plan(("array", "skew"), flips, steps, places, arithmetic, protected, product)


def os_tile(
    act: I8,
    wgt: I8,
    bias: I32,
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
    protected: range = range(0),
    voter: str = "feedback",
    product: range | None = None,
) -> tuple[I32, int]:
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
    plan = os_plan(flips, (k, m, n), rows, cols, arithmetic, protected, product)
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
    one = (plan[:, KIND] == FLIPPED) & (plan[:, COPY] == UNCOPIED) & (plan[:, REGISTER] < UNIT_STEP)
    if one.all():
        simple = plan[np.argsort(plan[:, FROM], kind="stable")]
        out, cycles = step_os_tile(*tile, simple[:, [FROM, REGISTER, ROW, COL, BIT]])
    else:
        columns = protected.start, protected.stop
        out, cycles = step_os_tile_copies(*tile, plan, *columns, HEALS[voter])
    return out, int(cycles)


def os_tile_faults(
    act: I8,
    wgt: I8,
    start: I32,
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
    protected: range = range(0),
    voter: str = "feedback",
    product: range | None = None,
) -> tuple[I64, I64, I64]:
    """Rows, columns and changes of the accumulators of a tile; those that change by 0 included.

    act : (m, k). wgt : (n, k). start : (m, n), what the accumulators begin with. protected, voter,
    product : as of `os_tile`. The changes are modulo 2**acc_bits. Raises FlexhycaError for a flip
    outside the array.
    """
    tile = act.shape[1], len(act), len(wgt)
    plan = _plan_that_matters(tuple(flips), tile, rows, cols, arithmetic, protected, voter, product)
    return os_corrections(
        np.ascontiguousarray(act, np.int8),
        np.ascontiguousarray(wgt, np.int8),
        np.ascontiguousarray(start, np.int32),
        rows,
        cols,
        arithmetic.act_bits,
        arithmetic.weight_bits,
        arithmetic.acc_bits,
        plan,
        protected.start,
        protected.stop,
        HEALS[voter],
    )


@lru_cache(64)  # of stuck PEs the tiles of a layer have the same, in every run
def _plan_that_matters(
    flips: tuple[Flip, ...],
    tile: tuple[int, int, int],
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    protected: range = range(0),
    voter: str = "feedback",
    product: range | None = None,
) -> I64:
    """`os_plan` without faults that other copies outvote; only to be read."""
    plan = os_plan(flips, tile, rows, cols, arithmetic, protected, product)
    if protected or product:
        dropped = outvoted(flips, protected, voter, product)
        left = [flip for flip, drop in zip(flips, dropped, strict=True) if not drop]
        plan = os_plan(left, tile, rows, cols, arithmetic, protected, product)
    return plan


def os_reached(flips: Sequence[Flip], m: int, n: int, pes: Pes) -> NDArray[np.bool_]:
    """Sums of a tile of m x n that bits stuck for ever may make wrong: (m, n).

    How many products a sum has does not matter.
    """
    k = 1
    plan = _plan_that_matters(tuple(flips), (k, m, n), **_arguments(pes))
    found: NDArray[np.bool_] = reached_sums(plan, m, n, k, os_leaves(k, m, n, 0)) != 0
    return found


class _Use(NamedTuple):
    """What a register is used for.

    when : (shape, row, col) -> first step and number of steps. what : (row, col, i, k) -> what it
    holds in the i-th of these steps, of a sum of k products. doubled : whether a PE has two where
    accumulators are double-buffered, and a tile one of them to its end.
    """

    when: Callable[[TileShape, I64, I64], tuple[I64, I64 | int]]
    what: Callable[[int, int, int, int], Held]
    doubled: bool = False


#: Of the registers of PEs.
_USES = {
    "act": _Use(
        lambda s, row, col: (os_reads(row, col), s.k), lambda row, col, i, k: operand("act", row, i)
    ),
    "wgt": _Use(
        lambda s, row, col: (os_reads(row, col), s.k), lambda row, col, i, k: operand("wgt", col, i)
    ),
    "prod": _Use(
        lambda s, row, col: (os_reads(row, col) + 1, s.k),
        lambda row, col, i, k: Held("sum", row, col, i, i + 1),
    ),
    "acc": _Use(  # until its row has left
        lambda s, row, col: (0 * row, os_leaves(s.k, s.m, s.n, row) + 1),
        lambda row, col, i, k: Held(
            "sum", row, col, 0, min(max(i - os_reads(row, col) - 1, 0), k), start=True
        ),
        doubled=True,
    ),
}
#: Of the delay lines, by (line, stage).
_DELAYED = {
    "act": _Use(
        lambda s, line, stage: (stage + 1, s.k), lambda line, stage, i, k: operand("act", line, i)
    ),
    "wgt": _Use(
        lambda s, line, stage: (stage + 1, s.k), lambda line, stage, i, k: operand("wgt", line, i)
    ),
}
all_handled("array", _USES, "simulator/array/os_array.py: _USES")
all_handled("skew", _DELAYED, "simulator/array/os_array.py: _DELAYED")


class OutputStationary(ArrayUnit):
    """A PE keeps the sum of one neuron."""

    name = "os"

    def cycles(self, shape: TileShape) -> int:
        """See `ArrayUnit.cycles`."""
        return int(os_tile_cycles(shape.k, shape.m, shape.n))

    def starts(self, shape: TileShape) -> tuple[int, ...]:
        """See `ArrayUnit.starts`: the next part's operands follow at once."""
        return tuple(accumulate(shape.parts[:-1], initial=0))

    def moments(self, visits: Sequence[TileShape]) -> int:
        """See `ArrayUnit.moments`: after each drain, and after the DPPU's merge."""
        return len(visits) + 1

    def read_steps(self, m: int, k: int, n: int) -> tuple[I64, I64]:
        """See `ArrayUnit.read_steps`: all rows and columns read operand k before the skew."""
        k_of = np.arange(k)[None]
        return k_of, k_of

    def step(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip] = (),
        parts: Sequence[int] = (),
    ) -> tuple[I32, int]:
        """See `ArrayUnit.step`."""
        return os_tile(act, wgt, start, flips=flips, **_arguments(pes))

    def correct(
        self,
        act: I8,
        wgt: I8,
        start: I32,
        pes: Pes,
        flips: Sequence[Flip],
        parts: Sequence[int] = (),
    ) -> Changes:
        """See `ArrayUnit.correct`."""
        return os_tile_faults(act, wgt, start, flips=flips, **_arguments(pes))

    def count(self, shape: TileShape, register: Register, places: I64) -> Uses:
        """See `ArrayUnit.count`."""
        row, col = places[:, 0], places[:, 1]
        use, line, stage = self._use(register, row, col)
        first, length = use.when(shape, line, stage)
        there = ((row < shape.m) | (register.line == "col")) & (
            (col < shape.n) | (register.line == "row")
        )
        return Uses(places, first[None], np.where(there, length, 0)[None])

    def hold(
        self, shape: TileShape, register: Register, row: int, col: int, step: int
    ) -> Held | None:
        """See `ArrayUnit.hold`."""
        found = self.count(shape, register, np.array([[row, col]])).at(step)
        if found is None:
            return None
        use, line, stage = self._use(register, row, col)
        return use.what(line, stage, found[1], shape.k)

    def _use(self, register: Register, row: Count, col: Count) -> tuple[_Use, Count, Count]:
        if not register.line:
            return _USES[register.name], row, col
        line, stage = (row, col) if register.line == "row" else (col, row)
        return _DELAYED[register.name], line, stage

    def owned(self, shape: TileShape, register: Register, row: int, col: int) -> tuple[int, int]:
        """See `ArrayUnit.owned`: other registers go to the next tile's operands at once."""
        if not shape.overlapped or self._use(register, row, col)[0].doubled:
            return super().owned(shape, register, row, col)
        return self.from_first_use(shape, register, row, col, shape.k)


def _arguments(pes: Pes) -> dict[str, Any]:
    """As `os_tile` takes them; to overlap changes no sum, of which each tile has its own."""
    return {name: value for name, value in vars(pes).items() if name != "overlapped"}
