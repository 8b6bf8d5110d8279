"""Whole layers at once, bit-exact: the fast path for values, with and without wrong bits.

A layer is an exact sum of products (`products`), then requantisation, residual and clamp: one numba
pass on CPUs (`functional_kernels`), torch elsewhere (`functional_steps`).  Between layers values
are int8 (images, h, w, c).  Wrong bits are applied where they are and cost nothing elsewhere.
Tests hold this equal to `network.reference` and to `memory`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .finish_kernels import (
    correct,
    finish,
    finish_marked,
    finish_of,
)
from .layers import Layer, LayerOp, Network
from .products import Products
from .steps import (
    Overflows,
    add,
    copy,
    integers,
    pool,
    requantise,
    wrap,
)
from .upsets import Upsets
from .wrong_bits import (
    Recomputed,
    checked,
    faulted,
    flip,
    merged,
    of_images,
    recomputed,
    with_weights,
)

if TYPE_CHECKING:
    import torch

_BATCH = 64  # images, if their maps are small
_MAPS = 1 << 24  # numbers in the maps that a layer reads and writes, over a batch
_PAIRS = 1 << 22  # corrections of sums that torch makes at once


@dataclass
class Functional:
    """Executes a quantised network layer by layer on batches of images.

    network : what to execute. device : where torch computes; the bits are the same everywhere.
    """

    network: Network
    device: str = "cpu"
    _products: dict[int, Products] = field(default_factory=dict)
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
        sums: dict[int, NDArray[np.int32]] | None = None,
    ) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """Yield (tensor id, int8 (images, h, w, c), only to be read) after each layer, in order.

        upsets : those of stored values; wrong weights are `run`'s. sums : filled with the wrapped
        sums (images, h, w, c) of each CONV layer, before upsets of accumulators.
        """
        import torch

        network = self.network
        last_use = {t: i for i, la in enumerate(network.layers) for t in (la.input, la.residual)}
        start = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        bits = network.arithmetic.act_bits
        if upsets is not None and upsets.input is not None:
            start = start.clone()  # it may share the caller's memory
            flip(start, upsets.input, bits)
        values = {network.input: start}
        with torch.inference_mode():
            for i, layer in enumerate(network.layers):
                lost = overflows[i] if overflows else None
                out = self._layer(i, layer, values, lost, upsets, sums)
                if upsets is not None:
                    flip(out, upsets.after.get(i), bits)
                values[layer.output] = out
                for t in (layer.input, layer.residual):
                    if last_use.get(t) == i and t != network.output:
                        values.pop(t, None)
                yield layer.output, out.cpu().numpy()

    def _with_weights(self, upsets: Upsets) -> Functional:
        """An engine whose array and DPPU read the wrong weights of `upsets`."""
        network, bits = self.network, self.network.arithmetic.weight_bits
        array, dppu = (
            {i: faulted(network.weights[i], marks, bits) for i, marks in wrong.items()}
            for wrong in (upsets.weights, upsets.dppu_weights)
        )
        for i in set(network.weights) - set(array):
            self._product(i)  # kept here, for the next run
        engine = Functional(
            with_weights(network, array),
            self.device,
            {i: p for i, p in self._products.items() if i not in array},
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
        kept: dict[int, NDArray[np.int32]] | None = None,
    ) -> torch.Tensor:
        """int8 (images, h, w, c), contiguous, as it is stored."""
        import torch

        arithmetic, x = self.network.arithmetic, values[layer.input]
        out = self.network.tensors[layer.output]
        residual = values[layer.residual] if layer.residual >= 0 else None
        if layer.op == LayerOp.CONV:
            sums = self._sums(i, x)
            if kept is not None:
                kept[i] = wrap(integers(sums), arithmetic.acc_bits).cpu().numpy()
            if lost is None and _has_kernels(self.device):
                return self._finish(i, layer, sums, residual, upsets)
            acc = integers(sums)
            wrapped = wrap(acc, arithmetic.acc_bits)
            if lost is not None:
                lost.wraps += int((wrapped != acc).sum())
            if upsets is not None:
                flip(wrapped, upsets.accumulators.get(i), arithmetic.acc_bits)
            y = requantise(wrapped, layer.shift, arithmetic, lost)
            if upsets is not None:
                flip(y, upsets.before.get(i), arithmetic.act_bits)
        elif layer.op == LayerOp.ADD:
            y = x.to(torch.int32)
        elif layer.op == LayerOp.COPY:
            y = copy(layer, x, out)
        else:
            y = pool(layer, x, out, arithmetic, lost)
        if residual is not None:
            y = add(y, residual.to(torch.int32), layer, arithmetic)
        return y.clamp_(layer.act_lo, layer.act_hi).to(torch.int8).contiguous()

    def _finish(
        self,
        i: int,
        layer: Layer,
        sums: torch.Tensor,
        residual: torch.Tensor | None,
        upsets: Upsets | None,
    ) -> torch.Tensor:
        """Requantisation, residual and clamp in one pass; then again where bits are wrong."""
        import torch

        arithmetic = self.network.arithmetic
        if sums.dtype in (torch.float64, torch.int64):
            sums = wrap(integers(sums), arithmetic.acc_bits)
        flat, constants = sums.view(-1).numpy(), finish_of(layer, arithmetic)
        other = np.zeros(0, np.int8) if residual is None else residual.view(-1).numpy()
        out = np.empty(flat.shape, np.int8)
        finish(flat, other, out, constants)
        if upsets is not None:
            marks = merged(upsets.accumulators.get(i), upsets.before.get(i))
            if len(marks[0]):
                unused = 32 - arithmetic.act_bits
                finish_marked(flat, other, out, constants, unused, *marks)
        return torch.from_numpy(out.reshape(sums.shape))

    def _sums(self, i: int, x: torch.Tensor) -> torch.Tensor:
        """Sums of CONV layer `i`, not wrapped (see `Products.sums`); the DPPU's in their places."""
        import torch

        product = self._product(i)
        sums, dppu = product.sums(x), self._recomputed.get(i)
        if dppu is None:
            return sums
        if not product.short:
            sums = integers(sums)
        flat, values = sums.view(len(sums), -1), x.reshape(len(x), -1)
        if dppu.weight is not None:
            network = with_weights(self.network, {i: dppu.weight})
            own = integers(Products(network, i, self.device).sums(x)).view(flat.shape)
            elements = torch.from_numpy(dppu.elements).to(sums.device)
            if own.dtype == torch.int64:  # it wraps later
                flat = flat.to(torch.int64)
            flat[:, elements] = own[:, elements].to(flat.dtype)
        elif _has_kernels(self.device) and sums.dtype != torch.int64:
            correct(flat.numpy(), values.numpy(), dppu.elements, dppu.sources, dppu.by)
        else:
            size = max(1, _PAIRS // len(x))
            for first in range(0, len(dppu.elements), size):
                elements, sources, by = (
                    torch.from_numpy(a[first : first + size]).to(sums.device)
                    for a in (dppu.elements, dppu.sources, dppu.by)
                )
                flat.index_add_(1, elements, (values[:, sources] * by).to(flat.dtype))
        return flat.view(sums.shape)

    def _product(self, i: int) -> Products:
        found = self._products.get(i)
        if found is None:
            found = self._products[i] = Products(self.network, i, self.device)
        return found


def _has_kernels(device: str) -> bool:
    return device.partition(":")[0] == "cpu"
