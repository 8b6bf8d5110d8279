"""Settings for all tests."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# Several threads on busy cores make small matrix products many times slower; before torch loads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A cold numba kernel takes most of a second: a deadline would fail its first example.
# Random networks often do not fit random machines: a share that happens to be large is no failure.
_MANY_MISFITS = [HealthCheck.filter_too_much]
settings.register_profile("flexhyca", deadline=None, suppress_health_check=_MANY_MISFITS)
# For a first look at failures: `HYPOTHESIS_PROFILE=raw` reports them without minutes of shrinking.
settings.register_profile(
    "raw",
    deadline=None,
    suppress_health_check=_MANY_MISFITS,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "flexhyca"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Dask cluster of real processes; `support.kill_a_worker` kills one."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
    ) as started:
        yield started
