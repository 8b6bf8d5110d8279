"""Which neurons of a layer the DPPU recomputes, where that bears on how the layer is cut."""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...isa.instructions import Source
from ..codegen.units import from_taps
from ..tiling.tiles import Geometry

#: Times the cycles of the array, with some neurons more or less in a tile: what is clearly slower.
_SLOWER = 1.25


class DppuNeurons(NamedTuple):
    """Neurons of a layer that the DPPU recomputes, in a form that is short and can be compared.

    shape : (h, w, c) of the layer's result. packed : which.
    """

    shape: tuple[int, ...]
    packed: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> DppuNeurons:
        """mask : (h, w, c), True where the DPPU recomputes a neuron."""
        return cls(mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(h, w, c)."""
        size = math.prod(self.shape)
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=size).reshape(self.shape).astype(np.bool_)


def holds_up(config: Config, geometry: Geometry, share: float) -> bool:
    """Whether the DPPU is clearly slower than the array: else it does not bear on the mapping.

    share : of a layer's neurons, that it recomputes. It is judged by a tile as large as the array,
    whose important neurons are as many as the mean.
    """
    d, layer, out = config.dppu, geometry.layer, geometry.out
    if config.buffers.position_bytes < config.table_bytes:
        return False  # no program can be timed
    depth = layer.kernel_h * layer.kernel_w * geometry.source.c // layer.groups
    sides = min(config.tile_rows, geometry.pixels), min(config.tile_cols, out.c // layer.groups)
    words = sides[0] * sides[1]
    neurons = share * words
    capacity, source = from_taps(config, words)
    excess = max(0.0, neurons - capacity)
    work = neurons / (d.size // d.width) * -(-d.window // d.width) / d.window * depth
    # Every row and column of the tile in which an excess neuron lies comes once.
    nbytes = depth * sum(size * -math.expm1(-excess / size) for size in sides)
    rate = {Source.DRAM: float(config.dram.bytes_per_cycle), Source.BUFFER: d.sram_bytes_per_cycle}
    waits = config.dram.latency_cycles if excess and source == Source.DRAM else 0
    return max(work, nbytes / rate.get(source, math.inf) + waits) > _SLOWER * depth
