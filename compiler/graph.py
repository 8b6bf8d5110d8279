"""The float graph: what a frontend writes and every pass of the compiler's front half reads.

A `Graph` is a list of `Node`s in execution order; every node yields one tensor, named like the
node.  Shapes are those of one image, channels first: (c, h, w) for a map, (f,) for a vector; the
batch is not part of them.  Frontends write geometry in one normal form, so that passes see few
cases:

* padding is (top, left, bottom, right); `ceil_mode` is padding at the bottom and the right;
* every average is an `avg_pool` with a constant divisor, a global one has the whole map as kernel;
* a map becomes a vector by `flatten` only.

The executor is in `execute`, the rewriting passes are in `passes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

Shape = tuple[int, ...]
Params = Mapping[str, NDArray[np.float32]]

#: op -> (smallest, largest number of inputs; names of the parameters it must have).
OPS: Mapping[str, tuple[int, int, tuple[str, ...]]] = MappingProxyType(
    {
        "input": (0, 0, ()),
        "conv2d": (1, 1, ("weight", "bias")),
        "linear": (1, 1, ("weight", "bias")),
        "batch_norm": (1, 1, ("weight", "bias", "mean", "var")),
        "relu": (1, 1, ()),
        "clip": (1, 1, ()),
        "max_pool": (1, 1, ()),
        "avg_pool": (1, 1, ()),
        "add": (2, 2, ()),
        "concat": (1, 1 << 16, ()),
        "pad": (1, 1, ()),
        "slice": (1, 1, ()),
        "flatten": (1, 1, ()),
        "identity": (1, 1, ()),
    }
)


@dataclass(frozen=True)
class Node:
    """One operation. Fields that the operation does not use keep their defaults.

    conv2d      weight (out_c, in_c / groups, kh, kw), bias (out_c,); kernel, stride, padding, ...
    linear      weight (out_f, in_f), bias (out_f,); on a vector
    batch_norm  weight, bias, mean, var (c,); eps
    clip        lo, hi
    max_pool    elements outside the map are left out of the maximum
    avg_pool    sum of the window (0 outside the map) / divisor
    concat      along the channels
    pad         zeros: padding in space, channel_padding (front, back)
    slice       element start + i*step of each axis (c, h, w); how many, says `shape`
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    divisor: int = 1
    channel_padding: tuple[int, int] = (0, 0)
    start: tuple[int, int, int] = (0, 0, 0)
    step: tuple[int, int, int] = (1, 1, 1)
    lo: float = float("-inf")
    hi: float = float("inf")
    eps: float = 0.0
    params: Params = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order, one of them the input; `output` names the one with the logits."""

    name: str
    nodes: tuple[Node, ...]
    output: str

    @property
    def input(self) -> Node:
        """The input node; its shape is (c, h, w)."""
        return next(node for node in self.nodes if node.op == "input")

    def node(self, name: str) -> Node:
        """The node called `name`; KeyError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def users(self) -> dict[str, list[Node]]:
        """For every node the nodes that read it, once for each time they do, in execution order."""
        users: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.inputs:
                users[source].append(node)
        return users

    def parameters(self) -> int:
        """Number of weights, biases and batch-norm numbers."""
        return sum(int(p.size) for node in self.nodes for p in node.params.values())


