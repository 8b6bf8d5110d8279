"""Slots of the output buffer: whose turn it is, and who used each last."""

from __future__ import annotations

import numpy as np

from ...config import Config
from .text import NO_PC


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
