"""`simulate` without values: large networks, topology files, placement."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]  # conftest: arguments -> code, out, err

TOPOLOGY = """Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num, Strides,
Conv1, 34, 34, 3, 3, 8, 32, 1,
FC, 1, 1, 1, 1, 512, 100, 1,
"""


@pytest.fixture
def topology(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.csv").write_text(TOPOLOGY)
    return "net.csv"


def report(run: Any) -> dict[str, Any]:
    assert run.code == 0
    result: dict[str, Any] = json.loads(run.out)
    return result


def test_a_topology_is_simulated(flexhyca: Command, topology: str) -> None:
    run = flexhyca("simulate", topology, "--no-values", "--json", "-")
    found = report(run)
    assert run.err == ""
    assert found["model"] == "net"
    assert found["macs"] == 32 * 32 * 32 * 72 + 51200
    assert found["placement"] == "clustered"
    assert found["important_neurons"] == round(0.05 * 32 * 32 * 32) + 5
    assert "accuracy" not in found
    assert (
        report(flexhyca("simulate", topology, "--json", "-"))["total_cycles"]
        == (found["total_cycles"])
    )


def test_a_clock_gives_seconds_and_changes_no_cycle(flexhyca: Command, topology: str) -> None:
    plain = report(flexhyca("simulate", topology, "--json", "-"))
    options = ("--batch", "2", "--set", "clock_mhz=400.5")
    found = report(flexhyca("simulate", topology, *options, "--json", "-"))
    alone = report(flexhyca("simulate", topology, "--batch", "2", "--json", "-"))
    assert not {"clock_mhz", "real_time"} & {*plain, *alone}
    assert found["total_cycles"] == alone["total_cycles"]
    assert found["clock_mhz"] == 400.5
    time, moved = found["real_time"], sum(found["dram_bytes"].values())
    assert time["seconds"] == pytest.approx(found["total_cycles"] / 400.5e6)
    assert time["images_per_second"] == pytest.approx(2 / time["seconds"])
    assert time["dram_gigabytes_per_second"] == pytest.approx(moved / time["seconds"] / 1e9)
    shown = flexhyca("simulate", topology, *options).out.splitlines()[2]
    assert shown == (
        f"  at 400.5 MHz {1e3 * time['seconds']:.3g} ms, {time['images_per_second']:,.4g} images "
        f"a second, {time['dram_gigabytes_per_second']:.3g} GB/s from and to DRAM"
    )


def test_scalesim_timing_and_dataflow(flexhyca: Command, topology: str) -> None:
    flags = ("--timing", "scalesim", "--dataflow", "ws", "--json", "-")
    found = report(flexhyca("simulate", topology, *flags))
    folds = 3 * 1  # ceil(72 / 32) ceil(32 / 32)
    assert found["layers"][0]["cycles"] == folds * (32 * 32 + 2 * 32 + 32 - 2) - 1
    assert found["placement"] is None


def test_placement_changes_traffic(flexhyca: Command, topology: str) -> None:
    traffic = {}
    for placement in ("random", "clustered"):
        run = flexhyca("simulate", topology, "--placement", placement, "--json", "-")
        found = report(run)
        assert found["placement"] == placement
        traffic[placement] = found["dram_bytes"]["dppu_operand"]
    assert traffic["clustered"] > 2 * traffic["random"]


def test_a_topology_compiles(flexhyca: Command, topology: str) -> None:
    run = flexhyca("compile", topology, "-o", "net.fhx", "--json", "-")
    assert report(run)["layers"] == 2
    assert Path("net.fhx").stat().st_size > 0


def test_networks_without_images_are_only_timed(flexhyca: Command, topology: str) -> None:
    run = flexhyca("simulate", "lenet5", "--json", "-")
    found = report(run)
    assert found["placement"] == "gradient"
    assert found["macs"] == 416_520
    assert run.err.splitlines() == [
        "warning: lenet5: seeded random weights (seed 0): accuracy means nothing; pass a "
        "checkpoint for real ones",
        "warning: lenet5: no images given, so important neurons are ranked on noise and mean "
        "nothing; give --data FILE, or --placement clustered",
    ]
    run = flexhyca("simulate", "lenet5", "--placement", "clustered", "--json", "-")
    assert len(run.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("simulate", "net.csv", "--weights", "w.npz"),
            "topology net.csv: shapes only; leave out weights, data, mean and std",
        ),
        (
            ("simulate", "net.csv", "--placement", "gradient"),
            "net: placement 'gradient' needs a float model; use random or clustered",
        ),
        (
            ("accuracy", "net.csv"),
            "net.csv is a topology, layer shapes without weights; only simulate, compile, "
            "sweep and compare take it",
        ),
        (("simulate", "none.csv"), "topology none.csv: no such file"),
    ],
)
def test_errors(flexhyca: Command, topology: str, arguments: tuple[str, ...], error: str) -> None:
    run = flexhyca(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err == f"error: {error}\n"
