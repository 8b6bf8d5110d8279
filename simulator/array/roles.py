"""Registers of the two stationary arrays by their roles, in which they are one array.

Weight-stationary holds a weight in each PE and streams activations past it, input-stationary the
other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

from ...errors import InternalError
from ...isa.registers import BY_UNIT, SKEW_OF_DATAFLOW, UNIT_OF_DATAFLOW, all_handled
from .flips import UNIT_STEP, codes

_T = TypeVar("_T")
Side = Literal["act", "wgt"]


class Roles(NamedTuple):
    """Names of the registers of a stationary array; `held` and `streamed` are sides, too.

    preload : the chain down which values go that are to be held. psum : a sum on its way down.
    """

    preload: str
    held: Side
    streamed: Side
    psum: str

    def by_role(self, pixels: _T, filters: _T) -> tuple[_T, _T]:
        """What is streamed, and what is held: of the pixels and the filters of a tile."""
        return (pixels, filters) if self.streamed == "act" else (filters, pixels)

    def places(self, vector: _T, column: _T) -> tuple[_T, _T]:
        """Row and column of a tile, pixel and filter: the other way round."""
        return self.by_role(vector, column)

    def role_of(self, name: str) -> str:
        """The role of a register."""
        return self._fields[self.index(name)]


#: By `array.dataflow`.
ROLES = {
    "ws": Roles("preload", "wgt", "act", "psum"),
    "is": Roles("preload", "act", "wgt", "psum"),
}
for _dataflow, _roles in ROLES.items():
    all_handled(UNIT_OF_DATAFLOW[_dataflow], _roles, "simulator/array/roles.py: ROLES")
#: Code in a plan of the partial-sum buffer: register `output` of its third unit, `buffer`.
SUMS = 2 * UNIT_STEP + BY_UNIT["buffer"]["output"].code


def check_roles(roles: Iterable[str], delayed: Iterable[str], where: str) -> None:
    """Raise InternalError unless these are all roles of the PEs' registers.

    delayed : those before which there are delay lines. where : who handles them.
    """
    _codes(tuple(roles), tuple(delayed), where)


def stationary_codes(roles: Sequence[str], delayed: Sequence[str], where: str) -> tuple[int, ...]:
    """Codes in a plan of the registers that a kernel handles, alike in both arrays.

    Arguments as of `check_roles`; the codes of the delay lines follow those of the PEs.
    """
    found = set(_codes(roles, delayed, where))
    if len(found) > 1:
        raise InternalError(f"{where}: registers of one role have one code in all arrays: {found}")
    return found.pop()


def _codes(roles: Sequence[str], delayed: Sequence[str], where: str) -> list[tuple[int, ...]]:
    return [
        codes(UNIT_OF_DATAFLOW[dataflow], [getattr(own, role) for role in roles], where)
        + codes(SKEW_OF_DATAFLOW[dataflow], [getattr(own, role) for role in delayed], where, 1)
        for dataflow, own in ROLES.items()
    ]
