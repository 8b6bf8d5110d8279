"""ONNX operators -> nodes: one handler each, in the table `ONNX_HANDLERS`.

A handler gets the builder, the names of the inputs (None where one is left out) and the attributes
by name, with ONNX's defaults, and returns the name of the node that holds the result.  Attributes
that no handler reads, and inputs that must be constant and are not, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...tables import complete
from ..activations import ACTIVATIONS
from .builder import Pads, UnsupportedError, ceil_pads
from .onnx_arithmetic import ARITHMETIC
from .onnx_builder import OnnxBuilder
from .onnx_file import Constant
from .onnx_shapes import SHAPES, axes_of

OnnxHandler = Callable[..., str]


def _pair(values: Sequence[int] | None, title: str) -> tuple[int, int]:
    values = [1, 1] if values is None else list(values)
    if len(values) != 2:
        raise UnsupportedError(f"with {len(values)} {title}, wanted 2")
    return values[0], values[1]


def _pads(
    shape: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
    auto_pad: str, pads: Sequence[int] | None, ceil_mode: int = 0,
) -> Pads:  # fmt: skip
    """(top, left, bottom, right) of `pads` or of the rule `auto_pad`."""
    if auto_pad != "NOTSET" and ceil_mode:
        raise UnsupportedError("with both auto_pad and ceil_mode, which ONNX leaves open")
    if auto_pad == "NOTSET":
        pads = [0, 0, 0, 0] if pads is None else pads
        if len(pads) != 4:
            raise UnsupportedError(f"with {len(pads)} pads, wanted 4")
        return pads[0], pads[1], pads[2], pads[3]
    if auto_pad == "VALID":
        return 0, 0, 0, 0
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedError(f"with auto_pad {auto_pad}")
    less, more = [], []
    for size, k, s, d in zip(shape[1:], kernel, stride, dilation, strict=True):
        total = (-(-size // max(s, 1)) - 1) * s + d * (k - 1) + 1 - size
        if total < -1 or d != 1:
            raise UnsupportedError(
                f"with {auto_pad}, stride {s} and dilation {d}, where implementations differ"
            )
        total = max(0, total)  # at -1 the last element is left out, all implementations agree
        less.append(total // 2)
        more.append(total - total // 2)
    before, after = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    return before[0], before[1], after[0], after[1]


def _conv(
    b: OnnxBuilder, x: Any, w: Any, bias: Any = None, *, auto_pad: str = "NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> str:  # fmt: skip
    source, weight = b.source(x), b.weight(w, "weight", 4)
    kernel, groups = weight.shape[2:], int(group)
    if kernel_shape is not None and tuple(kernel_shape) != kernel:
        raise UnsupportedError(f"with kernel_shape {kernel_shape}, its weight has {kernel}")
    c = b.map_shape(source)[0]
    if groups < 1 or c != weight.shape[1] * groups or weight.shape[0] % groups:
        raise UnsupportedError(
            f"of {c} channels in {groups} groups with a weight of shape {weight.shape}"
        )
    stride, dilation = _pair(strides, "strides"), _pair(dilations, "dilations")
    return b.emit(
        "conv2d", [source], b.name_of(w), kernel=kernel, stride=stride, dilation=dilation,
        padding=_pads(b.shape(source), kernel, stride, dilation, auto_pad, pads), groups=groups,
        params={"weight": weight, "bias": _bias(b, bias, weight.shape[0])},
    )  # fmt: skip


def _bias(b: OnnxBuilder, value: Any, size: int, factor: float = 1.0) -> Constant:
    """The bias of `size` channels; a scalar or a single number is that of all."""
    array = b.constant(value, "bias")
    if array is None:
        return np.zeros(size, np.float32)
    if array.dtype != np.float32 or array.shape not in ((), (1,), (size,), (1, 1), (1, size)):
        raise UnsupportedError(f"with a bias of shape {array.shape}, {array.dtype}")
    spread = np.broadcast_to(array.reshape(-1), (size,))
    return np.array(spread if factor == 1.0 else spread * np.float32(factor), np.float32)


def _linear(b: OnnxBuilder, x: Any, w: Any, weight: Constant, bias: Constant) -> str:
    source = b.source(x)
    if b.shape(source) != (weight.shape[1],):
        raise UnsupportedError(f"of shape {b.shape(source)} with a weight of {weight.shape}")
    return b.emit("linear", [source], b.name_of(w), params={"weight": weight, "bias": bias})


def _gemm(
    b: OnnxBuilder, x: Any, w: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0, broadcast: int = 0,
) -> str:  # fmt: skip
    if transA:
        raise UnsupportedError("with a transposed input")
    weight = b.weight(w, "weight", 2)
    weight = np.ascontiguousarray(weight if transB else weight.T)
    if alpha != 1.0:
        weight = weight * np.float32(alpha)
    return _linear(b, x, w, weight, _bias(b, c, len(weight), beta))


def _matmul(b: OnnxBuilder, x: Any, w: Any) -> str:
    weight = np.ascontiguousarray(b.weight(w, "weight", 2).T)
    return _linear(b, x, w, weight, np.zeros(len(weight), np.float32))


def _batch_norm(
    b: OnnxBuilder, x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5,
    momentum: float = 0.9, spatial: int = 1, is_test: int | None = None, training_mode: int = 0,
) -> str:  # fmt: skip
    source = b.source(x)
    if training_mode or is_test == 0 or not spatial:
        raise UnsupportedError("in training mode or not per channel")
    values = {"weight": scale, "bias": bias, "mean": mean, "var": var}
    params = {title: b.weight(value, title, 1) for title, value in values.items()}
    c = b.shape(source)[0]
    if any(p.shape != (c,) for p in params.values()) or not (params["var"] + epsilon > 0).all():
        raise UnsupportedError(f"whose parameters do not fit {c} channels")
    # ONNX stores a float32; the shortest number that rounds to it is what was written, 1e-5
    eps = float(str(np.float32(epsilon)))
    return b.emit("batch_norm", [source], b.name_of(mean), eps=eps, params=params)


def _relu(b: OnnxBuilder, x: Any) -> str:
    return b.elementwise("relu", x)


def _clip(
    b: OnnxBuilder, x: Any, lo: Any = None, hi: Any = None, *, min: float | None = None,
    max: float | None = None,
) -> str:  # fmt: skip
    low = b.number(lo if min is None else min, "minimum", float("-inf"))
    high = b.number(hi if max is None else max, "maximum", float("inf"))
    if low > high:
        raise UnsupportedError(f"with minimum {low:g} above maximum {high:g}")
    return b.elementwise("clip", x, lo=low, hi=high)


def _max_pool(
    b: OnnxBuilder, x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: Any = None, pads: Any = None, storage_order: int = 0, strides: Any = None,
) -> str:  # fmt: skip
    source = b.source(x)
    shape, kernel = b.map_shape(source), _pair(kernel_shape, "kernel sizes")
    stride, dilation = _pair(strides, "strides"), _pair(dilations, "dilations")
    spread = _pads(shape, kernel, stride, dilation, auto_pad, pads, ceil_mode)
    spread = ceil_pads(shape, kernel, stride, spread, dilation, bool(ceil_mode))
    return b.emit(
        "max_pool", [source], kernel=kernel, stride=stride, dilation=dilation, padding=spread
    )


def _avg_pool(
    b: OnnxBuilder, x: Any, *, kernel_shape: Any, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, dilations: Any = None, pads: Any = None, strides: Any = None,
) -> str:  # fmt: skip
    source = b.source(x)
    kernel, stride = _pair(kernel_shape, "kernel sizes"), _pair(strides, "strides")
    if _pair(dilations, "dilations") != (1, 1):
        raise UnsupportedError(f"with dilations {dilations}")
    spread = _pads(b.map_shape(source), kernel, stride, (1, 1), auto_pad, pads, ceil_mode)
    return b.avg_pool(
        source, kernel, stride, spread, ceil_mode=bool(ceil_mode), whole=bool(count_include_pad)
    )


def _global_average(b: OnnxBuilder, x: Any) -> str:
    return b.global_pool(b.source(x))


def _global_max(b: OnnxBuilder, x: Any) -> str:
    return b.global_pool(b.source(x), "max_pool")


def _mean(
    b: OnnxBuilder, x: Any, axes_input: Any = None, *, axes: Any = None, keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> str:  # fmt: skip
    chosen = b.integers(axes if axes is not None else axes_input, "axes") or []
    return b.mean(b.source(x), chosen, bool(keepdims))


def _concat(b: OnnxBuilder, *xs: Any, axis: int) -> str:
    return b.concat([b.source(x) for x in xs], axis)


def _pad(
    b: OnnxBuilder, x: Any, pads_input: Any = None, value_input: Any = None, axes_input: Any = None,
    *, mode: str = "constant", pads: Any = None, value: Any = None,
) -> str:  # fmt: skip
    source = b.source(x)
    rank = len(b.shape(source)) + 1
    amounts = b.integers(pads if pads is not None else pads_input, "pads") or []
    axes = axes_of(b.integers(axes_input, "axes"), rank)
    filler = b.number(value if value is not None else value_input, "value", 0.0)
    if mode != "constant" or filler != 0.0 or len(amounts) != 2 * len(axes):
        raise UnsupportedError(f"({mode}, value {filler:g}) that is not a zero padding of a map")
    before, after = [0] * 4, [0] * 4
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if not any(amounts):
        return b.emit("identity", [source])
    if rank != 4 or before[0] or after[0]:
        raise UnsupportedError(f"by {amounts} that is not a zero padding of a map")
    return b.emit(
        "pad", [source], padding=(before[2], before[3], after[2], after[3]),
        channel_padding=(before[1], after[1]),
    )  # fmt: skip


def _slice(
    b: OnnxBuilder, x: Any, starts_input: Any = None, ends_input: Any = None,
    axes_input: Any = None, steps_input: Any = None, *, starts: Any = None, ends: Any = None,
    axes: Any = None,
) -> str:  # fmt: skip
    source = b.source(x)
    shape = (b.batch, *b.shape(source))
    first = b.integers(starts if starts is not None else starts_input, "starts") or []
    last = b.integers(ends if ends is not None else ends_input, "ends") or []
    given = b.integers(axes if axes is not None else axes_input, "axes")
    steps = b.integers(steps_input, "steps") or [1] * len(first)
    along = axes_of(list(range(len(first))) if given is None else given, len(shape))
    if not len(first) == len(last) == len(along) == len(steps) or 0 in steps:
        raise UnsupportedError("with lists of different lengths or a step of 0")
    ranges = [range(size) for size in shape]
    for axis, bounds in zip(along, zip(first, last, steps, strict=True), strict=True):
        ranges[axis] = range(*slice(*bounds).indices(shape[axis]))
    if ranges[0] != range(shape[0]):
        raise UnsupportedError("along axis 0, the batch")
    if all(r == range(size) for r, size in zip(ranges, shape, strict=True)):
        return b.emit("identity", [source])
    return b.slices(source, ranges[1:])


def _identity(b: OnnxBuilder, x: Any) -> str:
    return b.elementwise("identity", x)


def _dropout(
    b: OnnxBuilder, x: Any, ratio_input: Any = None, training: Any = None, *, ratio: float = 0.5,
    seed: int = 0, is_test: int | None = None,
) -> str:  # fmt: skip
    mode = b.constant(training, "training_mode")
    if is_test == 0 or (mode is not None and mode.any()):
        raise UnsupportedError("in training mode")
    return b.elementwise("identity", x)


_ACTIVATIONS: dict[str, OnnxHandler] = {"Clip": _clip, "Relu": _relu}
complete(
    "ACTIVATIONS in compiler/activations.py",
    (operator for row in ACTIVATIONS.values() for operator in row.onnx),
    _ACTIVATIONS,
    "compiler/frontends/onnx_ops.py: _ACTIVATIONS",
)

_OTHERS: dict[str, OnnxHandler] = {
    **ARITHMETIC,
    **SHAPES,
    "AveragePool": _avg_pool,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Conv": _conv,
    "Dropout": _dropout,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "Identity": _identity,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMean": _mean,
    "Slice": _slice,
}
#: ONNX operator -> handler, in the order in which messages name them.
ONNX_HANDLERS: dict[str, OnnxHandler] = dict(sorted({**_OTHERS, **_ACTIVATIONS}.items()))
