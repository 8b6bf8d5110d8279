"""What all frontends share: collecting nodes and problems, and windows in the graph's normal form.

A frontend turns every operation that it reads into a `Call` and hands them to `read_calls`, which
runs them in order and reports everything that has no counterpart in one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..graph import (
    Graph,
    Node,
    Shape,
    infer_shape,
    unsupported,
    with_nodes,
)

Pads = tuple[int, int, int, int]  #: (top, left, bottom, right)
Pair = tuple[int, int]

#: Largest kernel, stride and dilation, and largest height, width or padding, of the layer table.
MOST_WINDOW, MOST_AXIS = 4096, 65535
#: Largest number of elements in one image's map (half a gigabyte in float).
MOST_ELEMENTS = 1 << 27

#: What a node without a name of its own is called, where that is not its op.
_STEMS = {"max_pool": "max_pool2d", "avg_pool": "avg_pool2d"}


class UnsupportedError(Exception):
    """This use of an operator has no counterpart in the graph; the text says which use."""


@dataclass(frozen=True)
class Call:
    """One operation of the source.

    label : what it is called in a report ("aten.add.Tensor"); name : which one it is.
    sources, results : the source's names of what it reads and yields.
    read : adds its nodes to the builder; UnsupportedError says what it cannot express.  None if
    there is no such operator.
    """

    label: str
    name: str
    sources: tuple[str, ...]
    results: tuple[str, ...]
    read: Callable[[], None] | None


def read_calls(model: str, calls: Iterable[Call], supported: Iterable[str]) -> None:
    """Read all calls; ModelError names all of unknown operators and of unsupported use.

    A use is not judged behind another problem, where shapes are not known.  supported : the
    operators that the message offers.
    """
    problems: list[tuple[str, str]] = []
    lost: set[str] = set()
    for call in calls:
        if call.read is None:
            problems.append((call.label, call.name))
        if call.read is None or lost.intersection(call.sources):
            lost.update(call.results)
            continue
        try:
            call.read()
        except UnsupportedError as problem:
            problems.append((f"{call.label} {problem}", call.name))
            lost.update(call.results)
    if problems:
        raise unsupported(model, problems, supported)


class Builder:
    """Collects nodes; `env` maps the source's name of a value to the node that yields it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.env: dict[str, str] = {}
        self._numbers: dict[str, int] = {}  # title -> the last one

    def shape(self, name: str) -> Shape:
        """Shape of the node `name`."""
        return self.nodes[name].shape

    def map_shape(self, name: str) -> tuple[int, int, int]:
        """(c, h, w) of the node `name`; UnsupportedError if it is a vector."""
        shape = self.shape(name)
        if len(shape) != 3:
            raise UnsupportedError(f"on a vector of shape {shape}")
        return shape[0], shape[1], shape[2]

    def emit(self, op: str, inputs: Iterable[str], name: str | None = None, **fields: Any) -> str:
        """Add a node and return its name: `name` or the op's, numbered from the second use on."""
        title = name or _STEMS.get(op, op)
        count = self._numbers.get(title, 1)
        unique = title if count == 1 else f"{title}_{count}"
        while unique in self.nodes:
            count += 1
            unique = f"{title}_{count}"
        self._numbers[title] = count  # those below it are taken
        sources = tuple(inputs)
        node = Node(unique, op, sources, fields.pop("shape", ()), **fields)
        _check_window(node)
        shape = infer_shape(node, [self.shape(s) for s in sources])
        if prod(shape) > MOST_ELEMENTS or max(shape[1:], default=1) > MOST_AXIS:
            raise UnsupportedError(
                f"with a result of shape {shape}; at most {MOST_ELEMENTS} elements and "
                f"{MOST_AXIS} rows or columns are"
            )
        if min(shape, default=1) < 1:
            raise UnsupportedError(f"with an empty result of shape {shape}")
        node = replace(node, shape=shape)
        if op == "max_pool" and not min(map(min, _counts(node, self.shape(sources[0])))):
            raise UnsupportedError("with a window that lies in the padding")
        self.nodes[unique] = node
        return unique

    def graph(self, name: str, output: str) -> Graph:
        """The verified graph of all nodes that `output` needs."""
        return with_nodes(Graph(name, tuple(self.nodes.values()), output), self.nodes.values(), {})

    def avg_pool(
        self, source: str, kernel: Pair, stride: Pair, pads: Pads, *, ceil_mode: bool, whole: bool
    ) -> str:
        """An average pool, if every window has the same divisor.

        whole : elements of the padding count (torch's count_include_pad), those that ceil_mode adds
        do not.
        """
        shape = self.map_shape(source)
        spread = ceil_pads(shape, kernel, stride, pads, (1, 1), ceil_mode)
        fields: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": spread}
        if whole and spread == pads:
            return self.emit("avg_pool", [source], divisor=prod(kernel), **fields)
        node = Node("", "avg_pool", (source,), (), **fields)
        _check_window(node)
        node = replace(node, shape=infer_shape(node, [shape]))
        counts = [np.unique(count) for count in _counts(node, shape)]
        if (spread != pads and whole) or any(len(c) > 1 or not c[0] for c in counts):
            raise UnsupportedError(
                "with a divisor that differs at the edge (ceil_mode, count_include_pad)"
            )
        return self.emit("avg_pool", [source], divisor=prod(int(c[0]) for c in counts), **fields)

    def global_pool(self, source: str, op: str = "avg_pool", *, vector: bool = False) -> str:
        """The average (or maximum) of whole channels; with `vector` without the axes h and w."""
        _, h, w = self.map_shape(source)
        divisor = h * w if op == "avg_pool" else 1
        name = self.emit(op, [source], kernel=(h, w), stride=(h, w), divisor=divisor)
        return self.emit("flatten", [name]) if vector else name

    def mean(self, source: str, axes: Iterable[int], keep: bool) -> str:
        """The mean over `axes` of (n, c, h, w); only whole channels have a counterpart."""
        axes = list(axes)
        if len(self.shape(source)) != 3 or sorted(a % 4 for a in axes) != [2, 3]:
            raise UnsupportedError(f"over axes {axes}")
        return self.global_pool(source, vector=not keep)

    def add(self, a: str, b: str) -> str:
        """The sum of two values of one shape."""
        if self.shape(a) != self.shape(b):
            raise UnsupportedError(f"of shapes {self.shape(a)} and {self.shape(b)} (broadcasting)")
        return self.emit("add", [a, b])

    def concat(self, sources: Sequence[str], axis: int) -> str:
        """The values side by side along axis 1 of (n, c, ...)."""
        rank = len(self.shape(sources[0])) + 1
        if not -rank <= axis < rank or axis % rank != 1:
            raise UnsupportedError(f"along axis {axis}")
        if any(self.shape(s)[1:] != self.shape(sources[0])[1:] for s in sources):
            raise UnsupportedError(f"of shapes {', '.join(str(self.shape(s)) for s in sources)}")
        return self.emit("concat", sources)

    def reshape(self, source: str, shape: Shape) -> str:
        """`source` as `shape` (without the batch), which must be its own or flat."""
        if shape == self.shape(source):
            return self.emit("identity", [source])
        if shape != (prod(self.shape(source)),):
            raise UnsupportedError(f"from {self.shape(source)} to {shape} (only flattening is)")
        return self.emit("flatten", [source])

    def slices(self, source: str, ranges: Sequence[range]) -> str:
        """The elements at `ranges`, one for each axis (c, h, w)."""
        self.map_shape(source)
        if any(not r or r.step < 1 for r in ranges):
            raise UnsupportedError("that is empty or runs backwards")
        return self.emit(
            "slice",
            [source],
            shape=tuple(len(r) for r in ranges),
            start=tuple(r.start for r in ranges),
            step=tuple(r.step if len(r) > 1 else 1 for r in ranges),
        )


