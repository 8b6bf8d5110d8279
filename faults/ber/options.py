"""What a bit error rate means: the choices that the paper leaves open, each with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_type_hints

from ...errors import FlexhycaError

Stage = Literal["before_relu", "after_relu"]
Target = Literal["neuron", "acc"]
WeightFaults = Literal["pe", "raw", "none"]
Protected = Literal["ideal", "tmr_copies"]

#: Errors above one half are no errors any more, but inverted bits.
MOST = 0.5
#: Patterns that choose the layers of redundant schemes.
CHOOSING_PATTERNS = 200


@dataclass(frozen=True)
class BerOptions:
    """Which stored bits flip, and what protecting them does (docs/ber.md has the effects).

    stage : where a neuron is stored: before_relu (what a PE hands over: requantised, before
    residual add and clamp) or after_relu (the layer's output). target : neuron (its act_bits) or
    acc (the accumulator's acc_bits, before requantisation). weight_faults : pe (a weight's flip in
    the bits that the unit protects is masked there), raw (none is), none (ECC: no flips).
    protected : ideal (immune) or tmr_copies (three copies flip, the majority counts).
    logits, input : whether the last layer's and the image's bits flip, too.
    images_per_pattern : images that share one pattern of wrong weights.
    """

    stage: Stage = "before_relu"
    target: Target = "neuron"
    weight_faults: WeightFaults = "pe"
    protected: Protected = "ideal"
    logits: bool = False
    input: bool = False
    images_per_pattern: int = 50

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, known = getattr(self, name), get_args(kind)
            if known and value not in known:
                raise FlexhycaError(f"ber: {name} is {value!r}; use {' or '.join(known)}")
        if self.images_per_pattern < 1:
            raise FlexhycaError(
                f"ber: images_per_pattern is {self.images_per_pattern}; give at least 1"
            )


@dataclass(frozen=True)
class Case:
    """One bar of a chart: a scheme at a rate.

    scheme : its label. ber : probability that a stored bit is wrong in an inference, 0..MOST.
    program : number of the program that runs, whose configuration says what is protected.
    protect : names of layers (with wildcards) all of whose bits are protected besides.
    """

    scheme: str
    ber: float
    program: int = 0
    protect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.ber <= MOST:
            raise FlexhycaError(
                f"ber {self.ber:g} is outside 0..{MOST:g}: it is the probability that a bit is "
                "wrong; give 1e-4, for example"
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {**asdict(self), "protect": list(self.protect)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Case:
        """The case again."""
        return cls(**{**fields, "protect": tuple(fields["protect"])})
