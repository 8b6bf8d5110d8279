"""Units of prefetching: tiles that one round of loads serves, with their position tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config, choices
from ...isa.instructions import Source
from ...tables import complete
from ..tiling.loads import ABlock, BBlock
from ..tiling.tiles import Fill, LayerPlan, Tile, TileRun
from .positions import TilePositions, pack_positions, split_positions

#: Pixels and channels of a tile -> which of its sums are to be recomputed: (m, n).
TileSumsToRepair = Callable[[int, int], NDArray[np.bool_]]

_WORD = 4  # position tables start at multiples of this

#: dppu.data_reuse -> how many neurons of a tile get their operands from the taps of the array, and
#: where the others get theirs.
_REUSE: dict[str, tuple[Callable[[Config, int], int], Source]] = {
    "array": (lambda config, words: words, Source.ARRAY),
    "hybrid": (lambda config, words: config.tap_capacity, Source.DRAM),
    "hybrid_sram": (lambda config, words: config.tap_capacity, Source.BUFFER),
    "dram": (lambda config, words: 0, Source.DRAM),
}
complete(
    "dppu.data_reuse in config/schema.py",
    choices("dppu.data_reuse"),
    _REUSE,
    "compiler/codegen/units.py: _REUSE",
)


def from_taps(config: Config, words: int) -> tuple[int, Source]:
    """How many neurons of a tile of so many get their operands from the taps, and whence others."""
    capacity, elsewhere = _REUSE[config.dppu.data_reuse]
    return capacity(config, words), elsewhere


class TileWork(NamedTuple):
    """A tile with the part of its run, and its position tables: (source, positions).

    residual : the tile whose residual operands are brought then, if it is some tile's turn.
    """

    run: TileRun
    tile: Tile
    tables: list[tuple[Source, TilePositions]]
    residual: Tile | None


class Unit(NamedTuple):
    """Tiles that one round of loads serves; the unit of prefetching."""

    layer: int
    a: ABlock | None
    b: BBlock | None
    first_chunk: bool
    works: list[TileWork]
    packed: list[tuple[int, int]]  #: (format, offset in the position half) of every table, in order
    table_bytes: bytes


def _tables(
    mask: NDArray[np.bool_] | None, repair: TileSumsToRepair | None, tile: Tile, config: Config
) -> list[tuple[Source, TilePositions]]:
    """The position tables of a tile in DPPU order: what comes from DRAM is started first.

    The taps go to what stuck PEs compute first: that is scattered, so that as excess each neuron
    would bring a row and a column of its own.
    """
    if not config.dppu.size or not config.array.keeps_sums:
        return []
    stuck = np.zeros((tile.m, tile.n), np.bool_) if repair is None else repair(tile.m, tile.n)
    important = np.zeros_like(stuck)
    if mask is not None:
        flat = mask.reshape(-1, mask.shape[-1])
        rows = np.arange(tile.m0, tile.m0 + tile.m) % len(flat)
        important = flat[rows, tile.n0 : tile.n0 + tile.n] & ~stuck
    room, elsewhere = from_taps(config, tile.m * tile.n)
    tapped, excess = np.zeros_like(stuck), np.zeros_like(stuck)
    for wanted in (stuck, important):
        near, far = split_positions(np.argwhere(wanted), tile.m, tile.n, room)
        tapped[tuple(near.T)], excess[tuple(far.T)] = True, True
        room -= len(near)
    pairs = [(elsewhere, np.argwhere(excess)), (Source.ARRAY, np.argwhere(tapped))]
    return [(source, positions) for source, positions in pairs if len(positions)]


def _residual_turns(fills: list[Fill]) -> Iterator[Tile | None]:
    """For each tile of each fill, the tile whose residual operands are brought then.

    Those of tiles that the parts of a cut reduction go through together are spread over all parts:
    in the last one alone they would hold up the loads for the next tiles.
    """
    parts = 0
    for fill in fills:
        parts += 1
        if fill.runs[-1].last:
            tiles = [tile for run in fill.runs for tile in run.tiles]
            for turn in range(parts * len(tiles)):
                yield None if turn % parts else tiles[turn // parts]
            parts = 0


def units_of_layer(
    index: int,
    plan: LayerPlan,
    mask: NDArray[np.bool_] | None,
    config: Config,
    repair: TileSumsToRepair | None = None,
) -> list[Unit]:
    """Cut the fills of layer `index` where the position buffer's half is full.

    mask : (h, w, c), True where a neuron is important; None for a layer without any. repair : which
    sums of a tile of (m, n) stuck PEs compute; None where nothing is to be repaired.
    """
    column_bits, bits = config.position_column_bits, config.position_bits
    units: list[Unit] = []
    residuals = _residual_turns(plan.fills)
    for fill in plan.fills:
        a, b, first = fill.a, fill.b, fill.runs[0].first
        works: list[TileWork] = []
        packed: list[tuple[int, int]] = []
        table = bytearray()
        for run in fill.runs:
            for tile in run.tiles:
                tables = _tables(mask, repair, tile, config)
                new = [pack_positions(p, tile.m, tile.n, column_bits, bits) for _, p in tables]
                size = sum(-(-len(data) // _WORD) * _WORD for _, data in new)
                if works and len(table) + size > config.buffers.position_bytes // 2:
                    units.append(Unit(index, a, b, first, works, packed, bytes(table)))
                    a, b, works, packed, table = None, None, [], [], bytearray()
                works.append(TileWork(run, tile, tables, next(residuals)))
                for fmt, data in new:
                    packed.append((fmt, len(table)))
                    table += data + bytes(-len(data) % _WORD)
        units.append(Unit(index, a, b, first, works, packed, bytes(table)))
    return units
