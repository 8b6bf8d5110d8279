"""Tiling of convolutions and linear layers: blocks, chunks of the reduction, loop order.

Where half a buffer holds the operands of whole tiles, the reduction is not cut, and blocks serve as
many tiles as fit.  Else it is cut into chunks (kernel rows, then channels) over which the sums stay
in the array.  The loop order, weights outside or inputs outside, is the one with less DRAM traffic.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...config import Config
from ...errors import CompileError
from ...isa.program import chunks
from ...isa.protection import layer_columns
from ...network.layers import Layer
from .loads import ABlock, BBlock
from .mapping import LayerShape, Mapping
from .tiles import (
    Fill,
    Geometry,
    LayerPlan,
    Tile,
    TileRun,
)

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


def plan_conv(geometry: Geometry, config: Config) -> LayerPlan:
    """Tile a CONV layer. Raises CompileError if not even one PE's operands fit the buffers."""
    shape = LayerShape(geometry, config, tile_columns(geometry.layer, config))
    best = min(shape.mappings(), key=lambda m: shape.cost(m)[:2], default=None)
    if best is not None:
        return _Tiling(geometry, config, best).plan(best)
    raise CompileError(
        f"layer {geometry.layer.name}: one kernel row of one channel does not fit half of the "
        "ifmap and weight buffers; enlarge buffers.ifmap_bytes or buffers.weight_bytes"
    )


def tile_columns(layer: Layer, config: Config) -> int:
    """Most channels of a tile of a CONV layer."""
    if not config.array.keeps_sums:
        return config.tile_cols
    return layer_columns(config, layer.name)


class _Tiling:
    """One attempt: tiles of at most `rows` pixels and `cols` channels."""

    def __init__(self, geometry: Geometry, config: Config, mapping: Mapping) -> None:
        rows, cols = mapping.rows, mapping.cols
        self.geometry, self.layer = geometry, geometry.layer
        self.half_a = config.buffers.ifmap_bytes // 2
        self.half_b = config.buffers.weight_bytes // 2
        self.per_group = geometry.source.c // self.layer.groups
        self.width = geometry.out.c // self.layer.groups
        self.depth = self.layer.kernel_h * self.layer.kernel_w * self.per_group
        self.widest = min(cols, self.width)
        self.channels = [
            (group, group * self.width + n, min(cols, self.width - n))
            for group in range(self.layer.groups)
            for n in range(0, self.width, cols)
        ]
        self.pixels = geometry.pixel_tiles(rows, cut_rows=mapping.cut_rows)
        self.whole = mapping.whole

    def _fits(self, block: ABlock) -> bool:
        return block.nbytes <= self.half_a

    # ---- blocks -------------------------------------------------------------------------------

    def _a_block(self, pixels: _Pixels, group: int, piece: _Piece) -> ABlock:
        if self.whole:
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

    def _pixel_runs(self, single: bool) -> list[tuple[_Pixels, list[tuple[int, int]]]]:
        """(block, the tiles it serves at a time); with several chunks that is one tile."""
        tiles = self.pixels
        groups = (
            [_Pixels(tiles[part]) for part in self.geometry.group(tiles, self._fits)]
            if self.whole
            else [_Pixels([tile]) for tile in tiles]
        )
        if single:
            return [(group, group.tiles) for group in groups]
        return [(group, [tile]) for group in groups for tile in group.tiles]

    def _channel_runs(self, single: bool) -> list[_Channels]:
        """The longest consecutive runs of channel tiles whose weights and biases fit."""
        if not single or not (self.whole or self.layer.groups == 1):
            return [_Channels([tile]) for tile in self.channels]
        runs: list[_Channels] = []
        total = self.half_b + 1
        for tile in self.channels:
            nbytes = tile[2] * (self.depth + 4)
            if total + nbytes > self.half_b:
                runs.append(_Channels([]))
                total = 0
            runs[-1].tiles.append(tile)
            total += nbytes
        return runs

    # ---- loops --------------------------------------------------------------------------------

    def plan(self, mapping: Mapping) -> LayerPlan:
        """The fills."""
        step_ky, step_c = mapping.step_ky, mapping.step_c
        pieces = chunks(self.layer.kernel_h, self.per_group, step_ky, step_c)
        fills = list(self._fills(pieces, mapping.weights_outside))
        return LayerPlan(fills, step_ky, step_c)

    def _fills(self, pieces: list[_Piece], weights_outside: bool) -> Iterator[Fill]:
        single = len(pieces) == 1
        pixel_runs, channel_runs = self._pixel_runs(single), self._channel_runs(single)
        pairs = (
            ((p, c) for c in channel_runs for p in pixel_runs)
            if weights_outside
            else ((p, c) for p in pixel_runs for c in channel_runs)
        )
        old_a: ABlock | None = None
        old_b: tuple[BBlock, bool] | None = None
        for (block, tiles), channels in pairs:
            for i, piece in enumerate(pieces):
                first, last = i == 0, i == len(pieces) - 1
                a = self._a_block(block, channels.tiles[0][0], piece)
                b = (self._b_block(channels, piece), first)
                runs = self._runs(channels, tiles, piece, first, last)
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
        by_group: dict[int, list[Tile]] = {}
        for group, n0, n in channels.tiles:
            by_group.setdefault(group, []).extend(Tile(m0, m, n0, n) for m0, m in pixels)
        return [
            TileRun(ky, nky, group * self.per_group + c, cc, first, last, tiles)
            for group, tiles in by_group.items()
        ]
