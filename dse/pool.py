"""The same function on many jobs, in this process or in several.

Written on pipes because a worker must end by itself when the parent is killed, and must not see
Ctrl-C: then a study is left as it is, and nothing keeps running.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from ..errors import FlexhycaError, InternalError

Context = TypeVar("Context")
Job = TypeVar("Job")
Answer = TypeVar("Answer")


def run(
    work: Callable[[Context, Job], Answer], context: Context, jobs: Sequence[Job], workers: int
) -> Generator[tuple[int, Answer], None, None]:
    """(index of a job, `work(context, job)`), in the order in which they are done.

    `work` is a function of a module; `context` is sent to each worker once. An error that `work`
    raises ends the run; close the iterator (`contextlib.closing`) to end it early.
    """
    if min(workers, len(jobs)) <= 1:
        for index, job in enumerate(jobs):
            yield index, work(context, job)
        return
    processes: dict[Connection, BaseProcess] = {}
    running: dict[Connection, int] = {}
    waiting = iter(range(len(jobs)))
    try:
        for _ in range(min(workers, len(jobs))):
            pipe, process = _start(work, context)
            processes[pipe] = process
            running[pipe] = next(waiting)
            pipe.send(jobs[running[pipe]])
        while running:
            for pipe in cast("list[Connection]", wait(list(running))):
                index = running.pop(pipe)
                answer = _receive(pipe, processes[pipe])
                following = next(waiting, None)
                if following is not None:
                    running[pipe] = following
                    pipe.send(jobs[following])
                yield index, answer
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _start(
    work: Callable[[Context, Job], Answer], context: Context
) -> tuple[Connection, BaseProcess]:
    spawn = multiprocessing.get_context("spawn")
    # Started first, because its start would lift the mask below.
    resource_tracker.ensure_running()
    here, there = spawn.Pipe()
    # A blocked signal stays blocked in the child, from its first instruction on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = spawn.Process(target=_serve, args=(there, work, context), daemon=True)
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()  # so that its end is seen here
    return here, process


def _serve(pipe: Connection, work: Callable[[Context, Job], Answer], context: Context) -> None:
    """A worker's life: until the other end of the pipe is closed, by whatever happened to it."""
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
        try:
            pipe.send(answer)
        except ConnectionError:
            return


def _receive(pipe: Connection, process: BaseProcess) -> Any:
    """A worker's answer; its error is raised here."""
    try:
        answer = pipe.recv()
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode or 0
        if code < 0:
            raise FlexhycaError(
                f"a worker was killed by signal {-code}, perhaps because memory ran out; "
                "run again with fewer --workers"
            ) from None
        raise InternalError(f"a worker ended with code {code}; its error stands above") from None
    if isinstance(answer, FlexhycaError | InternalError):
        raise answer
    return answer
