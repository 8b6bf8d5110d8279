"""A tile on the array in numbers: its size, the PEs, what is stored of it and when that is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ...config import Arithmetic
from ...errors import InternalError
from ...isa.registers import Register
from ...network import fixedpoint
from ...network.arrays import I8, I64

PlaceStep = tuple[int, int, int]  #: row, column, step


class TileShape(NamedTuple):
    """A tile of m x n sums on an array of rows x cols PEs. parts : operands of each GEMM.

    overlapped : whether the next operands come while these are at work (`config.Array.overlaps`).
    """

    m: int
    n: int
    parts: tuple[int, ...]
    rows: int
    cols: int
    overlapped: bool = False

    @property
    def k(self) -> int:
        """Operands of each sum."""
        return sum(self.parts)


@dataclass(frozen=True)
class Pes:
    """The PEs that compute a tile: as many, of these word lengths, with these columns in copies.

    protected, product, voter : as of `os_array.os_tile`; a stationary array has no copies.
    overlapped : as of `TileShape`.
    """

    rows: int
    cols: int
    arithmetic: Arithmetic
    protected: range = range(0)
    product: range | None = None
    voter: str = "feedback"
    overlapped: bool = False


class Held(NamedTuple):
    """What a register holds: a number of a tile.

    what : `act` or `wgt`, the operand `first`; `sum`, that of the products of operands first..end-1
    (one: a product); `position`, bit `first` of an entry of the position table, that of (row, col).
    row, col : of the tile, the one that an operand has. start : whether the sum's bias is in it.
    """

    what: Literal["act", "wgt", "sum", "position"]
    row: int
    col: int
    first: int
    end: int
    start: bool = False


def places_of(register: Register, rows: int, cols: int) -> tuple[int, int]:
    """Rows and columns of a register of rows x cols PEs, or of the delay lines before them."""
    if register.line == "row":
        return rows, rows - 1
    return (cols - 1, cols) if register.line == "col" else (rows, cols)


def operand(side: Literal["act", "wgt"], line: int, k: int) -> Held:
    """Operand k of a row (`act`) or column (`wgt`) of the tile."""
    return Held(side, line if side == "act" else -1, line if side == "wgt" else -1, k, k + 1)


def value(
    held: Held,
    act: I8,
    wgt: I8,
    start: I64,
    bits: int,
) -> int:
    """The signed number of an operand or sum. act : (m, k). wgt : (n, k). start : (n,), biases.

    bits : of the register, in which sums wrap.
    """
    if held.what == "act":
        return int(act[held.row, held.first])
    if held.what == "wgt":
        return int(wgt[held.col, held.first])
    if held.what != "sum":
        raise InternalError(f"{held.what} is no number of a tile's operands")
    own = slice(held.first, held.end)
    total = act[held.row, own].astype(np.int64) @ wgt[held.col, own].astype(np.int64)
    if held.start:
        total += int(start[held.col])
    return int(fixedpoint.wrap(total, bits))


@dataclass(frozen=True)
class Uses:
    """When places of a register hold something that is still used; else a flip there is idle.

    places : (p, 2), rows and columns. first, steps : (runs, p), of each stretch; a stationary array
    has one a fold, in which the place may be idle (no steps).
    """

    places: I64
    first: I64
    steps: I64

    @property
    def total(self) -> int:
        """How many (place, step) are in use."""
        return int(self.steps.sum())

    def draw(self, rng: np.random.Generator) -> PlaceStep:
        """One of them."""
        ends = np.cumsum(self.steps)
        slot = int(rng.integers(ends[-1]))
        at = int(np.searchsorted(ends, slot, side="right"))
        step = int(self.first.reshape(-1)[at] + slot - (ends[at] - self.steps.reshape(-1)[at]))
        row, col = self.places[at % len(self.places)].tolist()
        return row, col, step

    def stretches(self) -> list[tuple[int, int]]:
        """The steps of the only place, as (first, last)."""
        pairs = zip(self.first[:, 0].tolist(), self.steps[:, 0].tolist(), strict=True)
        return [(begin, begin + length - 1) for begin, length in pairs if length]

    def at(self, step: int) -> tuple[int, int] | None:
        """Which stretch of the only place a step is in, and how far; None where it is idle."""
        offset = step - self.first[:, 0]
        (inside,) = np.nonzero((offset >= 0) & (offset < self.steps[:, 0]))
        return (int(inside[0]), int(offset[inside[0]])) if len(inside) else None


def runs(steps: Sequence[int]) -> list[tuple[int, int]]:
    """Steps, ascending, as stretches (first, last)."""
    found: list[tuple[int, int]] = []
    for step in steps:
        if found and found[-1][1] == step - 1:
            found[-1] = found[-1][0], step
        else:
            found.append((step, step))
    return found
