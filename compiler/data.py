"""Images and labels: reading, checking, and bringing them to a network's input.

Images are u8 NHWC everywhere; only `normalise` and `quantise_input` leave that form.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaWarning, ModelError
from ..files import is_file
from ..given.arguments import Amount, checked_arguments
from ..given.arrays import given_labels, given_pixels
from ..network.fixedpoint import limits
from .model import Model
from .npz import read_npz

Images = NDArray[np.uint8]
_SHOWN = 5  # classes that a warning names
_DIGITS = 12  # of a number of images


def _is_slice(index: slice) -> bool:
    given = [n for n in (index.start, index.stop, index.step) if n is not None]
    return all(isinstance(n, Integral) for n in given) and index.step != 0


@dataclass(frozen=True)
class Dataset:
    """images : u8 (n, h, w, c); labels : int64 (n,), or None where nobody knows them.

    Both are made of what is given: pixels also of wider integers and of floats in 0..1, labels of
    any integers (`given/arrays.py`); ModelError says what else is wanted.
    """

    name: str
    images: Images
    labels: NDArray[np.int64] | None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ModelError(f"a Dataset's name is a {type(self.name).__name__}; give a text first")
        images = given_pixels(f"data {self.name}: images", self.images)
        object.__setattr__(self, "images", images)
        if self.labels is not None:
            labels = given_labels(f"data {self.name}: labels", self.labels, len(images))
            object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice) -> Dataset:
        """A part of the images, with their labels; ModelError where nothing is left."""
        if not isinstance(index, slice) or not _is_slice(index):
            raise ModelError(f"data {self.name}: take parts by slices, such as data[:20]")
        labels = None if self.labels is None else self.labels[index]
        return Dataset(self.name, self.images[index], labels)

    @checked_arguments
    def chosen(self, wanted: str | int | None) -> Dataset:
        """Part of the images: N, evenly spread over the set, first:N, or all for None.

        Files are often sorted by class, and then the first images are one: where a part has none of
        a class although it could have two, a warning says so. Raises ModelError for another text.
        """
        if wanted is None:
            return self
        text = str(wanted)
        count = text.removeprefix("first:")
        if not (count.isascii() and count.isdecimal()) or len(count) > _DIGITS or int(count) == 0:
            raise ModelError(f"images {text[:40]!r}: give N, or first:N")
        part = self[: int(count)] if text != count else self.spread(int(count))
        if self.labels is None or part.labels is None:
            return part
        classes = np.unique(self.labels)
        missing = np.setdiff1d(classes, part.labels)
        if len(missing) and len(part) >= 2 * len(classes):
            more = ", ..." if len(missing) > _SHOWN else ""
            shown = ", ".join(map(str, missing[:_SHOWN])) + more
            warnings.warn(
                f"data {self.name}: images {text} have none of {len(missing)} of the "
                f"{len(classes)} classes ({shown})",
                FlexhycaWarning,
                stacklevel=2,
            )
        return part

    @checked_arguments
    def spread(self, count: Amount) -> Dataset:
        """`count` images (or all, if there are fewer) evenly spread over the set.

        What to calibrate on: files are often sorted by class, and then the first images are one.
        """
        index = np.arange(min(count, len(self))) * len(self) // min(count, len(self))
        labels = None if self.labels is None else self.labels[index]
        return Dataset(self.name, self.images[index], labels)

    @checked_arguments
    def check(self, model: Model, classes: int | None = None) -> None:
        """Raise ModelError unless images have the model's input shape and labels are classes."""
        c, h, w = model.input_shape
        found = self.images.shape[1:]
        if found != (h, w, c):
            advice = "resize or crop them first"
            if found == (c, h, w):
                advice = "move the channels to the end first, images.transpose(0, 2, 3, 1)"
            raise ModelError(
                f"data {self.name}: images are {found} (h, w, c), model "
                f"{model.name} wants {(h, w, c)}; {advice}"
            )
        count = classes or model.classes
        if count is None or self.labels is None or not self.labels.size:
            return
        if not 0 <= self.labels.min() <= self.labels.max() < count:
            raise ModelError(
                f"data {self.name}: labels {self.labels.min()}..{self.labels.max()}, "
                f"model {model.name} has classes 0..{count - 1}"
            )


def load_dataset(path: str | Path) -> Dataset:
    """Read an npz with `images` (u8, n h w c, n h w or n c) and, if known, integer `labels` (n)."""
    path = Path(path)
    if not is_file(path):
        raise ModelError(f"data {path}: no such file")
    arrays = read_npz(path, "data", ("images", "labels"), required="images")
    images = arrays["images"]
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim == 2:  # of networks of vectors
        images = images[:, None, None, :]
    return Dataset(path.name, images, arrays.get("labels"))


@lru_cache(maxsize=1)
def _digits() -> tuple[Images, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return pixels[..., None], bunch.target.astype(np.int64)


def digits_dataset(split: str = "test") -> Dataset:
    """scikit-learn's digits, 8x8 grey: `train` (1,437 images) or `test` (the 360 held-out ones).

    Held out is every fifth image (index 0, 5, 10, ...).  The file's pixels are counts 0..16; they
    become u8 by round(v * 255 / 16), so that pixel / 255 is v / 16 to within half a step of 1/255.
    """
    if split not in ("train", "test"):
        raise ModelError(f"digits: unknown split {split!r}; known are train, test")
    images, labels = _digits()
    pick = (np.arange(len(images)) % 5 == 0) == (split == "test")
    return Dataset(f"digits-{split}", images[pick], labels[pick])


def normalise(images: Images, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(pixels / 255 - mean) / std, u8 NHWC -> float32 NCHW (contiguous)."""
    x = images.astype(np.float32) / np.float32(255)
    centred = (x - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(centred.astype(np.float32).transpose(0, 3, 1, 2))


def input_scale(model: Model, bits: int) -> float:
    """Real value of one step of the quantised input: every pixel value fits, none is clipped."""
    pairs = list(zip(model.mean, model.std, strict=True))
    largest = max(max(abs(m / s), abs((1 - m) / s)) for m, s in pairs)
    return largest / limits(bits)[1]


def quantise_input(images: Images, model: Model, scale: float, bits: int = 8) -> NDArray[np.int8]:
    """Normalised pixels / scale, rounded half to even and clamped: u8 NHWC -> int8 NHWC."""
    steps = normalise(images, model.mean, model.std).transpose(0, 2, 3, 1) / np.float32(scale)
    return np.ascontiguousarray(np.clip(np.rint(steps), *limits(bits)).astype(np.int8))
