"""ONNX file -> graph: the same function, the same names, one message for all that is refused."""

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
from flexhyca.compiler.frontends import frontend_onnx, onnx_ops
from flexhyca.compiler.frontends.frontend_onnx import from_onnx
from flexhyca.compiler.frontends.frontend_torch import from_torch
from flexhyca.compiler.frontends.onnx_file import OPSETS
from flexhyca.compiler.frontends.onnx_names import layer_path
from flexhyca.compiler.model import load_model
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


def refusal(tmp_path, model) -> str:
    """The message, without the folder, that the file is refused with."""
    with pytest.raises(ModelError) as caught:
        from_onnx(write(tmp_path, model), "net")
    message = str(caught.value)
    assert message.isprintable()
    return message.replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER")


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
        assert "Reshape from (n, 3, 8, 8) to (2, 192) (only" in refusal(tmp_path, model)
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


def test_all_unsupported_operators_are_reported_together(tmp_path):
    nodes = [
        node("Sigmoid", ["x"], ["a"], name="first"),
        node("Sigmoid", ["a"], ["b"], name="second"),
        node("Foo", ["b"], ["c"], name="foo", domain="my.own"),
        node("Relu", ["c"], ["d"]),
        node("AveragePool", ["x"], ["e"], kernel_shape=[2, 2], pads=[1, 1, 1, 1], name="pool"),
        node("Add", ["d", "e"], ["y"]),
    ]
    assert refusal(tmp_path, make(nodes)) == (
        "net: 4 unsupported operation(s): Sigmoid x2 (first, second); my.own:Foo x1 (foo); "
        "AveragePool with a divisor that differs at the edge (ceil_mode, count_include_pad) x1 "
        "(pool); supported are Add, AveragePool, BatchNormalization, Clip, Concat, Conv, Dropout, "
        "Flatten, Gemm, GlobalAveragePool, GlobalMaxPool, Identity, MatMul, MaxPool, Pad, "
        "ReduceMean, Relu, Reshape, Slice, Squeeze"
    )


ONE = np.ones(1, F32)
SAME = "SAME_UPPER"
BRANCH = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [tensor_info("z", None)])


@pytest.mark.parametrize(
    ("nodes", "weights", "problem"),
    [
        ([node("Conv", ["x", "x"], ["y"])], {}, "Conv with a computed weight x1 (y)"),
        (
            [node("Conv", ["x", "w"], ["y"])],
            {"w": WEIGHT.astype(np.float16)},
            "Conv with float16 values; only float32 is read x1 (y)",
        ),
        (
            [node("Conv", ["x", "w"], ["y"])],
            {"w": WEIGHT.astype(np.float64)},
            "Conv with double values; only float32 is read x1 (y)",
        ),
        (
            [node("Conv", ["x", "w"], ["y"], group=2)],
            {"w": WEIGHT},
            "Conv of 3 channels in 2 groups with a weight of shape (4, 3, 1, 3)",
        ),
        (
            [node("Conv", ["x", "w"], ["y"], pads=[2**40, 0, 0, 0])],
            {"w": WEIGHT},
            f"Conv with padding ({2**40}, 0, 0, 0, 0, 0), which is not in 0..65535",
        ),
        (
            [node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1], strides=[1, 5], auto_pad=SAME)],
            {},
            "MaxPool with SAME_UPPER, stride 5 and dilation 1, where implementations differ",
        ),
        (
            [node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1], ceil_mode=1, auto_pad=SAME)],
            {},
            "MaxPool with both auto_pad and ceil_mode, which ONNX leaves open",
        ),
        ([node("Relu", ["x"], ["y"], alpha=1)], {}, "Relu with an attribute alpha that it does"),
        ([node("MaxPool", ["x"], ["y"])], {}, "MaxPool without its attribute kernel_shape"),
        (
            [node("If", ["x"], ["y"], then_branch=BRANCH, else_branch=BRANCH)],
            {},
            "net: 1 unsupported operation(s): If x1 (y)",
        ),
        ([node("Add", ["x", "one"], ["y"])], {"one": np.ones(8, F32)}, "not one per channel"),
        (
            [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), node("Relu", ["i"], ["z"])],
            {},
            "MaxPool with a second result that is read (i)",
        ),
        (
            [node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"])],
            {"s": np.array([2**40, 2**20], np.int64)},
            "ConstantOfShape of large constants",
        ),
        (
            [node("Reshape", ["x", "s"], ["y"])],
            {"s": np.array([1, 384], np.int64)},
            "Reshape from (2, 3, 8, 8) to (1, 384) (only flattening is)",
        ),
    ],
)
def test_unsupported_uses_say_which(nodes, weights, problem, tmp_path):
    assert problem in refusal(tmp_path, make(nodes, weights))


def with_tensor(**fields):
    """A convolution whose weight's protobuf has these fields."""
    model = make([node("Conv", ["x", "w"], ["y"])], {"w": WEIGHT})
    tensor = model.graph.initializer[0]
    for title, value in fields.items():
        tensor.ClearField(title)
        if isinstance(value, list):
            getattr(tensor, title).extend(value)
        else:
            setattr(tensor, title, value)
    return model


