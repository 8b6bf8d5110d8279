"""Numba kernels: arrays and integers in, arrays and integers out.

Numba types int32*int32 as int64; where 32-bit wrap matters, the value is stored in an int32 array.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# isa.registers codes
ACT, WGT, PROD, ACC = 0, 1, 2, 3  # array
PRELOAD, HELD, STREAMED, PSUM = 0, 1, 2, 3  # array_ws, array_is


@njit(cache=True)
def flip_signed(value: int, bit: int, bits: int) -> int:
    """Flip a bit of a two's-complement number of `bits` bits."""
    sign = 1 << (bits - 1)
    return (((value ^ (1 << bit)) + sign) & ((1 << bits) - 1)) - sign


@njit(cache=True, nogil=True)
def step_os_tile(
    act_in: I8,
    wgt_in: I8,
    start: I32,
    rows: int,
    cols: int,
    act_bits: int,
    weight_bits: int,
    acc_bits: int,
    flips: I64,
) -> tuple[I32, int]:
    """Step every register of an output-stationary array through one tile (see `stepper`).

    start : (m, n) what the accumulators hold before step 0. flips : (f, 5) of (step, register,
    row, col, bit), sorted by step.
    Register (row, col) is element row * cols + col: one long loop a register is what vectorises.
    Accumulators hold `acc_bits` bits; what int32 has above them is never looked at.
    """
    m, k = act_in.shape
    n = wgt_in.shape[0]
    size = rows * cols
    act, act_next = np.zeros(size, np.int8), np.zeros(size, np.int8)
    wgt, wgt_next = np.zeros(size, np.int8), np.zeros(size, np.int8)
    # The valid bit, 0 or -1, beside `act` and, a step later, beside `prod`.
    valid, valid_next = np.zeros(size, np.int16), np.zeros(size, np.int16)
    valid_prod = np.zeros(size, np.int16)
    prod = np.zeros(size, np.int16)
    acc = np.zeros(size, np.int32)
    for r in range(m):
        for c in range(n):
            acc[r * cols + c] = start[r, c]
    out = np.zeros((m, n), np.int32)
    up = np.int32(32 - acc_bits)
    first_row_leaves = k + rows + cols - 2 + max(0, 3 - rows)
    t = flip = done = 0
    while done < rows:
        while flip < len(flips) and flips[flip, 0] == t:
            _, register, r, c, bit = flips[flip]
            at = r * cols + c
            if register == ACT:
                act[at] = flip_signed(act[at], bit, act_bits)
            elif register == WGT:
                wgt[at] = flip_signed(wgt[at], bit, weight_bits)
            elif register == PROD:
                prod[at] = flip_signed(prod[at], bit, act_bits + weight_bits)
            else:
                acc[at] ^= np.int32(1 << bit)
            flip += 1
        if t >= first_row_leaves:  # one row leaves through the column buses
            if done < m:
                for c in range(n):
                    out[done, c] = np.int32(acc[done * cols + c] << up) >> up
            done += 1
        for i in range(size):
            acc[i] += np.int32(prod[i] & valid_prod[i])
        for i in range(size):
            prod[i] = np.int16(act[i]) * np.int16(wgt[i])
        right, right_valid, down = act_next[1:], valid_next[1:], wgt_next[cols:]
        for i in range(size - 1):  # what enters a row's first PE here is overwritten below
            right[i] = act[i]
        for i in range(size - 1):
            right_valid[i] = valid[i]
        for i in range(size - cols):
            down[i] = wgt[i]
        for r in range(rows):
            enters = r < m and 0 <= t - r < k
            act_next[r * cols] = act_in[r, t - r] if enters else 0
            valid_next[r * cols] = -1 if enters else 0
        for c in range(cols):
            wgt_next[c] = wgt_in[c, t - c] if c < n and 0 <= t - c < k else 0
        act, act_next = act_next, act
        wgt, wgt_next = wgt_next, wgt
        valid_prod, valid, valid_next = valid, valid_next, valid_prod
        t += 1
    return out, t


@njit(cache=True, nogil=True)
def tap_windows(
    start: int, k: int, window: int, neurons: int, groups: int, width: int, done1: int, done2: int
) -> tuple[int, int, int, int, int]:
    """Stream `k` operands past the DPPU's two register files.

    A file is filled with `window` operands while the DPPU works on the other one; filling waits
    until the DPPU has left the file.  done1, done2 : when it leaves the file filled last, and the
    one before.  Returns (stream end, new done1, new done2, start of the work, cycles of work).
    """
    rounds = -(-neurons // groups)
    end = start
    begin = -1
    work = 0
    left = k
    while left > 0:
        size = min(window, left)
        left -= size
        end = max(end, done2) + size
        process = rounds * -(-size // width)
        at = max(end, done1)
        if begin < 0:
            begin = at
        work += process
        done2, done1 = done1, at + process
    return end, done1, done2, begin, work


@njit(cache=True, nogil=True)
def decode_positions(
    table: NDArray[np.uint8], fmt: int, count: int, n: int, column_bits: int, bits: int
) -> I64:
    """Read a position table: (count, 2) rows and columns; -1 where a bitmap holds fewer."""
    out = np.full((count, 2), -1, np.int64)
    if fmt == 0:
        for i in range(count):
            entry = 0
            for b in range(bits):
                at = i * bits + b
                entry |= ((table[at >> 3] >> (at & 7)) & 1) << b
            out[i, 0] = entry >> column_bits
            out[i, 1] = entry & ((1 << column_bits) - 1)
        return out
    found = 0
    for at in range(len(table) * 8):
        if (table[at >> 3] >> (at & 7)) & 1 and found < count:
            out[found, 0] = at // n
            out[found, 1] = at % n
            found += 1
    return out


@njit(cache=True, nogil=True)
def gather(memory: I8, base: int, window: I64, geometry: I64, pixels: I64, out: I8) -> int:
    """im2col as address generation: operand k of each pixel, 0 outside the map.

    window : row0, rows, col0, cols, c0, cc (what is in memory), ky0, nky, kc0, kcc (the reduction).
    geometry : in_h, in_w, out_h, out_w, kernel_w, stride_h, stride_w, pad_top, pad_left,
    dilation_h, dilation_w. out : (pixels, nky*kernel_w*kcc). Returns the first pixel whose operand
    lies in the map but not in memory, -1: none.
    """
    row0, rows, col0, cols, c0, cc, ky0, nky, kc0, kcc = window
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
                row, col, channel = image * in_h + iy - row0, ix - col0, kc0 - c0
                if (
                    row < 0
                    or row >= rows
                    or col < 0
                    or col >= cols
                    or channel < 0
                    or channel + kcc > cc
                ):
                    return i
                address = base + (row * cols + col) * cc + channel
                for c in range(kcc):
                    out[i, at] = memory[address + c]
                    at += 1
    return -1


@njit(cache=True, nogil=True)
def dot(act: I8, wgt: I8, start: I32, acc_bits: int) -> I32:
    """start (n,) or (m, n) + act (m, k) . wgt (n, k), wrapped to acc_bits; order is irrelevant."""
    m, k = act.shape
    n = wgt.shape[0]
    out = np.empty((m, n), np.int32)
    half = np.int64(1) << np.int64(acc_bits - 1)
    for i in range(m):
        for j in range(n):
            total = np.int64(start[i, j])
            for x in range(k):
                total += np.int64(act[i, x]) * np.int64(wgt[j, x])
            out[i, j] = ((total + half) & (2 * half - 1)) - half
    return out


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
