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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..tables import complete
from .activations import ACTIVATIONS

Shape = tuple[int, ...]
Params = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Node:
    """One operation. Fields that the operation does not use keep their defaults.

    conv2d      weight (out_c, in_c / groups, kh, kw), bias (out_c,); kernel, stride, padding, ...
    linear      weight (out_f, in_f), bias (out_f,); on a vector
    batch_norm  weight, bias, mean, var (c,); eps
    clip        lo, hi (activations are in `activations`)
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


_PARAMETERS = [name for row in ACTIVATIONS.values() for name in row.parameters]
complete(
    "the parameters of ACTIVATIONS in compiler/activations.py",
    _PARAMETERS,
    {f.name for f in fields(Node)}.intersection(_PARAMETERS),
    "compiler/graph.py: Node",
)


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


def window_count(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> int:
    """Positions of a window along one axis (floor; 0 or less when it does not fit)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _fail(node: Node, what: str) -> ModelError:
    return ModelError(f"node {node.name} ({node.op}): {what}")


def _own(node: Node, inputs: list[Shape]) -> Shape:
    return node.shape


def _first(node: Node, inputs: list[Shape]) -> Shape:
    return inputs[0]


def _linear(node: Node, inputs: list[Shape]) -> Shape:
    weight = node.params["weight"]
    if inputs[0] != (weight.shape[1],):
        raise _fail(
            node, f"input shape {inputs[0]}, weights want ({weight.shape[1]},); flatten it first"
        )
    return (int(weight.shape[0]),)


def _add(node: Node, inputs: list[Shape]) -> Shape:
    a, b = inputs
    if a != b:
        raise _fail(node, f"shapes {a} and {b} differ; broadcasting is not supported")
    return a


def _concat(node: Node, inputs: list[Shape]) -> Shape:
    first = inputs[0]
    if any(shape[1:] != first[1:] or len(shape) != len(first) for shape in inputs):
        raise _fail(node, f"shapes {inputs} differ in more than the channels")
    return (sum(shape[0] for shape in inputs), *first[1:])


def _flatten(node: Node, inputs: list[Shape]) -> Shape:
    return (int(np.prod(inputs[0])),)


def _map(node: Node, inputs: list[Shape]) -> tuple[int, int, int]:
    if len(inputs[0]) != 3:
        raise _fail(node, f"input shape {inputs[0]} is not (c, h, w)")
    c, h, w = inputs[0]
    return c, h, w


def _pad(node: Node, inputs: list[Shape]) -> Shape:
    c, h, w = _map(node, inputs)
    top, left, bottom, right = node.padding
    front, back = node.channel_padding
    return (c + front + back, h + top + bottom, w + left + right)


def _slice(node: Node, inputs: list[Shape]) -> Shape:
    axes = zip(node.start, node.step, node.shape, _map(node, inputs), strict=True)
    for start, step, count, size in axes:
        if start < 0 or step < 1 or count < 1 or start + (count - 1) * step >= size:
            raise _fail(node, f"start {start}, step {step}, count {count} leave the axis of {size}")
    return node.shape


def _conv2d(node: Node, inputs: list[Shape]) -> Shape:
    c, shape = _map(node, inputs)[0], node.params["weight"].shape
    if c != shape[1] * node.groups or shape[0] % node.groups:
        raise _fail(node, f"{c} channels in {node.groups} groups, weights have shape {shape}")
    if node.kernel != shape[2:]:
        raise _fail(node, f"kernel {node.kernel}, weights have shape {shape}")
    return (int(shape[0]), *_windows(node, inputs)[1:])


def _windows(node: Node, inputs: list[Shape]) -> Shape:
    c, h, w = _map(node, inputs)
    top, left, bottom, right = node.padding
    oh = window_count(h, node.kernel[0], node.stride[0], top, bottom, node.dilation[0])
    ow = window_count(w, node.kernel[1], node.stride[1], left, right, node.dilation[1])
    if oh < 1 or ow < 1:
        raise _fail(
            node,
            f"kernel {node.kernel} does not fit the {h} x {w} map with padding {node.padding}",
        )
    return (c, oh, ow)


@dataclass(frozen=True)
class Op:
    """What every node of one operation has in common.

    shape : (node, shapes of its inputs) -> shape that it yields; ModelError says what does not fit.
    inputs : smallest and largest number of them. params : names of those that a node must have.
    neurons : its results are sums of weighted inputs, which a batch norm behind it can go into, and
    an add, too. zeros_outside : it reads zeros around the map, so a pad before it can go into it.
    rearranges : it computes nothing, so it does nothing where the shape stays.
    """

    shape: Callable[[Node, list[Shape]], Shape]
    inputs: tuple[int, int] = (1, 1)
    params: tuple[str, ...] = ()
    neurons: bool = False
    zeros_outside: bool = False
    rearranges: bool = False


_WEIGHTED = ("weight", "bias")

#: The one list of operations. Who does something for each of them (`execute`, `quantise.lower`)
#: is checked against it at import.
OPS: Mapping[str, Op] = MappingProxyType(
    {
        "input": Op(_own, (0, 0)),
        "conv2d": Op(_conv2d, params=_WEIGHTED, neurons=True, zeros_outside=True),
        "linear": Op(_linear, params=_WEIGHTED, neurons=True),
        "batch_norm": Op(_first, params=(*_WEIGHTED, "mean", "var")),
        **{name: Op(_first) for name in ACTIVATIONS},
        "max_pool": Op(_windows),
        "avg_pool": Op(_windows, zeros_outside=True),
        "add": Op(_add, (2, 2)),
        "concat": Op(_concat, (1, 1 << 16), rearranges=True),
        "pad": Op(_pad, rearranges=True),
        "slice": Op(_slice, rearranges=True),
        "flatten": Op(_flatten, rearranges=True),
        "identity": Op(_first),
    }
)


def infer_shape(node: Node, inputs: list[Shape]) -> Shape:
    """Shape that `node` yields on inputs of these shapes; ModelError says what does not fit."""
    return OPS[node.op].shape(node, inputs)


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
        op = OPS[node.op]
        low, high = op.inputs
        if not low <= len(node.inputs) <= high:
            raise ModelError(f"{where}: {len(node.inputs)} inputs, wanted {low}")
        missing = [s for s in node.inputs if s not in shapes]
        if missing:
            raise ModelError(f"{where}: reads {missing[0]}, which no earlier node yields")
        for name in op.params:
            if name not in node.params:
                raise ModelError(f"{where}: parameter {name} is missing")
            if not np.isfinite(node.params[name]).all():
                raise ModelError(f"{where}: parameter {name} holds NaN or infinite values")
        shape = infer_shape(node, [shapes[s] for s in node.inputs])
        if shape != node.shape:
            raise ModelError(f"{where}: shape {node.shape}, but its inputs give {shape}")
        for name in op.params:
            found = node.params[name].shape
            if (name != "weight" or not op.neurons) and found != (shape[0],):
                raise ModelError(f"{where}: {name} has shape {found}, wanted ({shape[0]},)")
        shapes[node.name] = shape
    if graph.output not in shapes:
        raise ModelError(f"graph {graph.name}: output {graph.output} is no node")
    return graph


def with_nodes(graph: Graph, nodes: Iterable[Node], renamed: Mapping[str, str]) -> Graph:
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
