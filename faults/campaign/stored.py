"""What a campaign's file says, read as what it has to be: facts, and one row a trial.

A checksum says that a text is as it was written, not that it was a campaign which wrote it. Each
function raises `NonsenseError` with what is wrong; the file is named by who reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ...errors import brief
from . import MOST_TRIALS
from .experiment import COLUMN_TYPES, QUANTITIES, Quantity, TrialRow, quantity_of


class NonsenseError(Exception):
    """A text with the right checksum that no campaign writes."""


class CampaignGoal(NamedTuple):
    """What was asked for last: `trials`, fewer if a margin was reached at `stop`."""

    trials: int
    margin: float | None = None
    stop: int | None = None

    @property
    def end(self) -> int:
        """The number of trials of the finished campaign."""
        return self.trials if self.stop is None else self.stop


class _Description(NamedTuple):
    """The fields that everybody relies on; there may be more."""

    kind: str
    code: str
    spec: dict[str, Any]
    columns: dict[str, str]
    quantities: list[dict[str, Any]]
    together: int = 1
    names: list[str] = []  # noqa: RUF012  never changed
    locations: list[str] = []  # noqa: RUF012


_DESCRIPTION = TypeAdapter(_Description)
_QUANTITIES = {name: TypeAdapter(kind) for name, kind in QUANTITIES.items()}


def parsed(text: str, what: str) -> Any:
    """The value of a JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NonsenseError(f"{what} is no JSON") from None


def stored_goal(value: Any) -> CampaignGoal:
    """What was asked for, from a fact."""
    try:
        goal = CampaignGoal(*value)
    except TypeError:
        raise NonsenseError(f"its goal is {_shown(value)}") from None
    whole = _is_count(goal.trials, MOST_TRIALS) and (
        goal.stop is None or _is_count(goal.stop, goal.trials)
    )
    margin = goal.margin is None or (isinstance(goal.margin, float) and 0 < goal.margin < 1)
    if not (whole and margin):
        raise NonsenseError(f"its goal is {_shown(value)}")
    return goal


def stored_description(value: Any) -> dict[str, Any]:
    """What the campaign is of, from a fact."""
    what = f"what it is of is {_shown(value)}"
    if not isinstance(value, dict):
        raise NonsenseError(what)
    known = {name: value[name] for name in _Description._fields if name in value}
    try:
        found = _DESCRIPTION.validate_python(known, strict=True)
        for quantity in found.quantities:
            _check_quantity(quantity, found.columns)
    except (ValidationError, TypeError, ValueError, KeyError):
        raise NonsenseError(what) from None
    seed = found.spec.get("seed")
    columns = set(found.columns.values()) <= set(COLUMN_TYPES) and "index" not in found.columns
    if not (_is_count(seed, 2**64) and columns and 1 <= found.together <= MOST_TRIALS):
        raise NonsenseError(what)
    return value


def _check_quantity(described: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Raise ValueError and the like unless it is a quantity of these columns."""
    own = quantity_of(described)
    fields = {name: value for name, value in described.items() if name != "kind"}
    _QUANTITIES[described["kind"]].validate_python(fields)
    missing = set(_columns_of(own)) - {"index", *columns}
    if missing:
        raise ValueError(f"no column {min(missing)}")


def _columns_of(quantity: Quantity) -> Iterator[str]:
    for name in ("column", "cluster", "above", "below", "before", "after", "by", "strata"):
        value = getattr(quantity, name, None) or ()
        yield from (value,) if isinstance(value, str) else value


def stored_row(number: Any, text: str, columns: Mapping[str, str]) -> TrialRow:
    """A trial with its index, from its text."""
    what = f"row {_shown(number)}"
    if not _is_count(number, MOST_TRIALS - 1):
        raise NonsenseError(f"{what} is numbered outside 0..{MOST_TRIALS - 1}")
    values = parsed(text, what)
    if not isinstance(values, list) or len(values) != len(columns):
        raise NonsenseError(f"{what} holds {_shown(values)}, and not {len(columns)} values")
    for (name, kind), value in zip(columns.items(), values, strict=True):
        wide = isinstance(value, int) and not -(2**63) <= value < 2**63
        if value is not None and (type(value) is not COLUMN_TYPES[kind] or wide):
            raise NonsenseError(f"{what} has {name} = {_shown(value)}, which is no {kind}")
    return {"index": number, **dict(zip(columns, values, strict=True))}


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _shown(value: Any) -> str:
    return brief(json.dumps(value))
