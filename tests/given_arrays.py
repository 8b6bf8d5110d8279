"""Every public function that takes an array, right arrays for it, and wrong ones.

A row says how a function is called with one array in the place of a right one, and what kind of
array that is; `RIGHT` has other forms of the right one, which give what it gives, and `WRONG` those
that end in one line.  `OTHERS` says of each public name without a row what it takes instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

import flexhyca as fh
from flexhyca import api
from flexhyca.compiler.importance.ranking import Ranking
from flexhyca.network.fixedpoint import requantise
from flexhyca.tests.support import small_config

COUNT = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 1)).astype(np.uint8)
LABELS = np.arange(COUNT) % 10


class Bench(NamedTuple):
    """What the calls need beside the array."""

    model: Any
    config: Any
    network: Any
    program: Any
    inputs: np.ndarray
    logits: np.ndarray
    ranking: Any
    layer: int  #: the first with weights


@cache
def bench() -> Bench:
    """A small machine and the network `digits` on it."""
    config = small_config("protection.s_th=0.1", "buffers.output_bytes=4096")
    model = api.load_model("digits")
    data = fh.Dataset("calibration", PIXELS, LABELS)
    network = api.quantise(model, config, data)
    inputs = api.quantise_images(model, network, PIXELS)
    program = api.compile(network, config)
    ranking = api.rank_neurons(model, data)
    logits = api.run_images(program, inputs)
    return Bench(model, config, network, program, inputs, logits, ranking, min(network.weights))


def _data(images: Any = PIXELS, labels: Any = LABELS) -> fh.Dataset:
    return fh.Dataset("mine", images, labels)


def _from_file(**arrays: Any) -> fh.Dataset:
    with TemporaryDirectory() as folder:
        np.savez(Path(folder) / "d.npz", **{"images": PIXELS, "labels": LABELS} | arrays)
        return api.load_data(bench().model, Path(folder) / "d.npz")


def _numbers(network: Any) -> list[Any]:
    return [
        [t.scale for t in network.tensors],
        *(a for i in network.weights for a in (network.weights[i], network.biases[i])),
    ]


def _traffic(masks: dict[int, Any]) -> np.ndarray:
    found = api.explain_mappings(bench().network, bench().config, masks)
    return np.array([choice.traffic for choice in found])


def _with(**arrays: Any) -> Any:
    """The network's program with other weights or biases of its first layer."""
    b = bench()
    own = {k: {**getattr(b.network, k), b.layer: v} for k, v in arrays.items()}
    return api.compile(replace(b.network, **own), b.config).text


def _ranked(scores: Any) -> Any:
    b = bench()
    name = b.network.layers[b.layer].name
    ranking = Ranking(b.ranking.model, {**b.ranking.scores, name: scores}, b.ranking.inputs)
    return list(api.select_important(ranking, b.network, b.config).values())


class Row(NamedTuple):
    """One array of one function. sized : the function knows what size or classes to expect."""

    function: str
    argument: str
    kind: str
    call: Callable[[Any], Any]
    sized: bool = True


ROWS = (
    Row("Dataset", "images", "pixels", lambda a: _data(a).images, sized=False),
    Row("Dataset", "labels", "labels", lambda a: _data(labels=a).labels, sized=False),
    Row("load_data", "images of the file", "pixels", lambda a: _from_file(images=a).images),
    Row("load_data", "labels of the file", "labels", lambda a: _from_file(labels=a).labels),
    Row(
        "quantise_images",
        "images",
        "pixels",
        lambda a: api.quantise_images(bench().model, bench().network, a),
    ),
    Row(
        "quantise",
        "data.images",
        "pixels",
        lambda a: _numbers(api.quantise(bench().model, bench().config, _data(a))),
    ),
    Row(
        "calibration_data",
        "data.images",
        "pixels",
        lambda a: api.calibration_data(bench().model, _data(a)).images,
    ),
    Row(
        "rank_neurons",
        "data.images",
        "pixels",
        lambda a: list(api.rank_neurons(bench().model, _data(a)).scores.values()),
    ),
    Row(
        "rank_neurons",
        "data.labels",
        "labels",
        lambda a: list(api.rank_neurons(bench().model, _data(labels=a)).scores.values()),
    ),
    *(
        Row(name, f"data.{argument}", kind, call)
        for name, accuracy in (
            ("int8_accuracy", lambda d: api.int8_accuracy(bench().model, bench().network, d)),
            ("float_accuracy", lambda d: api.float_accuracy(bench().model, d)),
        )
        for argument, kind, call in (
            ("images", "pixels", lambda a, of=accuracy: of(_data(a))),
            ("labels", "labels", lambda a, of=accuracy: of(_data(labels=a))),
        )
    ),
    Row("simulate", "images", "inputs", lambda a: api.simulate(bench().program, a).outputs),
    Row("run_images", "images", "inputs", lambda a: api.run_images(bench().program, a)),
    Row("accuracy_of", "logits", "logits", lambda a: api.accuracy_of(a, LABELS)),
    Row("accuracy_of", "labels", "labels", lambda a: api.accuracy_of(bench().logits, a)),
    Row(
        "compile",
        "important",
        "mask",
        lambda a: api.compile(bench().network, bench().config, {bench().layer: a}).text,
    ),
    Row("explain_mappings", "important", "mask", lambda a: _traffic({bench().layer: a})),
    Row("compile", "network.weights", "weights", lambda a: _with(weights=a)),
    Row("compile", "network.biases", "biases", lambda a: _with(biases=a)),
    Row("select_important", "ranking.scores", "scores", _ranked),
    Row(
        "load_model",
        "mean",
        "share",
        lambda a: api.load_model("digits", mean=a).mean,
    ),
    Row(
        "requantise",
        "acc",
        "sums",
        lambda a: requantise(a, 7, 8, "half_up", "saturate"),
    ),
)

