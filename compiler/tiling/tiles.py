"""What a plan consists of (tiles, runs, fills), and the index arithmetic of a layer.

Output pixels are counted over the batch in (image, y, x) order, input rows as image*h + y, so that
a run of pixels always needs a contiguous run of rows, and one LOAD can fetch several images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import NamedTuple

from ...isa.instructions import INSTRUCTION_BYTES
from ...network.layers import NO_TENSOR, Layer, LayerOp, Network, Tensor
from .loads import ABlock, BBlock, ifmap_loads

#: Fields of a layer that say which operands an output has.
_CUT_BY = (
    "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "dilation_h",
    "dilation_w", "groups",
)  # fmt: skip


class Tile(NamedTuple):
    """Output pixels [m0, m0+m) times output channels [n0, n0+n)."""

    m0: int
    m: int
    n0: int
    n: int


class TileRun(NamedTuple):
    """Tiles that share one window: the same buffers and the same part of the reduction.

    parked : the sums wait in the output buffer until the next part, as other tiles come between.
    """

    ky0: int
    nky: int
    kc0: int
    kcc: int
    first: bool
    last: bool
    tiles: list[Tile]
    parked: bool = False


class Fill(NamedTuple):
    """What one fill of the buffers serves. A block of None is the one already there."""

    a: ABlock | None
    b: BBlock | None
    runs: list[TileRun]


class Blocks(NamedTuple):
    """Bytes of blocks in the buffers: of inputs, all operands together, and of weights."""

    inputs: int
    weights: int


@dataclass(frozen=True)
class LayerPlan:
    """The fills of one layer, and how its weights are cut along the reduction."""

    fills: list[Fill]
    chunk_ky: int
    chunk_c: int

    @cached_property
    def slot_words(self) -> int:
        """Words of the largest tile, which a slot of the output buffer has to hold."""
        return max(t.m * t.n for t in self.tiles)

    def largest(self, layer: Layer) -> Blocks:
        """The largest blocks of the layer that it is a plan of."""
        inputs = max((fill.a.nbytes for fill in self.fills if fill.a), default=0)
        weights = max((fill.b.nbytes for fill in self.fills if fill.b), default=0)
        return Blocks(len(input_tensors(layer)) * inputs, weights)

    @property
    def tiles(self) -> Iterator[Tile]:
        """Every tile once, in the order of its last chunk."""
        return (t for f in self.fills for r in f.runs if r.last for t in r.tiles)


def input_tensors(layer: Layer) -> tuple[int, ...]:
    """The tensors that its input blocks are of: an ADD has two of them, side by side."""
    return (layer.input, layer.residual) if layer.op == LayerOp.ADD else (layer.input,)


class Lines(NamedTuple):
    """Input rows or columns: `size` of them from `first` on, `step` apart."""

    first: int
    size: int
    step: int

    @property
    def last(self) -> int:
        """The last of them."""
        return self.first + (self.size - 1) * self.step


def needed_step(stride: int, kernel: int, dilation: int) -> int:
    """Distance of the input rows (or columns) that windows of `kernel` rows need; 1: all."""
    return stride if kernel == 1 else gcd(stride, dilation)


@dataclass(frozen=True)
class Geometry:
    """Index arithmetic of one layer: which input a run of output pixels needs."""

    layer: Layer
    source: Tensor
    out: Tensor
    batch: int

    @property
    def pixels(self) -> int:
        """Output pixels of the batch."""
        return self.batch * self.out.h * self.out.w

    @property
    def shape(self) -> Geometry:
        """The same without what has no influence on how it is cut: names, tensors, arithmetic."""
        la = self.layer
        layer = Layer(
            "layer",
            la.op,
            0,
            1,
            NO_TENSOR if la.residual == NO_TENSOR else 2,
            **{f: getattr(la, f) for f in _CUT_BY},
        )
        source, out = (Tensor("", t.h, t.w, t.c, 1.0) for t in (self.source, self.out))
        return Geometry(layer, source, out, self.batch)

    @classmethod
    def of(cls, network: Network, index: int, batch: int) -> Geometry:
        """The geometry of layer `index`."""
        layer = network.layers[index]
        return cls(layer, network.tensors[layer.input], network.tensors[layer.output], batch)

    @cached_property
    def col_step(self) -> int:
        """Distance of the columns in a block: more than 1 where that saves more than it takes.

        A LOAD has rows of one length and distance, so that each input row may take one of its own.
        """
        la, h = self.layer, self.source.h
        step = needed_step(la.stride_w, la.kernel_w, la.dilation_w)
        row_step = needed_step(la.stride_h, la.kernel_h, la.dilation_h)

        def nbytes(col_step: int) -> int:
            cols = self._all_cols(col_step)
            block = ABlock(0, -(-h // row_step), row_step, *cols, 0, self.source.c)
            return block.nbytes + INSTRUCTION_BYTES * len(ifmap_loads(block, self.source))

        return step if step > 1 and nbytes(step) < nbytes(1) else 1

    def rows(self, m_lo: int, m_hi: int, ky0: int, nky: int) -> Lines:
        """Input rows that pixels [m_lo, m_hi) need for `nky` kernel rows; at least one."""
        la, h, ow = self.layer, self.source.h, self.out.w
        lo_image, lo_y = divmod(m_lo // ow, self.out.h)
        hi_image, hi_y = divmod((m_hi - 1) // ow, self.out.h)
        lo = lo_y * la.stride_h + ky0 * la.dilation_h - la.pad_top
        hi = hi_y * la.stride_h + (ky0 + nky - 1) * la.dilation_h - la.pad_top
        step = needed_step(la.stride_h, nky, la.dilation_h)
        if lo_image < hi_image and h % step:
            step = 1  # what is needed of the next image is not as far apart
        first = lo_image * h + _first_inside(lo, h, step)
        last = hi_image * h + _last_inside(hi, h, step)
        nearest = lo_image * h if lo < 0 else hi_image * h + h - 1
        return _lines(first, last, step, nearest)

    def cols(self, m_lo: int, m_hi: int, wide: bool = False) -> Lines:
        """Input columns that pixels [m_lo, m_hi) need, at least one.

        All that any pixel needs if these span rows; where no column is left out also those that
        none needs, as whole rows lie in one piece. wide : the same for pixels of one row.
        """
        ow = self.out.w
        if not wide and m_lo // ow == (m_hi - 1) // ow:
            return self._cols(m_lo % ow, (m_hi - 1) % ow, self.col_step)
        return self._all_cols(self.col_step)

    def _all_cols(self, step: int) -> Lines:
        if step == 1:
            return Lines(0, self.source.w, 1)
        return self._cols(0, self.out.w - 1, step)

    def _cols(self, lo_x: int, hi_x: int, step: int) -> Lines:
        """Input columns that output columns lo_x to hi_x need."""
        la, w = self.layer, self.source.w
        lo = lo_x * la.stride_w - la.pad_left
        hi = hi_x * la.stride_w + (la.kernel_w - 1) * la.dilation_w - la.pad_left
        nearest = 0 if lo < 0 else w - 1
        return _lines(_first_inside(lo, w, step), _last_inside(hi, w, step), step, nearest)

    def block(self, m_lo: int, m_hi: int) -> ABlock:
        """All rows, columns and channels that pixels [m_lo, m_hi) need."""
        rows, cols = self.rows(m_lo, m_hi, 0, self.layer.kernel_h), self.cols(m_lo, m_hi, wide=True)
        return ABlock(*rows, *cols, 0, self.source.c)

    def pixel_tiles(self, size: int, cut_rows: bool) -> list[tuple[int, int]]:
        """Runs (m0, m) of at most `size` pixels, not crossing output rows if `cut_rows`."""
        span = self.out.w if cut_rows else self.pixels
        return [
            (start + m0, min(size, span - m0))
            for start in range(0, self.pixels, span)
            for m0 in range(0, span, size)
        ]

    def group(self, tiles: list[tuple[int, int]], fits: Callable[[ABlock], bool]) -> list[slice]:
        """Cut `tiles` into the longest consecutive groups whose common block fits."""
        groups, start = [], 0
        for i in range(1, len(tiles) + 1):
            end = tiles[i][0] + tiles[i][1] if i < len(tiles) else 0
            if i == len(tiles) or not fits(self.block(tiles[start][0], end)):
                groups.append(slice(start, i))
                start = i
        return groups


def _first_inside(place: int, size: int, step: int) -> int:
    """The first of `place`, `place + step`, ... on a map of `size`; `size` or more: none is."""
    if place < 0:
        return place % step
    return place if place < size else size + place % step


def _last_inside(place: int, size: int, step: int) -> int:
    """The last of `place`, `place - step`, ... on a map of `size`; negative: none is."""
    if place >= size:
        return size - 1 - (size - 1 - place) % step
    return place if place >= 0 else -1 - (-1 - place) % step


def _lines(first: int, last: int, step: int, nearest: int) -> Lines:
    """From `first` to `last`; where none is needed the `nearest`, which often is there already."""
    size = (last - first) // step + 1
    if size > 1:
        return Lines(first, size, step)
    return Lines(first if size == 1 else nearest, 1, 1)
