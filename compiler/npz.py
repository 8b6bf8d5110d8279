"""Arrays of an npz file that anybody may have made."""

from __future__ import annotations

import zipfile
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, first_line
from ..files import reading

_MOST_BYTES = 1 << 33


def read_npz(
    path: Path, title: str, wanted: Container[str] | None = None, required: str | None = None
) -> dict[str, NDArray[Any]]:
    """name -> array, of the names in `wanted` (default all); pickled objects are refused.

    title : what the file holds, for messages. required : a name that must be there. Raises
    ModelError in one line.
    """
    try:
        with zipfile.ZipFile(reading(path)) as archive:
            sizes = {
                entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.filelist
            }
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise ModelError(
            f"{title} {path}: not a plain npz file: {first_line(error)}; write it with numpy.savez"
        ) from None
    if required is not None and required not in sizes:
        there = ", ".join(name if name.isprintable() else repr(name) for name in sizes)
        raise ModelError(f"{title} {path}: no array {required!r}; it holds {there or 'nothing'}")
    names = [name for name in sizes if wanted is None or name in wanted]
    total = sum(sizes[name] for name in names)
    if total > _MOST_BYTES:
        raise ModelError(
            f"{title} {path}: arrays of {total} bytes, at most {_MOST_BYTES} are read; split it"
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # NumPy, zlib and tokenize raise a dozen unrelated types
        raise ModelError(
            f"{title} {path}: not a plain npz file: {first_line(error)}; write it with numpy.savez"
        ) from None
