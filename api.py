"""The flow in one place: model -> network -> important neurons -> program -> result.

Thin: each function calls the part that does the work, with the values a `Config` gives it.  The
command line and the examples use these functions and nothing else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from .compiler.data import Dataset
from .compiler.data import load_dataset as _read_dataset
from .compiler.model import Model, load_model
from .config import Config
from .errors import ModelError
from .given.arguments import Batch, Seed, checked_arguments
from .given.arrays import given_labels, given_logits
from .isa.program import Program
from .network.layers import Network

if TYPE_CHECKING:
    from .compiler.codegen.emitter import Masks
    from .compiler.importance.ranking import Ranking
    from .compiler.mapping.explain import LayerChoice
    from .config.mappings import WantedMapping
    from .isa.pe_map import StuckPe
    from .simulator.cycles.trace import Recorder
    from .simulator.run import ComputedValues, CycleModels, Result, Values

__all__ = [
    "Build",
    "Dataset",
    "Placement",
    "accuracy_of",
    "build",
    "calibration_data",
    "compile",
    "explain_mappings",
    "float_accuracy",
    "has_images",
    "int8_accuracy",
    "is_program",
    "load_data",
    "load_model",
    "open_program",
    "place_neurons",
    "quantise",
    "quantise_images",
    "rank_neurons",
    "run_images",
    "select_important",
    "simulate",
]

# Threads that spin while they wait made quantising ten to forty times slower on cores that other
# work shares, and idle cores gain nothing from it. torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

Placement = Literal["gradient", "random", "clustered"]

#: Images that calibrate the quantiser and rank the neurons: more change little and cost time.
CALIBRATION_IMAGES = 256

#: Numbers in the noise that stands in for images: 16 small ones, 2 of 3 x 224 x 224.
_NOISE = 300_000


if not TYPE_CHECKING:  # which would take any name for one of this module

    def __getattr__(name: str) -> object:
        from .renamed import by_old_name

        return by_old_name(__name__, name)


def has_images(name: str) -> bool:
    """Whether the model called `name` comes with images of its own."""
    return name == "digits"


@checked_arguments
def load_data(
    model: Model, path: str | Path | None = None, *, split: Literal["train", "test"] = "test"
) -> Dataset:
    """Images and labels for `model`: from an npz, or the model's own (only `digits` has any).

    The npz has `images` (u8, n h w c, n h w or n c) and optionally `labels`; `split` picks the
    held-out or the training half of the model's own data.  Where the output is a map, labels are
    left out.  Raises ModelError where there is none or it does
    not fit the model.
    """
    if path is not None:
        data = _read_dataset(path)
    elif has_images(model.name):
        from .compiler.data import digits_dataset

        data = digits_dataset(split)
    else:
        raise ModelError(f"model {model.name} comes without images; give an npz with --data FILE")
    data.check(model)
    return data if model.classes is not None else Dataset(data.name, data.images, None)


@checked_arguments
def calibration_data(model: Model, data: Dataset | None = None, *, seed: Seed = 0) -> Dataset:
    """The images that quantise `model` and rank its neurons.

    The model's own training images, else evenly spaced ones of the user's (files are often sorted
    by class), else seeded noise, which is good for timing only.  How many images are evaluated
    later changes nothing here.
    """
    if data is not None:
        data.check(model)
    if has_images(model.name) and (data is None or data.name in ("digits-train", "digits-test")):
        data = load_data(model, split="train")
    if data is None:
        c, h, w = model.input_shape
        count = max(2, min(16, _NOISE // (c * h * w)))
        noise = np.random.default_rng(seed).integers(0, 256, (count, h, w, c), np.uint8)
        return Dataset("noise", noise, None)
    return data.spread(CALIBRATION_IMAGES)


@checked_arguments
def quantise(
    model: Model, config: Config, data: Dataset | None = None, *, seed: Seed = 0
) -> Network:
    """Integers for the machine of `config`; calibrated on `calibration_data(model, data)`.

    Raises QuantisationError, naming the layer, where a fault-free result would wrap or overflow.
    """
    from .compiler.quantise.quantiser import quantise_model

    return quantise_model(
        model,
        calibration_data(model, data, seed=seed).images,
        arithmetic=config.arithmetic,
        q_scale=config.protection.q_scale,
    )


@checked_arguments
def quantise_images(model: Model, network: Network, images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """u8 NHWC pixels -> the int8 NHWC input of `network`.

    Also of wider integers in 0..255, and of floats in 0..1, which are rounded to pixels first
    (`Dataset`); ModelError says what is wrong with others.
    """
    from .compiler.data import quantise_input

    given = Dataset("given", images, None)
    given.check(model)
    pixels = given.images
    own = network.tensors[network.input]
    if (own.h, own.w, own.c) != pixels.shape[1:]:
        raise ModelError(
            f"network {network.name} takes {(own.h, own.w, own.c)} (h, w, c), model {model.name} "
            f"{pixels.shape[1:]}; quantise this model"
        )
    return quantise_input(pixels, model, own.scale, network.arithmetic.act_bits)


@checked_arguments
def rank_neurons(model: Model, data: Dataset | None = None, *, seed: Seed = 0) -> Ranking:
    """How much each neuron's output moves the loss (paper, Algorithm 1); independent of s_th."""
    from .compiler.importance.ranking import rank

    data = calibration_data(model, data, seed=seed)
    return rank(model, data.images, data.labels)


