"""ONNX files that are refused: one message for all that is wrong, which names file and node."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from flexhyca.compiler.frontends import frontend_onnx, onnx_ops
from flexhyca.compiler.frontends.frontend_onnx import from_onnx
from flexhyca.compiler.model import load_model
from flexhyca.errors import ModelError
from flexhyca.tests.compiler.frontends.onnx_models import (
    make,
    tensor_info,
    write,
)

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
        f"(pool); supported are {', '.join(onnx_ops.ONNX_HANDLERS)}"
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
            "Reshape from (2, 3, 8, 8) to (1, 384) (the batch must stay)",
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
        (
            make(RELU, shape=(2, 9, 9)),
            "the shape of input x is (2, 9, 9), wanted (n, c, h, w) or (n",
        ),
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


def test_a_misread_operator_does_not_pass_in_silence(monkeypatch, tmp_path):
    wrong = {**onnx_ops.ONNX_HANDLERS, "GlobalAveragePool": onnx_ops._identity}
    monkeypatch.setattr(frontend_onnx, "ONNX_HANDLERS", wrong)
    path = write(tmp_path, make([node("GlobalAveragePool", ["x"], ["y"])]))
    assert load_model(path).warnings == (
        "net.onnx: value y has shape (3, 8, 8) here, ONNX's own shape inference finds [3, 1, 1], "
        "please report the file",
    )
