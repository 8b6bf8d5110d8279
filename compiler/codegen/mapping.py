"""What a mapping of a layer costs, in closed forms, so that many can be compared before one is made.

A mapping says how a convolution is cut: pixels and channels of a tile, rows that are cut or not, the
part of the reduction that is loaded at a time, and which operand stays.  Its cost is what takes
longest (array, DRAM channel, vector unit), as they work side by side; the cycle model confirms it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...isa.program import chunks
from ...simulator.array.timing import fold_cycles, os_tile_cycles
from .tiles import Geometry

_Ints = NDArray[np.int64]


class Mapping(NamedTuple):
    """rows, cols : pixels and channels of a tile at most. cut_rows : no tile has pixels of two output
    rows. whole : blocks hold whole input rows with all channels. step_ky, step_c : of the reduction.
    weights_outside : the outer loop is over channels."""

    rows: int
    cols: int
    cut_rows: bool
    whole: bool
    step_ky: int
    step_c: int
    weights_outside: bool


class MappingCost(NamedTuple):
    """cycles : estimated. traffic : bytes of operands. array, dram, vec : cycles of each."""

    cycles: int
    traffic: int
    array: int
    dram: int
    vec: int


class LayerShape:
    """A convolution on a machine, with what its mappings have in common."""

    def __init__(self, geometry: Geometry, config: Config, most_cols: int) -> None:
        layer = geometry.layer
        self.geometry, self.layer, self.config = geometry, layer, config
        self.half_a = config.buffers.ifmap_bytes // 2
        self.half_b = config.buffers.weight_bytes // 2
        self.per_group = geometry.source.c // layer.groups
        self.width = geometry.out.c // layer.groups
        self.depth = layer.kernel_h * layer.kernel_w * self.per_group
        self.most_cols = min(most_cols, self.width)
        self._pixels: dict[tuple[int, bool], _Pixels] = {}

    def pixels(self, rows: int, cut_rows: bool) -> _Pixels:
        """Tiles of pixels and the input they read."""
        key = rows, cut_rows
        if key not in self._pixels:
            self._pixels[key] = _Pixels(self.geometry, rows, cut_rows)
        return self._pixels[key]

    # ---- what there is to choose from ----------------------------------------------------------

    def mappings(self) -> Iterator[Mapping]:
        """All that fit the buffers, the simplest first."""
        for rows, cut_rows in self._row_choices():
            pixels = self.pixels(rows, cut_rows)
            row_bytes = self.geometry.source.w * self.geometry.source.c
            whole = not cut_rows and int(pixels.counts.max()) * row_bytes <= self.half_a
            for cols in self._col_choices():
                for step in self._steps(pixels, cols, whole):
                    for outside in (True, False):
                        yield Mapping(rows, cols, cut_rows, whole, *step, outside)

    def _row_choices(self) -> Iterator[tuple[int, bool]]:
        most, wide = self.config.tile_rows, self.geometry.out.w
        size = most
        while size:
            yield size, False
            size //= 2
        if self.geometry.out.h == 1 and self.geometry.pixels == wide:
            return
        tried = set()
        size = most
        while size:
            own = -(-wide // -(-wide // size))  # as even as can be
            if own not in tried and own <= size:
                tried.add(own)
                yield own, True
            size //= 2

    def _col_choices(self) -> list[int]:
        found = {self.most_cols}
        size = self.most_cols
        while size := size // 2:
            found.add(size)
        for parts in range(1, self.layer.kernel_h + 1):
            depth = -(-self.layer.kernel_h // parts) * self.layer.kernel_w * self.per_group
            found.add(min(self.most_cols, self.half_b // (depth + 4)))
        found.discard(0)
        return sorted(found, reverse=True)

    def _steps(self, pixels: _Pixels, cols: int, whole: bool) -> Iterator[tuple[int, int]]:
        """(kernel rows, channels) of a part of the reduction; the largest of each kind that fits."""
        seen = set()
        for nky in range(self.layer.kernel_h, 0, -1):
            count = self._channels_that_fit(pixels, nky, cols, whole)
            if not count:
                continue
            even = -(-self.per_group // -(-self.per_group // count))
            nky = -(-self.layer.kernel_h // -(-self.layer.kernel_h // nky))
            if (nky, even) not in seen:
                seen.add((nky, even))
                yield nky, even
            if count >= self.per_group:
                return

    def _channels_that_fit(self, pixels: _Pixels, nky: int, cols: int, whole: bool) -> int:
        spare = self.half_b // cols - 4  # 4 bytes of bias a channel
        count = max(0, spare) // (nky * self.layer.kernel_w)
        if not whole:
            count = min(count, self.half_a // pixels.worst_area(nky))
        return min(count, self.per_group)

    # ---- what it costs ------------------------------------------------------------------------

    def cost(self, m: Mapping) -> MappingCost:
        """Estimated: for each fill of the buffers the longer one of its tiles and the next loads."""
        pixels, layer = self.pixels(m.rows, m.cut_rows), self.layer
        pieces = chunks(layer.kernel_h, self.per_group, m.step_ky, m.step_c)
        single, channels = len(pieces) == 1, layer.groups * -(-self.width // m.cols)
        a_runs, c_runs = len(pixels.m), channels
        if m.whole:
            blocks, block_bytes = pixels.blocks(self.half_a)
            a_runs = blocks if single else a_runs
        if single and (m.whole or layer.groups == 1):
            c_runs = -(-channels // max(1, self.half_b // (m.cols * (self.depth + 4))))
        fills = a_runs * c_runs
        words = self.geometry.pixels * self.geometry.out.c
        stored = words * (2 if layer.residual >= 0 else 1) / len(pieces)
        arrays, drams, traffic = list[int](), list[float](), 0
        for i, piece in enumerate(pieces):
            ky, nky, _, cc = piece
            length = nky * cc * layer.kernel_w
            b_bytes = layer.groups * self.width * (length + (4 if i == 0 else 0))
            if m.whole:
                a_stays = blocks == 1 or not m.weights_outside
                loads = block_bytes * (1 if a_stays else c_runs) if i == 0 else 0
            else:
                a_stays = single and (a_runs == 1 or not m.weights_outside)
                loads = pixels.area(ky, nky) * cc * (1 if a_stays else c_runs)
            b_stays = single and (c_runs == 1 or m.weights_outside)
            moved = loads + b_bytes * (1 if b_stays else a_runs)
            late = self.config.dram.latency_cycles if moved and fills > 1 else 0
            arrays.append(self._array(pixels, channels, length, i == len(pieces) - 1))
            drams.append((moved + stored) / self.config.dram.bytes_per_cycle + late * fills)
            traffic += moved
        # Operands of a part are loaded while the array works on the part before.
        cycles = sum(map(max, arrays, [*drams[1:], drams[0]]))
        dram = int((traffic + stored * len(pieces)) / self.config.dram.bytes_per_cycle)
        vec = words // self.config.vec.lanes + 4 * len(pixels.m) * channels
        return MappingCost(int(max(cycles, vec)), traffic, sum(arrays), dram, vec)

    def _array(self, pixels: _Pixels, channels: int, length: int, last: bool) -> int:
        """Cycles of all tiles over a part of the reduction with so many operands."""
        array, count = self.config.array, len(pixels.m)
        rows, cols = array.rows, array.cols
        if array.keeps_sums:
            one = os_tile_cycles(length, rows, cols, last)
            if array.double_buffered_accumulators:
                one = max(length, rows) if last else length
            return one * count * channels
        folds = -(-length // rows)
        if array.dataflow == "ws":
            return folds * channels * int(fold_cycles(pixels.m, rows, cols).sum())
        streams = self.layer.groups * self.width + channels * int(fold_cycles(0, rows, cols))
        return folds * count * streams


class _Pixels:
    """Tiles of pixels: first and number of each, and the input rows and columns that they read."""

    def __init__(self, g: Geometry, size: int, cut_rows: bool) -> None:
        span = g.out.w if cut_rows else g.pixels
        within = np.arange(0, span, size)
        starts = np.arange(0, g.pixels, span)
        self.g = g
        self.m0: _Ints = (starts[:, None] + within).ravel()
        self.m: _Ints = np.tile(np.minimum(size, span - within), len(starts))
        self.first, self.counts = self._rows(0, g.layer.kernel_h)
        self._areas: dict[tuple[int, int], _Ints] = {}

    def _rows(self, ky0: int, nky: int) -> tuple[_Ints, _Ints]:
        g, la = self.g, self.g.layer
        lo_image, lo_y = np.divmod(self.m0 // g.out.w, g.out.h)
        hi_image, hi_y = np.divmod((self.m0 + self.m - 1) // g.out.w, g.out.h)
        lo = lo_y * la.stride_h + ky0 * la.dilation_h - la.pad_top
        hi = hi_y * la.stride_h + (ky0 + nky - 1) * la.dilation_h - la.pad_top
        first = lo_image * g.source.h + np.clip(lo, 0, g.source.h - 1)
        last = hi_image * g.source.h + np.clip(hi, 0, g.source.h - 1)
        return first, last - first + 1

    def _cols(self) -> _Ints:
        g, la = self.g, self.g.layer
        w, ow = g.source.w, g.out.w
        lo = (self.m0 % ow) * la.stride_w - la.pad_left
        hi = ((self.m0 + self.m - 1) % ow) * la.stride_w + (la.kernel_w - 1) * la.dilation_w - la.pad_left
        count = np.clip(hi, 0, w - 1) - np.clip(lo, 0, w - 1) + 1
        return np.where(self.m0 // ow != (self.m0 + self.m - 1) // ow, w, count)

    def _area(self, ky0: int, nky: int) -> _Ints:
        if (ky0, nky) not in self._areas:
            self._areas[ky0, nky] = self._rows(ky0, nky)[1] * self._cols()
        return self._areas[ky0, nky]

    def area(self, ky0: int, nky: int) -> int:
        """Rows times columns that all tiles read of one channel, over kernel rows."""
        return int(self._area(ky0, nky).sum())

    def worst_area(self, nky: int) -> int:
        """Most that a tile reads, over any such kernel rows."""
        kernel_h = self.g.layer.kernel_h
        return max(int(self._area(ky, min(nky, kernel_h - ky)).max()) for ky in range(0, kernel_h, nky))

    def blocks(self, half: int) -> tuple[int, int]:
        """How many blocks of whole rows serve all tiles, and their bytes together."""
        row_bytes = self.g.source.w * self.g.source.c
        most, last = half // row_bytes, self.first + self.counts
        start, count, rows = 0, 0, 0
        while start < len(self.m0):
            end = int(np.searchsorted(last, self.first[start] + most, side="right"))
            rows += int(last[end - 1] - self.first[start])
            count, start = count + 1, end
        return count, rows * row_bytes
