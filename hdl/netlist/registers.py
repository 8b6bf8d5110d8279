"""The registers of isa.registers as the netlists have them: the same ones, with the same copies.

The netlists and their TMR pass know cells, and nothing of the machine (`hdl.area.table` is of their
sources alone); so what they repeat of the register table is held equal here.
"""

from __future__ import annotations

from ...isa.protection import COPIES
from ...isa.registers import BY_UNIT, TREE_STAGES, all_handled
from ...tables import complete
from . import tmr

#: Cells of a PE (`pe`), by register.
PE = {"act": "act", "wgt": "wgt", "prod": "prod", "acc": "acc"}
#: Cells of a group of the DPPU (`dppu`), by register.
GROUP = {
    "act": "act",
    "wgt": "wgt",
    "prod": "product",
    "psum": "psum",
    **dict.fromkeys((f"tree{stage}" for stage in range(1, TREE_STAGES + 1)), "tree"),
}
#: Registers of the DPPU that are no part of a group.
BESIDE = ("file_act", "file_wgt", "position")

all_handled("array", PE, "hdl/netlist/registers.py: PE")
all_handled("dppu", [*GROUP, *BESIDE], "hdl/netlist/registers.py: GROUP, BESIDE")
_own = [(BY_UNIT["array"][name], cell) for name, cell in PE.items()]
_own += [(BY_UNIT["dppu"][name], cell) for name, cell in GROUP.items()]
complete(
    "protected registers in isa/registers.py",
    {cell: None for register, cell in _own if register.protected},
    tmr.PROTECTED_REGISTERS,
    "hdl/netlist/tmr.py: PROTECTED_REGISTERS",
)
complete("isa/protection.py: COPIES", [COPIES], [tmr.COPIES], "hdl/netlist/tmr.py: COPIES")
