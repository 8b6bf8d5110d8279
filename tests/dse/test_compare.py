"""Machines side by side: rows are what each machine gives by itself, however they came about."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flexhyca as fh
from flexhyca import exploration
from flexhyca.config import Config, load_config, to_yaml
from flexhyca.config.schemes import SCHEMES, with_scheme
from flexhyca.dse.compare import CompareRequest, RateResult, SideBySide
from flexhyca.dse.evaluate import Block, accuracy_job
from flexhyca.dse.labelled import Kept, working
from flexhyca.dse.request import SearchRequest
from flexhyca.dse.results import Results
from flexhyca.dse.search.evaluation import Options
from flexhyca.errors import FlexhycaError
from flexhyca.hdl.area.machine import machine_area, pe_row
from flexhyca.report.compare import comparison_report, comparison_rows

BERS, GOALS = (1.7e-3, 3.4e-3), (0.97, 0.95)
ROUTED = with_scheme(load_config(), "tmr_crt1_qc")
Command = Callable[..., Any]


def request(designs: tuple[str, ...] = (), **search: Any) -> CompareRequest:
    own = {"bers": BERS, "goals": GOALS, "options": Options(patterns=20), **search}
    schemes = ("base", "tmr_crt2_q", "tmr_alg", "tmr_cl")
    return CompareRequest(SearchRequest("digits", **own), schemes, designs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def found(folder: Path) -> SideBySide:
    (folder / "routed.yaml").write_text(to_yaml(ROUTED))
    return exploration.compared(request((str(folder / "routed.yaml"),)), Kept(folder / "c.db"))


def configs() -> dict[str, Config]:
    names = ("base", "tmr_crt2_q", "tmr_cl")
    return {name: with_scheme(load_config(), name) for name in names} | {"routed": ROUTED}


def test_costs_are_those_of_each_machine(found: SideBySide) -> None:
    model = fh.load_model("digits")
    ranking = fh.rank_neurons(model, fh.load_data(model))
    report = comparison_report(found)
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["base", "tmr_crt2_q", "tmr_alg", "tmr_cl", "routed"]
    results = {}
    for name, config in configs().items():
        network = fh.quantise(model, config)
        important = fh.select_important(ranking, network, config)
        results[name] = fh.simulate(fh.compile(network, config, important))
    weights = sum(weight.size for weight in network.weights.values())
    base = results["base"]
    for name, result in results.items():
        row, config = rows[name], configs()[name]
        depth = pe_row(config).depth / pe_row(configs()["base"]).depth
        extra = (sum(result.dram.values()) - sum(base.dram.values())) / weights
        assert row["total_cycles"] == result.cycles
        assert row["cycles_over_base"] == pytest.approx(result.cycles / base.cycles)
        assert row["time_over_base"] == pytest.approx(depth * result.cycles / base.cycles)
        assert row["dram_total"] == sum(result.dram.values())
        assert row["extra_total"] == pytest.approx(extra)
        scopes = [scope.relative - 1 for scope in machine_area(config).scopes]
        shown = [
            row[f"area_{what}"] for what in ("overhead", "with_register_files", "with_buffers")
        ]
        assert shown == pytest.approx(scopes)
        limits = row["limits"]
        assert limits["cycles"]["room"] == pytest.approx(1.1 - result.cycles / base.cycles)
        assert limits["traffic"]["room"] == pytest.approx(0.1 - extra)
        assert limits["traffic"]["verdict"] == ("met" if extra <= 0.1 else "missed")
    assert results["tmr_cl"].cycles > base.cycles  # the ratios above say something
    assert rows["tmr_crt2_q"]["time_over_base"] == 1 < rows["routed"]["time_over_base"]


def test_areas_of_the_honest_rival_and_of_table_ii(found: SideBySide) -> None:
    """As measured before: q_scale 7; `tests/hdl` has the circuits."""
    area = {row["name"]: row.get("area_overhead") for row in comparison_report(found)["rows"]}
    assert area["routed"] == pytest.approx(0.165, abs=5e-4)
    assert area["tmr_cl"] == pytest.approx(0.240, abs=5e-4)


def evaluated(folder: Path, work: Callable[[Results], Any]) -> Any:
    given = exploration.labelled_images("digits")
    own = {"search": "compare"}
    asked = request().search
    with working(given, load_config(), asked.ber, 0, Kept(folder / "c.db"), own, {}) as results:
        return work(results)


def by_hand(results: Results) -> dict[tuple[str, float], Block]:
    """The blocks of the study, job by job."""
    return {
        (name, ber): Block.joined(
            [
                results.block("confirm", results.known(job) or {})
                for job in (accuracy_job(config, ber, "confirm", first) for first in (0, 10))
            ]
        )
        for name, config in configs().items()
        for ber in BERS
    }


def test_accuracies_are_those_of_the_blocks(found: SideBySide, folder: Path) -> None:
    blocks = evaluated(folder, by_hand)
    rows = {row.machine.name: row for row in found.rows}
    acc0 = found.acc0
    assert acc0 is not None
    before: str | None = None
    for name in ("base", "tmr_crt2_q", "tmr_cl", "routed"):  # one is impossible
        assert rows[name].before == before
        for ber, goal, own in zip(BERS, GOALS, rows[name].rates, strict=True):
            block = blocks[name, ber]
            assert block.right.shape == (20, 50)
            loss = block.right0.mean() - block.right.mean()
            assert own.loss.estimate == pytest.approx(loss)
            assert own.accuracy.estimate == pytest.approx(1 - loss / acc0)
            assert (own.loss.clusters, own.loss.trials) == (20, 1000)
            check_verdict(own, goal)
            for other, interval in (("tmr_cl", own.minus_cl), (before, own.minus_before)):
                if other is None or other == name:
                    assert interval is None
                    continue
                assert interval is not None
                difference = block.right.mean(axis=1) - blocks[other, ber].right.mean(axis=1)
                assert interval.estimate == pytest.approx(difference.mean())
                spread = difference.std(ddof=1) / 20**0.5
                if spread:
                    assert 1 < (interval.high - interval.low) / (2 * spread) < 3.5
        before = name
    assert rows["base"].rates[1].verdict == "missed"
    assert rows["base"].fault_free == 1


def check_verdict(own: RateResult, goal: float) -> None:
    assert own.goal.accuracy == goal
    assert own.accuracy.low <= own.accuracy.estimate <= own.accuracy.high
    expected = {
        "met": own.accuracy.low >= goal,
        "missed": own.accuracy.high < goal,
        "open": own.accuracy.low < goal <= own.accuracy.high,
    }
    assert [name for name, holds in expected.items() if holds] == [own.verdict]


def test_pairs_meet_the_same_errors(found: SideBySide) -> None:
    """One bit everywhere or in 95 of 100 neurons: the pair differs less than two samples do."""
    rows = {row.machine.name: row for row in found.rows}
    own, cl = rows["routed"].rates[1], rows["tmr_cl"].rates[1]
    assert own.minus_cl is not None
    apart = np.hypot(own.loss.margin, cl.loss.margin)
    assert own.minus_cl.margin < apart / 2


def test_a_design_is_the_scheme_it_equals(found: SideBySide, folder: Path) -> None:
    asked = replace(request(), schemes=("base", "tmr_crt1_qc"))
    other = exploration.compared(asked, Kept(reuse=(folder / "c.db",)))
    assert other.computed == 0
    own, same = other.rows[1], found.rows[-1]
    assert (own.costs, own.areas, own.fault_free) == (same.costs, same.areas, same.fault_free)
    assert [r.accuracy for r in own.rates] == [r.accuracy for r in same.rates]


def test_machines_that_protect_the_same_bits_are_equal(folder: Path) -> None:
    """Not just as far as these patterns can tell: `tmr_crt1_q` differs in its circuit alone."""
    asked = replace(request(), schemes=("tmr_crt1_q", "tmr_crt1_qc", "tmr_crt2_qc"))
    first, second, third = exploration.compared(asked, Kept(reuse=(folder / "c.db",))).rows
    assert first.rates[0].accuracy == second.rates[0].accuracy
    minus = second.rates[0].minus_before
    assert minus is not None
    assert (minus.low, minus.high) == (0, 0)
    other = third.rates[1].minus_before
    assert other is not None
    assert other.margin > 0


def test_what_is_impossible_has_a_reason(found: SideBySide) -> None:
    (row,) = [row for row in found.rows if row.machine.config is None]
    assert row.machine.name == "tmr_alg"
    assert row.machine.reason == (
        "no layer is named that it protects; give --protect LAYER,... ('*' is all of them)"
    )
    flat = comparison_rows(comparison_report(found))
    assert len({tuple(own) for own in flat}) == 1  # all have all columns
    shown = {name: value for name, value in flat[2].items() if value is not None}
    assert set(shown) == {"name", "paper", "reason"}


def test_machines_that_refuse_a_scheme(tmp_path: Path) -> None:
    """One contradicts itself, one has no room for the program; the others are compared."""
    small = tmp_path / "small.yaml"
    small.write_text("extends: base-32x32\ndram: {size_bytes: 65536}\n")
    notes: list[str] = []
    found = fh.compare(
        "resnet20",
        changes=("array.dataflow=ws", "dppu.size=0", "protection.s_th=0"),
        schemes=("base", "tmr_crt1_q", "tmr_alg"),
        designs=[small],
        protect=["conv1"],
        note=notes.append,
    )
    reasons = found.rows.set_index("name")["reason"]
    assert reasons[["base", "tmr_crt1_q"]].isna().all()
    assert reasons["tmr_alg"] == (
        "scheme tmr_alg: protection.redundancy = 'time' needs accumulators in the PEs, and "
        "dataflow ws has none; use dataflow os"
    )
    assert reasons["small"].startswith("resnet20: the program needs 475072 bytes of DRAM, ")
    assert notes == [
        "resnet20: there are no images (give an npz with --data FILE): only time, traffic and area "
        "are compared"
    ]


def test_limits_count_as_a_search_counts_them(folder: Path, found: SideBySide) -> None:
    compared = partial(fh.compare, "digits", schemes=("base",), accuracy=False)
    designs = [folder / "routed.yaml"]
    time_limit = compared(designs=designs, limits={"perf": "time", "cycles": 1.05, "traffic": None})
    own = time_limit.report["rows"][1]
    assert list(own["limits"]) == ["cycles"]
    assert own["limits"]["cycles"]["value"] == pytest.approx(102 / 96)
    assert own["verdict"] == "missed"
    total = compared(schemes=("base", "tmr_cl"), limits={"bandwidth": "total"}).rows
    weights = compared(schemes=("base", "tmr_cl")).rows
    bytes_of = weights["dram_total"][1] - weights["dram_total"][0]
    rooms = [frame["traffic_room"][1] for frame in (total, weights)]
    wanted = [0.1 - bytes_of / weights["dram_total"][0], 0.1 - bytes_of / 24464]
    assert rooms == pytest.approx(wanted)


def test_own_rates_are_searched_and_scenarios_known() -> None:
    asked = request(bers=(), goals=(), scenario="both", options=Options(patterns=10))
    asked = replace(asked, schemes=("base",))
    found = exploration.compared(asked, Kept())
    assert [(r.goal.ber, r.goal.accuracy) for r in found.rows[0].rates] == [
        (1e-4, 0.97),
        (2e-4, 0.95),
    ]
    own = replace(asked.search, scenario="own", rates=BERS)
    found = exploration.compared(replace(asked, search=own), Kept())
    assert found.rates == BERS
    assert [r.goal.ber for r in found.rows[0].rates] == list(BERS)


class StopHereError(Exception):
    pass


def test_what_was_evaluated_is_not_evaluated_again(
    folder: Path, found: SideBySide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended in the middle, then gone on with: the same report, each job done once."""
    real, count = Results.next, 0

    def stopping(self: Results) -> Any:
        nonlocal count
        count += 1
        if count > 9:
            raise StopHereError
        return real(self)

    asked = request((str(folder / "routed.yaml"),))
    monkeypatch.setattr(Results, "next", stopping)
    with pytest.raises(StopHereError):
        exploration.compared(asked, Kept(tmp_path / "c.db"))
    monkeypatch.undo()
    again = exploration.compared(asked, Kept(tmp_path / "c.db"))
    assert again.computed == found.computed - 9
    reports = [comparison_report(own) for own in (again, found)]
    for report in reports:
        del report["computed"]
    assert reports[0] == reports[1]


