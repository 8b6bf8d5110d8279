"""A netlist as a MyHDL block: one block a cell, its logic from the cell table.

For circuits of one PE: MyHDL steps them some hundred cycles a second. Verilog of a netlist comes
from `verilog`, not from MyHDL's conversion, so that instances keep the names of their cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from myhdl import Signal, always, block, instance

from ..netlist.cells import KINDS, Logic
from ..netlist.netlist import ONE, Netlist


def bit(logic: Logic, pins: Mapping[str, bool]) -> bool:
    """The value of an expression for one case."""
    if isinstance(logic, str):
        return bool(pins[logic])
    operator, *operands = logic
    values = [bit(x, pins) for x in operands]
    if operator == "~":
        return not values[0]
    if operator == "^":
        return sum(values) % 2 == 1
    return all(values) if operator == "&" else any(values)


def signals(netlist: Netlist) -> list[Any]:
    """One Signal a net; those of the ports are found by the netlist's `inputs` and `outputs`."""
    return [Signal(bool(net == ONE)) for net in range(netlist.nets)]


@block
def netlist_block(netlist: Netlist, clk: Any, nets: Sequence[Any]) -> Any:
    """All cells of a netlist between its `signals`."""
    return [
        _cell(cell.kind, clk, [nets[n] for n in cell.inputs], [nets[n] for n in cell.outputs])
        for cell in netlist.cells
    ]


@block
def _cell(name: str, clk: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    kind = KINDS[name]
    if kind.is_register:

        @always(clk.posedge)
        def work() -> None:
            outputs[0].next = inputs[0].val

    else:
        logic = list(kind.outputs.values())

        @instance
        def work() -> Iterator[Any]:
            while True:  # at time 0 too: an inverter of 0 is 1
                pins = dict(zip(kind.inputs, (signal.val for signal in inputs), strict=True))
                for signal, expression in zip(outputs, logic, strict=True):
                    signal.next = bit(expression, pins)
                yield list(inputs)

    return work
