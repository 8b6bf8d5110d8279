"""Run a float graph in torch: the accuracy that quantisation is measured against.

Plain differentiable torch calls, so that importance analysis can take gradients at any node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..network.products import Window, convolve
from ..tables import complete
from .activations import ACTIVATIONS, Activation
from .graph import OPS, Graph, Node

_NUMBERS = 1 << 24  # in the maps that one node reads and writes, over a batch


def _pads(node: Node) -> list[int]:
    top, left, bottom, right = node.padding
    return [left, right, top, bottom]


def _spread(x: Tensor, node: Node, value: float) -> Tensor:
    return F.pad(x, _pads(node), value=value) if any(node.padding) else x


def _param(node: Node, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(node.params[name]).to(like)


def _conv2d(node: Node, x: Tensor) -> Tensor:
    weight, bias = _param(node, "weight", x), _param(node, "bias", x)
    top, left, bottom, right = node.padding
    spans = [(k - 1) * d for k, d in zip(node.kernel, node.dilation, strict=True)]
    own = (top, left) == (bottom, right) and top <= spans[0] and left <= spans[1]
    x, pads = (x, (top, left)) if own else (_spread(x, node, 0.0), (0, 0))
    h, w = node.shape[1:]
    # `window_stride`: one that is not taken gives wrong sums of one channel
    stride = (node.stride[0] if h > 1 else 1, node.stride[1] if w > 1 else 1)
    window = Window(node.kernel, stride, node.dilation, node.groups, pads, None)
    return convolve(x, weight, bias, window)[:, :, :h, :w]


def _batch_norm(node: Node, x: Tensor) -> Tensor:
    mean, var, weight, bias = (_param(node, k, x) for k in ("mean", "var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, training=False, eps=node.eps)


def _max_pool(node: Node, x: Tensor) -> Tensor:
    x = _spread(x, node, float("-inf"))
    return F.max_pool2d(x, node.kernel, node.stride, 0, node.dilation)


def _avg_pool(node: Node, x: Tensor) -> Tensor:
    x = _spread(x, node, 0.0)
    return F.avg_pool2d(x, node.kernel, node.stride, divisor_override=node.divisor)


def _slice(node: Node, x: Tensor) -> Tensor:
    c, h, w = (
        slice(start, start + (count - 1) * step + 1, step)
        for start, count, step in zip(node.start, node.shape, node.step, strict=True)
    )
    return x[:, c, h, w]


def _activation(row: Activation) -> Callable[..., Tensor]:
    return lambda n, x: row.run(x, *(getattr(n, name) for name in row.parameters))


_RUN: dict[str, Callable[..., Tensor]] = {
    "conv2d": _conv2d,
    "linear": lambda n, x: F.linear(x, _param(n, "weight", x), _param(n, "bias", x)),
    "batch_norm": _batch_norm,
    **{name: _activation(row) for name, row in ACTIVATIONS.items()},
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "add": lambda n, a, b: a + b,
    "concat": lambda n, *xs: torch.cat(xs, dim=1),
    "pad": lambda n, x: F.pad(x, [*_pads(n), *n.channel_padding]),
    "slice": _slice,
    "flatten": lambda n, x: x.flatten(1),
    "identity": lambda n, x: x,
}
complete("OPS in compiler/graph.py", OPS, ("input", *_RUN), "compiler/execute.py: _RUN")


def graph_steps(graph: Graph, x: Tensor) -> Iterator[tuple[Node, Tensor]]:
    """Yield every node with its value, in execution order; values are dropped after their last use.

    x : float (n, c, h, w), on any device; parameters follow its type and device.
    """
    last = {source: node.name for node in graph.nodes for source in node.inputs}
    values: dict[str, Tensor] = {}
    for node in graph.nodes:
        operands = [values[s] for s in node.inputs]
        value = x if node.op == "input" else _RUN[node.op](node, *operands)
        values[node.name] = value
        yield node, value
        for source in {*node.inputs, node.name}:
            if last.get(source, node.name) == node.name:
                values.pop(source, None)


def batch_size(graph: Graph, most: int = 100) -> int:
    """Images to run at once: `most`, or as few as keep large maps to some hundred megabytes."""
    size = {node.name: math.prod(node.shape) for node in graph.nodes}
    widest = max(size[n.name] + sum(size[s] for s in n.inputs) for n in graph.nodes)
    return max(1, min(most, _NUMBERS // widest))


def run_graph(
    graph: Graph, x: Tensor, capture: Collection[str] = ()
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (n, classes) of `x` (n, c, h, w), and the values of the nodes named in `capture`.

    Differentiable: ``torch.autograd.grad(logits..., captured["conv1"])`` works.
    """
    captured: dict[str, Tensor] = {}
    output = x
    for node, value in graph_steps(graph, x):
        if node.name in capture:
            captured[node.name] = value
        if node.name == graph.output:
            output = value
    return output, captured


def logits(graph: Graph, batches: Iterable[NDArray[np.float32]]) -> Tensor:
    """Logits (n, classes) of all images of these float32 NCHW batches, without gradients.

    Batches are cut where their maps are too large (`batch_size`).
    """
    results = []
    with torch.no_grad():
        for batch in batches:
            size = batch_size(graph, len(batch))
            results += [run_graph(graph, x)[0] for x in torch.split(torch.from_numpy(batch), size)]
    return torch.cat(results)
