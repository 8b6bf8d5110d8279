"""Tiling: which tiles a layer has, in which order, and what must be in the buffers for them.

A plan is independent of buffer addresses and of other layers; `emit` places its blocks in the two
halves of each buffer.  The loop order is the one with the least DRAM traffic.

Output pixels are counted over the batch in (image, y, x) order, input rows as image*h + y, so that
a run of pixels always needs a contiguous run of rows, and one LOAD can fetch several images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import CompileError
from ..isa.instructions import BY_NAME, Kind
from ..isa.layers import Layer, LayerOp, Network, Tensor
from ..isa.program import chunks

_LOAD = BY_NAME["LOAD"].layout()
_MAX_ROW = _LOAD["row_bytes"][1].limit
_MAX_COUNT = _LOAD["count"][1].limit
_MAX_STRIDE = _LOAD["stride"][1].limit
PIECES = 16  # LOADs a block is cut into at most
_PIECE_CHANNELS = 32  # channels of a piece of weights at least
_MAX_TILE_SIDE = BY_NAME["VEC"].layout()["n"][1].limit


class Load(NamedTuple):
    """A strided DRAM read; rows are packed in the buffer, one Load after the other."""

    kind: Kind
    offset: int  #: bytes from the start of the tensor, weights or biases of the layer
    row_bytes: int
    rows: int
    stride: int


class ABlock(NamedTuple):
    """Part of the input in the ifmap buffer (for ADD: of both inputs, b after a)."""

    row0: int
    rows: int
    col0: int
    cols: int
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

    def pieces(self, nbytes: int) -> list[ABlock]:
        """Cut into runs of rows of about `nbytes`, at most PIECES: tiles can start early."""
        step = max(1, nbytes // self.row_bytes, -(-self.rows // PIECES))
        return [
            self._replace(row0=self.row0 + r, rows=min(step, self.rows - r))
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


class Tile(NamedTuple):
    """Output pixels [m0, m0+m) times output channels [n0, n0+n)."""

    m0: int
    m: int
    n0: int
    n: int


class Run(NamedTuple):
    """Tiles that share one window: the same buffers and the same part of the reduction."""

    ky0: int
    nky: int
    kc0: int
    kcc: int
    first: bool
    last: bool
    tiles: list[Tile]


class Step(NamedTuple):
    """What one fill of the buffers serves. A block of None is the one already there."""

    a: ABlock | None
    b: BBlock | None
    runs: list[Run]


@dataclass(frozen=True)
class Plan:
    """The steps of one layer, and how its weights are cut along the reduction."""

    steps: list[Step]
    chunk_ky: int
    chunk_c: int

    @property
    def tiles(self) -> Iterator[Tile]:
        """Every tile once, in the order of its last chunk."""
        return (t for s in self.steps for r in s.runs if r.last for t in r.tiles)


class Geometry:
    """Index arithmetic of one layer: which input a run of output pixels needs."""

    def __init__(self, layer: Layer, source: Tensor, out: Tensor, batch: int) -> None:
        self.layer, self.source, self.out = layer, source, out
        self.pixels = batch * out.h * out.w

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


def ifmap_loads(block: ABlock, source: Tensor) -> list[Load]:
    """The LOADs that bring `block` of `source` into the ifmap buffer, packed."""
    w, c = source.w, source.c
    at = (block.row0 * w + block.col0) * c + block.c0
    if block.cc == c and block.cols == w:
        return _cut(Kind.IFMAP, at, block.nbytes, 1, 0)
    if block.cc == c:
        return _cut(Kind.IFMAP, at, block.cols * c, block.rows, w * c)
    if block.cols == w:
        return _cut(Kind.IFMAP, at, block.cc, block.rows * w, c)
    return [
        load
        for row in range(block.rows)
        for load in _cut(Kind.IFMAP, at + row * w * c, block.cc, block.cols, c)
    ]


def weight_loads(
    block: BBlock, first_chunk: bool
) -> tuple[list[Load], list[tuple[int, list[Load]]]]:
    """LOADs of the biases (only before the first chunk) and, in pieces, of the weights.

    Each piece comes with the channel below which it completes the weights.
    """
    bias = _cut(Kind.BIAS, 4 * block.n_base, 4 * block.n, 1, 0) if first_chunk else []
    length = block.weight_bytes // block.n
    step = max(_PIECE_CHANNELS, -(-block.n // PIECES))
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


def plan_layer(network: Network, index: int, config: Config, batch: int) -> Plan:
    """Tile layer `index`. Raises CompileError if even one tile does not fit the buffers."""
    geometry = Geometry.of(network, index, batch)
    if geometry.layer.op == LayerOp.CONV:
        return _plan_conv(geometry, config)
    return _plan_vec(geometry, config)


def tile_ids(network: Network, index: int, config: Config) -> NDArray[np.int64]:
    """Tile number of every neuron (h, w, c) of layer `index` for a batch of one (policy `tile`)."""
    out = network.tensors[network.layers[index].output]
    ids = np.zeros((out.h * out.w, out.c), np.int64)
    for i, t in enumerate(plan_layer(network, index, config, 1).tiles):
        ids[t.m0 : t.m0 + t.m, t.n0 : t.n0 + t.n] = i
    return ids.reshape(out.h, out.w, out.c)


def _plan_conv(g: Geometry, config: Config) -> Plan:
    layer, source = g.layer, g.source
    half_a, half_b = config.buffers.ifmap_bytes // 2, config.buffers.weight_bytes // 2
    rows, cols = config.array.rows, config.array.cols
    per_group, width = source.c // layer.groups, g.out.c // layer.groups
    n_tiles = [
        (group, group * width + n, min(cols, width - n))
        for group in range(layer.groups)
        for n in range(0, width, cols)
    ]
    widest = min(cols, width)
    tiles = g.pixel_tiles(rows, cut_rows=False)
    a_fits = all(g.block(m0, m0 + m).nbytes <= half_a for m0, m in tiles)
    if not a_fits:
        tiles = g.pixel_tiles(rows, cut_rows=g.out.w >= rows)

    def chunk_bytes(nky: int, cc: int) -> int:
        """Worst ifmap bytes of a tile over a chunk; 0 where the whole block fits anyway."""
        if a_fits:
            return 0
        return max(g.rows(m0, m0 + m, 0, nky)[1] * g.cols(m0, m0 + m)[1] for m0, m in tiles) * cc

    def fits(nky: int, cc: int) -> bool:
        weights = widest * (4 + nky * layer.kernel_w * cc)
        return weights <= half_b and chunk_bytes(nky, cc) <= half_a

    step_ky, step_c = _chunk_size(layer, per_group, fits)
    pieces = chunks(layer.kernel_h, per_group, step_ky, step_c)
    single = len(pieces) == 1
    if a_fits:
        a_groups = g.group(tiles, lambda block: block.nbytes <= half_a)
    else:
        a_groups = [slice(i, i + 1) for i in range(len(tiles))]
    depth = layer.kernel_h * layer.kernel_w * per_group
    if single and (a_fits or layer.groups == 1):
        b_groups = _group_channels(n_tiles, depth + 4, half_b)
    else:
        b_groups = [slice(i, i + 1) for i in range(len(n_tiles))]

    def a_block(group: slice, channel_group: int, piece: tuple[int, int, int, int]) -> ABlock:
        m_lo, m_hi = tiles[group.start][0], sum(tiles[group.stop - 1])
        if a_fits:
            return g.block(m_lo, m_hi)
        ky, nky, c, cc = piece
        return ABlock(
            *g.rows(m_lo, m_hi, ky, nky), *g.cols(m_lo, m_hi), channel_group * per_group + c, cc
        )

    def b_block(group: slice, piece: tuple[int, int, int, int]) -> BBlock:
        part = n_tiles[group]
        ky, nky, c, cc = piece
        before = ky * layer.kernel_w * per_group + nky * layer.kernel_w * c
        length = nky * layer.kernel_w * cc
        n_base, n = part[0][1], part[-1][1] + part[-1][2] - part[0][1]
        first = part[0][0] * width
        offset = first * depth + width * before + (n_base - first) * length
        return BBlock(n_base, n, offset, n * length)

    # One item is what one pair of blocks serves; with several chunks it is a single tile, because
    # the sums stay in the array over the chunks.
    m_items = (
        [(group, tiles[group]) for group in a_groups]
        if single
        else [(group, [t]) for group in a_groups for t in tiles[group]]
    )
    n_items = [(group, n_tiles[group]) for group in b_groups]

    def steps(weights_outside: bool) -> Iterator[Step]:
        pairs = (
            ((m, n) for n in n_items for m in m_items)
            if weights_outside
            else ((m, n) for m in m_items for n in n_items)
        )
        old_a: ABlock | None = None
        old_b: tuple[BBlock, bool] | None = None
        for (a_group, pixel_tiles), (b_group, channels) in pairs:
            for i, piece in enumerate(pieces):
                a = a_block(a_group, channels[0][0], piece)
                b = b_block(b_group, piece)
                runs = [
                    Run(
                        piece[0],
                        piece[1],
                        group * per_group + piece[2],
                        piece[3],
                        i == 0,
                        i == len(pieces) - 1,
                        [
                            Tile(m0, m, n0, n)
                            for at, n0, n in channels
                            if at == group
                            for m0, m in pixel_tiles
                        ],
                    )
                    for group in dict.fromkeys(at for at, _, _ in channels)
                ]
                new_b = (b, i == 0)
                yield Step(a if a != old_a else None, b if new_b != old_b else None, runs)
                old_a, old_b = a, new_b

    def traffic(order: list[Step]) -> int:
        return sum((s.a.nbytes if s.a else 0) + (s.b.nbytes if s.b else 0) for s in order)

    options = [list(steps(True)), list(steps(False))]
    return Plan(min(options, key=traffic), step_ky, step_c)


def _chunk_size(layer: Layer, channels: int, fits: Callable[[int, int], bool]) -> tuple[int, int]:
    """Largest chunk of the reduction that fits: whole kernel rows first, then channels."""
    for nky in range(layer.kernel_h, 0, -1):
        if fits(nky, channels):
            return nky, channels
    for nky in (layer.kernel_h, 1):
        low, high = 0, channels  # fits(nky, low) holds, fits(nky, high) does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(nky, middle) else (low, middle)
        if low:
            return nky, low
    raise CompileError(
        f"layer {layer.name}: one tile of one kernel row and one channel does not fit half of the "
        "ifmap and weight buffers; enlarge buffers.ifmap_bytes or buffers.weight_bytes"
    )


def _group_channels(n_tiles: list[tuple[int, int, int]], depth: int, limit: int) -> list[slice]:
    """Cut the channel tiles into the longest consecutive groups whose weights and biases fit."""
    groups, start, total = [], 0, 0
    for i, (_, _, n) in enumerate(n_tiles):
        if i > start and total + n * depth > limit:
            groups.append(slice(start, i))
            start, total = i, 0
        total += n * depth
    groups.append(slice(start, len(n_tiles)))
    return groups


def _plan_vec(g: Geometry, config: Config) -> Plan:
    """Layers that only the vector unit computes: windows of all rows, tiles of one slot each."""
    layer, source, out = g.layer, g.source, g.out
    operands = 2 if layer.op == LayerOp.ADD else 1
    half = config.buffers.ifmap_bytes // 2
    words = config.array.rows * config.array.cols
    channels = min(out.c, words, 256)

    def fits(block: ABlock) -> bool:
        return operands * block.nbytes <= half

    size = min(words // channels, _MAX_TILE_SIDE)
    while True:
        tiles = g.pixel_tiles(size, cut_rows=False)
        whole = all(fits(g.block(m0, m0 + m)) for m0, m in tiles)
        rows = max(g.rows(m0, m0 + m, 0, layer.kernel_h)[1] for m0, m in tiles)
        if whole or operands * rows * source.w * channels <= half:
            break
        if channels > 1:
            channels //= 2
        elif size > 1:
            size //= 2
        else:
            raise CompileError(
                f"layer {layer.name}: {rows} input rows of {source.w} columns and one channel do "
                f"not fit {half} bytes, half of the ifmap buffer; enlarge buffers.ifmap_bytes"
            )
    steps = []
    ranges = [(0, out.c)] if whole else [(n, channels) for n in range(0, out.c, channels)]
    groups = g.group(tiles, fits) if whole else [slice(i, i + 1) for i in range(len(tiles))]
    for group in groups:
        first, count = g.rows(tiles[group.start][0], sum(tiles[group.stop - 1]), 0, layer.kernel_h)
        for n_lo, n_count in ranges:
            low, high = 0, source.c
            if not whole:
                low = min(max(n_lo - layer.c_offset, 0), source.c - 1)
                high = min(max(n_lo + n_count - layer.c_offset, low + 1), source.c)
            a = ABlock(first, count, 0, source.w, low, high - low)
            runs = Run(
                0,
                layer.kernel_h,
                low,
                high - low,
                True,
                True,
                [
                    Tile(m0, m, n, min(channels, out.c - n, n_lo + n_count - n))
                    for m0, m in tiles[group]
                    for n in range(n_lo, min(n_lo + n_count, out.c), channels)
                ],
            )
            steps.append(Step(a, None, [runs]))
    return Plan(steps, 1, 1)
