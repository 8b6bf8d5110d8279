"""aten operators -> nodes: one handler each, in the table `TORCH_HANDLERS`.

A handler gets the builder, the exported call and the call's own arguments, and returns the name of
the node that holds the result; `UnsupportedError` says which use has no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node as FxNode

from ..activations import ACTIVATIONS, Activation
from .builder import Builder, UnsupportedError, ceil_pads

TorchHandler = Callable[..., str]


class TorchBuilder(Builder):
    """Resolves the arguments of exported calls.

    params : placeholder name -> (path in the module, tensor); share : do not copy them.
    """

    def __init__(self, params: dict[str, tuple[str, Tensor]], share: bool) -> None:
        super().__init__()
        self.params = params
        self.share = share

    def param(self, fx: Any, otherwise: np.ndarray[Any, Any] | None = None) -> Any:
        """A parameter as float32 array."""
        if fx is None:
            return otherwise
        if not isinstance(fx, FxNode) or fx.name not in self.params:
            raise UnsupportedError("with computed weights")
        array = self.params[fx.name][1].detach().to("cpu", torch.float32).numpy()
        return array if self.share else array.copy()

    def path(self, fx: Any) -> str | None:
        """The path of the module that holds a parameter (layer1.0.conv1)."""
        return self.params[fx.name][0].rpartition(".")[0] or None

    def source(self, fx: Any) -> str:
        """The node of an argument that must be a value."""
        if not isinstance(fx, FxNode) or fx.name not in self.env:
            raise UnsupportedError("on a constant or parameter")
        return self.env[fx.name]


def _pair(value: Any, default: int = 0) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    values = [int(v) for v in value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _conv2d(
    b: TorchBuilder, fx: FxNode, x: Any, weight: Any, bias: Any = None, stride: Any = 1,
    padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> str:  # fmt: skip
    w = b.param(weight)
    kernel, dilation = w.shape[2:], _pair(dilation)
    if isinstance(padding, str):
        same = padding == "same"
        total = [d * (k - 1) * same for k, d in zip(kernel, dilation, strict=True)]
        pads = (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        pads = (*_pair(padding), *_pair(padding))
    return b.emit(
        "conv2d", [b.source(x)], b.path(weight),
        kernel=tuple(kernel), stride=_pair(stride, 1), padding=pads, dilation=dilation,
        groups=groups,
        params={"weight": w, "bias": b.param(bias, np.zeros(w.shape[0], np.float32))},
    )  # fmt: skip


def _linear(b: TorchBuilder, fx: FxNode, x: Any, weight: Any, bias: Any = None) -> str:
    w = b.param(weight)
    params = {"weight": w, "bias": b.param(bias, np.zeros(w.shape[0], np.float32))}
    return b.emit("linear", [b.source(x)], b.path(weight), params=params)


def _batch_norm(
    b: TorchBuilder, fx: FxNode, x: Any, weight: Any, bias: Any, mean: Any, var: Any,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, cudnn: bool = False,
) -> str:  # fmt: skip
    if training or mean is None:
        raise UnsupportedError("in training mode")
    m, v = b.param(mean), b.param(var)
    gain, shift = b.param(weight, np.ones_like(m)), b.param(bias, np.zeros_like(m))
    params = {"weight": gain, "bias": shift, "mean": m, "var": v}
    return b.emit("batch_norm", [b.source(x)], b.path(mean), eps=eps, params=params)


def _activation(row: Activation, defaults: tuple[float, ...]) -> TorchHandler:
    """The handler of an activation whose call leaves some parameters out."""

    def read(b: TorchBuilder, fx: FxNode, x: Any, *given: Any) -> str:
        pairs = zip_longest(given, defaults)
        values = [otherwise if own is None else float(own) for own, otherwise in pairs]
        fields: dict[str, Any] = dict(zip(row.parameters, values, strict=True))
        return b.emit(row.name, [b.source(x)], **fields)

    return read


def _max_pool(
    b: TorchBuilder, fx: FxNode, x: Any, kernel: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False,
) -> str:  # fmt: skip
    source, kernel, dilation = b.source(x), _pair(kernel), _pair(dilation)
    stride, pad = _pair(stride) if stride else kernel, _pair(padding)
    pads = ceil_pads(b.map_shape(source), kernel, stride, (*pad, *pad), dilation, ceil_mode)
    return b.emit(
        "max_pool", [source], kernel=kernel, stride=stride, padding=pads, dilation=dilation
    )


def _avg_pool(
    b: TorchBuilder, fx: FxNode, x: Any, kernel: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor: int | None = None,
) -> str:  # fmt: skip
    source, kernel, pad = b.source(x), _pair(kernel), _pair(padding)
    stride, pads = _pair(stride) if stride else kernel, (*pad, *pad)
    if not divisor:
        return b.avg_pool(
            source, kernel, stride, pads, ceil_mode=ceil_mode, whole=count_include_pad
        )
    pads = ceil_pads(b.map_shape(source), kernel, stride, pads, (1, 1), ceil_mode)
    return b.emit("avg_pool", [source], kernel=kernel, stride=stride, padding=pads, divisor=divisor)


def _adaptive_avg_pool(b: TorchBuilder, fx: FxNode, x: Any, size: Any) -> str:
    source = b.source(x)
    _, h, w = b.map_shape(source)
    oh, ow = (want or have for want, have in zip(_pair(size), (h, w), strict=True))
    if h % oh or w % ow:
        raise UnsupportedError(f"from {h}x{w} to {oh}x{ow}, windows of unequal size")
    k = (h // oh, w // ow)
    return b.emit("avg_pool", [source], kernel=k, stride=k, divisor=k[0] * k[1])


def _mean(b: TorchBuilder, fx: FxNode, x: Any, dims: Any, keepdim: bool = False) -> str:
    return b.mean(b.source(x), dims, keepdim)


def _add(b: TorchBuilder, fx: FxNode, x: Any, y: Any, alpha: float = 1) -> str:
    sources = b.source(x), b.source(y)
    if alpha != 1:
        raise UnsupportedError("with a factor")
    return b.add(*sources)


def _concat(b: TorchBuilder, fx: FxNode, xs: Any, dim: int = 0) -> str:
    return b.concat([b.source(x) for x in xs], dim)


def _pad(
    b: TorchBuilder, fx: FxNode, x: Any, pads: Any, mode: Any = "constant", value: Any = 0
) -> str:
    left, right, top, bottom, front, back = [*pads, 0, 0, 0, 0, 0, 0][:6]
    source = b.source(x)
    if mode != "constant" or value or len(b.shape(source)) != 3 or any(pads[6:]) or min(pads) < 0:
        raise UnsupportedError("that is not a zero padding of a map")
    return b.emit(
        "pad", [source], padding=(top, left, bottom, right), channel_padding=(front, back)
    )


def _constant_pad(b: TorchBuilder, fx: FxNode, x: Any, pads: Any, value: Any = 0) -> str:
    return _pad(b, fx, x, pads, "constant", value)


def _slice(
    b: TorchBuilder, fx: FxNode, x: Any, dim: int = 0, begin: Any = None, end: Any = None,
    step: int = 1,
) -> str:  # fmt: skip
    source = b.source(x)
    shape = b.shape(source)
    first, stop, step = slice(begin, end, step).indices(shape[dim - 1] if dim > 0 else 1 << 62)
    if dim == 0 and first == 0 and step == 1:
        return b.emit("identity", [source])
    if dim < 1 or len(shape) != 3:
        raise UnsupportedError(f"along axis {dim} of {len(shape) + 1}")
    ranges = [range(size) for size in shape]
    ranges[dim - 1] = range(first, stop, step)
    return b.slices(source, ranges)


def _reshape(b: TorchBuilder, fx: FxNode, x: Any, *_: Any) -> str:
    return b.reshape(b.source(x), tuple(int(d) for d in fx.meta["val"].shape)[1:])


def _dropout(b: TorchBuilder, fx: FxNode, x: Any, p: float = 0.5, train: bool = False) -> str:
    if train:
        raise UnsupportedError("in training mode")
    return b.emit("identity", [b.source(x)])


def _identity(b: TorchBuilder, fx: FxNode, x: Any, *_: Any, **__: Any) -> str:
    return b.emit("identity", [b.source(x)])


#: aten operator (in-place ones without their underscore) -> handler.
TORCH_HANDLERS: dict[str, TorchHandler] = {
    "conv2d.default": _conv2d,
    "conv2d.padding": _conv2d,
    "linear.default": _linear,
    "batch_norm.default": _batch_norm,
    **{
        operator: _activation(row, defaults)
        for row in ACTIVATIONS.values()
        for operator, defaults in row.torch.items()
    },
    "max_pool2d.default": _max_pool,
    "avg_pool2d.default": _avg_pool,
    "adaptive_avg_pool2d.default": _adaptive_avg_pool,
    "mean.dim": _mean,
    "add.Tensor": _add,
    "cat.default": _concat,
    "pad.default": _pad,
    "constant_pad_nd.default": _constant_pad,
    "slice.Tensor": _slice,
    "flatten.using_ints": _reshape,
    "view.default": _reshape,
    "reshape.default": _reshape,
    "squeeze.dims": _reshape,
    "squeeze.dim": _reshape,
    "dropout.default": _dropout,
    "feature_dropout.default": _dropout,
    "contiguous.default": _identity,
    "clone.default": _identity,
    "detach.default": _identity,
    "alias.default": _identity,
}
