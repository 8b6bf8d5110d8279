"""Results of a study's jobs: what its file has, and what workers find out."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import pool
from ..compiler.data import Dataset
from ..compiler.model import Model
from ..config import Config
from ..config.schemes import with_scheme
from ..errors import InternalError
from ..faults.campaign.cluster import run_on_cluster
from ..tables import complete
from .evaluate import (
    BLOCK,
    STAGE_WORK,
    Block,
    PatternPurpose,
    StageJob,
    Workload,
    accuracy_job,
    block_of,
    do_job,
)
from .keys import CODE, FIELDS, ResultKey, accuracy_dependencies, field_values, key_of, mask_of
from .study import Study

_ATTEMPTS = 3  # workers that a job may kill


class Results:
    """Answers of jobs by key, from the study or from workers; made by `opened`."""

    def __init__(
        self, study: Study, workload: Workload, answers: Callable[[], Iterator[tuple[int, Any]]]
    ) -> None:
        self.study, self.workload = study, workload
        self._queue: deque[StageJob] = deque()
        self._sent: list[StageJob] = []
        self._start = answers
        self._answers: Iterator[tuple[int, Any]] | None = None
        self.computed = 0  # jobs that were not in the study
        calibration = images_digest(workload.calibration)
        self.model = model_digest(workload.model)
        self.ranking = f"{self.model} on {calibration}"
        self._network = {"model": self.model, "calibration": calibration}
        self._images = {name: images_digest(data) for name, data in workload.images.items()}
        self._base = with_scheme(workload.base, "base")
        self._digests: dict[ResultKey, str] = {}

    def key(self, job: StageJob) -> tuple[ResultKey, int]:
        """Where the study has a job's answer. A network's answer comes before its accuracies'."""
        own, part = _DEPENDENCIES[job.stage](self, job.config, dict(job.arguments))
        return key_of(job.stage, own), part

    def _of_network(self, config: Config, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
        return {**field_values(config, FIELDS["network"]), **self._network}, 0

    def _of_timing(self, config: Config, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
        own = field_values(config, FIELDS["timing"])
        return {**own, "model": self.model, "mask": mask_of(config, self.ranking)}, 0

    def _of_rates(self, config: Config, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
        return self._of_patterns(self._base, "search", "", given), 0

    def _of_accuracy(self, config: Config, given: dict[str, Any]) -> tuple[dict[str, Any], int]:
        part, remainder = divmod(given.pop("first"), BLOCK)
        if remainder or given.pop("count") != BLOCK:
            raise InternalError(f"accuracy from pattern {part * BLOCK + remainder}: not a block")
        return self._of_patterns(config, given["purpose"], self.ranking, given), part

    def _of_patterns(
        self, config: Config, purpose: PatternPurpose, ranking: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        own = accuracy_dependencies(config, self.network(config), ranking, self.workload.options)
        common = {"seed": self.workload.seed, "reference": self.network(self._base)}
        return {**own, **given, **common, "images": self._images[purpose]}

    def network(self, config: Config) -> str:
        """The digest of the network that a configuration runs, whose answer has to be there."""
        key, _ = self.key(StageJob("network", config))
        if key not in self._digests:
            self._digests[key] = self.study.find(key)["digest"]
        return self._digests[key]

    def accuracy_of(self, config: Config) -> dict[str, Any]:
        """What the accuracy of a design depends on, apart from rate, patterns and images."""
        network, options = self.network(config), self.workload.options
        return accuracy_dependencies(config, network, self.ranking, options)

    def known(self, job: StageJob) -> dict[str, Any] | None:
        """The answer, if the study has it."""
        found: dict[str, Any] | None = self.study.find(*self.key(job))
        return found

    def submit(self, job: StageJob) -> None:
        """Let a worker do a job; `next` gives its answer."""
        self._queue.append(job)

    def next(self) -> tuple[StageJob, dict[str, Any]]:
        """The next answer of a job that was submitted; it is in the study then."""
        if self._answers is None:
            self._answers = self._start()
        index, answer = next(self._answers)
        job = self._sent[index]
        key, part = self.key(job)
        self.study.add(key, answer, part)
        self.computed += 1
        return job, answer

    def all(
        self, jobs: Sequence[StageJob], step: Callable[[int], object] = lambda count: None
    ) -> list[dict[str, Any]]:
        """The answers of jobs, in their order; equal ones are done once. step : told of each."""
        keys = [self.key(job) for job in jobs]
        found = {key: self.known(job) for key, job in dict(zip(keys, jobs, strict=True)).items()}
        missing = [key for key, answer in found.items() if answer is None]
        by_key = dict(zip(keys, jobs, strict=True))
        step(len(found) - len(missing))
        for key in missing:
            self.submit(by_key[key])
        for _ in missing:
            job, answer = self.next()
            found[self.key(job)] = answer
            step(1)
        answers = [found[key] for key in keys]
        return [answer for answer in answers if answer is not None]

    def patterns(self, config: Config, ber: float, purpose: PatternPurpose, count: int) -> Block:
        """The first `count` patterns of a design; what is missing is worked out."""
        jobs = [accuracy_job(config, ber, purpose, first) for first in range(0, count, BLOCK)]
        return Block.joined([self.block(purpose, answer) for answer in self.all(jobs)])

    def block(self, purpose: PatternPurpose, answer: dict[str, Any]) -> Block:
        """An accuracy job's answer as arrays."""
        return block_of(self.workload, purpose, answer)

    def jobs(self) -> Iterator[StageJob | None]:
        """What the pool asks for: the jobs that wait, None where there is none yet."""
        while True:
            if self._queue:
                self._sent.append(self._queue.popleft())
                yield self._sent[-1]
            else:
                yield None


_Dependencies = Callable[[Results, Config, dict[str, Any]], tuple[dict[str, Any], int]]
#: Stage -> what its answer depends on, and which part of what is kept under that key it is.
_DEPENDENCIES: dict[str, _Dependencies] = {
    "network": Results._of_network,
    "timing": Results._of_timing,
    "rates": Results._of_rates,
    "accuracy": Results._of_accuracy,
}
complete(
    "STAGE_WORK in dse/evaluate.py", STAGE_WORK, _DEPENDENCIES, "dse/results.py: _DEPENDENCIES"
)
complete(
    "STAGE_WORK in dse/evaluate.py, and ranking,",
    [*STAGE_WORK, "ranking"],
    CODE,
    "dse/keys.py: CODE",
)


@contextmanager
def opened(
    study: Study, workload: Workload, workers: int = 1, dask: str | None = None
) -> Generator[Results, None, None]:
    """Results with workers, which end with the block. dask : a scheduler's address, instead."""
    running: list[Generator[tuple[int, Any], None, None]] = []

    def start() -> Iterator[tuple[int, Any]]:
        if dask is not None:
            running.append(run_on_cluster(do_job, workload, results.jobs(), dask))
        else:
            running.append(pool.run_jobs(do_job, workload, results.jobs(), workers, _ATTEMPTS))
        return running[-1]

    results = Results(study, workload, start)
    try:
        yield results
    finally:
        for answers in running:
            answers.close()


def model_digest(model: Model) -> str:
    """Of a float model: its layers, all numbers in them, and how pixels become its input."""
    digest = hashlib.sha256(repr((model.input_shape, model.mean, model.std)).encode())
    for node in model.graph.nodes:
        digest.update(repr(node).encode())  # all but the numbers
        for title, array in sorted(node.params.items()):
            digest.update(f"{title} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:24]


def images_digest(data: Dataset) -> str:
    """Of pixels and labels."""
    labels = b"" if data.labels is None else data.labels.tobytes()
    shape = str(data.images.shape).encode()
    return hashlib.sha256(shape + data.images.tobytes() + labels).hexdigest()[:24]