def window(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Positions of a window along one axis (floor; 0 or less when it does not fit)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def infer_shape(node: Node, inputs: list[Shape]) -> Shape:
    """Shape that `node` yields on inputs of these shapes; ModelError says what does not fit."""

    def fail(what: str) -> ModelError:
        return ModelError(f"node {node.name} ({node.op}): {what}")

    if node.op == "input":
        return node.shape
    first = inputs[0]
    if node.op in ("relu", "clip", "identity", "batch_norm"):
        return first
    if node.op == "linear":
        weight = node.params["weight"]
        if first != (weight.shape[1],):
            raise fail(f"input shape {first}, weights want ({weight.shape[1]},); flatten it first")
        return (int(weight.shape[0]),)
    if node.op == "add":
        if inputs[0] != inputs[1]:
            raise fail(f"shapes {inputs[0]} and {inputs[1]} differ; broadcasting is not supported")
        return first
    if node.op == "flatten":
        return (int(np.prod(first)),)
    if node.op == "concat":
        if any(shape[1:] != first[1:] or len(shape) != len(first) for shape in inputs):
            raise fail(f"shapes {inputs} differ in more than the channels")
        return (sum(shape[0] for shape in inputs), *first[1:])
    if len(first) != 3:
        raise fail(f"input shape {first} is not (c, h, w)")
    c, h, w = first
    top, left, bottom, right = node.padding
    if node.op == "pad":
        front, back = node.channel_padding
        return (c + front + back, h + top + bottom, w + left + right)
    if node.op == "slice":
        for start, step, count, size in zip(node.start, node.step, node.shape, first, strict=True):
            if start < 0 or step < 1 or count < 1 or start + (count - 1) * step >= size:
                raise fail(f"start {start}, step {step}, count {count} leave the axis of {size}")
        return node.shape
    kernel = node.kernel
    if node.op == "conv2d":
        weight = node.params["weight"]
        if c != weight.shape[1] * node.groups or weight.shape[0] % node.groups:
            raise fail(f"{c} channels in {node.groups} groups, weights have shape {weight.shape}")
        if kernel != weight.shape[2:]:
            raise fail(f"kernel {kernel}, weights have shape {weight.shape}")
        c = int(weight.shape[0])
    oh = window(h, kernel[0], node.stride[0], top, bottom, node.dilation[0])
    ow = window(w, kernel[1], node.stride[1], left, right, node.dilation[1])
    if oh < 1 or ow < 1:
        raise fail(f"kernel {kernel} does not fit the {h} x {w} map with padding {node.padding}")
    return (c, oh, ow)


def verify(graph: Graph) -> Graph:
    """Return `graph` if it is well formed, else raise ModelError at the first node that is not.

    Checked: known ops, one input, unique names, inputs defined earlier, numbers of inputs,
    parameters present and finite, shapes as `infer_shape` says, output defined.
    """
    shapes: dict[str, Shape] = {}
    if sum(node.op == "input" for node in graph.nodes) != 1:
        raise ModelError(f"graph {graph.name}: exactly one input node is needed")
    for node in graph.nodes:
        where = f"graph {graph.name}, node {node.name} ({node.op})"
        if node.op not in OPS:
            raise ModelError(f"{where}: unknown op; known are {', '.join(OPS)}")
        if node.name in shapes:
            raise ModelError(f"{where}: the name is used twice")
        low, high, needed = OPS[node.op]
        if not low <= len(node.inputs) <= high:
            raise ModelError(f"{where}: {len(node.inputs)} inputs, wanted {low}")
        missing = [s for s in node.inputs if s not in shapes]
        if missing:
            raise ModelError(f"{where}: reads {missing[0]}, which no earlier node yields")
        for name in needed:
            if name not in node.params:
                raise ModelError(f"{where}: parameter {name} is missing")
            if not np.isfinite(node.params[name]).all():
                raise ModelError(f"{where}: parameter {name} holds NaN or infinite values")
        shape = infer_shape(node, [shapes[s] for s in node.inputs])
        if shape != node.shape:
            raise ModelError(f"{where}: shape {node.shape}, but its inputs give {shape}")
        for name in needed:
            found = node.params[name].shape
            if (name != "weight" or node.op == "batch_norm") and found != (shape[0],):
                raise ModelError(f"{where}: {name} has shape {found}, wanted ({shape[0]},)")
        shapes[node.name] = shape
    if graph.output not in shapes:
        raise ModelError(f"graph {graph.name}: output {graph.output} is no node")
    return graph


def rebuild(graph: Graph, nodes: Iterable[Node], renamed: Mapping[str, str]) -> Graph:
    """`graph` with these nodes, reads of renamed ones redirected, unread ones dropped; verified."""

    def target(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    redirected = [replace(n, inputs=tuple(target(s) for s in n.inputs)) for n in nodes]
    output = target(graph.output)
    alive = {output}
    for node in reversed(redirected):
        if node.name in alive:
            alive.update(node.inputs)
    kept = tuple(n for n in redirected if n.name in alive or n.op == "input")
    return verify(replace(graph, nodes=kept, output=output))


def unsupported(
    model: str, problems: Iterable[tuple[str, str]], supported: Iterable[str] = OPS
) -> ModelError:
    """One error for all (operation, node name) pairs that nothing can handle, with counts.

    supported : the operations that the message offers instead.
    """
    pairs = list(problems)
    parts = []
    for operation, count in Counter(op for op, _ in pairs).most_common():
        names = [name for op, name in pairs if op == operation]
        shown = ", ".join(names[:5]) + (", ..." if count > 5 else "")
        parts.append(f"{operation} x{count} ({shown})")
    return ModelError(
        f"{model}: {len(pairs)} unsupported operation(s): {'; '.join(parts)}; "
        f"supported are {', '.join(op for op in supported if op != 'input')}"
    )
