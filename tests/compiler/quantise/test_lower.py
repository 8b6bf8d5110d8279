"""Which layers a graph becomes: what is fused, what is copied, in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexhyca.compiler.graph import Graph, Node
from flexhyca.compiler.model import from_module, load_model
from flexhyca.compiler.quantise.lower import _affine, lower
from flexhyca.errors import ModelError
from flexhyca.network.layers import LayerOp
from flexhyca.tests.compiler.frontends.zoo import SHAPES, build


def lowered(name):
    half = (0.5, 0.5, 0.5)
    return lower(from_module(build(name), SHAPES[name], name=name, mean=half, std=half).graph)


def rows(plan):
    return [(s.op.name, s.name, s.residual is not None, s.lo, s.hi) for s in plan.steps]


INF = float("inf")


def test_residual_add_goes_into_the_last_convolution():
    assert rows(lowered("Residual")) == [
        ("CONV", "stem.0", False, 0.0, INF),
        ("CONV", "a", False, 0.0, INF),
        ("CONV", "b", False, -INF, INF),
        ("CONV", "down", True, 0.0, INF),
        ("AVGPOOL", "avg_pool2d", False, -INF, INF),
        ("CONV", "fc", False, -INF, INF),
    ]
    assert lowered("Residual").steps[3].residual == "b"


def test_relu6_is_a_clamp():
    plan = lowered("Inverted")
    assert [(s.lo, s.hi) for s in plan.steps[:3]] == [(0.0, 6.0), (0.0, 6.0), (-INF, INF)]
    assert plan.steps[2].residual == plan.input


def test_concat_is_copies_and_adds():
    plan = lowered("Branches")
    names = [(s.op.name, s.name) for s in plan.steps]
    assert names[2:5] == [("COPY", "concat.part0"), ("COPY", "concat.part1"), ("ADD", "concat")]
    assert [s.layer.c_offset for s in plan.steps[2:4]] == [0, 4]
    assert plan.shapes["concat"] == (8, 8, 9)


def test_a_value_with_two_readers_keeps_its_activation_apart():
    assert rows(lowered("Twice"))[:4] == [
        ("CONV", "conv", False, -INF, INF),
        ("COPY", "relu", False, 0.0, INF),
        ("CONV", "conv_2", True, -INF, INF),
        ("ADD", "add_2", True, -1.0, 1.5),
    ]


def test_linear_over_a_map_is_a_whole_map_kernel():
    plan = lowered("Pools")
    head = plan.steps[-2]
    assert (head.layer.kernel_h, head.layer.kernel_w) == (2, 2)
    weight = build("Pools").fc1.weight.detach().numpy()
    scale = head.weight[:, 0, 0, 0] / weight[:, 0]  # batch norm is folded in
    # torch flattens channel, row, column
    np.testing.assert_allclose(head.weight[:, 1, 0, 4] / scale, weight[:, 4 * 4 + 2], rtol=1e-5)


def test_resnet20_is_20_convolutions_and_two_strided_copies():
    plan = lower(load_model("resnet20").graph)
    ops = [s.op for s in plan.steps]
    assert (ops.count(LayerOp.CONV), ops.count(LayerOp.COPY), len(ops)) == (20, 2, 23)
    copy = plan.steps[ops.index(LayerOp.COPY)]
    assert (copy.layer.stride_h, copy.layer.stride_w, copy.layer.c_offset) == (2, 2, 8)
    assert sum(s.residual is not None for s in plan.steps) == 9
    assert plan.steps[ops.index(LayerOp.COPY) + 1].residual == copy.output


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(-5, 5))
def test_copies_fit_exactly_what_they_read(size, count, stride, pad):
    line = np.arange(count) * stride - pad
    index = np.where((line >= 0) & (line < size), line, -1)
    found = _affine(index, size, tuple(range(1, size + 1)))
    if (index < 0).all() or (stride > size and (index >= 0).sum() > 1):
        assert found is None
    elif found is not None:
        again = np.arange(count) * found[0] - found[1]
        assert np.array_equal(np.where((again >= 0) & (again < size), again, -1), index)
    else:
        assert (index >= 0).sum() == 1  # one element, and no stride up to `size` skips the others


def test_a_hole_in_the_middle_is_not_one_copy():
    assert _affine(np.array([0, 1, -1, 3]), 4, (1, 2, 3, 4)) is None
    assert _affine(np.array([0, 1, 2, -1]), 4, (1, 2, 3, 4)) is None  # row 3 exists


def test_everything_unsupported_is_reported_together():
    nodes = (
        Node("x", "input", (), (4, 2, 2)),
        Node("s", "slice", ("x",), (2, 2, 2), step=(2, 1, 1)),
        Node("t", "slice", ("x",), (2, 2, 2), step=(3, 1, 1)),
        Node("f", "flatten", ("x",), (16,)),
        Node("g", "concat", ("f", "f"), (32,)),
        Node("a", "add", ("s", "t"), (2, 2, 2)),
    )
    with pytest.raises(ModelError) as caught:
        lower(Graph("net", nodes, "a"))
    assert str(caught.value).startswith(
        "net: 3 unsupported operation(s): slice with a step along the channels x2 (s, t); "
        "concat of flattened maps x1 (g); supported are "
    )


def test_the_output_may_be_a_map():
    nodes = (Node("x", "input", (), (4, 2, 3)), Node("r", "relu", ("x",), (4, 2, 3)))
    lowered = lower(Graph("net", nodes, "r"))
    assert lowered.shapes[lowered.output] == (2, 3, 4)
