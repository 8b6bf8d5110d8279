"""The engine: the same table for any number of workers and any past; it stops where it should."""

import itertools
import multiprocessing
from pathlib import Path

import pytest

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign import run as engine
from flexhyca.faults.campaign.export import write_csv
from flexhyca.faults.campaign.run import Progress, boundaries, run_campaign
from flexhyca.faults.campaign.store import Campaign
from flexhyca.tests.faults.campaign.experiments import Drawn


def table(path: Path) -> bytes:
    target = path.with_suffix(".csv")
    with Campaign(path) as campaign:
        write_csv(campaign, target)
    return target.read_bytes()


def test_neither_workers_nor_the_past_change_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHUNK_S", 0.05)
    paths = [tmp_path / f"{name}.db" for name in "abc"]
    one = run_campaign(Drawn(), paths[0], 500)
    assert (one.trials, one.computed, one.stopped) == (500, 500, False)
    three = run_campaign(Drawn(), paths[1], 500, workers=3)
    assert three == one
    assert not multiprocessing.active_children()
    assert run_campaign(Drawn(), paths[2], 130).computed == 130
    assert run_campaign(Drawn(), paths[2], 500, workers=2)._replace(computed=500) == one
    assert run_campaign(Drawn(), paths[2], 500).computed == 0
    assert table(paths[0]) == table(paths[1]) == table(paths[2])
    assert table(paths[0]).count(b"\n") == 501
    assert (
        run_campaign(Drawn(), paths[0], 200).trials == 200
    )  # what was asked for last is what counts
    assert table(paths[0]) == b"".join(table(paths[1]).splitlines(keepends=True)[:201])
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv"] * 3 + [".db"] * 3


def test_another_seed_is_another_campaign(tmp_path: Path) -> None:
    run_campaign(Drawn(), tmp_path / "a.db", 20)
    run_campaign(Drawn(seed=2), tmp_path / "b.db", 20)
    assert table(tmp_path / "a.db") != table(tmp_path / "b.db")
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(seed=2), tmp_path / "a.db", 20)
    assert str(caught.value) == (
        f"{tmp_path}/a.db: holds another campaign; give another file\n  seed: 1 there, 2 here"
    )


def test_stops_at_the_margin_wherever_it_runs(tmp_path: Path) -> None:
    one = run_campaign(Drawn(), tmp_path / "a.db", 100_000, margin=0.03)
    assert one.stopped
    assert max(e.interval.margin for e in one.estimates) <= 0.03
    # The look before was not enough.
    before = max(b for b in itertools.takewhile(lambda b: b < one.trials, boundaries()))
    run_campaign(Drawn(), tmp_path / "b.db", before)
    with Campaign(tmp_path / "b.db") as campaign:
        assert not campaign.tally().within(0.03)
    # One that was further already, and one with workers that run ahead.
    run_campaign(Drawn(), tmp_path / "b.db", 2000)
    again = run_campaign(Drawn(), tmp_path / "b.db", 100_000, margin=0.03)
    three = run_campaign(Drawn(), tmp_path / "c.db", 100_000, workers=3, margin=0.03)
    assert again == one._replace(computed=0)
    assert three._replace(computed=one.computed) == one
    assert table(tmp_path / "a.db") == table(tmp_path / "b.db") == table(tmp_path / "c.db")
    more = run_campaign(Drawn(), tmp_path / "a.db", 100_000, margin=0.02)
    assert more.trials > one.trials


def test_looks_are_few() -> None:
    looks = list(itertools.takewhile(lambda b: b <= 1_000_000, boundaries()))
    assert looks[:12] == [*range(100, 1200, 100), 1300]
    assert all(b % 100 == 0 for b in looks)
    assert len(looks) < 90


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CHUNK_S", 0.01)
    monkeypatch.setattr(engine, "_PROGRESS_S", 0)
    seen: list[Progress] = []
    run_campaign(Drawn(sleep_s=0.001), tmp_path / "a.db", 100, progress=seen.append)
    assert [p.done for p in seen] == sorted({p.done for p in seen})
    assert seen[-1].done == seen[-1].total == 100
    assert seen[-1].seconds_left == 0
    assert all(p.rate > 0 and p.estimates[0].interval.trials == p.done for p in seen)
    assert len(seen) > 1


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "deaths").mkdir()
    experiment = Drawn(fatal=(40, 2), folder=str(tmp_path / "deaths"))
    found = run_campaign(experiment, tmp_path / "a.db", 120, workers=2)
    assert len(list((tmp_path / "deaths").iterdir())) == 2
    assert found == run_campaign(Drawn(), tmp_path / "b.db", 120)
    assert table(tmp_path / "a.db") == table(tmp_path / "b.db")


def test_a_chunk_that_kills_every_worker_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHUNK_S", 1e-9)  # chunks of one trial
    (tmp_path / "deaths").mkdir()
    experiment = Drawn(fatal=(5, 99), folder=str(tmp_path / "deaths"))
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(experiment, tmp_path / "a.db", 12, workers=2)
    with Campaign(tmp_path / "a.db") as campaign:
        kept = campaign.count()
    assert str(caught.value) == (
        f"{tmp_path}/a.db: trial 5 killed every worker that tried (signal 9), perhaps because "
        f"memory ran out; {kept} trials are kept; run again with fewer --workers"
    )
    assert kept >= 5
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_trial_ends_the_run_and_keeps_the_rest(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(fatal=(9, 0)), path, 50, workers=workers)
    assert str(caught.value) == "trial 9 cannot be done"
    with Campaign(path) as campaign:
        assert 1 <= campaign.count() < 50
    assert not path.with_name("a.db.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"trials": 0}, "0 trials; give 1 to 1,000,000,000,000"),
        ({"trials": 5, "margin": 1.0}, "margin 1.0 is not between 0 and 1; give 0.01 for 1 %"),
    ],
)
def test_wrong_wishes(tmp_path: Path, arguments: dict, error: str) -> None:
    with pytest.raises(FlexhycaError) as caught:
        run_campaign(Drawn(), tmp_path / "a.db", **arguments)
    assert str(caught.value) == f"campaign: {error}"
    assert not list(tmp_path.iterdir())


def test_a_margin_needs_something_that_is_estimated(tmp_path: Path) -> None:
    class Silent(Drawn):
        quantities = ()

    with pytest.raises(FlexhycaError, match="nothing is estimated here that could have a margin"):
        run_campaign(Silent(), tmp_path / "a.db", 5, margin=0.1)
    assert run_campaign(Silent(), tmp_path / "a.db", 5).estimates == []
