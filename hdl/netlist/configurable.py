"""Configurable protection: redundant units that a layer's truncation routes to its columns.

For `s` protected columns there are `s` units with two spare cells for each cell of the columns that
they may stand for; multiplexers give them the inputs of the column at hand, and the voted result
goes back there (paper, section III-D).  Unit 0 takes the lowest selected column, so that carries
always go from a unit to the next one.  Control lines say what the layer's shift n selects; they are
the same in all PEs and are decoded once, at the edge of the array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .cells import KINDS
from .netlist import (
    ONE,
    ZERO,
    Cell,
    Netlist,
)

Group = tuple[int, ...]
_SPARES = (1, 2)
#: Cells that a spare full adder stands for: what it reads beside their inputs, and its pin for each
#: of their outputs.
_AS_ADDER: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "FA": ((), (0, 1)),
    "HA": ((ZERO,), (0, 1)),
    "XNOR2": ((ONE,), (0,)),
    "OR2": ((ONE,), (1,)),
    "XOR2": ((ZERO,), (0,)),
    "INV": ((ONE, ZERO), (0,)),
}


class Slot(NamedTuple):
    """A place in a unit, for one cell of each column that the unit may stand for."""

    family: int
    unit: int
    kind: str
    name: str
    number: int


@dataclass
class Configured:
    """A netlist and what its control lines mean: line i is high for the shifts in lines[i]."""

    netlist: Netlist
    lines: list[frozenset[int]] = field(default_factory=list)

    def controls(self, shift: int) -> list[int]:
        """Values of the port `select` for a layer with this shift."""
        return [int(shift in shifts) for shifts in self.lines]

    def at(self, shift: int) -> Netlist:
        """The circuit as a layer with this shift uses it, its control lines held."""
        return self.netlist.tied("select", self.controls(shift)) if self.lines else self.netlist


def configurable(
    netlist: Netlist,
    families: Sequence[tuple[Callable[[Cell], bool], Sequence[Group]]],
    chosen: Mapping[int, range],
) -> Configured:
    """The circuit with redundant units.

    families : cells with units of their own, and the groups of columns that a unit takes together,
    low to high. chosen : shift -> columns that it protects, for every legal shift.
    """
    return _Pass(netlist, families, chosen).run()


class _Pass:
    def __init__(
        self,
        netlist: Netlist,
        families: Sequence[tuple[Callable[[Cell], bool], Sequence[Group]]],
        chosen: Mapping[int, range],
    ) -> None:
        self.plain, self.shifts = netlist, frozenset(chosen)
        self.out = Netlist(netlist.name, netlist.nets, [], dict(netlist.inputs), {})
        self.out.inputs["select"] = []
        self.lines: dict[frozenset[int], int] = {}
        self.muxes: dict[tuple[tuple[int, frozenset[int]], ...], int] = {}
        self.held: dict[Slot, dict[int, Cell]] = {}  # slot -> shift -> the cell it stands for
        self.place: dict[tuple[int, int], tuple[Slot, int]] = {}  # net, shift -> slot, output
        self.voted: dict[tuple[Slot, int], int] = {}
        self.effective: dict[int, int] = {}  # net -> the one that readers see
        for family, (belongs, groups) in enumerate(families):
            cells = [
                [c for c in netlist.cells if c.column in group and belongs(c)] for group in groups
            ]
            for shift, columns in chosen.items():
                taken = [i for i, group in enumerate(groups) if set(group) & set(columns)]
                for unit, i in enumerate(taken):
                    self._assign(family, unit, shift, cells[i])
        self.kind = {slot: _smallest(cells.values()) for slot, cells in self.held.items()}
        for slot, by_shift in self.held.items():
            for shift, cell in by_shift.items():
                for net, pin in zip(cell.outputs, self._as(slot, cell)[1], strict=True):
                    self.place[net, shift] = slot, pin
        self.spare = {
            (slot, copy): tuple(self.out.word(len(KINDS[self.kind[slot]].outputs)))
            for slot in self.held
            for copy in _SPARES
        }

    def _assign(self, family: int, unit: int, shift: int, cells: Sequence[Cell]) -> None:
        count: dict[tuple[str, str], int] = {}
        for cell in cells:
            kind = "FA" if cell.kind in _AS_ADDER else cell.kind
            number = count.get((kind, cell.name), 0)
            count[kind, cell.name] = number + 1
            slot = Slot(family, unit, kind, cell.name, number)
            self.held.setdefault(slot, {})[shift] = cell

    def _as(self, slot: Slot, cell: Cell) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a spare reads beside the cell's inputs, and its pin for each output of the cell."""
        if self.kind[slot] == cell.kind:
            return (), tuple(range(len(cell.outputs)))
        return _AS_ADDER[cell.kind]

    def run(self) -> Configured:
        registers = [c.outputs[0] for c in self.plain.cells if c.part == "registers"]
        ports = [net for nets in self.plain.outputs.values() for net in nets]
        self._vote([net for net in (*registers, *ports) if self._protected(net)])
        for cell in self.plain.cells:
            inputs = tuple(self.effective.get(net, net) for net in cell.inputs)
            self.out.cells.append(replace(cell, inputs=inputs))
        for slot, cells in self.held.items():
            first = next(iter(cells.values()))
            for copy in _SPARES:
                pins = range(len(KINDS[self.kind[slot]].inputs))
                self.out.add(
                    self.kind[slot],
                    first.column,
                    [self._input(slot, pin, copy) for pin in pins],
                    first.part,
                    copy=copy,
                    name=first.name,
                    outputs=self.spare[slot, copy],
                )
        for name, nets in self.plain.outputs.items():
            self.out.outputs[name] = [self.effective.get(net, net) for net in nets]
        self.out.sort()
        return Configured(self.out, list(self.lines))

    def _protected(self, net: int) -> bool:
        return any((net, shift) in self.place for shift in self.shifts)

    def _input(self, slot: Slot, pin: int, copy: int) -> int:
        """What a spare cell reads: for each shift the input of the cell that it stands for."""
        sources: dict[int, frozenset[int]] = {}
        for shift, cell in self.held[slot].items():
            net = (*cell.inputs, *self._as(slot, cell)[0])[pin]
            if (net, shift) in self.place:
                at = self.place[net, shift]
                net = self.voted.get(at) or self.spare[at[0], copy][at[1]]
            else:
                net = self.effective.get(net, net)
            sources[net] = sources.get(net, frozenset()) | {shift}
        return self._mux(sources, next(iter(self.held[slot].values())).column)

    def _mux(self, sources: Mapping[int, frozenset[int]], column: int) -> int:
        """One of the nets, by shift; shifts that none of them names do not matter."""
        if len(sources) == 1:
            return next(iter(sources))
        order = sorted(sources, key=lambda net: (min(sources[net]), net))
        key = tuple((net, sources[net]) for net in order)
        if key not in self.muxes:
            self.muxes[key] = self._built([(net, sources[net]) for net in order], column)
        return self.muxes[key]

    def _built(self, sources: Sequence[tuple[int, frozenset[int]]], column: int) -> int:
        """Two nets: a multiplexer; more: a sum of products with one line for each net."""
        if len(sources) == 2:
            (low, _), (high, shifts) = sources
            return self.out.gate("MUX2", column, (low, high, self._line(shifts)), "muxes")
        lines = [self._line(shifts) for _, shifts in sources]
        return self.out.one_of(column, [net for net, _ in sources], lines, "muxes")

    def _line(self, shifts: frozenset[int]) -> int:
        if shifts not in self.lines:
            self.lines[shifts] = self.out.net()
            self.out.inputs["select"].append(self.lines[shifts])
        return self.lines[shifts]

    def _vote(self, nets: Sequence[int]) -> None:
        """Voters of the units, and their values back at the nets that they may stand for."""
        units: dict[tuple[Slot, int], dict[int, frozenset[int]]] = {}
        for net in nets:
            for shift in self.shifts:
                if (net, shift) in self.place:
                    own = units.setdefault(self.place[net, shift], {})
                    own[net] = own.get(net, frozenset()) | {shift}
        back: dict[int, dict[int, frozenset[int]]] = {net: {} for net in nets}
        for (slot, pin), sources in units.items():
            column = self.held[slot][min(self.held[slot])].column
            own_net = self._mux(sources, column)
            copies = (own_net, *(self.spare[slot, copy][pin] for copy in _SPARES))
            voted = self.voted[slot, pin] = self.out.voter(column, copies)
            for net, shifts in sources.items():
                back[net][voted] = back[net].get(voted, frozenset()) | shifts
        for net, values in back.items():
            rest = self.shifts - frozenset[int]().union(*values.values())
            self.effective[net] = self._mux({**values, **({net: rest} if rest else {})}, 0)


def _smallest(cells: Iterable[Cell]) -> str:
    """The kind that can stand for all of them."""
    kinds = {cell.kind for cell in cells}
    return next(iter(kinds)) if len(kinds) == 1 else "FA"
