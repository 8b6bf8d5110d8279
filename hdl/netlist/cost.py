"""Area, depth and fan-out of a netlist, from its cells alone."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from .cells import KINDS
from .netlist import Netlist

#: The ratios between cells that areas are given in.
LIBRARY = "nangate45"


class Cost(NamedTuple):
    """area_ge : gate equivalents. parts : of each part. depth : of the longest path, unit delays.

    fanout : inputs that the busiest net drives, ports and constants left out.
    """

    area_ge: float
    parts: dict[str, float]
    depth: int
    fanout: int


def cost(netlist: Netlist, library: str = LIBRARY) -> Cost:
    """What the circuit costs in the ratios of `library`."""
    parts: dict[str, float] = {}
    for cell in netlist.cells:
        parts[cell.part] = parts.get(cell.part, 0.0) + KINDS[cell.kind].area[library]
    own = {net for cell in netlist.cells for net in cell.outputs}
    fanout = max((n for net, n in netlist.readers().items() if net in own), default=0)
    areas = {name: round(area, 3) for name, area in sorted(parts.items())}
    return Cost(round(sum(parts.values()), 3), areas, depth(netlist), fanout)


def depth(netlist: Netlist) -> int:
    """Unit delays of the longest path between registers or ports; the netlist is sorted."""
    at = [0] * netlist.nets
    for cell in netlist.cells:
        kind = KINDS[cell.kind]
        if kind.is_register:
            continue
        start = max(at[net] for net in cell.inputs)
        for net, delay in zip(cell.outputs, kind.depth, strict=True):
            at[net] = start + delay
    return max(at)


def cells_by_column(netlist: Netlist, kind: str) -> list[int]:
    """How many cells of a kind each column has."""
    columns = Counter(cell.column for cell in netlist.cells if cell.kind == kind)
    return [columns[i] for i in range(max(columns, default=-1) + 1)]
