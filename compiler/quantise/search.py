"""Choose the numbers of one layer: shift, weight scale, alignment of the add.

Every candidate is tried in integers on sampled rows of the calibration images; the one whose result
is nearest to the float network's (mean squared error) wins.  A larger shift than the natural one
(`q_scale`) can be met by a finer weight scale, which clips weights, or by a coarser output; the
same comparison decides (paper, section III-B and Fig. 11).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...config import Arithmetic
from ...network.fixedpoint import ADDS_HALF, DROPS_ABOVE, limits, rules_handled

_MAX_ALIGN = 16  # widest left or right shift of an add
_OCTAVES = 24  # of weight steps, each way from the one that just holds the widest weight
#: Below this share of what a unit should be worth, sums are but noise of rounding on a constant.
_LEAST_WORTH = 0.5
_PATIENCE = 3  # candidates of the weight scale that may be worse than the best before stopping
rules_handled(
    ("half_up", "floor"), ("slice", "saturate"), "compiler/quantise/search.py: shift_right, and fit"
)


@dataclass(frozen=True)
class Goal:
    """What a layer's output should be.

    target : float32 (positions, channels) after everything.  lo, hi : clamp in real units.
    wide_lo, wide_hi : range of the value that is requantised, over all calibration images.
    phase : log2 of the output scale modulo 1, or None where it is free.
    """

    target: Tensor
    lo: float
    hi: float
    wide_lo: float
    wide_hi: float
    phase: float | None
    residual: Tensor | None = None  #: float32 (positions, channels) holding integers
    residual_scale: float = 1.0


@dataclass(frozen=True)
class Choice:
    """The numbers of a layer, and the mean squared error that they had.

    step : of the weights; unit : real value of one accumulator unit; scale : of the output.
    """

    scale: float
    error: float = 0.0
    step: float = 1.0
    unit: float = 1.0
    shift: int = 0
    lshift_a: int = 0
    lshift_b: int = 0
    add_shift: int = 0


def clamp_steps(lo: float, hi: float, scale: float, bits: int) -> tuple[int, int]:
    """The clamp lo..hi (real units, may be infinite) in steps of `scale`, within `bits` bits."""
    low, high = limits(bits)
    first = round(max(low, min(high, lo / scale)))  # a clamp is wider than any integer, or infinite
    return first, max(first, round(max(low, min(high, hi / scale))))


def shift_right(value: Tensor, shift: int, rounding: str) -> Tensor:
    """Twin of `fixedpoint.round_shift` for integers held in float, as the search has them."""
    half = 2.0 ** (shift - 1) if shift and ADDS_HALF[rounding] else 0.0
    return torch.floor((value + half) * 2.0**-shift)


def _aligned(
    goal: Goal, own: Tensor, scale: float, a: Arithmetic
) -> Iterator[tuple[Choice, Tensor]]:
    """The value `own` (integers of `scale`), added to the residual in every sensible alignment."""
    if goal.residual is None:
        yield Choice(scale), own
        return
    apart = round(math.log2(scale / goal.residual_scale))
    finer = min(scale, goal.residual_scale)
    widest = _widest(goal.lo, goal.hi, float(goal.target.min()), float(goal.target.max()))
    # A sum of zeros has no range: its integers are kept as they are.
    wanted = math.ceil(math.log2(widest / limits(a.act_bits)[1] / finer)) if widest else 0
    seen = {alignment(abs(apart), wanted + i, a.act_bits) for i in range(-3, 2)}
    for found in sorted(seen):
        left_a, left_b = (found.coarse, found.fine)[:: 1 if apart > 0 else -1]
        total = own * 2.0**left_a + goal.residual * 2.0**left_b
        value = shift_right(total, found.right, a.rounding).clamp(*limits(a.act_bits))
        result = finer * 2.0**found.steps
        yield Choice(result, 0.0, 1.0, 1.0, 0, left_a, left_b, found.right), value


class Alignment(NamedTuple):
    """Shifts of an add. steps : log2 of the result's scale over the finer operand's.

    coarse, fine : left shifts of the operand of the larger scale, and of the other.
    """

    steps: int
    coarse: int
    fine: int
    right: int


def alignment(apart: int, steps: int, bits: int) -> Alignment:
    """How operands whose scales are 2**apart apart are added, at the nearest possible `steps`.

    Up to the widest shift the sum is exact before it is rounded.  Beyond, it is right to a quarter
    of a step of the result for all integers there are: either one step of the coarse operand is
    more than the result can hold, and saturates with any shift that still does, or all of the fine
    one's range is less than a quarter of a step, with any shift that keeps it so.  Where both hold,
    the shift is free, and a right shift of bits + 1 does for both.
    """
    if apart <= _MAX_ALIGN:
        steps = max(apart - _MAX_ALIGN, min(_MAX_ALIGN, steps))  # no room for larger shifts
        up = max(-steps, 0)
        return Alignment(steps, apart + up, up, max(steps, 0))
    steps = max(bits - _MAX_ALIGN, min(apart, steps))
    if steps <= bits + 1:  # of the fine one's: exact, and the coarse one's first step saturates
        return Alignment(steps, _MAX_ALIGN, max(-steps, 0), max(steps, 0))
    return Alignment(steps, _MAX_ALIGN, 0, max(bits + 1, steps - (apart - _MAX_ALIGN)))


def _widest(lo: float, hi: float, least: float, most: float) -> float:
    """Largest magnitude left after the clamp."""
    return max(abs(min(max(least, lo), hi)), abs(min(max(most, lo), hi)))


def best_alignment(goal: Goal, own: Tensor, scale: float, a: Arithmetic) -> Choice:
    """The alignment of least error for a value that is requantised; there always is one."""
    best = None
    for choice, value in _aligned(goal, own, scale, a):
        first, last = clamp_steps(goal.lo, goal.hi, choice.scale, a.act_bits)
        off = value.clamp(first, last) * choice.scale - goal.target
        error = float(off.square().mean())
        if best is None or error < best.error * (1 - 1e-6):
            best = replace(choice, error=error)
    assert best is not None
    return best


class Misfit(Enum):
    """Why no shift can be chosen."""

    ACCUMULATOR = "an accumulator overflows"
    RESULT = "a result overflows, under a rule that drops its upper bits"


def best_shift(
    goal: Goal,
    acc: Tensor,
    unit: float,
    a: Arithmetic,
    q_scale: int,
    margin: float,
    idle: float,
) -> Choice | Misfit:
    """The shift of least error for accumulators `acc` (positions, channels) of `unit` real each.

    idle : scale to come near where all results are zero, of which no range says anything.
    """
    lo, hi = limits(a.act_bits)
    room = 2.0 ** (a.acc_bits - 1)
    low = min(float(acc.min()), goal.wide_lo / unit) * (1 + margin)
    high = max(float(acc.max()), goal.wide_hi / unit) * (1 + margin)
    if low < -room or high > room - 1:
        return Misfit.ACCUMULATOR
    best: Choice | None = None
    bottom, top = _result_range(goal, low, high, unit)
    widest = max(top / hi, bottom / lo)
    natural = math.ceil(math.log2(widest if widest > 0 else max(1.0, idle / unit)))
    natural = max(-_MAX_ALIGN, min(a.acc_bits - a.act_bits, natural))
    first = max(q_scale, natural - 4)
    for shift in range(first, max(first + 1, natural + 3)):
        if not q_scale <= shift <= a.acc_bits - a.act_bits:
            continue
        fits = lo <= low * 2.0**-shift and high * 2.0**-shift < hi + 1
        if DROPS_ABOVE[a.overflow] and not fits:
            continue
        own, scale = shift_right(acc, shift, a.rounding).clamp(lo, hi), unit * 2.0**shift
        choice = best_alignment(goal, own, scale, a)
        if best is None or choice.error < best.error * (1 - 1e-6):
            best = replace(choice, shift=shift)
    return best or Misfit.RESULT


def _result_range(goal: Goal, low: float, high: float, unit: float) -> tuple[float, float]:
    """Range of the accumulator that matters: without a residual the clamp cuts it."""
    if goal.residual is not None:
        return low, high
    return max(low, goal.lo / unit), min(high, goal.hi / unit)


@dataclass
class ConvSearch:
    """One CONV: sampled inputs, float weights, and what its sums should be.

    inputs : float32 (groups, positions, k) integers; mean : float64 (groups, 1, k), theirs;
    weight : float32 (groups, k, channels);
    sums : float32 (groups, positions, channels), the float network's before the add and clamp.
    """

    inputs: Tensor
    mean: Tensor
    weight: Tensor
    sums: Tensor
    input_scale: float
    goal: Goal
    arithmetic: Arithmetic
    q_scale: int
    margin: float

    def weights(self, step: float) -> Tensor:
        """Weights in steps of `step`, clipped."""
        return (self.weight / step).round_().clamp_(*limits(self.arithmetic.weight_bits))

    def bias(self, quantised: Tensor, unit: float) -> Tensor:
        """Bias, float64 (groups, 1, channels) of accumulator units, that gives the float mean.

        The float bias is in it, and so is the mean error of rounded inputs and weights.
        """
        sums = self.sums.mean(1, keepdim=True, dtype=torch.float64)
        bias = sums / unit - self.mean @ quantised.double()
        return bias.round().clamp(*limits(self.arithmetic.acc_bits))

    def gain(self, products: Tensor) -> float:
        """Real value of one accumulator unit that fits the float sums best (least squares)."""
        centred = products.double()
        centred = centred - centred.mean(1, keepdim=True)
        power = float(centred.square().sum())
        worth = float((centred * self.sums).sum()) / power if power else 0.0
        return float(np.float32(worth))  # so that the order of summation leaves no trace

    def attempt(self, step: float) -> Choice | Misfit:
        """The best choice with weights in steps of about `step`.

        Clipping shrinks the sums, so one accumulator unit is worth more than input scale times
        step.  Where the phase is free it is taken as what it is worth; else `step` is corrected
        until it is worth what the phase demands.
        """
        unit = self.input_scale * step
        for _ in range(3):
            quantised = self.weights(step)
            products = torch.bmm(self.inputs, quantised)
            worth = self.gain(products)
            if worth < unit * _LEAST_WORTH:  # nothing comes through: the bias is all there is
                break
            if self.goal.phase is None:
                unit = worth
                break
            if abs(worth / unit - 1) < 0.01:
                break
            step *= max(0.25, min(4.0, unit / worth))
        acc = products + self.bias(quantised, unit).float()
        rows = acc.permute(1, 0, 2).reshape(acc.shape[1], -1)
        a, idle = self.arithmetic, self.input_scale
        if self.goal.residual is not None:
            idle = self.goal.residual_scale
        found = best_shift(self.goal, rows, unit, a, self.q_scale, self.margin, idle)
        return found if isinstance(found, Misfit) else replace(found, step=step, unit=unit)

    def _start(self) -> float:
        """The weight step that just holds the widest weight, and sums that are mostly bias."""
        a, goal = self.arithmetic, self.goal
        widest = float(self.weight.abs().max())
        reach = max(abs(goal.wide_lo), abs(goal.wide_hi)) * (1 + self.margin)
        least = reach / 2.0 ** (a.acc_bits - 1) / self.input_scale
        start = widest / limits(a.weight_bits)[1]
        if not widest:  # a constant: of `q_scale` bits more than its result has
            start = reach / limits(a.act_bits)[1] / 2.0**self.q_scale / self.input_scale
        return max(start, least) or 1.0 / limits(a.weight_bits)[1]

    def run(self) -> Choice | Misfit:
        """Walk over weight steps, from the widest weight down and up; why not, if none fits."""
        start, why = self._start(), Misfit.ACCUMULATOR
        phase, parts = self.goal.phase, 2  # candidates an octave
        if phase is not None:  # unit * 2**shift must be 2**(phase + integer)
            octaves = math.ceil(math.log2(start * self.input_scale) - phase)
            start, parts = 2.0 ** (octaves + phase) / self.input_scale, 1
        best: Choice | None = None
        for direction in (-1, 1):
            worse = 0
            for i in range(0 if direction < 0 else 1, _OCTAVES * parts):
                choice = self.attempt(start * 2.0 ** (direction * i / parts))
                if isinstance(choice, Misfit):
                    why, worse = choice, worse + (best is not None)
                elif best is None or choice.error < best.error:
                    best, worse = choice, 0
                elif best is not None:
                    worse += 1
                if worse > _PATIENCE:
                    break
        if best is not None and phase is None:
            for part in (0.25, -0.25, 0.125, -0.125):
                choice = self.attempt(best.step * 2.0**part)
                if not isinstance(choice, Misfit) and choice.error < best.error:
                    best = choice
        return best or why
