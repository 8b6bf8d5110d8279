"""Float graph -> steps: the rows of the layer table before any number is quantised.

Here it is decided what is one layer: a convolution with the activation behind it, a convolution
with the residual add and activation behind it, slices and pads as one strided copy.  Order is
execution order.  The numbers (scales, shifts, integer weights) are `quantise`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...network.layers import Layer, LayerOp
from ...tables import complete
from ..activations import ACTIVATIONS
from ..graph import OPS, Graph, Node, unsupported

_INF = float("inf")
Maps = tuple[NDArray[np.int64], ...]
MapShape = tuple[int, int, int]  #: (h, w, c)


@dataclass(frozen=True)
class LoweredLayer:
    """One layer to be. Values are named by the graph node that they equal in float.

    `own` is the value before the add (CONV with a residual), `output` the value after everything.
    layer : geometry; tensor ids, shifts and clamp are filled in later.
    weight : float32 (out_c, kh, kw, in_c / groups), a view of the graph's; lo, hi : clamp in real
    units.
    """

    name: str
    op: LayerOp
    source: str
    output: str
    shape: MapShape
    layer: Layer
    residual: str | None = None
    own: str = ""
    weight: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    divisor: int = 1
    lo: float = -_INF
    hi: float = _INF


@dataclass(frozen=True)
class Lowered:
    """Steps in execution order; shapes : of values; input, output : two of the values."""

    steps: tuple[LoweredLayer, ...]
    shapes: dict[str, MapShape]
    input: str
    output: str


def _affine(
    index: NDArray[np.int64], size: int, strides: tuple[int, ...]
) -> tuple[int, int] | None:
    """(stride, pad) with index[o] == o*stride - pad wherever that is in 0..size-1, else -1."""
    at = np.flatnonzero(index >= 0)
    for stride in strides if len(at) else ():
        pad = int(at[0]) * stride - int(index[at[0]])
        line = np.arange(len(index)) * stride - pad
        if np.array_equal(np.where((line >= 0) & (line < size), line, -1), index):
            return stride, pad
    return None


def _copy_layer(name: str, maps: Maps, shape: MapShape) -> Layer | None:
    """COPY that reads element maps[axis][o] (-1: zero) of a (h, w, c) map, if one COPY can."""
    h, w, c = shape
    rows = _affine(maps[0], h, tuple(range(1, h + 1)))
    cols = _affine(maps[1], w, tuple(range(1, w + 1)))
    channels = _affine(maps[2], c, (1,))
    if rows is None or cols is None or channels is None:
        return None
    return Layer(
        name,
        LayerOp.COPY,
        0,
        0,
        stride_h=rows[0],
        stride_w=cols[0],
        pad_top=rows[1],
        pad_left=cols[1],
        c_offset=channels[1],
    )


def _slice_maps(node: Node, shape: MapShape) -> Maps:
    counts, starts, steps = node.shape, node.start, node.step
    return tuple(starts[i] + np.arange(counts[i]) * steps[i] for i in (1, 2, 0))


def _pad_maps(node: Node, shape: MapShape) -> Maps:
    top, left, bottom, right = node.padding
    before = (top, left, node.channel_padding[0])
    after = (bottom, right, node.channel_padding[1])
    maps = []
    for size, front, back in zip(shape, before, after, strict=True):
        index = np.arange(size + front + back) - front
        maps.append(np.where((index >= 0) & (index < size), index, -1))
    return tuple(maps)


#: (node, shape of its input) -> for h, w, c the input index of every output index, -1 for zero.
_AXIS_MAPS = {"slice": _slice_maps, "pad": _pad_maps}


def _compose(outer: Maps, inner: Maps) -> Maps:
    pairs = zip(outer, inner, strict=True)
    return tuple(np.where(o >= 0, i[np.maximum(o, 0)], -1) for o, i in pairs)


class _Lowering:
    """One pass over the graph. `value` maps a node to the value that holds its result."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.users = graph.users()
        self.value: dict[str, str] = {}
        self.shapes: dict[str, MapShape] = {}
        self.steps: list[LoweredLayer] = []
        self.views: dict[str, tuple[str, Maps]] = {}  # slices and pads not yet copied
        self.problems: list[tuple[str, str]] = []
        self.hosts = self._hosts()
        self.delayed = {host.name for host in self.hosts.values()}

    def _single(self, node: Node) -> Node | None:
        """The only reader of `node`, if there is exactly one and `node` is not the output."""
        users = self.users[node.name]
        return users[0] if len(users) == 1 and node.name != self.graph.output else None

    def _hosts(self) -> dict[str, Node]:
        """add -> the convolution that takes it in: its last operand that nobody else reads."""
        hosts = {}
        for node in self.graph.nodes:
            if node.op == "add":
                operands = [n for n in self.graph.nodes if n.name in node.inputs]
                for operand in operands:
                    if OPS[operand.op].neurons and self._single(operand) is node:
                        hosts[node.name] = operand
        return hosts

    def lower(self) -> Lowered:
        for node in self.graph.nodes:
            if node.op == "input":
                c, h, w = node.shape
                self.value[node.name], self.shapes[node.name] = node.name, (h, w, c)
            elif node.name not in self.delayed and self._ready(node):
                self._node(node)
        if not self.problems:
            self._ready(self.graph.node(self.graph.output))
            self._materialise(self.graph.output)
            output = self.value[self.graph.output]
            return Lowered(tuple(self.steps), self.shapes, self.graph.input.name, output)
        raise unsupported(self.graph.name, self.problems)

    def _ready(self, node: Node) -> bool:
        """Whether all operands exist; False only behind a node that is already reported."""
        sources = list(node.inputs)
        if node.name in self.hosts:
            host = self.hosts[node.name]
            sources = [s for s in sources if s != host.name] + list(host.inputs)
        return all(s in self.value or s in self.views for s in sources)

    def _node(self, node: Node) -> None:
        if node.op in _AXIS_MAPS:
            self._view(node)
            return
        host = self.hosts.get(node.name)
        for source in (*node.inputs, *(host.inputs if host else ())):
            self._materialise(source)
        if node.name in self.value:
            return  # an activation that the step before it took in
        _LOWER[node.op](self, node)

    def flatten(self, node: Node) -> None:
        self.value[node.name] = self.value[node.inputs[0]]

    def activation(self, node: Node) -> None:
        """One that no step before it takes in: a copy with a clamp."""
        source = self.value[node.inputs[0]]
        lo, hi = _clamp(node)
        layer = Layer(node.name, LayerOp.COPY, 0, 0)
        shape = self.shapes[source]
        step = LoweredLayer(node.name, LayerOp.COPY, source, node.name, shape, layer, lo=lo, hi=hi)
        self._emit(node, step)

    def refused(self, node: Node) -> None:
        """What `passes.simplify` removes."""
        self.problems.append((node.op, node.name))

    def _emit(self, node: Node, step: LoweredLayer) -> None:
        """Append `step`, whose value so far is `node`, with the activations that follow it."""
        lo, hi, names = step.lo, step.hi, [node.name]
        following = self._single(node)
        while following is not None and following.op in ACTIVATIONS:
            low, high = _clamp(following)
            lo, hi = min(max(lo, low), high), max(min(hi, high), low)
            names.append(following.name)
            following = self._single(following)
        self.steps.append(replace(step, lo=lo, hi=hi, output=names[-1]))
        self.shapes[names[-1]] = step.shape
        for name in names:
            self.value[name] = names[-1]

    def neurons(self, node: Node) -> None:
        self._conv(node, node, None)

    def _conv(self, node: Node, last: Node, residual: str | None) -> None:
        """`node` as a CONV whose value is `last` (the node itself, or the add it takes in)."""
        source = self.value[node.inputs[0]]
        weight, shape, geometry = _NEURONS[node.op](node, self.shapes[source])
        step = LoweredLayer(
            node.name,
            LayerOp.CONV,
            source,
            last.name,
            shape,
            geometry,
            residual=residual,
            own=node.name,
            weight=weight.transpose(0, 2, 3, 1),
            bias=node.params["bias"],
        )
        self._emit(last, step)

    def add(self, node: Node) -> None:
        host = self.hosts.get(node.name)
        if host is not None:
            other = node.inputs[0] if node.inputs[1] == host.name else node.inputs[1]
            self._conv(host, node, self.value[other])
            return
        a, b = (self.value[s] for s in node.inputs)
        if self.shapes[a] != self.shapes[b]:
            self.problems.append(("add of a flattened map and a vector", node.name))
            return
        self._emit(node, self._add_step(node.name, a, b))

    def _add_step(self, name: str, a: str, b: str) -> LoweredLayer:
        layer = Layer(name, LayerOp.ADD, 0, 0)
        return LoweredLayer(name, LayerOp.ADD, a, name, self.shapes[a], layer, residual=b)

    def pool(self, node: Node) -> None:
        op = _POOLS[node.op]
        shape = (node.shape[1], node.shape[2], node.shape[0])
        step = LoweredLayer(
            node.name,
            op,
            self.value[node.inputs[0]],
            node.name,
            shape,
            _window(node, op),
            divisor=node.divisor,
        )
        self._emit(node, step)

    def concat(self, node: Node) -> None:
        """Each part is copied between zeros; adding the copies aligns their scales."""
        parts = [self.value[s] for s in node.inputs]
        h, w = self.shapes[parts[0]][:2]
        if len(node.shape) == 1 and (h, w) != (1, 1):
            self.problems.append(("concat of flattened maps", node.name))
            return
        channels, offset, total = node.shape[0], 0, ""
        for i, part in enumerate(parts):
            name = f"{node.name}.part{i}"
            layer = Layer(name, LayerOp.COPY, 0, 0, c_offset=offset)
            self.shapes[name] = (h, w, channels)
            self.steps.append(LoweredLayer(name, LayerOp.COPY, part, name, (h, w, channels), layer))
            offset += self.shapes[part][2]
            if i == 0:
                total = name
            elif i == len(parts) - 1:
                self._emit(node, self._add_step(node.name, total, name))
            else:
                step = self._add_step(f"{node.name}.sum{i}", total, name)
                self.steps.append(step)
                self.shapes[step.name] = step.shape
                total = step.name

    def _view(self, node: Node) -> None:
        """Slices and pads are chained as index maps; a chain becomes one COPY when it is read."""
        source = node.inputs[0]
        if source in self.views:
            origin, inner = self.views[source]
            shape = (len(inner[0]), len(inner[1]), len(inner[2]))
            maps = _compose(_AXIS_MAPS[node.op](node, shape), inner)
            if _copy_layer(node.name, maps, self.shapes[origin]) is not None:
                self.views[node.name] = (origin, maps)
                return
            self._materialise(source)
        origin = self.value[source]
        maps = _AXIS_MAPS[node.op](node, self.shapes[origin])
        if _copy_layer(node.name, maps, self.shapes[origin]) is None:
            self.problems.append((f"{node.op} with a step along the channels", node.name))
            return
        self.views[node.name] = (origin, maps)

    def _materialise(self, name: str) -> None:
        """Emit the COPY of a slice or pad that something other than a slice or pad reads."""
        if name in self.value or name not in self.views:
            return
        origin, maps = self.views[name]
        layer = _copy_layer(name, maps, self.shapes[origin])
        assert layer is not None  # _view keeps only maps that one COPY can do
        shape = (len(maps[0]), len(maps[1]), len(maps[2]))
        node = self.graph.node(name)
        self._emit(node, LoweredLayer(name, LayerOp.COPY, origin, name, shape, layer))


