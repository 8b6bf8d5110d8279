"""Damaged input through the real commands: exit code 0 or 2, one line of error, no file left."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexhyca.cli import main
from flexhyca.tests.fuzz import test_files, test_texts
from flexhyca.tests.fuzz.programs import broken_files, wild_files, wild_headers


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and what went to standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["flexhyca", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as done,
    ):
        main()
    return done.value.code or 0, err.getvalue()


def check(folder: Path, *arguments: object, most: int = 1) -> int:
    """Run a command whose results go to `folder`/out; `most` : lines that an error may take."""
    results = folder / "out"
    for old in results.iterdir():
        old.unlink()
    code, err = run(*arguments)
    errors = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert code in (0, 2), err
    if code:
        assert all(line.startswith("error: ") and line.isprintable() for line in errors), err
        assert 1 <= len(errors) <= most, err
        assert not list(results.iterdir())
    return code


def attack(folder: Path, examples: int) -> None:
    common = settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    out = folder / "out"
    out.mkdir()
    bad = folder / "bad"

    @common
    @given(st.one_of(wild_files(), wild_headers(), broken_files()).map(bad.write_bytes))
    def disasm(size):
        check(folder, "disasm", bad, "-o", out / "x.fhs", most=9)

    @common
    @given(test_texts.sources())
    def asm(text):
        bad.write_text(text, encoding="utf-8", errors="replace")
        check(folder, "asm", bad, "-o", out / "x.fhx", most=9)

    @common
    @given(test_texts.documents() | test_texts.spliced(), test_texts.overrides())
    def config(content, override):
        bad.write_bytes(content)
        check(folder, "config", "show", bad, "--json", out / "x.json", most=99)
        check(folder, "config", "show", f"--set={override}", "--json", out / "x.json", most=9)

    @common
    @given((test_files.images() | st.binary(max_size=40)).map((folder / "d.npz").write_bytes))
    def data(size):
        check(folder, "simulate", "digits", "--data", folder / "d.npz", "--json", out / "x.json",
              "--set", "protection.s_th=0")  # fmt: skip

    @common
    @given(test_texts.topologies())
    def topology(content):
        (folder / "t.csv").write_bytes(content)
        check(folder, "compile", folder / "t.csv", "-o", out / "x.fhx",
              "--set", "protection.s_th=0", "--set", "dppu.size=0")  # fmt: skip

    for command in (disasm, asm, config, data, topology):
        command()


def test_commands(tmp_path):
    attack(tmp_path, 6)


@pytest.mark.slow
def test_commands_often(tmp_path):
    attack(tmp_path, 200)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["compile", "digits", "-o", "x.fhx"], "flexhyca.compiler.codegen.emit.encode_text"),
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
