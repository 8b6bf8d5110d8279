"""Values of a field as people write them: 0.02..0.4, 1..16, 8..256:8, or one after the other."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation

from ..errors import ConfigError
from .fields import numeric_limits

MOST_VALUES = 100_000
_MOST_STEPS = 20  # of a range without a step of its own


def values_of(key: str, text: str, where: str) -> list[str]:
    """The values that `text` stands for: itself, or those of a range.

    key : the field, by its dotted path; "" where ranges have no meaning. where : prefix of errors
    (ConfigError), such as "--vary 'dppu.size=8..'".  LOW..HIGH has the finest steps of 1, 2 or 5 x
    a power of ten that give at most 21 values; LOW..HIGH:STEP ends at the last step not above HIGH.
    """
    low, dots, rest = text.partition("..")
    if not dots:
        return [text]
    limits = numeric_limits(key) if key else None
    if limits is None:
        raise ConfigError(f"{where}: {key} is no number; list its values with commas")
    whole = isinstance(limits[1], int)
    high, colon, step = rest.partition(":")
    try:
        if not text.isascii() or "_" in text:  # which Decimal reads
            raise InvalidOperation
        first, last = Decimal(low), Decimal(high)
        size = Decimal(step) if colon else _nice_step(last - first, whole)
        wrong = not (first.is_finite() and last >= first and size > 0 and size.is_finite())
        count = 0 if wrong else int((last - first) / size) + 1
    except (InvalidOperation, OverflowError, ValueError):
        wrong = True
    if wrong:
        raise ConfigError(
            f"{where}: {text!r} is no range; write LOW..HIGH or LOW..HIGH:STEP, "
            "LOW not above HIGH and STEP above 0"
        )
    if count > MOST_VALUES:
        raise ConfigError(f"{where}: {text!r} has {count} values, more than {MOST_VALUES}")
    return [format((first + i * size).normalize(), "f") for i in range(count)]


def _nice_step(span: Decimal, whole: bool) -> Decimal:
    """The finest of 1, 2, 5 x 10^k that gives at most 21 values; at least 1 if whole.

    Why not equally many: readable values, and 0.02..0.4 gives the steps of the paper's figures.
    """
    if span <= 0:
        return Decimal(1)
    least = span / _MOST_STEPS
    power = Decimal(10) ** math.floor(least.log10())
    step = next(power * f for f in (1, 2, 5, 10) if power * f >= least)
    return max(step, Decimal(1)) if whole else step
