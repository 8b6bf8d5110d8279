"""Assembly of earlier instruction sets: its names are those of today, a table may lack columns.

Program files of theirs are refused: fields of their instructions stand at other bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..tables import complete
from .descriptors import LAYER_COLUMNS
from .instructions import ISA_VERSION, WINDOW_FIELDS

_Tensors = dict[str, NDArray[Any]]
_WINDOW_COLUMNS = tuple(name for name, _ in WINDOW_FIELDS)


def _steps_and_slots(tensors: _Tensors, config: Config) -> None:
    """2 -> 3: blocks hold every row and every column, a slot holds the largest tile there is,
    and no groups are packed."""
    steps = {"row_step": 1, "col_step": 1}
    _insert(tensors, "windows", _WINDOW_COLUMNS, steps)
    _insert(tensors, "layers", LAYER_COLUMNS, {"packed": 1, "slot_words": config.tile_words})


def _insert(
    tensors: _Tensors, name: str, columns: tuple[str, ...], values: Mapping[str, int]
) -> None:
    table = tensors.get(name)
    if table is None or table.shape[1:] != (len(columns) - len(values),):
        return  # not of the version that it names, which is found out as with any other file
    for column, value in values.items():  # in the order of the table
        table = np.insert(table, columns.index(column), value, axis=1)
    tensors[name] = table


#: What each version lacks of the next one.
_CHANGES: dict[int, Callable[[_Tensors, Config], None]] = {2: _steps_and_slots}
complete(
    "ISA_VERSION in isa/instructions.py",
    range(2, ISA_VERSION),
    _CHANGES,
    "isa/earlier.py: _CHANGES",
)


#: Versions whose assembly is read.
EARLIER = tuple(_CHANGES)


def in_todays_words(
    tensors: Mapping[str, NDArray[Any]], version: int, config: Config
) -> dict[str, NDArray[Any]]:
    """Tensors of assembly of version `version`."""
    new = dict(tensors)
    for step in range(version, ISA_VERSION):
        _CHANGES[step](new, config)
    return new
