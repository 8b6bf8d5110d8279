"""The activations: one row each, from which frontends, executor and lowering derive what they do.

A row says which operators of torch and ONNX mean it, what it does to floating-point numbers, and
what it becomes in integers, where every activation of today is a clamp: that of the layer before
it, or of a copy where it stands alone.  Its limits become steps of the layer's output scale when
that is chosen (`quantise.search.clamp_steps`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..tables import unique

if TYPE_CHECKING:
    from torch import Tensor

_INF = math.inf


@dataclass(frozen=True)
class Activation:
    """One activation; its parameters are fields of a graph's `Node`.

    name : of the graph's operator. parameters : names of those fields, in the order in which the
    functions below and torch's operators take them.
    torch : aten operator -> what a parameter is where the call leaves it out.
    onnx : operators, each read by a function of `frontends.onnx_ops`.
    run : (value, *parameters) -> value, in floating point, differentiable.
    clamp : (*parameters) -> (smallest, largest) real number that is left.
    """

    name: str
    parameters: tuple[str, ...]
    torch: Mapping[str, tuple[float, ...]]
    onnx: tuple[str, ...]
    run: Callable[..., Tensor]
    clamp: Callable[..., tuple[float, float]]


_ROWS = (
    Activation(
        "relu",
        (),
        torch={"relu.default": ()},
        onnx=("Relu",),
        run=lambda x: x.relu(),
        clamp=lambda: (0.0, _INF),
    ),
    Activation(
        "clip",
        ("lo", "hi"),
        torch={
            "relu6.default": (0.0, 6.0),
            "hardtanh.default": (-1.0, 1.0),
            "clamp.default": (-_INF, _INF),
            "clamp_min.default": (-_INF, _INF),
        },
        onnx=("Clip",),
        run=lambda x, lo, hi: x.clamp(lo, hi),
        clamp=lambda lo, hi: (lo, hi),
    ),
)
_TABLE = "compiler/activations.py: _ROWS"
unique(_TABLE, "name", (row.name for row in _ROWS))
unique(_TABLE, "aten operator", (operator for row in _ROWS for operator in row.torch))
unique(_TABLE, "ONNX operator", (operator for row in _ROWS for operator in row.onnx))
#: name -> row; the one list of activations.
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType({row.name: row for row in _ROWS})