@checked_arguments
def place_neurons(network: Network, placement: Placement, *, seed: Seed = 0) -> Ranking:
    """A ranking without trained weights: `random`, or `clustered` like a measured one.

    Raises ModelError for `gradient`, which needs the float model: use `rank_neurons`.
    """
    from .compiler.importance.placement import clustered_ranking, random_ranking

    if placement == "random":
        return random_ranking(network, seed)
    if placement == "clustered":
        return clustered_ranking(network, seed)
    raise ModelError(
        f"{network.name}: placement {placement!r} needs a float model; use random or clustered"
    )


@checked_arguments
def select_important(ranking: Ranking, network: Network, config: Config) -> Masks:
    """The important neurons, layer index -> bool (h, w, c); empty where `config` protects none."""
    from .compiler.importance.ranking import important_neurons

    return important_neurons(ranking, network, config)


@checked_arguments
def compile(
    network: Network,
    config: Config,
    important: Masks | None = None,
    batch: Batch = 1,
    mappings: Mapping[str, WantedMapping] | None = None,
    *,
    pe_map: Sequence[StuckPe] = (),
    repair: bool | None = None,
) -> Program:
    """Tile `network`, place the important neurons and emit the program of one inference.

    mappings : what is wanted of layers' mappings, by name or pattern (`load_mappings`). pe_map :
    stuck PEs of the chip (`load_pe_map`, `random_pe_map`), which all values of the program meet.
    repair : whether the DPPU recomputes what these would make wrong; None where there is a DPPU.
    """
    from .compiler.compile_network import compile_network

    return compile_network(network, config, important, batch, mappings or {}, pe_map, repair)


@checked_arguments
def explain_mappings(
    network: Network,
    config: Config,
    important: Masks | None = None,
    batch: Batch = 1,
    mappings: Mapping[str, WantedMapping] | None = None,
    *,
    pe_map: Sequence[StuckPe] = (),
    repair: bool | None = None,
) -> list[LayerChoice]:
    """The mapping of each layer, the next best, and what no mapping can beat; as `compile`."""
    from .compiler.compile_network import checked_masks, repair_of
    from .compiler.mapping.explain import mapping_choices
    from .compiler.mapping.plan import layer_requests
    from .isa.pe_map import check_pe_map

    masks = checked_masks(network, important or {})
    own = check_pe_map(pe_map, config, f"{network.name}: pe_map")
    repaired = repair_of(network, config, own, repair)
    requests = layer_requests(network, config, masks, batch, mappings or {}, repaired)
    return mapping_choices(requests, network)


