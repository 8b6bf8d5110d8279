"""Small ONNX models for tests, and the ONNX project's own cases as networks of one input."""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from flexhyca.compiler.activations import ACTIVATIONS
from flexhyca.compiler.frontends.onnx_ops import ONNX_HANDLERS

OPSET = 20
ACTIVATION_OPERATORS = [operator for row in ACTIVATIONS.values() for operator in row.onnx]


def tensor_info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def make(nodes, weights=None, shape=(2, 3, 8, 8), output="y", opset=OPSET):
    """A model of these nodes with input x; weights : name -> array."""
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor_info("x", shape)],
        [tensor_info(output, None)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def pooled_conv(weight):
    """A convolution of an 8x8 map, a pool over all and nothing else. weight : (2, 1, 3, 3)."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    return make(nodes, {"w": weight}, (1, 1, 8, 8), opset=17)


def write(folder: Path, model, name="net.onnx") -> Path:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def export(module, example, path: Path, *, new: bool, **options) -> Path:
    """`module` through one of torch's exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), path, dynamo=new, verbose=False, **options)
    return path


#: Operators whose result has the shape of the first input, so that its axes may be anything.
ELEMENTWISE = ("Add", "Dropout", "Identity", *ACTIVATION_OPERATORS)


#: Files of onnx.backend.test.case.node; importing all 150 of them takes seconds.
_FILES = (
    *("add", "averagepool", "batch_normalization", "concat", "conv", "dropout", "flatten"),
    *("gemm", "globalaveragepool", "globalmaxpool", "identity", "matmul", "maxpool", "pad"),
    *("reducemean", "reshape", "slice", "squeeze", "div", "mul", "sub", "unsqueeze", "softmax"),
    "logsoftmax",
    *(operator.lower() for operator in ACTIVATION_OPERATORS),
)


@lru_cache(maxsize=1)
def backend_cases():
    """name -> (model, inputs, outputs, (rtol, atol)): ONNX's cases of the operators we support."""
    from onnx.backend.test.case import node
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the data has overflows on purpose
        for file in _FILES:
            import_module(f"onnx.backend.test.case.node.{file}")
    cases = list(node._NodeTestCases)
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        cases += load_model_tests(kind=kind)
    found = {}
    for case in cases:
        model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
        used = {node.op_type for node in model.graph.node} - {"Constant"}
        if used and used <= set(ONNX_HANDLERS):
            found[case.name] = (model, *_data(case, model), (case.rtol, case.atol))
    return found


def _data(case, model):
    if case.data_sets is not None:
        inputs, outputs = case.data_sets[0]
        return [_array(i) for i in inputs], [_array(o) for o in outputs]
    folder = Path(case.model_dir) / "test_data_set_0"

    def read(kind):
        files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.partition("_")[2]))
        return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]

    return read("input"), read("output")


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def network_of_case(model, inputs, outputs):
    """The case as a network (model, x, wanted) that reads one map (n, c, h, w).

    Inputs but the first become weights; both operands of Add and all of Concat are cut from the
    channels of one map.  A matrix is a flattened map; elementwise operators get missing axes.
    """
    network = onnx.ModelProto()
    network.CopyFrom(model)
    graph = network.graph
    kinds = {i.name: i.type.tensor_type.elem_type for i in graph.input}
    held = {t.name for t in graph.initializer}
    names = [i.name for i in graph.input if i.name not in held]
    if not names or any(kinds[name] != TensorProto.FLOAT for name in names[:1]):
        return network, None, None
    op = graph.node[-1].op_type
    rank = np.ndim(inputs[0])
    many = op == "Add" or (op == "Concat" and rank == 2)
    many = many and len(names) > 1 and all(np.shape(i) == np.shape(inputs[0]) for i in inputs)
    values = [np.asarray(i) for i in (inputs if many else inputs[:1])]
    wanted = [np.asarray(o) for o in outputs]
    front = []
    if op in ELEMENTWISE and rank in (1, 3):
        axes = (0, 2, 3) if rank == 1 else (0,)
        values = [np.expand_dims(v, axes) for v in values]
        wanted = [np.expand_dims(w, axes) for w in wanted]
    matrix = values[0].ndim == 2
    if matrix:
        values = [v[:, :, None, None] for v in values]
    del graph.input[:]
    for name, value in zip(names[len(values) :], inputs[len(values) :], strict=False):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    if not many and not matrix:
        graph.input.append(tensor_info(names[0], values[0].shape))
        return network, values[0], wanted
    x = np.concatenate(values, axis=1)
    graph.input.append(tensor_info("whole", x.shape))
    width = values[0].shape[1]
    for i, name in enumerate(names[: len(values)]):
        part = name if not matrix else f"{name}_map"
        bounds = {"starts": [i * width], "ends": [(i + 1) * width], "axes": [1]}
        if model.opset_import[0].version < 10:
            front.append(helper.make_node("Slice", ["whole"], [part], **bounds))
        else:
            for title, value in bounds.items():
                constant = numpy_helper.from_array(np.array(value, np.int64), f"{part}_{title}")
                graph.initializer.append(constant)
            front.append(
                helper.make_node("Slice", ["whole", *(f"{part}_{t}" for t in bounds)], [part])
            )
        if matrix:
            front.append(helper.make_node("Flatten", [part], [name], axis=1))
    own = list(graph.node)
    del graph.node[:]
    graph.node.extend([*front, *own])
    return network, x, wanted
