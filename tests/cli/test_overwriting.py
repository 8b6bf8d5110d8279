"""No result replaces what a command reads: by any name, of any option, and whatever it reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from flexhyca.cli import app
from flexhyca.errors import FlexhycaError
from flexhyca.tests.compiler.frontends.onnx_models import pooled_conv

YAML = "extends: flexhyca-32x32\n"
TOPOLOGY = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
    "Strides,\nConv1, 8, 8, 3, 3, 2, 4, 1,\n"
)


def refused(command: list[str], path: Path) -> None:
    """The command ends with one line that names the file, which stays as it is."""
    before = path.read_bytes()
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, FlexhycaError), (command, result.output, result.exception)
    assert str(path.name) in str(result.exception)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of every kind that commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "m.yaml").write_text(YAML)
    (folder / "t.csv").write_text(TOPOLOGY)
    (folder / "d.json").write_text("{}")
    (folder / "space.yaml").write_text("parameters: {protection.nb_th: [1, 2]}\n")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "d.npz",
        images=rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8),
        labels=rng.integers(0, 10, 40),
    )
    run = CliRunner().invoke
    assert run(app, ["compile", "digits", "-o", str(folder / "p.fhx")]).exit_code == 0
    assert run(app, ["disasm", str(folder / "p.fhx"), "-o", str(folder / "p.fhs")]).exit_code == 0
    campaign = [
        "inject",
        "digits",
        "--faults",
        "register",
        "--trials",
        "20",
        "--out",
        str(folder / "c.db"),
    ]
    assert run(app, campaign).exit_code == 0
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(inputs, tmp_path / "inputs"))


COMMANDS = {
    "simulate p.fhx --json p.fhx": "p.fhx",
    "simulate digits --data d.npz --json d.npz": "d.npz",
    "simulate digits --config m.yaml --json m.yaml": "m.yaml",
    "simulate digits --data d.json --trace d.json": "d.json",
    "simulate t.csv --layers t.csv": "t.csv",
    "accuracy digits --data d.npz --json d.npz": "d.npz",
    "compile digits --config m.yaml -o m.yaml": "m.yaml",
    "compile t.csv -o t.csv": "t.csv",
    "compile digits --data d.npz -o p.fhx --json d.npz": "d.npz",
    "disasm p.fhx -o p.fhx": "p.fhx",
    "asm p.fhs -o p.fhs": "p.fhs",
    "area array --config m.yaml --json m.yaml": "m.yaml",
    "config show m.yaml --json m.yaml": "m.yaml",
    "sites digits --config m.yaml --json m.yaml": "m.yaml",
    "sweep t.csv --vary array.rows=8,16 --csv t.csv": "t.csv",
    "sweep t.csv --vary array.rows=8,16 --csv r.csv --json t.csv": "t.csv",
    "campaign show c.db --json c.db": "c.db",
    "campaign export c.db --csv c.db": "c.db",
    "inject digits --faults register --trials 20 --out c.db --json c.db": "c.db",
    "inject digits --data d.npz --faults register --trials 20 --json d.npz": "d.npz",
    "optimise digits --space space.yaml --out space.yaml": "space.yaml",
    "optimise digits --reuse c.db --space space.yaml --out s.yaml --json space.yaml": "space.yaml",
    "optimise digits --space space.yaml --config m.yaml --json m.yaml": "m.yaml",
    "compare digits --design m.yaml --json m.yaml": "m.yaml",
    "compare digits --config m.yaml --json m.yaml": "m.yaml",
    "bits digits --config m.yaml --json m.yaml": "m.yaml",
    "hdl emit pe --config m.yaml -o m.yaml": "m.yaml",
}
WAYS: dict[str, Callable[[Path, Path], object]] = {
    "by its name": lambda name, file: None,
    "by a symbolic link": lambda name, file: name.symlink_to(file),
    "by a hard link": lambda name, file: os.link(file, name),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("way", WAYS)
def test_an_input_stays(command: str, way: str, folder: Path) -> None:
    words = command.split()
    target = COMMANDS[command]
    place = len(words) - 1 - words[::-1].index(target)  # the output is named last
    name = folder / ("other" + Path(target).suffix)
    WAYS[way](name, folder / target)
    words = [str(folder / word) if (folder / word).is_file() else word for word in words]
    if name.exists():
        words[place] = str(name)
    refused(words, name if name.exists() else folder / target)


def test_what_is_read_but_never_named(tmp_path: Path) -> None:
    """External data of an ONNX file, and what a configuration extends."""
    weight = np.ones((2, 1, 3, 3), np.float32)
    model = pooled_conv(weight)
    onnx.save(
        model,
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    own = ["simulate", str(tmp_path / "m.onnx"), "--no-values", "--json"]
    refused([*own, str(tmp_path / "w.bin")], tmp_path / "w.bin")
    (tmp_path / "base.yaml").write_text(YAML)
    (tmp_path / "own.yaml").write_text("extends: base.yaml\n")
    own = ["simulate", "digits", "--config", str(tmp_path / "own.yaml"), "--json"]
    refused([*own, str(tmp_path / "base.yaml")], tmp_path / "base.yaml")


def test_an_older_result_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for _ in range(2):
        assert CliRunner().invoke(app, ["models", "--json", str(path)]).exit_code == 0


COMPANIONS = ("-journal", "-wal", "-shm", ".lock")
BESIDE = (
    "campaign show c.db --json c.db{}",
    "campaign export c.db --csv c.db{}",
    "models --json c.db{}",
    "compile digits -o c.db{}",
    "inject digits --faults register --trials 20 --out new.db --json new.db{}",
    "inject digits --faults register --trials 20 --out c.db{}",
    "sweep digits --vary array.rows=8,16 --study s.db --csv s.db{}",
)


@pytest.mark.parametrize("command", BESIDE)
@pytest.mark.parametrize("suffix", COMPANIONS)
def test_nothing_is_written_where_a_database_has_its_journal(
    command: str, suffix: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would take it for its own, and delete it."""
    monkeypatch.chdir(folder)
    words = command.format(suffix).split()
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, FlexhycaError), (result.output, result.exception)
    assert "has its journal or lock" in str(result.exception)
    assert not Path(words[-1]).exists()
    assert CliRunner().invoke(app, ["campaign", "show", "c.db"]).exit_code == 0


