"""Which bits of a memory are wrong at an error rate: independent, reproducible, cheap.

Each bit has a number U that is uniform in 0..1 and its own for ever; at rate p the wrong bits are
those with U < p.  So two protection schemes meet the same errors, and a higher rate adds errors to
those of a lower one.  Only the few numbers that matter are ever drawn: bits are skipped by
geometric steps, which is exact for every p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bits that one generator draws: bounds the memory at high rates, and is many at low ones.
_BLOCK = 1 << 21
#: Numbers U are drawn level by level, [0, 2^-14), [2^-14, 2^-13), ... [1/2, 1), so that those of a
#: low rate do not depend on how far a higher one goes, and at most twice as many as needed are.
_LEVELS = (0.0, *(2.0**-k for k in range(14, -1, -1)))


class Hits(NamedTuple):
    """Bits with a small U. at : int64, ascending, each once. u : float64, their numbers."""

    at: NDArray[np.int64]
    u: NDArray[np.float64]

    def below(self, rate: float) -> NDArray[np.int64]:
        """The bits that are wrong at `rate`, which is at most the one that was drawn for."""
        return self.at[self.u < rate]


def draw(key: Sequence[int], start: int, stop: int, rate: float) -> Hits:
    """The bits `start` .. `stop` - 1 of the memory `key` with U < `rate` (0..1).

    key : integers >= 0 that name the memory; the same ones always mean the same numbers.
    """
    numbers = range(start // _BLOCK, -(-stop // _BLOCK)) if rate > 0 else ()
    blocks = [(number, _block(key, number, rate)) for number in numbers]
    none = Hits(np.zeros(0, np.int64), np.zeros(0))
    at = np.concatenate([none.at, *(block.at + number * _BLOCK for number, block in blocks)])
    u = np.concatenate([none.u, *(block.u for _, block in blocks)])
    inside = slice(*np.searchsorted(at, (start, stop)))
    return Hits(at[inside], u[inside])


def _block(key: Sequence[int], number: int, rate: float) -> Hits:
    """A block's bits with U < `rate`.

    A level's chance is that of U in it given that U is not below: q = (high - low) / (1 - low).
    The first level that hits a bit decides its U, and the product of (1 - q) telescopes to 1 - p.
    """
    rng = np.random.default_rng([*key, number])
    places, numbers = [], []
    for low, high in pairwise(_LEVELS):
        if low >= rate:
            break
        at = _skip(rng, (high - low) / (1 - low))
        places.append(at)
        numbers.append(low + (high - low) * rng.random(len(at)))
    at, u = np.concatenate(places), np.concatenate(numbers)
    order = np.argsort(at, kind="stable")  # lower levels first
    at, u = at[order], u[order]
    first = np.ones(len(at), bool)
    first[1:] = at[1:] != at[:-1]
    wanted = first & (u < rate)
    return Hits(at[wanted], u[wanted])


def _skip(rng: np.random.Generator, chance: float) -> NDArray[np.int64]:
    """Ascending places of a block, each there with `chance`, independently (geometric gaps)."""
    parts, last = [], -1
    while last < _BLOCK:
        expected = (_BLOCK - last) * chance
        gaps = rng.geometric(chance, int(expected + 4 * math.sqrt(expected)) + 8)
        places = last + np.cumsum(gaps)
        parts.append(places)
        last = int(places[-1])
    at = np.concatenate(parts)
    return at[: int(np.searchsorted(at, _BLOCK))]


def majority_wrong(copies: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Bits that are wrong in two or more of three copies, ascending."""
    at, counts = np.unique(np.concatenate(copies), return_counts=True)
    return at[counts > 1]
