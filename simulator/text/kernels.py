"""Numba kernels of addresses: what the tables of a program name in the buffers and in DRAM."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import Format
from ...kernels import kernel
from ...network.arrays import I8, I64
from ...tables import complete

_LIST, _BITMAP = int(Format.LIST), int(Format.BITMAP)
complete(
    "Format in isa/instructions.py",
    Format,
    (_LIST, _BITMAP),
    "simulator/text/kernels.py: decode_positions",
)


@kernel
def decode_positions(
    table: NDArray[np.uint8], fmt: int, count: int, n: int, column_bits: int, bits: int
) -> I64:
    """Read a position table: (count, 2) rows and columns; -1 where a bitmap holds fewer."""
    out = np.full((count, 2), -1, np.int64)
    if fmt == _LIST:
        for i in range(count):
            entry = 0
            for b in range(bits):
                at = i * bits + b
                entry |= ((table[at >> 3] >> (at & 7)) & 1) << b
            out[i, 0] = entry >> column_bits
            out[i, 1] = entry & ((1 << column_bits) - 1)
        return out
    if fmt == _BITMAP:
        found = 0
        for at in range(len(table) * 8):
            if (table[at >> 3] >> (at & 7)) & 1 and found < count:
                out[found, 0] = at // n
                out[found, 1] = at % n
                found += 1
    return out


@kernel
def gather(memory: I8, base: int, window: I64, geometry: I64, pixels: I64, out: I8) -> int:
    """im2col as address generation: operand k of each pixel, 0 outside the map.

    window : row0, rows, row_step, col0, cols, col_step, c0, cc (what is in memory), ky0, nky, kc0,
    kcc (the reduction).
    geometry : in_h, in_w, out_h, out_w, kernel_w, stride_h, stride_w, pad_top, pad_left,
    dilation_h, dilation_w. out : (pixels, nky*kernel_w*kcc). Returns the first pixel whose operand
    lies in the map but not in memory, -1: none.
    """
    row0, rows, row_step, col0, cols, col_step, c0, cc, ky0, nky, kc0, kcc = window
    in_h, in_w, out_h, out_w, kw, sh, sw, pt, pl, dh, dw = geometry
    for i in range(len(pixels)):
        image, rest = divmod(pixels[i], out_h * out_w)
        oy, ox = divmod(rest, out_w)
        at = 0
        for ky in range(ky0, ky0 + nky):
            iy = oy * sh + ky * dh - pt
            for kx in range(kw):
                ix = ox * sw + kx * dw - pl
                if iy < 0 or iy >= in_h or ix < 0 or ix >= in_w:
                    for _ in range(kcc):
                        out[i, at] = 0
                        at += 1
                    continue
                row, between_rows = divmod(image * in_h + iy - row0, row_step)
                col, between_cols = divmod(ix - col0, col_step)
                channel = kc0 - c0
                if (
                    row < 0
                    or row >= rows
                    or between_rows
                    or col < 0
                    or col >= cols
                    or between_cols
                    or channel < 0
                    or channel + kcc > cc
                ):
                    return i
                address = base + (row * cols + col) * cc + channel
                for c in range(kcc):
                    out[i, at] = memory[address + c]
                    at += 1
    return -1


@kernel
def _tile_reads(
    positions: I64,
    tile: I64,
    geometry: I64,
    reduction: I64,
    source: I64,
    first_weight: int,
    k: int,
) -> I64:
    """DRAM reads of the distinct rows and columns of a tile's neurons: (reads, 4).

    A read is (address, bytes of a row, rows, stride). tile : m0, m, n. geometry : as for `gather`.
    reduction : ky0, nky, kc0, kcc. source : channels and address of the input tensor.
    first_weight : address of the weights of the tile's first channel; those of the next one lie k
    bytes on.
    """
    m0, m, n = tile
    in_h, in_w, out_h, out_w, kw, sh, sw, pt, pl, dh, dw = geometry
    ky0, nky, kc0, kcc = reduction
    channels, base = source
    rows, cols = np.zeros(m, np.bool_), np.zeros(n, np.bool_)
    for i in range(len(positions)):
        r, c = positions[i]
        if 0 <= r < m and 0 <= c < n:
            rows[r] = True
            cols[c] = True
    whole = kcc == channels and dw == 1
    out = np.empty((rows.sum() * (1 if whole else nky) + cols.sum(), 4), np.int64)
    count = 0
    for r in range(m):
        if not rows[r]:
            continue
        pixel = m0 + r
        image, rest = pixel // (out_h * out_w), pixel % (out_h * out_w)
        top, left = rest // out_w * sh - pt, rest % out_w * sw - pl
        low_y, low_x = max(ky0, -(top // dh)), max(0, -(left // dw))
        high_y = min(ky0 + nky - 1, (in_h - 1 - top) // dh)
        high_x = min(kw - 1, (in_w - 1 - left) // dw)
        if high_y < low_y or high_x < low_x:
            continue
        first_y, first_x = top + low_y * dh, left + low_x * dw
        at = base + ((image * in_h + first_y) * in_w + first_x) * channels + kc0
        step, wide = dh * in_w * channels, high_x - low_x + 1
        if whole:
            out[count] = (at, wide * kcc, high_y - low_y + 1, step)
            count += 1
        else:
            for y in range(high_y - low_y + 1):
                out[count] = (at + y * step, kcc, wide, dw * channels)
                count += 1
    for c in range(n):
        if cols[c]:
            out[count] = (first_weight + c * k, k, 1, 0)
            count += 1
    return out[:count]


@kernel
def excess_reads(
    tables: NDArray[np.uint8],
    starts: I64,
    tiles: I64,
    column_bits: int,
    bits: int,
    geometry: I64,
    reduction: I64,
    source: I64,
    weights: I64,
    k: I64,
) -> tuple[I64, I64]:
    """`_tile_reads` of many position tables: (reads, 4), and where those of each table begin.

    Table i is tables[starts[i] : starts[i + 1]]; the other arrays have a row for each.
    tiles : format, count, m0, m, n.
    """
    out = np.empty((64, 4), np.int64)
    begins = np.zeros(len(tiles) + 1, np.int64)
    for i in range(len(tiles)):
        table = tables[starts[i] : starts[i + 1]]
        positions = decode_positions(
            table, tiles[i, 0], tiles[i, 1], tiles[i, 4], column_bits, bits
        )
        reads = _tile_reads(
            positions, tiles[i, 2:], geometry[i], reduction[i], source[i], weights[i], k[i]
        )
        begin, end = begins[i], begins[i] + len(reads)
        while end > len(out):
            out = np.concatenate((out, np.empty_like(out)))
        out[begin:end] = reads
        begins[i + 1] = end
    return out[: begins[-1]], begins
