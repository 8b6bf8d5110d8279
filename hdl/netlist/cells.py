"""The table of cells: logic, area and delay of everything that a netlist may hold.

One row a kind. The logic is an expression, from which NumPy evaluation, Verilog, Liberty and the
fault models are derived. Areas are in gate equivalents (GE, a NAND2 is 1) and follow the ratios of
two open cell libraries, which are cited as numbers; no file of theirs is part of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A pin, or (operator, operand, ...) with the operators ~ & | ^.
Logic: TypeAlias = str | tuple["str | Logic", ...]
Bits: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True)
class CellKind:
    """A kind of cell. depth : unit delays from the inputs to each output; 0 for a register.

    outputs : pin -> logic over the input pins. area : GE by library.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: Mapping[str, Logic]
    depth: tuple[int, ...]
    area: Mapping[str, float]

    @property
    def is_register(self) -> bool:
        """It stores its input `d` at the clock edge."""
        return self.name == "DFF"


_AB = ("&", "a", "b")
_XOR = ("^", "a", "b")
_SUM = ("^", "a", "b", "c")
_MAJORITY = ("|", _AB, ("&", "a", "c"), ("&", "b", "c"))
_ABC = ("a", "b", "c")
_ABCD = (*_ABC, "d")


def _gate(
    name: str, inputs: tuple[str, ...], logic: Logic, depth: int, nangate: float, sky: float
) -> CellKind:
    return CellKind(name, inputs, {"y": logic}, (depth,), {"nangate45": nangate, "sky130": sky})


#: Depth: an inverting gate is 1 unit, what needs a second stage is 2, an XOR is 2.
KINDS: dict[str, CellKind] = {
    kind.name: kind
    for kind in (
        _gate("INV", ("a",), ("~", "a"), 1, 0.667, 1.0),
        _gate("BUF", ("a",), "a", 1, 1.0, 1.0),
        _gate("NAND2", ("a", "b"), ("~", _AB), 1, 1.0, 1.0),
        _gate("NAND3", _ABC, ("~", ("&", *_ABC)), 1, 1.333, 1.333),
        _gate("NAND4", _ABCD, ("~", ("&", *_ABCD)), 2, 1.667, 1.667),
        _gate("AND2", ("a", "b"), _AB, 2, 1.333, 1.667),
        _gate("NOR2", ("a", "b"), ("~", ("|", "a", "b")), 1, 1.0, 1.0),
        _gate("OR2", ("a", "b"), ("|", "a", "b"), 2, 1.333, 1.333),
        _gate("XOR2", ("a", "b"), _XOR, 2, 2.0, 2.333),
        _gate("XNOR2", ("a", "b"), ("~", _XOR), 2, 2.0, 2.333),
        _gate("AOI21", _ABC, ("~", ("|", _AB, "c")), 1, 1.333, 1.333),
        _gate("OAI21", _ABC, ("~", ("&", ("|", "a", "b"), "c")), 1, 1.333, 1.333),
        _gate("AOI22", _ABCD, ("~", ("|", _AB, ("&", "c", "d"))), 1, 1.667, 2.333),
        # y = s ? b : a
        _gate(
            "MUX2",
            ("a", "b", "s"),
            ("|", ("&", "b", "s"), ("&", "a", ("~", "s"))),
            2,
            2.333,
            3.0,
        ),
        CellKind(
            "HA",
            ("a", "b"),
            {"s": _XOR, "co": _AB},
            (2, 2),
            {"nangate45": 3.333, "sky130": 3.333},
        ),
        CellKind(
            "FA",
            _ABC,
            {"s": _SUM, "co": _MAJORITY},
            (4, 4),
            {"nangate45": 5.333, "sky130": 5.333},
        ),
        CellKind("DFF", ("d",), {"q": "d"}, (0,), {"nangate45": 5.667, "sky130": 5.333}),
    )
}


def evaluate(logic: Logic, pins: Mapping[str, Bits]) -> Bits:
    """The value of an expression, 64 cases a word."""
    if isinstance(logic, str):
        return pins[logic]
    operator, *operands = logic
    values = [evaluate(x, pins) for x in operands]
    if operator == "~":
        return ~values[0]
    merge = {"&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor}[str(operator)]
    return merge.reduce(values)  # type: ignore[no-any-return]


def text(logic: Logic, inverter: str = "~") -> str:
    """The expression in Verilog's syntax; Liberty writes `!` for the inverter."""
    if isinstance(logic, str):
        return logic
    operator, *operands = logic
    if operator == "~":
        return f"{inverter}{text(operands[0], inverter)}"
    return "(" + f" {operator} ".join(text(x, inverter) for x in operands) + ")"


def renamed(logic: Logic, names: Mapping[str, str]) -> Logic:
    """The expression over other names of its pins."""
    if isinstance(logic, str):
        return names[logic]
    return (logic[0], *(renamed(x, names) for x in logic[1:]))
