"""The float graph: what the verifier refuses, and passes that change no result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flexhyca.compiler.execute import graph_steps, logits, run_graph
from flexhyca.compiler.frontends.frontend_torch import from_torch
from flexhyca.compiler.graph import OPS, Graph, Node, infer_shape, unsupported, verify
from flexhyca.compiler.passes import (
    drop_identities,
    fold_batch_norm,
    fold_pads,
    free_averages,
    simplify,
)
from flexhyca.compiler.quantise.lower import lower
from flexhyca.compiler.quantise.scales import tie_steps
from flexhyca.errors import ModelError, QuantisationError
from flexhyca.tests.compiler.frontends.zoo import SHAPES, ZOO, build

ONES = np.ones(2, np.float32)


def conv(name, source, shape, weight_shape, **fields):
    rng = np.random.default_rng(0)
    params = {
        "weight": rng.normal(size=weight_shape).astype(np.float32),
        "bias": rng.normal(size=weight_shape[0]).astype(np.float32),
    }
    kernel = tuple(weight_shape[2:])
    return Node(name, "conv2d", (source,), shape, kernel=kernel, params=params, **fields)


def small():
    return Graph(
        "small",
        (
            Node("x", "input", (), (2, 4, 4)),
            conv("c", "x", (3, 2, 2), (3, 2, 3, 3)),
            Node("r", "relu", ("c",), (3, 2, 2)),
        ),
        "r",
    )


def test_a_well_formed_graph_is_returned():
    graph = small()
    assert verify(graph) is graph
    assert graph.input.name == "x"
    assert [n.name for n in graph.users()["c"]] == ["r"]
    assert graph.parameters() == 3 * 2 * 9 + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda n: n[:1] + n[2:],
            "graph small, node r (relu): reads c, which no earlier node yields",
        ),
        (lambda n: (*n, n[2]), "graph small, node r (relu): the name is used twice"),
        (lambda n: n[1:], "graph small: exactly one input node is needed"),
        (
            lambda n: (n[0], replace(n[1], op="dilate"), n[2]),
            f"graph small, node c (dilate): unknown op; known are {', '.join(OPS)}",
        ),
        (
            lambda n: (n[0], n[1], replace(n[2], inputs=("c", "c"))),
            "graph small, node r (relu): 2 inputs, wanted 1",
        ),
        (
            lambda n: (n[0], n[1], replace(n[2], shape=(3, 2, 3))),
            "graph small, node r (relu): shape (3, 2, 3), but its inputs give (3, 2, 2)",
        ),
        (
            lambda n: (n[0], replace(n[1], params={}), n[2]),
            "graph small, node c (conv2d): parameter weight is missing",
        ),
        (
            lambda n: (n[0], replace(n[1], params={**n[1].params, "bias": ONES}), n[2]),
            "graph small, node c (conv2d): bias has shape (2,), wanted (3,)",
        ),
        (
            lambda n: (n[0], replace(n[1], params={**n[1].params, "bias": ONES * np.nan}), n[2]),
            "graph small, node c (conv2d): parameter bias holds NaN or infinite values",
        ),
        (
            lambda n: (replace(n[0], shape=(4, 4, 4)), *n[1:]),
            "node c (conv2d): 4 channels in 1 groups, weights have shape (3, 2, 3, 3)",
        ),
        (
            lambda n: (replace(n[0], shape=(2, 2, 4)), *n[1:]),
            "node c (conv2d): kernel (3, 3) does not fit the 2 x 4 map with padding (0, 0, 0, 0)",
        ),
    ],
)
def test_verifier_names_what_is_wrong(change, message):
    graph = small()
    with pytest.raises(ModelError) as caught:
        verify(replace(graph, nodes=change(graph.nodes)))
    assert str(caught.value) == message


def test_output_must_exist():
    with pytest.raises(ModelError, match="output q is no node"):
        verify(replace(small(), output="q"))


def test_slices_may_not_leave_the_map():
    node = Node("s", "slice", ("x",), (2, 3, 4), start=(0, 1, 0), step=(1, 2, 1))
    with pytest.raises(ModelError, match="start 1, step 2, count 3 leave the axis of 5"):
        infer_shape(node, [(2, 5, 4)])
    assert infer_shape(node, [(2, 6, 4)]) == (2, 3, 4)


def test_unsupported_operations_are_counted_and_named():
    pairs = [("sin", f"sin_{i}") for i in range(7)] + [("fft", "fft")]
    known = ", ".join(op for op in OPS if op != "input")
    assert str(unsupported("net", pairs)) == (
        "net: 8 unsupported operation(s): sin x7 (sin_0, sin_1, sin_2, sin_3, sin_4, ...); "
        f"fft x1 (fft); supported are {known}"
    )


@pytest.mark.parametrize("name", ZOO)
def test_passes_change_no_result(name):
    graph = from_torch(build(name), torch.zeros(2, *SHAPES[name]), name)
    x = torch.rand(3, *SHAPES[name], generator=torch.Generator().manual_seed(1)) * 4 - 2
    wanted, _ = run_graph(graph, x)
    for step in (drop_identities, fold_batch_norm, fold_pads, free_averages):
        graph = step(graph)
        torch.testing.assert_close(run_graph(graph, x)[0], wanted, rtol=1e-4, atol=1e-4)
    assert not {n.op for n in graph.nodes} & {"batch_norm", "identity"}
    assert simplify(graph) == graph


def test_a_batch_norm_that_stands_alone_becomes_a_depthwise_convolution():
    graph = simplify(from_torch(build("Pools"), torch.zeros(2, *SHAPES["Pools"]), "Pools"))
    norm = graph.node("norm")
    assert (norm.op, norm.groups, norm.kernel) == ("conv2d", 6, (1, 1))
    assert "bn1" not in {n.name for n in graph.nodes}  # into fc1


def test_a_batch_norm_is_not_folded_into_what_others_read():
    norm = dict.fromkeys(("weight", "bias", "mean", "var"), ONES)
    unit = conv("c", "x", (2, 4, 4), (2, 2, 1, 1))
    graph = Graph(
        "fork",
        (
            Node("x", "input", (), (2, 4, 4)),
            unit,
            Node("n", "batch_norm", ("c",), (2, 4, 4), params=norm),
            Node("s", "add", ("c", "n"), (2, 4, 4)),
        ),
        "s",
    )
    folded = fold_batch_norm(graph)
    assert folded.node("c") == unit
    assert folded.node("n").op == "conv2d"
    x = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(run_graph(folded, x)[0], run_graph(graph, x)[0])


def test_pads_fold_only_where_zeros_mean_the_same():
    def padded(op, **fields):
        nodes = (
            Node("x", "input", (), (2, 4, 4)),
            Node("p", "pad", ("x",), (2, 5, 6), padding=(1, 0, 0, 2)),
            Node("m", op, ("p",), (2, 2, 3), kernel=(2, 2), stride=(2, 2), **fields),
        )
        return Graph("padded", nodes, "m")

    assert [n.op for n in fold_pads(padded("max_pool")).nodes] == ["input", "pad", "max_pool"]
    pooled = fold_pads(padded("avg_pool", divisor=4))
    assert [n.op for n in pooled.nodes] == ["input", "avg_pool"]
    assert pooled.node("m").padding == (1, 0, 0, 2)


def averaged(divisor, join="add", between=()):
    """A map that is joined with a 3x3 average of itself, as PoolFormer does."""
    pool = {"kernel": (3, 3), "padding": (1, 1, 1, 1), "divisor": divisor}
    shape = (2, 4, 4) if join == "add" else (4, 4, 4)
    nodes = [Node("x", "input", (), (2, 4, 4)), Node("p", "avg_pool", ("x",), (2, 4, 4), **pool)]
    nodes += [replace(node, inputs=("p",)) for node in between]
    last = nodes[-1].name
    return Graph("g", (*nodes, Node("s", join, ("x", last), shape)), "s")


@pytest.mark.parametrize("join", ["add", "concat"])
def test_an_average_that_meets_what_it_is_of_becomes_a_convolution(join):
    """No shift aligns a ninth; before, the sum was off by an eighth of one operand."""
    graph = averaged(9, join)
    freed = simplify(graph)
    assert [(n.op, n.groups) for n in freed.nodes[1:]] == [("conv2d", 2), (join, 1)]
    x = np.random.default_rng(0).random((3, 2, 4, 4), np.float32)
    torch.testing.assert_close(logits(freed, [x]), logits(graph, [x]))
    with pytest.raises(QuantisationError) as caught:
        tie_steps(lower(graph).steps)
    other = "s.part1" if join == "concat" else "p"
    assert str(caught.value) == (
        f"layer s: the scales of {'s.part0' if join == 'concat' else 'x'} and {other} differ by "
        "1.778 times a power of two, because of averages between them, and shifts align only "
        "powers of two; put a convolution between them"
    )


@pytest.mark.parametrize(
    ("divisor", "between"), [(8, ()), (9, (conv("c", "p", (2, 4, 4), (2, 2, 1, 1)),))]
)
def test_an_average_that_shifts_align_stays(divisor, between):
    graph = averaged(divisor, between=between)
    assert simplify(graph) == graph
    tie_steps(lower(graph).steps)


def test_values_are_captured_and_differentiable_and_dropped():
    graph = small()
    x = torch.rand(2, 2, 4, 4, requires_grad=True)
    out, captured = run_graph(graph, x, ["c"])
    (gradient,) = torch.autograd.grad(out.sum(), captured["c"])
    assert torch.equal(gradient, (captured["c"] > 0).float())
    assert [node.name for node, _ in graph_steps(graph, x)] == ["x", "c", "r"]
    both = logits(graph, iter([x.detach().numpy(), x.detach().numpy()]))
    assert both.shape == (4, 3, 2, 2)