def _check_window(node: Node) -> None:
    for title, values in (
        ("kernel", node.kernel),
        ("stride", node.stride),
        ("dilation", node.dilation),
    ):
        if not all(1 <= v <= MOST_WINDOW for v in values):
            raise UnsupportedError(f"with {title} {values}, which is not in 1..{MOST_WINDOW}")
    pads = (*node.padding, *node.channel_padding)
    if not all(0 <= p <= MOST_AXIS for p in pads):
        raise UnsupportedError(f"with padding {pads}, which is not in 0..{MOST_AXIS}")


def _counts(node: Node, shape: Shape) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """For h and w: how many elements of the map each position of the window covers."""
    counts = []
    for axis in range(2):
        size, k, d = shape[axis + 1], node.kernel[axis], node.dilation[axis]
        start = np.arange(node.shape[axis + 1]) * node.stride[axis] - node.padding[axis]
        first = np.maximum(0, -(start // d))
        counts.append(np.maximum(0, np.minimum(k, -((start - size) // d)) - first))
    return counts


def ceil_pads(
    shape: Shape, kernel: Pair, stride: Pair, pads: Pads, dilation: Pair, ceil_mode: bool
) -> Pads:
    """`pads` with what the last window of ceil_mode needs at the bottom and the right.

    A window that would start behind the map and the padding before it is left out, as in torch.
    """
    after = list(pads[2:])
    for axis in range(2) if ceil_mode else ():
        size, k, s, d = shape[axis + 1], kernel[axis], stride[axis], dilation[axis]
        before = pads[axis]
        count = -(-(size + before + after[axis] - d * (k - 1) - 1) // max(s, 1)) + 1
        if (count - 1) * s >= size + before:
            count -= 1
        after[axis] = max(after[axis], (count - 1) * s + d * (k - 1) + 1 - size - before)
    return (pads[0], pads[1], after[0], after[1])
