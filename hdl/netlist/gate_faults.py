"""Stuck cell outputs of a protected circuit: which are masked, which remain, and of what class.

Every cell output is stuck at 0 and at 1, over sampled operands; all faults are evaluated side by
side, 64 cases a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import KINDS, Bits
from .evaluate import (
    Simulation,
    Stuck,
    constant,
    pack,
)
from .netlist import Cell, Netlist

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class GateFault(NamedTuple):
    """A stuck output. wrong : bits of the output port that it changed in some sampled case."""

    cell: Cell
    net: int
    value: int
    wrong: frozenset[int]


def gate_faults(
    netlist: Netlist, operands: Mapping[str, NDArray[np.int64]], output: str
) -> list[GateFault]:
    """Both stuck values of every cell output of a combinational circuit.

    operands : port -> values, the same number of each, rounded up to whole words of 64.
    """
    sites = [
        (cell, net, value) for cell in netlist.cells for net in cell.outputs for value in (0, 1)
    ]
    one = {name: pack(values, len(netlist.inputs[name])) for name, values in operands.items()}
    words = -(-len(next(iter(operands.values()))) // 64)
    plain = Simulation(netlist, words)
    plain.settle(one)
    golden = plain.output(output)
    simulation = Simulation(netlist, words * len(sites))
    inputs = {name: [np.tile(row, len(sites)) for row in rows] for name, rows in one.items()}
    simulation.settle(inputs, _stuck([(net, value) for _, net, value in sites], words))
    wrong = np.stack(
        [
            (row.reshape(len(sites), words) != good).any(1)
            for row, good in zip(simulation.output(output), golden, strict=True)
        ],
        1,
    )
    return [
        GateFault(cell, net, value, frozenset(np.flatnonzero(bits).tolist()))
        for (cell, net, value), bits in zip(sites, wrong, strict=True)
    ]


def _stuck(sites: list[tuple[int, int]], words: int) -> dict[int, Stuck]:
    """Fault i holds its net in the words of lane i."""
    held: dict[int, tuple[Bits, Bits]] = {}
    for lane, (net, value) in enumerate(sites):
        where, values = held.setdefault(
            net, (constant(0, words * len(sites)), constant(0, words * len(sites)))
        )
        where[lane * words : (lane + 1) * words] = _ALL
        values[lane * words : (lane + 1) * words] = _ALL if value else 0
    return held


def residual(faults: list[GateFault], protected: Collection[int]) -> Counter[str]:
    """Faults that change a protected output bit, by class of their cell."""
    count: Counter[str] = Counter()
    for fault in faults:
        if fault.wrong & set(protected):
            count[fault_class(fault.cell, protected)] += 1
    return count


def fault_class(cell: Cell, protected: Collection[int]) -> str:
    """What a cell is to the protected columns: voter, mux, a copy, or logic below or above them."""
    if cell.part in ("voters", "muxes", "control"):
        return cell.part
    if KINDS[cell.kind].is_register and cell.name in ("act", "wgt", "valid", "valid_prod"):
        return "operands"
    if cell.column in protected:
        return "copy"
    return "carry from low columns" if cell.column < min(protected) else "columns above"
