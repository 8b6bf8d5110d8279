"""Files of the package: none is overwritten, and none is believed when it is damaged."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flexhyca.cli import app
from flexhyca.config import load_config, shipped
from flexhyca.errors import FlexhycaError
from flexhyca.hdl.area import table
from flexhyca.tests.cli.test_overwriting import refused
from flexhyca.tests.packaging.sources import ROOT
from flexhyca.tests.packaging.test_package import PROJECT

DATA = sorted(
    path.relative_to(ROOT).as_posix()
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items()
    for pattern in patterns
    for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
)
TABLE = table.SHIPPED.relative_to(ROOT).as_posix()
COMMANDS = (
    "models --json FILE",
    "config show flexhyca-32x32 --json FILE",
    "simulate digits --no-values --json FILE",
    "compile digits -o FILE",
    "area table --csv FILE",
    "inject digits --faults register --trials 20 --out FILE",
    "optimise digits --space paper --study FILE",
    "sweep digits --vary array.rows=8,16 --csv FILE",
)
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "cut off at a line": lambda content: b"\n".join(content.split(b"\n")[:-3]) + b"\n",
    "a byte": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "no text": lambda content: b"\xff\xfe" + content,
    "other JSON": lambda content: b"[1, 2]\n",
    "JSON without rows": lambda content: b'{"sources": 1, "rows": null}\n',
    "null": lambda content: b"null",
    "brackets": lambda content: b"[" * 200_000,
}


def test_every_data_file_has_its_checksum() -> None:
    """Write these numbers into `shipped.CHECKSUMS` where a file was changed on purpose."""
    own = [name for name in DATA if name not in (TABLE, "py.typed")]
    assert {n: f"0x{crc:08X}" for n, crc in shipped.CHECKSUMS.items()} == {
        name: f"0x{zlib.crc32((ROOT / name).read_bytes()):08X}" for name in own
    }


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_data_file_is_a_target(command: str, name: str) -> None:
    refused([str(ROOT / name) if w == "FILE" else w for w in command.split()], ROOT / name)


def test_nor_is_a_link_to_one_or_a_new_file_among_them(tmp_path: Path) -> None:
    link = tmp_path / "r.json"
    link.symlink_to(ROOT / TABLE)
    refused(["models", "--json", str(link)], link)
    for new in ("config/accelerators/new.json", "config/new.json", "new.py"):
        result = CliRunner().invoke(app, ["models", "--json", str(ROOT / new)])
        assert "lies in the installed package" in str(result.exception)
        assert not (ROOT / new).exists()


def test_what_is_read_is_known_by_its_inode(tmp_path: Path) -> None:
    """Hard links to files of the package, wherever they stand."""
    for number, (name, command) in enumerate(
        {
            "config/accelerators/flexhyca-32x32.yaml": "config show flexhyca-32x32 --json",
            "compiler/networks/digits.safetensors": "simulate digits --no-values --json",
            TABLE: "area table --csv",
        }.items()
    ):
        link = tmp_path / f"{number}.json"
        try:
            link.hardlink_to(ROOT / name)
        except OSError:
            pytest.skip("another file system")
        table.shipped.cache_clear()
        refused([*command.split(), str(link)], link)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all data files, which the package takes for its own."""
    for name in DATA:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(shipped, "_ROOT", tmp_path)
    monkeypatch.setattr(table, "SHIPPED", tmp_path / TABLE)
    table.shipped.cache_clear()
    return tmp_path


READERS = {
    "config/accelerators/flexhyca-32x32.yaml": "simulate digits --no-values",
    "config/accelerators/hyca-32x32.yaml": "config show hyca-32x32",
    "config/accelerators/base-32x32.yaml": "config list",
    "config/searches/table1.yaml": "optimise digits --space table1",
    "compiler/networks/digits.safetensors": "accuracy digits",
    TABLE: "area pe",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("way", [*DAMAGE, "missing", "a folder"])
def test_a_damaged_file_is_one_line(name: str, way: str, package: Path) -> None:
    path = package / name
    content = path.read_bytes()
    path.unlink()
    if way == "a folder":
        path.mkdir()
    elif way != "missing":
        path.write_bytes(DAMAGE[way](content))
    try:
        result = CliRunner().invoke(app, READERS[name].split())
    finally:
        table.shipped.cache_clear()
    assert isinstance(result.exception, FlexhycaError), (result.output, result.exception)
    line = str(result.exception)
    assert line.startswith(f"{path}: ")
    assert "install flexhyca again" in line or "--rebuild" in line
    assert "\n" not in line


def test_a_table_with_a_checksum_and_other_rows_is_one_line(package: Path) -> None:
    for rows in (None, {}, [1], [{"point": None}], [{"point": {"q_scale": 1}}]):
        document = {
            "sources": table.source_digest(),
            "rows": rows,
            "crc": table.checksum(json.dumps(rows)),
        }
        (package / TABLE).write_text(json.dumps(document))
        table.shipped.cache_clear()
        with pytest.raises(FlexhycaError, match="install flexhyca again"):
            table.shipped()
    table.shipped.cache_clear()


def test_a_configuration_that_extends_a_damaged_one(package: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("extends: flexhyca-32x32\n")
    (package / "config/accelerators/flexhyca-32x32.yaml").write_bytes(b"")
    with pytest.raises(FlexhycaError, match="is not as it was shipped"):
        load_config(own)
