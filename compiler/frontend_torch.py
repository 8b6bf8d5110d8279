"""torch.nn.Module -> float graph, through torch.export.

`torch.export.export` gives a flat list of aten calls; this module reads that list.  One handler
per aten operator, in the table `HANDLERS`; what is not in the table is reported, all at once.  The
graph is then run against the module on noise, so a misread operator cannot pass in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from ..errors import ModelError
from .execute import run
from .graph import Graph, Node, Shape, infer_shape, rebuild, unsupported

#: Operators whose result shares memory with their operand.
_VIEWS = ("view", "reshape", "flatten", "slice", "squeeze", "contiguous", "detach", "alias")


class _UnsupportedError(Exception):
    """This use of an operator has no counterpart in the graph; the text says which use."""


def _pair(value: Any, default: int = 0) -> tuple[int, int]:
    if value is None or value == []:
        return default, default
    if isinstance(value, int):
        return value, value
    values = [int(v) for v in value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


class _Builder:
    """Collects nodes while the exported calls are read; `env`: exported node -> graph node."""

    def __init__(self, params: dict[str, tuple[str, Tensor]], share: bool) -> None:
        self.nodes: dict[str, Node] = {}
        self.env: dict[str, str] = {}
        self.params = params  # placeholder name -> (path in the module, tensor)
        self.share = share

    def shape(self, name: str) -> Shape:
        return self.nodes[name].shape

    def param(self, fx: Any, otherwise: np.ndarray[Any, Any] | None = None) -> Any:
        if fx is None:
            return otherwise
        if not isinstance(fx, FxNode) or fx.name not in self.params:
            raise _UnsupportedError("with computed weights")
        array = self.params[fx.name][1].detach().to("cpu", torch.float32).numpy()
        return array if self.share else array.copy()

    def layer_name(self, fx: Any) -> str:
        """The module's path (layer1.0.conv1), numbered from the second use on."""
        path = self.params[fx.name][0].rpartition(".")[0] or fx.name
        name, count = path, 1
        while name in self.nodes:
            count += 1
            name = f"{path}_{count}"
        return name

    def source(self, fx: Any) -> str:
        if not isinstance(fx, FxNode) or fx.name not in self.env:
            raise _UnsupportedError("on a constant or parameter")
        return self.env[fx.name]

    def emit(self, name: str, op: str, inputs: Iterable[str], **fields: Any) -> str:
        sources = tuple(inputs)
        node = Node(name, op, sources, fields.pop("shape", ()), **fields)
        node = replace(node, shape=infer_shape(node, [self.shape(s) for s in sources]))
        self.nodes[name] = node
        return name


Handler = Callable[..., str]


def _conv2d(
    b: _Builder, fx: FxNode, x: Any, weight: Any, bias: Any = None, stride: Any = 1,
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
        b.layer_name(weight), "conv2d", [b.source(x)],
        kernel=tuple(kernel), stride=_pair(stride, 1), padding=pads, dilation=dilation,
        groups=groups,
        params={"weight": w, "bias": b.param(bias, np.zeros(w.shape[0], np.float32))},
    )  # fmt: skip


def _linear(b: _Builder, fx: FxNode, x: Any, weight: Any, bias: Any = None) -> str:
    w = b.param(weight)
    params = {"weight": w, "bias": b.param(bias, np.zeros(w.shape[0], np.float32))}
    return b.emit(b.layer_name(weight), "linear", [b.source(x)], params=params)


def _batch_norm(
    b: _Builder, fx: FxNode, x: Any, weight: Any, bias: Any, mean: Any, var: Any,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, cudnn: bool = False,
) -> str:  # fmt: skip
    if training or mean is None:
        raise _UnsupportedError("in training mode")
    m, v = b.param(mean), b.param(var)
    gain, shift = b.param(weight, np.ones_like(m)), b.param(bias, np.zeros_like(m))
    params = {"weight": gain, "bias": shift, "mean": m, "var": v}
    return b.emit(b.layer_name(mean), "batch_norm", [b.source(x)], eps=eps, params=params)


