"""What the vector unit makes of wrong operands and wrong results, element by element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...network import fixedpoint
from ...network.arrays import I8
from ...network.layers import WITHOUT_WEIGHTS, Layer, LayerOp, Network
from ...tables import complete
from ..text.spans import Span

#: Operation -> what it makes of the elements of a window that lie inside the map.
_REDUCE: dict[LayerOp, Callable[[list[int]], int]] = {
    LayerOp.MAXPOOL: max,
    LayerOp.AVGPOOL: sum,
    LayerOp.ADD: sum,  # of one element
    LayerOp.COPY: sum,  # of one element
}
complete(
    "LayerOp in network/layers.py",
    WITHOUT_WEIGHTS,
    _REDUCE,
    "simulator/inject/vector_faults.py: _REDUCE",
)


def readers(network: Network, layer: Layer, element: int) -> Iterator[tuple[int, int, int]]:
    """Output elements (y, x, c) of a layer without weights that read an element of its input."""
    out = network.tensors[layer.output]
    c = element % network.tensors[layer.input].c + layer.c_offset
    if 0 <= c < out.c:
        for pixel, _ in pixels_reading(network, layer, element):
            yield *divmod(pixel, out.w), c


def pixels_reading(network: Network, layer: Layer, element: int) -> Iterator[tuple[int, int]]:
    """Output pixels of a layer whose windows hold an element of its input, and its kernel row."""
    source, out = network.tensors[layer.input], network.tensors[layer.output]
    row, column = divmod(element // source.c, source.w)
    for ky in range(layer.kernel_h):
        y, off = divmod(row + layer.pad_top - ky * layer.dilation_h, layer.stride_h)
        for kx in range(layer.kernel_w):
            x, aside = divmod(column + layer.pad_left - kx * layer.dilation_w, layer.stride_w)
            if 0 <= y < out.h and 0 <= x < out.w and off == aside == 0:
                yield y * out.w + x, ky


def element_of(
    network: Network,
    layer: Layer,
    where: tuple[int, int, int],
    values: I8,
    other: I8 | None,
    wrong: Mapping[str, Mapping[int, int]],
) -> int:
    """Element (y, x, c) of a layer without weights. values, other : its inputs, (h, w, c).

    wrong : of `input` and `other`, the elements that are read as something else.
    """
    y, x, c = where
    channel = c - layer.c_offset
    height, width, channels = values.shape
    found = []
    for ky in range(layer.kernel_h):
        row = y * layer.stride_h + ky * layer.dilation_h - layer.pad_top
        for kx in range(layer.kernel_w):
            column = x * layer.stride_w + kx * layer.dilation_w - layer.pad_left
            if 0 <= row < height and 0 <= column < width and 0 <= channel < channels:
                at = (row * width + column) * channels + channel
                found.append(wrong["input"].get(at, int(values.reshape(-1)[at])))
    residual = None
    if layer.op == LayerOp.ADD:
        assert other is not None
        at = (y * width + x) * channels + c
        residual = wrong["other"].get(at, int(other.reshape(-1)[at]))
    value = _REDUCE[layer.op](found)
    return int(fixedpoint.vector_unit(value, layer, network.arithmetic, residual))


def is_in_tile(span: Span, width: int, where: tuple[int, int, int]) -> bool:
    """Whether an output element is one of a tile's. width : of the output."""
    pixel = where[0] * width + where[1]
    return span.m0 <= pixel < span.m0 + span.m and span.n0 <= where[2] < span.n0 + span.n
