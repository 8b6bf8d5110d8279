"""Weights and biases in DRAM: [layer][group][chunk][channel][k]; so every LOAD is contiguous."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.program import chunks
from ...network.layers import Network
from ..tiling.loads import BURST_BYTES
from ..tiling.tiles import LayerPlan


def align(nbytes: int) -> int:
    """The next multiple of a DRAM burst."""
    return -(-nbytes // BURST_BYTES) * BURST_BYTES


class Constants(NamedTuple):
    """All weights and biases, and where each layer's begin (bytes)."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    weight_at: dict[int, int]
    bias_at: dict[int, int]


def place_constants(network: Network, plans: Sequence[LayerPlan]) -> Constants:
    """Lay out the constants in the order in which the plans read them."""
    weights = np.zeros(sum(weight.size for weight in network.weights.values()), np.int8)
    biases = [np.zeros(0, np.int32)]
    weight_at, bias_at = {}, {}
    at = bias_bytes = 0
    for i, weight in network.weights.items():
        layer, plan = network.layers[i], plans[i]
        weight_at[i], bias_at[i] = at, bias_bytes
        biases.append(np.asarray(network.biases[i], np.int32))
        bias_bytes += biases[-1].nbytes
        width = weight.shape[0] // layer.groups
        pieces = chunks(layer.kernel_h, weight.shape[3], plan.chunk_ky, plan.chunk_c)
        for n in range(0, weight.shape[0], width):
            for ky, nky, c, cc in pieces:
                part = weight[n : n + width, ky : ky + nky, :, c : c + cc]
                if part.any():  # zeros that nobody writes take no memory
                    weights[at : at + part.size].reshape(part.shape)[:] = part
                at += part.size
    return Constants(weights, np.concatenate(biases), weight_at, bias_at)
