"""``flexhyca config`` and what all commands share: streams, exit codes, whole error texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexhyca.config import list_configs, load_config


def flexhyca(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flexhyca", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or Path(os.sep),
        check=False,
    )


def test_help_teaches_with_examples() -> None:
    run = flexhyca("--help")
    assert run.returncode == 0
    for command in (
        "simulate",
        "sweep",
        "compile",
        "disasm",
        "asm",
        "accuracy",
        "models",
        "config",
    ):
        assert f"\n  {command} " in run.stdout
    assert "flexhyca simulate digits --images 360\n" in run.stdout


def test_version() -> None:
    assert flexhyca("--version").stdout.startswith("flexhyca 0.")


def test_list() -> None:
    lines = flexhyca("config", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list_configs()
    entries = json.loads(flexhyca("config", "list", "--json", "-").stdout)
    assert [e["config_hash"] for e in entries] == [
        load_config(name).config_hash for name in list_configs()
    ]


def test_show_gives_a_file_that_loads(tmp_path: Path) -> None:
    run = flexhyca("config", "show", "hyca-32x32", "--set", "dppu.size=64", "--explain")
    path = tmp_path / "mine.yaml"
    path.write_text(run.stdout)
    assert load_config(path) == load_config("hyca-32x32", ["dppu.size=64"])
    shown = json.loads(flexhyca("config", "show", "hyca-32x32", "--json", "-").stdout)
    assert shown["dppu"]["data_reuse"] == "array"
    assert shown["config_hash"] == load_config("hyca-32x32").config_hash


def test_check_reports_every_problem_of_every_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("extends: base-32x32\n")
    bad.write_text("dppu:\n  sise: 3\narray:\n  rows: 0\n")
    run = flexhyca("config", "check", "good.yaml", "bad.yaml", "none.yaml", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines() == [
        "error: bad.yaml: array.rows = 0: must be a whole number from 1 to 256",
        "error: bad.yaml: unknown key dppu.sise; did you mean dppu.size?",
        "error: no configuration 'none.yaml': neither a file nor one of "
        + ", ".join(list_configs()),
    ]
    run = flexhyca("config", "check", "good.yaml", cwd=tmp_path)
    digest = load_config("base-32x32").config_hash
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"good.yaml: ok (name good, hash {digest[:12]})\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("config", "show", "--set", "dppu.size=64x"),
            "error: override 'dppu.size=64x': dppu.size = '64x': must be a whole number from 0 to "
            "4096\n",
        ),
        (
            ("config", "show", "--json", "nowhere/out.json"),
            "error: nowhere/out.json: the folder {cwd}/nowhere does not exist; create it first\n",
        ),
        (
            ("config", "show", "--json", "folder"),
            "error: folder: is a folder; give a file name in it\n",
        ),
        (
            ("simulate", "digits", "--config", "nonsense"),
            "error: no configuration 'nonsense': neither a file nor one of "
            "base-32x32, flexhyca-32x32, flexhyca-32x32-rate2, flexhyca-32x32-saturate, "
            "gemmini-16x16, hyca-32x32, tpu-v1-like, vta-1x16x16\n",
        ),
        (
            ("accuracy", "digits", "--overflow", "saturate,slise"),
            "Usage: flexhyca accuracy [OPTIONS] {MODEL}\n"
            "Try 'flexhyca accuracy -h' for help.\n\n"
            "Error: Invalid value for --overflow: 'slise' is no overflow rule; write slice, "
            "saturate or slice,saturate\n",
        ),
        (
            ("accuracy", "digits", "--q-scale", "0..x"),
            "Usage: flexhyca accuracy [OPTIONS] {MODEL}\n"
            "Try 'flexhyca accuracy -h' for help.\n\n"
            "Error: Invalid value for --q-scale: '0..x' is no q_scale; write 0..16, or 0,4,8, "
            "or 7\n",
        ),
        (
            ("asm", "missing.fhs", "-o", "out.fhx"),
            "error: missing.fhs: cannot be read: No such file or directory\n",
        ),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    arguments: tuple[str, ...], error: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    run = flexhyca(*arguments, cwd=tmp_path)
    assert run.stderr == error.replace("{cwd}", str(tmp_path))
    assert (run.returncode, run.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_json_to_a_file_is_whole_and_readable_by_others(tmp_path: Path) -> None:
    run = flexhyca("config", "show", "--json", "out.json", cwd=tmp_path)
    assert run.stdout.startswith("name: flexhyca-32x32\n")
    assert json.loads((tmp_path / "out.json").read_text())["name"] == "flexhyca-32x32"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert (tmp_path / "out.json").stat().st_mode & 0o444 == 0o444
