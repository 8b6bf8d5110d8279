"""The same function on many jobs on a Dask cluster: `pool.run_jobs` with a scheduler's address.

Dask gives the job of a worker that dies to another, as often as its setting
`distributed.scheduler.allowed-failures` (3) says. With no worker left it waits for new ones.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from typing import Any, TypeVar

from ...errors import FlexhycaError, InternalError, first_line
from ...interrupts import check
from ...pool import WorkerError

_Context = TypeVar("_Context")
_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")
_CONNECT_S = 10
_WORKERS_S = 60


def run_on_cluster(
    work: Callable[[_Context, _Job], _Answer],
    context: _Context,
    jobs: Iterable[_Job | None],
    address: str,
) -> Generator[tuple[int, _Answer], None, None]:
    """(index of a job, `work(context, job)`), in the order in which they are done.

    `jobs` are taken one by one, two for each worker ahead; None is no job yet, as in the pool.
    Raises FlexhycaError where the scheduler or its workers cannot be reached, and WorkerError for a
    job that kills workers.
    """
    try:
        dask: Any = import_module("distributed")
    except ImportError:
        raise FlexhycaError(
            f"--dask {address}: Dask is not installed; run pip install 'flexhyca[cluster]'"
        ) from None
    try:
        client = dask.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FlexhycaError(
            f"--dask {address}: no scheduler answers ({first_line(error)}); start one with "
            "`dask scheduler`, or use --workers"
        ) from None
    with _quiet(), client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except OSError:
            raise FlexhycaError(
                f"--dask {address}: the scheduler has no workers; start them with `dask worker`"
            ) from None
        waiting, numbers = iter(jobs), count()
        running: dict[Any, tuple[int, _Job]] = {}
        done = dask.as_completed(loop=client.loop)
        # A task of its own: sent to each worker once, and made again where all that had it died.
        common = client.submit(_itself, context, pure=False)

        def submit() -> None:
            try:
                workers = len(client.nthreads())
            except OSError:
                raise _lost(address, "no answer") from None
            for _ in range(2 * max(1, workers) - len(running)):
                job = next(waiting, None)
                if job is None:
                    return
                future = client.submit(work, common, job, pure=False)
                running[future] = next(numbers), job
                done.add(future)

        submit()
        for future in done:
            index, job = running.pop(future)
            answer = _receive(future, job, address)
            submit()
            check()
            yield index, answer
            submit()  # the answer may have brought jobs


def _itself(context: _Context) -> _Context:
    return context


@contextmanager
def _quiet() -> Iterator[None]:
    """No tracebacks of a lost scheduler on the terminal; the error says the same in one line.

    Nor advice on a large context, which is sent as rarely as can be.
    """
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _receive(future: Any, job: object, address: str) -> Any:
    """A job's answer; its error is raised here."""
    if future.status == "finished":
        return future.result()
    if future.status != "error":
        raise _lost(address, future.status)
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        raise WorkerError(job, None)
    if isinstance(error, FlexhycaError | InternalError):
        raise error
    raise InternalError(f"{type(error).__name__} in a worker: {first_line(error)}")


def _lost(address: str, how: str) -> FlexhycaError:
    return FlexhycaError(
        f"--dask {address}: the scheduler is gone ({how}); what is done is kept, "
        "run the same command again to go on"
    )
