"""Double buffering: the two halves of an on-chip buffer, and who read each of them last."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...isa.instructions import Engine

#: The last instruction of each engine that reads a half; LOAD may overwrite it when all have ended.
#: A negative pc stands for the time before the program: an initial credit.
Readers = dict[Engine, int]


@dataclass
class Halves:
    """The two halves of a buffer, filled in turn."""

    nbytes: int
    reader: Engine
    current: int = 1
    last: list[Readers] = field(init=False)

    def __post_init__(self) -> None:
        self.last = [{self.reader: -2}, {self.reader: -1}]

    def flip(self) -> tuple[int, Readers]:
        """Take the other half for new contents: (its first byte, who has read the old ones)."""
        self.current ^= 1
        readers, self.last[self.current] = self.last[self.current], {}
        return self.current * self.nbytes, readers

    @property
    def readers(self) -> Readers:
        """Who reads the half that was filled last; to be written to."""
        return self.last[self.current]
