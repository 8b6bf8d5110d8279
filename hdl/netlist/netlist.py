"""A circuit as data: a list of cells with columns, and the nets between them.

Everything else is made from the list: evaluation, TMR, area, depth, Verilog, MyHDL, fault sites.  A
cell's column is the weight of the sum that it belongs to: its carry goes to the column above.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ...errors import InternalError
from .cells import KINDS

#: Nets with a fixed value.
ZERO, ONE = 0, 1


@dataclass(frozen=True)
class Cell:
    """A cell. part : what it is for (multiplier, accumulator, registers, voters, muxes, control).

    copy : of a tripled cell 0, 1 or 2. name : of the register that a flip-flop belongs to.
    """

    kind: str
    column: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    part: str
    copy: int = 0
    name: str = ""


@dataclass
class Netlist:
    """Cells and ports. inputs, outputs : port -> nets, least significant bit first.

    Combinational cells stand in an order in which they can be evaluated.
    """

    name: str
    nets: int = 2
    cells: list[Cell] = field(default_factory=list)
    inputs: dict[str, list[int]] = field(default_factory=dict)
    outputs: dict[str, list[int]] = field(default_factory=dict)

    def net(self) -> int:
        """A new net."""
        self.nets += 1
        return self.nets - 1

    def word(self, bits: int) -> list[int]:
        """New nets."""
        return [self.net() for _ in range(bits)]

    def port(self, name: str, bits: int) -> list[int]:
        """A new input."""
        self.inputs[name] = self.word(bits)
        return self.inputs[name]

    def add(
        self,
        kind: str,
        column: int,
        inputs: Sequence[int],
        part: str,
        *,
        copy: int = 0,
        name: str = "",
        outputs: Sequence[int] | None = None,
    ) -> tuple[int, ...]:
        """A new cell; its output nets."""
        pins = KINDS[kind]
        if len(inputs) != len(pins.inputs):
            raise InternalError(f"{self.name}: {kind} takes {len(pins.inputs)} inputs")
        driven = tuple(self.word(len(pins.outputs)) if outputs is None else outputs)
        self.cells.append(Cell(kind, column, tuple(inputs), driven, part, copy, name))
        return driven

    def gate(self, kind: str, column: int, inputs: Sequence[int], part: str) -> int:
        """A new cell of one output; its net."""
        return self.add(kind, column, inputs, part)[0]

    def register(self, name: str, data: Sequence[int], kind: str = "DFF") -> list[int]:
        """One flip-flop a bit; the stored word."""
        return [self.add(kind, i, (net,), "registers", name=name)[0] for i, net in enumerate(data)]

    def wires(self, name: str, data: Sequence[int]) -> list[int]:
        """Buffers where a register would stand, in circuits without time."""
        return self.register(name, data, "BUF")

    def voter(self, column: int, copies: Sequence[int]) -> int:
        """The majority of three nets: !(!(ab) & !((a+b)c))."""
        a, b, c = copies
        both = self.gate("NAND2", column, (a, b), "voters")
        rest = self.gate("OAI21", column, (a, b, c), "voters")
        return self.gate("NAND2", column, (both, rest), "voters")

    def one_of(self, column: int, nets: Sequence[int], lines: Sequence[int], part: str) -> int:
        """The net whose line is high: a sum of products."""
        if len(nets) == 1:
            return nets[0]
        terms = [pin for pair in zip(nets, lines, strict=True) for pin in pair]
        inverted = [
            self.gate("AOI22" if len(own) == 4 else "NAND2", column, own, part)
            for own in (terms[i : i + 4] for i in range(0, len(terms), 4))
        ]
        sums = [
            self.gate("INV" if len(own) == 1 else f"NAND{len(own)}", column, own, part)
            for own in (inverted[i : i + 4] for i in range(0, len(inverted), 4))
        ]
        while len(sums) > 1:
            sums = [*sums[2:], self.gate("OR2", column, sums[:2], part)]
        return sums[0]

    def sort(self) -> None:
        """Put the combinational cells in order of evaluation; InternalError for a loop."""
        ready = {ZERO, ONE, *(net for nets in self.inputs.values() for net in nets)}
        ready |= {
            net for cell in self.cells if KINDS[cell.kind].is_register for net in cell.outputs
        }
        waiting: dict[int, list[int]] = {}
        missing = []
        for i, cell in enumerate(self.cells):
            needs = set() if KINDS[cell.kind].is_register else set(cell.inputs) - ready
            missing.append(len(needs))
            for net in needs:
                waiting.setdefault(net, []).append(i)
        todo = [i for i, count in enumerate(missing) if not count]
        order = []
        for i in todo:
            order.append(i)
            for net in self.cells[i].outputs:
                for reader in waiting.pop(net, ()):
                    missing[reader] -= 1
                    if not missing[reader]:
                        todo.append(reader)
        if len(order) != len(self.cells):
            raise InternalError(f"{self.name}: a combinational loop, or a net that nothing drives")
        self.cells = [self.cells[i] for i in order]

    def tied(self, port: str, bits: Sequence[int]) -> Netlist:
        """The same circuit with an input held at the given bits."""
        fixed = {
            net: ONE if bit else ZERO for net, bit in zip(self.inputs[port], bits, strict=True)
        }
        cells = [
            replace(cell, inputs=tuple(fixed.get(net, net) for net in cell.inputs))
            for cell in self.cells
        ]
        inputs = {name: nets for name, nets in self.inputs.items() if name != port}
        outputs = {name: [fixed.get(n, n) for n in nets] for name, nets in self.outputs.items()}
        return Netlist(self.name, self.nets, cells, inputs, outputs)

    def readers(self) -> dict[int, int]:
        """Net -> inputs that it drives, outputs of the circuit included."""
        count: dict[int, int] = {}
        for net in self._read():
            count[net] = count.get(net, 0) + 1
        return count

    def _read(self) -> Iterable[int]:
        for cell in self.cells:
            yield from cell.inputs
        for nets in self.outputs.values():
            yield from nets
