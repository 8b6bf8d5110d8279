"""``flexhyca sweep`` on `digits`: the table, its errors, and what an interruption leaves."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexhyca.config import load_config
from flexhyca.isa.instructions import Engine
from flexhyca.simulator.cycles.stalls import STALLS
from flexhyca.tests.support import heed_ctrl_c

Command = Callable[..., Any]  # conftest: arguments -> code, out, err
KINDS = ("ifmap", "weight", "bias", "ofmap", "position_table", "dppu_operand", "instruction")
EXTRAS = ("tables", "operands", "instructions", "other", "total")
WIDE = "name, h, w, fh, fw, c, n, s,\nWide, 1, 200, 1, 100, 1, 4, 1,\n"


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_say_what_simulate_says(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca(
        *("sweep", "digits", "--vary", "protection.s_th=0,0.1", "--csv", "out.csv"),
        *("--vary", "dppu.data_reuse=array,dram", "--json", "-", "--plot", "out.svg"),
    )
    assert (run.code, run.err) == (0, "")
    rows = read("out.csv")
    report = json.loads(run.out)
    assert report["weight_bytes"] == 24464
    assert report["points"][0]["conv_weight_bytes"] == 24464 - 128 * 10  # but for fc
    assert report["varied"] == ["protection.s_th", "dppu.data_reuse"]
    assert report["skipped"] == []
    assert [{k: str(v) for k, v in point.items()} for point in report["points"]] == rows
    assert list(rows[0]) == [
        *("protection.s_th", "dppu.data_reuse", "placement", "seed", "config_hash"),
        *("weight_bytes", "conv_weight_bytes"),
        *("total_cycles", "cycles_over_base", "utilization", "important_neurons"),
        *(*(f"dram_{kind}" for kind in KINDS), "dram_total"),
        *(f"extra_{cause}" for cause in EXTRAS),
        *("array_busy", *(f"array_{stall}" for stall in STALLS[Engine.ARRAY])),
    ]
    varied = [(row["protection.s_th"], row["dppu.data_reuse"]) for row in rows]
    assert varied == [("0.0", "array"), ("0.0", "dram"), ("0.1", "array"), ("0.1", "dram")]

    def simulate(*changes: str) -> dict[str, Any]:
        sets = [word for change in changes for word in ("--set", change)]
        run = flexhyca("simulate", "digits", "--no-values", "--json", "-", *sets)
        return json.loads(run.out)

    base = simulate("dppu.size=0", "protection.s_th=0")
    for point in (report["points"][0], report["points"][3]):
        changes = [f"{key}={point[key]}" for key in report["varied"]]
        single = simulate(*changes)
        assert point["config_hash"] == load_config("flexhyca-32x32", changes).config_hash
        assert point["total_cycles"] == single["total_cycles"]
        assert point["cycles_over_base"] == single["total_cycles"] / base["total_cycles"]
        assert point["utilization"] == single["utilization"]
        assert point["important_neurons"] == single["important_neurons"]
        for kind in KINDS:
            assert point[f"dram_{kind}"] == single["dram_bytes"][kind]
        extra = sum(single["dram_bytes"].values()) - sum(base["dram_bytes"].values())
        assert point["extra_total"] == extra / 24464
        assert point["extra_total"] == pytest.approx(sum(point[f"extra_{e}"] for e in EXTRAS[:-1]))
        assert point["array_busy"] == single["busy"]["array"]
        for stall, cycles in single["stalls"]["array"].items():
            assert point[f"array_{stall}"] == cycles
    assert report["points"][3]["extra_operands"] > report["points"][3]["extra_tables"] > 0
    assert "<svg" in (in_tmp / "out.svg").read_text()
    names = ["out.csv", "out.csv.db", "out.svg"]
    assert sorted(path.name for path in in_tmp.iterdir()) == names


def test_a_larger_grid_computes_only_what_is_new(flexhyca: Command, in_tmp: Path) -> None:
    common = ("sweep", "digits", "--placement", "random", "--csv", "out.csv", "--vary")
    assert flexhyca(*common, "dppu.size=8,16").err == ""
    small = (in_tmp / "out.csv").read_bytes()
    run = flexhyca(*common, "dppu.size=4,8,16")
    assert run.err == "out.csv.db: 3 of 4 runs are there, 1 to do\n"
    large = (in_tmp / "out.csv").read_text().splitlines()
    assert [large[0], *large[2:]] == small.decode().splitlines()
    run = flexhyca(*common, "dppu.size=8,16")
    assert run.err == ""
    assert (in_tmp / "out.csv").read_bytes() == small
    assert run.out.splitlines()[-1] == "out.csv: 2 points"
    for other, why in (
        (("--batch", 2), "batch: 1 there, 2 here"),
        (("--placement", "clustered"), None),  # another placement is another run, not a clash
    ):
        run = flexhyca(*common, "dppu.size=8,16", *other)
        if why is None:
            assert run.code == 0
        else:
            assert run.err == (
                f"error: out.csv.db: belongs to another study ({why}); "
                "delete it, or give another --csv or --study\n"
            )


def test_placements_and_topologies(flexhyca: Command, in_tmp: Path) -> None:
    (in_tmp / "net.csv").write_text(WIDE)
    run = flexhyca("sweep", "net.csv", "--csv", "a.csv", "--vary", "placement=random,clustered")
    assert (run.code, run.err) == (0, "")
    assert [row["placement"] for row in read("a.csv")] == ["random", "clustered"]
    run = flexhyca("sweep", "net.csv", "--csv", "b.csv", "--vary", "timing=native,scalesim")
    native, published = read("b.csv")
    assert native["placement"] == "clustered"
    assert (published["important_neurons"], published["cycles_over_base"]) == ("0", "1.0")


def test_points_that_cannot_be_compiled(flexhyca: Command, in_tmp: Path) -> None:
    (in_tmp / "net.csv").write_text(WIDE)
    common = ("sweep", "net.csv", "--csv", "out.csv", "--vary")
    why = (
        "layer Wide: one kernel row of one channel does not fit half of the ifmap and weight "
        "buffers; enlarge buffers.ifmap_bytes or buffers.weight_bytes"
    )
    for _ in range(2):  # the second time from the study
        run = flexhyca(*common, "buffers.ifmap_bytes=64,65536")
        assert (run.code, run.out) == (2, "")
        assert run.err == (
            f"error: grid point buffers.ifmap_bytes=64: {why}; "
            "--skip-invalid leaves such points out\n"
        )
        assert not (in_tmp / "out.csv").exists()
    grid = "buffers.ifmap_bytes=64,65536,65536 dppu.size=8,8,50"
    run = flexhyca(*common, grid, "--skip-invalid", "--json", "-")
    assert run.err.splitlines() == [
        "left out buffers.ifmap_bytes=65536 dppu.size=50: flexhyca-32x32: dppu.width = 4 does not "
        "divide dppu.size = 50; use 1, 2, 5 or 10, or a size of 48",
        "out.csv.db: 1 of 4 runs are there, 3 to do",
        f"left out buffers.ifmap_bytes=64 dppu.size=8: {why}",
    ]
    assert len(json.loads(run.out)["skipped"]) == 2
    assert [row["buffers.ifmap_bytes"] for row in read("out.csv")] == ["65536"]
    run = flexhyca(*common, "buffers.ifmap_bytes=64,65", "--skip-invalid")
    assert run.err.splitlines()[-1] == (
        f"error: no point of the grid is possible; the first, buffers.ifmap_bytes=64: {why}"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("--vary", "dppu.size=50,52"),
            "grid point dppu.size=50: flexhyca-32x32: dppu.width = 4 does not divide dppu.size = "
            "50; use 1, 2, 5 or 10, or a size of 48 (1 of 2 points are not possible; "
            "--skip-invalid leaves them out)",
        ),
        (
            ("--vary", "placement=random", "--placement", "random"),
            "--placement and --vary placement: drop one of the two",
        ),
        (
            ("--vary", "timing=native", "--plot", "out.png"),
            "--plot needs a number to draw against; no --vary has one",
        ),
        (
            ("--vary", "dppu.size=8", "--study", "none/s.db"),
            "none/s.db: the folder {cwd}/none does not exist; create it first",
        ),
    ],
)
def test_errors(arguments: tuple[str, ...], error: str, flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca("sweep", "digits", "--csv", "out.csv", *arguments)
    assert run.err == f"error: {error.replace('{cwd}', str(in_tmp))}\n"
    assert (run.code, run.out) == (2, "")
    assert not list(in_tmp.iterdir())


def runs_in(path: Path) -> int:
    """How many runs a study has while another process writes it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
            return int(db.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def test_an_interrupted_sweep_goes_on(flexhyca: Command, in_tmp: Path) -> None:
    grid = (
        *("sweep", "digits", "--placement", "random", "--batch", "24", "--vary"),
        *("protection.s_th=0.05..0.2:0.05", "--vary", "dppu.data_reuse=array,hybrid,dram"),
    )

    def start(name: str, workers: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flexhyca", *grid, "--csv", name, "--workers", str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, for Ctrl-C
            preexec_fn=heed_ctrl_c,
        )

    running = {"a.csv": start("a.csv", 2), "b.csv": start("b.csv", 1)}
    waiting = {"a.csv": signal.SIGINT, "b.csv": signal.SIGKILL}
    while waiting:
        time.sleep(0.005)
        for name in list(waiting):
            if runs_in(in_tmp / f"{name}.db") >= 2:
                os.killpg(running[name].pid, waiting.pop(name))
            assert running[name].poll() is None or name not in waiting
    ends = {name: (*p.communicate(timeout=60), p.returncode) for name, p in running.items()}
    kept = {name: runs_in(in_tmp / f"{name}.db") for name in running}
    assert ends["a.csv"] == (
        "",
        f"interrupted: {kept['a.csv']} of 13 runs are kept in a.csv.db; "
        "run the same command again to go on\n",
        130,
    )
    assert ends["b.csv"] == ("", "", -signal.SIGKILL)
    assert not list(in_tmp.glob("*.csv"))

    undisturbed = flexhyca(*grid, "--csv", "c.csv")
    assert (undisturbed.code, undisturbed.err) == (0, "")
    for name, count in kept.items():
        assert 2 <= count < 13
        run = flexhyca(*grid, "--csv", name)
        assert run.err == f"{name}.db: {count} of 13 runs are there, {13 - count} to do\n"
        assert run.code == 0
        assert Path(name).read_bytes() == Path("c.csv").read_bytes()


def test_workers_do_not_change_the_result(flexhyca: Command, in_tmp: Path) -> None:
    for workers in (1, 2):
        run = flexhyca(
            *("sweep", "digits", "--vary", "protection.s_th=0.05..0.2:0.05", "--workers", workers),
            *("--vary", "protection.s_policy=global,tile", "--csv", f"{workers}.csv"),
        )
        assert (run.code, run.err) == (0, "")
    assert Path("1.csv").read_bytes() == Path("2.csv").read_bytes()
