"""Where blocks of operands are placed on chip, and who has to end before a LOAD overwrites them.

Each operand has two memories' halves, or two places in a scratchpad, and takes them in turn: one
block is loaded while the other one is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...config import Config
from ...isa.instructions import Engine
from ..tiling.tiles import Blocks

#: The last instruction of each engine that reads a half; LOAD may overwrite it when all have ended.
#: A negative pc stands for the time before the program: an initial credit.
Readers = dict[Engine, int]


class Place(NamedTuple):
    """Where a new block goes.

    before : who reads what it overwrites; they may get later readers until the block is loaded.
    readers : who reads the block, to be written to. late : whether the tiles before it still read
    what it overwrites, so that its LOADs come behind them.
    """

    base: int
    before: Sequence[Readers]
    readers: Readers
    late: bool = False


@dataclass
class Halves:
    """The two halves of a buffer, filled in turn."""

    nbytes: int
    reader: Engine
    current: int = 1
    last: list[Readers] = field(init=False)

    def __post_init__(self) -> None:
        self.last = [{self.reader: -2}, {self.reader: -1}]

    def take(self) -> Place:
        """The other half for new contents."""
        self.current ^= 1
        before, self.last[self.current] = self.last[self.current], {}
        return Place(self.current * self.nbytes, (before,), self.last[self.current])


class BlockPlaces(NamedTuple):
    """Where a unit's new blocks go; None: it brings none."""

    inputs: Place | None
    weights: Place | None


class Split:
    """Inputs and weights in memories of their own."""

    def __init__(self, config: Config) -> None:
        self.inputs = Halves(config.buffers.ifmap_bytes // 2, Engine.ARRAY)
        self.weights = Halves(config.buffers.weight_bytes // 2, Engine.ARRAY)

    def take(self, layer: int, inputs: int | None, weights: int | None) -> BlockPlaces:
        """Places for the new blocks of a layer's next unit, of so many bytes."""
        return BlockPlaces(
            None if inputs is None else self.inputs.take(),
            None if weights is None else self.weights.take(),
        )


class _Held(NamedTuple):
    """Bytes of the scratchpad, from `begin` to `end`, and who reads them."""

    begin: int
    end: int
    readers: Readers

    def meets(self, begin: int, end: int) -> bool:
        """Whether it overlaps other bytes."""
        return self.begin < end and begin < self.end


class Scratchpad:
    """One memory: a layer's inputs have two places at its bottom, its weights two at its top.

    Places are as large as the layer's largest blocks, so that those of different layers may overlap
    in any way: who has to wait for whom follows from the bytes.  A new block takes the place in
    which it overwrites nothing that is still read; where layers change there may be none.
    """

    def __init__(self, nbytes: int, largest: Sequence[Blocks]) -> None:
        """largest : of each layer; two of each fit."""
        self.nbytes, self.largest = nbytes, largest
        self.held: list[_Held] = []
        self.inputs: _Held | None = None  # of the unit placed last
        self.weights: _Held | None = None

    def take(self, layer: int, inputs: int | None, weights: int | None) -> BlockPlaces:
        """Places for the new blocks of a layer's next unit, while the one before is computed."""
        top, largest = self.nbytes, self.largest[layer]
        still_read = [block for block in (self.inputs, self.weights) if block is not None]
        a = b = None
        if inputs is not None:
            a, self.inputs = self._place((0, largest.inputs), inputs, still_read)
        if weights is not None:
            bases = top - largest.weights, top - 2 * largest.weights
            b, self.weights = self._place(bases, weights, still_read)
        if not largest.weights:  # only the vector unit computes the layer
            self.weights = None
        return BlockPlaces(a, b)

    def _place(
        self, bases: Sequence[int], nbytes: int, still_read: Sequence[_Held]
    ) -> tuple[Place, _Held]:
        def late(base: int) -> bool:
            return any(block.meets(base, base + nbytes) for block in still_read)

        base = next((base for base in bases if not late(base)), bases[0])
        own = _Held(base, base + nbytes, {})
        before, kept = list[Readers](), [own]
        for old in self.held:
            if old.meets(own.begin, own.end):
                before.append(old.readers)
                rest = (old._replace(end=own.begin), old._replace(begin=own.end))
                kept += [part for part in rest if part.begin < part.end]
            else:
                kept.append(old)
        self.held = kept
        return Place(base, before, own.readers, late(base)), own
