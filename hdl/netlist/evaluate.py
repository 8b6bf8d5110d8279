"""Bit-parallel evaluation of a netlist in NumPy: 64 cases a word, any net stuck on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .cells import KINDS, Bits, evaluate
from .netlist import ONE, Netlist

#: Cases in which a net is stuck, and its value in them.
Stuck = tuple[Bits, Bits]
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def pack(values: NDArray[np.int64], bits: int) -> list[Bits]:
    """Two's-complement values as one row of words a bit, 64 values a word (padded with 0)."""
    padded = np.zeros(-(-len(values) // 64) * 64, np.int64)
    padded[: len(values)] = values
    return [
        np.packbits((padded >> i & 1).astype(np.uint8), bitorder="little").view(np.uint64)
        for i in range(bits)
    ]


def unpack(rows: Sequence[Bits], count: int, signed: bool = True) -> NDArray[np.int64]:
    """The first `count` values of rows of words; the inverse of `pack`."""
    out = np.zeros(count, np.int64)
    for i, row in enumerate(rows):
        bit = np.unpackbits(row.view(np.uint8), bitorder="little")[:count].astype(np.int64)
        out += bit << i
    if signed and rows:
        out -= (out >> (len(rows) - 1) & 1) << len(rows)
    return out


class Simulation:
    """The state of a netlist: values of its flip-flops, and of all nets after `settle`."""

    def __init__(self, netlist: Netlist, words: int) -> None:
        """words : of 64 cases each. The netlist is sorted; all flip-flops begin at 0."""
        self.netlist, self.words = netlist, words
        self.registers = [c for c in netlist.cells if KINDS[c.kind].is_register]
        self.logic = [c for c in netlist.cells if not KINDS[c.kind].is_register]
        self.values: list[Bits] = [np.zeros(words, np.uint64) for _ in range(netlist.nets)]
        self.values[ONE] = np.full(words, _ALL)

    def settle(
        self, inputs: Mapping[str, Sequence[Bits]], stuck: Mapping[int, Stuck] | None = None
    ) -> None:
        """Evaluate the logic. stuck : nets that hold a value, whatever drives them."""
        values, held = self.values, stuck or {}
        for name, rows in inputs.items():
            for net, row in zip(self.netlist.inputs[name], rows, strict=True):
                values[net] = row
        for net, (where, value) in held.items():
            values[net] = (values[net] & ~where) | (value & where)
        for cell in self.logic:
            kind = KINDS[cell.kind]
            pins = dict(zip(kind.inputs, (values[n] for n in cell.inputs), strict=True))
            for net, logic in zip(cell.outputs, kind.outputs.values(), strict=True):
                values[net] = evaluate(logic, pins)
                if net in held:
                    where, value = held[net]
                    values[net] = (values[net] & ~where) | (value & where)

    def clock(self) -> None:
        """The edge: every flip-flop takes its input."""
        new = [self.values[cell.inputs[0]] for cell in self.registers]
        for cell, value in zip(self.registers, new, strict=True):
            self.values[cell.outputs[0]] = value

    def output(self, name: str) -> list[Bits]:
        """The rows of an output port."""
        return [self.values[net] for net in self.netlist.outputs[name]]


def constant(value: int, words: int) -> Bits:
    """A net at 0 or 1 in all cases."""
    return np.full(words, _ALL if value else 0, np.uint64)
