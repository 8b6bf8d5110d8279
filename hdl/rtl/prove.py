"""Proofs that protected circuits compute what plain ones do, and that the proofs can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ..netlist.design import PeProtection, protected, shifts
from ..netlist.netlist import ONE, Cell, Netlist
from ..netlist.pe import Datapath, core
from . import yosys


class Proof(NamedTuple):
    """expected : whether the circuits should be equal; shown : whether they are."""

    what: str
    expected: bool
    shown: bool

    @property
    def passed(self) -> bool:
        """As expected."""
        return self.expected == self.shown


def proofs(datapath: Datapath, protection: PeProtection) -> Iterator[Proof]:
    """The core under a protection equals the plain one, for the least and the greatest shift.

    A copy that is broken is masked; a wrong voter and a wrong unprotected adder are not.
    """
    plain = core(datapath)
    circuit = protected(plain, datapath, protection)
    name = f"{datapath.multiplier}, {protection.policy}, s {protection.protect}"
    name += f", q_scale {protection.q_scale}"
    legal = shifts(datapath, protection)
    for shift in sorted({legal[0], legal[-1]}) if circuit.lines else [legal[0]]:
        at, label = circuit.at(shift), f"{name}, n {shift}"
        yield Proof(f"{label}: equal", True, yosys.equivalent(plain, at))
        for what, expected, change in _CHANGES:
            changed = change(at)
            if changed is not None:
                yield Proof(f"{label}: {what}", expected, yosys.equivalent(plain, changed))


def _one(netlist: Netlist, which: Callable[[Cell], bool]) -> int | None:
    """The last cell of a kind, which is near the outputs."""
    found = [i for i, cell in enumerate(netlist.cells) if which(cell)]
    return found[-1] if found else None


def _with(netlist: Netlist, index: int, cell: Cell) -> Netlist:
    cells = list(netlist.cells)
    cells[index] = cell
    return replace(netlist, cells=cells)


def broken_copy(netlist: Netlist, copy: int = 1) -> Netlist | None:
    """The circuit with a spare copy whose adders all read ones."""
    if not any(cell.copy == copy and cell.kind == "FA" for cell in netlist.cells):
        return None
    cells = [
        replace(c, inputs=(ONE,) * len(c.inputs)) if c.copy == copy and c.kind == "FA" else c
        for c in netlist.cells
    ]
    return replace(netlist, cells=cells)


def wrong_voter(netlist: Netlist) -> Netlist | None:
    """The circuit with a voter that inverts what the copies agree on."""
    index = _one(netlist, lambda cell: cell.part == "voters" and cell.kind == "NAND2")
    if index is None:
        return None
    return _with(netlist, index, replace(netlist.cells[index], kind="AND2"))


def weak_voters(netlist: Netlist) -> Netlist | None:
    """Voters ab + c, and a broken third copy: right only as long as all copies agree."""
    broken = broken_copy(netlist, 2)
    if broken is None:
        return None
    cells = [
        replace(c, kind="AOI21") if c.part == "voters" and c.kind == "OAI21" else c
        for c in broken.cells
    ]
    return replace(broken, cells=cells)


def wrong_adder(netlist: Netlist) -> Netlist | None:
    """The circuit with sum and carry of an adder of the lowest columns exchanged."""
    low = min(c.column for c in netlist.cells if c.kind == "FA")
    index = _one(netlist, lambda cell: cell.kind == "FA" and cell.column == low and not cell.copy)
    assert index is not None
    cell = netlist.cells[index]
    return _with(netlist, index, replace(cell, outputs=cell.outputs[::-1]))


_CHANGES: tuple[tuple[str, bool, Callable[[Netlist], Netlist | None]], ...] = (
    ("one copy broken", True, broken_copy),
    ("a wrong voter", False, wrong_voter),
    ("voters that one broken copy overrules", False, weak_voters),
    ("a wrong unprotected adder", False, wrong_adder),
)
