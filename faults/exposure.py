"""How long which register is exposed: bits, cycles, and the share of them that matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ..isa.protection import bits_of_layer
from ..isa.registers import BY_UNIT
from ..simulator.tiles import Tiles
from ..simulator.timing import os_tile_cycles


class Exposure(NamedTuple):
    """A register of the array while a layer runs.

    bits : of the word. flip_flops : of a PE, copies included. pes : of the array. tiles, cycles :
    of the layer. live : share of (PE, cycle) in which a flip reaches a product or sum of the tile.
    """

    layer: str
    register: str
    bits: int
    flip_flops: int
    pes: int
    tiles: int
    cycles: int
    live: float


def exposure(tiles: Tiles) -> Iterator[Exposure]:
    """One row for each layer and register."""
    config, network = tiles.program.config, tiles.network
    rows, cols = config.array.rows, config.array.cols
    for index, own in tiles.of.items():
        layer = network.layers[index]
        cycles = [os_tile_cycles(tiles.depth(t), rows, cols) for t in own]
        held = Counter(name for name, _, _ in bits_of_layer(config, layer.shift))
        for register in BY_UNIT["array"].values():
            live = 0
            for tile, length in zip(own, cycles, strict=True):
                depth = tiles.depth(tile)
                if register.name == "acc":  # from step 0 until its row leaves
                    first = length - rows
                    live += tile.n * sum(first + r + 1 for r in range(tile.m))
                else:  # one cycle for each operand or product
                    live += tile.m * tile.n * depth
            yield Exposure(
                layer.name,
                register.name,
                register.bits(network.arithmetic),
                held[register.name],
                rows * cols,
                len(own),
                sum(cycles),
                live / (rows * cols * sum(cycles)),
            )
