"""Find a configuration by name or path, apply `extends` and overrides, and explain what is wrong.

Every leaf remembers the file or override it came from, so an error names the place to mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import ConfigError
from ..files import read_text
from ..given.arguments import checked_arguments
from .accelerator import Config, ContradictionError
from .buffers import SPLIT_BUFFERS
from .fields import choices, known_keys, numeric_limits, section
from .shipped import shipped_names, shipped_text
from .yaml_source import parse

_SHIPPED = "config/accelerators"

#: Dotted path -> where its value was written.
Origin = dict[str, str]


def list_configs() -> list[str]:
    """Names of the shipped configurations."""
    return shipped_names(_SHIPPED)


@checked_arguments
def load_config(name: str | Path = "flexhyca-32x32", overrides: Sequence[str] = ()) -> Config:
    """Read a shipped configuration by name, or a YAML file by path; overrides are "key.path=value".

    Raises ConfigError with one line per problem; each names the file (or the override), the field,
    the value, the limit and what to do.
    """
    values, origin, source = _read(name)
    problems, read = [], []
    for override in overrides:
        try:
            read.append(_override(override))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    for document, _ in read:
        _forget_replaced(values, document)
    for document, own in read:
        _merge(values, document, origin, own, "")
    return _validate(values, origin, source)


def config_from_json(values: object, source: str) -> Config:
    """The configuration that ``model_dump(mode="json")`` gave, for example from a program file."""
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: the configuration is {_kind(values)}, not a section")
    return _validate(values, {}, source)


def _validate(values: dict[str, Any], origin: Origin, source: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [line for e in error.errors() for line in _explain(e, values, origin, source)]
        raise ConfigError("\n".join(lines)) from None


def _read(
    name: str | Path, base: Path | None = None, chain: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Origin, str]:
    """Values, their origins and the name to show, after `extends` has been followed."""
    text, source, path = _find(name, base, chain[-1] if chain else None)
    if source in chain or len(chain) > 8:  # 8: the same file under ever longer names
        raise ConfigError(f"{chain[0]}: extends goes in a circle: {' -> '.join([*chain, source])}")
    document = parse(text, source)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(
            f"{source}: the top level is {_kind(document)}; write sections, such as 'dppu:'"
        )
    parent = document.pop("extends", None)
    values: dict[str, Any] = {}
    origin: Origin = {}
    if parent is not None:
        if not isinstance(parent, str):
            raise ConfigError(
                f"{source}: extends = {parent!r} is {_kind(parent)}; "
                "give the name or path of one configuration"
            )
        values, origin, _ = _read(parent, path and path.parent, (*chain, source))
    if path is not None:
        # A user's file without a name is called after the file, never after its parent.
        document.setdefault("name", path.stem)
    _forget_replaced(values, document)
    _merge(values, document, origin, source, "")
    return values, origin, source


def _find(name: str | Path, base: Path | None, asker: str | None) -> tuple[str, str, Path | None]:
    """(text, name to show, path on disk or None for a shipped one)."""
    shipped = list_configs()
    if isinstance(name, str) and name in shipped:
        return shipped_text(f"{_SHIPPED}/{name}.yaml"), name, None
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # ~nobody
        path = Path(name)
    if base is not None:
        path = base / path
    prefix = f"{asker}: extends: " if asker else ""
    try:
        return read_text(path), str(path), path
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{prefix}no configuration {str(name)!r}: neither a file nor one of "
            f"{', '.join(shipped)}{_suggestion(str(name), shipped)}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{prefix}{path}: not a UTF-8 text file; give a YAML file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"{prefix}{path}: cannot be read: {reason}") from None


def _forget_replaced(inherited: dict[str, Any], document: dict[str, Any]) -> None:
    """Take out what a document gives in another way: a scratchpad replaces split buffers.

    What the document itself gives beside it is a contradiction, and stays.
    """
    new, old = document.get("buffers"), inherited.get("buffers")
    if isinstance(new, dict) and isinstance(old, dict) and new.get("scratchpad_bytes"):
        inherited["buffers"] = {k: v for k, v in old.items() if k not in SPLIT_BUFFERS}


def _merge(
    into: dict[str, Any], new: dict[str, Any], origin: Origin, source: str, path: str
) -> None:
    """Lay `new` over `into`, section by section."""
    for key, value in new.items():
        where = f"{path}{key}"
        origin[where] = source
        if isinstance(value, dict):
            section = into.get(key)
            into[key] = dict(section) if isinstance(section, dict) else {}
            _merge(into[key], value, origin, source, f"{where}.")
        else:
            into[key] = value


def _override(override: str) -> tuple[dict[str, Any], str]:
    """One "key.path=value" as a document, and its name for errors."""
    key, equals, text = override.partition("=")
    keys = key.strip().split(".")
    source = f"override {_show(override)}"
    if not equals or not all(keys):
        raise ConfigError(f"{source}: write KEY=VALUE, for example dppu.size=64")
    if len(keys) > 2:
        raise ConfigError(f"{source}: unknown key {_path(key)}; fields are named as in dppu.size")
    value = parse(text, source)
    if keys == ["extends"]:
        raise ConfigError(
            f"{source}: extends works in a file only; choose the configuration itself"
        )
    *section_name, leaf = keys
    nested = {leaf: value}
    return ({section_name[0]: nested} if section_name else nested), source


def _explain(error: ErrorDetails, values: dict[str, Any], origin: Origin, source: str) -> list[str]:
    """The lines for one pydantic error."""
    contradiction = error.get("ctx", {}).get("error")
    if isinstance(contradiction, ContradictionError):
        return [
            f"{origin.get(path, source)}: {path} = {_value(values, path)} {message}"
            for path, message in contradiction.problems
        ]
    path = ".".join(str(part) for part in error["loc"][:2])  # then the place in a list
    where = origin.get(path, source)
    if error["type"] in ("extra_forbidden", "invalid_key"):
        return [f"{where}: unknown key {_path(path)}{_key_suggestion(path)}"]
    if error["type"] == "model_type":
        return [
            f"{where}: {path} is {_kind(error['input'])}; it is a section with the keys "
            f"{', '.join(section(path).model_fields)}"
        ]
    return [f"{where}: {path} = {_show(error['input'])}: {_limit(path, error)}"]


def _limit(path: str, error: ErrorDetails) -> str:
    """What is allowed at `path`, in the words of the schema."""
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "literal_error":
        *most, last = known = choices(path)
        given = _show(error["input"]).strip("'")
        return f"must be {', '.join(most)} or {last}{_suggestion(given, known)}"
    limits = numeric_limits(path)
    if kind == "multiple_of":
        within = f" from {limits[0]} to {limits[1]}" if limits is not None else ""
        return f"must be a multiple of {context['multiple_of']}{within}"
    if limits is not None:  # also where the type is wrong
        number = "a whole number" if isinstance(limits[1], int) else "a number"
        return f"must be {number} from {limits[0]} to {limits[1]}"
    return {
        "bool_type": "must be true or false",
        "string_type": "must be text; put it in quotes",
        "tuple_type": "must be a list, such as [conv1, layer1.*]",
        "string_too_short": "must not be empty",
        "string_pattern_mismatch": "must be printable text",
        "string_too_long": f"must have at most {context.get('max_length')} characters",
    }.get(kind, error["msg"])


def _key_suggestion(path: str) -> str:
    keys = known_keys()
    sections = sorted({key.split(".")[0] for key in keys})
    *parents, leaf = path.split(".")
    siblings = [key for key in keys if key.split(".")[:-1] == parents] if parents else sections
    leaves = {key.split(".")[-1]: key for key in siblings}
    close = [leaves[word] for word in difflib.get_close_matches(leaf, leaves, 1, 0.6)]
    if not close:  # right name in the wrong section
        close = [key for key in keys if key.split(".")[-1] == leaf] or difflib.get_close_matches(
            path, keys, 1, 0.7
        )
    if close:
        return f"; did you mean {close[0]}?"
    names = [key.split(".")[-1] for key in siblings]
    return f"; known keys here: {', '.join(names)}"


def _suggestion(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _value(values: dict[str, Any], path: str) -> str:
    """The value at `path`, or the default where the configuration does not give it."""
    node: Any = values
    parts = path.split(".")
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return f"{_show(section(parts[0]).model_fields[parts[-1]].default)} (default)"
        node = node[part]
    return _show(node)


def _show(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "true", False: "false"}[value]
    try:
        return _short(" ".join(repr(value).split()))
    except ValueError:  # Python shows no number of more than 4300 digits
        return "a number of thousands of digits"


def _path(path: str) -> str:
    """A key for a message: as it stands, if it can be printed."""
    return _short(path if path.isprintable() else repr(path))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: object) -> str:
    names: dict[type, str] = {
        type(None): "empty",
        bool: "true/false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a section",
    }
    return names.get(type(value), f"a {type(value).__name__}")
