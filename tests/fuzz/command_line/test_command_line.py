"""Ctrl-C, full disks and short memory at chosen places of the real commands."""

from __future__ import annotations

import os
import sys
from unittest.mock import patch

import pytest

from flexhyca.tests.fuzz.command_line.inputs import run


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["compile", "digits", "-o", "x.fhx"], "flexhyca.compiler.codegen.emitter.encode_text"),
        (["compile", "digits", "-o", "x.fhx"], "pathlib.Path.chmod"),
        (["simulate", "digits", "--json", "x.json"], "pathlib.Path.chmod"),
        (["accuracy", "digits", "--q-scale", "7", "--csv", "x.csv"], "pathlib.Path.chmod"),
    ],
)
def test_ctrl_c_leaves_nothing_behind(arguments, where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with patch(where, side_effect=KeyboardInterrupt):
        assert run(*arguments) == (130, "interrupted; no result was written\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["compile", "digits", "-o", "x.fhx"],
                                       ["config", "show", "--json", "x.json"]])  # fmt: skip
def test_a_full_disk_is_one_line(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    full = OSError(28, "No space left on device")
    with patch("pathlib.Path.chmod", side_effect=full):
        code, err = run(*arguments)
    assert code == 2
    assert err.startswith(f"error: {arguments[-1]}: cannot be written")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_standard_output_on_a_full_disk():
    import subprocess

    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "flexhyca", "config", "show"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        2,
        "error: standard output: no space left on device\n",
    )


def test_memory_that_runs_out_is_one_line():
    with patch("flexhyca.config.load_config", side_effect=MemoryError):
        code, err = run("config", "show")
    assert code == 2
    assert err == "error: memory ran out; use a smaller network, batch or number of images\n"


def test_a_network_of_too_many_tiles_or_neurons_is_refused(tmp_path):
    from flexhyca.compiler.frontends.topology import _COLUMNS

    header = ", ".join(("Layer name", *_COLUMNS))
    (tmp_path / "t.csv").write_text(f"{header}\nhuge, 40000, 40000, 1, 1, 1, 1, 1\n")
    command = ["compile", tmp_path / "t.csv", "-o", tmp_path / "x.fhx"]
    code, err = run(*command, "--set", "protection.s_th=0")
    assert code == 2
    assert err == (
        "error: layer huge: t has 50000000 tiles up to here, at most 4194304 are compiled; use a "
        "smaller batch or a larger array\n"
    )
    code, err = run(*command)
    assert code == 2
    assert err == (
        "error: layer huge: t has 1600000000 neurons up to here, at most 134217728 are ranked; set "
        "protection.s_th to 0\n"
    )
