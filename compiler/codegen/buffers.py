"""Halves of the buffers and slots of the output buffer: whose turn it is, who used each last."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...config import Config
from ...isa.instructions import Engine
from .text import NO_PC

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


class Slots:
    """Slots of the output buffer, taken in turn; each layer has them as large as its tiles.

    words : of a slot now. A slot's last users are those of all its words, of whatever layer.
    """

    def __init__(self, config: Config) -> None:
        self.config, self.words, self.next = config, 1, 0
        self.users = np.full(config.output_words, NO_PC, np.int64)

    def resize(self, words: int) -> None:
        """Slots of a layer with tiles of so many words; the next one is behind the one before."""
        if words != self.words:
            self.next, self.words = -(-self.next * self.words // words), words
            self.next %= self.count

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.config.output_slots(self.words))

    def take(self) -> int:
        """The next one."""
        slot, self.next = self.next, (self.next + 1) % self.count
        return slot

    def user(self, slot: int) -> int:
        """The pc of its last user."""
        return int(self.users[self._words(slot)].max())

    def use(self, slot: int, pc: int) -> None:
        """Instruction `pc` is its last user from now on."""
        self.users[self._words(slot)] = pc

    def _words(self, slot: int) -> slice:
        return slice(slot * self.words, (slot + 1) * self.words)
