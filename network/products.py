"""Exact sums of products of whole CONV layers, by the fastest arithmetic that is exact.

On CPUs 8-bit convolutions (oneDNN through torch) add in int32 and hand the sums over in float32;
elsewhere, and where they fail their self-test, floating-point convolutions do it.  float32 holds
every integer below 2**24: a reduction whose largest possible sum of magnitudes is longer is cut
into ranges of input channels, whose sums are added as integers (where that is impossible it is
done in float64, below 2**53).  Sums are wrapped once, elsewhere; wrapping is associative, so their
order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import I8
from .layers import Network, window_stride

if TYPE_CHECKING:
    import torch

EXACT_FLOAT32 = 1 << 24  #: the first integer after which float32 leaves some out
_KEPT = 1 << 25  # weights of a network that are kept in floating point; of larger ones none is
_BLOCK = 1 << 22  # weights that are made floating-point at once
_SOME = 64  # channels whose weights are summed at once


@dataclass(frozen=True)
class Window:
    """How a layer's windows move, in torch's order (vertical, horizontal).

    padding : what torch pads by itself, on both sides. pads : left, right, top, bottom that it
    cannot and that is padded (below 0: cut off) beforehand, or None.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    padding: tuple[int, int]
    pads: tuple[int, int, int, int] | None

    @property
    def usual(self) -> bool:
        """Of a kind that torch 2.13 on CPUs (oneDNN) computes right, however maps lie in memory.

        Of others, dilated, or with gaps between windows, or with windows in the padding alone, its
        8-bit convolutions are wrong at times, and others write beyond their memory (`convolve`).
        """
        sides = zip(self.stride, self.kernel, self.padding, self.dilation, strict=True)
        return all(
            step <= max(2, size) and pad < size and apart == 1 for step, size, pad, apart in sides
        )


