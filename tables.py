"""Tables are complete, or the import fails: every row has a handler, and every handler a row.

A table stands once (`isa.instructions`, `isa.registers`, `config.schema` ...); whoever does
something for each of its rows names the rows that it handles, and checks them while it is
imported.  So a row that is added alone is an error that says where it has to be handled, never a
default.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from .errors import InternalError


def complete(table: str, rows: Iterable[object], handled: Iterable[object], where: str) -> None:
    """Raise InternalError unless `handled` are exactly the `rows`.

    table : where the rows stand. where : the module, and in it the table or function of handlers.
    """
    wanted, have = list(rows), list(handled)
    missing = [_name(row) for row in wanted if row not in have]
    unknown = [_name(row) for row in have if row not in wanted]
    if missing:
        raise InternalError(
            f"{where} does not handle {', '.join(missing)} of {table}; add it there"
        )
    if unknown:
        raise InternalError(f"{where} handles {', '.join(unknown)}, which {table} does not have")


def unique(table: str, what: str, values: Iterable[object]) -> None:
    """Raise InternalError where two rows of a table have the same `what`."""
    seen: list[object] = []
    for value in values:
        if value in seen:
            raise InternalError(f"{table}: two rows have the {what} {_name(value)}; choose another")
        seen.append(value)


def _name(row: object) -> str:
    return row.name if isinstance(row, Enum) else str(row)
