"""Arrays as users give them: what is taken, what is converted, and the line for all others.

Every public function that takes an array looks at it here, before anything is computed of it
(tests/test_given_arrays.py has the table).  What is right but looks different (a list, a tensor, a
read-only or reversed view) is taken; numbers are never guessed at.

Pixels are 0..255: uint8, or wider integers that all lie there.  Floating-point numbers count as
shares of 255 where all lie in 0..1, and are rounded to the nearest pixel; others are refused.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ModelError, first_line

_WHITE = 255
_NUMBERS = "iuf"  # kinds of numpy's types


def plain_array(what: str, given: object) -> NDArray[np.generic]:
    """An array of numbers or truth values, its memory shared where it can be.

    what : begins the error, such as `data mine: images`; every error here begins with one.
    """
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ModelError(f"{what} are masked, and what lies behind is not known; fill them first")
    try:
        found = np.asarray(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{what} are no array: {first_line(error)}") from None
    if found.dtype.kind not in _NUMBERS + "b":
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted numbers")
    return found


def _within(what: str, found: NDArray[np.generic], low: int, high: int, advice: str) -> None:
    once = found[tuple(slice(None, None if step else 1) for step in found.strides)]  # of broadcasts
    least, most = once.min(), once.max()
    if not low <= least <= most <= high:  # NaN, too
        raise ModelError(
            f"{what} are {found.dtype} {least}..{most}, wanted {low}..{high}; {advice}"
        )


def given_numbers(what: str, given: ArrayLike) -> tuple[float, ...]:
    """Any number of numbers; whether they are finite is the caller's to say."""
    found = plain_array(what, given)
    if found.ndim != 1 or found.dtype.kind not in _NUMBERS:
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted a list of numbers")
    return tuple(found.astype(np.float64).tolist())


def given_integers(what: str, given: ArrayLike) -> NDArray[np.int64]:
    """int64 of any shape, of integers that fit."""
    found = plain_array(what, given)
    if found.dtype.kind not in "iu":
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted integers")
    if found.dtype.kind == "u" and found.size:
        _within(what, found, 0, np.iinfo(np.int64).max, "they are signed")
    return found.astype(np.int64, copy=False)


def given_pixels(what: str, given: ArrayLike) -> NDArray[np.uint8]:
    """u8 (n, h, w, c), n >= 1, of what may be other integers, or floats in 0..1."""
    found = plain_array(what, given)
    if found.ndim != 4 or found.dtype.kind not in _NUMBERS or found.dtype == np.int8:
        advice = "; are they quantised already?" if found.dtype == np.int8 else ""
        raise ModelError(
            f"{what} are {found.dtype} {found.shape}, wanted uint8 (n, h, w, c){advice}"
        )
    if not found.size:
        raise ModelError(f"{what} are none: {found.dtype} {found.shape}, wanted uint8 (n, h, w, c)")
    if found.dtype.kind == "f":
        _within(what, found, 0, 1, "or give uint8, 0..255")
        wide = found.astype(np.float32) if found.dtype.itemsize < 4 else found
        return np.require(np.rint(wide * _WHITE), np.uint8, "C")
    if found.dtype != np.uint8:
        _within(what, found, 0, _WHITE, "scale them first")
    return np.require(found, np.uint8, "C")  # sums of floats depend on the order in memory


def given_labels(
    what: str, given: ArrayLike, count: int, classes: int | None = None
) -> NDArray[np.int64]:
    """int64 (count,), of any integers 0.. or 0..classes - 1."""
    found = plain_array(what, given)
    if found.shape != (count,):
        raise ModelError(f"{what} of shape {found.shape} for {count} images")
    if found.dtype.kind not in "iu":
        raise ModelError(f"{what} are {found.dtype}, wanted integers")
    most = np.iinfo(np.int64).max if classes is None else classes - 1
    _within(what, found, 0, most, "leave out what has no class")
    return found.astype(np.int64, copy=False)


def given_inputs(
    what: str, given: ArrayLike, shape: tuple[int, ...], bits: int
) -> NDArray[np.int8]:
    """int8 (n, *shape), n >= 1, within `bits` bits: a network's input, or its outputs."""
    found = plain_array(what, given)
    if found.dtype != np.int8 or found.shape[1:] != shape or not len(found):
        raise ModelError(
            f"{what} are {found.dtype} {found.shape}, wanted int8 (n, h, w, c) "
            f"with (h, w, c) = {shape}; use quantise_images"
        )
    half = 1 << (bits - 1)
    _within(what, found, -half, half - 1, f"quantise them for {bits} bits")
    return np.require(found, np.int8, ["C", "W"])  # torch warns of what cannot be written


def given_words(
    what: str,
    given: ArrayLike,
    dtype: np.dtype[np.signedinteger],
    shape: tuple[int, ...],
    bits: int,
) -> None:
    """Refuse all but signed integers of this type and shape, within `bits` bits."""
    if not isinstance(given, np.ndarray):
        raise ModelError(f"{what} are a {type(given).__name__}, wanted an array {dtype} {shape}")
    found = plain_array(what, given)
    if found.dtype != dtype or found.shape != shape:
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted {dtype} {shape}")
    half = 1 << (bits - 1)
    _within(what, found, -half, half - 1, "quantise the model for these bits")


def given_logits(what: str, given: ArrayLike) -> NDArray[np.generic]:
    """(n, classes) of numbers, whatever axes the classes had."""
    found = plain_array(what, given)
    if found.ndim < 2 or not found.size or found.dtype.kind not in _NUMBERS:
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted numbers (n, classes)")
    if not np.isfinite(found).all():
        raise ModelError(f"{what} are not all finite")
    return found.reshape(len(found), -1)


def given_mask(what: str, given: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool of this shape."""
    found = plain_array(what, given)
    if found.dtype != np.bool_ or found.shape != shape:
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted bool {shape}")
    return found.astype(np.bool_, copy=False)


def given_scores(what: str, given: ArrayLike) -> NDArray[np.float64]:
    """float64 of any shape, finite."""
    found = plain_array(what, given)
    if found.dtype != np.float64:
        raise ModelError(f"{what} are {found.dtype} {found.shape}, wanted float64")
    if not np.isfinite(found).all():
        raise ModelError(f"{what} are not all finite")
    return found.astype(np.float64, copy=False)