def window(network: Network, index: int) -> Window:
    """The windows of layer `index`."""
    layer = network.layers[index]
    have, out = network.tensors[layer.input], network.tensors[layer.output]
    stride = window_stride(layer, out.h, out.w)
    need, symmetric = [], []
    for size, reads, step, kernel, spread, before in (
        (have.h, out.h, stride[0], layer.kernel_h, layer.dilation_h, layer.pad_top),
        (have.w, out.w, stride[1], layer.kernel_w, layer.dilation_w, layer.pad_left),
    ):
        span = (kernel - 1) * spread + 1
        need.append((reads - 1) * step + span - before - size)
        room = size + 2 * before - span
        symmetric.append(0 <= before < span and room >= 0 and room // step + 1 == reads)
    padding, pads = (layer.pad_top, layer.pad_left), None
    if not all(symmetric):
        padding, pads = (0, 0), (layer.pad_left, need[1], layer.pad_top, need[0])
    return Window(
        (layer.kernel_h, layer.kernel_w),
        stride,
        (layer.dilation_h, layer.dilation_w),
        layer.groups,
        padding,
        pads if pads is None or any(pads) else None,
    )


def surrounded(x: torch.Tensor, pads: tuple[int, int, int, int], fill: float) -> torch.Tensor:
    """`x` (images, h, w, c) within `fill`: rows and columns to add, below 0 to leave out.

    pads : left, right, top, bottom. Of torch's own function no more than the map can be left out,
    but where all windows lie in the padding of one side, some of that goes, too.
    """
    import torch

    left, right, top, bottom = pads
    n, h, w, c = x.shape
    rows, cols = slice(max(0, -top), min(h, h + bottom)), slice(max(0, -left), min(w, w + right))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return x.new_full((n, h + top + bottom, w + left + right, c), fill)
    around = (0, 0, *(max(0, pad) for pad in pads))
    return torch.nn.functional.pad(x[:, rows, cols], around, value=fill)


class Products:
    """The sums of one CONV layer: its weights as the arithmetic wants them, prepared once."""

    def __init__(self, network: Network, index: int, device: str, once: bool = False) -> None:
        """once : few images will come, for which weights are not worth packing or keeping."""
        import torch

        weight, bias = network.weights[index], network.biases[index].astype(np.int64)
        self.window, self.device = window(network, index), device
        self._network, self._index = network, index
        largest = int(np.abs(bias).max())
        limit = (EXACT_FLOAT32 - largest) // 128
        self.ranges, self._whole = [slice(None)], torch.int32
        self.dtype: torch.dtype = torch.float32
        #: Sums of any 8-bit weights fit float32, not only those of these.
        self.short = weight[0].size * 128 < limit
        if not self.short:
            widest = _widest(weight)
            if widest >= limit:
                self.ranges = _ranges(weight, limit)
            if not self.ranges or (len(self.ranges) > 1 and self.window.groups > 1):
                self.ranges, self.dtype = [slice(None)], torch.float64
            if widest * 128 + largest >= 2**31:
                self._whole = torch.int64
        self.bias = torch.from_numpy(bias).to(device, self.dtype)
        #: One a range: packed for 8-bit arithmetic, or floating point, or None: too large to keep.
        self.kept: list[Any] | None = None
        self.int8 = (
            not once
            and self.dtype == torch.float32
            and self.window.usual
            and int8_is_exact(device, self.window, weight.shape[3], len(weight))
        )
        if self.int8:
            own = _oihw(weight)
            self.kept = [_Packed(own[:, channels], self.window) for channels in self.ranges]
        elif sum(w.size for w in network.weights.values()) <= (_BLOCK if once else _KEPT):
            own = _oihw(weight)
            self.kept = [self._float(own[:, channels]) for channels in self.ranges]

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """Bias and products, not wrapped, of int8 `x` (images, h, w, c): (images, h, w, channels).

        Integers in float32, float64, int32 or, where they do not fit that, int64; contiguous.
        """
        import torch

        if self.int8:
            x = x.contiguous().view(torch.uint8) ^ 0x80
        if self.window.pads:
            x = surrounded(x, self.window.pads, 0x80 if self.int8 else 0)
        if not self.int8:
            x = x.to(self.dtype)
        whole = None
        if self.kept is None:
            whole = _oihw(self._network.weights[self._index])
        total: torch.Tensor | None = None
        for number, channels in enumerate(self.ranges):
            part = x if self.window.groups > 1 else x[..., channels]
            bias = self.bias if number == 0 else None
            if self.int8:
                assert self.kept is not None
                sums: torch.Tensor = self.kept[number](part.contiguous().permute(0, 3, 1, 2), bias)
            else:
                blocks: Sequence[torch.Tensor]
                if whole is None:
                    assert self.kept is not None
                    blocks = [self.kept[number]]
                else:
                    own = whole[:, channels]
                    rows = _BLOCK * len(own) // own.numel() if self.window.groups == 1 else len(own)
                    blocks = torch.split(own, max(1, rows))
                sums = self._convolve(part.permute(0, 3, 1, 2), blocks, bias)
            sums = sums.permute(0, 2, 3, 1)
            if len(self.ranges) > 1:
                sums = sums.to(self._whole)
                total = sums if total is None else total.add_(sums)
            else:
                total = sums
        assert total is not None
        return total.contiguous()

    def _float(self, weight: torch.Tensor) -> torch.Tensor:
        # Strides stay: channels last runs fastest.
        found: torch.Tensor = weight.to(self.device, self.dtype)
        return found

    def _convolve(
        self, x: torch.Tensor, blocks: Sequence[torch.Tensor], bias: torch.Tensor | None
    ) -> torch.Tensor:
        import torch

        total: torch.Tensor | None = None
        first = 0
        # cuDNN may choose a method (Winograd's) that rounds; torch's own is a matrix product.
        with torch.backends.cudnn.flags(enabled=False):
            for block in blocks:
                last = first + len(block)
                own = None if bias is None else bias[first:last]
                sums = convolve(x, self._float(block), own, self.window)
                if len(blocks) == 1:
                    return sums
                if total is None:
                    total = sums.new_empty((len(x), len(self.bias), *sums.shape[2:]))
                total[:, first:last] = sums  # a list of them would stand in the way of the blocks
                first = last
        assert total is not None
        return total


class _Packed:
    """An 8-bit convolution with fixed weights: uint8 values + 128 in, float32 sums out."""

    def __init__(self, weight: torch.Tensor, window: Window) -> None:
        """weight : int8 (channels, in_c / groups, kernel_h, kernel_w)."""
        import torch

        self.window = window
        self.scales = torch.ones(len(weight))
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.weight = torch.ops.onednn.qconv_prepack(
            weight.contiguous(), self.scales, 1.0, 0x80, *self._geometry(), None
        )

    def __call__(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        import torch

        out: torch.Tensor = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, 0x80, self.weight, self.scales, self.zeros, bias, *self._geometry(),
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return out

    def _geometry(self) -> tuple[list[int], list[int], list[int], int]:
        w = self.window
        return list(w.stride), list(w.padding), list(w.dilation), w.groups


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: Window
) -> torch.Tensor:
    """torch's conv2d of maps (images, c, h, w), right on CPUs.

    oneDNN writes beyond its memory for windows that are not `usual` where maps or weights are
    channels-last, or look so with one channel.
    """
    import torch

    if not window.usual:  # in order, and with the strides of several channels
        x, weight = (own.contiguous().flatten().view(own.shape) for own in (x, weight))
    return torch.nn.functional.conv2d(
        x, weight, bias, window.stride, window.padding, window.dilation, window.groups
    )


@cache
def int8_is_exact(device: str, window: Window, in_c: int, out_c: int) -> bool:
    """Whether 8-bit convolutions of this kind exist here and are right at full scale.

    Some CPUs add pairs of products in 16 bits, which saturate.  Tried on a small map with all
    channels: values and weights at both ends of their range, and sums close to 2**24.
    """
    import torch

    if torch.device(device).type != "cpu" or not hasattr(torch.ops.onednn, "qconv2d_pointwise"):
        return False
    out_c = min(out_c, 64 + out_c % 64) if window.groups == 1 else out_c
    rng = np.random.default_rng(0)
    ends = np.array([-128, 127], np.int8)
    weight = rng.choice(ends, (out_c, *window.kernel, in_c))
    flat = weight.reshape(out_c, -1)
    flat[0], flat[-1] = 0, 0
    flat[0, :1023], flat[-1, :1023] = 127, -128  # 1024 * 128 * 128 is 2**24
    size = [
        (k - 1) * d + 1 + 4 * s
        for k, d, s in zip(window.kernel, window.dilation, window.stride, strict=True)
    ]
    x = rng.choice(ends, (3, *size, in_c * window.groups))
    x[1], x[2] = 127, -128
    values, weights = torch.from_numpy(x).permute(0, 3, 1, 2), _oihw(weight)
    bias = torch.from_numpy(rng.integers(-9, 9, out_c)).double()
    wanted = torch.nn.functional.conv2d(
        values.double(), weights.double(), bias, window.stride, window.padding, window.dilation,
        window.groups,
    )  # fmt: skip
    try:
        got = _Packed(weights, window)(
            values.contiguous(memory_format=torch.channels_last).view(torch.uint8) ^ 0x80,
            bias.float(),
        )
    except RuntimeError:
        return False
    same = (wanted.abs() >= 2**24) | (got == wanted)  # larger ones are not asked of it
    return bool(same.all())


def _oihw(weight: I8) -> torch.Tensor:
    """(channels, kernel_h, kernel_w, in_c / groups) as torch orders it; no copy."""
    import torch

    weight = np.require(weight, requirements="W")  # torch warns of others
    return torch.from_numpy(weight).permute(0, 3, 1, 2)


def _widest(weight: I8) -> int:
    """Largest sum of an output's magnitudes."""
    parts = (weight[i : i + _SOME] for i in range(0, len(weight), _SOME))
    return max(int(np.abs(w, dtype=np.int16).sum((1, 2, 3), np.int64).max()) for w in parts)


def _ranges(weight: I8, limit: int) -> list[slice]:
    """Cut the input channels into ranges whose magnitudes sum to less than `limit` everywhere.

    Empty where one channel alone is too large.
    """
    cuts, held, channels = [0], np.zeros(len(weight), np.int32), weight.shape[3]
    for first in range(0, channels, _SOME):
        part = np.abs(weight[..., first : first + _SOME], dtype=np.int16)
        for channel, column in enumerate(part.sum((1, 2), np.int32).T, first):
            held = held + column
            if held.max() >= limit:
                if column.max() >= limit:
                    return []
                cuts.append(channel)
                held = column
    return [slice(first, last) for first, last in pairwise([*cuts, channels])]
