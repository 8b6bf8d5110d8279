"""Which sums of a tile stuck PEs make wrong, so that the DPPU has to compute them.

The compiler asks for it, since what faults reach is known here (`array.os_corrections`) and once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...isa.pe_map import PeMap
from ...isa.program import Program
from ...network.layers import Layer
from ..array.flips import stuck_flips
from ..array.os_array import os_reached
from ..text.spans import Spans
from .array_unit import pes_of_layer


class Repair:
    """What the DPPU makes up for, tile by tile.

    A stuck bit that other copies outvote is none of it. Where the sums of a PE are wrong does not
    depend on the tile, but for its size, nor on the batch.
    """

    def __init__(self, config: Config, pe_map: PeMap) -> None:
        self.config, self.pe_map = config, pe_map
        self._found: dict[tuple[str, int, int, int], NDArray[np.bool_]] = {}

    def sums(self, layer: Layer, m: int, n: int) -> NDArray[np.bool_]:
        """Sums of a tile of m x n of a layer that are to be recomputed: (m, n), only to be read."""
        key = layer.name, layer.shift, m, n
        if key not in self._found:
            flips = stuck_flips(self.pe_map, self.config, layer.shift)
            self._found[key] = os_reached(flips, m, n, pes_of_layer(self.config, layer))
        return self._found[key]

    def needs(self, layer: Layer) -> bool:
        """Whether there are such sums in a tile as large as the array."""
        return bool(self.pe_map) and bool(
            self.sums(layer, self.config.array.rows, self.config.array.cols).any()
        )


def repaired_neurons(program: Program) -> int:
    """Neurons of an inference that the DPPU recomputes because of stuck PEs, important or not."""
    if not program.repaired:
        return 0
    repair, layers = Repair(program.config, program.pe_map), program.network.layers
    tiles = [span for span in Spans(program).all if span.gemms]
    return sum(int(repair.sums(layers[t.layer], t.m, t.n).sum()) for t in tiles)