_MODEL = "names, paths and numbers; its images are those of load_data"
#: Public names that take no array, and what they take.
OTHERS = {
    **dict.fromkeys(
        ("CompileError", "ConfigError", "DeadlockError", "FlexhycaError", "InternalError"), "texts"
    ),
    **dict.fromkeys(("ModelError", "ProgramError", "QuantisationError"), "texts"),
    **dict.fromkeys(("bits", "compare", "optimise", "build"), _MODEL),
    **dict.fromkeys(("Config", "load_config"), "fields"),
    **dict.fromkeys(("StuckPe", "load_pe_map", "random_pe_map"), "fields, a file or a count"),
    "Program": "made by compile, assemble and load, which check it",
    **dict.fromkeys(("Result", "Build"), "what a run gives"),
    **dict.fromkeys(("has_images", "is_program", "open_program"), "a name"),
    "Placement": "a name",
    "place_neurons": "a network; only its sizes are read",
}


def right(kind: str) -> Any:
    """The right array of a kind."""
    b = bench()
    shape = b.network.tensors[b.network.layers[b.layer].output]
    mask = np.zeros((shape.h, shape.w, shape.c), bool)
    mask[0, 0, 0] = True
    return {
        "pixels": PIXELS,
        "labels": LABELS,
        "inputs": b.inputs,
        "logits": b.logits,
        "mask": mask,
        "weights": b.network.weights[b.layer],
        "biases": b.network.biases[b.layer],
        "scores": b.ranking.scores[b.network.layers[b.layer].name],
        "share": np.array([0.5]),
        "sums": np.array([5 << 7, -(5 << 7)], np.int64),
    }[kind]


def _read_only(array: Any) -> Any:
    found = np.array(array)
    found.flags.writeable = False
    return found


#: Ways to hold any array, which change nothing.
_HELD: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda a: a,
    "read-only": _read_only,
    "backwards in memory": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "Fortran order": np.asfortranarray,
    "every second of twice as many": lambda a: np.repeat(a, 2, axis=0)[::2],
    "a masked array with no mask": np.ma.masked_array,
    "a tensor": lambda a: torch.from_numpy(np.array(a)),
}
_LIST = {"a list": lambda a: a.tolist()}
_INTEGERS = {
    str(dtype): (lambda a, to=dtype: a.astype(to))
    for dtype in ("uint8", "uint16", ">u2", "int16", "int32", ">i4", "uint32", "int64", "uint64")
}
#: Kind -> forms of the right array that give what it gives.
RIGHT: dict[str, dict[str, Callable[[Any], Any]]] = {
    "pixels": {
        **_HELD,
        **_LIST,
        **_INTEGERS,
        **{
            f"{dtype} in 0..1": (lambda a, to=dtype: (a / 255).astype(to))
            for dtype in ("float16", "float32", "float64", "longdouble", ">f4")
        },
    },
    "labels": {**_HELD, **_LIST, **_INTEGERS},
    "inputs": _HELD,
    "logits": {
        **_HELD,
        **_LIST,
        "float32": lambda a: a.astype(np.float32),
        "flat": lambda a: a.reshape(len(a), -1),
    },
    "mask": _HELD | _LIST,
    "weights": {k: v for k, v in _HELD.items() if k != "a tensor"},
    "biases": {k: v for k, v in _HELD.items() if k != "a tensor"},
    "scores": _HELD,
    "share": _HELD | _LIST | {"a tuple": tuple},
    "sums": {**_HELD, **_LIST, "int32": lambda a: a.astype(np.int32)},
}


def _put(array: Any, dtype: Any, value: Any) -> Any:
    """The array as another type, with one number that is not right."""
    found = np.array(array).astype(dtype)
    found.reshape(-1)[found.size // 2] = value
    return found


#: Wrong for every kind.
_NEVER: dict[str, Callable[[Any], Any]] = {
    "strings": lambda a: np.array(a).astype(str),
    "objects": lambda a: np.array(a).astype(object),
    "complex numbers": lambda a: np.array(a).astype(complex),
    "dates": lambda a: np.zeros(np.shape(a), "datetime64[s]"),
    "records": lambda a: np.zeros(np.shape(a), [("x", "i4")]),
    "ragged lists": lambda a: [[1, 2], [3]],
    "a dictionary": lambda a: {"images": a},
    "a text": lambda a: "digits",
    "masked": lambda a: np.ma.masked_array(a, np.arange(np.size(a)).reshape(np.shape(a)) == 0),
    "a tensor that wants gradients": lambda a: torch.ones(np.shape(a), requires_grad=True),
    "a tensor without memory": lambda a: torch.ones(np.shape(a), device="meta"),
    "numbers beyond 64 bits": lambda a: [2**70] * len(a),
    "NaN": lambda a: _put(a, np.float64, np.nan),
    "infinite": lambda a: _put(a, np.float64, np.inf),
}
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "a number": lambda a: np.asarray(a).reshape(-1)[0],
    "none": lambda a: a[:0],
    "an axis too many": lambda a: np.asarray(a)[None],
}
#: Kind -> wrong arrays: whatever the function knows, and where it knows the size or the classes.
WRONG: dict[str, dict[str, Callable[[Any], Any]]] = {
    "pixels": {
        **_NEVER,
        **_SHAPES,
        "truth values": lambda a: a > 9,
        "quantised already": lambda a: (a // 2).astype(np.int8),
        "floats of 0..255": lambda a: a.astype(np.float32),
        "normalised": lambda a: (a / 255 - 0.5).astype(np.float32),
        "a little above 1": lambda a: _put(a / 255, np.float32, 1.001),
        "negative": lambda a: _put(a, np.int16, -1),
        "above 255": lambda a: _put(a, np.int64, 256),
        "of 64 bits": lambda a: _put(a, np.uint64, 2**63),
        "one image": lambda a: a[0],
        "no channels": lambda a: a[..., 0],
    },
    "labels": {
        **_NEVER,
        **_SHAPES,
        "truth values": lambda a: a > 4,
        "floats": lambda a: a.astype(np.float32),
        "too few": lambda a: a[:-1],
        "too many": lambda a: np.append(a, 0),
        "one hot": lambda a: np.eye(10, dtype=int)[a],
        "negative": lambda a: _put(a, np.int64, -1),
        "above 64 bits": lambda a: _put(a, np.uint64, 2**63),
    },
    "inputs": {
        **_NEVER,
        **_SHAPES,
        "pixels": lambda a: PIXELS,
        "wider": lambda a: a.astype(np.int16),
        "floats": lambda a: a.astype(np.float32),
        "one image": lambda a: a[0],
        "another width": lambda a: a[:, :, :7],
        "channels first": lambda a: a.transpose(0, 3, 1, 2),
        "more channels": lambda a: np.repeat(a, 3, axis=3),
    },
    "logits": {
        **_NEVER,
        **_SHAPES,
        "too few": lambda a: a[:-1],
        "half of them": lambda a: a[: COUNT // 2],
        "classes only": lambda a: a.argmax(-1).reshape(-1),
    },
    "mask": {
        **_NEVER,
        **_SHAPES,
        "of 0 and 1": lambda a: a.astype(np.uint8),
        "positions": lambda a: np.argwhere(a),
        "flat": lambda a: a.reshape(-1),
        "transposed": lambda a: a.transpose(2, 0, 1),
    },
    "weights": {
        **_NEVER,
        **_SHAPES,
        "wider": lambda a: a.astype(np.int16),
        "floats": lambda a: a.astype(np.float32),
        "of torch": lambda a: a.transpose(0, 3, 1, 2),
        "a tensor": lambda a: torch.from_numpy(np.array(a)),
    },
    "biases": {
        **_NEVER,
        **_SHAPES,
        "wider": lambda a: a.astype(np.int64),
        "floats": lambda a: a.astype(np.float32),
        "too large": lambda a: _put(a, np.int32, 2**31 - 1),
    },
    "scores": {
        **_NEVER,
        **_SHAPES,
        "narrower": lambda a: a.astype(np.float32),
        "transposed": lambda a: a.transpose(2, 0, 1),
    },
    "share": {
        **{k: v for k, v in _NEVER.items() if k not in ("objects", "a dictionary")},
        "none": lambda a: a[:0],
        "an axis too many": lambda a: np.asarray(a)[None],
        "too many": lambda a: np.append(a, 0.5),
        "text": lambda a: ["0.5"],
        "nothing": lambda a: [None],
        "huge": lambda a: [1e300],
    },
    "sums": {
        **_NEVER,
        "floats": lambda a: a.astype(np.float32),
        "truth values": lambda a: a > 0,
        "beyond 63 bits": lambda a: _put(a, np.uint64, 2**63),
    },
}
SIZED: dict[str, dict[str, Callable[[Any], Any]]] = {
    "pixels": {
        "larger": lambda a: np.repeat(a, 2, axis=1),
        "smaller": lambda a: a[:, :, :7],
        "more channels": lambda a: np.repeat(a, 3, axis=3),
        "channels first": lambda a: a.transpose(0, 3, 1, 2),
    },
    "labels": {"of a class that is none": lambda a: _put(a, np.int64, 10)},
}
