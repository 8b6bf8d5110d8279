"""Position tables: where the important neurons of a tile are, and who computes them.

Each tile's table is the shorter of a packed (row, column) list and a bitmap (paper, III-C: the
table is loaded beside the operands, so its size is traffic).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import Format
from ...kernels import kernel

TilePositions = NDArray[
    np.int64
]  #: (neurons, 2): row and column in the tile, sorted by row, then column


def pack_positions(
    positions: TilePositions, m: int, n: int, column_bits: int, bits: int
) -> tuple[Format, bytes]:
    """Write a tile's table in its shorter format.

    positions : (count, 2) int64, sorted. m, n : tile size. bits : bits of one list entry, of which
    the low `column_bits` are the column.
    """
    if len(positions) * bits < m * n:
        entry = positions[:, 0] << column_bits | positions[:, 1]
        stream = (entry[:, None] >> np.arange(bits)) & 1
        return Format.LIST, np.packbits(stream.astype(np.uint8), bitorder="little").tobytes()
    bitmap = np.zeros(m * n, np.uint8)
    bitmap[positions[:, 0] * n + positions[:, 1]] = 1
    return Format.BITMAP, np.packbits(bitmap, bitorder="little").tobytes()


def split_positions(
    positions: TilePositions, m: int, n: int, capacity: int
) -> tuple[TilePositions, TilePositions]:
    """Divide a tile's neurons into those that fit the operand taps and the excess.

    The excess is fetched from DRAM, each of its rows and columns once; so it is gathered in as few
    rows and columns as a greedy choice finds.  Returns (tapped, excess), both sorted.
    """
    if len(positions) <= capacity:
        return positions, positions[:0]
    excess = _excess(positions, m, n, len(positions) - capacity)
    return positions[~excess], positions[excess]


@kernel
def _excess(positions: TilePositions, m: int, n: int, wanted: int) -> NDArray[np.bool_]:
    """Pick `wanted` neurons, line by line: always the row or column with the most that are left."""
    chosen = np.zeros(len(positions), np.bool_)
    lines = np.zeros(m + n, np.int64)  # neurons left in each row, then in each column
    fetched = np.zeros(m + n, np.bool_)
    for r, c in positions:
        lines[r] += 1
        lines[m + c] += 1
    while wanted > 0:
        best = np.argmax(lines)
        fetched[best] = True
        lines[best] = -1
        # first those whose other line is fetched already, then the rest
        for again in range(2):
            for i in range(len(positions)):
                if wanted == 0 or chosen[i]:
                    continue
                row, col = positions[i, 0], m + positions[i, 1]
                if row != best and col != best:
                    continue
                other = col if row == best else row
                if again == 0 and not fetched[other]:
                    continue
                chosen[i] = True
                wanted -= 1
                if lines[other] > 0:
                    lines[other] -= 1
                fetched[other] = True
    return chosen
