"""Compiled kernels, and a cache of their machine code that decides nothing.

numba keeps machine code in files and believes them: one that is cut off ends a command with a
traceback, one with a wrong byte may end the process or give wrong numbers, and where no folder can
be written nothing runs at all.  Here every file has its checksum and names what it is of; what does
not fit is compiled again, and what cannot be kept is not.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import caching

from .errors import FlexhycaWarning
from .files import home

_NumbaFiles: Any = caching.IndexDataCacheFile  # all untyped
_NumbaCache: Any = caching.FunctionCache
_NumbaPlaces: Any = caching.CompileResultCacheImpl
_Function = TypeVar("_Function", bound=Callable[..., Any])
_CRC_BYTES = 4
_told: list[str] = []  # that nothing can be kept: once


def kernel(function: _Function) -> _Function:
    """`function`, compiled at its first call and kept for other processes, if that can be."""
    compiled: Any = njit(nogil=True)(function)
    try:
        compiled._cache = _CheckedCache(function)  # what njit(cache=True) does with its own
    except RuntimeError:  # numba found no folder that it may write
        _tell_once()
    return cast("_Function", compiled)


def _tell_once() -> None:
    if not _told:
        _told.append("told")
        warnings.warn(
            "compiled code cannot be kept, so every command takes seconds longer; set "
            "NUMBA_CACHE_DIR to a folder that can be written",
            FlexhycaWarning,
            stacklevel=3,
        )


class _CheckedFiles(_NumbaFiles):  # type: ignore[misc]
    """numba's files, each followed by a checksum, which unpickling passes over."""

    def save(self, key: object, data: object) -> None:
        # Two processes may choose one name for two signatures; so what is kept says which it is.
        super().save(key, (key, data))

    def load(self, key: object) -> Any:
        found = super().load(key)
        return found[1] if found is not None and found[0] == key else None

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)
        if not _is_whole(path):
            raise OSError(f"{path}: is damaged")  # to `load` it is as if it were not there
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + _crc(content.getvalue()))


class _Places(_NumbaPlaces):  # type: ignore[misc]
    """Where numba looks for a folder: not in a home that nobody knows, which it would make here."""

    _locator_classes = tuple(
        locator
        for locator in _NumbaPlaces._locator_classes
        if home() is not None or "UserWide" not in locator.__name__
    )


class _CheckedCache(_NumbaCache):  # type: ignore[misc]
    """numba's cache of one function."""

    _impl_class = _Places

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self.cache_path, self._impl.filename_base, stamp)

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(OSError):  # a full disk, say: the next process compiles again
            super().save_overload(sig, data)


def _crc(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CRC_BYTES, "little")


def _is_whole(path: str) -> bool:
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return content[-_CRC_BYTES:] == _crc(content[:-_CRC_BYTES])
