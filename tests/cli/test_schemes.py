"""``flexhyca schemes``, and --scheme and --protect wherever they are taken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexhyca.config.schemes import REDUNDANT_SCHEMES, SCHEMES

Command = Callable[..., Any]  # conftest: arguments -> code, out, err


def test_without_a_model_the_table_of_schemes(flexhyca: Command) -> None:
    run = flexhyca("schemes", "--json", "-")
    assert (run.code, list(json.loads(run.out))) == (0, list(SCHEMES))
    assert len(flexhyca("schemes").out.splitlines()) == 1 + len(SCHEMES)


def test_rows_say_what_simulate_says(flexhyca: Command, in_tmp: Path) -> None:
    run = flexhyca("schemes", "digits", "--protect", "conv[23]", "--json", "-", "--plot", "x.svg")
    assert (run.code, run.err) == (0, "")
    report = json.loads(run.out)
    assert report["protected_layers"] == ["conv2", "conv3"]
    assert report["protected_macs"] == pytest.approx((294912 + 147456) / 600320)
    rows = {row["scheme"]: row for row in report["schemes"]}
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
    assert len(crt) == 6
    assert all(row["cycles_over_base"] == 1 and row["extra_total"] == 0 for row in crt)
    assert rows["tmr_alg"]["cycles_over_base"] > 1.4 > 1.1 > rows["tmr_cl"]["cycles_over_base"]
    assert rows["tmr_alg"]["extra_total"] == 0
    assert rows["tmr_cl"]["important_neurons"] > 0
    assert (in_tmp / "x.svg").stat().st_size > 10_000


def test_schemes_without_their_layers_are_left_out(flexhyca: Command) -> None:
    run = flexhyca("schemes", "digits", "--scheme", "tmr_alg,base", "--json", "-")
    assert run.err == (
        "left out: tmr_alg; name the sensitive layers with --protect LAYER,... ('*' is all of "
        "them)\n"
    )
    assert [row["scheme"] for row in json.loads(run.out)["schemes"]] == ["base"]
    assert json.loads(run.out)["placement"] is None


@pytest.mark.slow
def test_workers_do_not_change_the_result(flexhyca: Command) -> None:
    command = ("schemes", "digits", "--protect", "*", "--placement", "random", "--json", "-")
    assert flexhyca(*command).out == flexhyca(*command, "--workers", 2).out


def test_a_compiled_program_keeps_its_scheme(flexhyca: Command, in_tmp: Path) -> None:
    scheme = ("--scheme", "tmr_arch", "--protect", "conv2")
    assert flexhyca("compile", "digits", "-o", "x.fhx", *scheme).code == 0
    compiled, direct = (
        json.loads(flexhyca(*command, "--json", "-").out)
        for command in (("simulate", "x.fhx"), ("simulate", "digits", "--no-values", *scheme))
    )
    assert compiled["total_cycles"] == direct["total_cycles"]
    assert compiled["macs_by_unit"]["array_copies"] == 2 * 294912
    run = flexhyca("simulate", "x.fhx", *scheme)
    assert run.err == (
        "error: x.fhx: --scheme cannot change a compiled program; leave it out, or simulate the "
        "model itself\n"
    )


def test_protect_goes_with_a_redundancy_of_the_configuration(flexhyca: Command) -> None:
    own = ("--config", "base-32x32", "--set", "protection.redundancy=time_refetch")
    run = flexhyca("simulate", "digits", "--no-values", *own, "--protect", "fc", "--json", "-")
    by_layer = {row["name"]: row["dram_bytes"] for row in json.loads(run.out)["layers"]}
    assert by_layer["fc"]["weight"] == 3 * 1280
    assert by_layer["conv4"]["weight"] == 9 * 32 * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("simulate", "digits", "--scheme", "tmr_arhc"),
            "scheme 'tmr_arhc' does not exist; did you mean tmr_arch?",
        ),
        (
            ("simulate", "digits", "--scheme", "tmr_arch"),
            "scheme tmr_arch: no layer is named that it protects; give --protect LAYER,... ('*' is "
            "all of them)",
        ),
        (
            ("simulate", "digits", "--protect", "conv1"),
            "--protect: the configuration computes nothing three times; give --scheme "
            + " or ".join(REDUNDANT_SCHEMES),
        ),
        (
            ("simulate", "digits", "--no-values", "--scheme", "tmr_alg", "--protect", "conv9"),
            "digits: protection.redundant_layers: no layer is called 'conv9'; near it: conv4, "
            "conv3, conv2 (5 layers; * stands for any text)",
        ),
        (
            ("schemes", "digits", "--protect", "pool"),
            "digits: protection.redundant_layers: no layer is called 'pool'; near it: conv1, "
            "conv2, conv3 (5 layers; * stands for any text)",
        ),
        (
            ("schemes", "digits", "--scheme", "tmr_alg"),
            "schemes tmr_alg: name the sensitive layers with --protect LAYER,... ('*' is all of "
            "them)",
        ),
        (
            ("simulate", "digits", "--scheme", "tmr_alg", "--dataflow", "ws",
             "--set", "dppu.size=0", "--set", "protection.s_th=0", "--protect", "conv1"),
            "scheme tmr_alg: protection.redundancy = 'time' needs accumulators in the PEs, and "
            "dataflow ws has none; use dataflow os",
        ),
    ],
)  # fmt: skip
def test_errors(flexhyca: Command, arguments: tuple[str, ...], message: str) -> None:
    run = flexhyca(*arguments)
    assert (run.code, run.out, run.err) == (2, "", f"error: {message}\n")
