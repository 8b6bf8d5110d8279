"""Float model -> integer network: scales, shifts, integer weights and biases (docs/arithmetic.md).

Layers are quantised in execution order, each on what the integer layers before it really yield on
the calibration images, against what the float network has there.  So an error made early is seen,
and partly repaired, later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...config import Arithmetic
from ...errors import QuantisationError
from ...network.arrays import I8, I32
from ...network.fixedpoint import DROPS_ABOVE, limits
from ...network.fixedpoint_torch import Losses
from ...network.functional import Functional
from ...network.layers import NO_TENSOR, Layer, LayerOp, Network
from ...network.layers import Tensor as TensorRow
from ...network.windows import window_sums
from ...tables import complete
from ..data import (
    Dataset,
    Images,
    input_scale,
    normalise,
    quantise_input,
)
from ..execute import batch_size
from ..heap import trim
from ..model import Model
from . import scales
from .calibrate import Positions, Stats, measure
from .lower import Lowered, LoweredLayer, lower
from .search import (
    Choice,
    ConvSearch,
    Goal,
    Misfit,
    best_alignment,
    best_shift,
    clamp_steps,
)

_POSITIONS = 4096  # sampled positions of a map
_MOST_NUMBERS = 1 << 25  # numbers in the sampled inputs of a layer
_CHANNELS = 512  # output channels that a search looks at
_BLOCK = 128  # output channels that are rounded at once
_BATCH = 16  # images, if their maps are small
_MAPS = 1 << 23  # numbers in the maps that a layer reads and writes, over a batch
_VALUES = 1 << 28  # bytes of integer values of the calibration images
_ROWS = 256  # sampled positions that are summed at once
_RETRIES = 12
#: Room above the calibration range under `slice`: an overflow on a new image is fatal.
MARGIN = 1 / 4


def quantise_model(
    model: Model,
    images: Images,
    *,
    arithmetic: Arithmetic,
    q_scale: int,
    name: str | None = None,
) -> Network:
    """The integer network of `model`, calibrated on `images`.

    images : u8 (n, h, w, c), real ones; a hundred are plenty, the order does not matter.  Where the
    maps of all images would fill the memory, only ranges are taken from all; the rest is fitted to
    some, evenly spread, and the network's notes say to how many.
    q_scale : smallest legal requantisation shift of a CONV (`AVGPOOL` shifts are not bound by it:
    the PEs do not see them).
    Raises QuantisationError, naming the layer, when no choice avoids fault-free overflow.
    """
    top = arithmetic.acc_bits - arithmetic.act_bits
    if not 0 <= q_scale <= top:
        raise QuantisationError(f"q_scale={q_scale} is not in 0..{top}")
    Dataset("calibration", images, None).check(model)
    network = _Quantiser(model, images, arithmetic, q_scale).run(name or model.name)
    trim()
    return network


class _Quantiser:
    """State of one run: integer values of the calibration images, scales, rows of the table."""

    def __init__(self, model: Model, images: Images, a: Arithmetic, q_scale: int) -> None:
        self.model, self.a, self.q_scale = model, a, q_scale
        self.lowered: Lowered = lower(model.graph)
        self.count = len(images)
        kept = min(self.count, max(1, _VALUES // _most_alive(self.lowered)))
        chosen = np.arange(kept) * self.count // kept
        if kept < self.count:
            images = images[np.r_[chosen, np.setdiff1d(np.arange(self.count), chosen)]]
        self.kept = kept
        self.positions = Positions(kept, _POSITIONS)
        names = {self.lowered.input} | {s.output for s in self.lowered.steps}
        names |= {s.own for s in self.lowered.steps if s.own}
        shapes = dict(self.lowered.shapes)
        shapes |= {s.own: s.shape for s in self.lowered.steps if s.own}
        names &= {node.name for node in model.graph.nodes}
        size = batch_size(model.graph, _BATCH)
        batches = (
            normalise(images[i : i + size], model.mean, model.std)
            for i in range(0, len(images), size)
        )
        self.stats: dict[str, Stats] = measure(model.graph, batches, shapes, names, self.positions)
        for value, found in self.stats.items():
            if not -math.inf < found.lo <= found.hi < math.inf:
                raise QuantisationError(
                    f"layer {value}: its values on the calibration images reach from {found.lo:g} "
                    f"to {found.hi:g} in float32; scale its weights down"
                )
        self._parts_of_concat()
        self.groups = scales.tie_steps(self.lowered.steps)
        least = self._least()
        self.phase = scales.phases(self.lowered.steps, self.groups, self.stats, least, a.act_bits)
        phase = self.phase_of(self.lowered.input)
        first = least[self.lowered.input]
        self.scale = {self.lowered.input: first if phase is None else scales.on_phase(first, phase)}
        quantised = quantise_input(images[:kept], model, self.scale[self.lowered.input], a.act_bits)
        self.values = {self.lowered.input: torch.from_numpy(quantised)}  # int8 (images, h, w, c)

    def _parts_of_concat(self) -> None:
        """Values that lowering invented have no float twin: derive their statistics."""
        for step in self.lowered.steps:
            if step.output not in self.stats:
                source = self.stats[step.source]
                if step.op == LayerOp.COPY:
                    rows = torch.zeros(len(source.rows), step.shape[2])
                    at = step.layer.c_offset
                    rows[:, at : at + source.rows.shape[1]] = source.rows
                    self.stats[step.output] = Stats(rows, min(source.lo, 0), max(source.hi, 0))
                else:
                    other = self.stats[step.residual or ""]
                    lo, hi = min(source.lo, other.lo), max(source.hi, other.hi)
                    self.stats[step.output] = Stats(source.rows + other.rows, lo, hi)

    def phase_of(self, value: str) -> float | None:
        """The phase that the scale of `value` must have, None where it is free."""
        root, offset = self.groups.find(value)
        return self.phase[root] + offset if root in self.phase else None

    def _least(self) -> dict[str, float]:
        """Smallest scales that hold the range: of the input, and of every sum under `slice`."""
        least = {self.lowered.input: input_scale(self.model, self.a.act_bits)}
        if DROPS_ABOVE[self.a.overflow]:
            lo, hi = limits(self.a.act_bits)
            for step in self.lowered.steps:
                if step.op == LayerOp.CONV:
                    own = self.stats[step.own]
                    widest = max(own.hi / (hi + 1), own.lo / lo) * (1 + MARGIN)
                    least[step.own if step.residual else step.output] = widest
        return least

    def run(self, name: str) -> Network:
        """Quantise all steps in order."""
        ids = {self.lowered.input: 0}
        ids |= {s.output: i + 1 for i, s in enumerate(self.lowered.steps)}
        last = {v: i for i, s in enumerate(self.lowered.steps) for v in (s.source, s.residual)}
        layers: list[Layer] = []
        weights: dict[int, I8] = {}
        biases: dict[int, I32] = {}
        for i, step in enumerate(self.lowered.steps):
            plain = replace(
                step.layer,
                input=ids[step.source],
                output=ids[step.output],
                residual=NO_TENSOR if step.residual is None else ids[step.residual],
            )
            layer, weight, bias = self._settle(step, plain)
            layers.append(layer)
            if weight is not None and bias is not None:
                weights[i], biases[i] = weight, bias
            for value in (step.source, step.residual):
                if value is not None and last[value] == i:
                    self.values.pop(value, None)
            for value in (step.own, step.output):
                self.stats.pop(value, None)
        tensors = tuple(
            TensorRow(value, *self.lowered.shapes[value], scale=self.scale[value]) for value in ids
        )
        note = f"calibrated on {self.count} images, q_scale {self.q_scale}"
        if self.kept < self.count:
            note += f"; all but the ranges on {self.kept} of them"
        return Network(
            name,
            tensors,
            tuple(layers),
            weights,
            biases,
            self.a,
            0,
            ids[self.lowered.output],
            (note, *self.model.warnings),
        )

    def _settle(self, step: LoweredLayer, layer: Layer) -> tuple[Layer, I8 | None, I32 | None]:
        """Choose the numbers of one step, and compute its integer value on all images."""
        for _ in range(_RETRIES):
            choice, weight, bias = _CHOOSE[step.op](self, step)
            lo, hi = clamp_steps(step.lo, step.hi, choice.scale, self.a.act_bits)
            settled = replace(
                layer,
                shift=choice.shift,
                lshift_a=choice.lshift_a,
                lshift_b=choice.lshift_b,
                add_shift=choice.add_shift,
                act_lo=lo,
                act_hi=hi,
            )
            losses = Losses()
            value = self._execute(step, settled, weight, bias, losses)
            if not (losses.wraps or losses.overflows):
                self.scale[step.output] = choice.scale
                self.values[step.output] = value
                return settled, weight, bias
            self._widen(step)
        raise QuantisationError(
            f"layer {step.name}: {losses.wraps} accumulators wrap and {losses.overflows} results "
            f"overflow on the calibration images; use more acc_bits than {self.a.acc_bits} or a "
            f"q_scale other than {self.q_scale}"
        )

    def _widen(self, step: LoweredLayer) -> None:
        """Make room: the search saw fewer positions than there are."""
        own = self.stats[step.own or step.output]
        own.lo, own.hi = own.lo * 1.1, own.hi * 1.1

    def _execute(
        self,
        step: LoweredLayer,
        layer: Layer,
        weight: I8 | None,
        bias: I32 | None,
        losses: Losses,
    ) -> Tensor:
        engine = Functional(self._alone(step, layer, weight, bias), once=True)
        x = self.values[step.source]
        other = None if step.residual is None else self.values[step.residual]
        value = torch.empty(len(x), *step.shape, dtype=torch.int8)
        for part in self._batches(step):
            residual = None if other is None else other[part]
            value[part] = engine.layer(0, x[part], residual, losses)
        return value

    def _alone(
        self, step: LoweredLayer, layer: Layer, weight: I8 | None = None, bias: I32 | None = None
    ) -> Network:
        """A network of this one layer; what its residual is, is nowhere said."""
        tensors = (
            TensorRow(step.source, *self.lowered.shapes[step.source], scale=1.0),
            TensorRow(step.output, *step.shape, scale=1.0),
        )
        layer = replace(layer, input=0, output=1)
        weights = {} if weight is None else {0: weight}
        biases = {} if bias is None else {0: bias}
        return Network(step.name, tensors, (layer,), weights, biases, self.a, 0, 1)

    def _batches(self, step: LoweredLayer) -> list[slice]:
        """Slices of the images that are executed at once."""
        numbers = math.prod(step.shape) + math.prod(self.lowered.shapes[step.source])
        size = max(1, min(_BATCH, _MAPS // numbers))
        return [slice(i, i + size) for i in range(0, self.kept, size)]

    def _goal(self, step: LoweredLayer, target: Tensor, residual: Tensor | None) -> Goal:
        own = self.stats[step.own or step.output]
        return Goal(
            target,
            step.lo,
            step.hi,
            own.lo,
            own.hi,
            self.phase_of(step.output),
            residual,
            self.scale[step.residual] if step.residual else 1.0,
        )

    def _conv(self, step: LoweredLayer) -> tuple[Choice, I8 | None, I32 | None]:
        assert step.weight is not None
        x, size, groups = self.values[step.source], step.shape[:2], step.layer.groups
        inputs = self.positions.windows(x, step.layer, size, _MOST_NUMBERS)
        taps = step.layer.kernel_h * step.layer.kernel_w
        thin = self.positions.thin(size, taps * x.shape[3], _MOST_NUMBERS)
        sums = self.stats[step.own].rows[::thin]
        target = self.stats[step.output].rows[::thin]
        residual = None
        if step.residual is not None:
            residual = self.positions.rows(self.values[step.residual])[::thin].float()
        channels = step.shape[2]
        some = slice(None, None, -(-channels // _CHANNELS) if groups == 1 else 1)
        goal = self._goal(step, target[:, some], None if residual is None else residual[:, some])
        grouped = sums.reshape(len(sums), groups, -1).permute(1, 0, 2)
        search = ConvSearch(
            inputs,
            _mean(inputs),
            _matrices(step, some),
            grouped[:, :, some],
            self.scale[step.source],
            goal,
            self.a,
            self.q_scale,
            MARGIN,
        )
        choice = search.run()
        if isinstance(choice, Misfit):
            raise QuantisationError(
                f"layer {step.name}: no shift in {self.q_scale}.."
                f"{self.a.acc_bits - self.a.act_bits} keeps {self._misfit(choice)} "
                "from overflowing on the calibration images; use more acc_bits"
            )
        weight = np.empty(step.weight.shape, np.int8)
        bias = np.empty(channels, np.int32)
        block = _BLOCK if groups == 1 else channels
        for part in (slice(i, i + block) for i in range(0, channels, block)):
            sums = grouped[:, :, part] if groups == 1 else grouped
            own = replace(search, weight=_matrices(step, part), sums=sums)
            quantised = own.weights(choice.step)
            units = own.bias(quantised, choice.unit)
            weight[part] = quantised.transpose(1, 2).reshape(weight[part].shape).numpy()
            bias[part] = units.reshape(-1).numpy().astype(np.int64)
        return choice, weight, bias

    def _average(self, step: LoweredLayer) -> tuple[Choice, I8 | None, I32 | None]:
        x, alone = self.values[step.source], self._alone(step, step.layer)
        rows = torch.cat(
            [
                self.positions.rows(window_sums(alone, 0, x[part]), part.start)
                for part in self._batches(step)
            ]
        ).float()
        unit, idle = self.scale[step.source] / step.divisor, self.scale[step.source]
        goal = self._goal(step, self.stats[step.output].rows, None)
        # Of integers that are what they are, a float range beyond all of them says nothing.
        most = step.layer.kernel_h * step.layer.kernel_w * unit * 2.0 ** (self.a.act_bits - 1)
        goal = replace(goal, wide_lo=max(goal.wide_lo, -most), wide_hi=min(goal.wide_hi, most))
        choice = best_shift(goal, rows, unit, self.a, 0, MARGIN, idle)
        if choice == Misfit.RESULT:  # what the clamp cuts off has to fit before it does
            whole = replace(goal, lo=-math.inf, hi=math.inf)
            choice = best_shift(whole, rows, unit, self.a, 0, MARGIN, idle)
        if isinstance(choice, Misfit):
            raise QuantisationError(
                f"layer {step.name}: the sums of its windows are too large for "
                f"{self._misfit(choice)}; use more acc_bits"
            )
        return choice, None, None

    def _misfit(self, why: Misfit) -> str:
        """What is too narrow."""
        return {
            Misfit.ACCUMULATOR: f"{self.a.acc_bits}-bit accumulators",
            Misfit.RESULT: f"{self.a.act_bits}-bit results",
        }[why]

    def _add(self, step: LoweredLayer) -> tuple[Choice, I8 | None, I32 | None]:
        assert step.residual is not None
        own = self.positions.rows(self.values[step.source]).float()
        residual = self.positions.rows(self.values[step.residual]).float()
        goal = self._goal(step, self.stats[step.output].rows, residual)
        return best_alignment(goal, own, self.scale[step.source], self.a), None, None

    def _same(self, step: LoweredLayer) -> tuple[Choice, I8 | None, I32 | None]:
        """Values are taken over as they are, and with them their scale."""
        return Choice(self.scale[step.source]), None, None


#: Operation -> how the numbers of a layer are chosen, its weights and biases if it has any.
_CHOOSE: dict[
    LayerOp, Callable[[_Quantiser, LoweredLayer], tuple[Choice, I8 | None, I32 | None]]
] = {
    LayerOp.CONV: _Quantiser._conv,
    LayerOp.MAXPOOL: _Quantiser._same,
    LayerOp.AVGPOOL: _Quantiser._average,
    LayerOp.ADD: _Quantiser._add,
    LayerOp.COPY: _Quantiser._same,
}
complete(
    "LayerOp in network/layers.py", LayerOp, _CHOOSE, "compiler/quantise/quantiser.py: _CHOOSE"
)


def _matrices(step: LoweredLayer, channels: slice) -> Tensor:
    """Weights of some output channels, float32 (groups, k, channels); all of them if grouped."""
    assert step.weight is not None
    weight = torch.from_numpy(step.weight[channels])
    grouped = weight.reshape(step.layer.groups, len(weight) // step.layer.groups, -1)
    return grouped.transpose(1, 2).contiguous()


def _mean(inputs: Tensor) -> Tensor:
    """Mean over dimension 1, float64, without a float64 copy of everything."""
    parts = torch.split(inputs, _ROWS, 1)
    sums = [part.sum(1, keepdim=True, dtype=torch.float64) for part in parts]
    return torch.stack(sums).sum(0) / inputs.shape[1]


def _most_alive(lowered: Lowered) -> int:
    """Numbers of one image in the values that are needed at once, where they are most."""
    size = {value: math.prod(shape) for value, shape in lowered.shapes.items()}
    last = {v: i for i, s in enumerate(lowered.steps) for v in (s.source, s.residual)}
    alive = {lowered.input}
    most = 0
    for i, step in enumerate(lowered.steps):
        alive.add(step.output)
        most = max(most, sum(size[value] for value in alive))
        alive -= {v for v in (step.source, step.residual) if v is not None and last[v] == i}
    return most
