"""Small rewrites of the float graph; each takes a graph and returns a verified one.

`simplify` is all of them in order: what the quantiser and the importance analysis work on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from .graph import OPS, Graph, Node, with_nodes


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

    That conv is 1x1 and depthwise.  A folded node keeps the convolution's name.  A convolution that
    others read, too, keeps its own value, so the batch norm behind it counts as standing alone.
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
            c = node.shape[0]
            if len(node.shape) != 3:
                raise ModelError(f"node {node.name}: a batch norm on a vector must follow a linear")
            unit = {"weight": np.ones((c, 1, 1, 1), np.float32), "bias": np.zeros(c, np.float32)}
            plain = Node(node.name, "conv2d", node.inputs, node.shape, groups=c, params=unit)
            node = _fold(plain, node)
        nodes[node.name] = node
    return with_nodes(graph, nodes.values(), renamed)


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
