"""Blocks of operands in the buffers, and the LOAD instructions that fetch them."""

from __future__ import annotations

from typing import NamedTuple

from ...isa.instructions import BY_NAME, Kind
from ...network.layers import Tensor

_LOAD = BY_NAME["LOAD"].layout()
_MAX_ROW = _LOAD["row_bytes"][1].limit
_MAX_COUNT = _LOAD["count"][1].limit
_MAX_STRIDE = _LOAD["stride"][1].limit
PIECES = 16  #: LOADs a block is cut into at most
PIECE_CHANNELS = 32  #: channels of a piece of weights at least
BURST_BYTES = 64  #: of DRAM


class Load(NamedTuple):
    """A strided DRAM read; rows are packed in the buffer, one Load after the other."""

    kind: Kind
    offset: int  #: bytes from the start of the tensor, weights or biases of the layer
    row_bytes: int
    rows: int
    stride: int


class ABlock(NamedTuple):
    """Part of the input in the ifmap buffer (for ADD: of both inputs, b after a).

    Row i is input row row0 + i * row_step, column j is col0 + j * col_step. The fields are those
    of the window table, in its order.
    """

    row0: int
    rows: int
    row_step: int
    col0: int
    cols: int
    col_step: int
    c0: int
    cc: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of one operand."""
        return self.cols * self.cc

    @property
    def nbytes(self) -> int:
        """Bytes of one operand."""
        return self.rows * self.row_bytes

    @property
    def end_row(self) -> int:
        """Input rows below this one are there, or nobody needs them."""
        return self.row0 + self.rows * self.row_step

    def pieces(self, nbytes: int) -> list[ABlock]:
        """Cut into runs of rows of about `nbytes`, at most PIECES: tiles can start early."""
        step = max(1, nbytes // self.row_bytes, -(-self.rows // PIECES))
        return [
            self._replace(row0=self.row0 + r * self.row_step, rows=min(step, self.rows - r))
            for r in range(0, self.rows, step)
        ]


class BBlock(NamedTuple):
    """Biases (4 bytes each), then weights of `n` output channels over one chunk."""

    n_base: int
    n: int
    weight_offset: int  #: first byte within the layer's weights in DRAM
    weight_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes in the weight buffer."""
        return 4 * self.n + self.weight_bytes


def ifmap_loads(block: ABlock, source: Tensor) -> list[Load]:
    """The LOADs that bring `block` of `source` into the ifmap buffer, packed."""
    w, c = source.w, source.c
    at = (block.row0 * w + block.col0) * c + block.c0
    from_row, from_col = block.row_step * w * c, block.col_step * c
    if block.cols == 1 or (block.cc == c and block.col_step == 1):  # a row lies in one piece
        if block.row_bytes == from_row:
            return _cut(Kind.IFMAP, at, block.nbytes, 1, 0)
        return _cut(Kind.IFMAP, at, block.row_bytes, block.rows, from_row)
    if block.cols * from_col == from_row:  # rows follow one another as columns do
        return _cut(Kind.IFMAP, at, block.cc, block.rows * block.cols, from_col)
    return [
        load
        for row in range(block.rows)
        for load in _cut(Kind.IFMAP, at + row * from_row, block.cc, block.cols, from_col)
    ]


def weight_loads(
    block: BBlock, first_chunk: bool
) -> tuple[list[Load], list[tuple[int, list[Load]]]]:
    """LOADs of the biases (only before the first chunk) and, in pieces, of the weights.

    Each piece comes with the channel below which it completes the weights.
    """
    bias = _cut(Kind.BIAS, 4 * block.n_base, 4 * block.n, 1, 0) if first_chunk else []
    length = block.weight_bytes // block.n
    step = max(PIECE_CHANNELS, -(-block.n // PIECES))
    pieces = [
        (
            block.n_base + min(n + step, block.n),
            _cut(
                Kind.WEIGHT,
                block.weight_offset + n * length,
                min(step, block.n - n) * length,
                1,
                0,
            ),
        )
        for n in range(0, block.n, step)
    ]
    return bias, pieces


def _cut(kind: Kind, at: int, row_bytes: int, count: int, stride: int) -> list[Load]:
    """One strided read as LOADs within the limits of the instruction's fields."""
    if count > 1 and (row_bytes > _MAX_ROW or stride > _MAX_STRIDE):
        return [x for i in range(count) for x in _cut(kind, at + i * stride, row_bytes, 1, 0)]
    if count == 1:
        return [
            Load(kind, at + i, min(_MAX_ROW, row_bytes - i), 1, 0)
            for i in range(0, row_bytes, _MAX_ROW)
        ]
    return [
        Load(kind, at + i * stride, row_bytes, min(_MAX_COUNT, count - i), stride)
        for i in range(0, count, _MAX_COUNT)
    ]
