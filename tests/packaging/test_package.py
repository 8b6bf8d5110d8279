"""The package as a whole: lists that must agree, lazy imports, the wheel."""

import ast
import shutil
import subprocess
import sys
import tomllib
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import flexhyca as fh
from flexhyca import _HOME
from flexhyca.renamed import RENAMED
from flexhyca.tests.packaging.sources import ROOT, modules, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_every_package_is_listed_for_the_wheel() -> None:
    found = {".".join(("flexhyca", *path.parent.relative_to(ROOT).parts)) for path in sources()}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_module_that_the_project_names_exists() -> None:
    named = [m for part in PROJECT["tool"]["mypy"]["overrides"] for m in part["module"]]
    own = {name.removeprefix("flexhyca.") for name in named if name.startswith("flexhyca.")}
    assert own
    assert own <= set(modules())
    for package in PROJECT["tool"]["setuptools"]["package-data"]:
        assert package in PROJECT["tool"]["setuptools"]["packages"]


def test_every_package_says_what_it_is() -> None:
    for path in sources():
        assert ast.get_docstring(ast.parse(path.read_text())), path
        assert (path.parent / "__init__.py").exists(), path


def test_versions_agree() -> None:
    assert PROJECT["project"]["version"] == fh.__version__


def test_every_public_name_has_a_home() -> None:
    assert sorted(_HOME) == sorted(fh.__all__)
    assert set(fh.__all__) <= set(dir(fh))
    for name in fh.__all__:
        assert getattr(fh, name).__module__.startswith("flexhyca"), name
    with pytest.raises(AttributeError, match="module 'flexhyca' has no attribute 'nonsense'"):
        _ = fh.nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize(("old", "new"), list(RENAMED.items()), ids=list(RENAMED))
def test_old_names_work_for_one_version(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    home, _, own = new.rpartition(".")
    vars(import_module(module)).pop(name, None)  # where it was asked for before
    found: dict[str, object] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(f"from {module} import {name}", found)
    assert found[name] is getattr(import_module(home), own)
    text = f"{old} is called {new}; the old name goes with version 0.2"
    assert [(str(w.message), w.category) for w in caught] == [(text, DeprecationWarning)]
    assert caught[0].filename == "<string>"  # of whoever asks
    assert name not in import_module(module).__all__
    assert PROJECT["project"]["version"] < "0.2", "the old names go"


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match=r"module 'flexhyca.api' has no attribute 'nonsense'"):
        getattr(import_module("flexhyca.api"), "nonsense")  # noqa: B009


def test_importing_is_light() -> None:
    heavy = "{'torch', 'numba', 'numpy', 'pandas', 'matplotlib', 'GPyOpt', 'scipy', 'pydantic'}"
    code = f"import sys, flexhyca; print(sorted({heavy} & set(sys.modules)))"
    assert python(code) == "[]"


def test_the_command_line_starts_light() -> None:
    heavy = "{'torch', 'numba', 'numpy', 'pandas', 'matplotlib', 'GPyOpt', 'scipy'}"
    code = f"import sys, flexhyca.cli; print(sorted({heavy} & set(sys.modules)))"
    assert python(code) == "[]"


def test_pinned_versions_cover_the_direct_dependencies() -> None:
    pinned = {
        line.partition("==")[0].strip().lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    wanted = PROJECT["project"]["dependencies"] + [
        requirement
        for extra in PROJECT["project"]["optional-dependencies"].values()
        for requirement in extra
    ]
    names = {w.split(">")[0].split("<")[0].split("=")[0].strip().lower() for w in wanted}
    assert names <= pinned


@pytest.mark.slow
def test_the_wheel_holds_code_data_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "some-checkout"  # building writes beside the sources
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "*.egg-info", "build"))
    command = f"{sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir"
    subprocess.run([*command.split(), str(tmp_path), str(tree)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {f"flexhyca/{path.relative_to(ROOT)}" for path in sources()}
    data = {
        f"flexhyca/{path.relative_to(ROOT)}"
        for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    rest = {name for name in names if ".dist-info/" not in name}
    assert rest == code | data
    assert len(data) >= 8
