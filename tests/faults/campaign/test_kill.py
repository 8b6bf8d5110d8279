"""Real processes that are killed: nothing kept is lost, nothing keeps running, nothing changes."""

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.export import write_csv, write_parquet
from flexhyca.faults.campaign.run import run_campaign
from flexhyca.faults.campaign.store import Campaign
from flexhyca.tests.faults.campaign.experiments import Drawn
from flexhyca.tests.support import heed_ctrl_c

SLEEP_S = 0.002


def start(path: Path, workers: int, trials: int, **popen: Any) -> subprocess.Popen[str]:
    options = {"trials": trials, "workers": workers, "experiment": {"sleep_s": SLEEP_S}}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flexhyca.tests.faults.campaign.drive",
            str(path),
            json.dumps(options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=path.parent,
        start_new_session=True,  # a process group of its own, for Ctrl-C
        **{"preexec_fn": heed_ctrl_c, **popen},
    )


def trials_in(path: Path) -> int:
    """How many trials a file has while another process writes it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def kept_in(path: Path) -> int:
    """How many trials are left by a process that was killed; rolls its last transaction back."""
    try:
        with Campaign(path) as campaign:
            return campaign.count()
    except FlexhycaError as error:  # killed before or while it made the file
        if "there is no such file" in str(error) or "(empty)" in str(error):
            return 0
        raise


def wait_for(path: Path, trials: int, process: subprocess.Popen[str]) -> None:
    while trials_in(path) < trials and process.poll() is None:
        time.sleep(0.005)


def processes_of(main: subprocess.Popen[str]) -> list[psutil.Process]:
    """All in the session, workers included, which have process groups of their own."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == main.pid:
                found.append(process)
        except ProcessLookupError:
            pass
    return found


def tables(path: Path) -> tuple[bytes, bytes]:
    csv, parquet = path.with_suffix(".csv"), path.with_suffix(".parquet")
    with Campaign(path) as campaign:
        write_csv(campaign, csv)
        write_parquet(campaign, parquet)
    return csv.read_bytes(), parquet.read_bytes()


def undisturbed(path: Path, trials: int) -> tuple[bytes, bytes]:
    run_campaign(Drawn(), path, trials)  # the sleep is no part of the rows
    return tables(path)


def survive(folder: Path, workers: int, moments: int, seed: int) -> None:
    rng = random.Random(seed)
    path = folder / "killed.db"
    trials = moments * 250 * workers
    kept = [0]
    for moment in range(moments):
        process = start(path, workers, trials)
        if moment % 4 == 0:
            time.sleep(rng.uniform(0, 0.7))  # wherever it is: importing, creating the file, ...
        else:
            wait_for(path, kept[-1] + 1, process)
            time.sleep(rng.uniform(0, 0.3))
        family = processes_of(process)
        process.kill()
        process.communicate(timeout=60)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, "workers outlive the main process"
        kept.append(kept_in(path))
    assert kept == sorted(kept), "kept trials were lost"
    assert 0 < kept[-1] < trials
    last = start(path, workers, trials)
    out, err = last.communicate(timeout=300)
    assert (last.returncode, out) == (0, f"{trials} False\n"), err
    assert err == f"{path}: {trials:,} trials, {trials - kept[-1]:,} in this run\n"
    assert tables(path) == undisturbed(folder / "undisturbed.db", trials)
    assert not path.with_name("killed.db.lock").exists()


@pytest.mark.parametrize("workers", [1, 3])
def test_killed_and_resumed(tmp_path: Path, workers: int) -> None:
    survive(tmp_path, workers, 3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_killed_and_resumed_often(tmp_path: Path, workers: int) -> None:
    survive(tmp_path, workers, 20, seed=2)


@pytest.mark.parametrize("workers", [1, 3])
def test_ctrl_c(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "c.db"
    process = start(path, workers, 5000)
    wait_for(path, 20, process)
    family = processes_of(process)
    assert len(family) >= (1 if workers == 1 else 4)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert not psutil.wait_procs(family, timeout=30)[1]
    kept = trials_in(path)
    assert (process.returncode, out, err) == (
        130,
        "",
        f"interrupted: {kept:,} trials of 5,000 are kept in {path}; "
        "run the same command again to go on\n",
    )
    assert 20 <= kept < 5000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.db"]


def test_two_on_one_file(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    first = start(path, 1, 1000)
    wait_for(path, 1, first)
    second = start(path, 1, 1000)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out, err) == (
        2,
        "",
        f"error: {path}: process {first.pid} is writing it; wait until it has ended, or end it\n",
    )
    with Campaign(path) as campaign:  # reading is possible all the time
        assert campaign.tally().trials > 0
    assert first.communicate(timeout=60)[0] == "1000 False\n"
    assert tables(path) == undisturbed(tmp_path / "u.db", 1000)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    limit = 24_576

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(path, 1, 600, preexec_fn=small_files)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"error: {path}: cannot be written: ")
    assert err.count("\n") == 1
    kept = trials_in(path)
    assert 0 < kept < 600
    again = start(path, 1, 600)
    assert again.communicate(timeout=60)[1].endswith(f"{600 - kept} in this run\n")
    assert tables(path) == undisturbed(tmp_path / "u.db", 600)
