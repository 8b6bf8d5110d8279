"""Whole layers at once, bit-exact: the fast path for values.

Integer products run as floating-point convolutions that are exact: in float32 as long as the
largest possible sum of magnitudes of any output stays below 2**24.  A longer reduction is cut into
ranges of input channels, whose sums are added as integers (where that is impossible it is done in
float64, below 2**53).  Sums are wrapped once; wrapping is associative, so their order does not
matter.
Tests hold this equal to `isa.reference` and to `memory`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..isa.layers import Arithmetic, Layer, LayerOp, Network, window_stride
from .functional_upsets import (
    Recomputed,
    checked,
    faulted,
    flip,
    of_images,
    recomputed,
    with_weights,
)
from .upsets import Upsets

if TYPE_CHECKING:
    import torch

_EXACT_FLOAT32 = 1 << 24
_KEPT = 1 << 25  # weights of a network that are kept in floating point; of larger ones none is
_BLOCK = 1 << 22  # weights that are made floating-point at once
_BATCH = 64  # images, if their maps are small
_MAPS = 1 << 24  # numbers in the maps that a layer reads and writes, over a batch


@dataclass
class Overflows:
    """Fault-free losses of one layer: accumulator wraps and requantisations that did not fit."""

    wraps: int = 0
    slices: int = 0


@dataclass
class _Prepared:
    """A CONV layer's constants, and the ranges of input channels whose sums `dtype` can hold.

    weights : floating point, one tensor a range, if they are kept.
    """

    dtype: torch.dtype
    ranges: list[slice]
    bias: torch.Tensor
    weights: list[torch.Tensor] | None = None


@dataclass
class Functional:
    """Executes a quantised network layer by layer on batches of images.

    network : what to execute. device : where torch computes; the bits are the same everywhere.
    """

    network: Network
    device: str = "cpu"
    _prepared: dict[int, _Prepared] = field(default_factory=dict)
    _recomputed: dict[int, Recomputed] = field(default_factory=dict)

    def run(
        self,
        inputs: NDArray[np.int8],
        batch: int | None = None,
        overflows: list[Overflows] | None = None,
        upsets: Upsets | None = None,
    ) -> NDArray[np.int8]:
        """Output tensor (images, h, w, c) of int8 `inputs` (images, h, w, c).

        batch : images at once; default 64, or as few as keep large maps to some hundred megabytes.
        overflows : one entry a layer, incremented where a fault-free value does not fit.
        upsets : wrong bits, of this one inference of all `inputs`; `inputs` stays as it is.
        """
        if batch is None:
            size = [t.h * t.w * t.c for t in self.network.tensors]
            widest = max(size[la.input] + size[la.output] for la in self.network.layers)
            batch = max(1, min(_BATCH, _MAPS // widest))
        engine = self
        if upsets is not None:
            upsets = checked(upsets, self.network, len(inputs))
            engine = self._with_weights(upsets)
        parts = []
        for i in range(0, len(inputs), batch):
            own, part = None, inputs[i : i + batch]
            if upsets is not None:
                own = of_images(upsets, self.network, i, len(part))
            for _, value in engine.layers(part, overflows, own):  # a list would keep them all
                last = value
            parts.append(last)
        return np.concatenate(parts)

    def layers(
        self,
        inputs: NDArray[np.int8],
        overflows: list[Overflows] | None = None,
        upsets: Upsets | None = None,
    ) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """Yield (tensor id, int8 (images, h, w, c), only to be read) after each layer, in order."""
        import torch

        network = self.network
        last_use = {t: i for i, la in enumerate(network.layers) for t in (la.input, la.residual)}
        start = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        bits = network.arithmetic.act_bits
        if upsets is not None and upsets.input is not None:
            start = start.clone()  # it may share the caller's memory
            flip(start, upsets.input, bits)
        values = {network.input: start.permute(0, 3, 1, 2)}
        with torch.inference_mode():
            for i, layer in enumerate(network.layers):
                out = self._layer(i, layer, values, overflows[i] if overflows else None, upsets)
                if upsets is not None:
                    flip(out.permute(0, 2, 3, 1), upsets.after.get(i), bits)
                values[layer.output] = out
                for t in (layer.input, layer.residual):
                    if last_use.get(t) == i and t != network.output:
                        values.pop(t, None)
                yield layer.output, out.permute(0, 2, 3, 1).cpu().numpy()

    def accumulators(self, index: int, inputs: NDArray[np.int8]) -> NDArray[np.int32]:
        """Wrapped sums of CONV layer `index` on its inputs, both (images, h, w, c)."""
        import torch

        layer = self.network.layers[index]
        out = self.network.tensors[layer.output]
        x = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device).permute(0, 3, 1, 2)
        with torch.inference_mode():
            sums = wrap(self._conv(index, layer, x, out.h, out.w), self.network.arithmetic.acc_bits)
        found: NDArray[np.int32] = sums.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return found

    # ---- one layer, NCHW int8 -----------------------------------------------------------------

    def _with_weights(self, upsets: Upsets) -> Functional:
        """An engine whose array and DPPU read the wrong weights of `upsets`."""
        network, bits = self.network, self.network.arithmetic.weight_bits
        array, dppu = (
            {i: faulted(network.weights[i], marks, bits) for i, marks in wrong.items()}
            for wrong in (upsets.weights, upsets.dppu_weights)
        )
        engine = Functional(
            with_weights(network, array),
            self.device,
            {i: p for i, p in self._prepared.items() if i not in array},
        )
        for i, weight in dppu.items():
            important = upsets.important.get(i)
            if important is not None and len(important):
                engine._recomputed[i] = recomputed(engine.network, i, weight, important)
        return engine

    def _layer(
        self,
        i: int,
        layer: Layer,
        values: dict[int, torch.Tensor],
        lost: Overflows | None,
        upsets: Upsets | None,
    ) -> torch.Tensor:
        import torch

        arithmetic, x = self.network.arithmetic, values[layer.input]
        out = self.network.tensors[layer.output]
        if layer.op == LayerOp.CONV:
            acc = self._conv(i, layer, x, out.h, out.w)
            if i in self._recomputed:
                acc = self._recompute(i, layer, x, acc)
            if lost is not None:
                lost.wraps += int((wrap(acc, arithmetic.acc_bits) != acc).sum())
            acc = wrap(acc, arithmetic.acc_bits)
            if upsets is not None:
                flip(acc.permute(0, 2, 3, 1), upsets.accumulators.get(i), arithmetic.acc_bits)
            y = requantise(acc, layer.shift, arithmetic, lost)
            if upsets is not None:
                flip(y.permute(0, 2, 3, 1), upsets.before.get(i), arithmetic.act_bits)
            if layer.residual >= 0:
                y = add(y, values[layer.residual].to(torch.int32), layer, arithmetic)
        elif layer.op == LayerOp.ADD:
            other = values[layer.residual].to(torch.int32)
            y = add(x.to(torch.int32), other, layer, arithmetic)
        elif layer.op == LayerOp.COPY:
            y = _copy(layer, x, out.h, out.w, out.c)
        else:
            kernel = (layer.kernel_h, layer.kernel_w)
            stride = window_stride(layer, out.h, out.w)
            dilation = (layer.dilation_h, layer.dilation_w)
            if layer.op == LayerOp.MAXPOOL:
                padded = _window_input(layer, x, out.h, out.w, -(2.0**15))
                y = torch.nn.functional.max_pool2d(padded, kernel, stride, 0, dilation)
            else:
                padded = _window_input(layer, x, out.h, out.w, 0.0)
                ones = torch.ones((out.c, 1, *kernel), device=x.device)
                total = torch.nn.functional.conv2d(
                    padded, ones, None, stride, 0, dilation, groups=out.c
                )
                y = requantise(total.to(torch.int32), layer.shift, arithmetic, lost)
        return y.clamp_(layer.act_lo, layer.act_hi).to(torch.int8)

    def _conv(self, i: int, layer: Layer, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        """Exact sums (images, channels, h, w), not wrapped: int32 where they fit, else int64."""
        import torch

        p = self._prepared.get(i)
        if p is None:
            p = self._prepared[i] = self._prepare(i)
        padded = _window_input(layer, x, h, w, 0.0).to(p.dtype)
        stride, dilation = window_stride(layer, h, w), (layer.dilation_h, layer.dilation_w)
        whole = self._weight(i) if p.weights is None else None
        acc = None
        for number, channels in enumerate(p.ranges):
            part = padded if layer.groups > 1 else padded[:, channels]
            blocks: Sequence[torch.Tensor]
            if whole is None:
                assert p.weights is not None
                blocks = [p.weights[number]]
            else:
                size = _BLOCK * len(whole) // whole.numel() if layer.groups == 1 else len(whole)
                blocks = torch.split(whole[:, channels], max(1, size))
            sums = [
                torch.nn.functional.conv2d(
                    part, self._float(block, p), None, stride, 0, dilation, layer.groups
                ).to(p.bias.dtype)
                for block in blocks
            ]
            total = torch.cat(sums, 1) if len(sums) > 1 else sums[0]
            acc = total.add_(p.bias if acc is None else acc)
        assert acc is not None
        return acc

    def _recompute(self, i: int, layer: Layer, x: torch.Tensor, acc: torch.Tensor) -> torch.Tensor:
        """The sums with those of the DPPU in their places."""
        import torch

        dppu, n, (c, h, w) = self._recomputed[i], len(acc), acc.shape[1:]
        flat = acc.permute(0, 2, 3, 1).contiguous().view(n, -1)
        elements = torch.from_numpy(dppu.elements).to(acc.device)
        if dppu.weight is not None:
            engine = Functional(with_weights(self.network, {i: dppu.weight}), self.device)
            own = engine._conv(i, layer, x, h, w)
            flat[:, elements] = own.permute(0, 2, 3, 1).reshape(n, -1)[:, elements].to(flat.dtype)
        else:
            values = x.permute(0, 2, 3, 1).reshape(n, -1)
            size = max(1, _BLOCK // n)
            for first in range(0, len(elements), size):
                some = slice(first, first + size)
                source, by = (
                    torch.from_numpy(a[some]).to(acc.device) for a in (dppu.sources, dppu.by)
                )
                flat.index_add_(1, elements[some], (values[:, source] * by).to(flat.dtype))
        return flat.view(n, h, w, c).permute(0, 3, 1, 2)

    def _weight(self, i: int) -> torch.Tensor:
        """int8 (channels, in_c / groups, kernel_h, kernel_w), strided."""
        import torch

        weight = np.require(self.network.weights[i], requirements="W")  # torch warns of others
        return torch.from_numpy(weight).permute(0, 3, 1, 2)

    @cached_property
    def _keep(self) -> bool:
        return sum(weight.size for weight in self.network.weights.values()) <= _KEPT

    def _prepare(self, i: int) -> _Prepared:
        import torch

        weight, bias = self.network.weights[i], self.network.biases[i]
        magnitudes = np.stack([np.abs(w, dtype=np.int16).sum((0, 1), np.int32) for w in weight])
        ranges = _ranges(magnitudes, _EXACT_FLOAT32 // 128)
        dtype = torch.float32
        if not ranges or (len(ranges) > 1 and self.network.layers[i].groups > 1):
            ranges, dtype = [slice(None)], torch.float64
        total = int(magnitudes.sum(1, np.int64).max()) * 128
        total += int(np.abs(bias.astype(np.int64)).max())
        prepared = _Prepared(
            dtype,
            ranges,
            torch.from_numpy(np.array(bias))
            .view(1, -1, 1, 1)
            .to(self.device, torch.int32 if total < 2**31 else torch.int64),
        )
        if self._keep:
            own = self._weight(i)
            prepared.weights = [self._float(own[:, channels], prepared) for channels in ranges]
        return prepared

    def _float(self, weight: torch.Tensor, p: _Prepared) -> torch.Tensor:
        return weight.to(self.device, p.dtype)  # strides stay: channels last is what runs fastest


def _ranges(magnitudes: NDArray[np.int32], limit: int) -> list[slice]:
    """Cut (outputs, inputs) into ranges of inputs that sum to less than `limit` for every output.

    Empty where one input alone is too large.
    """
    if magnitudes.max() >= limit:
        return []
    cuts, held = [0], np.zeros(len(magnitudes), np.int32)
    for channel, column in enumerate(magnitudes.T):
        held = held + column
        if held.max() >= limit:
            cuts.append(channel)
            held = column
    return [slice(first, last) for first, last in pairwise([*cuts, magnitudes.shape[1]])]


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
        return (acc << (64 - bits)).bitwise_right_shift_(64 - bits).to(torch.int32)
    return (acc << (32 - bits)).bitwise_right_shift_(32 - bits)


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
        kept += (acc >> (shift - 1)).bitwise_and_(1)
    return kept.clamp_(lo, hi)


def add(a: torch.Tensor, b: torch.Tensor, layer: Layer, arithmetic: Arithmetic) -> torch.Tensor:
    """Twin of isa.fixedpoint.add on int32."""
    total = (a << layer.lshift_a) + (b << layer.lshift_b)
    if layer.add_shift and arithmetic.rounding == "half_up":
        total = total + (1 << (layer.add_shift - 1))
    half = 1 << (arithmetic.act_bits - 1)
    return (total >> layer.add_shift).clamp(-half, half - 1)
