"""What the registers of the DPPU hold in a fault-free tile, and when that is used: by its schedule.

A register is looked at before it is read in a step.  What a group reads in a step it holds at the
next edges: operands, products, stages of the tree, until the sum is added to the partial sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ...isa.registers import DPPU_UNITS, TREE_STAGES, all_handled
from ...network.arrays import I64
from ..array.tile import Held, PlaceStep, operand, runs
from .schedule import DppuSchedule


class Neurons(NamedTuple):
    """The neurons of a tile that are computed with operands of one source.

    positions : (neurons, 2), rows and columns of the tile, -1 for none.
    """

    schedule: DppuSchedule
    positions: I64

    def is_there(self, neuron: int) -> bool:
        """Whether an entry of the position table is a neuron."""
        return neuron < len(self.positions) and bool(self.positions[neuron, 0] >= 0)


class RegisterUses(ABC):
    """The places and steps of a register in which it holds something that is still used."""

    def __init__(self, neurons: Neurons) -> None:
        self.neurons, self.schedule = neurons, neurons.schedule
        self.shape, self.reads = self.schedule.shape, self.schedule.reads

    @property
    @abstractmethod
    def total(self) -> int:
        """How many (place, step) there are."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> PlaceStep:
        """One of them."""

    @abstractmethod
    def hold(self, row: int, col: int, step: int) -> Held | None:
        """What a place holds in a step, None for nothing that is used."""

    def stretches(self, row: int, col: int) -> list[tuple[int, int]]:
        """The steps of a place, as (first, last)."""
        steps = range(self.schedule.cycles)
        return runs([step for step in steps if self.hold(row, col, step) is not None])


class _File(RegisterUses):
    """A register file: an operand of a row (side 0) or column (1), until its last reader."""

    def __init__(self, neurons: Neurons, side: int) -> None:
        super().__init__(neurons)
        self.side = side
        lines = neurons.positions[:, side]
        rounds = np.arange(len(lines)) // self.shape.groups
        self.lines, at = np.unique(lines[lines >= 0], return_inverse=True)
        self.last = np.zeros(len(self.lines), np.int64)  # round of each line's last reader
        np.maximum.at(self.last, at, rounds[lines >= 0])

    def _held(self, turn: int) -> I64:
        """Steps that each operand of a line is held whose last reader is in round `turn`."""
        return self.reads.of_operands(turn) - self.schedule.filled + 1

    @property
    def total(self) -> int:
        turns, counts = np.unique(self.last, return_counts=True)
        each = [int(self._held(t).sum()) for t in turns.tolist()]
        return int((np.array(each, np.int64) * counts).sum())

    def draw(self, rng: np.random.Generator) -> PlaceStep:
        each = np.array([self._held(t).sum() for t in self.last.tolist()])
        at = int(np.searchsorted(np.cumsum(each), rng.integers(each.sum()), side="right"))
        held = np.cumsum(self._held(int(self.last[at])))
        slot = int(rng.integers(held[-1]))
        k = int(np.searchsorted(held, slot, side="right"))
        step = int(self.schedule.filled[k]) + slot - int(held[k - 1] if k else 0)
        line, place = int(self.lines[at]), int(self.schedule.slot[k])
        return (place, line, step) if self.side else (line, place, step)

    def hold(self, row: int, col: int, step: int) -> Held | None:
        line, place = (col, row) if self.side else (row, col)
        (there,) = np.nonzero((self.schedule.slot == place) & (self.schedule.filled <= step))
        (at,) = np.nonzero(self.lines == line)
        if not len(there) or not len(at):
            return None
        k = int(there[-1])
        if step >= self.schedule.filled[k] + self._held(int(self.last[at[0]]))[k]:
            return None
        return operand("wgt" if self.side else "act", line, k)


class _Group(RegisterUses):
    """A register of the groups. after : steps from a group's read until this one is read."""

    def __init__(self, neurons: Neurons, after: int) -> None:
        super().__init__(neurons)
        self.after = after

    def _slot(self, neuron: int, col: int, at: int) -> PlaceStep:
        """Of slice `at`, that a neuron reads."""
        turn, group = divmod(neuron, self.shape.groups)
        return group, col, int(self.reads.of_slices(turn)[at]) + self.after

    def _slice(self, group: int, step: int) -> tuple[int, int] | None:
        """Neuron and slice that the group's register has in a step."""
        since = step - self.after - self.reads.step
        turn, rest = np.divmod(since, self.reads.period)
        neuron = turn * self.shape.groups + group
        (found,) = np.nonzero((since >= 0) & (rest == 0) & (neuron < self.schedule.neurons))
        if not len(found) or not self.neurons.is_there(int(neuron[found[0]])):
            return None
        return int(neuron[found[0]]), int(found[0])


