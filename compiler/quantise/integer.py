"""Fast integer execution of a quantised network, for calibration and fault-free accuracy.

Equal to `network.reference` bit by bit (tests/network/test_integer.py), in torch.  Sums of products
are exact in float32 as long as they stay below 2**24, so a reduction is cut into parts of at most
1024 products of 8-bit numbers, whose sums are added in int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...config import Arithmetic
from ...network.fixedpoint import limits
from ...network.layers import Layer, LayerOp, Network, window_stride
from ...network.layers import Tensor as TensorRow

Int8 = NDArray[np.int8]
_EXACT_PRODUCTS = 1 << (24 - 14)


@dataclass
class Losses:
    """What a fault-free layer loses: accumulators that wrapped, results that `slice` cut."""

    wraps: int = 0
    overflows: int = 0
    elements: int = 0


def _window_input(x: Tensor, layer: Layer, out: tuple[int, int], value: float) -> Tensor:
    """`x` (n, c, h, w) padded or cropped so that windows start at 0 and are `out` rows, cols."""
    before = (layer.pad_left, layer.pad_top)
    reach = (
        (out[1] - 1) * layer.stride_w + (layer.kernel_w - 1) * layer.dilation_w + 1,
        (out[0] - 1) * layer.stride_h + (layer.kernel_h - 1) * layer.dilation_h + 1,
    )
    after = (reach[0] - before[0] - x.shape[3], reach[1] - before[1] - x.shape[2])
    spans = [max(0, n) for n in (before[0], after[0], before[1], after[1])]
    if any(spans):
        x = F.pad(x, spans, value=value)
    left, top = max(0, -before[0]), max(0, -before[1])
    return x[:, :, top : top + reach[1], left : left + reach[0]]


def accumulate(x: Tensor, layer: Layer, out: tuple[int, int], weight: Tensor) -> Tensor:
    """Sums of products, not wrapped, without bias: int32 (n, out_c, out_h, out_w).

    x : float32 (n, c, h, w) holding int8 values; weight : (out_c, in_c / groups, kh, kw), any type
    and layout: only the part in work is made float32.
    """
    x = _window_input(x, layer, out, 0.0)
    stride, dilation = window_stride(layer, *out), (layer.dilation_h, layer.dilation_w)
    per_group, taps = weight.shape[1], weight.shape[2] * weight.shape[3]
    step = max(1, _EXACT_PRODUCTS // taps)
    if taps > _EXACT_PRODUCTS:
        x, step = x.double(), per_group
    if per_group <= step:
        weight = weight.to(x.dtype, memory_format=torch.contiguous_format)
        return F.conv2d(x, weight, None, stride, 0, dilation, layer.groups).to(torch.int32)
    n, _, h, w = x.shape
    grouped = x.view(n, layer.groups, per_group, h, w)
    total = None
    for first in range(0, per_group, step):
        part = grouped[:, :, first : first + step].reshape(n, -1, h, w)
        cut = weight[:, first : first + step].to(x.dtype, memory_format=torch.contiguous_format)
        sums = F.conv2d(part, cut, None, stride, 0, dilation, layer.groups).to(torch.int32)
        total = sums if total is None else total.add_(sums)
    assert total is not None
    return total


def wrap(acc: Tensor, bits: int) -> Tensor:
    """Low `bits` bits of int32 accumulators as two's complement."""
    return (acc << (32 - bits)).bitwise_right_shift_(32 - bits) if bits < 32 else acc


def requantise(acc: Tensor, shift: int, a: Arithmetic) -> Tensor:
    """int32 accumulators -> int32 activations, as `network.fixedpoint.requantise`."""
    lo, hi = limits(a.act_bits)
    kept = acc >> shift
    if a.overflow == "slice":
        kept = wrap(kept, a.act_bits)
    if shift and a.rounding == "half_up":
        kept += (acc >> (shift - 1)).bitwise_and_(1)
    return kept.clamp_(lo, hi)


def count_losses(acc: Tensor, shift: int, a: Arithmetic) -> Losses:
    """Wraps of int32 accumulators, and results beyond `act_bits` where `slice` would cut them."""
    lo, hi = limits(a.act_bits)
    wraps = int((wrap(acc, a.acc_bits) != acc).sum())
    overflows = 0
    if a.overflow == "slice":
        kept = acc >> shift
        overflows = int(((kept < lo) | (kept > hi)).sum())
    return Losses(wraps, overflows, acc.numel())


