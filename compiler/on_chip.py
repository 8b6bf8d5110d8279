"""Which tensors stay in the activation memory between layers, and where in it.

A tensor lives from the layer that stores it to the last one that reads it: as its input, or as a
residual.  In the order in which they are stored, each takes the first place that no living one
has; one that finds none goes through DRAM.  The network's input and output always do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..config import Config
from ..network.layers import NO_TENSOR, Layer, Network
from .codegen.constants import align

#: Tensor -> its first byte in the activation memory.
KeptPlaces = Mapping[int, int]


class OnChip(NamedTuple):
    """Which tensors of a layer are in the activation memory."""

    input: bool = False
    residual: bool = False
    output: bool = False

    @classmethod
    def of(cls, layer: Layer, places: KeptPlaces) -> OnChip:
        """Of a layer of the network that the places are of."""
        return cls(layer.input in places, layer.residual in places, layer.output in places)

    def alone(self, layer: Layer) -> dict[int, int]:
        """Places of a layer that is timed by itself, where it does not matter which they are."""
        tensors = layer.input, layer.residual, layer.output
        return {tensor: 0 for tensor, here in zip(tensors, self, strict=True) if here}


class _Placed(NamedTuple):
    """Bytes of the memory from `begin` to `end`, taken up to layer `last`."""

    begin: int
    end: int
    last: int


def keep_on_chip(network: Network, config: Config, batch: int) -> dict[int, int]:
    """The tensors that stay on chip. batch : images, which lie one after the other."""
    size = config.buffers.activation_bytes
    if not size:
        return {}
    last = {
        tensor: i
        for i, layer in enumerate(network.layers)
        for tensor in (layer.input, layer.residual)
        if tensor != NO_TENSOR
    }
    living: list[_Placed] = []
    places: dict[int, int] = {}
    for i, layer in enumerate(network.layers):
        # What a layer reads is not overwritten by what it stores.
        living = [placed for placed in living if placed.last >= i]
        tensor = layer.output
        if tensor in (network.input, network.output) or tensor not in last:
            continue
        nbytes, begin = align(network.tensors[tensor].elements * batch), 0
        for placed in sorted(living):
            if begin + nbytes <= placed.begin:
                break
            begin = max(begin, placed.end)
        if begin + nbytes <= size:
            living.append(_Placed(begin, begin + nbytes, last[tensor]))
            places[tensor] = begin
    return places


def overwritten(network: Network, batch: int, places: KeptPlaces) -> dict[int, list[int]]:
    """Tensor that stays on chip -> those before it whose bytes it takes."""
    spans = {
        tensor: range(at, at + network.tensors[tensor].elements * batch)
        for tensor, at in places.items()
    }
    order = [layer.output for layer in network.layers if layer.output in places]
    return {
        tensor: [
            old
            for old in order[:i]
            if spans[old].start < spans[tensor].stop and spans[tensor].start < spans[old].stop
        ]
        for i, tensor in enumerate(order)
    }
