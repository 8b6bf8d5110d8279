"""Tiling of layers that only the vector unit computes: pools, adds and copies.

A block of the input serves output rows times columns times channels, as many rows as fit half of
the ifmap buffer, so that only what neighbouring windows share across its edges is read again.  How
wide it is and how many channels it has is chosen by what the memory moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from ...config import Config
from ...errors import CompileError
from ...isa.instructions import BY_NAME, INSTRUCTION_BYTES, WINDOW_DESCRIPTOR_BYTES, Buffer
from ...isa.sizes import operand_memory
from ...network.layers import LayerOp
from ..tiling.loads import BURST_BYTES, ABlock, ifmap_loads
from ..tiling.tiles import Fill, Geometry, LayerPlan, Lines, Tile, TileRun

_MAX_TILE_PIXELS = BY_NAME["VEC"].layout()["m"][1].limit
_MAX_TILE_CHANNELS = 256


class _Cut(NamedTuple):
    """Output columns and channels of a block at most. single : it serves one output row."""

    cols: int
    channels: int
    single: bool


class _Channels(NamedTuple):
    """Output channels [n0, n0 + n) and the input channels that they are made of."""

    n0: int
    n: int
    c0: int
    cc: int


def plan_vector(geometry: Geometry, config: Config) -> LayerPlan:
    """Tile such a layer; CompileError if one window of one channel does not fit the buffer."""
    shape = _Shape(geometry, config)
    best: tuple[int, int] | None = None
    chosen: _Cut | None = None
    for cut in shape.cuts():
        if chosen is not None and cut.channels < min(BURST_BYTES, geometry.out.c):
            break  # shorter runs move no fewer bytes
        cost = shape.cost(cut)
        if cost is not None and (best is None or cost < best):
            best, chosen = cost, cut
    if chosen is None:
        rows, cols = shape.largest_window()
        raise CompileError(
            f"layer {geometry.layer.name}: {rows} x {cols} input elements of one window do not fit "
            f"{shape.half} bytes, half of the {shape.memory}; enlarge buffers.{shape.field}"
        )
    return LayerPlan(list(shape.fills(chosen)), 1, 1)


class _Shape:
    """A layer on a machine, and what its cuts have in common.

    half : bytes that the blocks of one operand may take, of the `memory` that `field` gives.
    """

    def __init__(self, geometry: Geometry, config: Config) -> None:
        self.g, self.words = geometry, config.tile_words
        self.grant = config.dram.grant_bytes
        self.operands = 2 if geometry.layer.op == LayerOp.ADD else 1
        shared = config.buffers.scratchpad_bytes
        self.half = (shared or config.buffers.ifmap_bytes) // 2 // self.operands
        self.memory = operand_memory(config, Buffer.IFMAP)
        self.field = "scratchpad_bytes" if shared else "ifmap_bytes"
        self.out_rows = geometry.pixels // geometry.out.w
        self.row_runs = cache(self._row_runs)
        self.loads = cache(self._loads)

    # ---- cuts ---------------------------------------------------------------------------------

    def cuts(self) -> Iterator[_Cut]:
        """Channels are halved, columns cut evenly; the fewest pieces come first."""
        out, layer = self.g.out, self.g.layer
        window = (layer.kernel_h - 1) * layer.dilation_h + 1
        singles = (False, True) if layer.stride_h > window > 1 else (False,)  # rows lie between
        channels = out.c
        while True:
            for parts in range(1, out.w + 1):
                cols = -(-out.w // parts)
                if parts == 1 or cols < -(-out.w // (parts - 1)):
                    for single in singles:
                        yield _Cut(cols, channels, single)
            if channels == 1:
                return
            channels = -(-channels // 2)

    def col_runs(self, cut: _Cut) -> list[tuple[int, int, Lines]]:
        """(first output column, the one after the last, the input's) of the blocks."""
        wide = cut.cols == self.g.out.w
        ends = [(x, min(x + cut.cols, self.g.out.w)) for x in range(0, self.g.out.w, cut.cols)]
        return [(x0, x1, self.g.cols(x0, x1, wide)) for x0, x1 in ends]

    def channel_runs(self, cut: _Cut) -> list[_Channels]:
        """The channels of the blocks."""
        offset, out_c, c = self.g.layer.c_offset, self.g.out.c, self.g.source.c
        if cut.channels == out_c:
            return [_Channels(0, out_c, 0, c)]
        runs = []
        for n0 in range(0, out_c, cut.channels):
            n = min(cut.channels, out_c - n0)
            low = min(max(n0 - offset, 0), c - 1)
            high = min(max(n0 + n - offset, low + 1), c)
            runs.append(_Channels(n0, n, low, high - low))
        return runs

    def _row_runs(self, most: int, single: bool) -> list[tuple[int, int, Lines]]:
        """The same of rows, of which `most` input rows fit; none if they do not."""
        w, runs, y = self.g.out.w, [], 0

        def rows(end: int) -> Lines:
            return self.g.rows(y * w, end * w, 0, self.g.layer.kernel_h)

        while y < self.out_rows:
            last = y + 1 if single else self.out_rows
            end = y + bisect_right(range(y + 1, last + 1), most, key=lambda end: rows(end).size)
            if end == y:
                return []
            runs.append((y, end, rows(end)))
            y = end
        return runs

    def _runs(
        self, cut: _Cut
    ) -> tuple[list[tuple[int, int, Lines]], list[tuple[int, int, Lines]], list[_Channels]]:
        cols, channels = self.col_runs(cut), self.channel_runs(cut)
        area = max(run.size for _, _, run in cols) * max(run.cc for run in channels)
        return self.row_runs(self.half // area, cut.single), cols, channels

    def _tile(self, channels: int) -> tuple[int, int]:
        """Most pixels and channels of a tile in a block of so many channels."""
        n = min(channels, self.words, _MAX_TILE_CHANNELS)
        return min(self.words // n, _MAX_TILE_PIXELS), n

    # ---- what they cost -----------------------------------------------------------------------

    def cost(self, cut: _Cut) -> tuple[int, int] | None:
        """(bytes, tiles) of all blocks; None if a block does not fit.

        Every run of bytes counts in whole bursts: narrow blocks share less, but memory moves more.
        """
        rows, cols, channels = self._runs(cut)
        if not rows:
            return None
        by_rows = Counter(run[1:] for _, _, run in rows)
        by_cols = Counter(run[1:] for _, _, run in cols)
        by_channels = Counter(run.cc for run in channels)
        loaded = sum(
            a * b * n * self.loads(*row, *col, cc)
            for row, a in by_rows.items()
            for col, b in by_cols.items()
            for cc, n in by_channels.items()
        )
        out, pixels, parts, stored = self.g.out, 0, 0, 0
        for run in channels:
            m, n = self._tile(run.n)
            parts += -(-run.n // n)
            whole, rest = divmod(run.n, n)
            stored += run.n if run.n == n == out.c else whole * _bursts(n) + _bursts(rest)
            pixels = m
        if cut.cols == out.w:
            in_map = sum(-(-(end - y) * out.w // pixels) for y, end, _ in rows)
        else:
            in_map = self.out_rows * sum(-(-(x1 - x0) // pixels) for x0, x1, _ in cols)
        tiles, blocks = in_map * parts, len(rows) * len(cols) * len(channels)
        text = 2 * tiles * INSTRUCTION_BYTES  # VEC and STORE
        text += blocks * (INSTRUCTION_BYTES + WINDOW_DESCRIPTOR_BYTES)
        return loaded + stored * self.g.pixels + text, tiles

    def _loads(self, rows: int, row_step: int, cols: int, col_step: int, cc: int) -> int:
        """Bytes of the LOADs of such a block and of their instructions."""
        block = ABlock(0, rows, row_step, 0, cols, col_step, 0, cc)
        loads = [x for p in block.pieces(self.grant) for x in ifmap_loads(p, self.g.source)]
        return self.operands * sum(x.rows * _bursts(x.row_bytes) + INSTRUCTION_BYTES for x in loads)

    def largest_window(self) -> tuple[int, int]:
        """Most input rows, and columns, that one output element reads."""
        w = self.g.out.w
        return (
            max(
                self.g.rows(y * w, y * w + 1, 0, self.g.layer.kernel_h).size
                for y in range(self.out_rows)
            ),
            max(self.g.cols(x, x + 1).size for x in range(w)),
        )

    # ---- the plan -----------------------------------------------------------------------------

    def fills(self, cut: _Cut) -> Iterator[Fill]:
        """The blocks, and the tiles that each serves."""
        rows, cols, channels = self._runs(cut)
        for y0, y1, row in rows:
            for x0, x1, col in cols:
                for run in channels:
                    tiles = list(self._tiles(y0, y1, x0, x1, run))
                    block = ABlock(*row, *col, run.c0, run.cc)
                    reduction = (0, self.g.layer.kernel_h, run.c0, run.cc)
                    yield Fill(block, None, [TileRun(*reduction, True, True, tiles)])

    def _tiles(self, y0: int, y1: int, x0: int, x1: int, run: _Channels) -> Iterator[Tile]:
        m, n = self._tile(run.n)
        w = self.g.out.w
        spans = [(y0 * w, y1 * w)]
        if x1 - x0 < w:
            spans = [(y * w + x0, y * w + x1) for y in range(y0, y1)]
        for begin, end in spans:
            for m0 in range(begin, end, m):
                for n0 in range(run.n0, run.n0 + run.n, n):
                    yield Tile(m0, min(m, end - m0), n0, min(n, run.n0 + run.n - n0))


def _bursts(nbytes: int) -> int:
    """Bytes of the bursts that a run of bytes takes, at best."""
    return -(-nbytes // BURST_BYTES) * BURST_BYTES