def _residual_add(value: Tensor, other: Tensor, layer: Layer, a: Arithmetic) -> Tensor:
    total = (value << layer.lshift_a) + (other << layer.lshift_b)
    if layer.add_shift and a.rounding == "half_up":
        total = total + (1 << (layer.add_shift - 1))
    return (total >> layer.add_shift).clamp(*limits(a.act_bits))


def weights_nchw(weight: Int8) -> Tensor:
    """int8 (out_c, kh, kw, in_c) -> int8 (out_c, in_c, kh, kw), strided."""
    writable = np.require(weight, requirements="W")  # torch warns of others
    return torch.from_numpy(writable).permute(0, 3, 1, 2)


def run_layer(
    layer: Layer,
    out: TensorRow,
    a: Arithmetic,
    x: Tensor,
    residual: Tensor | None = None,
    weight: Int8 | None = None,
    bias: NDArray[np.int32] | None = None,
    losses: Losses | None = None,
) -> Tensor:
    """One layer on int8 (n, c, h, w) values -> int8 (n, out.c, out.h, out.w); adds to `losses`."""
    size = (out.h, out.w)
    kernel, stride = (layer.kernel_h, layer.kernel_w), (layer.stride_h, layer.stride_w)
    if layer.op in (LayerOp.CONV, LayerOp.AVGPOOL):
        if weight is not None and bias is not None:
            acc = accumulate(x.float(), layer, size, weights_nchw(weight))
            acc += torch.from_numpy(np.asarray(bias)).view(1, -1, 1, 1)
        else:
            ones = torch.ones(out.c, 1, *kernel)
            acc = accumulate(x.float(), replace(layer, groups=out.c), size, ones)
        if losses is not None:
            found = count_losses(acc, layer.shift, a)
            losses.wraps += found.wraps
            losses.overflows += found.overflows
            losses.elements += found.elements
        value = requantise(wrap(acc, a.acc_bits), layer.shift, a)
    elif layer.op == LayerOp.MAXPOOL:
        padded = _window_input(x.float(), layer, size, float(limits(a.act_bits)[0]))
        dilation = (layer.dilation_h, layer.dilation_w)
        value = F.max_pool2d(padded, kernel, stride, 0, dilation).to(torch.int32)
    elif layer.op == LayerOp.COPY:
        part = _window_input(x.float(), layer, size, 0.0)
        part = part[:, :, :: layer.stride_h, :: layer.stride_w]
        value = torch.zeros(len(part), out.c, *size, dtype=torch.int32)
        first, last = max(0, layer.c_offset), min(out.c, layer.c_offset + part.shape[1])
        if first < last:
            own = part[:, first - layer.c_offset : last - layer.c_offset]
            value[:, first:last] = own.to(torch.int32)
    else:
        value = x.to(torch.int32)
    if residual is not None:
        value = _residual_add(value, residual.to(torch.int32), layer, a)
    return value.clamp(layer.act_lo, layer.act_hi).to(torch.int8)


def run(
    network: Network, x: Int8, *, batch: int = 100, losses: dict[str, Losses] | None = None
) -> NDArray[np.int8]:
    """Logits (n, classes) int8 of the quantised images `x` (n, h, w, c).

    losses : filled with the fault-free losses of each CONV and AVGPOOL layer, by name.
    """
    parts = []
    for first in range(0, len(x), batch):
        values = run_batch(network, x[first : first + batch], losses=losses)
        parts.append(values[network.output].reshape(len(x[first : first + batch]), -1))
    return np.concatenate(parts)


def run_batch(
    network: Network,
    x: Int8,
    *,
    keep: bool = False,
    losses: dict[str, Losses] | None = None,
) -> Mapping[int, Int8]:
    """Tensors of the network by id, int8 NHWC: only the output, or all of them with `keep`."""
    values = {network.input: torch.from_numpy(x.transpose(0, 3, 1, 2))}
    last = {t: i for i, la in enumerate(network.layers) for t in (la.input, la.residual)}
    for index, layer in enumerate(network.layers):
        values[layer.output] = run_layer(
            layer,
            network.tensors[layer.output],
            network.arithmetic,
            values[layer.input],
            values[layer.residual] if layer.residual >= 0 else None,
            network.weights.get(index),
            network.biases.get(index),
            None if losses is None else losses.setdefault(layer.name, Losses()),
        )
        for t in {layer.input, layer.residual} - {network.output}:
            if not keep and last[t] == index:
                values.pop(t, None)
    return {t: v.permute(0, 2, 3, 1).contiguous().numpy() for t, v in values.items()}
