"""The cache of compiled code decides nothing: damaged, foreign, full or not writable."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numba
import pytest

from flexhyca import kernels
from flexhyca.errors import FlexhycaWarning

SOURCE = """
from flexhyca.kernels import kernel

@kernel
def twice(x):
    return x + x
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    (tmp_path / "doubling.py").write_text(SOURCE)
    return folder


def fresh(cache: Path) -> Any:
    """The function as a new process has it."""
    spec = importlib.util.spec_from_file_location("doubling", cache.parent / "doubling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


def hits(twice: Any) -> int:
    return sum(twice.stats.cache_hits.values())


def kept(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_the_next_process_takes_it(cache: Path) -> None:
    assert fresh(cache)(3) == 6
    again = fresh(cache)
    assert (again(3), again("ab"), hits(again)) == (6, "abab", 1)
    again = fresh(cache)
    assert (again(3), again("ab"), hits(again)) == (6, "abab", 2)


def test_no_damage_is_believed(cache: Path) -> None:
    assert fresh(cache)(3) == 6
    whole = {path: path.read_bytes() for path in kept(cache)}
    assert len(whole) == 2
    rng = random.Random(0)
    for number in range(12):
        for path, content in whole.items():
            path.write_bytes(content)
        path = sorted(whole)[number % 2]
        content = bytearray(whole[path])
        match number % 3:
            case 0:
                content = content[: rng.randrange(len(content))]
            case 1:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            case 2:
                content = bytearray(rng.randbytes(rng.randrange(12)))
        path.write_bytes(content)
        twice = fresh(cache)
        assert (twice(3), hits(twice)) == (6, 0)
        twice = fresh(cache)  # and mended by that
        assert (twice(3), hits(twice)) == (6, 1)


def test_code_of_another_signature_is_not_taken(cache: Path) -> None:
    """As where two processes choose one name at one time."""
    assert fresh(cache)(3) == 6
    both = fresh(cache)
    assert both(1.5) == 3.0
    one, two = sorted(cache.rglob("*.nbc"))
    one.write_bytes(two.read_bytes())
    again = fresh(cache)
    assert (again(1.5), again(3), hits(again)) == (3.0, 6, 1)


def test_a_full_disk_is_no_failure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert fresh(cache)(3) == 6
    assert kept(cache) == []


def test_where_nothing_can_be_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "makedirs", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    monkeypatch.setattr(kernels, "_told", [])
    with warnings.catch_warnings(record=True) as told:
        twice = fresh(cache)
        fresh(cache)
    assert {warning.category for warning in told} == {FlexhycaWarning}
    assert [str(warning.message) for warning in told] == [
        "compiled code cannot be kept, so every command takes seconds longer; set "
        "NUMBA_CACHE_DIR to a folder that can be written"
    ]
    assert twice(3) == 6


def test_nothing_is_kept_in_a_home_that_nobody_knows() -> None:
    """It would be a folder called ~ in the one that the command runs in."""
    program = (
        "from flexhyca.kernels import _Places\n"
        "print(any('UserWide' in one.__name__ for one in _Places._locator_classes))\n"
    )
    for home, kept in (("~", "False"), ("/tmp", "True")):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "HOME": home},
            capture_output=True,
            text=True,
        )
        assert run.stdout.strip() == kept, run.stderr
