"""ONNX file -> graph: the same function, the same names."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends import onnx_ops
from flexhyca.compiler.frontends.frontend_onnx import from_onnx
from flexhyca.compiler.frontends.frontend_torch import from_torch
from flexhyca.compiler.frontends.onnx_file import OPSETS
from flexhyca.compiler.frontends.onnx_names import layer_path
from flexhyca.compiler.passes import simplify
from flexhyca.errors import ModelError
from flexhyca.tests.compiler.frontends.onnx_models import (
    export,
    make,
    tensor_info,
    write,
)
from flexhyca.tests.compiler.frontends.zoo import SHAPES, ZOO, build

node = helper.make_node
CPU = "CPUExecutionProvider"
F32 = np.float32
WEIGHT = np.arange(36, dtype=F32).reshape(4, 3, 1, 3) / 36


def read(tmp_path, *nodes, shape=(2, 3, 8, 8), opset=20, **weights):
    return from_onnx(write(tmp_path, make(nodes, weights, shape, opset=opset)), "net")


@pytest.mark.parametrize("new", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ZOO)
def test_the_graph_computes_what_the_module_does(name, batch, new, tmp_path):
    module = build(name)
    path = export(module, torch.zeros(batch, *SHAPES[name]), tmp_path / "net.onnx", new=new)
    graph = simplify(from_onnx(path, name))
    x = torch.randn(4, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run_graph(graph, x)[0], module(x), rtol=1e-4, atol=1e-5)
    own = simplify(from_torch(module, torch.zeros(batch, *SHAPES[name]), name))
    if (name, new) != ("Twice", True):  # the new exporter writes a weight that is used twice twice
        layers = [[n.name for n in g.nodes if n.params] for g in (graph, own)]
        assert layers[0] == layers[1]


@pytest.mark.parametrize("name", ZOO)
def test_a_dynamic_batch_is_fine(name, tmp_path):
    path = export(
        build(name),
        torch.zeros(2, *SHAPES[name]),
        tmp_path / "net.onnx",
        new=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )
    x = torch.randn(3, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(run_graph(from_onnx(path, name), x)[0], build(name)(x))


@pytest.mark.parametrize(
    ("weight", "scope", "name"),
    [
        ("layer1.0.conv1.weight", "/anything/Conv", "layer1.0.conv1"),
        ("onnx::Conv_12", "/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("onnx::Conv_12", "/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"),
        ("onnx::Conv_12", "/Conv", None),
        ("W", "res2a branch;1", "res2a_branch_1"),
        ("W", "", None),
        ("W", "x" * 500, "x" * 200),
    ],
)
def test_layers_are_named_by_their_path(weight, scope, name):
    assert layer_path(weight, scope) == name


windows = st.fixed_dictionaries(
    {
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "dilations": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    },
    optional={
        "auto_pad": st.sampled_from(["VALID", "SAME_UPPER", "SAME_LOWER"]),
        "pads": st.tuples(*[st.integers(0, 2)] * 4),
    },
)


@settings(max_examples=300)
@given(
    op=st.sampled_from(["Conv", "MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    window=windows,
    groups=st.sampled_from([1, 2]),
    ceil_mode=st.integers(0, 1),
    include=st.integers(0, 1),
)
def test_windows_are_onnx_or_refused(
    op, size, kernel, window, groups, ceil_mode, include, tmp_path_factory
):
    if "auto_pad" in window:
        window.pop("pads", None)
    rng = np.random.default_rng(0)
    weights = {}
    if op == "Conv":
        weights["w"] = rng.normal(size=(4, 4 // groups, *kernel)).astype(F32)
        window["group"] = groups
    else:
        window |= {"kernel_shape": kernel, "ceil_mode": ceil_mode}
    if op == "AveragePool":
        window["count_include_pad"] = include
        window["dilations"] = (1, 1)
    model = make([node(op, ["x", *weights], ["y"], **window)], weights, (2, 4, *size))
    x = rng.normal(size=(2, 4, *size)).astype(F32)
    try:
        graph = from_onnx(write(tmp_path_factory.getbasetemp(), model), "net")
    except ModelError:
        return
    # not ONNX's reference, which is wrong on pads that differ at the two ends of an axis
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU])
        wanted = session.run(None, {"x": x})[0]
    except (ort_errors.InvalidArgument, ort_errors.Fail, ort_errors.RuntimeException):
        assert "auto_pad" in window or op != "Conv"  # what onnxruntime does not do
        return
    np.testing.assert_allclose(
        run_graph(graph, torch.from_numpy(x))[0].numpy(), wanted, rtol=1e-4, atol=1e-5
    )


#: Chains that exporters write, with their constants; all are checked against ONNX's reference.
CHAINS = {
    "matmul and bias": (
        [
            node("Flatten", ["x"], ["f"]),
            node("MatMul", ["f", "w"], ["m"]),
            node("Add", ["m", "b"], ["y"]),
        ],
        {"w": np.linspace(-1, 1, 192 * 5, dtype=F32).reshape(192, 5), "b": np.arange(5, dtype=F32)},
    ),
    "transposed weight": (
        [
            node("Transpose", ["w"], ["t"], perm=[1, 0]),
            node("Flatten", ["x"], ["f"]),
            node("Gemm", ["f", "t", "b"], ["y"], alpha=0.5, beta=2.0),
        ],
        {"w": np.linspace(-1, 1, 192 * 5, dtype=F32).reshape(5, 192), "b": np.arange(5, dtype=F32)},
    ),
    "bias behind a convolution": (
        [
            node("Conv", ["x", "w"], ["c"]),
            node("Add", ["b", "c"], ["a"]),
            node("Relu", ["a"], ["y"]),
        ],
        {"w": WEIGHT, "b": np.arange(4, dtype=F32).reshape(1, 4, 1, 1)},
    ),
    "view(n, -1) computed from the shape": (
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Unsqueeze", ["n", "zeros"], ["u"]),
            node("Concat", ["u", "minus"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["y"]),
        ],
        {
            "zero": np.int64(0),
            "zeros": np.array([0], np.int64),
            "minus": np.array([-1], np.int64),
        },
    ),
    "part of a shape": (
        [
            node("Shape", ["x"], ["n"], end=1),
            node("Constant", [], ["rest"], value_ints=[192]),
            node("Concat", ["n", "rest"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["y"]),
        ],
        {},
    ),
    "a shape with 0 and -1": (
        [node("Reshape", ["x", "shape"], ["y"])],
        {"shape": np.array([0, -1], np.int64)},
    ),
    "a baked-in batch": (
        [node("Reshape", ["x", "shape"], ["y"])],
        {"shape": np.array([2, 192], np.int64)},
    ),
    "slices": (
        [
            node("Slice", ["x", "first", "last", "axes", "steps"], ["s"]),
            node("Slice", ["s", "minus", "huge", "one"], ["y"]),
        ],
        {
            "first": np.array([1, -5], np.int64),
            "last": np.array([2**63 - 1, 7], np.int64),
            "axes": np.array([-2, 3], np.int64),
            "steps": np.array([3, 2], np.int64),
            "minus": np.array([-2], np.int32),
            "huge": np.array([2**31 - 1], np.int32),
            "one": np.array([1], np.int32),
        },
    ),
    "pads of some axes": (
        [node("Pad", ["x", "pads", "", "axes"], ["y"], mode="constant")],
        {"pads": np.array([1, 0, 2, 3], np.int64), "axes": np.array([-1, 1], np.int64)},
    ),
    "pads and zero as a value": (
        [node("Pad", ["x", "pads", "value"], ["y"])],
        {"pads": np.array([0, 1, 2, 3, 0, 4, 5, 6], np.int64), "value": F32(0)},
    ),
    "mean without axes kept, squeezed": (
        [
            node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
            node("Squeeze", ["m", "back"], ["y"]),
        ],
        {"axes": np.array([-1, -2], np.int64), "back": np.array([3, 2], np.int64)},
    ),
    "mean to a vector": (
        [node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)],
        {"axes": np.array([2, 3], np.int64)},
    ),
    "clip with one limit": ([node("Clip", ["x", "", "six"], ["y"])], {"six": F32(0.5)}),
    "depthwise, dilated, asymmetric": (
        [node("Conv", ["x", "w"], ["y"], group=3, dilations=[2, 1], pads=[0, 1, 2, 0])],
        {"w": np.linspace(-1, 1, 6 * 6, dtype=F32).reshape(6, 1, 3, 2)},
    ),
    "two branches": (
        [
            node("Relu", ["x"], ["a"]),
            node("GlobalMaxPool", ["x"], ["b"]),
            node("GlobalAveragePool", ["a"], ["c"]),
            node("Concat", ["b", "c"], ["d"], axis=-3),
            node("Flatten", ["d"], ["y"], axis=-3),
        ],
        {},
    ),
    "dropout": (
        [node("Dropout", ["x", "ratio", "training"], ["d"]), node("Identity", ["d"], ["y"])],
        {"ratio": F32(0.5), "training": np.bool_(False)},
    ),
}


@pytest.mark.parametrize("batch", [2, "n"])
@pytest.mark.parametrize("name", CHAINS)
def test_chains_that_exporters_write(name, batch, tmp_path):
    nodes, weights = CHAINS[name]
    model = make(nodes, weights, (batch, 3, 8, 8))
    if (name, batch) == ("a baked-in batch", "n"):
        with pytest.raises(ModelError, match=r"Reshape from \(n, 3, 8, 8\) to \(2, 192\) \(the"):
            from_onnx(write(tmp_path, model), "net")
        return
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(F32)
    graph = from_onnx(write(tmp_path, model), "net")
    wanted = ReferenceEvaluator(model).run(None, {"x": x})[0]
    for part in (graph, simplify(graph)):
        got = run_graph(part, torch.from_numpy(x))[0].numpy()
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER"])
def test_a_strided_shortcut_with_same_padding_reads_every_second_element(rule, tmp_path):
    conv = node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad=rule)
    graph = read(tmp_path, conv, w=np.ones((1, 1, 1, 1), F32), shape=(1, 1, 8, 8))
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.equal(run_graph(graph, x)[0], x[:, :, ::2, ::2])


def test_attributes_of_old_operator_sets(tmp_path):
    nodes = [
        node("Slice", ["x"], ["s"], axes=[2], starts=[1], ends=[100]),
        node("Pad", ["s"], ["p"], pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.0),
        node("Clip", ["p"], ["c"], min=0.0, max=6.0),
        node("Dropout", ["c"], ["d"], ratio=0.5),
        node("ReduceMean", ["d"], ["m"], axes=[2, 3]),
        node("Squeeze", ["m"], ["y"], axes=[2, 3]),
    ]
    graph = simplify(read(tmp_path, *nodes, opset=7))
    assert [n.op for n in graph.nodes] == ["input", "slice", "pad", "clip", "avg_pool", "flatten"]
    assert (graph.nodes[3].lo, graph.nodes[3].hi) == (0.0, 6.0)


def test_initializers_may_be_listed_as_inputs(tmp_path):
    model = make([node("Conv", ["x", "a.b.weight"], ["y"])], {"a.b.weight": WEIGHT})
    model.graph.input.insert(0, tensor_info("a.b.weight", WEIGHT.shape))
    graph = from_onnx(write(tmp_path, model), "net")
    assert [(n.name, n.op) for n in graph.nodes] == [("input", "input"), ("a.b", "conv2d")]


def test_every_handler_is_an_operator_of_every_set():
    for opset in OPSETS:
        for op in onnx_ops.ONNX_HANDLERS:
            schema = onnx.defs.get_schema(op, opset, "")
            assert schema.name == op


def test_constants_may_be_anything_that_onnx_can_write(tmp_path):
    values = np.array([2, 3], np.int64)
    typed = helper.make_tensor("t", TensorProto.INT64, [2], values)
    for constant in (
        node("Constant", [], ["a"], value_ints=[2, 3]),
        node("Constant", [], ["a"], value=numpy_helper.from_array(values)),
        node("Constant", [], ["a"], value=typed),
    ):
        graph = read(tmp_path, constant, node("ReduceMean", ["x", "a"], ["y"]))
        assert [n.op for n in graph.nodes] == ["input", "avg_pool"]
