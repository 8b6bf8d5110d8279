"""What a layer without weights hands to the vector unit, in torch on any device.

Maps are (images, h, w, c).  The slow twin of each function is in `reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..tables import complete
from .fixedpoint import limits
from .layers import WITHOUT_WEIGHTS, Layer, LayerOp, Network, Tensor, window_stride
from .products import EXACT_FLOAT32, Window, convolve, surrounded

if TYPE_CHECKING:
    import torch


def maxima(network: Network, index: int, x: torch.Tensor) -> torch.Tensor:
    """Largest elements of the windows inside the map, float32."""
    import torch

    layer = network.layers[index]
    out, (lowest, _) = network.tensors[layer.output], limits(network.arithmetic.act_bits)
    padded = _reach(layer, x.to(torch.float32), out, float(lowest))
    kernel, stride = (layer.kernel_h, layer.kernel_w), window_stride(layer, out.h, out.w)
    dilation = (layer.dilation_h, layer.dilation_w)
    found = torch.nn.functional.max_pool2d(padded, kernel, stride, 0, dilation)
    return found.permute(0, 2, 3, 1)


def window_sums(network: Network, index: int, x: torch.Tensor) -> torch.Tensor:
    """Sums of the windows' elements inside the map, not wrapped, in floating point."""
    import torch

    layer = network.layers[index]
    out = network.tensors[layer.output]
    area = layer.kernel_h * layer.kernel_w
    exact = torch.float32 if area * 128 < EXACT_FLOAT32 else torch.float64
    padded = _reach(layer, x.to(exact), out, 0.0)
    stride, dilation = window_stride(layer, out.h, out.w), (layer.dilation_h, layer.dilation_w)
    ones = torch.ones((out.c, 1, layer.kernel_h, layer.kernel_w), dtype=exact, device=x.device)
    window = Window((layer.kernel_h, layer.kernel_w), stride, dilation, out.c, (0, 0), None)
    with torch.backends.cudnn.flags(enabled=False):
        total = convolve(padded, ones, None, window)
    return total.permute(0, 2, 3, 1)


def own(network: Network, index: int, x: torch.Tensor) -> torch.Tensor:
    """The input as it is."""
    return x


def copied(network: Network, index: int, x: torch.Tensor) -> torch.Tensor:
    """Elements that exist in the source; 0 elsewhere."""
    layer = network.layers[index]
    out = network.tensors[layer.output]
    to, at = [], []
    for size, have, stride, offset in (
        (out.h, x.shape[1], layer.stride_h, layer.pad_top),
        (out.w, x.shape[2], layer.stride_w, layer.pad_left),
        (out.c, x.shape[3], 1, layer.c_offset),
    ):
        first = max(0, -(-offset // stride))  # element i reads i * stride - offset
        stop = max(first, min(size, (have - 1 + offset) // stride + 1))
        to.append(slice(first, stop))
        start = first * stride - offset
        at.append(slice(start, start + (stop - first - 1) * stride + 1, stride))
    result = x.new_zeros((len(x), out.h, out.w, out.c))
    if all(axis.stop > axis.start for axis in to):
        result[:, to[0], to[1], to[2]] = x[:, at[0], at[1], at[2]]
    return result


#: Operation -> (network, index of the layer, input) -> what the vector unit gets, of any type.
VALUES: dict[LayerOp, Callable[[Network, int, torch.Tensor], torch.Tensor]] = {
    LayerOp.MAXPOOL: maxima,
    LayerOp.AVGPOOL: window_sums,
    LayerOp.ADD: own,
    LayerOp.COPY: copied,
}
complete("LayerOp in network/layers.py", WITHOUT_WEIGHTS, VALUES, "network/windows.py: VALUES")


def _reach(layer: Layer, x: torch.Tensor, out: Tensor, fill: float) -> torch.Tensor:
    """(images, c, h, w): what the windows of an output touch, else `fill`."""
    need_h = (out.h - 1) * layer.stride_h + (layer.kernel_h - 1) * layer.dilation_h + 1
    need_w = (out.w - 1) * layer.stride_w + (layer.kernel_w - 1) * layer.dilation_w + 1
    pads = (
        layer.pad_left,
        need_w - layer.pad_left - x.shape[2],
        layer.pad_top,
        need_h - layer.pad_top - x.shape[1],
    )
    return surrounded(x, pads, fill).permute(0, 3, 1, 2)