@pytest.mark.slow
def test_a_killed_comparison_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flexhyca", "compare", "digits", "--protect", "fc"]
    command += ["--ber", "2e-3", "--patterns", "40", "--json", "-", "--study"]
    calm = subprocess.run([*command, tmp_path / "a.db"], capture_output=True, check=True)
    total = results_in(tmp_path / "a.db")
    kills = 0
    for moment in (total // 5, total // 2, 4 * total // 5):
        process = subprocess.Popen([*command, tmp_path / "b.db"], stdout=subprocess.DEVNULL)
        while process.poll() is None and results_in(tmp_path / "b.db") < moment:
            time.sleep(0.005)
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert kills >= 2
    last = subprocess.run([*command, tmp_path / "b.db"], capture_output=True, check=True)
    reports = [json.loads(run.stdout) for run in (calm, last)]
    assert reports[1].pop("computed") < reports[0].pop("computed")
    assert reports[0] == reports[1]
    assert results_in(tmp_path / "b.db") == total


def results_in(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schemes": ("tmr_cll",)}, "scheme 'tmr_cll' does not exist; did you mean tmr_cl?"),
        ({"schemes": (), "designs": ()}, "nothing to compare; give schemes or designs"),
        ({"designs": ("no.yaml",)}, "no configuration 'no.yaml': neither a file nor one of "),
        ({"schemes": ("base", "base")}, "two rows are called base; give it once, or rename"),
        ({"protect": ("fc",), "schemes": ("base",)}, "protect: base computes nothing three times"),
        ({"placement": "random"}, "placement random: accuracy is that of important neurons by"),
        ({"search": {"bers": (), "goals": (0.9,)}}, "goal: give the rate it holds at, too"),
        ({"search": {"bers": (0.7, 0.1)}}, "ber 0.7: give a number above 0 and up to 0.5"),
        ({"search": {"limits": {"cycle": 1}}}, "limit 'cycle': there is none; use cycles"),
        ({"search": {"scenario": "III", "bers": (), "goals": ()}}, "scenario 'III': there is none"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    own = dict(change)
    asked = replace(request(**own.pop("search", {})), **own)
    with pytest.raises(FlexhycaError) as caught:
        exploration.compared(asked, Kept(tmp_path / "c.db"))
    assert str(caught.value).startswith(message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("patterns", [0, -10, 15, 10**9])
def test_patterns_that_are_none(patterns: int) -> None:
    with pytest.raises(FlexhycaError, match=f"patterns {patterns}: give "):
        Options(patterns=patterns)


DATA = os.environ.get("FLEXHYCA_DATA")


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="FLEXHYCA_DATA does not name a folder with CIFAR-10")
def test_resnet20_at_the_papers_rates() -> None:
    """docs/ber.md: what base and tmr_cl lose on other images and patterns, roughly."""
    assert DATA is not None
    found = fh.compare(
        "resnet20",
        weights=Path(DATA) / "w_cifar10_resnet20_fp32.npz",
        data=Path(DATA) / "cifar10_test_jpeg_1000.npz",
        scenario="both",
        patterns=60,
        protect=["conv1", "layer2.0.*"],
    )
    frame = found.rows.set_index("name")
    assert list(frame.index) == list(SCHEMES)
    for rate, base, cl in ((1e-4, 3.67, 1.63), (2e-4, 6.71, 2.33)):
        lost = 100 * frame[f"loss@{rate:g}"]
        assert lost["base"] == pytest.approx(base, abs=2.5)
        assert lost["tmr_cl"] == pytest.approx(cl, abs=1.5)
        assert lost["base"] > lost["tmr_cl"] > lost["tmr_crt3"]
        assert lost["tmr_crt2_q"] == lost["tmr_crt2_qc"]
        assert frame[f"minus_tmr_cl_high@{rate:g}"]["base"] < 0
    assert frame["area_overhead"]["tmr_crt1_qc"] == pytest.approx(0.165, abs=5e-4)
    assert frame["cycles_over_base"]["tmr_alg"] > 1.1
