"""What an attack is: many inputs of one kind, tried and counted.

A module of this folder names its attacks in `ATTACKS`, with how many cases belong into every run of
the tests and how many into a long one.  `test_attacks` runs them all, `python -m
flexhyca.tests.fuzz` runs the long ones and prints the table; nothing else has to be told of one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent


class Attack(NamedTuple):
    """kind : what is attacked with what. short, long : cases.

    attempt : tries so many cases in a folder of its own, gives how many it tried, and raises where
    one of them falls.
    """

    kind: str
    attempt: Callable[[Path, int], int]
    short: int
    long: int

    def __str__(self) -> str:
        return self.kind


def tried(strategy: st.SearchStrategy[Any], check: Callable[[Any], object], cases: int) -> int:
    """Draw and check so many cases; how many there were."""
    count = 0

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def many(case: Any) -> None:
        nonlocal count
        count += 1
        check(case)

    many()
    return count


def every() -> Iterator[Attack]:
    """The attacks of all modules here and below, by kind."""
    found = []
    for path in HERE.rglob("*.py"):
        if path.stem in ("attacks", "__main__", "test_attacks"):
            continue
        parts = path.relative_to(HERE).with_suffix("").parts
        module = importlib.import_module(".".join(["flexhyca.tests.fuzz", *parts]))
        found += getattr(module, "ATTACKS", ())
    yield from sorted(found)


def failures(error: BaseException) -> list[BaseException]:
    """The different ways in which cases fell."""
    if isinstance(error, BaseExceptionGroup):
        return [one for each in error.exceptions for one in failures(each)]
    return [error]
