"""The integer meaning of a quantised network, written to be read: NumPy, int64, loops.

Slow and obviously right.  Everything that computes a network faster (the compiler's calibration,
the functional engine, the cycle model's array) is tested against `run`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import fixedpoint as fx
from .layers import (
    Layer,
    LayerOp,
    Network,
    Tensor,
)

Int8 = NDArray[np.int8]
Int = NDArray[np.int64]


def _gather(x: Int, layer: Layer, out: Tensor, ky: int, kx: int, outside: int) -> Int:
    """Element (ky, kx) of every window: (n, out.h, out.w, in_c), `outside` where the map ends."""
    n, h, w, c = x.shape
    iy = np.arange(out.h) * layer.stride_h + ky * layer.dilation_h - layer.pad_top
    ix = np.arange(out.w) * layer.stride_w + kx * layer.dilation_w - layer.pad_left
    inside_y, inside_x = (iy >= 0) & (iy < h), (ix >= 0) & (ix < w)
    part = np.full((n, out.h, out.w, c), outside, np.int64)
    rows, cols = np.ix_(inside_y, inside_x)
    part[:, rows, cols] = x[:, iy[inside_y][:, None], ix[inside_x][None, :]]
    return part


def accumulate(x: ArrayLike, layer: Layer, out: Tensor, weight: Int8, bias: ArrayLike) -> Int:
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


def _window_values(x: Int, layer: Layer, out: Tensor, outside: int) -> Int:
    taps = [(ky, kx) for ky in range(layer.kernel_h) for kx in range(layer.kernel_w)]
    return np.stack([_gather(x, layer, out, ky, kx, outside) for ky, kx in taps])


def _copy(x: Int, layer: Layer, out: Tensor) -> Int:
    part = _gather(x, layer, out, 0, 0, 0)
    result = np.zeros((*part.shape[:3], out.c), np.int64)
    for c in range(out.c):
        if 0 <= c - layer.c_offset < part.shape[3]:
            result[..., c] = part[..., c - layer.c_offset]
    return result


def run_layer(
    network: Network, index: int, x: ArrayLike, residual: ArrayLike | None = None
) -> Int8:
    """Output of layer `index`: int8 (n, h, w, c) for inputs of the same layout."""
    layer, a = network.layers[index], network.arithmetic
    out = network.tensors[layer.output]
    x = np.asarray(x, np.int64)
    if layer.op in (LayerOp.CONV, LayerOp.AVGPOOL):
        if layer.op == LayerOp.CONV:
            acc = accumulate(x, layer, out, network.weights[index], network.biases[index])
        else:
            acc = _window_values(x, layer, out, 0).sum(axis=0)
        value = fx.requantise(
            fx.wrap(acc, a.acc_bits), layer.shift, a.act_bits, a.rounding, a.overflow
        )
    elif layer.op == LayerOp.MAXPOOL:
        value = _window_values(x, layer, out, fx.limits(a.act_bits)[0]).max(axis=0)
    elif layer.op == LayerOp.COPY:
        value = _copy(x, layer, out)
    else:
        value = x
    if residual is not None:
        value = fx.add(
            value,
            residual,
            layer.lshift_a,
            layer.lshift_b,
            layer.add_shift,
            a.act_bits,
            a.rounding,
        )
    return np.clip(value, layer.act_lo, layer.act_hi).astype(np.int8)


def run(network: Network, x: ArrayLike) -> dict[int, Int8]:
    """Every tensor of the network for the quantised images `x`, int8 (n, h, w, c); id -> int8."""
    values = {network.input: np.asarray(x, np.int8)}
    for index, layer in enumerate(network.layers):
        residual = values[layer.residual] if layer.residual >= 0 else None
        values[layer.output] = run_layer(network, index, values[layer.input], residual)
    return values
