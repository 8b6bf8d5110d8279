"""Arrays of any type, shape and numbers, given to public functions: one line, or what they mean.

    python -m flexhyca.tests.fuzz.wild_arrays 20000 0

What a right one means is said here a second time, number by number in Python (`meaning`).
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from flexhyca.errors import FlexhycaError, InternalError
from flexhyca.tests.fuzz.attacks import Attack, outcomes, print_outcomes
from flexhyca.tests.fuzz.damage import one_line
from flexhyca.tests.given_arrays import ROWS, bench, right

_QUICK = ("Dataset", "quantise_images", "run_images", "accuracy_of", "requantise")
_CALLS = [row for row in ROWS if row.function in _QUICK]
_TYPES = (
    *("u1", "u1", "i1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", ">i2", ">u8", "f2", "f4", "f8"),
    *(">f4", "g", "?", "c8", "O", "U3", "S2", "M8[s]", "m8[s]", "V2"),
)
_NUMBERS = (0, 0, 1, 1, 0.5, 0.25, 1 / 255, 2, 9, 10, 127, 128, 255, 256, -1, 1e9, 2.0**63, 1e30)


def wild(rng: np.random.Generator, kind: str) -> np.ndarray:
    """An array near a right one of this kind in some ways, and not in others."""
    given = np.asarray(right(kind))
    shape = list(given.shape)
    match rng.integers(8):
        case 0:
            shape[rng.integers(len(shape))] += int(rng.choice([-1, 1, 3]))
        case 1:
            shape.insert(int(rng.integers(len(shape) + 1)), int(rng.choice([0, 1, 2])))
        case 2:
            shape.pop(int(rng.integers(len(shape))))
        case 3:
            shape = [shape[i] for i in rng.permutation(len(shape))]
        case _:
            pass
    dtype = np.dtype(str(rng.choice(_TYPES)))
    if rng.random() < 0.4:
        numbers = np.resize(given, shape).astype(np.float64)
    else:
        high = float(rng.choice([1, 1, 2, 9, 127, 255, 300]))
        numbers = rng.random(shape) * high
        if rng.random() < 0.5:
            numbers = np.rint(numbers)
    numbers = np.array(numbers / 255 if rng.random() < 0.2 else numbers)  # also of no axes
    if rng.random() < 0.3 and numbers.size:
        numbers.reshape(-1)[rng.integers(numbers.size)] = float(
            rng.choice([*_NUMBERS, math.nan, math.inf, -math.inf])
        )
    with np.errstate(all="ignore"):
        found = numbers.astype(dtype) if dtype.kind in "biufcOUS" else np.zeros(shape, dtype)
    if rng.random() < 0.2 and found.ndim:
        found = found[::-1]
    return np.asfortranarray(found) if rng.random() < 0.2 else found


def meaning(kind: str, sized: bool, given: np.ndarray) -> Any:
    """The right array that `given` stands for, None where it stands for none."""
    wanted = np.asarray(right(kind))
    kinds = {"pixels": "uif", "labels": "ui", "inputs": "i", "logits": "uif", "sums": "ui"}[kind]
    if given.dtype.kind not in kinds or (kind == "pixels" and given.dtype == np.int8):
        return None
    numbers = [x.item() for x in given.reshape(-1)] if given.dtype.char != "g" else None
    if numbers is None:
        numbers = [float(x) for x in given.reshape(-1)]
    if not all(math.isfinite(x) for x in numbers):
        return None
    if kind == "sums":
        fits = all(-(2**63) <= x < 2**63 for x in numbers)
        return np.array(numbers, np.int64).reshape(given.shape) if fits else None
    if kind == "logits":  # one a label, whatever axes
        ok = given.ndim >= 2 and len(given) == len(wanted) and given.size
        return given if ok and given.size // len(given) >= 10 else None
    if not numbers:
        return None
    same = given.shape == wanted.shape
    if kind == "labels":
        most = 9 if sized else 2**63 - 1
        return (
            given.astype(np.int64) if same and 0 <= min(numbers) <= max(numbers) <= most else None
        )
    if kind == "inputs":
        fits = given.shape[1:] == wanted.shape[1:] and given.dtype == np.int8
        return np.array(given) if fits else None
    if given.ndim != 4 or (sized and given.shape[1:] != wanted.shape[1:]):
        return None
    if given.dtype.kind == "f":
        if not 0 <= min(numbers) <= max(numbers) <= 1:
            return None
        numbers = [float(np.rint(float(Fraction(x) * 255))) for x in numbers]
    elif not 0 <= min(numbers) <= max(numbers) <= 255:
        return None
    return np.array(numbers).reshape(given.shape).astype(np.uint8)


def attempt(number: int) -> str:
    """Try one case; what became of it."""
    rng = np.random.default_rng(number)
    row = _CALLS[rng.integers(len(_CALLS))]
    given = wild(rng, row.kind)
    wanted = meaning(row.kind, row.sized, given)
    if row.function == "Dataset" and wanted is not None and len(wanted) != len(right("labels")):
        wanted = None  # images and labels of other counts
    refusal: FlexhycaError | None = None
    try:
        found = row.call(given)
    except FlexhycaError as error:
        refusal = error
    if refusal is not None:
        assert not isinstance(refusal, InternalError)
        one_line(refusal)
        assert wanted is None, f"{row.function} refuses {given.dtype} {given.shape}: {refusal}"
        return f"{row.kind}: refused"
    assert wanted is not None, f"{row.function} takes {given.dtype} {given.shape}"
    if row.kind in ("pixels", "labels") and row.function == "Dataset":
        assert np.array_equal(found, wanted)
    assert np.array_equal(found, row.call(wanted))
    return f"{row.kind}: right"


def attack(count: int, first: int, *, go_on: bool = False) -> Counter[str]:
    """Try `count` cases from seed `first`; how often each outcome came."""
    bench()
    return outcomes(attempt, range(first, first + count), go_on)


def many(folder: Path, cases: int) -> int:
    attack(cases, 10_000)
    return cases


ATTACKS = (Attack("arrays given to public functions", many, 0, 20_000),)


if __name__ == "__main__":
    print_outcomes(attack)
