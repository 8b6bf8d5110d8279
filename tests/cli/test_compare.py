"""`flexhyca compare` as a command: tables, files, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flexhyca.config.schemes import REDUNDANT_SCHEMES, SCHEMES
from flexhyca.tests.cli.conftest import Command

GIVEN = ("compare", "digits", "--ber", "2e-3,3.4e-3", "--goal", "0.97", "--patterns", 10)
TIMED = ("compare", "digits", "--no-accuracy")
TOPOLOGY = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, \
Num Filter, Strides,
conv, 8, 8, 3, 3, 8, 16, 1,
"""


def test_without_a_model_the_table_of_schemes(flexhyca: Command) -> None:
    run = flexhyca("compare", "--json", "-")
    assert (run.code, list(json.loads(run.out))) == (0, list(SCHEMES))
    assert len(flexhyca("compare").out.splitlines()) == 1 + len(SCHEMES)
    assert flexhyca("schemes").code == 2


def test_rows_say_what_simulate_says(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca(*TIMED, "--protect", "conv[23]", "--json", "-", "--plot", "x.svg")
    assert (run.code, run.err) == (0, "")
    report = json.loads(run.out)
    assert report["protected_layers"] == ["conv2", "conv3"]
    assert report["protected_macs"] == pytest.approx((294912 + 147456) / 600320)
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == list(SCHEMES)
    for name in (*REDUNDANT_SCHEMES, "tmr_cl"):
        row = rows[name]
        protect = ("--protect", "conv2,conv3") if SCHEMES[name].redundant else ()
        options = ("--no-values", "--scheme", name, *protect, "--json", "-")
        one = flexhyca("simulate", "digits", *options)
        found = json.loads(one.out)
        assert found["scheme"] == name
        assert row["total_cycles"] == found["total_cycles"]
        assert row["dram_total"] == sum(found["dram_bytes"].values())
    assert rows["base"]["cycles_over_base"] == 1
    crt = [row for name, row in rows.items() if name.startswith("tmr_crt")]
    assert len(crt) == 9
    assert all(row["cycles_over_base"] == 1 and row["extra_total"] == 0 for row in crt)
    assert rows["tmr_alg"]["cycles_over_base"] > 1.4 > 1.1 > rows["tmr_cl"]["cycles_over_base"]
    # Operands are loaded once, as the mapping of three runs has it.
    assert rows["tmr_alg"]["extra_total"] == pytest.approx(0, abs=0.02)
    assert rows["tmr_alg"]["verdict"] == "missed"
    assert rows["tmr_cl"]["important_neurons"] > 0
    assert (in_tmp / "x.svg").stat().st_size > 10_000


def test_tables_and_files(flexhyca: Command, in_tmp: Path) -> None:
    Path("mine.yaml").write_text("extends: flexhyca-32x32\nprotection: {q_scale: 8}\n")
    files = ("--csv", "a.csv", "--plot", "a.png", "--json", "a.json", "--study", "a.db")
    chosen = ("--schemes", "base,tmr_alg,tmr_cl", "--design", "mine.yaml")
    run = flexhyca(*GIVEN, *chosen, *files)
    assert (run.code, run.err) == (0, "")
    lines = run.out.splitlines()
    last = "tmr_alg is not possible: no layer is named that it protects; give --protect LAYER"
    assert lines[-1].startswith(last)
    assert max(map(len, lines[:-1])) <= 100
    assert "95 % intervals over patterns, for these images" in run.out
    assert sum(line.startswith("mine ") for line in lines) == 4  # two of costs, one a rate
    report = json.loads(Path("a.json").read_text())
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["base", "tmr_alg", "tmr_cl", "mine"]
    cl, own = rows[2], report["rows"][2]
    for i, at in enumerate(("@0.002", "@0.0034")):
        for name in ("accuracy", "loss", "minus_before"):
            interval = own["rates"][i][name]
            for part, column in (("estimate", ""), ("low", "_low"), ("high", "_high")):
                assert float(cl[f"{name}{column}{at}"]) == interval[part]
        assert cl[f"verdict{at}"] == own["rates"][i]["verdict"]
        assert cl[f"minus_tmr_cl{at}"] == ""
    assert own["before"] == "base"
    assert Path("a.png").stat().st_size > 10_000
    again = flexhyca(*GIVEN, *chosen, "--reuse", "a.db", "--json", "-")
    assert json.loads(again.out) == {**report, "computed": 0}


@pytest.mark.slow
def test_workers_do_not_change_the_result(flexhyca: Command) -> None:
    def found(*more: object) -> dict[str, Any]:
        run = flexhyca(*GIVEN, "--protect", "*", "--json", "-", *more)
        report: dict[str, Any] = json.loads(run.out)
        return report

    assert found() == found("--workers", 2)
    timed = (*TIMED, "--protect", "*", "--placement", "random", "--json", "-")
    assert flexhyca(*timed).out == flexhyca(*timed, "--workers", 2).out


def test_shapes_alone_have_time_and_area(flexhyca: Command, in_tmp: Path) -> None:
    Path("t.csv").write_text(TOPOLOGY)
    run = flexhyca("compare", "t.csv", "--schemes", "base,tmr_cl", "--json", "-")
    assert run.code == 0
    assert run.err == (
        "t.csv: a topology has no values: only time, traffic and area are compared\n"
    )
    report = json.loads(run.out)
    assert (report["acc0"], report["placement"]) == (None, "clustered")
    assert [row["rates"] for row in report["rows"]] == [[], []]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--schemes", "tmr_cll"), "scheme 'tmr_cll' does not exist; did you mean tmr_cl?"),
        (("--design", "no.yaml"), "no configuration 'no.yaml': neither a file nor one of "),
        (
            ("--design", "in/base.yaml"),
            "two rows are called base; give it once, or rename a design's file",
        ),
        (("--goal", "0.9"), "goal: give the rate it holds at, too, such as --ber 1e-4"),
        (("--patterns", 15), "patterns 15: give a multiple of 10"),
        (("--own-rates", "1e-3"), "own-rates: give two, such as 1.7e-3,3.4e-3"),
        (("--limit", "traffic"), "limit 'traffic': write KEY=VALUE, such as traffic=0.2"),
        (
            ("--design", "in/mine.yaml", "--csv", "in/link.csv"),
            "in/link.csv: is read by this command, which would overwrite it; give another file",
        ),
        (
            ("--csv", "x.csv", "--json", "x.csv"),
            "x.csv: is named twice; results need files of their own",
        ),
        (
            ("--protect", "pool"),
            "protect: no layer is called 'pool'; near it: conv1, conv2, conv3 (5 layers; * stands "
            "for any text)",
        ),
        (
            ("--schemes", "tmr_alg"),
            "tmr_alg: no layer is named that it protects; give --protect LAYER,... ('*' is all of "
            "them)",
        ),
        (
            ("--schemes", "base,tmr_crt1", "--protect", "fc"),
            "protect: base,tmr_crt1 computes nothing three times; leave it out, or compare "
            f"{' or '.join(REDUNDANT_SCHEMES)}, too",
        ),
        (
            ("--no-accuracy", "--ber", "1e-3"),
            "--ber: there is no accuracy with --no-accuracy; leave one of them out",
        ),
        (
            ("--images", 19),
            "data digits-test: 19 images leave 7 for the search and 12 to confirm what it finds",
        ),
    ],
)
def test_what_is_refused(
    flexhyca: Command, in_tmp: Path, words: tuple[object, ...], error: str
) -> None:
    Path("in").mkdir()
    for name in ("base", "mine"):
        Path(f"in/{name}.yaml").write_text("extends: base-32x32\n")
    Path("in/link.csv").symlink_to("mine.yaml")
    before = sorted(in_tmp.rglob("*"))
    study = () if "--no-accuracy" in words else ("--study", "s.db")
    run = flexhyca("compare", "digits", *words, *study)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"error: {error}")
    assert len(run.err.splitlines()) == 1
    assert sorted(in_tmp.rglob("*")) == before
