"""An independent implementation of integer convolution agrees bit for bit: onnxruntime.

ConvInteger and MatMulInteger give int32 sums; biases, wrap and requantisation follow the
definitions in `network.fixedpoint`.
"""

import numpy as np
import pytest

from flexhyca.compiler.compile_network import compile_network
from flexhyca.config import choices, load_config
from flexhyca.network.fixedpoint import requantise, wrap
from flexhyca.network.layers import (
    Layer,
    LayerOp,
    Network,
    Tensor,
)
from flexhyca.simulator.run import simulate
from flexhyca.tests.support import random_inputs

onnx = pytest.importorskip("onnx", reason="onnx is a dev dependency")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is a dev dependency")


def _session(op, attributes, **weights):
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node(op, ["x", *weights], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, None)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _sums(network, inputs):
    """int32 sums of the network's only layer by onnxruntime: (images, h, w, c).

    ConvInteger takes unsigned activations; 128 as their zero point makes them ours. Weights the
    same: of unsigned by signed bytes, onnxruntime adds pairs in 16 bits that saturate, on
    processors with AVX2 but without VNNI.
    """
    layer = network.layers[0]
    shifted, weight = (
        (x.astype(np.int16) + 128).astype(np.uint8) for x in (inputs, network.weights[0])
    )
    zeros = {name: np.array(128, np.uint8) for name in ("x_zero", "w_zero")}
    if layer.kernel_h == network.tensors[0].h and layer.kernel_w == network.tensors[0].w:
        flat = weight.reshape(len(weight), -1).T.copy()
        session = _session("MatMulInteger", {}, w=flat, **zeros)
        out = session.run(None, {"x": shifted.reshape(len(inputs), -1)})[0]
        return out[:, None, None, :]
    attributes = {
        "kernel_shape": [layer.kernel_h, layer.kernel_w],
        "strides": [layer.stride_h, layer.stride_w],
        "dilations": [layer.dilation_h, layer.dilation_w],
        "pads": [layer.pad_top, layer.pad_left, layer.pad_top, layer.pad_left],
        "group": layer.groups,
    }
    nchw = np.ascontiguousarray(weight.transpose(0, 3, 1, 2))
    session = _session("ConvInteger", attributes, w=nchw, **zeros)
    out = session.run(None, {"x": np.ascontiguousarray(shifted.transpose(0, 3, 1, 2))})[0]
    return out.transpose(0, 2, 3, 1)


# (h, w, in, out, kernel_h, kernel_w, stride, pad, dilation, groups, shift)
LAYERS = {
    "3x3": (14, 14, 32, 48, 3, 3, 1, 1, 1, 1, 9),
    "stem 7x7/2": (32, 32, 3, 64, 7, 7, 2, 3, 1, 1, 8),
    "1x1": (7, 7, 130, 70, 1, 1, 1, 0, 1, 1, 10),
    "one channel": (9, 9, 1, 1, 3, 3, 1, 1, 1, 1, 7),
    "asymmetric kernel": (8, 11, 5, 6, 1, 5, 1, 0, 1, 1, 8),
    "dilated": (16, 16, 8, 12, 3, 3, 1, 2, 2, 1, 8),
    "strided": (15, 13, 9, 10, 3, 3, 3, 0, 1, 1, 8),
    "grouped": (10, 10, 24, 36, 3, 3, 1, 1, 1, 3, 8),
    "depthwise": (12, 12, 40, 40, 3, 3, 1, 1, 1, 40, 7),
    "1x1 map": (1, 1, 256, 100, 1, 1, 1, 0, 1, 1, 11),
    "flattened map": (6, 6, 48, 33, 6, 6, 1, 0, 1, 1, 12),
    "K beyond the buffers": (4, 4, 1024, 40, 4, 4, 1, 0, 1, 1, 16),
    "sums that wrap": (1, 1, 2000, 8, 1, 1, 1, 0, 1, 1, 16),
}


@pytest.mark.parametrize("overflow", choices("arithmetic.overflow"))
@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_onnxruntime(name, overflow):
    h, w, cin, cout, kh, kw, stride, pad, dilation, groups, shift = LAYERS[name]
    config = load_config("flexhyca-32x32", [f"arithmetic.overflow={overflow}"])
    rng = np.random.default_rng(len(name))
    low = 100 if name == "sums that wrap" else -128  # full-scale operands of one sign
    weight = rng.integers(low, 128, (cout, kh, kw, cin // groups)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, cout).astype(np.int32)
    oh, ow = (
        (size + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for size, k in ((h, kh), (w, kw))
    )
    layer = Layer(
        name,
        LayerOp.CONV,
        0,
        1,
        kernel_h=kh,
        kernel_w=kw,
        stride_h=stride,
        stride_w=stride,
        pad_top=pad,
        pad_left=pad,
        dilation_h=dilation,
        dilation_w=dilation,
        groups=groups,
        shift=shift,
    )
    network = Network(
        name,
        (Tensor("x", h, w, cin, 1.0), Tensor("y", oh, ow, cout, 1.0)),
        (layer,),
        {0: weight},
        {0: bias},
        config.arithmetic,
        0,
        1,
    )
    inputs = random_inputs(network, 2, 0)
    if low > 0:
        inputs = np.abs(inputs.astype(np.int16)).clip(100, 127).astype(np.int8)
    exact = _sums(network, inputs).astype(np.int64) + bias
    acc = wrap(exact, 24)
    assert (acc != exact).any() == (low > 0)
    expected = requantise(acc, shift, 8, "half_up", overflow)
    program = compile_network(network, config, batch=2)
    for values in ("fast", "machine"):
        result = simulate(program, inputs, values=values)
        np.testing.assert_array_equal(result.outputs, expected, err_msg=values)
