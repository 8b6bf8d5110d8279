"""`flexhyca optimise`, `bits` and `study` as commands: files, resuming, and what is refused."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flexhyca import exploration
from flexhyca.config import load_config
from flexhyca.dse.space import PARAMETERS
from flexhyca.tests.cli.conftest import Command

SPACE = """
parameters:
  protection.s_th: [0, 0.05]
  protection.nb_th: [1, 2]
  protection.q_scale: [8, 11]
  dppu.size: [0, 32]
scenarios:
  mine: [{ber: 1.7e-3, accuracy: 0.9}]
"""
ASKED = ("optimise", "digits", "--space", "space.yaml", "--scenario", "mine", "--seed", "3")


@pytest.fixture
def space(in_tmp: Path) -> Path:
    (in_tmp / "space.yaml").write_text(SPACE)
    return in_tmp


def test_a_study_from_start_to_end(flexhyca: Command, space: Path) -> None:
    files = ("--out", "best.yaml", "--json", "o.json", "--csv", "o.csv", "--plot", "o.png")
    first = flexhyca(*ASKED, "--study", "s.db", *files)
    assert (first.code, first.err) == (0, "")
    result: dict[str, Any] = json.loads(Path("o.json").read_text())
    best = result["best"]
    assert {"parameters", "area_overhead", "confirmed", "accuracy", "interval"} <= set(best)
    assert {"cycles_ratio", "extra_traffic"} <= set(best)
    assert best["interval"][0] >= 0.9
    assert "winner:" in first.out
    assert Path("o.png").stat().st_size > 10_000
    rows = Path("o.csv").read_text().splitlines()
    assert len(rows) == 1 + len(result["evaluations"])
    assert load_config("best.yaml").protection.nb_th == best["parameters"]["protection.nb_th"]
    simulated = flexhyca("simulate", "digits", "--config", "best.yaml", "--images", "20")
    assert simulated.code == 0

    again = flexhyca("optimise", "--resume", "s.db", "--json", "-")
    assert (again.code, again.err) == (0, "")
    repeated = json.loads(again.out)
    assert repeated["computed"] == 0
    assert repeated["best"] == best

    shown = flexhyca("study", "show", "s.db")
    assert shown.code == 0
    assert "mine (0.9 acc0 at 0.0017): 1 began" in shown.out
    for target in ("e.csv", "e.parquet", "optuna.db", "e.png"):
        kind = "plot" if target.endswith("png") else "export"
        assert flexhyca("study", kind, "s.db", target).code == 0
        assert Path(target).stat().st_size > 100
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept = optuna.load_study(study_name="mine (0.9 acc0 at 0.0017)", storage="sqlite:///optuna.db")
    assert len(kept.trials) == len(result["evaluations"])
    refused = flexhyca("study", "export", "s.db", "optuna.db")
    assert (refused.code, refused.err) == (
        2,
        "error: optuna.db: is there already; give a new file\n",
    )
    verified = flexhyca("study", "verify", "s.db", "--results", "4")
    assert (verified.code, verified.out) == (0, "s.db: 4 results worked out again, 0 differ\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("optimise",), "give a MODEL, such as digits, or --resume FILE.db"),
        (("optimise", "--resume", "no.db"), "no.db: there is no such file"),
        (
            ("optimise", "digits", "--space", "tabel1"),
            "no search space 'tabel1': neither a readable YAML file nor one of full, paper, "
            "table1; did you mean table1?",
        ),
        (
            ("optimise", "digits", "--optimiser", "anneal"),
            "optimiser 'anneal': there is none; use gpyopt, walk, gpyopt-penalty, tpe, gp, random, "
            "grid",
        ),
        (
            ("optimise", "digits", "--front", "area"),
            "front area: give accuracy,area and, if wanted, cycles and traffic, each once",
        ),
        (("optimise", "digits", "--limit", "traffic"), "limit 'traffic': write KEY=VALUE, such as"),
        (("optimise", "digits", "--patterns", "25"), "patterns 25: give a multiple of 10"),
        (
            ("optimise", "resnet20"),
            "resnet20: faults need images; give an npz with --data FILE",
        ),
        (
            ("optimise", "digits", "--images", "20"),
            "data digits-test: 20 images leave 7 for the search and 13 to confirm what it finds",
        ),
        (("study", "show", "no.db"), "no.db: there is no such file"),
        (("bits", "digits", "--ber", "0.7"), "ber 0.7: give a number above 0 and up to 0.5"),
    ],
)
def test_what_is_refused(
    flexhyca: Command, in_tmp: Path, words: tuple[str, ...], error: str
) -> None:
    run = flexhyca(*words)
    assert (run.code, run.out) == (2, "")
    assert run.err.splitlines()[-1].startswith(f"error: {error}")
    assert not list(in_tmp.iterdir())


def test_resume_takes_all_from_the_study(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca("optimise", "--resume", "s.db", "--seed", "1")
    assert run.err == "error: --seed: --resume takes it from the study; leave one of them out\n"


def test_optimisers_are_listed(flexhyca: Command) -> None:
    run = flexhyca("optimise", "--list-optimisers")
    assert run.code == 0
    assert "gpyopt-penalty" in run.out
    assert flexhyca("optimize", "--list-optimisers").out == run.out


def test_bits(flexhyca: Command, in_tmp: Path) -> None:
    asked = ("bits", "digits", "--ber", "1.7e-3", "--patterns", "20")
    run = flexhyca(*asked, "--json", "b.json")
    assert (run.code, run.err) == (0, "")
    found = json.loads(Path("b.json").read_text())
    assert found["best"] is not None
    assert f"{len(found['tried'])} of 36 pairs evaluated" in run.out
    hopeless = flexhyca("bits", "digits", "--ber", "0.2", "--goal", "1", "--patterns", "20")
    assert (hopeless.code, hopeless.out) == (2, "")
    assert hopeless.err.startswith("error: goal 1 is impossible: without any fault the network")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("--front accuracy,area --out best.yaml", "--out: a Pareto set (--front) has no winner"),
        ("--front accuracy,area --optimiser walk", "--optimiser: a Pareto set (--front) has its"),
        ("--ber 1e-3 --scenario I", "--scenario: --ber gives the rates"),
        ("--ber 1e-3 --own-rates 1e-3,2e-3", "--own-rates: --ber gives the rates"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    flexhyca: Command, in_tmp: Path, words: str, error: str
) -> None:
    run = flexhyca("optimise", "digits", *words.split())
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"error: {error}")
    assert run.err.endswith("; leave one of them out\n")
    assert not list(in_tmp.iterdir())


def test_fields_of_a_space_are_listed(flexhyca: Command) -> None:
    run = flexhyca("optimise", "--list-parameters")
    assert run.code == 0
    for name in PARAMETERS:
        assert f"{name} " in run.out


def test_a_budget_that_ends_a_search_is_named(flexhyca: Command, space: Path) -> None:
    """And may be raised for a study that is gone on with, whose rows show what was judged."""
    first = flexhyca(*ASKED, "--optimiser", "walk", "--budget", "1", "--study", "s.db")
    assert first.code == 2
    assert "the budget ended the search; " in first.out
    assert "were not examined; --budget takes more" in first.out
    again = flexhyca("optimise", "--resume", "s.db", "--budget", "40")
    assert (again.code, again.err) == (0, "")
    assert "the budget" not in again.out
    assert flexhyca("study", "export", "s.db", "e.csv").code == 0
    with Path("e.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["winner"] == "True" for row in rows) == 1
    assert {row["verdict"] for row in rows} >= {"", "met"}
    assert "  winner  " in flexhyca("study", "show", "s.db").out


def test_a_changed_row_is_noticed(flexhyca: Command, space: Path) -> None:
    assert flexhyca(*ASKED, "--study", "s.db").code == 0
    with sqlite3.connect("s.db") as db:
        db.execute("UPDATE results SET content = '{}' WHERE stage = 'timing'")
    for words in ("show s.db", "export s.db e.csv", "plot s.db e.png", "verify s.db"):
        run = flexhyca("study", *words.split())
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith("error: s.db: ")
    assert [path.name for path in sorted(space.iterdir())] == ["s.db", "space.yaml"]


def test_a_study_without_its_request_is_damaged(flexhyca: Command, space: Path) -> None:
    assert flexhyca(*ASKED, "--study", "s.db").code == 0
    with sqlite3.connect("s.db") as db:
        db.execute("DELETE FROM request")
    for words in ("study show s.db", "study verify s.db", "optimise --resume s.db"):
        run = flexhyca(*words.split())
        assert (run.code, run.out) == (2, "")
        assert run.err.startswith("error: s.db: is damaged (0 requests); ")


def test_a_field_that_is_searched_is_not_set(flexhyca: Command, space: Path) -> None:
    run = flexhyca(*ASKED, "--set", "protection.nb_th=2")
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("error: set protection.nb_th=2: space searches this field")


def test_studies_by_name_from_python(space: Path) -> None:
    asked: dict[str, Any] = {"space": "space.yaml", "scenario": "mine", "seed": 3}
    first = exploration.optimise("digits", study="s.db", **asked)
    again = exploration.optimise("digits", reuse=["s.db"], **asked)
    assert again.report["computed"] == 0
    assert again.report["best"] == first.report["best"]
