"""--scheme and --protect wherever they are taken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexhyca.config.schemes import REDUNDANT_SCHEMES

Command = Callable[..., Any]  # conftest: arguments -> code, out, err


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
