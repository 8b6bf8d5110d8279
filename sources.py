"""What the package's own sources say: who imports whom, and hashes that notice another version.

Campaigns, studies and the area table are kept in files, and hold only for the code that made them.
`code_digest` takes whole packages, byte for byte; a table that takes long to make has `digest`,
which a file that moves, a comment and a docstring leave alone.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parent
#: What these do shows in messages only, never in a result.
_NO_RESULT = frozenset({"errors", "tables"})


class Import(NamedTuple):
    """What a module takes from another one of the package; both as "hdl.netlist.cost".

    name : what is taken; None where that is the module itself. known_as : its name here.
    """

    module: str
    name: str | None
    known_as: str


@cache
def code_digest(*packages: str) -> str:
    """A hash of the sources of `packages`: another version may give other results."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def digest(module: str) -> str:
    """A hash of what a module does: of its statements, and of the modules that it imports.

    An import counts as the digest of what it names, and not by its path: so a move changes nothing,
    and every other change of a module that is reached changes the hash of all that reach it.
    """
    return hashlib.sha256(repr(_said(_tree(module), module)).encode()).hexdigest()


@cache
def imports(module: str) -> tuple[Import, ...]:
    """The imports of a module, those inside functions and those of types too, in order."""
    return tuple(
        found
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and node.level
        for found in _named(node, module)
    )


def reached(*modules: str) -> set[str]:
    """These modules, those that they import, and so on."""
    found: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo += [entry.module for entry in imports(module)]
    return found


def _path(module: str) -> Path | None:
    """The file of a module or package; None if there is no such one."""
    place = _ROOT.joinpath(*module.split(".")) if module else _ROOT
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    assert path is not None, module
    return ast.parse(path.read_bytes())


def _named(node: ast.ImportFrom, module: str) -> Iterator[Import]:
    """What a relative import takes."""
    path = _path(module)
    assert path is not None
    parts = path.relative_to(_ROOT).parts
    base = [*parts[: len(parts) - node.level], *(node.module.split(".") if node.module else [])]
    for alias in node.names:
        inner = ".".join([*base, alias.name])
        known_as = alias.asname or alias.name
        if _path(inner) is not None:
            yield Import(inner, None, known_as)
        else:
            yield Import(".".join(base), alias.name, known_as)


def _said(node: object, module: str) -> object:
    """A syntax tree as plain values: without docstrings, places, and the order of imports.

    Fields that are empty are left out: other versions of Python have more of them.
    """
    if isinstance(node, ast.AST):
        fields = [
            (name, _said(_body(value) if name == "body" else value, module))
            for name, value in ast.iter_fields(node)
            if value is not None and value != []
        ]
        return (type(node).__name__, *fields)
    if not isinstance(node, list):
        return node
    said: list[object] = []
    for own, group in groupby(node, _is_own_import):
        if own:
            said += sorted(entry for item in group for entry in _taken(item, module))
        else:
            said += [_said(item, module) for item in group]
    return said


def _taken(node: ast.ImportFrom, module: str) -> Iterator[tuple[str, str, str]]:
    for entry in _named(node, module):
        of = entry.module if entry.module in _NO_RESULT else digest(entry.module)
        yield of, entry.name or "", entry.known_as


def _is_own_import(node: object) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


def _body(value: object) -> object:
    """Statements without a docstring."""
    match value:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return value
