"""Whole layers at once, bit-exact: the fast path for values.

Integer products run as floating-point convolutions that are exact: in float32 where the largest
possible sum of magnitudes of any output stays below 2**24, else in float64 (below 2**53).  Sums of
products are wrapped once; wrapping is associative, so the order of summation does not matter.
Tests hold this equal to `isa.reference` and to `memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..isa.layers import Arithmetic, Layer, LayerOp, Network

if TYPE_CHECKING:
    import torch

_EXACT_FLOAT32 = 1 << 24


@dataclass
class Overflows:
    """Fault-free losses of one layer: accumulator wraps and requantisations that did not fit."""

    wraps: int = 0
    slices: int = 0


@dataclass
class _Prepared:
    """A CONV layer's constants in the dtype that is exact for it."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass
class Functional:
    """Executes a quantised network layer by layer on batches of images.

    network : what to execute. device : where torch computes; the bits are the same everywhere.
    """

    network: Network
    device: str = "cpu"
    _prepared: dict[int, _Prepared] = field(default_factory=dict)

    def run(
        self, inputs: NDArray[np.int8], batch: int = 64, overflows: list[Overflows] | None = None
    ) -> NDArray[np.int8]:
        """Output tensor (images, h, w, c) of int8 `inputs` (images, h, w, c).

        overflows : one entry a layer, incremented where a fault-free value does not fit.
        """
        parts = [
            self.tensors(inputs[i : i + batch], overflows)[self.network.output]
            for i in range(0, len(inputs), batch)
        ]
        return np.concatenate(parts)

    def tensors(
        self, inputs: NDArray[np.int8], overflows: list[Overflows] | None = None
    ) -> dict[int, NDArray[np.int8]]:
        """The network's output and nothing else is kept: {output tensor id: (images, h, w, c)}."""
        *_, last = self.layers(inputs, overflows)
        return {self.network.output: last[1]}

    def layers(
        self, inputs: NDArray[np.int8], overflows: list[Overflows] | None = None
    ) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """Yield (tensor id, int8 (images, h, w, c)) after each layer, in order."""
        import torch

        network = self.network
        last_use = {t: i for i, la in enumerate(network.layers) for t in (la.input, la.residual)}
        start = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        values = {network.input: start.permute(0, 3, 1, 2).to(torch.int32)}
        with torch.inference_mode():
            for i, layer in enumerate(network.layers):
                out = self._layer(i, layer, values, overflows[i] if overflows else None)
                values[layer.output] = out
                for t in (layer.input, layer.residual):
                    if last_use.get(t) == i and t != network.output:
                        values.pop(t, None)
                yield layer.output, out.permute(0, 2, 3, 1).to(torch.int8).cpu().numpy()

    # ---- one layer, NCHW int32 ----------------------------------------------------------------

    def _layer(
        self, i: int, layer: Layer, values: dict[int, torch.Tensor], lost: Overflows | None
    ) -> torch.Tensor:
        import torch

        arithmetic, x = self.network.arithmetic, values[layer.input]
        out = self.network.tensors[layer.output]
        if layer.op == LayerOp.CONV:
            acc = self._conv(i, layer, x, out.h, out.w)
            if lost is not None:
                lost.wraps += int((wrap(acc, arithmetic.acc_bits) != acc).sum())
            acc = wrap(acc, arithmetic.acc_bits)
            y = requantise(acc, layer.shift, arithmetic, lost)
            if layer.residual >= 0:
                y = add(y, values[layer.residual], layer, arithmetic)
        elif layer.op == LayerOp.ADD:
            y = add(x, values[layer.residual], layer, arithmetic)
        elif layer.op == LayerOp.COPY:
            y = _copy(layer, x, out.h, out.w, out.c)
        else:
            kernel = (layer.kernel_h, layer.kernel_w)
            stride = (layer.stride_h, layer.stride_w)
            dilation = (layer.dilation_h, layer.dilation_w)
            if layer.op == LayerOp.MAXPOOL:
                padded = _window_input(layer, x, out.h, out.w, -(2.0**15))
                y = torch.nn.functional.max_pool2d(padded, kernel, stride, 0, dilation)
                y = y.to(torch.int32)
            else:
                padded = _window_input(layer, x, out.h, out.w, 0.0)
                ones = torch.ones((out.c, 1, *kernel), device=x.device)
                total = torch.nn.functional.conv2d(
                    padded, ones, None, stride, 0, dilation, groups=out.c
                )
                y = requantise(total.to(torch.int32), layer.shift, arithmetic, lost)
        return y.clamp(layer.act_lo, layer.act_hi)

    def _conv(self, i: int, layer: Layer, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        """Exact sums (images, channels, h, w), not wrapped: int32 where they fit, else int64."""
        import torch

        p = self._prepared.get(i)
        if p is None:
            p = self._prepared[i] = self._prepare(i)
        padded = _window_input(layer, x, h, w, 0.0).to(p.weight.dtype)
        y = torch.nn.functional.conv2d(
            padded,
            p.weight,
            None,
            (layer.stride_h, layer.stride_w),
            0,
            (layer.dilation_h, layer.dilation_w),
            layer.groups,
        )
        return y.to(p.bias.dtype) + p.bias

    def _prepare(self, i: int) -> _Prepared:
        import torch

        weight, bias = self.network.weights[i], self.network.biases[i]
        largest = int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1).max()) * 128
        dtype = torch.float32 if largest < _EXACT_FLOAT32 else torch.float64
        total = largest + int(np.abs(bias.astype(np.int64)).max())
        return _Prepared(
            torch.from_numpy(weight).permute(0, 3, 1, 2).to(self.device, dtype).contiguous(),
            torch.from_numpy(np.array(bias))
            .view(1, -1, 1, 1)
            .to(self.device, torch.int32 if total < 2**31 else torch.int64),
        )


