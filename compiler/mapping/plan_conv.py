"""Tiling of convolutions and linear layers: blocks, chunks of the reduction, loop order.

Where half a buffer holds the operands of whole tiles, the reduction is not cut, and blocks serve as
many tiles as fit.  Else it is cut into chunks (kernel rows, then channels) over which the sums stay
in the array.  The loop order, weights outside or inputs outside, is the one with less DRAM traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ...config import Config
from ...isa.program import chunks
from ...isa.protection import layer_columns
from ...network.layers import Layer
from ..tiling.loads import ABlock, BBlock
from ..tiling.tiles import (
    Fill,
    Geometry,
    LayerPlan,
    Tile,
    TileRun,
)
from .mapping import Mapping
from .pixel_blocks import run_starts

_Piece = tuple[int, int, int, int]  # first kernel row, rows, first channel of the group, channels


class _Pixels(NamedTuple):
    """A run of pixel tiles that one input block serves."""

    tiles: list[tuple[int, int]]  #: (m0, m)

    @property
    def span(self) -> tuple[int, int]:
        """First pixel and the one after the last."""
        return self.tiles[0][0], sum(self.tiles[-1])


class _Channels(NamedTuple):
    """A run of channel tiles that one weight block serves."""

    tiles: list[tuple[int, int, int]]  #: (group, n0, n)


def plan_conv(geometry: Geometry, mapping: Mapping) -> LayerPlan:
    """The tiles of a CONV layer."""
    return _Tiling(geometry, mapping).plan()


def tile_columns(layer: Layer, config: Config) -> int:
    """Most channels of a tile of a CONV layer."""
    if not config.array.keeps_sums:
        return config.tile_cols
    return layer_columns(config, layer.name)


class _Tiling:
    """One attempt: tiles of at most `rows` pixels and `cols` channels."""

    def __init__(self, geometry: Geometry, mapping: Mapping) -> None:
        self.geometry, self.layer, self.mapping = geometry, geometry.layer, mapping
        cols = mapping.cols
        self.per_group = geometry.source.c // self.layer.groups
        self.width = geometry.out.c // self.layer.groups
        self.depth = self.layer.kernel_h * self.layer.kernel_w * self.per_group
        self.channels = [
            (group, group * self.width + n, min(cols, self.width - n))
            for group in range(self.layer.groups)
            for n in range(0, self.width, cols)
        ]
        self.pixels = geometry.pixel_tiles(mapping.rows, cut_rows=mapping.cut_rows)

    # ---- blocks -------------------------------------------------------------------------------

    def _a_block(self, pixels: _Pixels, group: int, piece: _Piece) -> ABlock:
        if self.mapping.whole:
            return self.geometry.block(*pixels.span)
        ky, nky, c, cc = piece
        rows, cols = self.geometry.rows(*pixels.span, ky, nky), self.geometry.cols(*pixels.span)
        return ABlock(*rows, *cols, group * self.per_group + c, cc)

    def _b_block(self, channels: _Channels, piece: _Piece) -> BBlock:
        ky, nky, c, cc = piece
        kernel_w = self.layer.kernel_w
        group, n_base, _ = channels.tiles[0]
        n = sum(channels.tiles[-1][1:]) - n_base
        length = nky * kernel_w * cc
        # [group][chunk][channel][k], see compiler.codegen.constants
        before = (ky * self.per_group + nky * c) * kernel_w * self.width
        within = (n_base - group * self.width) * length
        return BBlock(n_base, n, group * self.width * self.depth + before + within, n * length)

    def _pixel_runs(self) -> list[_Pixels]:
        """Runs of pixel tiles that share a fill."""
        count, rows = len(self.pixels), self.geometry.pixels // self.geometry.out.w
        row = count // rows if self.mapping.cut_rows else count
        starts = run_starts(count, row, self.mapping.pixel_tiles).tolist()
        return [_Pixels(self.pixels[i:end]) for i, end in pairwise([*starts, count])]

    def _channel_runs(self) -> list[_Channels]:
        """The same of channel tiles; of one group, or of whole groups."""
        step = self.mapping.channel_tiles
        per_group = -(-self.width // self.mapping.cols)
        span = max(per_group, step)
        return [
            _Channels(self.channels[i : min(i + step, start + span)])
            for start in range(0, len(self.channels), span)
            for i in range(start, min(start + span, len(self.channels)), step)
        ]

    # ---- loops --------------------------------------------------------------------------------

    def plan(self) -> LayerPlan:
        """The fills."""
        step_ky, step_c = self.mapping.step_ky, self.mapping.step_c
        pieces = chunks(self.layer.kernel_h, self.per_group, step_ky, step_c)
        return LayerPlan(list(self._fills(pieces)), step_ky, step_c)

    def _fills(self, pieces: list[_Piece]) -> Iterator[Fill]:
        pixel_runs, channel_runs = self._pixel_runs(), self._channel_runs()
        pairs = (
            ((p, c) for c in channel_runs for p in pixel_runs)
            if self.mapping.weights_outside
            else ((p, c) for p in pixel_runs for c in channel_runs)
        )
        old_a: ABlock | None = None
        old_b: tuple[BBlock, bool] | None = None
        for pixels, channels in pairs:
            for i, piece in enumerate(pieces):
                first, last = i == 0, i == len(pieces) - 1
                a = self._a_block(pixels, channels.tiles[0][0], piece)
                b = (self._b_block(channels, piece), first)
                runs = self._runs(channels, pixels.tiles, piece, first, last)
                yield Fill(a if a != old_a else None, b[0] if b != old_b else None, runs)
                old_a, old_b = a, b

    def _runs(
        self,
        channels: _Channels,
        pixels: list[tuple[int, int]],
        piece: _Piece,
        first: bool,
        last: bool,
    ) -> list[TileRun]:
        """One run for each group of the convolution: the channels of the reduction differ."""
        ky, nky, c, cc = piece
        by_group: dict[int, list[tuple[int, int]]] = {}
        for group, n0, n in channels.tiles:
            by_group.setdefault(group, []).append((n0, n))
        return [
            TileRun(
                ky,
                nky,
                group * self.per_group + c,
                cc,
                first,
                last,
                # The input comes last and row by row: pixels outside, the first tiles begin early.
                [Tile(m0, m, n0, n) for m0, m in pixels for n0, n in own],
                self.mapping.parked,
            )
            for group, own in by_group.items()
        ]
