"""Double buffering: the two halves of an on-chip buffer, and who read each of them last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..isa.instructions import Engine


class Reader(NamedTuple):
    """The last instruction that reads a half: LOAD may overwrite it when that has ended."""

    engine: Engine
    pc: int  #: negative before the program: an initial credit


@dataclass
class Halves:
    """The two halves of a buffer, filled in turn."""

    nbytes: int
    reader: Engine
    current: int = 1
    last: list[Reader] = field(init=False)

    def __post_init__(self) -> None:
        self.last = [Reader(self.reader, -2), Reader(self.reader, -1)]

    def flip(self) -> tuple[int, Reader]:
        """Take the other half: (its first byte, its last reader)."""
        self.current ^= 1
        return self.current * self.nbytes, self.last[self.current]
