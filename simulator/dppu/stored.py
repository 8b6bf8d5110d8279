"""What a register of the DPPU holds in a step of a fault-free tile, by its recorded schedule.

As `stored`: looked at before it is read in that step, None for nothing that is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..array.stored import Stored
from .schedule import DppuSchedule, Window

Int = NDArray[np.int64]


class Slice(NamedTuple):
    """Operands first..end-1 of a neuron, that a group reads in one step."""

    neuron: int
    first: int
    end: int


def dppu_stored(
    schedule: DppuSchedule, positions: Int, register: str, row: int, col: int, step: int
) -> Stored | None:
    """Operands and sums. positions : (neurons, 2), rows and columns of the tile, -1 for none."""
    if register.startswith("file"):
        return _file(schedule, positions, register, row, col, step)
    if register == "psum":
        if not resident(schedule, positions, row, step):
            return None
        end = sum(s.end - s.first for s in _slices(schedule, row, step))
        r, c = positions[row].tolist()
        return Stored("sum", r, c, 0, end, start=True)
    stage = int(register.removeprefix("tree")) if register.startswith("tree") else 0
    operand = register in ("act", "wgt")
    read = _read(schedule, positions, row, step - (1 if operand else 2 + stage))
    if read is None:
        return None
    r, c = positions[read.neuron].tolist()
    first = min(read.first + (col << stage), read.end)
    end = min(first + (1 << stage), read.end)
    if not operand:
        return Stored("sum", r, c, first, end)
    if first == end:  # a lane without an operand: both factors are 0
        return None
    return (
        Stored("act", r, -1, first, end) if register == "act" else Stored("wgt", -1, c, first, end)
    )


def resident(schedule: DppuSchedule, positions: Int, neuron: int, step: int) -> bool:
    """Whether a neuron's position and partial sum stand in their registers."""
    there = neuron < schedule.neurons and positions[neuron, 0] >= 0
    return bool(there and schedule.loads[0] <= step < schedule.cycles)


def _turns(schedule: DppuSchedule) -> int:
    return -(-schedule.neurons // schedule.shape.groups)


def _slices(schedule: DppuSchedule, neuron: int, step: int) -> list[Slice]:
    """What of a neuron is in its partial sum in `step`."""
    latest = step - 3 - schedule.shape.stages
    found = []
    for w in schedule.windows:
        begin = w.begin + neuron // schedule.shape.groups * w.slices
        found += [_slice(schedule, w, neuron, x) for x in range(w.slices) if begin + x <= latest]
    return found


def _slice(schedule: DppuSchedule, w: Window, neuron: int, x: int) -> Slice:
    first = w.first + x * schedule.shape.width
    return Slice(neuron, first, min(first + schedule.shape.width, w.first + w.size))


def _read(schedule: DppuSchedule, positions: Int, group: int, step: int) -> Slice | None:
    """What a group reads in a step."""
    for w in schedule.windows:
        if w.begin <= step < w.begin + _turns(schedule) * w.slices:
            turn, x = divmod(step - w.begin, w.slices)
            neuron = turn * schedule.shape.groups + group
            if neuron < schedule.neurons and positions[neuron, 0] >= 0:
                return _slice(schedule, w, neuron, x)
    return None


def _file(
    schedule: DppuSchedule, positions: Int, register: str, row: int, col: int, step: int
) -> Stored | None:
    """An operand in the register files that a neuron has yet to read."""
    is_act = register == "file_act"
    line, place = (row, col) if is_act else (col, row)
    (there,) = np.nonzero((schedule.slot == place) & (schedule.filled <= step))
    readers = np.flatnonzero(positions[:, 0 if is_act else 1] == line)
    readers = readers[positions[readers, 0] >= 0]
    if not len(there) or not len(readers):
        return None
    k = int(there[-1])
    (w,) = (w for w in schedule.windows if w.first <= k < w.first + w.size)
    turn = int(readers[-1]) // schedule.shape.groups
    last = w.begin + turn * w.slices + (k - w.first) // schedule.shape.width
    if step > last:
        return None
    return Stored("act", line, -1, k, k + 1) if is_act else Stored("wgt", -1, line, k, k + 1)
