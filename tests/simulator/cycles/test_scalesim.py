"""SCALE-Sim's cycles and utilization, against figures that it reported itself."""

import pytest

from flexhyca.errors import InternalError
from flexhyca.network.layers import Layer, LayerOp, Tensor
from flexhyca.simulator.cycles.scalesim import (
    conv,
    gemm,
    layer,
    output_size,
)

# SCALE-Sim 3.0.0, CALC mode, 32x32 array: network, dataflow, layer, ifmap h and w with the padding,
# filter h and w, channels, filters, stride, total cycles, overall utilization in per cent.
ROWS = [
    ("vgg16", "os", "conv1_1", 226, 226, 3, 3, 3, 64, 1, 279103, 30.337),
    ("vgg16", "os", "fc7", 1, 1, 1, 1, 4096, 4096, 1, 532223, 3.078),
    ("vgg16", "ws", "conv1_1", 226, 226, 3, 3, 3, 64, 1, 100539, 84.218),
    ("vgg16", "ws", "fc8", 1, 1, 1, 1, 4096, 1000, 1, 389119, 1.028),
    ("vgg16", "is", "fc7", 1, 1, 1, 1, 4096, 4096, 1, 536319, 3.055),
    ("resnet50", "os", "res2a_1", 56, 56, 1, 1, 64, 64, 1, 24695, 50.796),
    ("resnet50", "os", "res3a_3", 28, 28, 1, 1, 128, 512, 1, 75999, 66.022),
    ("resnet50", "os", "res4a_3", 14, 14, 1, 1, 256, 1024, 1, 71231, 70.441),
    ("resnet50", "os", "res5a_3", 7, 7, 1, 1, 512, 2048, 1, 73471, 68.294),
    ("resnet50", "os", "fc", 1, 1, 1, 1, 2048, 1000, 1, 67519, 2.962),
    ("resnet50", "ws", "res2a_3", 56, 56, 1, 1, 64, 256, 1, 51679, 97.092),
    ("resnet50", "ws", "res3a_3", 28, 28, 1, 1, 128, 512, 1, 56191, 89.295),
    ("resnet50", "ws", "res4a_3", 14, 14, 1, 1, 256, 1024, 1, 74239, 67.587),
    ("resnet50", "is", "res2a_1", 56, 56, 1, 1, 64, 64, 1, 30967, 40.508),
    ("resnet50", "is", "res3a_3", 28, 28, 1, 1, 128, 512, 1, 60599, 82.8),
    ("resnet50", "is", "res4b_1", 14, 14, 1, 1, 1024, 256, 1, 78399, 64.001),
    ("resnet50", "is", "res5b_1", 7, 7, 1, 1, 2048, 512, 1, 77567, 64.687),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda r: "-".join(r[:3]))
def test_reported_cycles_and_utilization(row):
    _, dataflow, _, h, w, fh, fw, c, k, stride, cycles, utilization = row
    found = conv(
        dataflow,
        ifmap_h=h,
        ifmap_w=w,
        filter_h=fh,
        filter_w=fw,
        channels=c,
        filters=k,
        stride_h=stride,
        stride_w=stride,
        rows=32,
        cols=32,
    )
    assert found.cycles == cycles
    assert found.utilization == pytest.approx(utilization, abs=6e-4)  # three decimals are printed


@pytest.mark.parametrize("row", ROWS, ids=lambda r: "-".join(r[:3]))
def test_the_same_row_of_the_layer_table(row):
    _, dataflow, name, h, w, fh, fw, c, k, stride, cycles, _ = row
    pad = (fh - 1) // 2
    out_h, out_w = ((x - f) // stride + 1 for x, f in ((h, fh), (w, fw)))
    tensors = [Tensor("x", h - 2 * pad, w - 2 * pad, c, 1.0), Tensor("y", out_h, out_w, k, 1.0)]
    table = Layer(name, LayerOp.CONV, 0, 1, -1, fh, fw, stride, stride, pad, pad)
    assert layer(dataflow, table, tensors, 32, 32).cycles == cycles


def test_a_stride_that_does_not_divide_gives_one_output_too_many():
    assert output_size(224 + 6, 7, 2) == 113  # resnet50 conv1 has 112
    assert output_size(224 + 5, 7, 2) == 112
    tensors = [Tensor("x", 224, 224, 3, 1.0), Tensor("y", 112, 112, 64, 1.0)]
    conv1 = Layer("conv1", LayerOp.CONV, 0, 1, -1, 7, 7, 2, 2, 3, 3)
    assert layer("os", conv1, tensors, 32, 32) == gemm("os", 113 * 113, 147, 64, 32, 32)


def test_padding_at_the_end_only_counts_up_to_the_last_window():
    tensors = [Tensor("x", 8, 8, 3, 1.0), Tensor("y", 4, 4, 4, 1.0)]
    same = Layer("same", LayerOp.CONV, 0, 1, -1, 3, 3, 2, 2, 0, 0)  # 0 above, 1 below
    assert layer("ws", same, tensors, 4, 4) == gemm("ws", 16, 27, 4, 4, 4)


def test_groups_are_gemms_in_sequence_and_dilation_adds_no_operands():
    tensors = [Tensor("x", 8, 8, 6, 1.0), Tensor("y", 8, 8, 12, 1.0)]
    depthwise = Layer("dw", LayerOp.CONV, 0, 1, -1, 3, 3, 1, 1, 2, 2, 2, 2, 6)
    found = layer("is", depthwise, tensors, 4, 4)
    assert found.cycles == 6 * (3 * 16 * (2 + 2 * 4 + 4 - 2) - 1)
    assert found.macs == 6 * 64 * 9 * 2


def test_only_convolutions_run_on_the_array():
    with pytest.raises(InternalError, match="layer pool: MAXPOOL has no place on the array"):
        layer("os", Layer("pool", LayerOp.MAXPOOL, 0, 0), [Tensor("x", 1, 1, 1, 1.0)], 4, 4)