def _conv2d(node: Node, source: MapShape) -> tuple[NDArray[np.float32], MapShape, Layer]:
    shape = (node.shape[1], node.shape[2], node.shape[0])
    return node.params["weight"], shape, _window(node, LayerOp.CONV)


def _linear(node: Node, source: MapShape) -> tuple[NDArray[np.float32], MapShape, Layer]:
    """A convolution whose kernel is the whole map."""
    h, w, c = source
    weight = node.params["weight"].reshape(-1, c, h, w)
    layer = Layer(node.name, LayerOp.CONV, 0, 0, kernel_h=h, kernel_w=w)
    return weight, (1, 1, weight.shape[0]), layer


def _clamp(node: Node) -> tuple[float, float]:
    """What an activation leaves, in real numbers."""
    row = ACTIVATIONS[node.op]
    return row.clamp(*(getattr(node, name) for name in row.parameters))


#: (node, shape of its input) -> weight (out_c, in_c / groups, kh, kw), shape of the result, layer.
_NEURONS = {"conv2d": _conv2d, "linear": _linear}
complete(
    "OPS in compiler/graph.py, with neurons",
    (name for name, op in OPS.items() if op.neurons),
    _NEURONS,
    "compiler/quantise/lower.py: _NEURONS",
)
_POOLS = {"max_pool": LayerOp.MAXPOOL, "avg_pool": LayerOp.AVGPOOL}
_LOWER: Mapping[str, Callable[[_Lowering, Node], None]] = {
    **dict.fromkeys(_NEURONS, _Lowering.neurons),
    "batch_norm": _Lowering.refused,
    **dict.fromkeys(ACTIVATIONS, _Lowering.activation),
    **dict.fromkeys(_POOLS, _Lowering.pool),
    "add": _Lowering.add,
    "concat": _Lowering.concat,
    "flatten": _Lowering.flatten,
    "identity": _Lowering.refused,
}
complete(
    "OPS in compiler/graph.py",
    OPS,
    ("input", *_AXIS_MAPS, *_LOWER),
    "compiler/quantise/lower.py: _LOWER or _AXIS_MAPS",
)


def _window(node: Node, op: LayerOp) -> Layer:
    return Layer(
        node.name,
        op,
        0,
        0,
        kernel_h=node.kernel[0],
        kernel_w=node.kernel[1],
        stride_h=node.stride[0],
        stride_w=node.stride[1],
        pad_top=node.padding[0],
        pad_left=node.padding[1],
        dilation_h=node.dilation[0],
        dilation_w=node.dilation[1],
        groups=node.groups,
    )


def lower(graph: Graph) -> Lowered:
    """The steps of a simplified graph; ModelError names all nodes that no layer can express."""
    return _Lowering(graph).lower()
