"""Small rewrites of the float graph; each takes a graph and returns a verified one.

`simplify` is all of them in order: what the quantiser and the importance analysis work on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..errors import ModelError
from .graph import OPS, Graph, Node, with_nodes
from .quantise.groups import Groups

#: Largest vector that a batch norm of its own may scale, by a matrix with a diagonal.
_MOST_UNIT = 2048


def drop_identities(graph: Graph) -> Graph:
    """Remove identities (dropout in evaluation, contiguous) and what changes nothing.

    A pad, slice or concat that keeps the shape does nothing, and so does a pool of single elements.
    """
    shapes = {node.name: node.shape for node in graph.nodes}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        same = bool(node.inputs) and shapes[node.inputs[0]] == node.shape
        single = node.op in ("max_pool", "avg_pool") and not any(node.padding)
        single = single and (node.kernel, node.divisor) == ((1, 1), 1)
        if node.op == "identity" or (same and (single or OPS[node.op].rearranges)):
            renamed[node.name] = node.inputs[0]
    return with_nodes(graph, (n for n in graph.nodes if n.name not in renamed), renamed)


def _fold(node: Node, norm: Node) -> Node:
    """Convolution or linear `node` followed by `norm`, as one node; in float64, rounded once."""
    p = {k: np.asarray(v, np.float64) for k, v in norm.params.items()}
    gain = p["weight"] / np.sqrt(p["var"] + norm.eps)
    weight = np.asarray(node.params["weight"], np.float64)
    weight = weight * gain.reshape(-1, *([1] * (weight.ndim - 1)))
    bias = (np.asarray(node.params["bias"], np.float64) - p["mean"]) * gain + p["bias"]
    return replace(
        node, params={"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    )


def fold_batch_norm(graph: Graph) -> Graph:
    """Batch norm goes into the conv or linear before it; one that stands alone becomes a conv.

    That conv is 1x1 and depthwise (of a vector a linear with a diagonal).  A folded node keeps the
    convolution's name.  A convolution that others read, too, keeps its own value, so the batch norm
    behind it counts as standing alone.
    """
    users = graph.users()
    nodes: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "batch_norm":
            source = nodes[renamed.get(node.inputs[0], node.inputs[0])]
            alone = users[node.inputs[0]] == [node] and node.inputs[0] != graph.output
            if OPS[source.op].neurons and alone:
                nodes[source.name] = _fold(source, node)
                renamed[node.name] = source.name
                continue
            node = _fold(_unit(node), node)
        nodes[node.name] = node
    return with_nodes(graph, nodes.values(), renamed)


def _unit(norm: Node) -> Node:
    """The layer of weights 1 that the batch norm `norm` goes into where none is before it."""
    c = norm.shape[0]
    bias = np.zeros(c, np.float32)
    if len(norm.shape) == 3:
        params = {"weight": np.ones((c, 1, 1, 1), np.float32), "bias": bias}
        return Node(norm.name, "conv2d", norm.inputs, norm.shape, groups=c, params=params)
    if c > _MOST_UNIT:
        raise ModelError(
            f"node {norm.name}: a batch norm on a vector of {c} must follow a linear; alone it may "
            f"have at most {_MOST_UNIT} numbers"
        )
    params = {"weight": np.eye(c, dtype=np.float32), "bias": bias}
    return Node(norm.name, "linear", norm.inputs, norm.shape, params=params)


def fold_pads(graph: Graph) -> Graph:
    """A padding in space goes to its readers, where all of them read zeros outside the map."""
    users = graph.users()
    pads = {
        node.name: node
        for node in graph.nodes
        if node.op == "pad"
        and node.channel_padding == (0, 0)
        and node.name != graph.output
        and all(OPS[user.op].zeros_outside for user in users[node.name])
    }
    nodes = []
    for node in graph.nodes:
        pad = pads.get(node.inputs[0]) if node.inputs else None
        if pad is not None:
            top, left, bottom, right = map(sum, zip(node.padding, pad.padding, strict=True))
            node = replace(node, inputs=pad.inputs, padding=(top, left, bottom, right))
        if node.name not in pads:
            nodes.append(node)
    return with_nodes(graph, nodes, {name: pad.inputs[0] for name, pad in pads.items()})


def free_averages(graph: Graph) -> Graph:
    """Averages become depthwise convolutions where a value is added to an average of itself.

    Only shifts align the operands of an add, and the scale of an average over 9 elements is a ninth
    of its input's, times a power of two.  Weights can have any scale (`quantise/scales.py`).
    """
    while (name := _contradicting(graph)) is not None:
        nodes = (_as_conv(node) if node.name == name else node for node in graph.nodes)
        graph = with_nodes(graph, nodes, {})
    return graph


def _contradicting(graph: Graph) -> str | None:
    """The last average before an operation whose operands no shift aligns; None without one."""
    groups = Groups()
    averages: list[str] = []
    for node in graph.nodes:
        if node.op == "avg_pool":
            averages.append(node.name)
        if OPS[node.op].neurons:
            continue  # its weights set its scale
        for source in node.inputs:
            groups.tie(source, node.name, -math.log2(node.divisor))
            if groups.contradiction:
                root = groups.find(source)[0]
                return [name for name in averages if _ties(graph, name, groups, root)][-1]
    return None


def _ties(graph: Graph, name: str, groups: Groups, root: str) -> bool:
    """Whether the average `name` shifts the phases of the group of `root`."""
    divisor = graph.node(name).divisor
    return groups.find(name)[0] == root and divisor & (divisor - 1) != 0


def _as_conv(node: Node) -> Node:
    c = node.shape[0]
    weight = np.full((c, 1, *node.kernel), 1 / node.divisor, np.float32)
    params = {"weight": weight, "bias": np.zeros(c, np.float32)}
    return replace(node, op="conv2d", groups=c, divisor=1, params=params)


def simplify(graph: Graph) -> Graph:
    """Identities dropped, batch norms and pads folded, averages freed: what is quantised."""
    return free_averages(fold_pads(fold_batch_norm(drop_identities(graph))))
