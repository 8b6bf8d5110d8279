"""ONNX arithmetic: the sum of two values, and a value with a constant for each channel.

The latter is a batch norm that scales and shifts, which passes fold into the layer before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .builder import UnsupportedError
from .onnx_builder import OnnxBuilder, shown
from .onnx_file import Constant
from .onnx_fold import aligned_shape

#: (gain, shift) of value * gain + shift.
Affine = tuple[Constant, Constant]


def _channels(b: OnnxBuilder, value: str, constant: str, attributes: dict[str, Any]) -> Constant:
    """The float32 constant that `value` is combined with, spread to one number a channel."""
    name, shape = b.viewed(value)
    array = b.constant(constant, "operand")
    if array is None:
        raise UnsupportedError("without one of its operands")
    sizes: tuple[int, ...] = array.shape
    if b.opset < 7 and attributes.get("broadcast", 0):
        sizes = aligned_shape(len(shape) + 1, sizes, attributes)
    padded = (1,) * (len(shape) + 1 - len(sizes)) + sizes
    asked = b.opset >= 7 or attributes.get("broadcast", 0)
    fits = len(padded) == len(shape) + 1 and padded[:1] == (1,) and padded[1] in (1, shape[0])
    if array.dtype != np.float32 or not asked or not fits or set(padded[2:]) - {1}:
        raise UnsupportedError(
            f"of a constant of shape {array.shape}, which is not one per channel of "
            f"{shown((b.batch, *shape))}"
        )
    if shape[:1] != b.shape(name)[:1]:
        raise UnsupportedError(f"of shape {shown((b.batch, *shape))}")
    return np.array(np.broadcast_to(array.reshape(-1), (shape[0],)))


def _arithmetic(
    affine: tuple[Callable[[Constant], Affine], Callable[[Constant], Affine]],
    computed: Callable[[OnnxBuilder, str, str], str],
    b: OnnxBuilder,
    x: str,
    y: str,
    **attributes: Any,
) -> str:
    """affine : of a constant on the right, on the left; computed : what becomes of two values."""
    if x in b.env and y in b.env:
        if attributes.get("broadcast", 0):
            raise UnsupportedError("with an axis to broadcast along")
        return computed(b, x, y)
    if x in b.env:
        value, k = x, _channels(b, x, y, attributes)
        gain, shift = affine[0](k)
    else:
        b.viewed(y)
        if b.opset < 7 and attributes.get("broadcast", 0):
            raise UnsupportedError("with a constant that is the larger one")
        value, k = y, _channels(b, y, x, attributes)
        gain, shift = affine[1](k)
    if not (np.isfinite(gain).all() and np.isfinite(shift).all()):
        raise UnsupportedError("of a constant that is 0, or not finite")
    one, zero = np.ones_like(k), np.zeros_like(k)
    params = {"weight": gain, "bias": shift, "mean": zero, "var": one}
    title = "bias" if (gain == 1).all() else "scale"
    return b.elementwise("batch_norm", value, name=title, params=params)


def _added(b: OnnxBuilder, x: str, y: str) -> str:
    if b.viewed(x)[1] != b.viewed(y)[1]:
        return b.add(b.source(x), b.source(y))  # which says why not
    if b.shape(b.env[x]) == b.shape(b.env[y]):
        if x in b.views:
            b.views[b.node.output[0]] = b.views[x]
        return b.add(b.env[x], b.env[y])
    return b.add(b.source(x), b.source(y))


def _refused(b: OnnxBuilder, x: str, y: str) -> str:
    raise UnsupportedError("of two computed values")


def _plus(k: Constant) -> Affine:
    return np.ones_like(k), k


def _times(k: Constant) -> Affine:
    return k, np.zeros_like(k)


def _over(k: Constant) -> Affine:
    with np.errstate(divide="ignore"):
        return (1 / k.astype(np.float64)).astype(np.float32), np.zeros_like(k)


def _no_quotient(k: Constant) -> Affine:
    raise UnsupportedError("by a computed value")


#: Operator -> handler.
ARITHMETIC: dict[str, Callable[..., str]] = {
    "Add": partial(_arithmetic, (_plus, _plus), _added),
    "Div": partial(_arithmetic, (_over, _no_quotient), _refused),
    "Mul": partial(_arithmetic, (_times, _times), _refused),
    "Sub": partial(
        _arithmetic, (lambda k: (np.ones_like(k), -k), lambda k: (-np.ones_like(k), k)), _refused
    ),
}
