"""Twin of `fixedpoint` in torch, for whole maps on any device; int32 in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import Arithmetic
from .fixedpoint import ADDS_HALF, DROPS_ABOVE, REQUANTISED, limits, rules_handled
from .layers import Layer
from .upsets import Marks

if TYPE_CHECKING:
    import torch

rules_handled(
    ("half_up", "floor"), ("slice", "saturate"), "network/fixedpoint_torch.py: requantise, add"
)


def integers(sums: torch.Tensor) -> torch.Tensor:
    """Integers of any type as int32, or int64 where they may not fit."""
    import torch

    wide = sums.dtype in (torch.float64, torch.int64)
    return sums.to(torch.int64 if wide else torch.int32)


def wrap(acc: torch.Tensor, bits: int) -> torch.Tensor:
    """Twin of `fixedpoint.wrap`; int32 in and out, unless the sums needed int64."""
    import torch

    if acc.dtype == torch.int64:
        return (acc << (64 - bits)).bitwise_right_shift_(64 - bits).to(torch.int32)
    return (acc << (32 - bits)).bitwise_right_shift_(32 - bits)


def flip(values: torch.Tensor, marks: Marks | None, bits: int) -> None:
    """XOR the marked elements of `values` (integers, contiguous) in place."""
    import torch

    if marks is None or not len(marks.at):
        return
    at, masks = (torch.from_numpy(a).to(values.device) for a in marks)
    flat = values.view(-1)
    flat[at] = wrap(flat[at].to(torch.int32) ^ masks, bits).to(values.dtype)


def requantise(acc: torch.Tensor, shift: int, a: Arithmetic) -> torch.Tensor:
    """Twin of `fixedpoint.requantise` on int32 accumulators."""
    kept = acc >> shift
    if DROPS_ABOVE[a.overflow]:
        kept = wrap(kept, a.act_bits)
    if shift and ADDS_HALF[a.rounding]:
        kept += (acc >> (shift - 1)).bitwise_and_(1)
    return kept.clamp_(*limits(a.act_bits))


def add(value: torch.Tensor, residual: torch.Tensor, layer: Layer, a: Arithmetic) -> torch.Tensor:
    """Twin of `fixedpoint.add` on int32."""
    total = (value << layer.lshift_a) + (residual << layer.lshift_b)
    if layer.add_shift and ADDS_HALF[a.rounding]:
        total += 1 << (layer.add_shift - 1)
    return (total >> layer.add_shift).clamp_(*limits(a.act_bits))


def vector_unit(
    value: torch.Tensor,
    layer: Layer,
    a: Arithmetic,
    residual: torch.Tensor | None = None,
    wrong: tuple[Marks | None, Marks | None] = (None, None),
) -> torch.Tensor:
    """Twin of `fixedpoint.vector_unit`: int8, contiguous.

    value : integers of any type, contiguous where something is wrong. wrong : elements with wrong
    bits in the wrapped sum, and in the requantised value.
    """
    import torch

    value = integers(value)
    if REQUANTISED[layer.op]:
        acc = wrap(value, a.acc_bits)
        flip(acc, wrong[0], a.acc_bits)
        value = requantise(acc, layer.shift, a)
        flip(value, wrong[1], a.act_bits)
    if residual is not None:
        value = add(value, integers(residual), layer, a)
    return value.clamp(layer.act_lo, layer.act_hi).to(torch.int8).contiguous()


@dataclass
class Losses:
    """What a fault-free layer loses: sums that wrap, results of which `slice` cuts off bits."""

    wraps: int = 0
    overflows: int = 0

    def count(self, sums: torch.Tensor, layer: Layer, a: Arithmetic) -> None:
        """Add those of a layer's sums, which are integers of any type, not wrapped."""
        import torch

        least, most = (int(x) for x in torch.aminmax(sums))
        half, top = 1 << (a.acc_bits - 1), 1 << (layer.shift + a.act_bits - 1)
        if least < -half or most >= half:
            self.wraps += int(((sums < -half) | (sums >= half)).sum())
        if DROPS_ABOVE[a.overflow] and (least < -top or most >= top):
            self.overflows += int(((sums < -top) | (sums >= top)).sum())
