"""The builder that all frontends share: windows in normal form, and what no layer can hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends.builder import (
    MOST_ELEMENTS,
    Builder,
    UnsupportedError,
    ceil_pads,
)
from flexhyca.compiler.graph import Graph, Node, verify


@settings(max_examples=200)
@given(
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil_mode=st.booleans(),
)
def test_ceil_mode_is_padding_at_the_end(size, kernel, stride, pad, dilation, ceil_mode):
    pad = min(pad, kernel // 2)
    if dilation * (kernel - 1) + 1 > min(size) + 2 * pad:
        dilation = 1
    pair = ((kernel, kernel), (stride, stride), (pad, pad), (dilation, dilation))
    pads = ceil_pads((3, *size), *pair[:2], (pad,) * 4, pair[3], ceil_mode)
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    wanted = F.max_pool2d(x, kernel, stride, pad, dilation, ceil_mode)
    fields = {"kernel": pair[0], "stride": pair[1], "dilation": pair[3], "padding": pads}
    pool = Node("p", "max_pool", ("x",), tuple(wanted.shape[1:]), **fields)
    graph = Graph("pool", (Node("x", "input", (), (3, *size)), pool), "p")
    assert torch.equal(run_graph(verify(graph), x)[0], wanted)


@settings(max_examples=300)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    ceil_mode=st.booleans(),
    whole=st.booleans(),
)
def test_an_average_pool_is_torchs_or_refused(size, kernel, stride, pad, ceil_mode, whole):
    pad = min(pad, kernel // 2)
    x = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    builder = Builder()
    source = builder.emit("input", [], shape=(2, *size))
    if kernel > min(size) + 2 * pad:
        return
    wanted = F.avg_pool2d(x, kernel, stride, pad, ceil_mode, whole)
    ones = F.avg_pool2d(torch.ones_like(x), kernel, stride, pad, ceil_mode, whole)
    pair = (kernel, kernel), (stride, stride), (pad,) * 4
    try:
        name = builder.avg_pool(source, *pair, ceil_mode=ceil_mode, whole=whole)
    except UnsupportedError:
        assert ceil_mode or (pad and not whole)
        return
    torch.testing.assert_close(run_graph(builder.graph("g", name), x)[0], wanted)
    assert whole or torch.allclose(ones, torch.ones_like(ones))


@pytest.mark.parametrize(
    ("op", "fields", "problem"),
    [
        ("max_pool", {"kernel": (0, 1)}, "with kernel (0, 1), which is not in 1..4096"),
        ("max_pool", {"stride": (1, 0)}, "with stride (1, 0), which is not in 1..4096"),
        ("max_pool", {"dilation": (1, 5000)}, "with dilation (1, 5000), which is not in 1..4096"),
        ("pad", {"padding": (0, 0, 0, -1)}, "with padding (0, 0, 0, -1, 0, 0), which is not"),
        ("pad", {"padding": (65535, 0, 1, 0)}, "with a result of shape (3, 65540, 4); at most"),
        ("pad", {"channel_padding": (0, 1 << 20)}, "which is not in 0..65535"),
        ("max_pool", {"padding": (1, 0, 0, 0)}, "with a window that lies in the padding"),
        (
            "max_pool",
            {"kernel": (2, 1), "dilation": (5, 1), "padding": (1, 0, 1, 0), "stride": (9, 1)},
            "with a window that lies in the padding",
        ),
    ],
)
def test_what_no_layer_can_hold_is_refused(op, fields, problem):
    builder = Builder()
    source = builder.emit("input", [], shape=(3, 4, 4))
    with pytest.raises(UnsupportedError) as caught:
        builder.emit(op, [source], **fields)
    assert problem in str(caught.value)


def test_maps_beyond_the_limit_are_refused():
    with pytest.raises(UnsupportedError, match=f"at most {MOST_ELEMENTS} elements"):
        Builder().emit("input", [], shape=(3, 65535, 65535))


def test_names_are_numbered_from_the_second_use_on():
    builder = Builder()
    source = builder.emit("input", [], shape=(3, 4, 4))
    names = [builder.emit("relu", [source]) for _ in range(3)]
    names += [builder.emit("max_pool", [source]), builder.emit("relu", [source], "max_pool2d")]
    assert names == ["relu", "relu_2", "relu_3", "max_pool2d", "max_pool2d_2"]
