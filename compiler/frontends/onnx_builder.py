"""The builder of the ONNX frontend: what the nodes of a file read, values and constants."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import Shape
from .builder import Builder, UnsupportedError
from .onnx_file import Constant, array_of
from .onnx_names import layer_path

#: Stands for a dynamic batch in shapes that the file computes: a prime that no limit lets pass.
ANY_BATCH = 2**31 - 1


#: Most elements that all constants of a file are computed to: 256 MiB of float32.
MOST_FOLDED = 1 << 26


def shown(shape: Sequence[int]) -> str:
    """A shape for people, with n for a dynamic batch."""
    sizes = ("n" if size == ANY_BATCH else str(size) for size in shape)
    return f"({', '.join(sizes)}{',' if len(shape) == 1 else ''})"


class OnnxBuilder(Builder):
    """Resolves what the nodes of a file read.

    constants : value -> array, or the TensorProto that holds it; origins : value -> the name of the
    initializer that a rearranged constant comes from; node : the NodeProto that is being read.
    views : value -> its shape for one image, where it holds the elements of its node in their
    order, but has axes of its own: (c, 1) between two Squeezes.  room : elements that constants
    may still be computed to.  softmax : the value of the Softmax that ends the network.
    """

    def __init__(self, folder: Path, batch: int | None, opset: int) -> None:
        super().__init__()
        self.folder = folder
        self.batch = ANY_BATCH if batch is None else batch
        self.opset = opset
        self.constants: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.node: Any = None
        self.views: dict[str, Shape] = {}
        self.room = MOST_FOLDED
        self.softmax: str | None = None

    def source(self, value: str | None) -> str:
        """The node of an input that must be computed, and have the shape of its node."""
        name, shape = self.viewed(value)
        if shape != self.shape(name):
            raise UnsupportedError(f"of shape {shown((self.batch, *shape))}")
        return name

    def viewed(self, value: str | None) -> tuple[str, Shape]:
        """The node of an input that must be computed, and its shape there for one image."""
        if value is None or value not in self.env:
            raise UnsupportedError("on a constant" if value in self.constants else "without input")
        name = self.env[value]
        return name, self.views.get(value, self.shape(name))

    def view(self, name: str, shape: Shape) -> str:
        """The result of the node that is being read: the elements of `name` in another shape.

        A node of that shape where there is one; else what reads it must bring it to one.
        """
        own = self.nodes[name]
        if shape == own.shape:
            return self.emit("identity", [name])
        if own.op == "flatten" and shape == self.shape(own.inputs[0]):
            return self.emit("identity", own.inputs)
        if shape == (prod(own.shape),):
            return self.emit("flatten", [name])
        self.views[self.node.output[0]] = shape
        return name

    def elementwise(self, op: str, value: str | None, **fields: Any) -> str:
        """The result of an operation for which axes mean nothing."""
        name, shape = self.viewed(value)
        if shape != self.shape(name):
            self.views[self.node.output[0]] = shape
        return self.emit(op, [name], **fields)

    def constant(self, value: str | None, title: str) -> Constant | None:
        """The array of an input that must be constant; None where it is left out."""
        if value is None:
            return None
        if value not in self.constants:
            raise UnsupportedError(f"with a computed {title}")
        held = self.constants[value]
        return held if isinstance(held, np.ndarray) else array_of(held, self.folder)

    def weight(self, value: str | None, title: str, rank: int) -> Constant:
        """A float32 constant with `rank` axes, none of them empty."""
        array = self.constant(value, title)
        if array is None or array.dtype != np.float32:
            raise UnsupportedError(f"without a float32 {title}")
        if array.ndim != rank or 0 in array.shape:
            raise UnsupportedError(f"with a {title} of shape {array.shape}")
        return array

    def integers(self, value: Any, title: str) -> list[int] | None:
        """A list of integers that is an attribute or a constant input; None if left out."""
        array = np.asarray(value) if isinstance(value, list) else self.constant(value, title)
        if array is None:
            return None
        if array.ndim > 1 or (array.size and array.dtype.kind != "i"):
            raise UnsupportedError(f"with {title} that are no list of integers")
        return [int(v) for v in array.reshape(-1)]

    def number(self, value: Any, title: str, otherwise: float) -> float:
        """A number that is an attribute or a constant input."""
        array = np.asarray(value) if isinstance(value, float) else self.constant(value, title)
        if array is None:
            return otherwise
        if array.size != 1 or array.dtype.kind != "f" or np.isnan(array).any():
            raise UnsupportedError(f"with a {title} that is no number")
        return float(array.reshape(()))

    def name_of(self, value: str | None) -> str | None:
        """What the layer with this weight is called; None if neither it nor its node says so."""
        return layer_path(self.origins.get(value or "", value or ""), self.node.name)