class _Lane(_Group):
    """An operand of the neuron at work, 0 in a lane that has none."""

    def __init__(self, neurons: Neurons, side: int) -> None:
        super().__init__(neurons, after=1)
        self.side = side

    @property
    def total(self) -> int:
        return self.schedule.neurons * len(self.schedule.slot)

    def draw(self, rng: np.random.Generator) -> PlaceStep:
        neuron = int(rng.integers(self.schedule.neurons))
        k = int(rng.integers(len(self.schedule.slot)))
        at = int(np.searchsorted(self.reads.end, k, side="right"))
        return self._slot(neuron, k - int(self.reads.first[at]), at)

    def hold(self, row: int, col: int, step: int) -> Held | None:
        found = self._slice(row, step)
        if found is None:
            return None
        neuron, at = found
        k = int(self.reads.first[at]) + col
        if k >= self.reads.end[at]:
            return None
        line = int(self.neurons.positions[neuron, self.side])
        return operand("wgt" if self.side else "act", line, k)


class _Node(_Group):
    """A product (stage 0), or a sum of the tree."""

    def __init__(self, neurons: Neurons, stage: int) -> None:
        super().__init__(neurons, after=2 + stage)
        self.stage = stage

    @property
    def total(self) -> int:
        return self.schedule.neurons * len(self.reads.step) * self.shape.nodes(self.stage)

    def draw(self, rng: np.random.Generator) -> PlaceStep:
        neuron = int(rng.integers(self.schedule.neurons))
        at = int(rng.integers(len(self.reads.step)))
        return self._slot(neuron, int(rng.integers(self.shape.nodes(self.stage))), at)

    def hold(self, row: int, col: int, step: int) -> Held | None:
        found = self._slice(row, step)
        if found is None:
            return None
        neuron, at = found
        end = int(self.reads.end[at])
        first = min(int(self.reads.first[at]) + (col << self.stage), end)
        r, c = self.neurons.positions[neuron].tolist()
        return Held("sum", r, c, first, min(first + (1 << self.stage), end))


class _Resident(RegisterUses):
    """A register of an entry of the position table, from its load to the tile's end."""

    cols = 1

    @property
    def total(self) -> int:
        own = self.schedule.cycles - self.schedule.loads[0]
        return self.schedule.neurons * self.cols * own

    def draw(self, rng: np.random.Generator) -> PlaceStep:
        neuron, col = int(rng.integers(self.schedule.neurons)), self._col(rng)
        return neuron, col, int(rng.integers(self.schedule.loads[0], self.schedule.cycles))

    def _col(self, rng: np.random.Generator) -> int:
        return 0

    def stretches(self, row: int, col: int) -> list[tuple[int, int]]:
        there = self.neurons.is_there(row)
        return [(self.schedule.loads[0], self.schedule.cycles - 1)] if there else []

    def _is_used(self, neuron: int, step: int) -> bool:
        return any(first <= step <= last for first, last in self.stretches(neuron, 0))


class _Sum(_Resident):
    """A partial sum."""

    def hold(self, row: int, col: int, step: int) -> Held | None:
        if not self._is_used(row, step):
            return None
        read = self.reads.of_slices(row // self.shape.groups)
        added = read + 3 + self.shape.stages <= step
        r, c = self.neurons.positions[row].tolist()
        return Held("sum", r, c, 0, int((self.reads.end - self.reads.first)[added].sum()), True)


class _Position(_Resident):
    """A position."""

    def __init__(self, neurons: Neurons) -> None:
        super().__init__(neurons)
        self.cols = self.shape.position_bits

    def _col(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.cols))

    def hold(self, row: int, col: int, step: int) -> Held | None:
        if not self._is_used(row, step):
            return None
        r, c = self.neurons.positions[row].tolist()
        return Held("position", r, c, col, col + 1)


USES: dict[str, Callable[[Neurons], RegisterUses]] = {
    "file_act": partial(_File, side=0),
    "file_wgt": partial(_File, side=1),
    "act": partial(_Lane, side=0),
    "wgt": partial(_Lane, side=1),
    "prod": partial(_Node, stage=0),
    "psum": _Sum,
    "position": _Position,
    **{f"tree{stage}": partial(_Node, stage=stage) for stage in range(1, TREE_STAGES + 1)},
}
for _unit in DPPU_UNITS:
    all_handled(_unit, USES, "simulator/dppu/held.py: USES")
