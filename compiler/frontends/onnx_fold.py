"""Arithmetic on constants and shapes, with which exporters surround a Reshape or a weight.

Computed in NumPy by the meaning that each operator has in the file's own operator set: axes were
attributes before they were inputs, and broadcasting had to be asked for below 7.  ONNX's reference
implementation knows the newest meaning only.  The tests compare with onnxruntime, set by set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from .builder import UnsupportedError
from .onnx_file import Constant

Attributes = dict[str, Any]
Fold = Callable[[list[Any], Attributes, int], Any]  #: inputs, attributes, operator set -> value

#: Axes that an array of NumPy has at most, with room for some that are added.
_MOST_AXES = 32
#: Element types that Cast converts to.
_CASTS: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.BOOL: np.bool_,
}


def fold(op: str, inputs: list[Any], attributes: Attributes, opset: int, room: int) -> Constant:
    """The value of the operator `op` of `FOLDS` on these arrays (None: an input left out).

    attributes : numbers, lists and arrays by name.
    room : elements that the result may have. Raises UnsupportedError for what the operator does
    not allow, and for results that are larger.
    """
    try:
        sizes = _result_size(op, inputs, opset)
        if sizes > room:
            raise UnsupportedError("of large constants")
        with np.errstate(all="ignore"):
            value = FOLDS[op](inputs, attributes, opset)
    except (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnsupportedError(f"of constants that do not fit: {reason[:200]}") from error
    return np.asarray(value)


def _result_size(op: str, inputs: list[Any], opset: int) -> int:
    """Elements of the result, or more."""
    if op == "ConstantOfShape":
        return prod(max(0, int(v)) for v in _integers(inputs[0], "shape"))
    if op == "Gather":
        return int(inputs[0].size) * max(1, int(inputs[1].size))
    if op in _BINARY and opset >= 7:
        return prod(np.broadcast_shapes(inputs[0].shape, inputs[1].shape))
    return sum(int(array.size) for array in inputs if array is not None)


def _integers(array: Any, title: str) -> list[int]:
    array = np.asarray(array)
    if array.ndim > 1 or (array.size and array.dtype.kind != "i"):
        raise UnsupportedError(f"with {title} that are no list of integers")
    return [int(v) for v in array.reshape(-1)]


def _given(inputs: list[Any], attributes: Attributes, at: int, title: str) -> list[int] | None:
    """A list of integers that is an attribute in old operator sets and an input in new ones."""
    if title in attributes:
        return [int(v) for v in attributes[title]]
    found = inputs[at] if at < len(inputs) else None
    return None if found is None else _integers(found, title)


def along(axis: int, rank: int) -> int:
    """An axis as 0..rank-1."""
    if not -rank <= axis < rank:
        raise UnsupportedError(f"along axis {axis} of {rank}")
    return axis % rank


def aligned(a: Constant, b: Constant, attributes: Attributes, opset: int) -> Constant:
    """`b` with the axes that broadcasting to `a` needs, as the operator set has it.

    Below 7 the attribute `broadcast` asks for it, and `axis` says where the axes of `b` begin.
    """
    if opset >= 7:
        return b
    if not attributes.get("broadcast", 0):
        if a.shape != b.shape:
            raise UnsupportedError(f"of shapes {a.shape} and {b.shape} without broadcast")
        return b
    return b.reshape(aligned_shape(a.ndim, b.shape, attributes))


def aligned_shape(rank: int, shape: Sequence[int], attributes: Attributes) -> tuple[int, ...]:
    """`shape` with single axes behind it, so that it begins at the attribute `axis` of `rank`."""
    axis = attributes.get("axis")
    begin = rank - len(shape) if axis is None else along(int(axis), rank)
    if begin < 0 or begin + len(shape) > rank:
        raise UnsupportedError(f"with an axis {axis} for shape {tuple(shape)} of {rank}")
    return (*shape, *[1] * (rank - begin - len(shape)))


def _binary(operation: Callable[[Any, Any], Any]) -> Fold:
    def compute(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
        a, b = inputs
        if a.dtype != b.dtype or a.dtype.kind not in "if":
            raise UnsupportedError(f"of {a.dtype} and {b.dtype}")
        return operation(a, aligned(a, b, attributes, opset)).astype(a.dtype)

    return compute


def _quotient(a: Any, b: Any) -> Any:
    """Integers are divided towards zero, as in C."""
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        raise UnsupportedError("by zero")
    whole = np.floor_divide(a, b)
    return whole + ((whole < 0) & (whole * b != a))


def _cast(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    kind = _CASTS.get(attributes["to"])
    if kind is None:
        raise UnsupportedError(f"to type {attributes['to']}")
    (array,) = inputs
    whole = np.dtype(kind).kind == "i"
    if whole and array.dtype.kind == "f":
        limits = np.iinfo(kind)
        inside = (array >= limits.min) & (array.astype(np.float64) < limits.max)
        if not np.all(inside):
            raise UnsupportedError("of numbers that no integer of that type equals")
    return array.astype(kind)


def _concat(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    if len({array.dtype for array in inputs}) != 1:
        raise UnsupportedError("of several types")
    return np.concatenate(inputs, along(attributes["axis"], inputs[0].ndim))


def _constant_of_shape(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    sizes = _integers(inputs[0], "shape")
    if min(sizes, default=0) < 0 or len(sizes) > _MOST_AXES:
        raise UnsupportedError(f"of shape {tuple(sizes)}")
    value = attributes.get("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise UnsupportedError(f"with {value.size} values, wanted 1")
    return np.full(sizes, value.reshape(()))


def _gather(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array, index = inputs
    axis = along(attributes.get("axis", 0), array.ndim)
    size = array.shape[axis]
    if index.dtype.kind != "i" or not np.all((index >= -size) & (index < size)):
        raise UnsupportedError(f"of elements that an axis of {size} does not have")
    return np.take(array, index % size if size else index, axis)


def _slice(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array = inputs[0]
    starts = _given(inputs, attributes, 1, "starts") or []
    ends = _given(inputs, attributes, 2, "ends") or []
    axes = _given(inputs, attributes, 3, "axes")
    steps = _given(inputs, attributes, 4, "steps") or [1] * len(starts)
    axes = list(range(len(starts))) if axes is None else axes
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise UnsupportedError("with lists of different lengths or a step of 0")
    axes = [along(axis, array.ndim) for axis in axes]
    if len(set(axes)) < len(axes):
        raise UnsupportedError("with an axis twice")
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        index = np.arange(*slice(*bounds).indices(array.shape[axis]))
        array = np.take(array, index, axis)
    return array


def _transpose(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    order = attributes.get("perm")
    return np.ascontiguousarray(np.transpose(inputs[0], order))


def _reshape(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array = inputs[0]
    shape = _given(inputs, attributes, 1, "shape") or []
    if not attributes.get("allowzero", 0):
        if any(s == 0 and i >= array.ndim for i, s in enumerate(shape)):
            raise UnsupportedError(f"to {tuple(shape)}")
        shape = [s or array.shape[i] for i, s in enumerate(shape)]
    if len(shape) > _MOST_AXES or min(shape, default=0) < -1:
        raise UnsupportedError(f"to {tuple(shape)}")
    return array.reshape(shape)


def _squeeze(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array = inputs[0]
    axes = _given(inputs, attributes, 1, "axes")
    if axes is None:
        axes = [i for i, size in enumerate(array.shape) if size == 1]
    return np.squeeze(array, tuple(along(axis, array.ndim) for axis in axes))


def _unsqueeze(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array, axes = inputs[0], _given(inputs, attributes, 1, "axes")
    if axes is None or array.ndim + len(axes) > _MOST_AXES:
        raise UnsupportedError(f"with axes {axes}")
    return np.expand_dims(array, tuple(axes))


def _flatten(inputs: list[Any], attributes: Attributes, opset: int) -> Any:
    array, axis = inputs[0], int(attributes.get("axis", 1))
    if not -array.ndim <= axis <= array.ndim:
        raise UnsupportedError(f"at axis {axis} of {array.ndim}")
    axis += array.ndim if axis < 0 else 0
    return array.reshape(prod(array.shape[:axis]), prod(array.shape[axis:]))


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Div": _quotient,
    "Mul": np.multiply,
    "Sub": np.subtract,
}
#: Operators that only rearrange: what they yield is called like what they read.
REARRANGE = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
#: Operator -> its value where all inputs are constant.
FOLDS: dict[str, Fold] = {
    **{op: _binary(operation) for op, operation in _BINARY.items()},
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda inputs, attributes, opset: inputs[0],
    "Neg": lambda inputs, attributes, opset: np.negative(inputs[0]),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
