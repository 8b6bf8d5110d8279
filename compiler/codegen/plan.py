"""Tiling: which tiles a layer has, in which order, and what must be in the buffers for them.

A plan is independent of buffer addresses and of other layers; `emit` places its blocks in the two
halves of each buffer.  Convolutions and linear layers are planned in `plan_conv`, what only the
vector unit computes here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...errors import CompileError
from ...isa.instructions import BY_NAME
from ...isa.protection import redundancy_of
from ...network.layers import LayerOp, Network
from ...tables import complete
from .choose import chosen_mapping, machine_of
from .loads import ABlock
from .plan_conv import plan_conv, tile_columns
from .tiles import (
    Fill,
    Geometry,
    LayerPlan,
    Tile,
    TileRun,
)

_MAX_TILE_SIDE = BY_NAME["VEC"].layout()["n"][1].limit


def plan_layer(
    network: Network, index: int, config: Config, batch: int, recomputed: bool = False
) -> LayerPlan:
    """Tile layer `index`. Raises CompileError if even one tile does not fit the buffers.

    recomputed : whether the DPPU has neurons of it, whose sums have no room to wait: none are parked.
    """
    geometry = Geometry.of(network, index, batch)
    return _PLANS[geometry.layer.op](geometry, config, not recomputed)


def _plan_conv(geometry: Geometry, config: Config, may_park: bool) -> LayerPlan:
    layer = geometry.layer
    redundancy = redundancy_of(config, layer.name)
    machine = machine_of(config, redundancy)
    columns = tile_columns(layer, config)
    mapping = chosen_mapping(geometry.shape, machine, redundancy, columns, may_park)
    if mapping is None:
        raise CompileError(
            f"layer {layer.name}: one kernel row of one channel does not fit half of the ifmap and "
            "weight buffers; enlarge buffers.ifmap_bytes or buffers.weight_bytes"
        )
    return plan_conv(geometry, mapping)


def tile_ids(network: Network, index: int, config: Config) -> NDArray[np.int64]:
    """Tile number of every neuron (h, w, c) of layer `index` for a batch of one (policy `tile`)."""
    out = network.tensors[network.layers[index].output]
    ids = np.zeros((out.h * out.w, out.c), np.int64)
    for i, t in enumerate(plan_layer(network, index, config, 1, recomputed=True).tiles):
        ids[t.m0 : t.m0 + t.m, t.n0 : t.n0 + t.n] = i
    return ids.reshape(out.h, out.w, out.c)


def _plan_vec(g: Geometry, config: Config, may_park: bool) -> LayerPlan:
    """Layers that only the vector unit computes: windows of all rows, tiles of one slot each."""
    layer, source, out = g.layer, g.source, g.out
    operands = 2 if layer.op == LayerOp.ADD else 1
    half = config.buffers.ifmap_bytes // 2
    words = config.tile_words
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
    fills = []
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
            runs = TileRun(
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
            fills.append(Fill(a, None, [runs]))
    return LayerPlan(fills, 1, 1)


_PLANS: dict[LayerOp, Callable[[Geometry, Config, bool], LayerPlan]] = {
    LayerOp.CONV: _plan_conv,
    LayerOp.MAXPOOL: _plan_vec,
    LayerOp.AVGPOOL: _plan_vec,
    LayerOp.ADD: _plan_vec,
    LayerOp.COPY: _plan_vec,
}
complete("LayerOp in network/layers.py", LayerOp, _PLANS, "compiler/codegen/plan.py: _PLANS")
