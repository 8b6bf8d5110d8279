"""The builder of the ONNX frontend: what the nodes of a file read, values and constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .builder import Builder, UnsupportedError
from .onnx_file import Constant, array_of
from .onnx_names import layer_path

#: Stands for a dynamic batch in shapes that the file computes: a prime that no limit lets pass.
ANY_BATCH = 2**31 - 1


class OnnxBuilder(Builder):
    """Resolves what the nodes of a file read.

    constants : value -> array, or the TensorProto that holds it; origins : value -> the name of the
    initializer that a rearranged constant comes from; node : the NodeProto that is being read.
    """

    def __init__(self, folder: Path, batch: int | None) -> None:
        super().__init__()
        self.folder = folder
        self.batch = ANY_BATCH if batch is None else batch
        self.constants: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.node: Any = None

    def source(self, value: str | None) -> str:
        """The node of an input that must be computed."""
        if value is None or value not in self.env:
            raise UnsupportedError("on a constant" if value in self.constants else "without input")
        return self.env[value]

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
