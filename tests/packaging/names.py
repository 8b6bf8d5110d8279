"""List the public names of the package that stand for two or more things.

    python tests/packaging/names.py [--all] [ROOT]

A public name is one without a leading underscore that a module of the package (tests, docs,
examples and benchmarks apart) defines at its top level, also below an `if` or `try`: a function, a
class, a constant or a type alias. What a module imports is defined elsewhere. A name stands for two
things where two modules define it, but for those in `EXCEPTED`, each with its reason.

The public face is `flexhyca.__all__` and the names in the signatures behind it: the annotations of
a function's parameters and result, of a class's fields, and of its public methods and properties.

Without --all only the names of the public face are listed, and how many others there are. ROOT :
the checkout, by default this one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

OUTSIDE = {"tests", "docs", "examples", "benchmarks", "build", "dist", "out"}

_TWINS = (
    ("network.fixedpoint", "network.fixedpoint_kernels", "network.fixedpoint_torch"),
    "one rule of the vector unit in NumPy, numba and torch",
)
#: Name -> (modules that may define it, all below a package with a dot at the end; and why).
EXCEPTED: dict[str, tuple[tuple[str, ...], str]] = {
    "app": (("cli.",), "the Typer application of each command that has sub-commands"),
    "command": (("cli.",), "the function of each command; `cli` registers it"),
    "EXAMPLES": (("cli.",), "what each command shows below its help; `cli` registers it"),
    "COPIES": (
        ("isa.protection", "hdl.netlist.tmr"),
        "the same number, compared at import; circuits do not depend on isa.protection",
    ),
    "simulate": (("api", "simulator.run"), "the same function; `api` imports it when called"),
    **dict.fromkeys(("add", "requantise", "vector_unit", "wrap"), _TWINS),
}


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """(dotted name, syntax tree) of each module of the package."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not any(
            part in OUTSIDE or part.startswith(".") or part.endswith(".egg-info")
            for part in parts[:-1]
        ):
            name = ".".join(part for part in parts if part != "__init__")
            yield name, ast.parse(path.read_text())


def defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Public name -> the statement of a module that defines it first."""
    found: dict[str, ast.stmt] = {}
    for statement in _statements(tree.body):
        names: list[str] = []
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [statement.name]
        elif isinstance(statement, ast.Assign):
            targets = [n for target in statement.targets for n in ast.walk(target)]
            names = [n.id for n in targets if isinstance(n, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names = [statement.target.id]
        for name in names:
            if not name.startswith("_"):
                found.setdefault(name, statement)
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module's top level; of an `if` or `try` the ones in it."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try):
            inner = (node for node in ast.iter_child_nodes(statement))
            yield from _statements([node for node in inner if isinstance(node, ast.stmt)])


def ambiguous(root: Path) -> dict[str, list[str]]:
    """Name -> the modules that define it, of names that stand for two or more things."""
    found: dict[str, list[str]] = {}
    for module, tree in sources(root):
        for name in defined(tree):
            found.setdefault(name, []).append(module)
    return {
        name: modules
        for name, modules in sorted(found.items())
        if len(modules) > 1 and not _excepted(name, modules)
    }


def _excepted(name: str, modules: list[str]) -> bool:
    allowed, _ = EXCEPTED.get(name, ((), ""))
    return all(
        any(
            module == one or (one.endswith(".") and f"{module}.".startswith(one)) for one in allowed
        )
        for module in modules
    )


def public_face(root: Path) -> set[str]:
    """`flexhyca.__all__`, and the names in the signatures behind it."""
    trees = dict(sources(root))
    homes = _literal(trees[""], "_HOME")
    face = set(_literal(trees[""], "__all__"))
    for name in sorted(face):
        statement = _definition(trees, homes[name].removeprefix("."), name)
        for annotation in _annotations(statement):
            face |= {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return face


def _literal(tree: ast.Module, name: str) -> dict[str, str]:
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    found: dict[str, str] = ast.literal_eval(value)
    return found


def _definition(trees: Mapping[str, ast.Module], module: str, name: str) -> ast.stmt:
    """The statement that defines a name which a module defines or imports from beside it."""
    own = defined(trees[module])
    if name in own:
        return own[name]
    for node in trees[module].body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            package = module if module in {m.rpartition(".")[0] for m in trees} else ""
            package = package or module.rpartition(".")[0]
            up = package.split(".") if package else []
            base = up[: len(up) - node.level + 1]
            return _definition(trees, ".".join([*base, node.module or ""]), name)
    raise LookupError(f"{name} of {module}")


def _annotations(statement: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(statement, ast.FunctionDef):
        arguments = statement.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        yield from (a.annotation for a in every if a.annotation is not None)
        if statement.returns is not None:
            yield statement.returns
    elif isinstance(statement, ast.ClassDef):
        for inner in statement.body:
            if isinstance(inner, ast.AnnAssign):
                yield inner.annotation
            elif isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                yield from _annotations(inner)


def main(arguments: list[str]) -> None:
    """Print what was asked for."""
    roots = [Path(a) for a in arguments if a != "--all"]
    root = roots[0] if roots else Path(__file__).parents[2]
    found, face = ambiguous(root), public_face(root)
    shown = {n: m for n, m in found.items() if n in face or "--all" in arguments}
    for name, modules in shown.items():
        mark = " (public face)" if name in face else ""
        print(f"{name}{mark}: {', '.join(module or 'flexhyca' for module in modules)}")
    inside = sum(name in face for name in found)
    print(f"{len(found)} names stand for two or more things, {inside} of them in the public face")


if __name__ == "__main__":
    main(sys.argv[1:])