def external(**entries):
    model = with_tensor(raw_data=b"", data_location=TensorProto.EXTERNAL)
    model.graph.initializer[0].ClearField("raw_data")
    for key, value in entries.items():
        model.graph.initializer[0].external_data.add(key=key, value=str(value))
    return model


RELU = [node("Relu", ["x"], ["y"])]


def changed(change):
    model = make(RELU)
    change(model)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"", "net.onnx: not an ONNX file: it holds no graph or no operator set"),
        (b"hello world, I am a text", "net.onnx: not an ONNX file, or cut short (it is no such"),
        (make(RELU).SerializeToString()[:-3], "net.onnx: not an ONNX file, or cut short"),
        (make(RELU, opset=99), "net.onnx: operator set ai.onnx 99; known is ai.onnx 6 to 28; expo"),
        (make(RELU, shape=(2, 3, "height", 8)), "dimension 2 of input x is dynamic (height); exp"),
        (make(RELU, shape=(2, 192)), "the shape of input x is (2, 192), wanted (n, c, h, w)"),
        (make(RELU, shape=(2, 0, 8, 8)), "input x has shape [2, 0, 8, 8]; sizes must be positive"),
        (make(RELU, shape=(2, 1, 2**40, 1)), "an input with a result of shape (1, 1099511627776"),
        (make(RELU, output="z"), "net.onnx: output z is not computed from the input"),
        (make([node("Relu", ["y"], ["y"])]), "node y (Relu) reads y, which no earlier node yields"),
        (
            make([node("Relu", ["a"], ["y"]), node("Relu", ["x"], ["a"])]),
            "net.onnx: node y (Relu) reads a, which no earlier node yields: the nodes are out of",
        ),
        (make([*RELU, *RELU]), "net.onnx: node y: value y is defined twice"),
        (
            changed(lambda m: m.graph.input.append(tensor_info("mask", (2, 3, 8, 8)))),
            "net.onnx: 2 inputs (x, mask), wanted 1",
        ),
        (
            changed(lambda m: m.graph.output.append(tensor_info("x", (2, 3, 8, 8)))),
            "net.onnx: 2 outputs (y, x), wanted 1",
        ),
        (
            changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 10)),
            "net.onnx: input x is float16, wanted float32",
        ),
        (
            changed(lambda m: setattr(m.graph.node[0], "name", "a\nb\x1b[2J")),
            "net.onnx: damaged: 'a\\nb\\x1b[2J' is no name",
        ),
        (
            make(
                [
                    node("QuantizeLinear", ["x", "s"], ["q"]),
                    node("DequantizeLinear", ["q", "s"], ["y"]),
                ],
                {"s": ONE},
            ),
            "already quantised (DequantizeLinear, QuantizeLinear); export the float network",
        ),
        (
            with_tensor(dims=[1 << 30, 1 << 30, 1, 1]),
            "FOLDER: tensor 'w' of shape (1073741824, 1073741824, 1, 1): holds 144 bytes, wanted",
        ),
        (with_tensor(dims=[-4, 3, 1, 3]), "its size is negative or it is stored in segments"),
        (external(location="w.bin"), "its data file 'w.bin' is missing; keep it beside the file"),
        (external(location="../w.bin"), "its data '../w.bin' lies outside the file's folder"),
        (external(location="/etc/passwd"), "its data '/etc/passwd' lies outside the file's folder"),
        (external(), "its data '' lies outside the file's folder"),
        (
            external(location="net.onnx", offset=1 << 40),
            f"needs 144 bytes, has 144 at {1 << 40} of the",
        ),
        (external(location="net.onnx", length=4), "needs 144 bytes, has 4 at 0 of the"),
        (external(location="net.onnx", offset="x"), "cannot read where its data is: invalid lit"),
    ],
)
def test_bad_files(model, message, tmp_path):
    assert message in refusal(tmp_path, model)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret")
    assert "its data 'w.bin' lies outside" in refusal(folder, external(location="w.bin"))


def test_weights_beside_the_file(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"12345678" + WEIGHT.tobytes())
    path = write(tmp_path, external(location="w.bin", offset=8, length=WEIGHT.nbytes))
    assert np.array_equal(from_onnx(path, "net").nodes[1].params["weight"], WEIGHT)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.onnx: no such file"):
        load_model(tmp_path / "nothing.onnx")


def test_a_misread_operator_does_not_pass(monkeypatch, tmp_path):
    wrong = {**onnx_ops.ONNX_HANDLERS, "GlobalAveragePool": onnx_ops._identity}
    monkeypatch.setattr(frontend_onnx, "ONNX_HANDLERS", wrong)
    message = refusal(tmp_path, make([node("GlobalAveragePool", ["x"], ["y"])]))
    assert message == (
        "net.onnx: value y has shape (3, 8, 8) here, ONNX infers [3, 1, 1]; please report the file"
    )


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
