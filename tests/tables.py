"""A copy of the package with a row more in a table: what does its import say?

`tables.complete` promises that a row which nobody handles is an error at import.  A test adds such
a row to the source text of a copy, and sees the error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import flexhyca
from flexhyca.config import choices

ROOT = Path(flexhyca.__file__).parent
#: Folders of the checkout that are no part of the package.
_OUTSIDE = ("tests", "docs", "examples", "benchmarks", "build", "dist", "out")

#: Calls in a module that checks a table; those for registers are in isa.registers and array.flips.
_CHECKS = ("complete(", "all_handled(", "codes(", "check_roles(", "rules_handled(")

Edit = tuple[str, str, str]  #: file from the root, text that stands there once, text instead


def choice(field: str, value: str) -> Edit:
    """One value more for a field of the configuration, such as "dram.model"."""
    known = ", ".join(f'"{name}"' for name in choices(field))
    return "config/schema.py", f"[{known}]", f'[{known}, "{value}"]'


def _sources() -> Iterator[tuple[str, Path]]:
    """Modules of the package by their dotted names, but `__main__`, and their files."""
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        parts = inside.with_suffix("").parts
        if parts[0] in _OUTSIDE or any(part.startswith(".") for part in parts):
            continue
        if parts[-1] != "__main__":
            yield ".".join(("flexhyca", *parts)).removesuffix(".__init__"), inside


def copy_of_package(folder: Path, edits: Iterable[Edit]) -> Path:
    """Copy the package to `folder`/flexhyca and edit it; returns `folder`, for PYTHONPATH."""
    target = folder / "flexhyca"
    outside = [ROOT / name for name in _OUTSIDE]

    def skipped(where: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name.startswith(".") or name == "__pycache__" or Path(where) / name in outside
        }

    shutil.copytree(ROOT, target, ignore=skipped)
    for name, old, new in edits:
        path = target / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the copy in `folder` as its flexhyca: `-c`, code; or `-m`, `flexhyca`, ..."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(folder: Path, module: str, *edits: Edit) -> str:
    """The last line of the error when `module` of an edited copy is imported; "" without error."""
    done = run(copy_of_package(folder, edits), "-c", f"import {module}")
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


_ASK_ALL = """
import importlib, json, sys
import flexhyca.tables
seen, checks = set(), []
real = flexhyca.tables.complete
def record(table, rows, handled, where):
    try:
        real(table, rows, handled, where)
    except Exception as error:
        checks.append([table, where, str(error)])
    else:
        checks.append([table, where, ""])
flexhyca.tables.complete = record
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except Exception as error:
        checks.append(["", name, f"{type(error).__name__}: {error}"])
print(json.dumps(checks))
"""


def checks(folder: Path, *edits: Edit) -> list[tuple[str, str, str]]:
    """Every check of a table in an edited copy: (table, where, what it says or "").

    All modules with a check are imported, and go on after a refusal: so this names all places in
    which a new row has to be handled.  An import that fails for another reason has table "".
    """
    copy = copy_of_package(folder, edits)
    with_checks = [
        name
        for name, path in _sources()
        if any(check in (copy / "flexhyca" / path).read_text() for check in _CHECKS)
    ]
    done = run(copy, "-c", _ASK_ALL, json.dumps(with_checks))
    assert done.returncode == 0, done.stderr
    return [(table, where, said) for table, where, said in json.loads(done.stdout)]


def refusing(folder: Path, *edits: Edit) -> list[str]:
    """What an edited copy says where it does not handle a row, in the order of its imports.

    What goes wrong in a module behind its refusal is left out.
    """
    return [said for table, _, said in checks(folder, *edits) if table and said]
