"""Exact and fast: what a fault changes, carried through the layers until it dies out.

A fault-free run is kept with its accumulators.  A change of some elements of a tensor, or of some
accumulators of a layer, is then spread over the sums that read them, and only elements that differ
are followed.  Sums wrap, so that a corrected sum equals a computed one bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..isa.layers import LAYER_FIELDS, Network
from .difference_kernels import Run, Tables, differing, propagate, reset
from .functional import Functional
from .functional_kernels import finish_of

_NONE = np.zeros(0, np.int64)


class Difference:
    """A fault-free run of one image, and the faulty one beside it."""

    def __init__(self, network: Network, image: NDArray[np.int8]) -> None:
        """image : int8 (h, w, c), the network's input."""
        self.network = network
        self.tables = tables(network)
        values = {network.input: np.ascontiguousarray(image[None])}
        sums: list[NDArray[np.int32]] = []
        engine = Functional(network)
        for tensor, value in engine.layers(values[network.input]):
            values[tensor] = value
        for index, layer in enumerate(network.layers):
            if index in network.weights:
                sums.append(engine.accumulators(index, values[layer.input])[0].ravel())
        flat = np.concatenate([values[i].ravel() for i in range(len(network.tensors))])
        size = max(t.elements for t in network.tensors)
        self.run = Run(
            values=flat,
            accs=np.concatenate(sums) if sums else np.zeros(0, np.int32),
            faulty=flat.copy(),
            where=np.zeros(len(flat), np.int32),
            count=np.zeros(len(network.tensors), np.int64),
            delta=np.zeros(size, np.int32),
            mark=np.zeros(size, np.uint8),
            marked=np.zeros(size, np.int32),
            fresh=np.zeros(max(t.c for t in network.tensors), np.int8),
        )
        self.at = 0  # layers before it have been computed
        self.same = True  # so far the two runs do not differ

    def tensor(self, tensor: int) -> NDArray[np.int8]:
        """Values of a tensor in the faulty run, int8 (h, w, c); later calls change them."""
        return self._view(self.run.faulty, tensor)

    def golden(self, tensor: int) -> NDArray[np.int8]:
        """Values of a tensor in the fault-free run, int8 (h, w, c)."""
        return self._view(self.run.values, tensor)

    def accumulators(self, index: int) -> NDArray[np.int32]:
        """Fault-free wrapped sums of CONV layer `index`: int32 (h, w, c)."""
        shape = self.network.tensors[self.network.layers[index].output]
        base = int(self.tables.acc_base[index])
        sums: NDArray[np.int32] = self.run.accs[base : base + shape.elements]
        return sums.reshape(shape.h, shape.w, shape.c)

    def changed(self, tensor: int) -> NDArray[np.int32]:
        """Flat elements of a tensor that may differ from the fault-free run."""
        base = int(self.tables.tensors[tensor, 3])
        found: NDArray[np.int32] = self.run.where[base : base + int(self.run.count[tensor])]
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

    def finish(self) -> NDArray[np.int8]:
        """Compute the rest; the network's output, int8 (h, w, c)."""
        self.advance(len(self.network.layers))
        return self.tensor(self.network.output)

    def reset(self) -> None:
        """Back to the fault-free run."""
        if not self.same:
            reset(self.tables, self.run)
        self.at, self.same = 0, True

    def _view(self, values: NDArray[np.int8], tensor: int) -> NDArray[np.int8]:
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
    weights: list[NDArray[np.int8]] = []
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
