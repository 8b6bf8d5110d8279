"""What bit errors do to an inference of a batch of images: plain data, by layer and stage.

Samplers make them (`faults`), the functional engine applies them.  Elements are flat numbers; masks
are XORed with the two's-complement value, so that several bits of one word may be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .arrays import I32, I64


class Marks(NamedTuple):
    """Words that are wrong. at : int64 (n,), each once. masks : int32 (n,), bits to flip."""

    at: I64
    masks: I32


@dataclass(frozen=True)
class Upsets:
    """Wrong bits of one inference of a batch, by layer (index of a CONV layer of the network).

    weights : of (out_c, kernel_h, kernel_w, in_c / groups), as the array reads them.
    dppu_weights : the same as the DPPU reads them, which protects more bits; without an entry it
    reads what the array reads. important : elements (h, w, c) of one image that the DPPU computes.
    accumulators : wrapped sums before requantisation. before : requantised values, before residual
    add and clamp. after : what the layer stores. All three of (images, h, w, c).
    input : the quantised images, (images, h, w, c).
    """

    weights: Mapping[int, Marks] = field(default_factory=dict)
    dppu_weights: Mapping[int, Marks] = field(default_factory=dict)
    important: Mapping[int, I64] = field(default_factory=dict)
    accumulators: Mapping[int, Marks] = field(default_factory=dict)
    before: Mapping[int, Marks] = field(default_factory=dict)
    after: Mapping[int, Marks] = field(default_factory=dict)
    input: Marks | None = None
