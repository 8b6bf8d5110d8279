"""The engine on a Dask cluster of real processes: the same table, also when a worker is killed."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign import cluster as dask_pool
from flexhyca.faults.campaign.export import write_csv
from flexhyca.faults.campaign.run import run_campaign
from flexhyca.faults.campaign.store import Campaign
from flexhyca.tests.faults.campaign.experiments import Drawn
from flexhyca.tests.support import kill_a_worker


def table(path: Path) -> bytes:
    with Campaign(path) as campaign:
        write_csv(campaign, path.with_suffix(".csv"))
    return path.with_suffix(".csv").read_bytes()


@pytest.mark.slow
def test_a_worker_is_killed_half_way(cluster: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    killed: list[int] = []
    timer: list[threading.Thread] = []

    def half_way(progress: Any) -> None:
        if progress.done > 800 and not timer:
            timer.append(threading.Thread(target=lambda: killed.append(kill_a_worker(cluster))))
            timer[0].start()

    found = run_campaign(
        Drawn(sleep_s=0.002),
        path,
        3000,
        dask=cluster.scheduler_address,
        progress=half_way,
    )
    timer[0].join()
    assert killed
    assert (found.trials, found.computed) == (3000, 3000)
    one = run_campaign(Drawn(), tmp_path / "b.db", 3000)
    assert one == found
    assert table(path) == table(tmp_path / "b.db")


@pytest.mark.slow
def test_margins_and_errors_are_the_same_there(cluster: Any, tmp_path: Path) -> None:
    address = cluster.scheduler_address
    found = run_campaign(Drawn(), tmp_path / "a.db", 100_000, dask=address, margin=0.03)
    one = run_campaign(Drawn(), tmp_path / "b.db", 100_000, margin=0.03)
    assert found.stopped
    assert found._replace(computed=one.computed) == one
    assert table(tmp_path / "a.db") == table(tmp_path / "b.db")
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(fatal=(9, 0)), tmp_path / "c.db", 50, dask=address)
    assert str(caught.value) == "trial 9 cannot be done"


@pytest.mark.slow
def test_a_chunk_that_kills_every_worker_is_named(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "deaths").mkdir()
    experiment = Drawn(fatal=(0, 99), folder=str(tmp_path / "deaths"))
    with pytest.raises(FlexhycaError, match="trial 0 killed every worker that tried, perhaps"):
        run_campaign(experiment, tmp_path / "a.db", 1, dask=cluster.scheduler_address)
    assert len(list((tmp_path / "deaths").iterdir())) == 4


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and a worker of their own: address, the scheduler's process."""
    told = tmp_path / "scheduler.json"
    common = ("--scheduler-file", str(told), "--no-dashboard")
    kinds = {"scheduler": ("--port", "0"), "worker": ("--nthreads", "1")}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", *common, *more],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        for kind, more in kinds.items()
    ]
    while not told.exists() or not told.read_text().endswith("}"):
        time.sleep(0.05)
    yield json.loads(told.read_text())["address"], started[0]
    for process in reversed(started):
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_scheduler_is_killed(processes: Any, tmp_path: Path) -> None:
    address, scheduler = processes

    def kill(progress: Any) -> None:
        if progress.done > 100:
            scheduler.kill()

    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(sleep_s=0.002), tmp_path / "a.db", 3000, dask=address, progress=kill)
    line = str(caught.value)
    assert line.startswith(f"--dask {address}: the scheduler is gone (")
    assert line.endswith("); what is done is kept, run the same command again to go on")
    with Campaign(tmp_path / "a.db") as campaign:
        assert 100 < campaign.count() < 3000
    run_campaign(Drawn(sleep_s=0.002), tmp_path / "a.db", 3000)
    run_campaign(Drawn(), tmp_path / "b.db", 3000)
    assert table(tmp_path / "a.db") == table(tmp_path / "b.db")


def test_no_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_pool, "_CONNECT_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(), tmp_path / "a.db", 5, dask=address)
    line = str(caught.value)
    assert line.startswith(f"--dask {address}: no scheduler answers (")
    assert line.endswith("; start one with `dask scheduler`, or use --workers")
    assert "\n" not in line
