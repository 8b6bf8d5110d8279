"""--pe-map, --pe-map-out and --repair."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]  # conftest: arguments -> code, out, err
HYCA = ("--config", "hyca-32x32", "--set", "protection.s_th=0")


def test_repair_gives_the_accuracy_back_and_costs_cycles(flexhyca: Command, in_tmp: Path) -> None:
    common = ("simulate", "digits", "--images", "40", *HYCA, "--json", "-")
    clean, stuck, repaired = (
        json.loads(flexhyca(*common, *more).out)
        for more in (
            ("--seed", "1"),
            ("--seed", "1", "--pe-map", "50", "--no-repair", "--pe-map-out", "m.yaml"),
            ("--pe-map", "m.yaml"),
        )
    )
    assert (clean["stuck_pes"], clean["pe_map"], clean["repaired"]) == (0, [], False)
    assert "fault_free" not in clean["accuracy"]
    assert stuck["stuck_pes"] == repaired["stuck_pes"] == 50
    assert stuck["pe_map"] == repaired["pe_map"]
    assert stuck["accuracy"]["int8"] < 0.9 < stuck["accuracy"]["fault_free"]
    assert repaired["accuracy"]["int8"] == clean["accuracy"]["int8"]
    assert (stuck["repaired_neurons"], stuck["total_cycles"]) == (0, clean["total_cycles"])
    assert repaired["repaired_neurons"] > 0 == repaired["important_neurons"]
    assert repaired["total_cycles"] > clean["total_cycles"]


def test_a_program_says_which_chip_it_is_for(flexhyca: Command, in_tmp: Path) -> None:
    Path("m.yaml").write_text("- {row: 0, col: 0}\n")
    run = flexhyca("compile", "digits", *HYCA, "--pe-map", "m.yaml", "-o", "x.fhx")
    told = "1 stuck PE, repaired by the DPPU, which recomputes 7 neurons"
    assert run.out.splitlines()[1] == f"x.fhx: for a chip with {told}"
    assert f"  {told}\n" in flexhyca("simulate", "x.fhx").out
    run = flexhyca("simulate", "x.fhx", "--pe-map", "m.yaml")
    assert (run.code, run.err) == (
        2,
        "error: x.fhx: --pe-map cannot change a compiled program; leave it out, or simulate the "
        "model itself\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--pe-map", "2000"),
            "pe-map: 2000 stuck PEs, and the array has 32 x 32 = 1024; draw 0..1024",
        ),
        (
            ("--pe-map", "1.5"),
            "1.5: No such file or directory; give a YAML file of stuck PEs, or how many to draw",
        ),
        (
            ("--scheme", "base", "--pe-map", "3", "--repair"),
            "digits: repair of stuck PEs: flexhyca-32x32 has no DPPU that recomputes their sums "
            "(dppu.size, array.dataflow os, timing native); give it one, or leave repair out",
        ),
    ],
)
def test_errors(flexhyca: Command, arguments: tuple[str, ...], message: str) -> None:
    run = flexhyca("simulate", "digits", "--no-values", *arguments)
    assert (run.code, run.out, run.err) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize("option", ["--repair", "--no-repair", "--pe-map-out=m.yaml"])
def test_what_is_of_a_map_needs_one(flexhyca: Command, in_tmp: Path, option: str) -> None:
    run = flexhyca("simulate", "digits", "--no-values", option)
    assert run.code == 2
    assert "is of stuck PEs: give --pe-map" in run.err
