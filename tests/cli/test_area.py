"""`flexhyca area` and `flexhyca hdl` as a user runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

Command = Callable[..., Any]  # conftest: arguments -> code, out, err


def test_area_of_a_pe(flexhyca: Command) -> None:
    run = flexhyca("area", "pe", "--protect", 1, "--json", "-")
    assert (run.code, run.err) == (0, "")
    report = json.loads(run.out)
    assert report["relative"] == pytest.approx(1.165, abs=0.001)
    assert set(report["parts"]) >= {"multiplier", "accumulator", "registers", "voters", "muxes"}
    assert sum(report["parts"].values()) == pytest.approx(report["area_ge"])
    assert report["depth"] > 0 < report["fanout"]


def test_a_pe_that_cannot_be(flexhyca: Command) -> None:
    run = flexhyca("area", "pe", "--q-scale", 17)
    assert (run.code, run.out) == (2, "")
    assert run.err == (
        "error: --q-scale 17 exceeds acc_bits - act_bits = 16, the highest truncation bit\n"
    )


def test_a_library_of_the_users(flexhyca: Command, tmp_path: Path) -> None:
    from flexhyca.hdl.rtl.liberty import liberty

    own = tmp_path / "own.lib"
    own.write_text(liberty("sky130"))
    run = flexhyca("area", "pe", "--liberty", own, "--json", "-")
    assert json.loads(run.out)["liberty"]["relative"] > 1.1
    own.write_text("library (bad) {")
    run = flexhyca("area", "pe", "--liberty", own)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith(f"error: {own}: the circuit cannot be mapped to it: Yosys stopped")
    assert run.err.count("\n") == 1
    run = flexhyca("area", "pe", "--liberty", tmp_path / "none.lib")
    assert run.code == 2
    assert "none.lib: cannot be read: " in run.err


def test_area_of_a_machine(flexhyca: Command) -> None:
    run = flexhyca("area", "array", "--json", "-")
    report = json.loads(run.out)
    assert report["scopes"][0]["name"] == "computing array"
    assert report["scopes"][0]["relative"] == pytest.approx(1.24, abs=0.001)
    run = flexhyca("area", "array", "--scheme", "tmr_arch")
    assert run.code == 0
    assert "voters of the array" in run.out


def test_figures_of_a_machine_that_protects_nothing(flexhyca: Command, tmp_path: Path) -> None:
    run = flexhyca("area", "figures", "-c", "base-32x32", "--out", tmp_path / "figures")
    assert run.code == 2
    assert run.err.startswith("error: base-32x32 as Fig. 12 varies it: protection.nb_th = 1 needs ")
    assert "set nb_th to 0, or pe_policy to direct or configurable" in run.err
    assert not (tmp_path / "figures").exists()


def test_figures(flexhyca: Command, tmp_path: Path) -> None:
    run = flexhyca("area", "figures", "--out", tmp_path / "figures")
    assert run.code == 0
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["fig12.csv", "fig12.png", "fig14.csv", "fig14.png"]
    assert "multiplier: direct against unconstrained, mean of the reductions" in run.out


def test_the_table_as_csv(flexhyca: Command, tmp_path: Path) -> None:
    run = flexhyca("area", "table", "--csv", tmp_path / "area.csv")
    assert run.code == 0
    lines = (tmp_path / "area.csv").read_text().splitlines()
    assert len(lines) == 343
    assert lines[0].startswith("multiplier,policy,overflow,protect,q_scale")


def test_rankings_of_the_table(flexhyca: Command, tmp_path: Path) -> None:
    lines = flexhyca("area", "table", "--ranking").out.splitlines()
    rows = [line.split() for line in lines]
    assert rows[0] == ["multiplier", "policy", "pairs", "optimised", "sky130"]
    assert ["wallace", "direct", "3,570", "16", "0"] in rows  # docs/hardware.md
    assert ["array", "all", "14,535", "583", "184"] in rows
    assert len(rows) == 7
    assert flexhyca("area", "table", "--ranking", "--csv", tmp_path / "r.csv").code == 0
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert (len(lines), lines[1]) == (7, "wallace,direct,3570,16,0")
    refused = flexhyca("area", "table", "--out", tmp_path / "t.json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "error: area table: --out and --workers go with --rebuild\n"


@pytest.mark.parametrize("what", ["pe", "dppu", "array"])
def test_verilog_to_take_away(flexhyca: Command, tmp_path: Path, what: str) -> None:
    size = ["--rows", 2, "--cols", 3] if what == "array" else []
    run = flexhyca("hdl", "emit", what, *size, "--out", tmp_path / "rtl")
    assert run.code == 0
    text = (tmp_path / "rtl" / f"{what}.v").read_text()
    assert text.startswith("// ")
    assert "endmodule" in text


def test_no_dppu_to_emit(flexhyca: Command, tmp_path: Path) -> None:
    run = flexhyca("hdl", "emit", "dppu", "--config", "base-32x32", "--out", tmp_path)
    assert run.code == 2
    assert run.err == "error: hdl emit dppu: the configuration has no DPPU (dppu.size is 0)\n"


def test_every_multiplier_and_policy_can_be_asked_for() -> None:
    from flexhyca.cli.area import AreaPolicy, MultiplierKind
    from flexhyca.hdl.netlist.design import Policy
    from flexhyca.hdl.netlist.multipliers import MULTIPLIERS

    assert get_args(AreaPolicy) == get_args(Policy)
    assert get_args(get_args(MultiplierKind)[0]) == MULTIPLIERS
