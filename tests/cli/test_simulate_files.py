"""`simulate --trace --layers --plot`: files beside the table, and what bounds each layer."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexhyca.report import trace

Command = Callable[..., Any]  # conftest: arguments -> code, out, err

TOPOLOGY = """Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num, Strides,
Conv1, 34, 34, 3, 3, 8, 32, 1,
FC, 1, 1, 1, 1, 512, 100, 1,
"""


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.csv").write_text(TOPOLOGY)
    return tmp_path


def test_all_files_of_one_run(flexhyca: Command, in_tmp: Path) -> None:
    files = ("--trace", "out.json", "--layers", "layers.csv", "--plot", "stalls.png")
    run = flexhyca("simulate", "digits", "--no-values", "--json", "-", *files)
    assert (run.code, run.err) == (0, "")
    report = json.loads(run.out)
    names = {path.name for path in in_tmp.iterdir()}
    assert names == {"net.csv", "out.json", "layers.csv", "stalls.png"}

    found = json.loads((in_tmp / "out.json").read_text())
    assert found["otherData"]["cycles"] == report["total_cycles"]
    assert found["otherData"]["config_hash"] == report["config_hash"]
    busy = sum(
        event["dur"]
        for event in found["traceEvents"]
        if event["ph"] == "X"
        and event["tid"] == trace.TRACKS.index("ARRAY") + 1
        and event["cat"] == "busy"
    )
    assert busy == report["busy"]["array"]

    with (in_tmp / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [layer["name"] for layer in report["layers"]]
    for row, layer in zip(rows, report["layers"], strict=True):
        assert row["bound"] == layer["bound"]
        assert float(row["bound_share"]) == layer["bound_share"]
    assert sum(int(row["cycles"]) for row in rows) == report["total_cycles"]
    assert sum(int(row["bytes.weight"]) for row in rows) == report["dram_bytes"]["weight"]
    assert sum(int(row["dppu.array"]) for row in rows) == report["stalls"]["dppu"]["array"]


def test_a_trace_changes_no_number_of_the_report(flexhyca: Command) -> None:
    reports = []
    for extra in ((), ("--trace", "out.json.gz")):
        run = flexhyca("simulate", "digits", "--no-values", "--json", "-", *extra)
        report = json.loads(run.out)
        reports.append({k: v for k, v in report.items() if not k.endswith("_seconds")})
    assert reports[0] == reports[1]
    json.loads(gzip.decompress(Path("out.json.gz").read_bytes()))


def test_the_table_says_what_bounds_each_layer(flexhyca: Command) -> None:
    run = flexhyca("simulate", "digits", "--no-values")
    report = json.loads(flexhyca("simulate", "digits", "--no-values", "--json", "-").out)
    lines = run.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("name "))
    assert lines[first].split()[-2:] == ["bound", "share"]
    for line, layer in zip(lines[first + 1 :], report["layers"], strict=False):
        assert line.split()[0] == layer["name"]
        assert line.split()[-2:] == [layer["bound"], f"{layer['bound_share']:.0%}"]
    assert {layer["bound"] for layer in report["layers"]} >= {"compute", "dram"}
    assert all(len(line) <= 100 for line in lines[first:])


def test_some_layers_tile_by_tile(flexhyca: Command) -> None:
    run = flexhyca(
        *("simulate", "digits", "--no-values", "--trace", "out.json"),
        *("--trace-layers", "conv1,*pool2d"),
    )
    assert (run.code, run.err) == (0, "")
    found = json.loads(Path("out.json").read_text())
    assert found["otherData"]["tiles_of"] == "conv1, max_pool2d, avg_pool2d"
    tiles = {e["args"]["layer"] for e in found["traceEvents"] if "pc" in e["args"]}
    assert tiles == {"conv1", "max_pool2d", "avg_pool2d"}


def test_too_many_slices_are_said_to_be_rolled_up(
    flexhyca: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "MOST_SLICES", 10)
    run = flexhyca("simulate", "net.csv", "--trace", "out.json")
    found = json.loads(Path("out.json").read_text())
    assert found["otherData"]["tiles_of"] == "no layer"
    (line,) = run.err.splitlines()
    assert line.startswith("out.json: one slice for each engine, layer and state, because its ")
    assert line.endswith(
        " slices are more than 10; see the tiles of some layers with --trace-layers LIST"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("net.csv", "--timing", "scalesim", "--trace", "out.json"),
            "error: a trace needs timing 'native': SCALE-Sim's count knows no engines over time",
        ),
        (
            ("net.csv", "--trace", "out.json", "--trace-layers", "Conv2"),
            "error: no layer is called 'Conv2'; near it: Conv1 (2 layers; * stands for any text)",
        ),
        (
            ("net.csv", "--trace", "no/out.json"),
            "error: no/out.json: the folder {tmp}/no does not exist; create it first",
        ),
        (("net.csv", "--trace", "out.txt"), "out.txt must end in .json or .json.gz"),
        (("net.csv", "--layers", "-"), "- must end in .csv"),
        (("net.csv", "--plot", "stalls.jpg"), "stalls.jpg must end in .png, .svg or .pdf"),
        (("net.csv", "--plot", ".png"), ".png must end in .png, .svg or .pdf"),
        (("net.csv", "--trace-layers", "fc"), "says what --trace FILE draws: give both"),
    ],
)
def test_errors(flexhyca: Command, in_tmp: Path, arguments: tuple[str, ...], error: str) -> None:
    run = flexhyca("simulate", *arguments)
    assert (run.code, run.out) == (2, "")
    assert error.replace("{tmp}", str(in_tmp)) in run.err
    assert [path.name for path in in_tmp.iterdir()] == ["net.csv"]


def test_a_published_count_has_rows_and_a_plot(flexhyca: Command) -> None:
    files = ("--layers", "layers.csv", "--plot", "layers.svg")
    run = flexhyca("simulate", "net.csv", "--timing", "scalesim", *files)
    assert run.code == 0
    with Path("layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["bound"], row["array.busy"] == row["cycles"]) for row in rows] == [
        ("compute", True)
    ] * 2


def test_a_compiled_program_costs_what_its_model_does(flexhyca: Command, in_tmp: Path) -> None:
    assert flexhyca("compile", "digits", "-o", "d.fhx").code == 0
    ours, theirs = (
        json.loads(flexhyca("simulate", model, "--no-values", "--json", "-").out)
        for model in ("d.fhx", "digits")
    )
    same = "model", "config_hash", "total_cycles", "dram_bytes", "busy", "stalls", "layers"
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}
    run = flexhyca("simulate", "d.fhx", "--set", "dppu.size=4")
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        "error: d.fhx: --set (or --dataflow, --timing) cannot change a compiled program; leave it "
        "out, or simulate the model itself\n"
    )
    assert flexhyca("simulate", "d.fhx").out.startswith("digits on flexhyca-32x32")
