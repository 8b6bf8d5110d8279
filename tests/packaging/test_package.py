"""The package as a whole: lists that must agree, lazy imports, one-way imports."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import flexhyca as fh
from flexhyca import _HOME
from flexhyca.dse.store import CODE
from flexhyca.faults.campaign.experiment import Experiment
from flexhyca.sources import reached

ROOT = Path(fh.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Import direction: a package may import those to its right, and itself.
LAYERS = ["cli", "api", "report", "dse", "faults", "hdl", "simulator|compiler", "isa", "config"]


def sources() -> list[Path]:
    outside = {"tests", "docs", "examples", "benchmarks", "build", "dist", "out"}
    return [
        path
        for path in sorted(ROOT.rglob("*.py"))
        if not any(
            part in outside or part.startswith(".") or part.endswith(".egg-info")
            for part in path.relative_to(ROOT).parts[:-1]
        )
    ]


def python(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_every_package_is_listed_for_the_wheel() -> None:
    found = {".".join(("flexhyca", *path.parent.relative_to(ROOT).parts)) for path in sources()}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_package_says_what_it_is() -> None:
    for path in sources():
        assert ast.get_docstring(ast.parse(path.read_text())), path
        assert (path.parent / "__init__.py").exists(), path


def test_the_package_imports_itself_relatively() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "flexhyca" for name in names), path


def test_imports_point_one_way() -> None:
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer.split("|")}
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in rank:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = parts[: len(parts) - node.level]
            target = [*base, *(node.module or "").split(".")]
            names = [target[0]] if target[0] else [alias.name for alias in node.names]
            for name in names:
                if name in rank and name != parts[0]:
                    assert rank[name] > rank[parts[0]], f"{path}: imports {name}"


def modules(*packages: str) -> list[str]:
    """The modules of these packages, as `flexhyca.sources` names them."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources()
        if path.relative_to(ROOT).parts[0] in packages
    ]


#: Modules of the root, which decide how work is done and kept, not what it gives.
_NO_RESULT = {"database", "errors", "pool", "sources", "tables"}


def test_campaigns_and_studies_notice_another_version() -> None:
    reach = {module.split(".")[0] for module in reached(*modules("faults"))} - _NO_RESULT
    assert set(Experiment.code) == reach | {"compiler"}  # it made the program
    assert set(CODE) == {module.split(".")[0] for module in reached(*modules("dse"))} - _NO_RESULT


def test_no_code_reads_the_words_of_an_error() -> None:
    """Another wording changes what is printed, and nothing else: an error's text may be put into
    another one, but is neither compared nor searched."""
    lines = {"splitlines", "split", "strip"}  # the first line, of another library's message
    for path in sources():
        tree = ast.parse(path.read_text())
        caught = {n.name for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)}
        for node in ast.walk(tree):
            inner = list(ast.iter_child_nodes(node))
            words = [n for n in inner if ast.unparse(n) in {f"str({name})" for name in caught}]
            words += [n for n in inner if ast.unparse(n) in {f"{name}.what" for name in caught}]
            if not words:
                continue
            assert not isinstance(node, ast.Compare), f"{path}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert node.attr in lines, f"{path}:{node.lineno}"


def test_versions_agree() -> None:
    assert PROJECT["project"]["version"] == fh.__version__


def test_every_public_name_has_a_home() -> None:
    assert sorted(_HOME) == sorted(fh.__all__)
    assert set(fh.__all__) <= set(dir(fh))
    for name in fh.__all__:
        assert getattr(fh, name).__module__.startswith("flexhyca"), name
    with pytest.raises(AttributeError, match="module 'flexhyca' has no attribute 'nonsense'"):
        _ = fh.nonsense  # type: ignore[attr-defined]


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
        for pattern in ("config/accelerators/*.yaml", "compiler/networks/*.safetensors", "py.typed")
        for path in ROOT.glob(pattern)
    }
    rest = {name for name in names if ".dist-info/" not in name}
    assert rest == code | data
    assert len(data) >= 7
