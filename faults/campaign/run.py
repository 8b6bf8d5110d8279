"""The engine: run the trials of an experiment that its file lacks, here, in processes, or on Dask.

Trials are numbered; seed and number determine one, so how they are divided does not matter. A
chunk is a range of numbers that takes about a second. A campaign that shall stop at a margin
decides so on complete prefixes at fixed boundaries only: the stop is a function of the trials, not
of who did them when.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast

from ... import pool
from ...errors import FlexhycaError
from . import MOST_TRIALS
from .estimates import Estimate, Tally
from .experiment import (
    Experiment,
    TrialRow,
    Value,
    checked_rows,
    description,
)
from .lock import alone
from .store import UNCOUNTABLE, Campaign
from .stored import CampaignGoal

CHUNK_S = 1.0
_MOST = 10_000  # trials of a chunk
_ATTEMPTS = 3  # workers that a chunk may kill
_PROGRESS_S = 0.5
_BLOCK = 100
Chunk = tuple[int, int]  # start, stop
ChunkAnswer = tuple[list[tuple[int, list[Value]]], float]  # rows, seconds


class Progress(NamedTuple):
    """Where a run stands; `estimates` are over the trials before the first missing one.

    done, total : trials in the file and wanted. rate : trials per second in this run.
    """

    done: int
    total: int
    rate: float
    estimates: list[Estimate]

    @property
    def seconds_left(self) -> float:
        """As things go; infinite before the first answer."""
        return (self.total - self.done) / self.rate if self.rate else math.inf


class Finished(NamedTuple):
    """A campaign that is done. trials : fewer than asked for if `stopped` at the margin."""

    trials: int
    computed: int
    stopped: bool
    estimates: list[Estimate]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; its text is one line that says how to go on."""


def boundaries() -> Iterator[int]:
    """Numbers of blocks at which a campaign may stop: 100, 200, ... 1000, 1100, 1300, ...

    A block is a trial, or all that say something only together (`Experiment.together`). From 1000
    on by at least a tenth, so that few looks are taken: each is one more chance to stop on a lucky
    moment.
    """
    trials = _BLOCK
    while True:
        yield trials
        trials += max(_BLOCK, math.ceil(trials / (10 * _BLOCK)) * _BLOCK)


def run_campaign(
    experiment: Experiment,
    path: Path,
    trials: int,
    workers: int = 1,
    dask: str | None = None,
    margin: float | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Finished:
    """Do the trials 0 .. `trials` - 1 that are not in `path` yet, and keep each chunk at once.

    workers : processes; with 1 the trials run in this one. dask : address of a scheduler, used
    instead. margin : stop as soon as half of the width of every interval that is estimated (95 %)
    is at most this, 0..1. progress : called every half a second at most, and in
    the end.
    Raises FlexhycaError (another campaign in the file, a file that cannot be written, a chunk that
    kills its workers) and Interrupted; what is done is kept in any case.
    """
    if not 1 <= trials <= MOST_TRIALS:
        raise FlexhycaError(f"campaign: {trials} trials; give 1 to {MOST_TRIALS:,}")
    if margin is not None and not 0 < margin < 1:
        raise FlexhycaError(f"campaign: margin {margin} is not between 0 and 1; give 0.01 for 1 %")
    if margin is not None and not experiment.quantities:
        raise FlexhycaError("campaign: nothing is estimated here that could have a margin")
    if trials % experiment.together:
        raise FlexhycaError(
            f"campaign: {trials} trials are no whole number of blocks of {experiment.together}; "
            f"give {trials + -trials % experiment.together}"
        )
    described = description(experiment)
    with alone(path), Campaign(path, described) as campaign:
        campaign.set_goal(CampaignGoal(trials, margin))
        recipe = Recipe(type(experiment), json.dumps(experiment.spec()), described["code"])
        try:
            state = _Run(campaign, CampaignGoal(trials, margin), 16 if dask else workers)
            if not state.finished:
                with closing(_answers(experiment, recipe, state, workers, dask)) as answers:
                    state.take(answers, progress)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted: {campaign.count():,} trials of {trials:,} are kept in {path}; "
                "run the same command again to go on"
            ) from None
        except pool.WorkerError as error:
            raise FlexhycaError(_deadly(error, campaign)) from None
        finally:
            _built.clear()
        campaign.set_goal(CampaignGoal(trials, margin, state.stop))
        return Finished(
            campaign.goal.end, state.computed, state.stop is not None, state.tally.estimates()
        )


def _deadly(error: pool.WorkerError, campaign: Campaign) -> str:
    start, stop = cast("Chunk", error.job)
    which = f"trial {start}" if stop == start + 1 else f"trials {start} to {stop - 1}"
    how = "" if error.signal is None else f" (signal {error.signal})"
    return (
        f"{campaign.path}: {which} killed every worker that tried{how}, perhaps because memory "
        f"ran out; {campaign.count():,} trials are kept; run again with fewer --workers"
    )


