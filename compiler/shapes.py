"""Networks of zeros: where only cycles and traffic are asked for, no number needs to be chosen.

Cycles do not depend on values, and calibrating takes most of the time that a large network needs.
"""

from __future__ import annotations

from dataclasses import replace

from ..config import Arithmetic
from ..network.layers import NO_TENSOR, LayerOp, Network, Tensor
from .model import Model
from .quantise.lower import lower
from .zeros import SCALE, empty_bias, empty_weight


def shapes_of(model: Model, arithmetic: Arithmetic, shift: int = 0) -> Network:
    """The layers of `model` with zeros for weights: the same layer table but for its numbers.

    shift : of every convolution.
    """
    lowered = lower(model.graph)
    ids = {lowered.input: 0} | {s.output: i for i, s in enumerate(lowered.steps, 1)}
    layers = tuple(
        replace(
            step.layer,
            input=ids[step.source],
            output=ids[step.output],
            residual=NO_TENSOR if step.residual is None else ids[step.residual],
            shift=shift if step.op == LayerOp.CONV else 0,
        )
        for step in lowered.steps
    )
    weights = {
        i: empty_weight(step.weight.shape)
        for i, step in enumerate(lowered.steps)
        if step.weight is not None
    }
    return Network(
        model.name,
        tuple(Tensor(value, *lowered.shapes[value], scale=SCALE) for value in ids),
        layers,
        weights,
        {i: empty_bias(len(weight)) for i, weight in weights.items()},
        arithmetic,
        0,
        ids[lowered.output],
        ("shapes only, all values are zero", *model.warnings),
    )
