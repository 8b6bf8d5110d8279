"""Workers: every answer once, errors come through, a dead worker is not waited for."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flexhyca import pool
from flexhyca.errors import FlexhycaError
from flexhyca.tests.jobs import FatalToRead, once_fatal, power, threads
from flexhyca.tests.support import heed_ctrl_c


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_answered_once(workers: int) -> None:
    jobs = [4, 1, 3, 2, 0]
    answers = dict(pool.run_jobs(power, 3, jobs, workers))
    assert answers == {i: 3**exponent for i, exponent in enumerate(jobs)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_the_run(workers: int) -> None:
    with pytest.raises(FlexhycaError) as caught:
        list(pool.run_jobs(power, 3, [1, 13, 2], workers))
    assert str(caught.value) == "13 brings no luck"


def test_a_killed_worker_is_reported() -> None:
    with pytest.raises(FlexhycaError) as caught:
        list(pool.run_jobs(power, 3, [99, 99], 2))
    assert str(caught.value) == (
        "a worker was killed by signal 9, perhaps because memory ran out; "
        "run again with fewer --workers"
    )


def test_a_worker_that_dies_before_it_has_read_its_context() -> None:
    """It was waited for, for ever."""
    with pytest.raises(pool.WorkerError):
        list(pool.run_jobs(power, (FatalToRead(), bytes(10**7)), [1, 2], 2))


def test_no_worker_outlives_the_run() -> None:
    with closing(pool.run_jobs(power, 3, [1, 2, 3], 2)) as answers:
        next(answers)
    assert not multiprocessing.active_children()


def test_another_worker_does_what_a_killed_one_left(tmp_path: Path) -> None:
    answers = dict(pool.run_jobs(once_fatal, tmp_path, [0, 1, 2, 3], 2, attempts=2))
    assert answers == {0: 0, 1: 1, 2: 4, 3: 9}
    with pytest.raises(pool.WorkerError) as caught:
        list(pool.run_jobs(once_fatal, tmp_path, [0, 5, 1], 2, attempts=2))
    assert (caught.value.job, caught.value.signal) == (5, 9)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_may_depend_on_answers(workers: int) -> None:
    seen: list[int] = []

    def jobs() -> object:
        while sum(seen) < 40:
            yield len(seen)

    for _, answer in pool.run_jobs(power, 2, jobs(), workers):
        seen.append(answer)
    assert 40 <= sum(seen) < 400


def test_workers_have_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert dict(pool.run_jobs(threads, names, [0, 0], 2)) == {0: ["1"] * 4, 1: ["1"] * 4}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 3])
def test_answers_may_bring_jobs(workers: int) -> None:
    waiting = [1]

    def jobs() -> object:
        while True:
            yield waiting.pop(0) if waiting else None

    found = []
    with closing(pool.run_jobs(power, 2, jobs(), workers)) as answers:
        for index, answer in answers:
            found.append((index, answer))
            if answer < 64:
                waiting += [len(found) + 1, len(found) + 1]
    assert [index for index, _ in sorted(found)] == list(range(len(found)))
    assert len(found) > 5


RUN = """
import sys
from pathlib import Path
from flexhyca import interrupts, pool
from flexhyca.tests.jobs import start_another
from flexhyca.tests.support import heed_ctrl_c

if __name__ == "__main__":
    with interrupts.heeded():
        list(pool.run_jobs(start_another, Path(sys.argv[1]), [0, 0], 2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_that_was_started_outlives_a_command(tmp_path: Path, how: signal.Signals) -> None:
    """A worker's own processes were left behind; a killed parent has its workers end them."""
    (tmp_path / "run.py").write_text(RUN)
    folder = tmp_path / "kept"
    folder.mkdir()
    command = [sys.executable, "-P", str(tmp_path / "run.py"), str(folder)]
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c, start_new_session=True
    )
    while len(list(folder.glob("*.pid"))) < 2:
        assert run.poll() is None
        time.sleep(0.05)
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(how)
    _, err = run.communicate(timeout=60)
    # The tracker of multiprocessing ends when it sees that the command has.
    mine = [one for one in started if "resource_tracker" not in " ".join(_words(one))]
    if how == signal.SIGINT:
        assert (run.returncode, err) == (130, "interrupted; no result was written\n")
        assert not [one for one in mine if _words(one)]
        assert {path.suffix for path in folder.iterdir()} == {".pid"}  # no temporary folders
    else:
        psutil.wait_procs(mine, timeout=30)
        assert not [one for one in mine if _words(one)]


def _words(process: psutil.Process) -> list[str]:
    """Its command; nothing where it is gone, waited for or not."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
