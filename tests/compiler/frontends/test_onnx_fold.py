"""Operators on constants, and those whose form changed, in every operator set: like onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from flexhyca.compiler.execute import run_graph
from flexhyca.compiler.frontends.frontend_onnx import _attributes, from_onnx
from flexhyca.compiler.frontends.onnx_file import OPSETS
from flexhyca.compiler.frontends.onnx_fold import FOLDS, fold
from flexhyca.compiler.passes import simplify
from flexhyca.errors import ModelError
from flexhyca.tests.compiler.frontends.onnx_models import make, tensor_info, write

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is a dev dependency")

F32, I64 = np.float32, np.int64
RNG = np.random.default_rng(0)
A = RNG.normal(size=(2, 3, 4)).astype(F32)
WHOLE = np.array([-9, -5, -1, 0, 1, 5, 9, 7], np.int64)


def _ints(*values):
    return np.array(values, I64)


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:  # an operator set that it does not know, in one of a dozen types
        return None


def folds(opset):
    """(operator, inputs, attributes) in the form of an operator set."""
    old = opset < 13
    for op in ("Add", "Sub", "Mul", "Div"):
        if opset < 7:
            yield op, [A, A[0, :, 0]], {"broadcast": 1, "axis": 1}
            yield op, [A, A[0]], {"broadcast": 1}
            yield op, [A, A], {}
        else:
            yield op, [A, A[:, :1]], {}
            yield op, [A[0, 0], A], {}
            yield op, [WHOLE, np.array([2, -2, 3, -3, 4, -4, -2, 7], I64)], {}
    for kind, values in ((TensorProto.INT64, A), (TensorProto.FLOAT, WHOLE), (9, A), (6, A * 9)):
        yield "Cast", [values], {"to": kind}
    yield "Concat", [A, A[:1]], {"axis": 0}
    yield "Concat", [A, A[..., :2]], {"axis": 2}
    if opset >= 9:
        yield "ConstantOfShape", [_ints(2, 3)], {}
        value = helper.make_tensor("v", TensorProto.INT64, [1], [7])
        yield "ConstantOfShape", [_ints(3)], {"value": value}
        yield "ConstantOfShape", [_ints()], {}
    yield "Flatten", [A], {"axis": 0}
    yield "Flatten", [A], {}
    yield "Flatten", [A], {"axis": 3}
    yield "Gather", [A, np.array([[0, 1], [1, 0]], I64)], {}
    yield "Gather", [A, np.array(2, I64)], {"axis": 1}
    yield "Identity", [A], {}
    yield "Neg", [A], {}
    yield "Reshape", [A, _ints(0, -1)], {}
    yield "Reshape", [A, _ints(4, 3, 2)], {}
    if opset < 10:
        yield "Slice", [A], {"starts": [1, 0], "ends": [1000, -1], "axes": [1, 2]}
        yield "Slice", [A], {"starts": [0, 1], "ends": [1, -1]}
    else:
        yield "Slice", [A, _ints(1, 3), _ints(1000, -1000), _ints(1, 2), _ints(1, -2)], {}
        yield "Slice", [A, _ints(-1), _ints(-5), _ints(2), _ints(-1)], {}
        yield "Slice", [A, _ints(0), _ints(1)], {}
    one = A[:, :1, :1]
    yield "Squeeze", [one], {}
    yield "Squeeze", [one, *([] if old else [_ints(1)])], {"axes": [1]} if old else {}
    yield "Unsqueeze", [A, *([] if old else [_ints(0, 3)])], {"axes": [0, 3]} if old else {}
    if opset >= 11:
        yield "Unsqueeze", [A, *([] if old else [_ints(-1)])], {"axes": [-1]} if old else {}
    yield "Transpose", [A], {}
    yield "Transpose", [A], {"perm": [2, 0, 1]}


@pytest.mark.parametrize("opset", OPSETS)
def test_a_folded_value_is_that_of_onnxruntime(opset):
    compared, tried = set(), set()
    for op, inputs, attributes in folds(opset):
        node = helper.make_node(op, [f"i{i}" for i in range(len(inputs))], ["y"], **attributes)
        own = {
            title: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v
            for title, v in _attributes(node, opset).items()
        }
        got = fold(op, inputs, own, opset, 1 << 20)
        tried.add(op)
        graph = helper.make_graph(
            [node],
            "g",
            [
                tensor_info(f"i{i}", array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
                for i, array in enumerate(inputs)
            ],
            [helper.make_empty_tensor_value_info("y")],
        )
        version = [helper.make_opsetid("", opset)]
        found = session(helper.make_model(graph, opset_imports=version, ir_version=8))
        if found is None:
            continue
        wanted = found.run(None, {f"i{i}": array for i, array in enumerate(inputs)})[0]
        assert got.dtype == wanted.dtype, op
        np.testing.assert_array_equal(got, wanted, err_msg=f"{op} {attributes}")
        compared.add(op)
    assert tried | {"ConstantOfShape"} == set(FOLDS)
    if 7 <= opset <= 23:  # beyond, onnxruntime may not know the set yet
        assert compared == tried


X = RNG.random((1, 3, 6, 6)).astype(F32)
K = np.array([0.5, -2, 3], F32)
node = helper.make_node


def networks(opset):
    """name -> (nodes, weights) of operators whose form depends on the operator set."""
    given, axes = opset >= 13, {"axes": _ints(1, 2)}
    # constants on the way to a use
    yield (
        "unsqueezed bias",
        [
            node("Unsqueeze", ["k", *(["axes"] if given else [])], ["u"],
                 **({} if given else {"axes": [1, 2]})),
            node("Add", ["x", "u"], ["y"], **({"broadcast": 1, "axis": 1} if opset < 7 else {})),
        ],
        {"k": K, **(axes if given else {})},
    )  # fmt: skip
    if opset >= 7:
        k = K.reshape(3, 1, 1)
        for op in ("Add", "Sub", "Mul", "Div"):
            yield f"{op} constant", [node(op, ["x", "k"], ["y"])], {"k": k}
            if op != "Div":
                yield f"constant {op}", [node(op, ["k", "x"], ["y"])], {"k": k}
            yield f"{op} scalar", [node(op, ["x", "k"], ["y"])], {"k": F32(2.5)}
    else:
        for op in ("Add", "Sub", "Mul", "Div"):
            along = {"broadcast": 1, "axis": 1}
            yield f"{op} constant", [node(op, ["x", "k"], ["y"], **along)], {"k": K}
    squeeze = [["axes"], {}] if given else [[], {"axes": [2]}]
    last = [["last"], {}] if given else [[], {"axes": [2]}]
    yield (
        "two squeezes",
        [
            node("GlobalAveragePool", ["x"], ["p"]),
            node("Squeeze", ["p", *squeeze[0]], ["s"], **squeeze[1]),
            node("Relu", ["s"], ["r"]),
            node("Squeeze", ["r", *last[0]], ["t"], **last[1]),
            node("MatMul", ["t", "w"], ["y"]),
        ],
        {"w": np.eye(3, dtype=F32) * 2, **({"axes": _ints(2), "last": _ints(2)} if given else {})},
    )
    back = [["both"], {}] if given else [[], {"axes": [2, 3]}]
    yield (
        "squeezed and back",
        [
            node("GlobalMaxPool", ["x"], ["p"]),
            node("Squeeze", ["p", *back[0]], ["s"], **back[1]),
            node("Unsqueeze", ["s", *back[0]], ["u"], **back[1]),
            node("Conv", ["u", "w"], ["y"]),
        ],
        {"w": np.ones((2, 3, 1, 1), F32), **({"both": _ints(2, 3)} if given else {})},
    )
    if opset < 11:
        yield "clip", [node("Clip", ["x"], ["y"], min=0.2, max=0.6)], {}
        yield "pad", [node("Pad", ["x"], ["y"], pads=[0, 1, 0, 2, 0, 0, 3, 0])], {}
    else:
        yield "clip", [node("Clip", ["x", "", "hi"], ["y"])], {"hi": F32(0.6)}
        yield "pad", [node("Pad", ["x", "p"], ["y"])], {"p": _ints(0, 1, 0, 2, 0, 0, 3, 0)}
    if opset < 18:
        yield "mean", [node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)], {}
    else:
        yield "mean", [node("ReduceMean", ["x", "a"], ["y"], keepdims=0)], {"a": _ints(2, -1)}
    if opset < 10:
        yield "slice", [node("Slice", ["x"], ["y"], starts=[1], ends=[9], axes=[2])], {}
    else:
        weights = {"s": _ints(1), "e": _ints(9), "a": _ints(2), "t": _ints(2)}
        yield "slice", [node("Slice", ["x", "s", "e", "a", "t"], ["y"])], weights
    if opset >= 9:
        yield (
            "constant weight",
            [node("ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("v", 1, [1], [0.25])),
             node("Conv", ["x", "w"], ["y"])],
            {"s": _ints(4, 3, 3, 3)},
        )  # fmt: skip
    if opset >= 10:
        pool = {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [0, 0, 1, 1]}
        yield "ceil", [node("MaxPool", ["x"], ["y"], **pool)], {}
    yield "dropout", [node("Dropout", ["x"], ["y"])], {}
    yield (
        "batch norm",
        [node("BatchNormalization", ["x", "k", "k", "k", "v"], ["y"])],
        {"k": K, "v": np.abs(K)},
    )
    gemm = {"broadcast": 1} if opset < 7 else {}
    yield (
        "flattened",
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], **gemm)],
        {"w": RNG.normal(size=(108, 4)).astype(F32), "b": np.ones(4, F32)},
    )


@pytest.mark.parametrize("opset", OPSETS)
def test_a_network_is_that_of_onnxruntime(opset, tmp_path):
    compared = 0
    for name, nodes, weights in networks(opset):
        model = make(nodes, weights, X.shape, opset=opset)
        graph = from_onnx(write(tmp_path, model), name)
        found = session(model)
        if found is None:
            continue
        wanted = found.run(None, {"x": X})[0]
        for part in (graph, simplify(graph)):
            got = run_graph(part, torch.from_numpy(X.copy()))[0].numpy()
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
        compared += 1
    if 7 <= opset <= 23:
        assert compared > 12


@pytest.mark.parametrize("opset", [6, 12, 13, 20])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_the_last_softmax_is_left_out(op, opset, tmp_path):
    nodes = [
        node("GlobalAveragePool", ["x"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node(op, ["f"], ["y"], axis=1),
    ]
    model, said = make(nodes, {}, X.shape, opset=opset), []
    graph = from_onnx(write(tmp_path, model), "net", said.append)
    assert said == [f"net: the last {op} is left out, outputs are what it reads (same order)"]
    got = run_graph(graph, torch.from_numpy(X))[0].numpy()
    np.testing.assert_allclose(got, X.mean((2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        (
            [node("Softmax", ["x"], ["s"], axis=1), node("Relu", ["s"], ["y"])],
            "Softmax that is not the network's end",
        ),
        ([node("Softmax", ["x"], ["y"], axis=3)], "Softmax along axis 3 of (1, 3, 6, 6)"),
        ([node("Mul", ["x", "x"], ["y"])], "Mul of two computed values"),
        ([node("Div", ["k", "x"], ["y"])], "Div by a computed value"),
        ([node("Div", ["x", "zero"], ["y"])], "Div of a constant that is 0, or not finite"),
        ([node("Mul", ["x", "wide"], ["y"])], "which is not one per channel of (1, 3, 6, 6)"),
        (
            [node("Div", ["i", "j"], ["q"]), node("Reshape", ["x", "q"], ["y"])],
            "Div by zero",
        ),
        (
            [node("ConstantOfShape", ["big"], ["c"]), node("Mul", ["x", "c"], ["y"])],
            "ConstantOfShape of large constants",
        ),
    ],
)
def test_refused(nodes, problem, tmp_path):
    weights = {
        "k": K.reshape(3, 1, 1),
        "zero": F32(0),
        "wide": np.ones((3, 6, 1), F32),
        "i": _ints(1),
        "j": _ints(0),
        "big": _ints(2**40, 2**20),
    }
    used = {value for each in nodes for value in each.input}
    model = make(nodes, {k: v for k, v in weights.items() if k in used}, X.shape)
    with pytest.raises(ModelError) as caught:
        from_onnx(write(tmp_path, model), "net")
    assert problem in str(caught.value)


def test_another_shape_of_onnx_is_a_warning(tmp_path):
    """Its shape inference is wrong for ceil_mode below operator set 19; torch and we agree."""
    pool = {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}
    nodes, said = [node("MaxPool", ["x"], ["p"], **pool), node("Flatten", ["p"], ["y"])], []
    path = write(tmp_path, make(nodes, {}, (1, 3, 5, 12), opset=11))
    graph = from_onnx(path, "net", said.append)
    assert graph.node("max_pool2d").shape == (3, 2, 4)
    assert said == [
        "net: value p has shape (3, 2, 4) here, ONNX's own shape inference finds [3, 2, 5], which "
        "it has wrong for ceil_mode below operator set 19"
    ]
