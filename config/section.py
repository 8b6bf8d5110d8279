"""What sections of the configuration are made of: their base, and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic_core import PydanticKnownError

#: Parts of 1 that a `Decimal` counts in.
THOUSAND = 1000


def thousandths(value: float) -> int:
    """A `Decimal` as a count of thousandths, for exact arithmetic."""
    return round(value * THOUSAND)


def _decimal(value: float) -> float:
    """The nearest number of thousandths; a whole one as an int, which prints without a point."""
    if value and not thousandths(value):
        raise PydanticKnownError("multiple_of", {"multiple_of": 1 / THOUSAND})
    whole, rest = divmod(thousandths(value), THOUSAND)
    return thousandths(value) / THOUSAND if rest else whole


#: A number in steps of 0.001: cycles are counted with its thousandths, in integers.
Decimal = Annotated[
    float,
    Field(strict=True, allow_inf_nan=False, multiple_of=0.001),
    AfterValidator(_decimal),
    PlainSerializer(_decimal, return_type=Any),
]


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def integer(
    default: int, low: int, high: int, description: str, multiple_of: int | None = None
) -> int:
    """An integer field with limits (typed as its value, which is how pydantic fields read)."""
    value: int = Field(
        default, ge=low, le=high, multiple_of=multiple_of, description=description, strict=True
    )
    return value


def decimal(default: float, low: float, high: float, description: str) -> float:
    """A field of a `Decimal` with limits; these are floats, also where they are whole."""
    value: float = Field(default, ge=low, le=high, description=description)
    return value
