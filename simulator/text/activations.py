"""Who moves which bytes of the activation memory: what STORE writes, LOAD and the DPPU read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import BY_NAME
from ...isa.program import Program
from ...network.arrays import I64
from .work import excess_work, reductions, transfers


class Moves(NamedTuple):
    """Runs of bytes, in program order: `rows` of `row` bytes, `stride` apart, from `first` on.

    pcs : of the instructions. first : byte of the memory.
    """

    pcs: I64
    first: I64
    row: I64
    rows: I64
    stride: I64

    @classmethod
    def of(cls, program: Program, pcs: I64, reads: I64) -> Moves:
        """Those of `work.Strided` that are in the activation memory; pcs : of each."""
        base = program.config.activation_base
        own = reads[:, 0] >= base
        address, *rest = reads[own].T
        return cls(pcs[own], address - base, *rest)

    @property
    def end(self) -> I64:
        """Byte behind the last of each."""
        return self.first + (self.rows - 1) * self.stride + self.row

    def where(self, chosen: NDArray[np.bool_]) -> Moves:
        """Some of them."""
        return Moves(*(column[chosen] for column in self))

    def meeting(self, begin: int, end: int) -> Moves:
        """Those of which a byte, or one between two of their rows, is in begin .. end-1."""
        return self.where((self.first < end) & (begin < self.end))

    def touching(self, byte: int) -> Iterator[tuple[int, list[int]]]:
        """The pcs that move a byte, and which it is of all that they move, row after row."""
        for i in np.flatnonzero((self.first <= byte) & (byte < self.end)).tolist():
            row = int(self.row[i])
            starts = self.first[i] + np.arange(self.rows[i]) * self.stride[i]
            hit = np.flatnonzero((starts <= byte) & (byte < starts + row))
            if len(hit):
                yield int(self.pcs[i]), (hit * row + byte - starts[hit]).tolist()


def moved_by(program: Program, name: str) -> Moves:
    """What the instructions of a name, LOAD or STORE, move."""
    pcs = np.flatnonzero(program.columns["op"] == BY_NAME[name].opcode)
    return Moves.of(program, pcs, transfers(program)[1][pcs])


def fetched(program: Program) -> Moves:
    """What the DPPU fetches there as it would from DRAM."""
    excess = excess_work(program, reductions(program))
    return Moves.of(program, np.repeat(excess.pcs, np.diff(excess.begins)), excess.reads)
