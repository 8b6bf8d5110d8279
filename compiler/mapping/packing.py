"""Packed groups: several groups of a convolution as one, with zeros for weights between them.

A tile has the channels of one group, and a depthwise layer has one in each: most columns of the
array would stand idle. Packed groups fill them, at the price of products with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf

import numpy as np

from ...network.arrays import I8
from ...network.layers import Layer, Network
from .mapping import LayerOnMachine
from .rank import ALIKE, fastest


def pack_groups(layer: Layer, count: int) -> Layer:
    """The layer with `count` groups as one."""
    return replace(layer, groups=layer.groups // count, packed=count)


@lru_cache(4096)
def best_packing(layer: LayerOnMachine) -> int:
    """How many groups to pack, by estimated cycles: 1, or what fills the columns, a half, ..."""
    own = layer.geometry.layer
    most = max(1, layer.columns * own.groups // layer.geometry.out.c)
    best, fewest = 1, inf
    for count in sorted({_divisor(own.groups, most >> i) for i in range(most.bit_length())}):
        packed = replace(layer.geometry, layer=pack_groups(own, count))
        for rated in fastest(layer._replace(geometry=packed.shape), 1):
            if rated.cycles < fewest * (1 - ALIKE):
                best, fewest = count, rated.cycles
    return best


def _divisor(number: int, most: int) -> int:
    """The largest divisor up to `most`."""
    return next(count for count in range(most, 0, -1) if number % count == 0)


def with_packed(network: Network, layers: Sequence[Layer]) -> Network:
    """The network whose layers are `layers`, which are its own with groups packed or not."""
    pairs = enumerate(zip(network.layers, layers, strict=True))
    packed = {index for index, (old, new) in pairs if new != old}
    if not packed:
        return network
    weights = {
        i: _block_diagonal(weight, layers[i]) if i in packed else weight
        for i, weight in network.weights.items()
    }
    return replace(network, layers=tuple(layers), weights=weights)


def _block_diagonal(weight: I8, layer: Layer) -> I8:
    """(out_c, kernel_h, kernel_w, channels of a group) -> with those of all that are packed."""
    out_c, height, width, channels = weight.shape
    shape = (out_c, height, width, layer.packed * channels)
    if not weight.any():  # of a network that is only timed: no memory
        return np.broadcast_to(np.int8(0), shape)
    groups = layer.groups * layer.packed
    blocks = np.zeros((groups, out_c // groups, height, width, layer.packed, channels), np.int8)
    every = np.arange(groups)
    own = weight.reshape(groups, out_c // groups, height, width, channels)
    blocks[every, :, :, :, every % layer.packed] = own
    return blocks.reshape(shape)
