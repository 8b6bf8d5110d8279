"""Run every point of a grid, and its unprotected base, once: from the study or by simulation.

A run only times: the network has no values (compiler.zeros), so nothing is quantised, and the one
ranking of its neurons is shared by all points.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from safetensors.numpy import load, save

from .. import pool
from ..compiler.importance.ranking import Ranking, important_neurons
from ..compiler.zeros import empty_bias, empty_weight
from ..config import Config
from ..errors import CompileError
from ..network.layers import LayerOp, Network
from .costs import CostRecord, Costs, base_of, row, timed
from .grid import GridPoint
from .keys import FIELDS, ResultKey, field_values, key_of, mask_of
from .study import Study


class Job(NamedTuple):
    """One run; `placement` is None where no neuron is important."""

    config: Config
    placement: str | None


@dataclass(frozen=True)
class Subject:
    """The network that is swept: its shapes, which are all that time depends on.

    weights : layer index -> shape of its weights; `network` itself carries none, so that it is
    small enough to be sent to workers.
    """

    network: Network
    weights: Mapping[int, tuple[int, ...]]
    batch: int

    @classmethod
    def of(cls, network: Network, batch: int) -> Subject:
        """The shapes of `network`."""
        shapes = {i: weight.shape for i, weight in network.weights.items()}
        return cls(replace(network, weights={}, biases={}), shapes, batch)

    def network_for(self, config: Config) -> Network:
        """The network with zeros for weights and the arithmetic of `config`."""
        shift = config.protection.q_scale
        return replace(
            self.network,
            layers=tuple(
                replace(layer, shift=shift) if layer.op == LayerOp.CONV else layer
                for layer in self.network.layers
            ),
            weights={i: empty_weight(shape) for i, shape in self.weights.items()},
            biases={i: empty_bias(shape[0]) for i, shape in self.weights.items()},
            arithmetic=config.arithmetic,
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, each counted once."""
        return sum(math.prod(shape) for shape in self.weights.values())

    @property
    def conv_weight_bytes(self) -> int:
        """Those of layers whose output has more than one position: no linear layers."""
        outputs = {i: self.network.tensors[self.network.layers[i].output] for i in self.weights}
        return sum(
            math.prod(shape) for i, shape in self.weights.items() if outputs[i].h * outputs[i].w > 1
        )

    @property
    def digest(self) -> str:
        """A hash of layers and shapes."""
        tensors = [(t.name, t.h, t.w, t.c) for t in self.network.tensors]
        numbers = {"shift", "lshift_a", "lshift_b", "add_shift", "act_lo", "act_hi"}
        names = [f.name for f in fields(self.network.layers[0]) if f.name not in numbers]
        layers = [[getattr(layer, name) for name in names] for layer in self.network.layers]
        text = repr((tensors, layers, sorted(self.weights.items())))
        return hashlib.sha256(text.encode()).hexdigest()


class Context(NamedTuple):
    """What a worker needs for any job."""

    subject: Subject
    rankings: Mapping[str, Ranking]


def job_of(point: GridPoint) -> Job:
    """The run of a point. SCALE-Sim's timing knows no DPPU, so there nothing is placed."""
    placed = point.config.protection.s_th > 0 and point.config.runs_engines
    return Job(point.config, point.placement if placed else None)


def measure_costs(context: Context, job: Job) -> CostRecord:
    """Compile and time one run; {"error": why} where the network does not fit the machine."""
    network = context.subject.network_for(job.config)
    try:
        important = None
        if job.placement is not None:
            ranking = context.rankings[job.placement]
            important = important_neurons(ranking, network, job.config)
        return timed(network, job.config, important, context.subject.batch)
    except CompileError as error:
        return {"error": str(error)}


def pack_ranking(ranking: Ranking) -> bytes:
    """Scores as safetensors, whose names keep the order of layers."""
    named = {f"{i:04d} {name}": scores for i, (name, scores) in enumerate(ranking.scores.items())}
    return bytes(save(named))


