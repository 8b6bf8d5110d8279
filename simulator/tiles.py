"""The output-stationary tiles of a program: what each computes, from which operands, in what order.

Fault executions find here the operands of a tile that a fault hits, without running the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..isa.instructions import BY_NAME, Engine, Table
from ..isa.layers import LAYER_COLUMNS
from ..isa.program import Program
from ..isa.validate_text import configured
from .kernels import decode_positions, gather
from .work import REDUCTION, gather_geometry, position_contents

Part = tuple[int, int, int, int]


@dataclass(frozen=True)
class Tile:
    """A tile of a CONV layer: pixels m0..m0+m-1 of the batch, channels n0..n0+n-1.

    windows : (ky0, nky, kc0, kcc) of each part of the reduction, in the order in which the array
    takes them. pcs : the GEMMs, one for each part.
    """

    layer: int
    number: int  #: within the layer
    m0: int
    m: int
    n0: int
    n: int
    windows: tuple[Part, ...]
    pcs: tuple[int, ...]


class Tiles:
    """The tiles of a program with dataflow `os`, layer by layer."""

    def __init__(self, program: Program) -> None:
        self.program = program
        c, network = program.columns, program.network
        self.network = network
        gemms = np.flatnonzero(c["op"] == BY_NAME["GEMM"].opcode)
        windows = configured(program, Engine.ARRAY)[Table.WINDOW][gemms]
        parts = program.windows[windows][:, REDUCTION].tolist()
        found: dict[tuple[int, int], tuple[list[int], list[Part]]] = {}
        for pc, part in zip(gemms.tolist(), parts, strict=True):
            key = int(program.debug_layer[pc]), int(program.debug_tile[pc])
            pcs, taken = found.setdefault(key, ([], []))
            pcs.append(pc)
            ky0, nky, kc0, kcc = part
            taken.append((ky0, nky, kc0, kcc))
        #: layer -> its tiles, in the order of execution.
        self.of: dict[int, list[Tile]] = {index: [] for index in sorted(network.weights)}
        for (layer, _), (pcs, taken) in found.items():
            m0, m, n0, n = (int(c[f][pcs[0]]) for f in ("m0", "m", "n0", "n"))
            number = len(self.of[layer])
            self.of[layer].append(Tile(layer, number, m0, m, n0, n, tuple(taken), tuple(pcs)))

    def depth(self, tile: Tile) -> int:
        """Operands k of each sum of a tile."""
        kernel_w = self.network.layers[tile.layer].kernel_w
        return sum(nky * kernel_w * kcc for _, nky, _, kcc in tile.windows)

    def operands(self, tile: Tile, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """Activations that stream into the rows: (m, k). x : the layer's input (batch, h, w, c)."""
        _, _, width, channels = x.shape
        layer = dict(zip(LAYER_COLUMNS, self.program.layers[tile.layer].tolist(), strict=True))
        geometry = gather_geometry(self.program, layer)
        pixels = np.arange(tile.m0, tile.m0 + tile.m)
        memory, rows = np.ascontiguousarray(x).reshape(-1), x.shape[0] * x.shape[1]
        parts = []
        for ky0, nky, kc0, kcc in tile.windows:
            held = (0, rows, 0, width, 0, channels, ky0, nky, kc0, kcc)
            out = np.empty((tile.m, nky * layer["kernel_w"] * kcc), np.int8)
            gather(memory, 0, np.array(held, np.int64), geometry, pixels, out)
            parts.append(out)
        return np.concatenate(parts, 1)

    def weights(self, tile: Tile) -> NDArray[np.int8]:
        """Weights that stream into the columns: (n, k)."""
        weight = self._weights[tile.layer]
        groups = self.network.layers[tile.layer].groups
        per_out, per_in = len(weight) // groups, weight.shape[3]
        first = tile.n0 // per_out * per_in  # input channels of the group
        own = weight[tile.n0 : tile.n0 + tile.n]
        parts = [
            own[:, ky0 : ky0 + nky, :, kc0 - first : kc0 - first + kcc].reshape(tile.n, -1)
            for ky0, nky, kc0, kcc in tile.windows
        ]
        return np.concatenate(parts, 1)

    def start(self, tile: Tile) -> NDArray[np.int32]:
        """What the accumulators begin with, (m, n): the bias."""
        bias = self.network.biases[tile.layer][tile.n0 : tile.n0 + tile.n]
        return np.tile(bias, (tile.m, 1))

    def elements(
        self, tile: Tile, rows: NDArray[np.int64], cols: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Flat elements (pixel of the batch, channel) of the layer's output at rows and columns."""
        channels = self.network.tensors[self.network.layers[tile.layer].output].c
        return (tile.m0 + rows) * channels + tile.n0 + cols

    def important(self, tile: Tile) -> NDArray[np.int64]:
        """Rows and columns that the DPPU overwrites: (count, 2)."""
        parts = [self._positions[pc] for pc in self._dppu.get((tile.m0, tile.n0, tile.layer), [])]
        return np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)

    @cached_property
    def _weights(self) -> dict[int, NDArray[np.int8]]:
        return {index: np.asarray(self.network.weights[index]) for index in self.network.weights}

    @cached_property
    def _dppu(self) -> dict[tuple[int, int, int], list[int]]:
        """DPPU instructions that finish sums, by m0, n0 and layer."""
        c = self.program.columns
        found: dict[tuple[int, int, int], list[int]] = {}
        pcs = np.flatnonzero((c["op"] == BY_NAME["DPPU"].opcode) & (c["last"] == 1))
        for pc in pcs.tolist():
            key = int(c["m0"][pc]), int(c["n0"][pc]), int(self.program.debug_layer[pc])
            found.setdefault(key, []).append(pc)
        return found

    @cached_property
    def _positions(self) -> dict[int, NDArray[np.int64]]:
        c, config = self.program.columns, self.program.config
        pcs = np.array(sorted(pc for own in self._dppu.values() for pc in own), np.int64)
        held, starts = position_contents(self.program, pcs)
        return {
            pc: decode_positions(
                held[starts[i] : starts[i + 1]],
                int(c["format"][pc]),
                int(c["count"][pc]),
                int(c["n"][pc]),
                config.position_column_bits,
                config.position_bits,
            )
            for i, pc in enumerate(pcs.tolist())
        }
