"""Runs of pixels that share a block of the input, and how much of it each reads; as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...network.arrays import I64
from ..tiling.tiles import Geometry, needed_step


def even_runs(count: int) -> list[int]:
    """How many of `count` tiles may come together: up to 3 and their doubles; as even as can be."""
    found, size = {count, evenly(count, 3)}, 1
    while size < count:
        found |= {evenly(count, size), evenly(count, 3 * size)}
        size *= 2
    return sorted(found)


def evenly(count: int, most: int) -> int:
    """The least number a run that gives as few runs of `count` as at most `most` a run do."""
    return -(-count // -(-count // most))


def even_parts(count: int) -> list[int]:
    """Sizes of the parts of `count` rows, cut evenly."""
    return sorted({-(-count // parts) for parts in range(1, count + 1)}, reverse=True)


def run_starts(count: int, row: int, together: int) -> I64:
    """The first of each run of at most `together` of `count` tiles.

    row : tiles of an output row where none has pixels of two, else all; runs begin with rows.
    """
    span = max(row, together)
    starts = np.arange(0, count, span)[:, None] + np.arange(0, span, together)
    return starts[starts < count]


class PixelTiles:
    """Tiles of pixels: first and number of each, and the input rows and columns that they read."""

    def __init__(self, g: Geometry, size: int, cut_rows: bool) -> None:
        span = g.out.w if cut_rows else g.pixels
        within = np.arange(0, span, size)
        starts = np.arange(0, g.pixels, span)
        self.g, self.together = g, len(within)
        self.m0: I64 = (starts[:, None] + within).ravel()
        self.m: I64 = np.tile(np.minimum(size, span - within), len(starts))

    def runs(self) -> list[int]:
        """How many tiles may share a block: of an output row, or of so many whole rows.

        Blocks of whole rows read the fewest input rows twice.
        """
        count, wide = len(self.m), self.g.out.w
        aligned = self.together
        if aligned == count:
            aligned = math.lcm(wide, int(self.m[0])) // int(self.m[0])
        whole = {aligned * n for n in even_runs(-(-count // aligned))}
        return sorted({*even_runs(self.together), *(n for n in whole if n < count), count})

    def blocks(self, together: Sequence[int]) -> PixelBlocks:
        """For each number of tiles: runs of so many, that one block of the input serves."""
        runs = [run_starts(len(self.m), self.together, most) for most in together]
        last = np.concatenate([np.append(own[1:], len(self.m)) for own in runs]) - 1
        begin = np.cumsum([0, *map(len, runs[:-1])])
        starts = np.concatenate(runs)
        return PixelBlocks(self.g, self.m0[starts], self.m0[last] + self.m[last] - 1, begin)


class PixelBlocks(NamedTuple):
    """Runs of pixels from `first` to `last`, both included, for several ways to cut the pixels.

    begin : the first run of each way. Sums and maxima are of each way.
    """

    g: Geometry
    first: I64
    last: I64
    begin: I64

    def _rows(self, ky0: int, nky: int) -> I64:
        """Input rows that each needs over kernel rows."""
        g, la = self.g, self.g.layer
        lo_image, lo_y = np.divmod(self.first // g.out.w, g.out.h)
        hi_image, hi_y = np.divmod(self.last // g.out.w, g.out.h)
        lo = lo_y * la.stride_h + ky0 * la.dilation_h - la.pad_top
        hi = hi_y * la.stride_h + (ky0 + nky - 1) * la.dilation_h - la.pad_top
        h, step = g.source.h, needed_step(la.stride_h, nky, la.dilation_h)
        steps = np.where((lo_image < hi_image) & (h % step > 0), 1, step)
        return _count(lo_image * h, lo, hi_image * h, hi, h, steps)

    def _cols(self) -> I64:
        g, la = self.g, self.g.layer
        w, ow = g.source.w, g.out.w
        lo = (self.first % ow) * la.stride_w - la.pad_left
        hi = (self.last % ow) * la.stride_w + (la.kernel_w - 1) * la.dilation_w - la.pad_left
        count = _count(0, lo, 0, hi, w, g.col_step)
        return np.where(self.first // ow != self.last // ow, self.row_size, count)

    def _most(self, values: I64) -> I64:
        return np.maximum.reduceat(values, self.begin)

    def _sum(self, values: I64) -> I64:
        return np.add.reduceat(values, self.begin)

    @property
    def counts(self) -> I64:
        """Runs of each way."""
        return np.diff(self.begin, append=len(self.first))

    @property
    def row_size(self) -> int:
        """Columns of a whole input row that are loaded."""
        return self.g.cols(0, self.g.out.w, wide=True).size

    def rows(self) -> tuple[I64, I64]:
        """Whole input rows: of the largest block, and of all."""
        rows = self._rows(0, self.g.layer.kernel_h)
        return self._most(rows), self._sum(rows)

    def windows(self, nky: int) -> tuple[I64, I64, I64, I64]:
        """Elements of one channel, in parts of so many kernel rows: all that is loaded, and most;
        and the most rows and columns."""
        kernel_h, cols = self.g.layer.kernel_h, self._cols()
        rows = [self._rows(ky, min(nky, kernel_h - ky)) for ky in range(0, kernel_h, nky)]
        areas = np.array([own * cols for own in rows])
        return (
            self._sum(areas.sum(0)),
            self._most(areas.max(0)),
            self._most(np.max(rows, 0)),
            self._most(cols),
        )


def _count(first_base: Any, lo: I64, last_base: Any, hi: I64, size: int, step: Any) -> I64:
    """Places of a map of `size` from lo to hi, as `Geometry.rows` and `cols` count them."""
    first = np.where(lo < 0, lo % step, np.where(lo < size, lo, size + lo % step))
    below = np.where(hi < 0, -1 - (-1 - hi) % step, hi)
    last = np.where(hi < size, below, size - 1 - (size - 1 - hi) % step)
    found: I64 = np.maximum(1, (last_base + last - first_base - first) // step + 1)
    return found
