"""Whole layers at once, bit-exact: the fast path for values, with and without wrong bits.

A layer is exact sums of products (`products`) or what lies in its windows (`windows`), and then the
vector unit: one numba pass on CPUs (`fixedpoint_kernels`), torch elsewhere (`fixedpoint_torch`).
Between layers values are int8 (images, h, w, c).  Wrong bits are applied where they are and cost
nothing elsewhere.  Tests hold this equal to `reference` and to the byte-accurate machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..config import Arithmetic
from .arrays import I8, I32, I64
from .fixedpoint import REQUANTISED
from .fixedpoint_torch import Losses, flip, integers, vector_unit, wrap
from .layers import WITHOUT_WEIGHTS, Layer, Network
from .products import Products
from .upsets import Marks, Upsets
from .windows import VALUES
from .wrong_bits import (
    Recomputed,
    checked,
    faulted,
    merged,
    of_images,
    recomputed,
    with_weights,
)

if TYPE_CHECKING:
    import torch

#: (CONV layer, its input (images, h, w, c)) -> what is added to its sums: int64 of their shape.
Added = Callable[[int, I8], I64]

_BATCH = 64  # images, if their maps are small
_MAPS = 1 << 24  # numbers in the maps that a layer reads and writes, over a batch
_PAIRS = 1 << 22  # corrections of sums that torch makes at once


@dataclass
class Functional:
    """Executes a quantised network layer by layer on batches of images.

    network : what to execute. device : where torch computes; the bits are the same everywhere.
    once : prepare nothing that pays in many runs only: neither 8-bit weights nor numba's kernels.
    """

    network: Network
    device: str = "cpu"
    once: bool = False
    _products: dict[int, Products] = field(default_factory=dict)
    _recomputed: dict[int, Recomputed] = field(default_factory=dict)

    @property
    def images_at_once(self) -> int:
        """64, or as few as keep large maps to some hundred megabytes."""
        size = [t.h * t.w * t.c for t in self.network.tensors]
        widest = max(size[la.input] + size[la.output] for la in self.network.layers)
        return max(1, min(_BATCH, _MAPS // widest))

    def run(
        self,
        inputs: I8,
        batch: int | None = None,
        losses: list[Losses] | None = None,
        upsets: Upsets | None = None,
        added: Added | None = None,
    ) -> I8:
        """Output tensor (images, h, w, c) of int8 `inputs` (images, h, w, c).

        batch : images at once; default `images_at_once`.
        losses : one entry a layer, to which those of sums are added.
        upsets : wrong bits, of this one inference of all `inputs`; `inputs` stays as it is.
        added : what is added to the sums of each CONV layer.
        """
        if batch is None:
            batch = self.images_at_once
        engine = self
        if upsets is not None:
            upsets = checked(upsets, self.network, len(inputs))
            engine = self._with_weights(upsets)
        parts = []
        for i in range(0, len(inputs), batch):
            own, part = None, inputs[i : i + batch]
            if upsets is not None:
                own = of_images(upsets, self.network, i, len(part))
            for _, value in engine.layers(part, losses, own, None, added):
                last = value  # a list would keep them all
            parts.append(last)
        return np.concatenate(parts)

    def layers(
        self,
        inputs: I8,
        losses: list[Losses] | None = None,
        upsets: Upsets | None = None,
        sums: dict[int, I32] | None = None,
        added: Added | None = None,
    ) -> Iterator[tuple[int, I8]]:
        """Yield (tensor id, int8 (images, h, w, c), only to be read) after each layer, in order.

        upsets : those of stored values; wrong weights are `run`'s. sums : filled with the wrapped
        sums (images, h, w, c) of each CONV layer, before upsets of accumulators. added : as of
        `run`.
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
                residual = values[layer.residual] if layer.residual >= 0 else None
                lost = losses[i] if losses else None
                out = self.layer(i, values[layer.input], residual, lost, upsets, sums, added)
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
            self.once,
            {i: p for i, p in self._products.items() if i not in array},
        )
        for i, weight in dppu.items():
            important = upsets.important.get(i)
            if important is not None and len(important):
                engine._recomputed[i] = recomputed(engine.network, i, weight, important)
        return engine

    def layer(
        self,
        i: int,
        x: torch.Tensor,
        residual: torch.Tensor | None = None,
        losses: Losses | None = None,
        upsets: Upsets | None = None,
        kept: dict[int, I32] | None = None,
        added: Added | None = None,
    ) -> torch.Tensor:
        """What layer `i` stores of its input and residual: int8 (images, h, w, c), contiguous.

        losses, upsets, kept, added : its own of those of `layers`.
        """
        import torch

        layer, arithmetic = self.network.layers[i], self.network.arithmetic
        if layer.op in WITHOUT_WEIGHTS:
            value = VALUES[layer.op](self.network, i, x)
        else:
            value = self._sums(i, x)
            if added is not None:
                value = integers(value) + torch.from_numpy(added(i, x.cpu().numpy())).to(x.device)
            if kept is not None:
                kept[i] = wrap(integers(value), arithmetic.acc_bits).cpu().numpy()
        if losses is not None and REQUANTISED[layer.op]:
            losses.count(value, layer, arithmetic)
        wrong: tuple[Marks | None, Marks | None] = (None, None)
        if upsets is not None:
            wrong = (upsets.accumulators.get(i), upsets.before.get(i))
        unit = _finished if self._has_kernels() else vector_unit
        return unit(value, layer, arithmetic, residual, wrong)

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
            product = Products(network, i, self.device, self.once)
            own = integers(product.sums(x)).view(flat.shape)
            elements = torch.from_numpy(dppu.elements).to(sums.device)
            if own.dtype == torch.int64:  # it wraps later
                flat = flat.to(torch.int64)
            flat[:, elements] = own[:, elements].to(flat.dtype)
        elif self._has_kernels() and sums.dtype != torch.int64:
            from .fixedpoint_kernels import correct_sums

            correct_sums(flat.numpy(), values.numpy(), dppu.elements, dppu.sources, dppu.by)
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
            found = self._products[i] = Products(self.network, i, self.device, self.once)
        return found

    def _has_kernels(self) -> bool:
        return _runs_numba(self.device) and not self.once


def _finished(
    value: torch.Tensor,
    layer: Layer,
    arithmetic: Arithmetic,
    residual: torch.Tensor | None,
    wrong: tuple[Marks | None, Marks | None],
) -> torch.Tensor:
    """The vector unit in one pass; then again where bits are wrong. As `fixedpoint_torch`'s."""
    import torch

    from .fixedpoint_kernels import finish, finish_marked, finish_of

    if value.dtype in (torch.float64, torch.int64):
        value = wrap(integers(value), arithmetic.acc_bits)
    shape, constants = value.shape, finish_of(layer, arithmetic)
    flat = value.contiguous().view(-1).numpy()
    other = np.zeros(0, np.int8) if residual is None else residual.view(-1).numpy()
    out = np.empty(flat.shape, np.int8)
    finish(flat, other, out, constants)
    at, *masks = merged(*wrong)
    if len(at):
        finish_marked(flat, other, out, constants, at, *masks)
    return torch.from_numpy(out.reshape(shape))


def _runs_numba(device: str) -> bool:
    return device.partition(":")[0] == "cpu"
