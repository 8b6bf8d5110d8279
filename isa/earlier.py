"""Assembly of earlier instruction sets: its names are those of today, a table may lack columns.

Program files of theirs are refused: fields of their instructions stand at other bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tables import complete
from .instructions import ISA_VERSION, WINDOW_FIELDS

_Tensors = dict[str, NDArray[Any]]


def _steps(tensors: _Tensors) -> None:
    """2 -> 3: blocks hold every row and every column."""
    windows = tensors.get("windows")
    if windows is None or windows.shape[1:] != (len(WINDOW_FIELDS) - 2,):
        return  # not of version 2 either, which is found out as with any other file
    names = [name for name, _ in WINDOW_FIELDS]
    for name in ("row_step", "col_step"):  # in the order of the table
        windows = np.insert(windows, names.index(name), 1, axis=1)
    tensors["windows"] = windows


#: What each version lacks of the next one.
_CHANGES: dict[int, Callable[[_Tensors], None]] = {2: _steps}
complete(
    "ISA_VERSION in isa/instructions.py",
    range(2, ISA_VERSION),
    _CHANGES,
    "isa/earlier.py: _CHANGES",
)


def in_todays_words(
    tensors: Mapping[str, NDArray[Any]], meta: Mapping[str, str]
) -> tuple[_Tensors, dict[str, str]]:
    """(tensors, metadata) of assembly of any version since 2, as `from_parts` takes them."""
    new, now = dict(tensors), dict(meta)
    given = meta.get("isa_version", "").strip()
    if given.isdecimal() and int(given) in _CHANGES:
        for version in range(int(given), ISA_VERSION):
            _CHANGES[version](new)
        now["isa_version"] = str(ISA_VERSION)
    return new, now
