"""What a search is told in YAML: the space, the scenarios, and the limits (paper, Equation 2).

parameters:
  protection.s_th: 0.05..0.4:0.05
  dppu.size: [8, 16, 52]
scenarios:
  I: [{ber: 1e-4, accuracy: 0.97}]
limits: {cycles: 1.10, traffic: 0.10}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from ..errors import ConfigError
from ..files import read_text
from .fields import known_keys, section
from .load import config_from_json
from .ranges import values_of
from .section import Section
from .shipped import shipped_names, shipped_text
from .yaml_source import parse

_SHIPPED = "config/searches"
Bandwidth = Literal["weights", "total", "bytes_per_cycle"]
Perf = Literal["cycles", "time"]
FieldValue = str | int | float | bool


#: Beyond it bits are not wrong any more, but inverted.
MOST_BER = 0.5


class AccuracyGoal(Section):
    """An accuracy that has to be kept at a bit error rate."""

    ber: float = Field(gt=0, le=MOST_BER, description="probability that a stored bit is wrong")
    accuracy: float = Field(gt=0, le=1, description="relative to the fault-free accuracy acc0")


def goal_of(ber: float, accuracy: float) -> AccuracyGoal:
    """A goal that a user gives by itself; ConfigError in the words of the options if it is none."""
    for name, value, most in (("ber", ber, MOST_BER), ("goal", accuracy, 1.0)):
        if not 0 < value <= most:
            raise ConfigError(f"{name} {value:g}: give a number above 0 and up to {most:g}")
    return AccuracyGoal(ber=ber, accuracy=accuracy)


class Limits(Section):
    """What protection may cost besides area; null or none for no limit."""

    cycles: float | None = Field(
        default=1.10, gt=0, allow_inf_nan=False, description="over those of the base machine"
    )
    traffic: float | None = Field(
        default=0.10, allow_inf_nan=False, description="extra traffic, as `bandwidth` counts"
    )
    bandwidth: Bandwidth = Field(
        default="weights",
        description="weights = extra bytes / bytes of the weights (paper, IV-B); total = extra "
        "bytes / base bytes; bytes_per_cycle = extra bytes a cycle / base bytes a cycle",
    )
    perf: Perf = Field(
        default="cycles", description="cycles, or time = cycles x depth of the PE's logic"
    )

    @field_validator("cycles", "traffic", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "none" else value


def with_limits(limits: Limits, changes: Mapping[str, object]) -> Limits:
    """Other limits that a user gives by themselves; ConfigError where one is none."""
    for name in changes:
        if name not in Limits.model_fields:
            known = ", ".join(Limits.model_fields)
            raise ConfigError(f"limit {name!r}: there is none; use {known}")
    try:
        return Limits.model_validate({**limits.model_dump(), **changes})
    except ValidationError as error:
        raise ConfigError(
            "\n".join(
                f"limit {problem['loc'][0]} = {problem['input']!r}: {problem['msg'].lower()}"
                for problem in error.errors()
            )
        ) from None


_Goals = Annotated[list[AccuracyGoal], Field(min_length=1)]


class SearchFile(Section):
    """One file. parameters : field of the configuration -> its values."""

    name: str = "own"
    parameters: dict[str, list[FieldValue] | FieldValue]
    scenarios: dict[str, _Goals] = Field(default_factory=dict)
    limits: Limits = Limits()


class Search(Section):
    """A search file with its ranges written out. values : checked one by one, not together."""

    name: str
    values: dict[str, tuple[FieldValue, ...]]
    scenarios: dict[str, tuple[AccuracyGoal, ...]]
    limits: Limits


def list_searches() -> list[str]:
    """Names of the shipped spaces."""
    return shipped_names(_SHIPPED)


def load_search(name: str | Path = "full") -> Search:
    """Read a shipped space by name, or a YAML file by path.

    Raises ConfigError with one line per problem; each names the file, the field, the value and
    what to do.
    """
    text, source = _text(name)
    document = parse(text, source)
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: no sections; write parameters: and below it FIELD: VALUES")
    try:
        read = SearchFile.model_validate({"name": Path(source).stem, **document})
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error, source))) from None
    if not read.parameters:
        raise ConfigError(f"{source}: parameters: none; give at least one field and its values")
    values = {key: _values(key, given, source) for key, given in read.parameters.items()}
    scenarios = {key: tuple(goals) for key, goals in read.scenarios.items()}
    return Search(name=read.name, values=values, scenarios=scenarios, limits=read.limits)


def _text(name: str | Path) -> tuple[str, str]:
    shipped = list_searches()
    if str(name) in shipped:
        return shipped_text(f"{_SHIPPED}/{name}.yaml"), str(name)
    try:
        return read_text(name), str(name)
    except (OSError, ValueError):
        near = difflib.get_close_matches(str(name), shipped, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"no search space {str(name)!r}: neither a readable YAML file nor one of "
            f"{', '.join(shipped)}{hint}"
        ) from None


def _lines(error: ValidationError, source: str) -> list[str]:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["loc"][0] == "parameters" and len(problem["loc"]) > 1:
            path = ".".join(str(part) for part in problem["loc"][:2])
            lines.append(
                f"{source}: {path}: give a value, a range or a list of them, each a number, a word "
                "or true or false"
            )
        elif problem["type"] == "extra_forbidden":
            lines.append(
                f"{source}: unknown key {path}; known are {', '.join(SearchFile.model_fields)}, "
                f"in limits {', '.join(Limits.model_fields)}, "
                f"in a goal {', '.join(AccuracyGoal.model_fields)}"
            )
        else:
            given = "" if problem["type"] == "missing" else f" = {problem['input']!r}"
            lines.append(f"{source}: {path}{given}: {problem['msg'].lower()}")
    return list(dict.fromkeys(lines))


def _values(key: str, given: list[FieldValue] | FieldValue, source: str) -> tuple[FieldValue, ...]:
    """Each value of a field once, in the order in which they are given."""
    where = f"{source}: parameters.{key}"
    if key not in known_keys() or "." not in key:
        near = difflib.get_close_matches(key, known_keys(), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "see flexhyca config show --explain"
        raise ConfigError(f"{where}: no such field of a configuration; {hint}")
    items = given if isinstance(given, list) else [given]
    words = [word for item in items for word in _words(key, item, where)]
    if not words:
        raise ConfigError(f"{where}: no values; give at least one")
    # The loader knows which values a field takes; the rest of the machine does not matter here.
    return tuple(dict.fromkeys(_checked(key, word, where) for word in words))


def _words(key: str, item: FieldValue, where: str) -> list[str]:
    if isinstance(item, bool):
        return [str(item).lower()]
    if not isinstance(item, str):
        return [str(item)]
    return [word for part in item.split(",") for word in values_of(key, part.strip(), where)]


def _checked(key: str, word: str, where: str) -> FieldValue:
    """The value, of the field's type; ConfigError where it does not take it.

    The field by itself: which values can stand together is a question for points.
    """
    parent, _, leaf = key.rpartition(".")
    given = {leaf: parse(word, f"{where}: {word}")}
    try:
        own = section(parent).model_validate(given)
    except ValidationError:
        config_from_json({parent: given}, where)  # says what is wrong
        raise
    value: FieldValue = getattr(own, leaf)
    return value
