"""When the DPPU works on what in one tile: the recorded schedule that its registers follow.

A window of at most W operands is filled into one register file while the groups work on the other
one.  Each neuron takes ceil(size / width) cycles of a group; neuron i is group i mod groups', in
round i div groups.  Time is counted from the tile's first operand, with a DPPU that is idle then,
and with the cycles in which the taps hold the array up.

Operands of the excess are not tapped but fetched: window j+1 stands in its file when the work on
window j begins.  Its cycles are those that the instruction gets; what lies between them (slack that
the taps leave, waiting for DRAM) is no time of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from ...config import Config
from ...isa.registers import DPPU_UNITS, TREE_STAGES, all_handled
from ...network.arrays import I64


@dataclass(frozen=True)
class DppuShape:
    """The DPPU beside an array of rows x cols PEs. excess : neurons that are not tapped."""

    rows: int
    cols: int
    groups: int
    width: int
    window: int
    excess: bool = False

    @property
    def stages(self) -> int:
        """Stages of the adder tree behind the products."""
        return (self.width - 1).bit_length()

    @property
    def column_bits(self) -> int:
        """Low bits of a position: the column (as `Config.position_column_bits`)."""
        return (self.cols - 1).bit_length()

    @property
    def position_bits(self) -> int:
        """Bits of a position (as `Config.position_bits`)."""
        return max(1, (self.rows - 1).bit_length() + self.column_bits)

    @property
    def unit(self) -> str:
        """The unit of its registers in isa.registers."""
        return DPPU_UNITS[self.excess]

    def nodes(self, stage: int) -> int:
        """Registers of a stage of the tree; stage 0 are the products."""
        return -(-self.width >> stage) if stage <= self.stages else 0

    def places(self, register: str, neurons: int) -> tuple[int, int]:
        """Rows and columns of a register while the unit computes `neurons`."""
        return _PLACES[register](self, neurons)


def _tree(stage: int) -> Callable[[DppuShape, int], tuple[int, int]]:
    return lambda d, neurons: (d.groups, d.nodes(stage))


#: Rows and columns of each register.
_PLACES: dict[str, Callable[[DppuShape, int], tuple[int, int]]] = {
    "file_act": lambda d, neurons: (d.rows, 2 * d.window),
    "file_wgt": lambda d, neurons: (2 * d.window, d.cols),
    "act": _tree(0),
    "wgt": _tree(0),
    "prod": _tree(0),
    "psum": lambda d, neurons: (neurons, 1),
    "position": lambda d, neurons: (neurons, d.position_bits),
    **{f"tree{stage}": _tree(stage) for stage in range(1, TREE_STAGES + 1)},
}
for _unit in DPPU_UNITS:
    all_handled(_unit, _PLACES, "simulator/dppu/schedule.py: _PLACES")


def shape_of(config: Config, excess: bool = False) -> DppuShape:
    """The DPPU of a configuration that has one."""
    d, array = config.dppu, config.array
    return DppuShape(array.rows, array.cols, d.size // d.width, d.width, d.window, excess)


class DppuWindow(NamedTuple):
    """Operands first .. first+size-1 of a tile, worked on from step `begin` on."""

    first: int
    size: int
    begin: int
    part: int  #: of the reduction
    slices: int  #: cycles of a group for a neuron


class SliceReads(NamedTuple):
    """Slices that each neuron reads, in order: of operands first .. end-1, in one step each.

    step : in which the neurons of round 0 read it. period : steps from round to round.
    """

    first: I64
    end: I64
    step: I64
    period: I64

    def of_slices(self, turn: int) -> I64:
        """The step in which each slice is read in a round."""
        return self.step + turn * self.period

    def of_operands(self, turn: int) -> I64:
        """The step in which each operand is read in a round."""
        return np.repeat(self.of_slices(turn), self.end - self.first)


@dataclass(frozen=True)
class DppuSchedule:
    """Of one tile. filled : (k,), the first step in which an operand stands in its file.

    slot : (k,), where it stands in the files' 2 W places. loads : step in which the position
    registers of each part are first there. done : step by which all operands have been read.
    cycles : up to the step, included, in which the sums are written.
    """

    shape: DppuShape
    neurons: int
    windows: tuple[DppuWindow, ...]
    filled: I64
    slot: I64
    loads: tuple[int, ...]
    done: int

    @property
    def cycles(self) -> int:
        """Operand registers, products, tree and partial sum follow `done` at the next edges."""
        return self.done + self.shape.stages + 3

    @cached_property
    def reads(self) -> SliceReads:
        """What each neuron reads when."""
        width = self.shape.width
        own = [(w, x, w.first + x * width) for w in self.windows for x in range(w.slices)]
        return SliceReads(
            np.array([first for _, _, first in own]),
            np.array([min(first + width, w.first + w.size) for w, _, first in own]),
            np.array([w.begin + x for w, x, _ in own]),
            np.array([w.slices for w, _, _ in own]),
        )

    def slices(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(step, group, neuron, first k, operands) of all that the groups read, in order."""
        width, groups = self.shape.width, self.shape.groups
        for w in self.windows:
            for at in range(-(-self.neurons // groups) * w.slices):
                turn, x = divmod(at, w.slices)
                for neuron in range(turn * groups, min((turn + 1) * groups, self.neurons)):
                    count = min(width, w.size - x * width)
                    yield w.begin + at, neuron % groups, neuron, w.first + x * width, count


def dppu_schedule(parts: Sequence[int], neurons: int, shape: DppuShape) -> DppuSchedule:
    """The schedule of `neurons` entries of a position table over parts of a reduction.

    parts : operands of each part, which follow one another at once; windows begin anew in each.
    """
    return _schedule(tuple(parts), neurons, shape)


@lru_cache(maxsize=256)
def _schedule(parts: tuple[int, ...], neurons: int, shape: DppuShape) -> DppuSchedule:
    turns = -(-neurons // shape.groups)
    filled, slot = np.zeros(sum(parts), np.int64), np.zeros(sum(parts), np.int64)
    windows: list[DppuWindow] = []
    loads: list[int] = []
    end = done = before = first = 0  # of the filling, the work, and the work one window earlier
    for part, length in enumerate(parts):
        for at in range(0, length, shape.window):
            size = min(shape.window, length - at)
            places = np.arange(size)
            own = slice(first, first + size)
            slot[own] = len(windows) % 2 * shape.window + places
            if shape.excess:
                filled[own] = windows[-1].begin if windows else 0
                begin = done
            else:
                begin = max(end, before)  # of the filling: the file has to be left first
                filled[own] = begin + places + 1
                end = begin + size
                begin = max(end, done)
            if at == 0:
                loads.append(begin)
            windows.append(DppuWindow(first, size, begin, part, -(-size // shape.width)))
            before, done = done, begin + turns * windows[-1].slices
            first += size
    return DppuSchedule(shape, neurons, tuple(windows), filled, slot, tuple(loads), done)
