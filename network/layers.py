"""The layer table: what every layer of a quantised network computes, in integers.

The quantiser writes it, the program file carries it, and every execution reads it: the cycle model,
the functional engine and the fault executions need nothing but the program.  One row is one
`Layer`; its integer fields are the descriptor that SETCFG loads into an engine.

Tensors are NHWC int8; the batch is a property of the program, so shapes here are (h, w, c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum

from ..config import Arithmetic
from .arrays import I8, I32

NO_TENSOR = -1


class LayerOp(IntEnum):
    """What a layer does. The order of its steps is fixed (docs/arithmetic.md).

    CONV     wrapped sum of products + bias -> requantise(shift) -> [add residual] -> clamp
    MAXPOOL  maximum over the window's elements inside the map -> clamp
    AVGPOOL  sum over the window (zero outside the map) -> requantise(shift) -> clamp
    ADD      two tensors: (a << lshift_a) + (b << lshift_b) -> rounded shift -> saturate -> clamp
    COPY     strided, padded copy (slice, pad, concat, stand-alone activation) -> clamp
    """

    CONV = 0
    MAXPOOL = 1
    AVGPOOL = 2
    ADD = 3
    COPY = 4


#: Operations that the vector unit performs alone; every other one has weights.
WITHOUT_WEIGHTS: tuple[LayerOp, ...] = tuple(op for op in LayerOp if op != LayerOp.CONV)


@dataclass(frozen=True)
class Tensor:
    """An activation tensor: shape (h, w, c) of one image and the real value of one integer step.

    order : the model's channel at each place, where the compiler has moved them; else ().
    """

    name: str
    h: int
    w: int
    c: int
    scale: float
    order: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        """Number of int8 elements of one image."""
        return self.h * self.w * self.c


@dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    Window of output (oy, ox): input row ``oy*stride_h + ky*dilation_h - pad_top`` and column
    ``ox*stride_w + kx*dilation_w - pad_left``; what lies outside the map counts as 0 (CONV,
    AVGPOOL, COPY) or is left out (MAXPOOL).  A linear layer is a CONV whose kernel is the whole
    map. A COPY reads channel ``c - c_offset``; where that does not exist the output is 0.
    """

    name: str
    op: LayerOp
    input: int  #: tensor id
    output: int  #: tensor id
    residual: int = NO_TENSOR  #: tensor id of the second operand (CONV with fused add, ADD)
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    c_offset: int = 0
    shift: int = 0  #: n of requantisation (CONV, AVGPOOL)
    lshift_a: int = 0  #: left shift of the own value before the add
    lshift_b: int = 0  #: left shift of the residual before the add
    add_shift: int = 0  #: rounded right shift after the add
    act_lo: int = -128  #: clamp after everything else; 0 is ReLU
    act_hi: int = 127
    packed: int = 1  #: groups that the compiler has joined to one; weights between them are 0


def window_stride(layer: Layer, out_h: int, out_w: int) -> tuple[int, int]:
    """(vertical, horizontal) step between the windows of an output; 1 where there is only one.

    The convolutions of torch 2.13 on CPUs (oneDNN, float32) are wrong for one input channel, three
    images or more, an output of width 1 and a larger stride, which means nothing there.
    """
    return layer.stride_h if out_h > 1 else 1, layer.stride_w if out_w > 1 else 1


#: The integer fields of a layer, in table order (all but the name).
LAYER_FIELDS: tuple[str, ...] = tuple(f.name for f in fields(Layer) if f.name != "name")


@dataclass(frozen=True)
class Network:
    """A quantised network: tensors, layers in execution order, weights and biases.

    weights[i] : int8 (out_c, kernel_h, kernel_w, in_c / groups) for CONV layer i, else absent.
    biases[i]  : int32 (out_c,), in units of the accumulator; fits acc_bits.
    """

    name: str
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    weights: Mapping[int, I8]
    biases: Mapping[int, I32]
    arithmetic: Arithmetic
    input: int  #: tensor id of the network's input
    output: int  #: tensor id of the logits
    notes: tuple[str, ...] = field(default=())

    def macs(self, index: int) -> int:
        """Multiply-accumulates of layer `index` for one image (0 for layers without weights).

        Those with the zeros between packed groups do not count.
        """
        if index not in self.weights:
            return 0
        layer = self.layers[index]
        window = layer.kernel_h * layer.kernel_w * self.tensors[layer.input].c // layer.groups
        return self.tensors[layer.output].elements * (window // layer.packed)

    def neurons(self, index: int) -> int:
        """Neurons (output elements of a conv/linear layer) of layer `index` for one image."""
        return self.tensors[self.layers[index].output].elements if index in self.weights else 0
