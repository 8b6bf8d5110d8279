"""A grid over the configuration: what `--vary` means, and every point of it, checked.

    protection.s_th=0.02..0.4        steps of 1, 2 or 5 x a power of ten: at most 21 values
    protection.s_th=0.02..0.4:0.01   a step of one's own
    dppu.data_reuse=array,hybrid     a list; parts of a list may be ranges
    protection.s_th=0.1,0.2 dppu.size=104,208      two fields that change together

A range ends at the last step that is not above its end.  `placement` counts as a field.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..config import Config, load_config
from ..config.fields import known_keys
from ..config.ranges import values_of
from ..errors import ConfigError

PLACEMENT = "placement"
MOST_POINTS = 100_000


class Axis(NamedTuple):
    """Fields that change together, and their values as text: one tuple a step."""

    keys: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class GridPoint:
    """One configuration of the grid, and what tells it from the others."""

    config: Config
    placement: str
    varied: dict[str, str | int | float | bool]

    @property
    def label(self) -> str:
        """For messages."""
        return " ".join(f"{key}={value}" for key, value in self.varied.items())


class Grid(NamedTuple):
    """The points in order, the first axis slowest; (label, why) of those that are impossible."""

    points: list[GridPoint]
    invalid: list[tuple[str, str]]


def parse_axis(text: str, placements: Sequence[str]) -> Axis:
    """One `--vary`; ConfigError says what is wrong with it."""
    keys: list[str] = []
    columns: list[list[str]] = []
    for part in re.sub(r"\s*,\s*", ",", text).split():
        key, _, values = part.partition("=")
        if not key or not values:
            raise ConfigError(
                f"--vary {text!r}: {part!r} is not KEY=VALUES; "
                "write for example protection.s_th=0.02..0.4 or dppu.data_reuse=array,hybrid"
            )
        _check_key(key, values, text)
        column = [v for item in values.split(",") for v in _values(key, item, text)]
        unknown = [v for v in column if key == PLACEMENT and v not in placements]
        if unknown:
            raise ConfigError(
                f"--vary {text!r}: {unknown[0]!r} is no placement; use {', '.join(placements)}"
            )
        keys.append(key)
        columns.append(column)
    if not keys:
        raise ConfigError("--vary is empty; write KEY=VALUES, such as dppu.size=52,104")
    for key, column in zip(keys, columns, strict=True):
        if len(column) != len(columns[0]):
            raise ConfigError(
                f"--vary {text!r}: {keys[0]} has {len(columns[0])} value(s) and {key} "
                f"{len(column)}; fields of one --vary change together: give equally many"
            )
    return Axis(tuple(keys), tuple(dict.fromkeys(zip(*columns, strict=True))))


def _check_key(key: str, values: str, text: str) -> None:
    if key == "name":
        raise ConfigError(f"--vary {text!r}: name changes nothing; vary another field")
    if key not in known_keys() and key != PLACEMENT:
        load_config("base-32x32", [f"{key}={values.split(',')[0]}"])  # says what is wrong
        raise ConfigError(f"--vary {text!r}: {key} is a section; name one of its fields")


def _values(key: str, item: str, text: str) -> list[str]:
    """The values of one part of a list: itself, or those of a range."""
    if not item:
        raise ConfigError(f"--vary {text!r}: a value of {key} is empty; drop the comma")
    if key == PLACEMENT and ".." in item:
        raise ConfigError(f"--vary {text!r}: {key} is no number; list its values with commas")
    return values_of(key, item, f"--vary {text!r}")


def expand(config: str | Path, sets: Sequence[str], axes: Sequence[Axis], placement: str) -> Grid:
    """Every combination of the axes, each a checked configuration; equal ones count once.

    placement : that of points which do not vary it. Raises ConfigError for a field that is given
    twice, for a grid that is too large, and where no point is possible.
    """
    keys = [key for axis in axes for key in axis.keys]
    given = {override.partition("=")[0].strip() for override in sets}
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise ConfigError(f"--vary {key}: given twice; put all its values into one --vary")
        if key in given:
            raise ConfigError(f"--vary {key}: also given by --set; drop one of the two")
    size = math.prod(len(axis.values) for axis in axes)
    if size > MOST_POINTS:
        raise ConfigError(f"--vary: the grid has {size} points, more than {MOST_POINTS}; thin it")
    found: dict[tuple[str, str], GridPoint] = {}
    invalid: list[tuple[str, str]] = []
    for combination in itertools.product(*(axis.values for axis in axes)):
        chosen = dict(zip(keys, itertools.chain(*combination), strict=True))
        where = chosen.get(PLACEMENT, placement)
        changes = [f"{key}={value}" for key, value in chosen.items() if key != PLACEMENT]
        try:
            settings = load_config(config, [*sets, *changes])
        except ConfigError as error:
            invalid.append((" ".join(changes), "; ".join(str(error).splitlines())))
            continue
        varied = {key: where if key == PLACEMENT else _field(settings, key) for key in keys}
        found.setdefault((settings.config_hash, where), GridPoint(settings, where, varied))
    if not found:
        raise ConfigError(
            f"no point of the grid is possible; the first, {invalid[0][0]}: {invalid[0][1]}"
        )
    return Grid(list(found.values()), invalid)


def _field(config: Config, key: str) -> str | int | float | bool:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, tuple):
        return " ".join(value)
    assert isinstance(value, str | int | float)
    return value
