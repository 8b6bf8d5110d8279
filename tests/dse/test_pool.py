"""Workers: every answer once, errors come through, a dead worker is not waited for."""

import multiprocessing
from contextlib import closing

import pytest

from flexhyca.dse import pool
from flexhyca.errors import FlexhycaError
from flexhyca.tests.dse.jobs import power


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_answered_once(workers: int) -> None:
    jobs = [4, 1, 3, 2, 0]
    answers = dict(pool.run(power, 3, jobs, workers))
    assert answers == {i: 3**exponent for i, exponent in enumerate(jobs)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_ends_the_run(workers: int) -> None:
    with pytest.raises(FlexhycaError) as caught:
        list(pool.run(power, 3, [1, 13, 2], workers))
    assert str(caught.value) == "13 brings no luck"


def test_a_killed_worker_is_reported() -> None:
    with pytest.raises(FlexhycaError) as caught:
        list(pool.run(power, 3, [99, 99], 2))
    assert str(caught.value) == (
        "a worker was killed by signal 9, perhaps because memory ran out; "
        "run again with fewer --workers"
    )


def test_no_worker_outlives_the_run() -> None:
    with closing(pool.run(power, 3, [1, 2, 3], 2)) as answers:
        next(answers)
    assert not multiprocessing.active_children()
