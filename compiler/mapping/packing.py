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
from .choose import best_candidates, cycles_alone
from .mapping import LayerOnMachine
from .rank import ALIKE, fastest

#: About how many instructions may be timed to choose a packing, without a DPPU and with a slow one.
_TIMED_INSTRUCTIONS, _TIMED_RECOMPUTING = 20_000, 120_000
#: Times the cycles of the best: estimates of the layers that are timed are at most so far off.
_NEAR = 1.5
#: Instructions of a packing's program up to which several mappings of it are timed.
_SHORT = 1000


def pack_groups(layer: Layer, count: int) -> Layer:
    """The layer with `count` groups as one."""
    return replace(layer, groups=layer.groups // count, packed=count)


def packings(layer: LayerOnMachine) -> tuple[int, ...]:
    """How many groups may be packed: 1, or what fills the columns, a half, ..."""
    own = layer.geometry.layer
    most = max(1, layer.columns * own.groups // layer.geometry.out.c)
    return tuple(sorted({_divisor(own.groups, most >> i) for i in range(most.bit_length())}))


@lru_cache(4096)
def best_packing(options: tuple[LayerOnMachine, ...]) -> int:
    """Which of a layer's packings to take, by its place: of the fewest cycles.

    On the cycle model, as far as programs are short, and by estimate where none is.
    """
    found = {i: rated for i, option in enumerate(options) for rated in fastest(option, 1)}
    recomputed = options[0].recomputed is not None
    left = _TIMED_RECOMPUTING if recomputed else _TIMED_INSTRUCTIONS
    timed, fewest = dict[int, float](), inf
    for i, rated in sorted(found.items(), key=lambda pair: pair[1].cycles):
        if rated.cycles > _NEAR * fewest:
            break  # a DPPU makes it no less
        if rated.instructions > left:
            continue
        left -= rated.instructions
        # Where it holds the array up, and of short programs, another mapping may be far better.
        several = recomputed or rated.instructions <= _SHORT
        own = best_candidates(options[i])[0] if several else rated
        timed[i] = cycles_alone(options[i], own.mapping)
        fewest = min(fewest, timed[i])
    return _fewest(timed or {i: rated.cycles for i, rated in found.items()})


def _fewest(cycles: dict[int, float]) -> int:
    """The packing of the fewest cycles, of nearly the same that of fewer groups."""
    best = 0
    for i in sorted(cycles):
        if cycles[i] < cycles.get(best, inf) * (1 - ALIKE):
            best = i
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
