"""Exact and fast: what a fault changes, carried through the layers until it dies out.

A fault-free run is kept with its accumulators.  A change of some elements of a tensor, or of some
accumulators of a layer, is then spread over the sums that read them, and only elements that differ
are followed.  Sums wrap, so that a corrected sum equals a computed one bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import I8, I32
from .difference_kernels import (
    Run,
    Tables,
    differing,
    propagate,
    reset,
)
from .fixedpoint_kernels import finish_of
from .functional import Functional
from .layers import LAYER_FIELDS, Network

_NONE = np.zeros(0, np.int64)
_BATCH = 16  # fault-free runs at once: four times as fast as one by one, if maps are small
_BATCH_VALUES = 1 << 24  # in all of their tensors


class Golden(NamedTuple):
    """The fault-free run of one image."""

    values: I8  #: all tensors, one after the other
    accs: I32  #: wrapped accumulators of all CONV layers

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.values.nbytes + self.accs.nbytes


class Difference:
    """A fault-free run of one image, and the faulty one beside it.

    What depends on the network alone is made once; `use` goes on to another image.
    """

    def __init__(self, network: Network, image: I8) -> None:
        """image : int8 (h, w, c), the network's input."""
        self.network = network
        self.tables = tables(network)
        self._engine = Functional(network)
        size = max(t.elements for t in network.tensors)
        values = sum(t.elements for t in network.tensors)
        (golden,) = self.fault_free(image[None])
        self.run = Run(
            *golden,
            faulty=golden.values.copy(),
            where=np.zeros(values, np.int32),
            count=np.zeros(len(network.tensors), np.int64),
            delta=np.zeros(size, np.int32),
            mark=np.zeros(size, np.uint8),
            marked=np.zeros(size, np.int32),
            fresh=np.zeros(max(t.c for t in network.tensors), np.int8),
        )
        self.at = 0  # layers before it have been computed
        self.same = True  # so far the two runs do not differ

    def fault_free(self, images: I8) -> Iterator[Golden]:
        """The fault-free run of each of `images`, int8 (n, h, w, c), in order."""
        network = self.network
        values = sum(t.elements for t in network.tensors)
        batch = max(1, min(_BATCH, _BATCH_VALUES // values))
        for first in range(0, len(images), batch):
            part = images[first : first + batch]
            sums: dict[int, I32] = {}
            tensors = {network.input: part, **dict(self._engine.layers(part, sums=sums))}
            maps = [tensors[i] for i in range(len(network.tensors))]
            accs = [sums[i] for i in sorted(sums)] or [np.zeros((len(part), 0), np.int32)]
            for i in range(len(part)):
                yield Golden(*(np.concatenate([x[i].ravel() for x in xs]) for xs in (maps, accs)))

    def use(self, golden: Golden) -> None:
        """Begin a run of another image; `golden` is one of `fault_free`."""
        self.reset()
        self.run.faulty[:] = golden.values
        self.run = self.run._replace(values=golden.values, accs=golden.accs)

    def tensor(self, tensor: int) -> I8:
        """Values of a tensor in the faulty run, int8 (h, w, c); later calls change them."""
        return self._view(self.run.faulty, tensor)

    def golden(self, tensor: int) -> I8:
        """Values of a tensor in the fault-free run, int8 (h, w, c)."""
        return self._view(self.run.values, tensor)

    def accumulators(self, index: int) -> I32:
        """Fault-free wrapped sums of CONV layer `index`: int32 (h, w, c)."""
        shape = self.network.tensors[self.network.layers[index].output]
        base = int(self.tables.acc_base[index])
        sums: I32 = self.run.accs[base : base + shape.elements]
        return sums.reshape(shape.h, shape.w, shape.c)

    def changed(self, tensor: int) -> I32:
        """Flat elements of a tensor that may differ from the fault-free run."""
        base = int(self.tables.tensors[tensor, 3])
        found: I32 = self.run.where[base : base + int(self.run.count[tensor])]
        return found

    def differing(self) -> dict[int, int]:
        """Tensor -> elements that differ from the fault-free run, where there are any."""
        if self.same:
            return {}
        counts = differing(self.tables, self.run)
        return {int(tensor): int(counts[tensor]) for tensor in np.flatnonzero(counts)}

    def set(self, tensor: int, elements: ArrayLike, values: ArrayLike) -> None:
        """Change stored elements (flat numbers) of a tensor whose layer has been computed."""
        base, self.same = int(self.tables.tensors[tensor, 3]), False
        for at, value in zip(np.ravel(elements).tolist(), np.ravel(values).tolist(), strict=True):
            if value != self.run.faulty[base + at]:
                self.run.faulty[base + at] = value
                if at not in self.changed(tensor):
                    self.run.where[base + self.run.count[tensor]] = at
                    self.run.count[tensor] += 1

    def advance(self, last: int, at: ArrayLike = _NONE, by: ArrayLike = _NONE) -> None:
        """Compute the layers up to `last` (not included).

        at, by : accumulators of the first of them (flat numbers, each once) and what faults add.
        """
        at, by = np.asarray(at, np.int64).ravel(), np.asarray(by, np.int64).ravel()
        if len(at) or not self.same:
            self.same = False
            propagate(self.at, last, self.tables, self.run, at, by)
            self.same = not self.run.count.any()
        self.at = last

    def finish(self) -> I8:
        """Compute the rest; the network's output, int8 (h, w, c)."""
        self.advance(len(self.network.layers))
        return self.tensor(self.network.output)

    def reset(self) -> None:
        """Back to the fault-free run."""
        if not self.same:
            reset(self.tables, self.run)
        self.at, self.same = 0, True

    def _view(self, values: I8, tensor: int) -> I8:
        shape = self.network.tensors[tensor]
        base = int(self.tables.tensors[tensor, 3])
        return values[base : base + shape.elements].reshape(shape.h, shape.w, shape.c)


def tables(network: Network) -> Tables:
    """The network as the kernels read it."""
    layers = [[int(getattr(la, f)) for f in LAYER_FIELDS] for la in network.layers]
    sizes = [t.elements for t in network.tensors]
    bases = np.cumsum([0, *sizes])[:-1]
    tensors = [[t.h, t.w, t.c, int(b)] for t, b in zip(network.tensors, bases, strict=True)]
    acc_base, weight_base, accs, count = [], [], 0, 0
    weights: list[I8] = []
    for index, layer in enumerate(network.layers):
        acc_base.append(accs)
        weight_base.append(count)
        if index in network.weights:
            own = network.weights[index]
            out, kh, kw, per_in = own.shape
            # (groups, out / groups, kh, kw, in / groups) -> (kh, in, kw reversed, out / groups)
            split = own.reshape(layer.groups, out // layer.groups, kh, kw, per_in)
            weights.append(split[:, :, :, ::-1].transpose(2, 0, 4, 3, 1).ravel())
            accs += network.tensors[layer.output].elements
            count += own.size
    finish = [list(finish_of(layer, network.arithmetic)) for layer in network.layers]
    return Tables(
        np.array(layers, np.int64),
        np.array(tensors, np.int64),
        np.array(acc_base, np.int64),
        np.array(weight_base, np.int64),
        np.concatenate(weights) if weights else np.zeros(0, np.int8),
        np.array(finish, np.int32),
    )
