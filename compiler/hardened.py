"""Which channel meets which column of the array: the important ones, hardened columns.

PEs of the first `protection.hardened_cols` columns have more protected bits.  Column j of a tile
computes channel n0 + j, so the channels of a tensor are put in an order that has the important ones
there: Schorn, Guntoro and Ascheid (DATE 2018) place neurons by resilience in that way.  Weights are
permuted at compile time, of the layers that write a tensor and of those that read it, so that
nothing else changes: no value but its place, no cycle, no byte.

Tensors whose channels are met one by one (residuals, pools, depthwise layers) have one order.  The
network's input and output keep theirs, and what grouped layers and copies with an offset read and
write: there a channel cannot move alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..network.layers import NO_TENSOR, Layer, LayerOp, Network
from .tiling.tiles import LayerPlan

_Bools = NDArray[np.bool_]
_Order = NDArray[np.int64]


def with_hardened_channels(
    network: Network, plans: Sequence[LayerPlan], columns: int, important: Mapping[int, _Bools]
) -> Network:
    """The network with channels in the order that has the most important neurons in `columns`.

    plans : of its layers. columns : of a tile, the first ones. important : layer -> (h, w, c).
    `Tensor.order` of what comes out says which channel is where.
    """
    orders = dict[int, _Order]()
    for tensors in _tied(network):
        orders |= dict.fromkeys(tensors, _order(network, plans, columns, important, tensors))
    return _in_order(network, {i: own for i, own in orders.items() if (np.diff(own) != 1).any()})


def hardened_places(tiles: Iterable[tuple[int, int]], columns: int, channels: int) -> _Bools:
    """Channels that the first columns of a tile compute. tiles : (first channel, channels) each."""
    found = np.zeros(channels, np.bool_)
    for first, count in tiles:
        found[first : first + min(count, columns)] = True
    return found


def _tied(network: Network) -> list[list[int]]:
    """Tensors that have to have one order, and that may have another one than the model's."""
    parent = list(range(len(network.tensors)))
    fixed = {network.input, network.output}

    def root(tensor: int) -> int:
        while parent[tensor] != tensor:
            tensor = parent[tensor]
        return tensor

    for layer in network.layers:
        if layer.residual != NO_TENSOR:
            parent[root(layer.residual)] = root(layer.output)
        if _moves_alone(network, layer):
            continue
        if _channel_by_channel(network, layer):
            parent[root(layer.input)] = root(layer.output)
        else:
            fixed |= {layer.input, layer.output}
    still = {root(tensor) for tensor in fixed}
    groups: dict[int, list[int]] = {}
    for tensor in range(len(network.tensors)):
        if root(tensor) not in still:
            groups.setdefault(root(tensor), []).append(tensor)
    return list(groups.values())


def _moves_alone(network: Network, layer: Layer) -> bool:
    """Whether any channel of the result may move, wherever those of the input are."""
    return layer.op == LayerOp.CONV and layer.groups == 1


def _channel_by_channel(network: Network, layer: Layer) -> bool:
    """Whether channel c of the result is made of channel c of the input alone."""
    channels = network.tensors[layer.input].c
    if network.tensors[layer.output].c != channels:
        return False
    if layer.op == LayerOp.CONV:
        return layer.groups == channels
    return layer.c_offset == 0


def _order(
    network: Network,
    plans: Sequence[LayerPlan],
    columns: int,
    important: Mapping[int, _Bools],
    tensors: Sequence[int],
) -> _Order:
    """Channels by place: as many important neurons as can be in hardened columns, of all layers."""
    channels = network.tensors[tensors[0]].c
    worth, places = [], []
    for i, layer in enumerate(network.layers):
        if layer.output in tensors and i in important:
            worth.append(important[i].sum((0, 1)))
            tiles = {(tile.n0, tile.n) for tile in plans[i].tiles}
            places.append(hardened_places(tiles, columns, channels))
    if not worth:
        return np.arange(channels)
    gain, hardened = np.stack(worth), np.stack(places)
    if (hardened == hardened[0]).all():  # the best channels to the hardened places
        best = np.argsort(-gain.sum(0), kind="stable")
        chosen = np.sort(best[: int(hardened[0].sum())])
        others = np.setdiff1d(np.arange(channels), chosen)
        order = np.empty(channels, np.int64)
        order[hardened[0]], order[~hardened[0]] = chosen, others
        return order
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(hardened.T.astype(float) @ gain, maximize=True)
    return np.asarray(order, np.int64)


def _in_order(network: Network, orders: Mapping[int, _Order]) -> Network:
    """orders : tensor -> its channels by place; others stay as they are."""
    if not orders:
        return network
    tensors = [
        replace(tensor, order=tuple(orders[i].tolist())) if i in orders else tensor
        for i, tensor in enumerate(network.tensors)
    ]
    weights, biases = dict(network.weights), dict(network.biases)
    for i in network.weights:
        layer = network.layers[i]
        if layer.groups == 1 and layer.input in orders:
            weights[i] = weights[i][..., orders[layer.input]]
        if layer.output in orders:
            weights[i] = weights[i][orders[layer.output]]
            biases[i] = biases[i][orders[layer.output]]
    return replace(network, tensors=tuple(tensors), weights=weights, biases=biases)


# ---- where the model's words stand then ---------------------------------------------------------


def neuron_places(network: Network, index: int) -> _Order:
    """Flat place (h, w, c) of each neuron of a layer with weights, in the model's order."""
    out = network.tensors[network.layers[index].output]
    pixels = np.arange(out.h * out.w)[:, None] * out.c
    return (pixels + _places(network, network.layers[index].output)).ravel()


def weight_places(network: Network, index: int) -> _Order:
    """Flat place (out_c, kernel_h, kernel_w, in_c / groups) of each weight, in the model's order.

    Between packed groups there are zeros, each of which is one for another.
    """
    layer = network.layers[index]
    out_c, height, width, own = network.weights[index].shape
    outputs = _places(network, layer.output)
    if layer.groups * layer.packed == 1:
        inputs = np.broadcast_to(_places(network, layer.input), (out_c, own))
    else:  # a channel of the output is made of that of the input, and both have moved alike
        inputs = (np.arange(own) + (outputs - np.arange(out_c))[:, None]) % own
    window = np.arange(height * width)[:, None]
    rows = outputs[:, None, None] * height * width + window
    return np.asarray((rows * own + inputs[:, None]).ravel())


def _places(network: Network, tensor: int) -> _Order:
    """Place of each channel of the model."""
    own = network.tensors[tensor]
    places = np.arange(own.c)
    if own.order:
        places[list(own.order)] = np.arange(own.c)
    return places