@pytest.mark.parametrize("suffix", COMPANIONS)
@pytest.mark.parametrize("kind", ["pipe", "folder", "text"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_stands_there_already_is_looked_at(
    suffix: str, kind: str, linked: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command waits for it, reads it as a journal, or deletes it."""
    monkeypatch.chdir(folder)
    beside = Path("c.db" + suffix)
    if kind == "pipe":
        os.mkfifo(beside)
    elif kind == "folder":
        beside.mkdir()
    else:
        beside.write_text("mine")
    name = "c.db"
    if linked:
        name = "link.db"
        Path(name).symlink_to("c.db")
    own = ["inject", "digits", "--faults", "register", "--trials", "40", "--out", "c.db"]
    commands = [own] if suffix == ".lock" else [own, ["campaign", "show", name]]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert isinstance(result.exception, FlexhycaError), (result.output, result.exception)
        assert beside.name in str(result.exception) or kind == "folder"
    assert beside.exists()
    assert kind != "text" or beside.read_text() == "mine"


def test_a_new_database_ends_nothing_beside_it(folder: Path) -> None:
    (folder / "new.db-journal").write_text("mine")
    own = ["inject", "digits", "--faults", "register", "--trials", "20", "--out"]
    result = CliRunner().invoke(app, [*own, str(folder / "new.db")])
    assert isinstance(result.exception, FlexhycaError)
    assert (folder / "new.db-journal").read_text() == "mine"
