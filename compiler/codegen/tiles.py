"""What a plan consists of (tiles, runs, fills), and the index arithmetic of a layer.

Output pixels are counted over the batch in (image, y, x) order, input rows as image*h + y, so that
a run of pixels always needs a contiguous run of rows, and one LOAD can fetch several images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...network.layers import NO_TENSOR, Layer, Network, Tensor
from .loads import ABlock, BBlock


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


@dataclass(frozen=True)
class LayerPlan:
    """The fills of one layer, and how its weights are cut along the reduction."""

    fills: list[Fill]
    chunk_ky: int
    chunk_c: int

    @property
    def tiles(self) -> Iterator[Tile]:
        """Every tile once, in the order of its last chunk."""
        return (t for f in self.fills for r in f.runs if r.last for t in r.tiles)


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

    def rows(self, m_lo: int, m_hi: int, ky0: int, nky: int) -> tuple[int, int]:
        """First input row and number of rows for pixels [m_lo, m_hi) and `nky` kernel rows."""
        la, h, ow = self.layer, self.source.h, self.out.w
        lo_image, lo_y = divmod(m_lo // ow, self.out.h)
        hi_image, hi_y = divmod((m_hi - 1) // ow, self.out.h)
        lo = lo_y * la.stride_h + ky0 * la.dilation_h - la.pad_top
        hi = hi_y * la.stride_h + (ky0 + nky - 1) * la.dilation_h - la.pad_top
        first = lo_image * h + min(max(lo, 0), h - 1)
        last = hi_image * h + min(max(hi, 0), h - 1)
        return first, last - first + 1

    def cols(self, m_lo: int, m_hi: int) -> tuple[int, int]:
        """First input column and number of columns; the whole width if the pixels span rows."""
        la, w, ow = self.layer, self.source.w, self.out.w
        if m_lo // ow != (m_hi - 1) // ow:
            return 0, w
        lo = (m_lo % ow) * la.stride_w - la.pad_left
        hi = ((m_hi - 1) % ow) * la.stride_w + (la.kernel_w - 1) * la.dilation_w - la.pad_left
        first, last = min(max(lo, 0), w - 1), min(max(hi, 0), w - 1)
        return first, last - first + 1

    def block(self, m_lo: int, m_hi: int) -> ABlock:
        """All rows, columns and channels that pixels [m_lo, m_hi) need."""
        first, rows = self.rows(m_lo, m_hi, 0, self.layer.kernel_h)
        return ABlock(first, rows, 0, self.source.w, 0, self.source.c)

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
