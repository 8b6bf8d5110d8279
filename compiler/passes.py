"""Small rewrites of the float graph; each takes a graph and returns a verified one.

`simplify` is all of them in order: what the quantiser and the importance analysis work on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from .graph import OPS, Graph, Node, with_nodes

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


def simplify(graph: Graph) -> Graph:
    """Identities dropped, batch norms and pads folded: the graph that is quantised."""
    return fold_pads(fold_batch_norm(drop_identities(graph)))