def _answers(
    experiment: Experiment, recipe: Recipe, state: _Run, workers: int, dask: str | None
) -> Generator[tuple[int, ChunkAnswer], None, None]:
    """What the chunks of `state` give, in the order in which they are done."""
    if dask is not None:
        from . import cluster

        return cluster.run_on_cluster(run_chunk, recipe, state.chunks(), dask)
    if workers == 1:
        _built.clear()
        _built[recipe] = experiment  # no second golden run in this process
    return pool.run_jobs(run_chunk, recipe, state.chunks(), workers, _ATTEMPTS)


class _Run:
    """What is done, what is next, and whether it is enough."""

    def __init__(self, campaign: Campaign, goal: CampaignGoal, workers: int) -> None:
        self._campaign, self._goal, self._workers = campaign, goal, workers
        self.tally: Tally = campaign.empty_tally()
        self.stop: int | None = None
        self.computed = 0
        self._done = 0
        self._waiting: dict[int, TrialRow] = {}  # rows behind a gap
        self._boundaries = boundaries()
        self._boundary = next(self._boundaries) * campaign.together
        self._size = 1
        for row in campaign.all_rows():
            number = cast("int", row["index"])
            if number >= goal.trials:
                break
            self._done += 1
            try:
                self._count(number, row)
            except UNCOUNTABLE:
                raise campaign.uncountable(self.tally.trials - 1) from None

    @property
    def finished(self) -> bool:
        """The margin is reached, or all trials are there."""
        return self.stop is not None or self.tally.trials == self._goal.trials

    def chunks(self) -> Iterator[Chunk]:
        """Ranges of missing trials, sized by what earlier ones took."""
        gaps = self._campaign.missing(self._goal.trials)
        left = sum(stop - start for start, stop in gaps)
        for start, stop in gaps:
            while start < stop:
                # The last ones smaller, so that the workers end at about the same time.
                fair = math.ceil(left / (2 * self._workers)) if self._workers > 1 else left
                end = min(stop, start + min(self._size, fair))
                left -= end - start
                yield start, end
                start = end

    def take(
        self,
        answers: Iterator[tuple[int, ChunkAnswer]],
        progress: Callable[[Progress], object] | None,
    ) -> None:
        """Keep and count answers until the campaign is finished."""
        begin = time.monotonic()
        due = begin + _PROGRESS_S
        names = list(self._campaign.columns)
        for _, (rows, seconds) in answers:
            self._campaign.add(rows)
            self.computed += len(rows)
            self._done += len(rows)
            self._adapt(len(rows), seconds)
            for number, values in rows:
                self._count(number, {"index": number, **dict(zip(names, values, strict=True))})
            now = time.monotonic()
            if progress is not None and (now >= due or self.finished):
                rate = self.computed / max(now - begin, 1e-9)
                progress(Progress(self._done, self._goal.trials, rate, self.tally.estimates()))
                # Resampling for the interval so far shall not hold up the workers.
                took = time.monotonic() - now
                due = now + max(_PROGRESS_S, 20 * took)
            if self.finished:
                return

    def _adapt(self, trials: int, seconds: float) -> None:
        """The next chunk takes about `CHUNK_S`, but is at most twice as large as this one."""
        wanted = int(trials * CHUNK_S / max(seconds, 1e-9))
        self._size = max(1, min(wanted, 2 * max(trials, self._size), _MOST))

    def _count(self, number: int, row: TrialRow) -> None:
        """Count the row, or let it wait for those before it."""
        self._waiting[number] = row
        while self.stop is None and self.tally.trials in self._waiting:
            self.tally.add(self._waiting.pop(self.tally.trials))
            if self.tally.trials == self._boundary:
                self._boundary = next(self._boundaries) * self._campaign.together
                margin = self._goal.margin
                if margin is not None and self.tally.within(margin):
                    self.stop = self.tally.trials


class Recipe(NamedTuple):
    """How a worker makes the experiment: its class, its spec as JSON, the digest of its sources."""

    kind: type[Experiment]
    spec: str
    code: str


_built: dict[Recipe, Experiment] = {}  # one at most; a golden run may be large
_one_at_a_time = threading.Lock()  # a Dask worker may have threads, an experiment has state


def run_chunk(recipe: Recipe, chunk: Chunk) -> ChunkAnswer:
    """The rows of a chunk, checked, and how long they took; runs in a worker."""
    with _one_at_a_time:
        if recipe not in _built:
            _built.clear()
            spec = json.loads(recipe.spec)
            experiment = recipe.kind.from_spec(spec)
            _check(experiment, recipe)
            _built[recipe] = experiment
        experiment = _built[recipe]
        indices = range(*chunk)
        begin = time.perf_counter()
        with _one_thread():
            rows = experiment.run(indices)
        seconds = time.perf_counter() - begin
        name = recipe.kind.__name__
        return checked_rows(experiment.columns, rows, indices, name), seconds


def _check(experiment: Experiment, recipe: Recipe) -> None:
    """Another version of the sources on a cluster's machine would mix two campaigns."""
    described = description(experiment)
    if described["code"] != recipe.code:
        raise FlexhycaError(
            f"a worker has another version of flexhyca ({described['code']}, here {recipe.code}); "
            "install the same one everywhere"
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS and OpenMP thread, wherever the trials run: as workers have."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield
