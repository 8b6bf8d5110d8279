"""Where the words of a model stand in a network whose channels the compiler has moved."""

from __future__ import annotations

import numpy as np

from .arrays import I64
from .layers import Network


def neuron_places(network: Network, index: int) -> I64:
    """Flat place (h, w, c) of each neuron of a layer with weights, in the model's order."""
    out = network.tensors[network.layers[index].output]
    pixels = np.arange(out.h * out.w)[:, None] * out.c
    return (pixels + _places(network, network.layers[index].output)).ravel()


def weight_places(network: Network, index: int) -> I64:
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


def _places(network: Network, tensor: int) -> I64:
    """Place of each channel of the model."""
    own = network.tensors[tensor]
    places = np.arange(own.c)
    if own.order:
        places[list(own.order)] = np.arange(own.c)
    return places
