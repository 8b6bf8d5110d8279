"""The steps of a layer in plain torch, on any device: twins of `fixedpoint` and `reference`.

Maps are (images, h, w, c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Arithmetic
from .layers import (
    Layer,
    LayerOp,
    Tensor,
    window_stride,
)

if TYPE_CHECKING:
    import torch


@dataclass
class Overflows:
    """Fault-free losses of one layer: accumulator wraps and requantisations that did not fit."""

    wraps: int = 0
    slices: int = 0


def integers(sums: torch.Tensor) -> torch.Tensor:
    """Integers in floating point as int32, or int64 where they may not fit."""
    import torch

    if sums.dtype == torch.float64:
        return sums.to(torch.int64)
    return sums.to(torch.int32) if sums.dtype == torch.float32 else sums


def wrap(acc: torch.Tensor, bits: int) -> torch.Tensor:
    """Twin of network.fixedpoint.wrap; int32 in and out, unless the sums needed int64."""
    import torch

    if acc.dtype == torch.int64:
        return (acc << (64 - bits)).bitwise_right_shift_(64 - bits).to(torch.int32)
    return (acc << (32 - bits)).bitwise_right_shift_(32 - bits)


def requantise(
    acc: torch.Tensor, shift: int, arithmetic: Arithmetic, lost: Overflows | None = None
) -> torch.Tensor:
    """Twin of network.fixedpoint.requantise on int32 accumulators."""
    bits = arithmetic.act_bits
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    floor = acc >> shift
    if lost is not None:
        lost.slices += int(((floor < lo) | (floor > hi)).sum())
    kept = floor if arithmetic.overflow == "saturate" else wrap(floor, bits)
    if shift and arithmetic.rounding == "half_up":
        kept += (acc >> (shift - 1)).bitwise_and_(1)
    return kept.clamp_(lo, hi)


def add(a: torch.Tensor, b: torch.Tensor, layer: Layer, arithmetic: Arithmetic) -> torch.Tensor:
    """Twin of network.fixedpoint.add on int32."""
    total = (a << layer.lshift_a) + (b << layer.lshift_b)
    if layer.add_shift and arithmetic.rounding == "half_up":
        total = total + (1 << (layer.add_shift - 1))
    half = 1 << (arithmetic.act_bits - 1)
    return (total >> layer.add_shift).clamp(-half, half - 1)


def copy(layer: Layer, x: torch.Tensor, out: Tensor) -> torch.Tensor:
    """Elements that exist in the source; 0 elsewhere."""
    to, at = [], []
    for size, have, stride, offset in (
        (out.h, x.shape[1], layer.stride_h, layer.pad_top),
        (out.w, x.shape[2], layer.stride_w, layer.pad_left),
        (out.c, x.shape[3], 1, layer.c_offset),
    ):
        first = max(0, -(-offset // stride))  # element i reads i * stride - offset
        stop = max(first, min(size, (have - 1 + offset) // stride + 1))
        to.append(slice(first, stop))
        start = first * stride - offset
        at.append(slice(start, start + (stop - first - 1) * stride + 1, stride))
    result = x.new_zeros((len(x), out.h, out.w, out.c))
    if all(axis.stop > axis.start for axis in to):
        result[:, to[0], to[1], to[2]] = x[:, at[0], at[1], at[2]]
    return result


def pool(
    layer: Layer,
    x: torch.Tensor,
    out: Tensor,
    arithmetic: Arithmetic,
    lost: Overflows | None = None,
) -> torch.Tensor:
    """MAXPOOL, or AVGPOOL up to requantisation, before the clamp."""
    import torch

    most = layer.op == LayerOp.MAXPOOL
    padded = _window_input(layer, x, out.h, out.w, -(2.0**15) if most else 0.0)
    kernel, stride = (layer.kernel_h, layer.kernel_w), window_stride(layer, out.h, out.w)
    dilation = (layer.dilation_h, layer.dilation_w)
    if most:
        y = torch.nn.functional.max_pool2d(padded, kernel, stride, 0, dilation)
        return y.permute(0, 2, 3, 1)
    ones = torch.ones((out.c, 1, *kernel), device=x.device)
    with torch.backends.cudnn.flags(enabled=False):
        total = torch.nn.functional.conv2d(padded, ones, None, stride, 0, dilation, groups=out.c)
    sums = wrap(total.permute(0, 2, 3, 1).to(torch.int32), arithmetic.acc_bits)
    return requantise(sums, layer.shift, arithmetic, lost)


def _window_input(layer: Layer, x: torch.Tensor, h: int, w: int, fill: float) -> torch.Tensor:
    """float32 (images, c, h, w): what the windows of an (h, w) output touch, else `fill`."""
    import torch

    need_h = (h - 1) * layer.stride_h + (layer.kernel_h - 1) * layer.dilation_h + 1
    need_w = (w - 1) * layer.stride_w + (layer.kernel_w - 1) * layer.dilation_w + 1
    pad = (
        layer.pad_left,
        need_w - layer.pad_left - x.shape[2],
        layer.pad_top,
        need_h - layer.pad_top - x.shape[1],
    )
    return torch.nn.functional.pad(x.permute(0, 3, 1, 2).to(torch.float32), pad, value=fill)
