"""Damaged ONNX files end in one line of FlexhycaError, or in the network that they still hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexhyca.compiler.model import load_model
from flexhyca.compiler.shapes import shapes_of
from flexhyca.config import Arithmetic
from flexhyca.errors import FlexhycaError
from flexhyca.tests.compiler.frontends.onnx_models import export, write
from flexhyca.tests.compiler.frontends.zoo import SHAPES, ZOO, build

WILD = (0, -1, 1, 2, 3, 255, 65536, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
#: Varints that claim lengths, sizes and numbers far beyond the file.
LONG = (b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01", b"\x80\x80\x80\x80\x10")
OPS = ("If", "Loop", "Transpose", "Shape", "Gather", "ConstantOfShape", "Expand", "Cast", "Concat")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every network of the zoo through torch's old exporter, in the order of `ZOO`."""
    folder = tmp_path_factory.mktemp("zoo")
    found = []
    for name in ZOO:
        path = folder / f"{name}.onnx"
        export(build(name), torch.zeros(2, *SHAPES[name]), path, new=False)
        found.append(path.read_bytes())
    return found


@st.composite
def raw_damage(draw, content: bytes) -> bytes:
    """Bytes cut off, flipped, repeated elsewhere, or replaced by a wild number."""
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        at = draw(st.integers(0, max(0, size - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "splice", "number"]))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip":
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        elif kind == "splice":
            begin, length = draw(st.integers(0, size)), draw(st.integers(0, 40))
            content = content[:at] + content[begin : begin + length] + content[at:]
        else:
            content = content[:at] + draw(st.sampled_from(LONG)) + content[at + 1 :]
    return content


@st.composite
def damage(draw, content: bytes) -> bytes:
    """A file that still parses, with wild numbers, other operators or other connections."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    graph = model.graph
    values = [v for node in graph.node for v in node.output] + [t.name for t in graph.initializer]
    wild = st.sampled_from(WILD)
    for _ in range(draw(st.integers(1, 3))):
        node = draw(st.sampled_from(list(graph.node)))
        tensor = draw(st.sampled_from(list(graph.initializer)))
        kind = draw(st.integers(0, 8))
        if kind == 0 and tensor.dims:
            tensor.dims[draw(st.integers(0, len(tensor.dims) - 1))] = draw(wild)
        elif kind == 1:
            tensor.data_type = draw(st.integers(0, 30))
        elif kind == 2 and node.attribute:
            attribute = draw(st.sampled_from(list(node.attribute)))
            if attribute.ints:
                attribute.ints[draw(st.integers(0, len(attribute.ints) - 1))] = draw(wild)
            attribute.i = draw(wild)
        elif kind == 3 and node.attribute:
            node.attribute.remove(draw(st.sampled_from(list(node.attribute))))
        elif kind == 4 and node.input:
            at = draw(st.integers(0, len(node.input) - 1))
            node.input[at] = draw(st.sampled_from([*values, "", "nothing"]))
        elif kind == 5:
            node.op_type = draw(st.sampled_from([*OPS, *(n.op_type for n in graph.node)]))
        elif kind == 6:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[draw(st.integers(0, len(dims) - 1))].dim_value = draw(wild)
        elif kind == 7:
            model.opset_import[0].version = draw(st.integers(-1, 30))
        else:
            constants = [a.t for n in graph.node for a in n.attribute if a.t.data_type == 7]
            for constant in constants[: draw(st.integers(0, 3))]:
                numbers = np.frombuffer(constant.raw_data, np.uint8).view(np.int64).copy()
                numbers[-1:] = draw(wild)
                constant.raw_data = numbers.tobytes()
    return model.SerializeToString()


def check(folder, content):
    """Load what is left; True if it is a network."""
    try:
        shapes_of(load_model(write(folder, content)), Arithmetic())
    except FlexhycaError as error:
        message = str(error)
    else:
        return True
    assert message.isprintable()
    return False


def attack(folder, files, examples):
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(data=st.data(), which=st.integers(0, len(files) - 1), parse=st.booleans())
    def run(data, which, parse):
        check(folder, data.draw((damage if parse else raw_damage)(files[which])))

    run()


def test_damaged_files(files, tmp_path):
    assert all(check(tmp_path, content) for content in files)
    attack(tmp_path, files, 300)


@pytest.mark.slow
def test_many_damaged_files(files, tmp_path):
    attack(tmp_path, files, 5000)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div"])
@pytest.mark.parametrize("inputs", [["", "x"], ["x", ""]], ids=["left", "right"])
def test_an_operand_that_is_left_out(op, inputs, tmp_path):
    nodes = [
        onnx.helper.make_node(op, inputs, ["y"]),
        onnx.helper.make_node("Flatten", ["y"], ["z"]),
    ]
    own = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 4, 4])
    out = onnx.helper.make_tensor_value_info("z", 1, [1, 48])
    graph = onnx.helper.make_graph(nodes, "g", [own], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    assert not check(tmp_path, model.SerializeToString())