def _clip(b: _Builder, fx: FxNode, x: Any, lo: Any = None, hi: Any = None) -> str:
    low = float("-inf") if lo is None else float(lo)
    high = float("inf") if hi is None else float(hi)
    return b.emit(fx.name, "clip", [b.source(x)], lo=low, hi=high)


def _pool_pads(
    shape: Shape, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil_mode: bool
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right); ceil_mode adds what the last window needs, as torch counts it."""
    after = list(pad)
    for axis in range(2):
        size, k, s, p, d = shape[axis + 1], kernel[axis], stride[axis], pad[axis], dilation[axis]
        if ceil_mode:
            count = -(-(size + 2 * p - d * (k - 1) - 1) // s) + 1
            if (count - 1) * s >= size + p:
                count -= 1
            after[axis] = max(p, (count - 1) * s + d * (k - 1) + 1 - size - p)
    return (pad[0], pad[1], after[0], after[1])


def _max_pool(
    b: _Builder, fx: FxNode, x: Any, kernel: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False,
) -> str:  # fmt: skip
    source, kernel, dilation = b.source(x), _pair(kernel), _pair(dilation)
    stride = _pair(stride) if stride else kernel
    pads = _pool_pads(b.shape(source), kernel, stride, _pair(padding), dilation, ceil_mode)
    return b.emit(
        fx.name, "max_pool", [source], kernel=kernel, stride=stride, padding=pads, dilation=dilation
    )


def _avg_pool(
    b: _Builder, fx: FxNode, x: Any, kernel: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor: int | None = None,
) -> str:  # fmt: skip
    source, kernel, pad = b.source(x), _pair(kernel), _pair(padding)
    stride = _pair(stride) if stride else kernel
    pads = _pool_pads(b.shape(source), kernel, stride, pad, (1, 1), ceil_mode)
    if not divisor and (pads != (*pad, *pad) or (any(pad) and not count_include_pad)):
        raise _UnsupportedError(
            "with a divisor that differs at the edge (ceil_mode, count_include_pad)"
        )
    divisor = divisor or kernel[0] * kernel[1]
    return b.emit(
        fx.name, "avg_pool", [source], kernel=kernel, stride=stride, padding=pads, divisor=divisor
    )


def _whole_average(b: _Builder, name: str, source: str, vector: bool) -> str:
    _, h, w = b.shape(source)
    pooled = f"{name}.map" if vector else name
    b.emit(pooled, "avg_pool", [source], kernel=(h, w), stride=(h, w), divisor=h * w)
    return b.emit(name, "flatten", [pooled]) if vector else name


def _adaptive_avg_pool(b: _Builder, fx: FxNode, x: Any, size: Any) -> str:
    source = b.source(x)
    _, h, w = b.shape(source)
    oh, ow = (want or have for want, have in zip(_pair(size), (h, w), strict=True))
    if h % oh or w % ow:
        raise _UnsupportedError(f"from {h}x{w} to {oh}x{ow}, windows of unequal size")
    k = (h // oh, w // ow)
    if k == (1, 1):
        return b.emit(fx.name, "identity", [source])
    return b.emit(fx.name, "avg_pool", [source], kernel=k, stride=k, divisor=k[0] * k[1])


def _mean(b: _Builder, fx: FxNode, x: Any, dims: Any, keepdim: bool = False) -> str:
    source = b.source(x)
    if len(b.shape(source)) != 3 or sorted(d % 4 for d in dims) != [2, 3]:
        raise _UnsupportedError(f"over axes {dims}")
    return _whole_average(b, fx.name, source, vector=not keepdim)


def _add(b: _Builder, fx: FxNode, x: Any, y: Any, alpha: float = 1) -> str:
    sources = [b.source(x), b.source(y)]
    if alpha != 1 or b.shape(sources[0]) != b.shape(sources[1]):
        raise _UnsupportedError("with a factor or with broadcasting")
    return b.emit(fx.name, "add", sources)


def _concat(b: _Builder, fx: FxNode, xs: Any, dim: int = 0) -> str:
    sources = [b.source(x) for x in xs]
    if dim % (len(b.shape(sources[0])) + 1) != 1:
        raise _UnsupportedError(f"along axis {dim}")
    return b.emit(fx.name, "concat", sources)


def _pad(b: _Builder, fx: FxNode, x: Any, pads: Any, mode: Any = "constant", value: Any = 0) -> str:
    left, right, top, bottom, front, back = [*pads, 0, 0, 0, 0, 0, 0][:6]
    source = b.source(x)
    if mode != "constant" or value or len(b.shape(source)) != 3 or any(pads[6:]) or min(pads) < 0:
        raise _UnsupportedError("that is not a zero padding of a map")
    return b.emit(
        fx.name, "pad", [source], padding=(top, left, bottom, right), channel_padding=(front, back)
    )


def _constant_pad(b: _Builder, fx: FxNode, x: Any, pads: Any, value: Any = 0) -> str:
    return _pad(b, fx, x, pads, "constant", value)


def _slice(
    b: _Builder, fx: FxNode, x: Any, dim: int = 0, begin: Any = None, end: Any = None, step: int = 1
) -> str:
    source = b.source(x)
    shape = b.shape(source)
    first, stop, step = slice(begin, end, step).indices(shape[dim - 1] if dim > 0 else 1 << 62)
    if dim == 0 and first == 0 and step == 1:
        return b.emit(fx.name, "identity", [source])
    if dim < 1 or len(shape) != 3:
        raise _UnsupportedError(f"along axis {dim} of {len(shape) + 1}")
    count, starts, steps = list(shape), [0, 0, 0], [1, 1, 1]
    count[dim - 1], starts[dim - 1], steps[dim - 1] = len(range(first, stop, step)), first, step
    return b.emit(
        fx.name, "slice", [source], shape=tuple(count), start=tuple(starts), step=tuple(steps)
    )


def _reshape(b: _Builder, fx: FxNode, x: Any, *_: Any) -> str:
    source = b.source(x)
    shape = tuple(int(d) for d in fx.meta["val"].shape)[1:]
    if shape == b.shape(source):
        return b.emit(fx.name, "identity", [source])
    if shape != (int(np.prod(b.shape(source))),):
        raise _UnsupportedError(f"from {b.shape(source)} to {shape} (only flattening is)")
    return b.emit(fx.name, "flatten", [source])


def _dropout(b: _Builder, fx: FxNode, x: Any, p: float = 0.5, train: bool = False) -> str:
    if train:
        raise _UnsupportedError("in training mode")
    return b.emit(fx.name, "identity", [b.source(x)])


def _identity(b: _Builder, fx: FxNode, x: Any, *_: Any, **__: Any) -> str:
    return b.emit(fx.name, "identity", [b.source(x)])


def _relu(b: _Builder, fx: FxNode, x: Any) -> str:
    return b.emit(fx.name, "relu", [b.source(x)])


def _relu6(b: _Builder, fx: FxNode, x: Any) -> str:
    return _clip(b, fx, x, 0.0, 6.0)


def _hardtanh(b: _Builder, fx: FxNode, x: Any, lo: float = -1.0, hi: float = 1.0) -> str:
    return _clip(b, fx, x, lo, hi)


def _clip_min(b: _Builder, fx: FxNode, x: Any, lo: Any) -> str:
    return _clip(b, fx, x, lo)


#: aten operator (in-place ones without their underscore) -> handler.
HANDLERS: dict[str, Handler] = {
    "conv2d.default": _conv2d,
    "conv2d.padding": _conv2d,
    "linear.default": _linear,
    "batch_norm.default": _batch_norm,
    "relu.default": _relu,
    "relu6.default": _relu6,
    "hardtanh.default": _hardtanh,
    "clamp.default": _clip,
    "clamp_min.default": _clip_min,
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


def _operator(fx: FxNode) -> tuple[str, bool]:
    """Key into `HANDLERS`, and whether it works in place: aten.relu_.default -> relu.default."""
    base, _, overload = str(fx.target).removeprefix("aten.").partition(".")
    in_place = base.endswith("_") and not base.endswith("__")
    return f"{base.rstrip('_')}.{overload}", in_place


def _is_view(fx: Any) -> bool:
    return isinstance(fx, FxNode) and _operator(fx)[0].partition(".")[0] in _VIEWS


def _read(builder: _Builder, calls: list[FxNode], model: str) -> None:
    """Turn the exported calls into nodes; what cannot be read is collected and raised together."""
    problems: list[tuple[str, str]] = []
    lost: set[str] = set()
    viewed = {source.name for fx in calls if _is_view(fx) for source in fx.all_input_nodes}
    for fx in calls:
        key, in_place = _operator(fx)
        if key not in HANDLERS:
            problems.append((str(fx.target), fx.name))
            lost.add(fx.name)
            continue
        if any(source.name in lost for source in fx.all_input_nodes):
            lost.add(fx.name)
            continue
        try:
            changed = fx.args[0]
            if in_place and (_is_view(changed) or cast(FxNode, changed).name in viewed):
                raise _UnsupportedError("in place on a view")
            result = HANDLERS[key](builder, fx, *fx.args, **fx.kwargs)
        except _UnsupportedError as problem:
            problems.append((f"{fx.target} {problem}", fx.name))
            lost.add(fx.name)
            continue
        builder.env[fx.name] = result
        if in_place:
            builder.env[cast(FxNode, changed).name] = result  # later reads see the changed value
    if problems:
        raise unsupported(model, problems)


def from_torch(module: nn.Module, example: Tensor, name: str, *, share: bool = False) -> Graph:
    """The float graph of `module`, which must be in evaluation mode.

    example : float (n, c, h, w); its size is the input size of the graph.
    share : the graph's weights are the module's memory; for a module that nobody changes later.
    Raises ModelError when torch cannot export the module, an operator has no counterpart (all of
    them in one message), or the graph does not compute what the module does.
    """
    if module.training:
        raise ModelError(f"{name}: the module is in training mode; call .eval() first")
    try:
        exported = torch.export.export(module, (example,))
    except Exception as error:  # torch raises a dozen unrelated types here
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{name}: torch.export cannot trace the module: {reason[0]}") from error
    signature, state = exported.graph_signature, exported.state_dict
    tensors = {**{k: v for k, v in exported.constants.items() if isinstance(v, Tensor)}, **state}
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    params = {k: (path, tensors[path]) for k, path in paths.items() if path in tensors}
    builder = _Builder(params, share)
    calls: list[FxNode] = []
    output: Any = None
    for fx in exported.graph.nodes:
        if fx.op == "placeholder" and fx.name in signature.user_inputs:
            shape = tuple(example.shape[1:])
            builder.env[fx.name] = builder.emit(fx.name, "input", [], shape=shape)
        elif fx.op == "call_function":
            calls.append(fx)
        elif fx.op == "output":
            results = [v for v in fx.args[0] if isinstance(v, FxNode)]
            if len(results) != 1 or len(fx.args[0]) != 1:
                raise ModelError(f"{name}: the module returns {len(fx.args[0])} values, wanted 1")
            output = results[0]
    _read(builder, calls, name)
    last = builder.env[cast(FxNode, output).name]
    graph = rebuild(Graph(name, tuple(builder.nodes.values()), last), builder.nodes.values(), {})
    _compare(graph, module, example)
    return graph


def _compare(graph: Graph, module: nn.Module, example: Tensor) -> None:
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted, (got, _) = module(noise.clone()), run(graph, noise)
    off = float((wanted - got).abs().max()) / (float(wanted.abs().max()) + 1e-6)
    if not off < 1e-3:
        raise ModelError(
            f"{graph.name}: the graph read from torch.export differs from the module by {off:.2g} "
            "of its largest output; please report the module"
        )
