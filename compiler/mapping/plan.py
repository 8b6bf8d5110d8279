"""Tiling: which tiles a layer has, in which order, and what must be in the buffers for them.

A plan is independent of buffer addresses and of other layers; `emit` places its blocks in the two
halves of each buffer.  Convolutions and linear layers are planned in `plan_conv`, what only the
vector unit computes in `plan_vector`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...errors import CompileError
from ...isa.protection import redundancy_of
from ...network.layers import LayerOp, Network
from ...tables import complete
from .choose import chosen_mapping, machine_of
from .plan_conv import plan_conv, tile_columns
from .plan_vector import plan_vector
from .tiles import Geometry, LayerPlan


def plan_layer(
    network: Network, index: int, config: Config, batch: int, recomputed: bool = False
) -> LayerPlan:
    """Tile layer `index`. Raises CompileError if even one tile does not fit the buffers.

    recomputed : whether the DPPU has neurons of it: its sums have no room to wait, none are parked.
    """
    geometry = Geometry.of(network, index, batch)
    return _PLANS[geometry.layer.op](geometry, config, not recomputed)


def tile_ids(network: Network, index: int, config: Config) -> NDArray[np.int64]:
    """Tile number of every neuron (h, w, c) of layer `index` for a batch of one (policy `tile`)."""
    out = network.tensors[network.layers[index].output]
    ids = np.zeros((out.h * out.w, out.c), np.int64)
    for i, t in enumerate(plan_layer(network, index, config, 1, recomputed=True).tiles):
        ids[t.m0 : t.m0 + t.m, t.n0 : t.n0 + t.n] = i
    return ids.reshape(out.h, out.w, out.c)


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


_PLANS: dict[LayerOp, Callable[[Geometry, Config, bool], LayerPlan]] = {
    LayerOp.CONV: _plan_conv,
    LayerOp.MAXPOOL: plan_vector,
    LayerOp.AVGPOOL: plan_vector,
    LayerOp.ADD: plan_vector,
    LayerOp.COPY: plan_vector,
}
complete("LayerOp in network/layers.py", LayerOp, _PLANS, "compiler/mapping/plan.py: _PLANS")
