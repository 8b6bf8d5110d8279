"""How layers are cut into tiles: what is aimed at; and mappings that a user wants, in YAML.

A layer's name or pattern, and what is wanted of it:

conv1: {rows: 16, weights_outside: true}
layer2.*: {pixel_tiles: 4, channel_tiles: 8, step_c: 64}

What a layer leaves out is the compiler's choice; `flexhyca compile --explain` shows what it chose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from ..errors import ConfigError
from ..files import read_text
from .section import Section
from .yaml_source import parse

#: Of anything that a mapping counts.
_MOST = 1 << 20


class MappingOptions(Section):
    """How the compiler cuts layers into tiles."""

    objective: Literal["cycles", "traffic"] = Field(
        default="cycles",
        description="what a layer's mapping has least of; the other one decides between equals",
    )


def _count(description: str) -> int | None:
    value: int | None = Field(default=None, ge=1, le=_MOST, strict=True, description=description)
    return value


def _flag(description: str) -> bool | None:
    value: bool | None = Field(default=None, strict=True, description=description)
    return value


class WantedMapping(Section):
    """What is wanted of a conv or linear layer's mapping; None: whatever is best."""

    rows: int | None = _count("pixels of a tile, at most what the array takes")
    cols: int | None = _count("channels of a tile, at most what the array takes")
    cut_rows: bool | None = _flag("no tile has pixels of two output rows (with rows)")
    whole: bool | None = _flag("blocks of the input hold whole rows with all channels")
    pixel_tiles: int | None = _count("tiles of pixels that share a fill of the buffers")
    channel_tiles: int | None = _count("tiles of channels that share a fill of the buffers")
    step_ky: int | None = _count("kernel rows of a part of the reduction")
    step_c: int | None = _count("channels of a part of the reduction, at most")
    parked: bool | None = _flag("sums wait in the output buffer between parts of the reduction")
    weights_outside: bool | None = _flag("the outer loop is over channels: weights stay")


#: What leaves all to the compiler.
ANY_MAPPING = WantedMapping()

_FILE = TypeAdapter(dict[str, WantedMapping])


def load_mappings(path: str | Path) -> dict[str, WantedMapping]:
    """What a file wants, by layer name or pattern. Raises ConfigError, a line for each problem."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a YAML file of mappings") from None
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    document = parse(text, str(path))
    if not isinstance(document, dict) or not document:
        raise ConfigError(f"{path}: no layers; write LAYER: {{rows: 16, ...}}, a line each")
    try:
        return _FILE.validate_python(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, str(path)))) from None


def _lines(error: ValidationError, path: str) -> list[str]:
    lines = []
    for problem in error.errors():
        where = f"{path}: {'.'.join(str(part) for part in problem['loc'])}"
        if problem["type"] == "extra_forbidden":
            known = ", ".join(WantedMapping.model_fields)
            lines.append(f"{where}: there is no such field; known are {known}")
        elif problem["type"] == "model_type":
            lines.append(f"{where} = {problem['input']!r}: write {{FIELD: VALUE, ...}}")
        else:
            flag = problem["type"] == "bool_type"
            limit = "true or false" if flag else f"a whole number from 1 to {_MOST}"
            lines.append(f"{where} = {problem['input']!r}: must be {limit}")
    return lines
