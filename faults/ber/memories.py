"""The memories whose bits flip, and which flips are left behind the protection of a scheme.

A memory is a row of copies (one for each image of neurons, a single one of weights), each with the
words of layer after layer; its bits are numbered in this order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...network.upsets import Marks
from .random_bits import Hits, draw, majority_wrong


class Shield(NamedTuple):
    """Protected bits [low, high) of a word. Both (layers, 2): ordinary words, important words."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]


@dataclass(frozen=True)
class BitMemory:
    """words : of each layer in one copy. bits : of a word. important : bool, of a copy's words.

    places : of a copy's words as they are drawn, where the network has them; None: there.
    """

    words: tuple[int, ...]
    bits: int
    important: NDArray[np.bool_] | None = None
    places: NDArray[np.int64] | None = None

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Number of the first word behind each layer."""
        return np.cumsum(np.array(self.words, np.int64))

    @property
    def copy_bits(self) -> int:
        """Bits of one copy."""
        return sum(self.words) * self.bits

    def draw(self, key: Sequence[int], first: int, last: int, rate: float) -> Hits:
        """What may flip at `rate` in the copies `first` .. `last` - 1, numbered from `first`."""
        start = first * self.copy_bits
        hits = draw(key, start, last * self.copy_bits, rate)
        return Hits(hits.at - start, hits.u)

    def surviving(
        self, modules: Sequence[Hits], rates: NDArray[np.float64], shield: Shield
    ) -> dict[int, Marks]:
        """Words that are wrong after protection: layer's position -> marks over all copies.

        modules : the memory once, whose protected bits are immune then; or three times, of which
        they have the majority. rates : of each layer's bits.
        """
        wrong = [self._placed(m.at[m.u < self._of_layer(m.at, rates)]) for m in modules]
        left = wrong[0][~self._protected(wrong[0], shield)]
        if len(wrong) > 1:
            voted = majority_wrong(wrong)
            left = np.sort(np.concatenate([left, voted[self._protected(voted, shield)]]))
        return self._marks(left)

    def _placed(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ascending bits as the network has them."""
        if self.places is None:
            return at
        word, bit = np.divmod(at, self.bits)
        copy, word = np.divmod(word, sum(self.words))
        return np.sort((copy * sum(self.words) + self.places[word]) * self.bits + bit)

    def _of_layer(
        self, at: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> NDArray[np.float64] | np.float64:
        if (rates == rates[0]).all():
            return np.float64(rates[0])
        return rates[self._layer(at // self.bits % sum(self.words))]

    def _layer(self, word: NDArray[np.int64]) -> NDArray[np.intp]:
        return np.searchsorted(self.ends, word, side="right")

    def _protected(self, at: NDArray[np.int64], shield: Shield) -> NDArray[np.bool_]:
        word, bit = at // self.bits % sum(self.words), at % self.bits
        layer = self._layer(word)
        kind = 0 if self.important is None else self.important[word].astype(np.intp)
        inside: NDArray[np.bool_] = (shield.low[layer, kind] <= bit) & (
            bit < shield.high[layer, kind]
        )
        return inside

    def _marks(self, at: NDArray[np.int64]) -> dict[int, Marks]:
        """Ascending bits as masks of words, numbered within each layer: (copy, word)."""
        if not len(at):
            return {}
        word, bit = np.divmod(at, self.bits)
        first = np.flatnonzero(np.diff(word, prepend=-1))
        masks = np.add.reduceat(1 << bit, first)  # each bit once, so the sum is the union
        copy, word = np.divmod(word[first], sum(self.words))
        layer = self._layer(word)
        sizes = np.array(self.words, np.int64)
        word += copy * sizes[layer] - (self.ends - sizes)[layer]
        masks = masks.astype(np.uint32).view(np.int32)
        order = np.argsort(layer, kind="stable")
        cuts = np.searchsorted(layer[order], np.arange(len(sizes) + 1))
        return {
            i: Marks(word[order[low:high]], masks[order[low:high]])
            for i, (low, high) in enumerate(pairwise(cuts.tolist()))
            if high > low
        }
