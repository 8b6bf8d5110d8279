"""What an attack is: many inputs of one kind, tried and counted.

A module of this folder names its attacks in `ATTACKS`, with how many cases belong into every run of
the tests and how many into a long one.  `test_attacks` runs them all, `python -m
flexhyca.tests.fuzz` runs the long ones and prints the table; nothing else has to be told of one.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flexhyca.errors import first_line

HERE = Path(__file__).parent
FAILED = "FAILED"


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


def outcomes(
    attempt: Callable[[int], str],
    numbers: Iterable[int],
    go_on: bool,
    usual: Callable[[str], bool] = lambda what: not what.startswith(FAILED),
) -> Counter[str]:
    """Try a case of each number; how often each outcome came.

    go_on : count what falls, too, and print what is not usual; else the first that falls ends it.
    """
    seen: Counter[str] = Counter()
    for number in numbers:
        try:
            what = attempt(number)
        except Exception as error:
            if not go_on:
                raise AssertionError(f"case {number} of {attempt.__module__}") from error
            what = f"{FAILED} {type(error).__name__}: {first_line(error)[:150]}"
        if go_on and not usual(what):
            print(number, what, flush=True)
        seen[what] += 1
    return seen


def print_outcomes(attack: Callable[..., Counter[str]]) -> None:
    """For a script: COUNT cases from number FIRST on, whatever falls."""
    count, first = map(int, sys.argv[1:])
    for what, times in attack(count, first, go_on=True).most_common():
        print(times, what)


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
