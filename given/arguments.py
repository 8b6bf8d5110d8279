"""Arguments of public functions, held against their annotations before anything is computed.

Python does not look at them: a misspelt word would choose nothing, a text would be taken for a
list of letters, and a network in the place of a program would end deep inside. Arrays are looked
at where they come in (`arrays`).
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, wraps
from importlib import import_module
from importlib.util import resolve_name
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar

from ..errors import FlexhycaError, InternalError, brief

P = ParamSpec("P")
R = TypeVar("R")


class Within(NamedTuple):
    """Limits of a number: ``Annotated[int, Within(1, 256)]``."""

    low: float
    high: float


Seed = Annotated[int, Within(0, 2**32 - 1)]
Amount = Annotated[int, Within(1, 10**9)]
Workers = Annotated[int, Within(1, 256)]
Batch = Annotated[int, Within(1, 65_536)]


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function; FlexhycaError where an argument is none of what its annotation says.

    NumPy's numbers arrive as Python's, whose way into files is known.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            if name in hints:
                bound.arguments[name] = _checked(function.__qualname__, name, value, hints[name])
        return function(*bound.args, **bound.kwargs)

    return checked


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of an annotation; InternalError for a kind that stands nowhere yet."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is not None:
        if _is_array_type(origin):
            return True  # `arrays` says what is wrong with it
        if origin not in _OF_ORIGIN:
            raise InternalError(f"arguments: {hint} is of no kind that can be checked")
        return _OF_ORIGIN[origin](value, parts)
    if hint in _OF_TYPE:
        return _OF_TYPE[hint](value)
    if getattr(hint, "_is_protocol", False):
        return callable(value)
    return isinstance(value, hint)


def _is_numpys(value: object, name: str) -> bool:
    """Whether a value is of one of NumPy's classes, which is not loaded where there is none."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, getattr(numpy, name))


def _is_array_type(origin: object) -> bool:
    return getattr(origin, "__name__", "") == "ndarray"


def _is_literal(value: object, choices: tuple[Any, ...]) -> bool:
    return isinstance(value, str) and value in choices


def _is_limited(value: object, parts: tuple[Any, ...]) -> bool:
    kind, *notes = parts
    return fits(value, kind) and all(n.low <= value <= n.high for n in notes)


def _is_sequence(value: object, parts: tuple[Any, ...]) -> bool:
    if hasattr(value, "tolist"):
        try:
            value = value.tolist()
        except (RuntimeError, TypeError):  # a tensor without memory
            return False
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        return False
    return all(fits(item, parts[0]) for item in value)


def _is_tuple(value: object, parts: tuple[Any, ...]) -> bool:
    if parts[1:] == (...,):
        return _is_sequence(value, parts)
    return (
        isinstance(value, tuple | list)
        and len(value) == len(parts)
        and all(map(fits, value, parts))
    )


def _is_mapping(value: object, parts: tuple[Any, ...]) -> bool:
    key, inner = parts
    return isinstance(value, Mapping) and all(
        fits(name, key) and fits(item, inner) for name, item in value.items()
    )


def _is_union(value: object, parts: tuple[Any, ...]) -> bool:
    return any(fits(value, part) for part in parts)


_OF_ORIGIN: dict[Any, Callable[[object, tuple[Any, ...]], bool]] = {
    Literal: _is_literal,
    Annotated: _is_limited,
    typing.Union: _is_union,
    types.UnionType: _is_union,
    Sequence: _is_sequence,
    list: _is_sequence,
    tuple: _is_tuple,
    Mapping: _is_mapping,
    dict: _is_mapping,
    Callable: lambda value, parts: callable(value),
}
_OF_TYPE: dict[Any, Callable[[object], bool]] = {
    Any: lambda value: True,
    object: lambda value: True,
    type(None): lambda value: value is None,
    bool: lambda value: isinstance(value, bool) or _is_numpys(value, "bool_"),
    int: lambda value: isinstance(value, Integral) and not isinstance(value, bool),
    float: lambda value: isinstance(value, Real) and not isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    Path: lambda value: isinstance(value, os.PathLike),
}
_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "None",
}


def wanted(hint: Any) -> str:
    """An annotation in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _either([repr(part) for part in parts])
    if origin is Annotated:
        low, high = parts[1]
        return f"{wanted(parts[0])} from {low} to {high}"
    if origin in (typing.Union, types.UnionType):
        return _either([wanted(part) for part in parts])
    if origin in (Sequence, list) or (origin is tuple and parts[1:] == (...,)):
        return f"a list (each {wanted(parts[0])})"
    if origin is tuple:
        return f"{len(parts)} of {wanted(parts[0])}"
    if origin in (Mapping, dict):
        return f"a dict of {wanted(parts[0])} to {wanted(parts[1])}"
    if origin is Callable or getattr(hint, "_is_protocol", False):
        return "a function"
    if _is_array_type(origin):
        return "an array"
    name = getattr(origin or hint, "__name__", str(hint))
    return _WORDS.get(origin or hint, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")


def _checked(function: str, name: str, value: Any, hint: Any) -> Any:
    if fits(value, hint):
        if _is_numpys(value, "generic"):
            return value.item()
        return value
    raise FlexhycaError(f"{function}: {name} = {_shown(value)}", f"give {wanted(hint)}")


def _either(words: Iterable[str]) -> str:
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last


def _shown(value: Any) -> str:
    kind = type(value)
    if _is_numpys(value, "ndarray"):
        return f"an array {value.dtype} {value.shape}"
    if kind not in (int, float, complex, bool, str, bytes, type(None), list, tuple, dict, set):
        return f"a {kind.__name__}" if not isinstance(value, type) else f"the class {kind.__name__}"
    try:
        return brief(repr(value))
    except ValueError:  # Python shows no number of more than 4300 digits
        return "a number of thousands of digits"


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the arguments; what is imported for types only is imported now."""
    own = {name: text for name, text in function.__annotations__.items() if name != "return"}
    stand_in = types.SimpleNamespace(__annotations__=own)
    later = _Later(function.__module__)
    return typing.get_type_hints(stand_in, function.__globals__, later, include_extras=True)


class _Later(dict[str, Any]):
    """The names that a module imports for types only, each imported when it is asked for."""

    def __init__(self, module: str) -> None:
        found = import_module(module)
        assert found.__file__ is not None
        self._homes: dict[str, tuple[str, str | None]] = {}
        for node in ast.parse(Path(found.__file__).read_bytes()).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                for line in node.body:
                    self._note(line, found.__package__)

    def _note(self, line: ast.stmt, package: str | None) -> None:
        if isinstance(line, ast.ImportFrom):
            home = resolve_name("." * line.level + (line.module or ""), package)
            self._homes |= {a.asname or a.name: (home, a.name) for a in line.names}
        elif isinstance(line, ast.Import):
            self._homes |= {a.asname or a.name: (a.name, None) for a in line.names}

    def __missing__(self, name: str) -> Any:
        home, own = self._homes[name]  # KeyError: then it is one of the module's own
        self[name] = import_module(home) if own is None else getattr(import_module(home), own)
        return self[name]
