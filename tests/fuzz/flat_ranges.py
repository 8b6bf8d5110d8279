"""Networks with values that are always zero, constant, tiny or huge: all of them are quantised.

    python -m flexhyca.tests.fuzz.flat_ranges 10000 0

Dead ReLUs, black images, zero weights, constant maps, and layers beside them that are alive.  None
is refused but for what it names: an accumulator that is too narrow, or numbers that are not finite.
Where the float network yields zero, so do the integers, but for a step of a larger value before;
elsewhere they stay near it.  And every layer is what its scales say, in float64, on the images of
calibration and on others, where what was dead may be alive: `means`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch

from flexhyca.compiler.compile_network import compile_network
from flexhyca.compiler.data import normalise, quantise_input
from flexhyca.compiler.execute import graph_steps
from flexhyca.compiler.frontends.builder import Builder
from flexhyca.compiler.model import Model
from flexhyca.compiler.passes import simplify
from flexhyca.compiler.quantise import quantiser
from flexhyca.compiler.quantise.quantiser import quantise_model
from flexhyca.config import Arithmetic
from flexhyca.errors import QuantisationError
from flexhyca.network.fixedpoint import limits
from flexhyca.network.fixedpoint_torch import Losses
from flexhyca.network.functional import Functional
from flexhyca.network.layers import LayerOp, Network
from flexhyca.network.windows import window_sums
from flexhyca.tests.fuzz.attacks import Attack, outcomes, print_outcomes
from flexhyca.tests.fuzz.damage import one_line
from flexhyca.tests.support import small_config

_KINDS = ("conv", "conv", "conv", "relu", "add", "add", "pool", "average", "concat", "clip")


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Of a layer that is alive, dead behind a ReLU, constant, zero, tiny or huge."""
    weight = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    bias = rng.normal(size=shape[0]) * rng.choice([0, 0.1, 1])
    match rng.choice(["alive", "alive", "dead", "zero", "constant", "tiny", "huge", "few", "near"]):
        case "dead":
            bias = np.full(shape[0], -1000.0)
        case "zero":
            weight, bias = weight * 0, bias * 0
        case "constant":
            weight, bias = weight * 0, bias + rng.choice([1e-6, 1, 1e4])
        case "tiny":
            weight, bias = weight * 1e-9, bias * rng.choice([0, 1e-9, 1])
        case "huge":
            weight, bias = weight * 1e6, bias * 1e6
        case "few":
            weight[1:], bias[1:] = 0, -1
        case "near":  # almost a constant map
            weight, bias = weight * 1e-4, bias + 1
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def graph_of(rng: np.random.Generator) -> Model:
    """A random network of up to eight layers; adds and concats meet values of any kind."""
    b = Builder()
    channels = int(rng.integers(1, 4))
    values = [b.emit("input", [], shape=(channels, 4, 4))]
    for _ in range(int(rng.integers(1, 9))):
        kind = str(rng.choice(_KINDS))
        source = str(rng.choice(values[-3:]))
        same = [v for v in values if b.shape(v) == b.shape(source)]
        c = b.shape(source)[0]
        if kind == "conv":
            k = int(rng.choice([1, 3]))
            out = int(rng.choice([c, channels, 3]))
            groups = c if out % c == 0 and rng.random() < 0.3 else 1
            params = _weights(rng, (out, c // groups, k, k))
            fields = {"kernel": (k, k), "padding": (k // 2,) * 4, "groups": groups}
            values.append(b.emit("conv2d", [source], params=params, **fields))
            if rng.random() < 0.6:
                values.append(b.emit("relu", [values[-1]]))
        elif kind == "relu":
            values.append(b.emit("relu", [source]))
        elif kind == "clip":
            values.append(b.emit("clip", [source], lo=float(rng.choice([-1, 0])), hi=6.0))
        elif kind == "add":
            values.append(b.emit("add", [source, str(rng.choice(same))]))
        elif kind == "pool":
            values.append(b.emit("max_pool", [source], kernel=(3, 3), padding=(1,) * 4))
        elif kind == "average":
            window = {"kernel": (3, 3), "padding": (1,) * 4, "divisor": 9}
            values.append(b.emit("avg_pool", [source], **window))
        elif kind == "concat" and c < 9:
            values.append(b.emit("concat", [source, str(rng.choice(values[-4:]))]))
    if rng.random() < 0.5:
        flat = b.emit("flatten", [values[-1]])
        values.append(b.emit("linear", [flat], params=_weights(rng, (3, *b.shape(flat)))))
    graph = simplify(b.graph("net", values[-1]))
    mean, std = (
        (float(rng.choice([0, 0.5])),) * channels,
        (float(rng.choice([0.25, 1])),) * channels,
    )
    return Model("net", graph, mean, std)


def quantised(
    model: Model, images: np.ndarray, arithmetic: Arithmetic, q_scale: int
) -> tuple[Network, dict[str, float]]:
    """The network, and what one unit of the accumulators of each CONV is worth."""
    units: dict[str, float] = {}
    choose = quantiser._CHOOSE[LayerOp.CONV]

    def remembered(run, step):
        found = choose(run, step)
        units[step.name] = found[0].unit
        return found

    quantiser._CHOOSE[LayerOp.CONV] = remembered
    try:
        network = quantise_model(model, images, arithmetic=arithmetic, q_scale=q_scale)
    finally:
        quantiser._CHOOSE[LayerOp.CONV] = choose
    return network, units


def means(network: Network, units: dict[str, float], inputs: np.ndarray) -> None:
    """Each layer's integers are what float64 makes of the integers before, and of the scales.

    Off by the rounding of each step and, where scales meet that lie very far apart, by a quarter of
    a step of the sum.
    """
    a, sums = network.arithmetic, {}
    lo, hi = limits(a.act_bits)
    rounding = 1 if a.rounding == "floor" else 0.5
    losses = [Losses() for _ in network.layers]
    outputs = Functional(network).layers(inputs, losses, sums=sums)
    values = {network.input: inputs}
    for i, (layer, (output, value)) in enumerate(zip(network.layers, outputs, strict=True)):
        values[output] = value
        if losses[i].wraps or losses[i].overflows:
            return  # on other images than those of calibration they may
        scale = network.tensors[output].scale
        before = network.tensors[layer.input].scale
        if layer.op in (LayerOp.COPY, LayerOp.MAXPOOL):
            assert scale == before
            continue
        if layer.op == LayerOp.ADD:
            real, slack = values[layer.input] * np.float64(before), 0.0
        else:
            if layer.op == LayerOp.CONV:
                own, unit = sums[i].astype(np.float64), units[layer.name]
            else:
                x = torch.from_numpy(np.ascontiguousarray(values[layer.input]))
                own = window_sums(network, i, x).numpy().astype(np.float64)
                unit = scale * 2.0**-layer.shift
                count = unit / before  # one over what a window is divided by
                assert abs(1 / count - round(1 / count)) < 1e-3
            step = unit * 2.0**layer.shift
            real, slack = np.clip(own * unit, lo * step, hi * step), rounding * step
        if layer.residual >= 0:
            other = network.tensors[layer.residual].scale
            real = real + values[layer.residual] * np.float64(other)
            slack += (0.25 + rounding) * scale
        real = np.clip(real, layer.act_lo * scale, layer.act_hi * scale)
        off = np.abs(value * np.float64(scale) - real)
        assert (off <= slack + 1e-5 * np.abs(real)).all(), f"{layer.name}: {off.max()} > {slack}"


def attempt(seed: int) -> str:
    """Try one case; what became of it."""
    rng = np.random.default_rng(seed)
    model = graph_of(rng)
    c, h, w = model.input_shape
    images = rng.integers(0, 256, (3, h, w, c)).astype(np.uint8)
    match rng.choice(["any", "any", "black", "grey", "one"]):
        case "black":
            images[:] = 0
        case "grey":
            images[:] = 128
        case "one":
            images = images[:1]
    config = small_config(
        f"arithmetic.overflow={rng.choice(['slice', 'saturate'])}",
        f"arithmetic.rounding={rng.choice(['half_up', 'floor'])}",
        f"protection.q_scale={rng.choice([0, 7])}",
        f"arithmetic.act_bits={rng.choice([8, 8, 8, 4, 3])}",
        "dppu.size=0",
        "protection.s_th=0",
    )
    floats = torch.from_numpy(normalise(images, model.mean, model.std))
    values = {node.name: value for node, value in graph_steps(model.graph, floats)}
    wanted = values[model.graph.output].detach().numpy()
    top = limits(config.arithmetic.act_bits)[1]
    largest = max(float(value.detach().abs().max()) for value in values.values())
    try:
        network, units = quantised(model, images, config.arithmetic, config.protection.q_scale)
    except QuantisationError as error:
        one_line(error)
        return f"refused: {str(error).partition(': ')[2][:60]}"
    scale = network.tensors[network.input].scale
    inputs = quantise_input(images, model, scale)
    got = Functional(network).run(inputs)
    means(network, units, inputs)
    others = np.random.default_rng(seed).integers(0, 256, (4, h, w, c)).astype(np.uint8)
    means(network, units, quantise_input(others, model, scale))
    out = network.tensors[network.output]
    assert out.scale > 0
    assert np.isfinite(out.scale)
    real = got.astype(np.float64) * out.scale
    real = real.transpose(0, 3, 1, 2).reshape(wanted.shape)
    compile_network(network, config)
    if not wanted.any():
        off = np.abs(real).max() / (largest or 1)  # a step of something larger may be left
        return "zero" if not off else "near" if off < 6 / top else "far"
    share = np.abs(real - wanted).max() / np.abs(wanted).max()
    return "near" if share < 13 / top else "within half" if share < 0.5 else "far"


def attack(count: int, first: int, *, go_on: bool = False) -> Counter[str]:
    """Try `count` cases from seed `first`; how often each outcome came."""
    usual = ("zero", "near", "within")
    return outcomes(attempt, range(first, first + count), go_on, lambda w: w.startswith(usual))


def many(folder: Path, cases: int) -> int:
    assert not [what for what in attack(cases, 1000) if what.startswith("refused")]
    return cases


ATTACKS = (Attack("networks whose values are zero, constant, tiny or huge", many, 0, 8_000),)


if __name__ == "__main__":
    print_outcomes(attack)
