"""The same function on many jobs, in this process or in several.

Written on pipes because a worker must end by itself when the parent is killed, and must not see
Ctrl-C: then a study or a campaign is left as it is, and nothing keeps running.  What a worker has
started (Yosys) is of its process group, and ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import suppress
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, NamedTuple, TypeVar, cast

from .errors import FlexhycaError, InternalError
from .interrupts import check, later

_Context = TypeVar("_Context")
_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")
#: Read by BLAS, OpenMP (torch) and numba when they are loaded: workers share the cores as they are.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_PATIENCE_S = 3  # with workers that are told to end, which remove what they have written first


class WorkerError(FlexhycaError):
    """As many workers as were allowed were killed by `job`; `signal` says how, if known."""

    def __init__(self, job: object, number: int | None) -> None:
        how = "" if number is None else f" by signal {number}"
        super().__init__(
            f"a worker was killed{how}, perhaps because memory ran out; "
            "run again with fewer --workers"
        )
        self.job, self.signal = job, number


class _Task(NamedTuple):
    """A job, its place in the order of jobs, and how many workers have died on it."""

    number: int
    job: Any
    deaths: int = 0


def run_jobs(
    work: Callable[[_Context, _Job], _Answer],
    context: _Context,
    jobs: Iterable[_Job | None],
    workers: int,
    attempts: int = 1,
) -> Generator[tuple[int, _Answer], None, None]:
    """(index of a job, `work(context, job)`), in the order in which they are done.

    `work` is a function of a module; `context` is sent to each worker once. `jobs` are taken one
    by one as workers become free, so they may depend on answers; None is no job yet, and is asked
    again after the next answer. The job of a worker that is killed goes to a new one; after
    `attempts` workers WorkerError is raised. An error that `work` raises ends the run; close the
    iterator (`contextlib.closing`) to end it early.
    """
    if workers <= 1:
        for index, job in enumerate(jobs):
            if job is None:  # nothing is running that could bring one
                return
            answer = work(context, job)
            check()
            yield index, answer
        return
    processes: dict[Connection, BaseProcess] = {}
    running: dict[Connection, _Task] = {}
    again: deque[_Task] = deque()
    waiting, numbers = iter(jobs), count()
    idle: list[Connection] = []

    def fresh() -> _Task | None:
        job = next(waiting, None)
        return None if job is None else _Task(next(numbers), job)

    def feed() -> None:
        """Give idle workers, and new ones up to `workers`, what is to be done."""
        while idle or len(processes) < workers:
            task = again.popleft() if again else fresh()
            if task is None:
                return
            if not idle:
                with later():  # one that nobody knows of would not be ended
                    pipe, processes[pipe] = _start(work, context)
                idle.append(pipe)
            pipe = idle.pop()
            running[pipe] = task
            # A worker that has just died is noticed when its answer is awaited.
            with suppress(ConnectionError):
                pipe.send(task.job)

    try:
        feed()
        while running:
            for pipe in cast("list[Connection]", wait(list(running))):
                task = running.pop(pipe)
                try:
                    answer = _receive(pipe, processes[pipe])
                except _KilledError as death:
                    del processes[pipe]
                    pipe.close()
                    if task.deaths + 1 >= attempts:
                        raise WorkerError(task.job, death.signal) from None
                    again.append(task._replace(deaths=task.deaths + 1))
                    feed()
                    continue
                idle.append(pipe)
                feed()
                check()
                yield task.number, answer
                feed()  # the answer may have brought jobs
    finally:
        with later():
            _end(processes.values())


def _start(
    work: Callable[[_Context, _Job], _Answer], context: _Context
) -> tuple[Connection, BaseProcess]:
    spawn = multiprocessing.get_context("spawn")
    # Started first, because its start would lift the mask below.
    resource_tracker.ensure_running()
    here, there = spawn.Pipe()
    # A blocked signal stays blocked in the child, from its first instruction on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    inherited = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        process = spawn.Process(target=_serve, args=(there,), daemon=True)
        process.start()
    finally:
        for name, value in inherited.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()  # so that its end is seen here
    # Not among the arguments above: multiprocessing sends those through a pipe that it holds open
    # at both ends, and waits for ever where the worker dies before it has read them.
    with suppress(ConnectionError):
        here.send((work, context))
    return here, process


def _end(processes: Collection[BaseProcess]) -> None:
    """End workers with all that they have started (Yosys, say), and wait until they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            _signal_group(process, number)
        until = monotonic() + _PATIENCE_S
        for process in processes:
            process.join(max(0, until - monotonic()))
        if all(process.exitcode is not None for process in processes):
            return


def _signal_group(process: BaseProcess, number: signal.Signals) -> None:
    """To a worker that has not been waited for, and to what it has started."""
    if process.pid is None or process.exitcode is not None:
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:  # it is so young that it has no group, and has started nothing
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _serve(pipe: Connection) -> None:
    """A worker's life: until the other end of the pipe is closed, by whatever happened to it."""
    os.setpgid(0, 0)  # a group of its own, so that what it starts ends with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # temporary files are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work, context = pipe.recv()
    except (EOFError, ConnectionError):
        return
    while True:
        try:
            job = pipe.recv()
        except (EOFError, ConnectionError):
            return
        answer: object
        try:
            answer = work(context, job)
        except (FlexhycaError, InternalError) as error:
            answer = error
        except MemoryError:
            answer = FlexhycaError(
                "memory ran out in a worker", "run again with fewer --workers or a smaller batch"
            )
        try:
            pipe.send(answer)
        except ConnectionError:
            return


def _end_with_parent() -> None:
    """End with all that was started, in the middle of a job, when the parent is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


class _KilledError(Exception):
    """A worker ended by a signal."""

    def __init__(self, number: int) -> None:
        self.signal = number


def _receive(pipe: Connection, process: BaseProcess) -> Any:
    """A worker's answer; its error is raised here."""
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionError):
        _signal_group(process, signal.SIGKILL)
        process.join()
        code = process.exitcode or 0
        if code < 0:
            raise _KilledError(-code) from None
        raise InternalError(f"a worker ended with code {code}; its error stands above") from None
    if isinstance(answer, FlexhycaError | InternalError):
        raise answer
    return answer
