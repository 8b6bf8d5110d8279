"""The stages of an evaluation, as jobs for a worker: quantise, time, infer with wrong bits.

Each stage takes and gives plain values, so that a study can keep them.  A worker builds what it
needs (networks, the ranking's masks) when a job first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..compiler.data import Dataset, quantise_input
from ..compiler.importance.ranking import Ranking, important_neurons
from ..compiler.model import Model
from ..compiler.quantise.quantiser import quantise_model
from ..compiler.shapes import shapes_of
from ..config import Config
from ..config.schemes import with_scheme
from ..errors import CompileError, QuantisationError
from ..faults.ber.bench import Bench, Runner, one_thread
from ..faults.ber.machine import CODES, ImageGroup, ProtectedMachine, draw_groups
from ..faults.ber.options import BerOptions, Case
from ..faults.ber.protection import ProtectedNetwork
from ..faults.ber.random_bits import Hits
from ..faults.ber.rates import find_rates
from ..network.layers import Network
from .costs import timed
from .keys import network_digest

BLOCK = 10  #: patterns of an accuracy job
PatternPurpose = Literal["search", "confirm"]
#: What the patterns of a purpose begin their seed with; campaigns have 0, 1, 2 there.
_SEEDS = {purpose: 100 + i for i, purpose in enumerate(get_args(PatternPurpose))}
_KEPT_BYTES = 1 << 29  # of networks in a worker
_KEPT_HITS = 1 << 23  # bits of drawn patterns, 16 bytes each


@dataclass(frozen=True, eq=False)
class Workload:
    """The network that is protected, with its images: what all jobs of a study have in common.

    calibration : what it is quantised and its neurons are ranked on. images : of the search, and
    of the confirmation, which neither calibration nor search has seen; both with labels.
    """

    model: Model
    calibration: Dataset
    images: Mapping[str, Dataset]
    ranking: Ranking
    base: Config
    options: BerOptions
    seed: int


class StageJob(NamedTuple):
    """stage : of `STAGE_WORK`. arguments : of its function, besides laboratory and `config`."""

    stage: str
    config: Config
    arguments: Mapping[str, Any] = {}


def accuracy_job(config: Config, ber: float, purpose: PatternPurpose, first: int) -> StageJob:
    """A block of patterns, from number `first` on."""
    return StageJob(
        "accuracy", config, {"ber": ber, "purpose": purpose, "first": first, "count": BLOCK}
    )


class Block(NamedTuple):
    """Patterns of wrong bits and what came out. All arrays are (patterns, images a pattern).

    images : numbers of images. right : whether they were classified rightly; right0 : whether they
    are by the unprotected machine without faults.
    """

    images: NDArray[np.int64]
    right: NDArray[np.bool_]
    right0: NDArray[np.bool_]

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """The patterns of several, in order."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


def do_job(workload: Workload, job: StageJob) -> dict[str, Any]:
    """What a worker does: plain values, or {"error": why} where the design is impossible.

    One job at a time: what a worker has built is shared, also by threads that a cluster gave it.
    """
    try:
        with _ALONE, one_thread():
            return STAGE_WORK[job.stage](_laboratory(workload), job.config, **job.arguments)
    except (CompileError, QuantisationError) as error:
        return {"error": str(error)}


_ALONE = Lock()


@lru_cache(maxsize=1)
def _laboratory(workload: Workload) -> Laboratory:
    return Laboratory(workload)


class Laboratory:
    """What a worker has built for a workload."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._networks: dict[object, Network] = {}
        self._runners: dict[tuple[str, str], Runner] = {}
        self._groups: dict[object, list[ImageGroup]] = {}
        self._hits = 0  # in these

    @cached_property
    def base(self) -> Config:
        """The unprotected machine, whose fault-free accuracy is acc0."""
        return with_scheme(self.workload.base, "base")

    def network(self, config: Config) -> Network:
        """Quantised for a configuration."""
        wanted = config.arithmetic, config.protection.q_scale
        if wanted not in self._networks:
            network = quantise_model(
                self.workload.model,
                self.workload.calibration.images,
                arithmetic=config.arithmetic,
                q_scale=config.protection.q_scale,
            )
            size = sum(weight.nbytes for weight in network.weights.values())
            while self._networks and (len(self._networks) + 1) * size > _KEPT_BYTES:
                self._networks.pop(next(iter(self._networks)))
                self._runners.clear()
            self._networks[wanted] = network
        return self._networks[wanted]

    def runner(self, config: Config, purpose: PatternPurpose) -> Runner:
        """The network of a configuration with the images of a purpose."""
        network = self.network(config)
        wanted = network_digest(network), purpose
        if wanted not in self._runners:
            self._runners[wanted] = Runner(network, self.inputs(network, purpose))
        return self._runners[wanted]

    def groups(
        self, network: Network, ber: float, purpose: PatternPurpose, number: int
    ) -> list[ImageGroup]:
        """What may flip in a pattern. All designs meet the same bits, so they are drawn once."""
        options = self.workload.options
        words = tuple(network.neurons(i) for i in sorted(network.weights))
        wanted = network.arithmetic, words, ber, purpose, number
        if wanted not in self._groups:
            images = images_of(self.workload, purpose, number)
            key = [self.workload.seed, _SEEDS[purpose], number]
            found = draw_groups(network, options, ber, key, images)
            if self._hits > _KEPT_HITS:
                self._groups.clear()
                self._hits = 0
            self._hits += sum(len(hits.at) for group in found for hits in _hits_of(group))
            self._groups[wanted] = found
        return self._groups[wanted]

    def inputs(self, network: Network, purpose: PatternPurpose) -> NDArray[np.int8]:
        """The images of a purpose, int8 (n, h, w, c)."""
        images = self.workload.images[purpose].images
        scale, bits = network.tensors[network.input].scale, network.arithmetic.act_bits
        return quantise_input(images, self.workload.model, scale, bits)

    def labels(self, purpose: PatternPurpose) -> NDArray[np.int64]:
        """The classes of these images."""
        labels = self.workload.images[purpose].labels
        assert labels is not None
        return labels


def _network(lab: Laboratory, config: Config) -> dict[str, Any]:
    """The digest of the quantised network, and how many images it classifies rightly."""
    right = {
        purpose: int((lab.runner(config, purpose).golden == lab.labels(purpose)).sum())
        for purpose in get_args(PatternPurpose)
    }
    return {"digest": network_digest(lab.network(config)), "right": right}


def _timing(lab: Laboratory, config: Config) -> dict[str, Any]:
    """Cycles and traffic. The network's numbers do not matter, so it has none."""
    network = shapes_of(lab.workload.model, config.arithmetic, config.protection.q_scale)
    important = important_neurons(lab.workload.ranking, network, config)
    return dict(timed(network, config, important))


def _rates(lab: Laboratory, config: Config, low: float, high: float) -> dict[str, Any]:
    """I' and II', found on the images of the search."""
    runner = lab.runner(lab.base, "search")
    subject = ProtectedNetwork.of(runner.network, lab.base, {})
    key, options = [lab.workload.seed, 2], lab.workload.options
    bench = Bench([(subject, runner.inputs)], lab.labels("search"), options, key, {}, "cpu")
    found = find_rates(bench, lab.workload.seed, low, high)
    return {"first": found.first, "second": found.second}


def _accuracy(
    lab: Laboratory, config: Config, ber: float, purpose: PatternPurpose, first: int, count: int
) -> dict[str, Any]:
    """A block of patterns as text: bits of `Block.right` and `Block.right0`."""
    network = lab.network(config)
    subject = ProtectedNetwork.of(
        network, config, important_neurons(lab.workload.ranking, network, config)
    )
    options = lab.workload.options
    machine = ProtectedMachine(subject, Case("-", ber), options, {})
    runner, labels = lab.runner(config, purpose), lab.labels(purpose)
    golden = lab.runner(lab.base, purpose).golden
    right, right0 = [], []
    for number in range(first, first + count):
        groups = lab.groups(network, ber, purpose, number)
        predicted = [answer.predicted for answer in runner.answers(machine, groups)]
        images = np.concatenate([group.images for group in groups])
        right.append(np.concatenate(predicted) == labels[images])
        right0.append(golden[images] == labels[images])
    return {"first": first, "right": _packed(right), "right0": _packed(right0)}


def _hits_of(group: ImageGroup) -> Iterator[Hits]:
    for modules in group.hits.values():
        yield from modules


#: Stage -> function (laboratory, configuration, arguments) -> plain values.
STAGE_WORK: dict[str, Callable[..., dict[str, Any]]] = {
    "network": _network,
    "timing": _timing,
    "rates": _rates,
    "accuracy": _accuracy,
}


def images_of(workload: Workload, purpose: PatternPurpose, number: int) -> NDArray[np.int64]:
    """Numbers of the images of a pattern, drawn for each pattern anew, none twice in one.

    So the patterns are independent and alike, which is what a test that may stop early needs.
    """
    total = len(workload.images[purpose])
    rng = np.random.default_rng([workload.seed, _SEEDS[purpose], number, CODES["images"]])
    return np.sort(rng.permutation(total)[: min(total, workload.options.images_per_pattern)])


def block_of(workload: Workload, purpose: PatternPurpose, answer: Mapping[str, Any]) -> Block:
    """The arrays of an accuracy job's answer."""
    per = min(len(workload.images[purpose]), workload.options.images_per_pattern)
    right, right0 = (_unpacked(answer[name], per) for name in ("right", "right0"))
    numbers = range(answer["first"], answer["first"] + len(right))
    images = np.stack([images_of(workload, purpose, number) for number in numbers])
    return Block(images, right, right0)


def _packed(rows: list[NDArray[np.bool_]]) -> list[str]:
    return [np.packbits(row).tobytes().hex() for row in rows]


def _unpacked(rows: list[str], count: int) -> NDArray[np.bool_]:
    packed = np.array([list(bytes.fromhex(row)) for row in rows], np.uint8)
    return np.unpackbits(packed, axis=1, count=count).astype(bool)


def split_images(
    data: Dataset, calibration: Dataset | None, most: int
) -> tuple[Dataset, Dataset, Dataset]:
    """Images to calibrate and rank on, of the search, and of the confirmation: none in two.

    calibration : where the model has images of its own for it; otherwise evenly spread ones of
    `data`, `most` or a third. Of the others every third goes to the search: few images suffice to
    choose, but they are what limits how much can be confirmed.
    """
    numbers = np.arange(len(data))
    if calibration is None:
        count = max(1, min(most, len(data) // 3))
        own = np.arange(count) * len(data) // count
        calibration, numbers = _part(data, own), np.setdiff1d(numbers, own)
    searched = np.arange(len(numbers)) % 3 == 0
    return calibration, _part(data, numbers[searched]), _part(data, numbers[~searched])


def _part(data: Dataset, numbers: NDArray[np.int64]) -> Dataset:
    labels = None if data.labels is None else data.labels[numbers]
    return replace(data, images=data.images[numbers], labels=labels)