def unpack_ranking(name: str, content: bytes) -> Ranking:
    """What `pack_ranking` made. name : of the model, for messages."""
    named = load(content)
    return Ranking(name, {key.partition(" ")[2]: named[key] for key in sorted(named)}, 0)


class Sweep:
    """The runs of a grid; `run` does those that the study lacks, `rows` are the result.

    names : placement -> its name in the study, which says what it was made from. rank : placement
    -> ranking; asked once, and only where a run is missing.
    """

    def __init__(
        self,
        subject: Subject,
        points: Sequence[GridPoint],
        study: Study,
        names: Mapping[str, str],
        seed: int,
        rank: Callable[[str], Ranking],
    ) -> None:
        self.subject, self.points, self.study = subject, points, study
        self._names, self._seed, self._rank = names, seed, rank
        self._shapes = [subject.digest, subject.batch]
        self._bases = [Job(base_of(point.config), None) for point in points]
        jobs = [job for i, point in enumerate(points) for job in (self._bases[i], job_of(point))]
        self.jobs: dict[ResultKey, Job] = {self._key(job): job for job in jobs}
        self.costs: dict[ResultKey, CostRecord] = {}
        for known in self.jobs:
            cost = study.find(known)
            if cost is not None:
                self.costs[known] = cost

    def _key(self, job: Job) -> ResultKey:
        own = field_values(job.config, FIELDS["timing"])
        ranking = "" if job.placement is None else self._ranking_name(job.placement)
        mask = mask_of(job.config, ranking) if ranking else None
        return key_of("timing", {**own, "shapes": self._shapes, "mask": mask})

    def _ranking_name(self, placement: str) -> str:
        return f"{self._names[placement]}, seed {self._seed}"

    @property
    def missing(self) -> dict[ResultKey, Job]:
        """The runs that are still to be done."""
        return {key: job for key, job in self.jobs.items() if key not in self.costs}

    @property
    def kept(self) -> int:
        """Runs that the study has; one may be there of which `costs` do not know yet."""
        return sum(self.study.find(key) is not None for key in self.jobs)

    def run(self, workers: int) -> Generator[CostRecord, None, None]:
        """Do what is missing, and keep each run as soon as it is done."""
        missing = self.missing
        wanted = dict.fromkeys(job.placement for job in missing.values() if job.placement)
        context = Context(self.subject, {name: self._ranking(name) for name in wanted})
        keys, jobs = list(missing), list(missing.values())
        with closing(
            pool.run_jobs(measure_costs, context, jobs, min(workers, len(jobs)))
        ) as answers:
            for index, cost in answers:
                self.study.add(keys[index], cost)
                self.costs[keys[index]] = cost
                yield cost

    def _ranking(self, placement: str) -> Ranking:
        """That of the study, or a new one; kept where it is measured, because that takes long."""
        if placement != "gradient":
            return self._rank(placement)
        name = self._ranking_name(placement)
        known = key_of("ranking", {"name": name})
        content = self.study.find_bytes(known)
        if content is None:
            content = pack_ranking(self._rank(placement))
            self.study.add_bytes(known, content)
        return unpack_ranking(name, content)

    def problem(self, index: int) -> str | None:
        """Why a point cannot be compiled; None if it can, or has not been tried."""
        for job in (job_of(self.points[index]), self._bases[index]):
            cost = self.costs.get(self._key(job), {})
            if "error" in cost:
                return str(cost["error"])
        return None

    def row(self, index: int) -> dict[str, Any]:
        """The result of a point that can be compiled, column by column."""
        point = self.points[index]
        cost, base = self.costs[self._key(job_of(point))], self.costs[self._key(self._bases[index])]
        return {
            **point.varied,
            "placement": point.placement,
            "seed": self._seed,
            "config_hash": point.config.config_hash,
            "weight_bytes": self.subject.weight_bytes,
            "conv_weight_bytes": self.subject.conv_weight_bytes,
            **row(Costs(cost, base, self.subject.weight_bytes)),
        }
