"""Triple modular redundancy as a pass over the cell list, registers included.

`direct` has three copies of every cell in the protected columns.  Copies read their own copy of
what is tripled, and share the rest.  A tripled flip-flop has a voter behind it: with `feedback` its
voted value is what all readers see, so that a wrong copy heals at the next edge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from .netlist import Cell, Netlist

COPIES = 3
#: Parts whose cells belong to columns of the sum.
PROTECTED_PARTS = ("multiplier", "accumulator")
#: Registers that hold sums of products.
PROTECTED_REGISTERS = ("prod", "acc", "product", "tree", "psum")


def in_columns(columns: Collection[int]) -> Callable[[Cell], bool]:
    """Cells of the datapath that belong to one of the columns."""

    def protected(cell: Cell) -> bool:
        if cell.part == "registers":
            return cell.name in PROTECTED_REGISTERS and cell.column in columns
        return cell.part in PROTECTED_PARTS and cell.column in columns

    return protected


def tripled(netlist: Netlist, protected: Callable[[Cell], bool]) -> Netlist:
    """The circuit with three copies of the protected cells; ports stay."""
    out = Netlist(netlist.name, netlist.nets, [], dict(netlist.inputs), {})
    copies: dict[int, tuple[int, ...]] = {}  # net of the plain circuit -> its three
    voted: dict[int, int] = {}
    for cell in netlist.cells:
        if protected(cell):
            for net in cell.outputs:
                copies[net] = (net, out.net(), out.net())
    for cell in netlist.cells:
        if cell.part == "registers" and protected(cell):
            (net,) = cell.outputs
            voted[net] = out.voter(cell.column, copies[net])

    def read(net: int, copy: int) -> int:
        return voted.get(net) or (copies[net][copy] if net in copies else net)

    for cell in netlist.cells:
        for copy in range(COPIES if protected(cell) else 1):
            out.add(
                cell.kind,
                cell.column,
                [read(net, copy) for net in cell.inputs],
                cell.part,
                copy=copy,
                name=cell.name,
                outputs=[copies[net][copy] if net in copies else net for net in cell.outputs],
            )
    # A port that would show one copy shows the majority.
    for name, nets in netlist.outputs.items():
        out.outputs[name] = [
            voted.get(net) or (out.voter(i, copies[net]) if net in copies else net)
            for i, net in enumerate(nets)
        ]
    out.sort()
    return out
