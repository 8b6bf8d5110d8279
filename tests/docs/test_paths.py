"""Files that pages, docstrings and comments name are there."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexhyca.tests.packaging.sources import ROOT

#: A file by its name, its path from the root or from where it is named; `*` stands for any text.
FILE = re.compile(r"(?<![\w/.*<:-])[\w./*-]*[\w*]\.(?:py|md)\b")


def texts(path: Path) -> Iterator[str]:
    """What a file says to people: a page, or the docstrings and comments of a module."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield source
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def missing(path: Path, root: Path) -> list[str]:
    """Files that a file names and that are not there."""
    return [
        name
        for text in texts(path)
        for name in FILE.findall(text)
        if not any(
            any(folder.glob(name)) if "*" in name else (folder / name).is_file()
            for folder in (root, path.parent)
        )
    ]


def written() -> list[Path]:
    """Pages and modules of the checkout, but for what is hidden or built."""
    tops = [path for path in ROOT.iterdir() if path.name not in ("build", "dist", "out")]
    shown = [path for path in tops if not path.name.startswith(".")]
    files = [path for top in shown for path in ([top] if top.is_file() else top.rglob("*.*"))]
    return [path for path in files if path.suffix in (".md", ".py")]


def test_files_that_are_named_are_there() -> None:
    found = {path.relative_to(ROOT).as_posix(): missing(path, ROOT) for path in written()}
    assert len(found) > 400
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("see `a/b.py` and [c](../d.md)", ["a/b.py", "../d.md"]),
        ("(`a/here.py`, here.py, a/*ere.py, x/*ere.py)", ["x/*ere.py"]),
        ("`flexhyca.py_file`, <NAME>.md and https://a.b/c.py", []),
    ],
)
def test_the_rule(text: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "here.py").touch()
    page = tmp_path / "a" / "page.md"
    page.write_text(text)
    assert missing(page, tmp_path) == names
