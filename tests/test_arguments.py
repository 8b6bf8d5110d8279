"""Arguments of public functions: of what their annotations say, or one line; every wrong type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import flexhyca as fh
from flexhyca import api
from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.given.arguments import Within, _hints, checked_arguments, fits, wanted
from flexhyca.tests.fuzz.wild_arguments import (
    SEARCHES,
    Public,
    attempt,
    names,
    public,
    values,
    wild,
)

#: Looked at by themselves, not by their annotations.
OWN = ("Dataset[...]", "Dataset")


@pytest.mark.filterwarnings("ignore::flexhyca.errors.FlexhycaWarning")
@pytest.mark.parametrize("entry", public(), ids=lambda entry: entry.name)
def test_every_argument_of_every_type(entry: Public) -> None:
    for name in names(entry):
        for value in wild():
            line = attempt(entry, {name: value})
            if entry.name in OWN:
                continue
            hint = _hints(_inner(entry.function))[name]
            if not fits(value, hint):
                assert line is not None, (name, value)
                assert line.startswith(f"{entry.name}: {name} = "), line
                assert line.endswith(f"; give {wanted(hint)}"), line
                assert "\n" not in line
                assert len(line) < 400


def _inner(function: Any) -> Any:
    return getattr(function, "__func__", function).__wrapped__


def test_every_public_function_looks_at_its_arguments() -> None:
    for name in {*fh.__all__, *api.__all__, "labelled_images"}:
        function = (
            getattr(fh, name, None) or getattr(api, name, None) or fh.exploration.labelled_images
        )
        if inspect.isfunction(function) and name not in ("has_images", "is_program"):
            assert hasattr(function, "__wrapped__"), name
            hints = _hints(function.__wrapped__)
            assert set(hints) == set(inspect.signature(function).parameters), name
            for hint in hints.values():
                assert wanted(hint)
                fits(None, hint)  # InternalError for a kind that nobody knows
    assert {entry.name for entry in public()} >= set(SEARCHES)


V = values


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: fh.compile(V()["network"], V()["config"], None, -3),
            "compile: batch = -3; give a whole number from 1 to 65536",
        ),
        (
            lambda: fh.simulate("digits"),
            "simulate: program = 'digits'; give a Program",
        ),
        (
            lambda: fh.run_images(V()["network"], V()["inputs"]),
            "run_images: program = a Network; give a Program",
        ),
        (
            lambda: fh.run_images(V()["program"], V()["inputs"], values="none"),
            "run_images: values = 'none'; give 'fast', 'machine' or 'registers'",
        ),
        (
            lambda: fh.simulate(V()["program"], V()["inputs"], cycle_model="x"),
            "simulate: cycle_model = 'x'; give 'compiled' or 'simpy'",
        ),
        (
            lambda: fh.load_config("flexhyca-32x32", "dppu.size=64"),
            "load_config: overrides = 'dppu.size=64'; give a list (each a text)",
        ),
        (
            lambda: fh.load_model("digits", seed=2**64),
            "load_model: seed = 18446744073709551616; give a whole number from 0 to 4294967295",
        ),
        (
            lambda: fh.bits("digits", ber=[2.0]),
            "bits: ber = [2.0]; give a number",
        ),
        (
            lambda: fh.compare("digits", schemes=3),
            "compare: schemes = 3; give a list (each a text) or None",
        ),
        (
            lambda: V()["data"][::0],
            "data digits-test: take parts by slices, such as data[:20]",
        ),
        (
            lambda: V()["data"].spread(1.5),
            "Dataset.spread: count = 1.5; give a whole number from 1 to 1000000000",
        ),
    ],
)
def test_what_the_line_says(call: Callable[[], object], line: str) -> None:
    with pytest.raises(FlexhycaError) as caught:
        call()
    assert str(caught.value) == line


def test_what_fits() -> None:
    good: list[tuple[Any, Any]] = [
        (np.int64(3), int),
        (np.float32(1), float),
        (1, float),
        (np.bool_(True), bool),
        (np.array([1.5]), Sequence[float]),
        ((1, 2), tuple[float, float]),
        (Path("x"), str | Path),
        ({1: np.zeros(1)}, Mapping[int, np.ndarray[Any, Any]]),
        ("a", Literal["a", "b"]),
        (3, Annotated[int, Within(3, 3)]),
    ]
    bad: list[tuple[Any, Any]] = [
        (True, int),
        (True, float),
        (1.0, int),
        (1, bool),
        ("ab", Sequence[str]),
        (np.array("x"), Sequence[str]),
        ((1, 2, 3), tuple[float, float]),
        (np.array(["a"]), Literal["a"]),
        (float("nan"), Annotated[float, Within(0, 1)]),
        (4, Annotated[int, Within(3, 3)]),
        (iter([1]), Sequence[int]),
    ]
    assert [fits(*case) for case in good] == [True] * len(good)
    assert [fits(*case) for case in bad] == [False] * len(bad)
    with pytest.raises(InternalError):
        fits(1, type[int])


def test_numbers_arrive_as_pythons() -> None:
    @checked_arguments
    def kinds(a: int, b: float, c: str) -> list[type]:
        return [type(a), type(b), type(c)]

    assert kinds(np.uint8(3), np.float32(2), np.str_("x")) == [int, float, str]
