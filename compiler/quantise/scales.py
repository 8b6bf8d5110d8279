"""Which scales are tied to which: values that meet in an add differ by a power of two.

Only shifts align the operands of an add, so all values that are connected by adds (and by layers
that keep the scale) share one *phase*: scale = 2**(phase + integer).  A convolution can hit any
phase, since its weight scale is free; `phases` picks, for every group, the one that suits all its
values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from ...errors import QuantisationError
from ...network.fixedpoint import limits
from ...network.layers import LayerOp
from ...tables import complete
from .calibrate import Stats
from .groups import Groups
from .lower import LoweredLayer

_PHASES = 16
_ROWS = 512


def _tie_conv(groups: Groups, step: LoweredLayer) -> None:
    """Its weights set the scale of its sums; an add, where it takes one in, ties them."""
    if step.residual is not None:
        groups.tie(step.residual, step.output)
        groups.tie(step.residual, step.own)
    elif step.own != step.output:
        groups.tie(step.own, step.output)


def _tie_add(groups: Groups, step: LoweredLayer) -> None:
    assert step.residual is not None
    groups.tie(step.residual, step.output)
    groups.tie(step.residual, step.source)


def _tie_average(groups: Groups, step: LoweredLayer) -> None:
    groups.tie(step.source, step.output, -math.log2(step.divisor))


def _tie_both(groups: Groups, step: LoweredLayer) -> None:
    groups.tie(step.source, step.output)


_TIES: Mapping[LayerOp, Callable[[Groups, LoweredLayer], None]] = {
    LayerOp.CONV: _tie_conv,
    LayerOp.MAXPOOL: _tie_both,
    LayerOp.AVGPOOL: _tie_average,
    LayerOp.ADD: _tie_add,
    LayerOp.COPY: _tie_both,
}
complete("LayerOp in network/layers.py", LayerOp, _TIES, "compiler/quantise/scales.py: _TIES")


def tie_steps(steps: Sequence[LoweredLayer]) -> Groups:
    """The groups that the steps' operations force; QuantisationError where they contradict.

    `passes.free_averages` leaves no contradiction in a graph that went through it.
    """
    groups = Groups()
    for step in steps:
        _TIES[step.op](groups, step)
        if groups.contradiction:
            raise QuantisationError(
                f"layer {step.name}: the scales of {step.source} and {step.residual} differ by "
                f"{2.0**groups.contradiction:.4g} times a power of two, because of averages "
                "between them, and shifts align only powers of two; put a convolution between them"
            )
    return groups


def quantisation_error(rows: Tensor, scale: float, bits: int) -> float:
    """Mean squared error of rounding `rows` to multiples of `scale` that fit `bits` bits."""
    steps = (rows / scale).round().clamp(*limits(bits))
    return float((steps * scale - rows).square().mean())


def phases(
    steps: Sequence[LoweredLayer],
    groups: Groups,
    stats: Mapping[str, Stats],
    least: Mapping[str, float],
    bits: int,
) -> dict[str, float]:
    """root -> phase, for every group with two or more scales to choose; the others stay free.

    least : smallest scale that a value may have (the input, and under `slice` every result); its
    keys that no step yields (the input) count as scales to choose, too.  A group's phase is that of
    the smallest sum of log errors over its values.
    """
    made = {step.output for step in steps} | {step.own for step in steps}
    members: dict[str, list[str]] = {}
    for name in (name for name in least if name not in made):
        members.setdefault(groups.find(name)[0], []).append(name)
    for step in steps:
        if step.op == LayerOp.CONV:
            names = [step.output] if step.residual is None else [step.own, step.output]
            members.setdefault(groups.find(step.output)[0], []).extend(names)
    chosen: dict[str, float] = {}
    for root, names in members.items():
        if len(names) > 1:
            costs = []
            for p in range(_PHASES):
                at = [(name, groups.find(name)[1] + p / _PHASES) for name in names]
                costs.append(sum(_cost(stats[n], f, least.get(n, 0.0), bits) for n, f in at))
            chosen[root] = costs.index(min(costs)) / _PHASES
    return chosen


def _cost(stats: Stats, phase: float, least: float, bits: int) -> float:
    rows = stats.rows[:: max(1, len(stats.rows) // _ROWS)]
    widest = max(abs(stats.lo), abs(stats.hi), 1e-12) / limits(bits)[1]
    top = math.floor(math.log2(widest) - phase) + 1
    scales = [2.0 ** (phase + top - i) for i in range(5)]
    errors = [quantisation_error(rows, s, bits) for s in scales if s >= least]
    if not errors:
        errors = [quantisation_error(rows, 2.0 ** (phase + top + 1), bits)]
    return math.log(min(errors) + 1e-30)


def on_phase(scale: float, phase: float) -> float:
    """Smallest 2**(phase + integer) that is not below `scale`."""
    return float(2.0 ** (phase + math.ceil(math.log2(scale) - phase - 1e-9)))
