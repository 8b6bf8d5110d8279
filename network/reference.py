"""The integer meaning of a quantised network, written to be read: NumPy, int64, loops.

Slow and obviously right.  Everything that computes a network faster (the functional engine, the
machine's array and vector unit) is tested against `run_network`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..tables import complete
from . import fixedpoint
from .arrays import I8, I64
from .layers import Layer, LayerOp, Network, Tensor


def _gather(x: I64, layer: Layer, out: Tensor, ky: int, kx: int, outside: int) -> I64:
    """Element (ky, kx) of every window: (n, out.h, out.w, in_c), `outside` where the map ends."""
    n, h, w, c = x.shape
    iy = np.arange(out.h) * layer.stride_h + ky * layer.dilation_h - layer.pad_top
    ix = np.arange(out.w) * layer.stride_w + kx * layer.dilation_w - layer.pad_left
    inside_y, inside_x = (iy >= 0) & (iy < h), (ix >= 0) & (ix < w)
    part = np.full((n, out.h, out.w, c), outside, np.int64)
    rows, cols = np.ix_(inside_y, inside_x)
    part[:, rows, cols] = x[:, iy[inside_y][:, None], ix[inside_x][None, :]]
    return part


def accumulate(x: ArrayLike, layer: Layer, out: Tensor, weight: I8, bias: ArrayLike) -> I64:
    """Sum of products plus bias of a CONV, not yet wrapped: int64 (n, out.h, out.w, out.c)."""
    x = np.asarray(x, np.int64)
    w = weight.astype(np.int64)
    per_in, per_out = w.shape[3], w.shape[0] // layer.groups
    acc = np.zeros((x.shape[0], out.h, out.w, out.c), np.int64)
    for ky in range(layer.kernel_h):
        for kx in range(layer.kernel_w):
            part = _gather(x, layer, out, ky, kx, 0)
            for g in range(layer.groups):
                ins = slice(g * per_in, (g + 1) * per_in)
                outs = slice(g * per_out, (g + 1) * per_out)
                acc[..., outs] += part[..., ins] @ w[outs, ky, kx].T
    return acc + np.asarray(bias, np.int64)


def _sums(network: Network, index: int, x: I64) -> I64:
    layer = network.layers[index]
    out = network.tensors[layer.output]
    return accumulate(x, layer, out, network.weights[index], network.biases[index])


def _windows(network: Network, index: int, x: I64, outside: int) -> I64:
    layer = network.layers[index]
    out = network.tensors[layer.output]
    taps = [(ky, kx) for ky in range(layer.kernel_h) for kx in range(layer.kernel_w)]
    return np.stack([_gather(x, layer, out, ky, kx, outside) for ky, kx in taps])


def _maxima(network: Network, index: int, x: I64) -> I64:
    lowest, _ = fixedpoint.limits(network.arithmetic.act_bits)
    found: I64 = _windows(network, index, x, lowest).max(axis=0)
    return found


def _window_sums(network: Network, index: int, x: I64) -> I64:
    total: I64 = _windows(network, index, x, 0).sum(axis=0)
    return total


def _own(network: Network, index: int, x: I64) -> I64:
    return x


def _copied(network: Network, index: int, x: I64) -> I64:
    layer = network.layers[index]
    out = network.tensors[layer.output]
    part = _gather(x, layer, out, 0, 0, 0)
    result = np.zeros((*part.shape[:3], out.c), np.int64)
    for c in range(out.c):
        if 0 <= c - layer.c_offset < part.shape[3]:
            result[..., c] = part[..., c - layer.c_offset]
    return result


#: Operation -> (network, index of the layer, input) -> what the vector unit gets.
_VALUES: dict[LayerOp, Callable[[Network, int, I64], I64]] = {
    LayerOp.CONV: _sums,
    LayerOp.MAXPOOL: _maxima,
    LayerOp.AVGPOOL: _window_sums,
    LayerOp.ADD: _own,
    LayerOp.COPY: _copied,
}
complete("LayerOp in network/layers.py", LayerOp, _VALUES, "network/reference.py: _VALUES")


def run_layer(network: Network, index: int, x: ArrayLike, residual: ArrayLike | None = None) -> I8:
    """Output of layer `index`: int8 (n, h, w, c) for inputs of the same layout."""
    layer = network.layers[index]
    value = _VALUES[layer.op](network, index, np.asarray(x, np.int64))
    return fixedpoint.vector_unit(value, layer, network.arithmetic, residual).astype(np.int8)


def run_network(network: Network, x: ArrayLike) -> dict[int, I8]:
    """Every tensor of the network for the quantised images `x`, int8 (n, h, w, c); id -> int8."""
    values = {network.input: np.asarray(x, np.int8)}
    for index, layer in enumerate(network.layers):
        residual = values[layer.residual] if layer.residual >= 0 else None
        values[layer.output] = run_layer(network, index, values[layer.input], residual)
    return values