def _window_input(layer: Layer, x: torch.Tensor, h: int, w: int, fill: float) -> torch.Tensor:
    """The part of `x` that the windows of an (h, w) output touch, padded with `fill`."""
    import torch

    need_h = (h - 1) * layer.stride_h + (layer.kernel_h - 1) * layer.dilation_h + 1
    need_w = (w - 1) * layer.stride_w + (layer.kernel_w - 1) * layer.dilation_w + 1
    pad = (
        layer.pad_left,
        need_w - layer.pad_left - x.shape[3],
        layer.pad_top,
        need_h - layer.pad_top - x.shape[2],
    )
    return torch.nn.functional.pad(x.to(torch.float32), pad, value=fill)


def _copy(layer: Layer, x: torch.Tensor, h: int, w: int, c: int) -> torch.Tensor:
    """Elements that exist in the source; 0 elsewhere."""
    import torch

    axes = []
    for size, have, stride, offset in (
        (c, x.shape[1], 1, layer.c_offset),
        (h, x.shape[2], layer.stride_h, layer.pad_top),
        (w, x.shape[3], layer.stride_w, layer.pad_left),
    ):
        at = torch.arange(size, device=x.device) * stride - offset
        exists = torch.nonzero((at >= 0) & (at < have))[:, 0]
        axes.append((exists, at[exists]))
    (c_to, c_at), (y_to, y_at), (x_to, x_at) = axes
    out = x.new_zeros((len(x), c, h, w))
    out[:, c_to[:, None, None], y_to[:, None], x_to] = x[
        :, c_at[:, None, None], y_at[:, None], x_at
    ]
    return out


def wrap(acc: torch.Tensor, bits: int) -> torch.Tensor:
    """Twin of isa.fixedpoint.wrap; int32 in and out, unless the sums needed int64."""
    import torch

    if acc.dtype == torch.int64:
        return ((acc << (64 - bits)) >> (64 - bits)).to(torch.int32)
    return (acc << (32 - bits)) >> (32 - bits)


def requantise(
    acc: torch.Tensor, shift: int, arithmetic: Arithmetic, lost: Overflows | None = None
) -> torch.Tensor:
    """Twin of isa.fixedpoint.requantise on int32 accumulators."""
    bits = arithmetic.act_bits
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    floor = acc >> shift
    if lost is not None:
        lost.slices += int(((floor < lo) | (floor > hi)).sum())
    kept = floor if arithmetic.overflow == "saturate" else wrap(floor, bits)
    if shift and arithmetic.rounding == "half_up":
        kept = kept + ((acc >> (shift - 1)) & 1)
    return kept.clamp(lo, hi)


def add(a: torch.Tensor, b: torch.Tensor, layer: Layer, arithmetic: Arithmetic) -> torch.Tensor:
    """Twin of isa.fixedpoint.add on int32."""
    total = (a << layer.lshift_a) + (b << layer.lshift_b)
    if layer.add_shift and arithmetic.rounding == "half_up":
        total = total + (1 << (layer.add_shift - 1))
    half = 1 << (arithmetic.act_bits - 1)
    return (total >> layer.add_shift).clamp(-half, half - 1)
