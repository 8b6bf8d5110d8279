"""The commands end to end on `digits`: JSON, files, round trips, errors."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flexhyca.compiler.networks import NETWORKS
from flexhyca.config import choices, load_config

Command = Callable[..., Any]  # conftest: arguments -> code, out, err
KINDS = {"ifmap", "weight", "bias", "ofmap", "position_table", "dppu_operand", "instruction"}


def only_json(text: str) -> Any:
    return json.loads(text)


def test_simulate_reports_what_the_readme_promises(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca("simulate", "digits", "--images", 40, "--json", "-")
    assert (run.code, run.err) == (0, "")
    report = only_json(run.out)
    assert report["model"] == "digits"
    assert report["config"] == "flexhyca-32x32"
    assert report["config_hash"] == load_config().config_hash
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"]) == 600_320
    assert report["total_cycles"] == sum(layer["cycles"] for layer in report["layers"])
    assert report["utilization"] == report["macs"] / (1024 * report["total_cycles"])
    assert report["important_neurons"] > 0
    assert report["accuracy"]["images"] == 40
    assert report["accuracy"]["int8"] >= 0.97
    low, high = report["accuracy"]["int8_interval"]
    assert 0.85 < low < report["accuracy"]["int8"] <= high
    assert set(report["dram_bytes"]) == KINDS
    for kind in KINDS:
        by_layer = sum(layer["dram_bytes"][kind] for layer in report["layers"])
        assert by_layer == report["dram_bytes"][kind]
    for engine, stalls in report["stalls"].items():
        assert report["busy"][engine] + sum(stalls.values()) == report["total_cycles"]
    layer_keys = {"name", "op", "cycles", "tiles", "macs", "utilization", "bound"}
    layer_keys |= {"bound_share", "busy", "stalls", "dram_bytes", "activation_bytes"}
    assert all(set(layer) == layer_keys for layer in report["layers"])
    assert {f"{step}_seconds" for step in ("simulate", "compile", "quantize", "importance")} <= set(
        report
    )
    assert not list(in_tmp.iterdir())


def test_cycles_do_not_depend_on_values(flexhyca: Command, in_tmp: Path) -> None:
    reports = []
    for extra in (["--no-values"], ["--images", 3], ["--images", 3, "--values", "machine"]):
        run = flexhyca("simulate", "digits", "--json", "out.json", *extra)
        assert run.code == 0
        assert run.out.startswith("digits on flexhyca-32x32 (")
        reports.append(json.loads((in_tmp / "out.json").read_text()))
    none, fast, machine = reports
    assert "accuracy" not in none
    assert fast["accuracy"] == machine["accuracy"]
    for key in ("total_cycles", "dram_bytes", "stalls", "layers", "macs"):
        assert none[key] == fast[key] == machine[key]


def test_users_data_and_batches(flexhyca: Command, in_tmp: Path) -> None:
    from flexhyca.compiler.data import digits_dataset

    data = digits_dataset()
    np.savez("mine.npz", images=data.images[:30, ..., 0], labels=data.labels[:30])
    run = flexhyca("simulate", "digits", "--data", "mine.npz", "--batch", 4, "--json", "-")
    report = only_json(run.out)
    assert report["accuracy"]["images"] == 30
    assert report["batch"] == 4
    assert report["macs"] == 4 * 600_320
    np.savez("bare.npz", images=data.images[:30])
    run = flexhyca("simulate", "digits", "--data", "bare.npz", "--json", "-")
    assert "accuracy" not in only_json(run.out)


def test_compile_disasm_asm_give_the_same_bits(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca("compile", "digits", "-o", "digits.fhx", "--json", "-")
    summary = only_json(run.out)
    assert (run.code, summary["file"]) == (0, "digits.fhx")
    assert summary["bytes"] == (in_tmp / "digits.fhx").stat().st_size
    assert flexhyca("disasm", "digits.fhx", "-o", "d.fhs").out == ""
    assert flexhyca("disasm", "digits.fhx").out == (in_tmp / "d.fhs").read_text()
    run = flexhyca("asm", "d.fhs", "-o", "again.fhx")
    assert run.code == 0
    assert run.out == (
        f"again.fhx: {summary['instructions']:,} instructions for {summary['layers']} layers\n"
    )
    assert (in_tmp / "again.fhx").read_bytes() == (in_tmp / "digits.fhx").read_bytes()
    assert flexhyca("compile", "digits", "-o", "b.fhx").code == 0
    assert (in_tmp / "b.fhx").read_bytes() == (in_tmp / "digits.fhx").read_bytes()


def test_accuracy_draws_the_curve(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca(
        *("accuracy", "digits", "--images", 50, "--q-scale", "0,14..16", "--json", "-"),
        *("--csv", "curve.csv", "--plot", "curve.svg"),
    )
    assert (run.code, run.err) == (0, "")
    curve = only_json(run.out)
    points = {(p["overflow"], p["q_scale"]): p for p in curve["points"]}
    assert list(points) == [(o, q) for o in choices("arithmetic.overflow") for q in (0, 14, 15, 16)]
    for rule in choices("arithmetic.overflow"):
        assert points[rule, 0]["accuracy"] >= 0.97
        low = points[rule, 16]
        assert low["error"] if low["accuracy"] is None else low["accuracy"] < 0.5
    assert curve["float"] >= 0.97
    rows = list(csv.DictReader((in_tmp / "curve.csv").open()))
    assert [row["q_scale"] for row in rows[:4]] == ["0", "14", "15", "16"]
    assert "<svg" in (in_tmp / "curve.svg").read_text()
    assert sorted(path.name for path in in_tmp.iterdir()) == ["curve.csv", "curve.svg"]


def test_a_model_without_weights_or_data_says_so(flexhyca: Command, in_tmp: Path) -> None:
    arguments = ("simulate", "resnet20", "--no-values", "--json", "-")
    run = flexhyca(*arguments, "--set", "protection.s_th=0")
    assert run.code == 0
    assert only_json(run.out)["important_neurons"] == 0
    assert run.err.splitlines() == [
        "warning: resnet20: seeded random weights (seed 0): accuracy means nothing; "
        "pass a checkpoint for real ones",
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("simulate", "digit"),
            f"unknown network 'digit'; known are {', '.join(NETWORKS)}, and .onnx files",
        ),
        (
            ("simulate", "digits", "--data", "none.npz"),
            "data none.npz: no such file",
        ),
        (
            ("simulate", "digits", "--weights", "none.npz"),
            "weights none.npz: no such file",
        ),
        (
            ("accuracy", "resnet20", "--images", "1"),
            "model resnet20 comes without images; give an npz with --data FILE",
        ),
        (
            ("compile", "digits", "-o", "missing/digits.fhx"),
            "missing/digits.fhx: the folder {cwd}/missing does not exist; create it first",
        ),
    ],
)
def test_errors(arguments: tuple[str, ...], error: str, flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca(*arguments, "--json", "out.json")
    lines = [line for line in run.err.splitlines() if not line.startswith("warning: ")]
    assert lines == [f"error: {error.replace('{cwd}', str(in_tmp))}"]
    assert (run.code, run.out) == (2, "")
    assert not list(in_tmp.iterdir())