@checked_arguments
def simulate(
    program: Program,
    images: NDArray[np.int8] | None = None,
    *,
    values: Values = "fast",
    cycle_model: CycleModels = "compiled",
    progress: Callable[[int, int], object] | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Run `program` on the cycle model; on int8 NHWC images (`quantise_images`) also its values.

    Cycles do not depend on `values`: "fast" computes whole layers, "machine" moves every byte
    through the modelled buffers, "registers" steps every register of the array besides, "none"
    computes nothing. `cycle_model`: "compiled", or its SimPy reference, equal in every number; a
    `recorder` (`simulator.cycles.trace`) takes the reference, which tells `progress` the cycle and
    the layer's index with each tile that is stored.
    """
    from .simulator.run import simulate as run

    return run(
        program,
        images,
        values=values,
        cycle_model=cycle_model,
        progress=progress,
        recorder=recorder,
    )


@checked_arguments
def run_images(
    program: Program,
    images: NDArray[np.int8],
    *,
    values: ComputedValues = "fast",
    step: Callable[[int], object] = lambda count: None,
    progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.int8]:
    """Logits of any number of int8 NHWC images; `step` is told how many have been done.

    "fast" computes whole layers; "machine" and "registers" run one inference of `program.batch`
    images after the other, the last one filled up with zeros, and tell `progress` of each tile.
    """
    from .simulator.inject.stuck_pes import value_engine
    from .simulator.inputs import checked_inputs

    images = checked_inputs(program, images)
    size = program.batch
    if values == "fast":
        size *= max(1, 64 // size)
    engine = value_engine(program)
    logits = []
    for first in range(0, len(images), size):
        part = images[first : first + size]
        if values == "fast":
            logits.append(engine.run(part))
        else:
            full = np.zeros((size, *part.shape[1:]), np.int8)
            full[: len(part)] = part
            outputs = simulate(program, full, values=values, progress=progress).outputs
            assert outputs is not None
            logits.append(outputs[: len(part)])
        step(len(part))
    return np.concatenate(logits)


@checked_arguments
def int8_accuracy(model: Model, network: Network, data: Dataset) -> float:
    """Accuracy of the quantised network on labelled data, without any fault."""
    from .network.functional import Functional

    labels = _labels(model, data)
    images = quantise_images(model, network, data.images)
    return accuracy_of(Functional(network).run(images), labels)


def _labels(model: Model, data: Dataset) -> NDArray[np.int64]:
    """The labels that accuracy is of; ModelError where there is none."""
    if model.classes is None:
        raise ModelError(
            f"model {model.name}: its output is a map of shape {model.output_shape}, so there is "
            "no accuracy"
        )
    data.check(model)
    labels = data.labels
    if labels is None:
        raise ModelError(f"data {data.name}: no labels, so there is no accuracy")
    return labels


@checked_arguments
def accuracy_of(logits: NDArray[np.int8], labels: NDArray[np.int64]) -> float:
    """Share of images whose largest logit is the label's; of equal logits the first counts."""
    found = given_logits("logits", logits)
    wanted = given_labels("labels", labels, len(found), found.shape[1])
    return float(np.mean(np.argmax(found, axis=1) == wanted))


@checked_arguments
def float_accuracy(model: Model, data: Dataset, batch: Batch = 100) -> float:
    """Accuracy of the float network on labelled data."""
    from .compiler.data import normalise
    from .compiler.execute import logits

    labels = _labels(model, data)
    batches = (
        normalise(data.images[i : i + batch], model.mean, model.std)
        for i in range(0, len(data), batch)
    )
    return accuracy_of(logits(model.graph, batches).numpy(), labels)


@dataclass(frozen=True)
class Build:
    """A compiled network and everything it came from; a topology has no `model`.

    placement : where `important` is from, None if nothing was to be placed.
    """

    model: Model | None
    data: Dataset | None
    network: Network
    important: Masks
    placement: Placement | None
    program: Program
    seconds: Mapping[str, float]  #: "quantize" (as JSON files have it), "importance", "compile"
    warnings: tuple[str, ...]


@checked_arguments
def build(
    name: str,
    config: Config,
    *,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    batch: Batch = 1,
    seed: Seed = 0,
    placement: Placement | None = None,
    timing_only: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    mappings: Mapping[str, WantedMapping] | None = None,
    pe_map: Sequence[StuckPe] = (),
    repair: bool | None = None,
    say: Callable[[str], object] = lambda what: None,
) -> Build:
    """Everything from a model's name, an ONNX or a topology file (.csv), to its program.

    mean, std : of pixels / 255, one number a channel; default the model's own (see `load_model`).
    placement : where important neurons are; default by `gradient`, for a topology `clustered`.
    timing_only : leave all weights zero. Cycles and traffic are the same, and calibration, which
    takes most of the time, is left out.  pe_map, repair : as of `compile`.  say : told what begins
    now.
    """
    from .compiler.frontends.topology import is_topology

    warnings: list[str] = []
    model, dataset, times = None, None, [time.perf_counter()]
    if is_topology(name):
        if not all(v is None for v in (weights, data, mean, std)):
            raise ModelError(f"topology {name}: shapes only; leave out weights, data, mean and std")
        network = _load_topology(name, config)
    else:
        model = load_model(name, weights, seed=seed, mean=mean, std=std)
        warnings += model.warnings
        if data is not None or has_images(name):
            dataset = load_data(model, data)
            if model.classes is None:
                warnings.append(f"{name}: its output is a map, so labels are not used")
        elif not timing_only:
            warnings.append(
                f"{name}: no images given, so it is calibrated on noise: cycles are right, "
                "important neurons and values mean nothing; give --data FILE"
            )
        times = [time.perf_counter()]
        say("quantising")
        network = (
            _shapes(model, config) if timing_only else quantise(model, config, dataset, seed=seed)
        )
    times.append(time.perf_counter())
    important: Masks = {}
    if config.protection.s_th > 0 and config.runs_engines:  # SCALE-Sim knows no DPPU
        if placement is None:
            placement = "gradient" if model else "clustered"
        say("ranking neurons")
        if model is not None and placement == "gradient":
            ranking = rank_neurons(model, dataset, seed=seed)
            if dataset is None and timing_only:
                warnings.append(
                    f"{name}: no images given, so important neurons are ranked on noise and mean "
                    "nothing; give --data FILE, or --placement clustered"
                )
        else:
            ranking = place_neurons(network, placement, seed=seed)
        important = select_important(ranking, network, config)
        del ranking  # a number for each neuron
    times.append(time.perf_counter())
    say("compiling")
    program = compile(network, config, important, batch, mappings, pe_map=pe_map, repair=repair)
    # Weights of large networks once; those of packed groups have other shapes.
    packed = np.flatnonzero(program.column("packed") > 1).tolist()
    own = {index: network.weights[index] for index in packed}
    network = replace(network, weights=dict(program.network.weights) | own)
    times.append(time.perf_counter())
    steps = ("quantize", "importance", "compile")
    seconds = {step: b - a for step, a, b in zip(steps, times, times[1:], strict=False)}
    used = placement if important else None
    return Build(model, dataset, network, important, used, program, seconds, tuple(warnings))


@checked_arguments
def open_program(path: str | Path) -> Build:
    """A program file as a `Build` without float model and images: for cycles and traffic.

    Raises ProgramError where the file is damaged or something else.
    """
    from .isa.program_file import load

    program = load(path)
    return Build(None, None, program.network, {}, None, program, {}, ())


def is_program(name: str) -> bool:
    """Whether a model's name is the path of a program file."""
    return name.lower().endswith(".fhx")


def _shapes(model: Model, config: Config) -> Network:
    from .compiler.shapes import shapes_of

    return shapes_of(model, config.arithmetic, config.protection.q_scale)


def _load_topology(path: str, config: Config) -> Network:
    from .compiler.frontends.topology import network_of, read_topology

    rows, stem = read_topology(path), Path(path).stem
    return network_of(rows, stem, config.arithmetic, config.protection.q_scale)
