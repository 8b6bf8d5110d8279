"""The project's Liberty file: the cell table with areas in gate equivalents, for Yosys."""

from __future__ import annotations

from ..netlist.cells import KINDS, CellKind, text
from ..netlist.cost import LIBRARY


def liberty(library: str = LIBRARY) -> str:
    """The cell table as Liberty text; areas in the ratios of `library`."""
    cells = "".join(_cell(kind, library) for kind in KINDS.values())
    return (
        f"library (flexhyca_{library}) {{\n"
        '  comment : "areas in gate equivalents, NAND2 = 1";\n'
        f"{cells}}}\n"
    )


def _cell(kind: CellKind, library: str) -> str:
    lines = [f"  cell ({kind.name}) {{", f"    area : {kind.area[library]};"]
    if kind.is_register:
        lines += [
            '    ff (state, state_n) { clocked_on : "clk"; next_state : "d"; }',
            "    pin (clk) { direction : input; clock : true; }",
        ]
    lines += [f"    pin ({pin}) {{ direction : input; }}" for pin in kind.inputs]
    for pin, logic in kind.outputs.items():
        function = "state" if kind.is_register else text(logic, "!")
        lines.append(f'    pin ({pin}) {{ direction : output; function : "{function}"; }}')
    return "\n".join([*lines, "  }", ""])
