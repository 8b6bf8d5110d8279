"""When what a register of the DPPU holds is still used: counted, and drawn, by its schedule."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.registers import Register
from ..inject.fault_plan import DPPU_UNITS
from ..text.spans import Span, Spans
from .schedule import DppuSchedule, dppu_schedule, shape_of

Int = NDArray[np.int64]
Slot = tuple[int, int, int]  #: row, column, step


class _Reads(NamedTuple):
    """Per operand of a sum: the step of round 0 in which it is read, and steps from round to round.

    lane : of the group that reads it. slices : (step of round 0, steps from round to round) of all
    reads of a neuron.
    """

    step: Int
    round: Int
    lane: Int
    slices: Int


@lru_cache(256)
def _reads(parts: tuple[int, ...], neurons: int, spans: Spans, excess: bool) -> _Reads:
    schedule = dppu_schedule(parts, neurons, shape_of(spans.program.config, excess))
    width = schedule.shape.width
    step, turn, lane, slices = [], [], [], []
    for w in schedule.windows:
        place = np.arange(w.size)
        step.append(w.begin + place // width)
        turn.append(np.full(w.size, w.slices))
        lane.append(place % width)
        slices += [(w.begin + x, w.slices) for x in range(w.slices)]
    return _Reads(
        np.concatenate(step), np.concatenate(turn), np.concatenate(lane), np.array(slices, np.int64)
    )


class DppuLive:
    """The live (place, step) of a register of the DPPU in one tile; `work.steps` is not 0."""

    def __init__(self, register: Register, span: Span, spans: Spans) -> None:
        excess = register.unit == DPPU_UNITS[1]
        self.register, self.work = register, spans.dppu(span, excess)
        work = self.work
        self.reads = _reads(work.parts, work.neurons, spans, excess)
        self.schedule: DppuSchedule = dppu_schedule(
            work.parts, work.neurons, shape_of(spans.program.config, excess)
        )
        self.is_file = register.name.startswith("file")
        if self.is_file:
            positions = spans.decode(work.pcs[0], spans.table(work.pcs[0]))
            side = positions[:, 0 if register.name == "file_act" else 1]
            rounds = np.arange(len(side)) // self.schedule.shape.groups
            self.lines, at = np.unique(side[side >= 0], return_inverse=True)
            self.last = np.zeros(len(self.lines), np.int64)  # round of each line's last reader
            np.maximum.at(self.last, at, rounds[side >= 0])

    def _held(self, turn: int) -> Int:
        """Steps that each operand of a line is held whose last reader is in round `turn`."""
        r = self.reads
        return r.step + turn * r.round - self.schedule.filled + 1

    @property
    def total(self) -> int:
        """How many (place, step) are live."""
        neurons, shape = self.work.neurons, self.schedule.shape
        match self.register.name:
            case "file_act" | "file_wgt":
                turns, counts = np.unique(self.last, return_counts=True)
                each = [int(self._held(t).sum()) for t in turns.tolist()]
                return int((np.array(each, np.int64) * counts).sum())
            case "psum":
                return neurons * (self.work.steps - self.schedule.loads[0])
            case "position":
                return neurons * shape.position_bits * (self.work.steps - self.schedule.loads[0])
            case "act" | "wgt":  # one operand a lane
                return neurons * sum(self.work.parts)
        return neurons * len(self.reads.slices) * shape.nodes(self._stage)

    @property
    def _stage(self) -> int:
        name = self.register.name
        return int(name.removeprefix("tree")) if name.startswith("tree") else 0

    def draw(self, rng: np.random.Generator) -> Slot:
        """One of them."""
        reads, shape, name = self.reads, self.schedule.shape, self.register.name
        if self.is_file:
            return self._draw_file(rng)
        neuron = int(rng.integers(self.work.neurons))
        turn, group = divmod(neuron, shape.groups)
        if name in ("psum", "position"):
            col = int(rng.integers(shape.position_bits)) if name == "position" else 0
            return neuron, col, int(rng.integers(self.schedule.loads[0], self.work.steps))
        if name in ("act", "wgt"):
            k = int(rng.integers(len(reads.step)))
            return group, int(reads.lane[k]), int(reads.step[k] + turn * reads.round[k]) + 1
        step, rounds = reads.slices[rng.integers(len(reads.slices))].tolist()
        node = int(rng.integers(shape.nodes(self._stage)))
        return group, node, step + turn * rounds + 2 + self._stage

    def _draw_file(self, rng: np.random.Generator) -> Slot:
        each = np.array([self._held(t).sum() for t in self.last.tolist()])
        at = int(np.searchsorted(np.cumsum(each), rng.integers(each.sum()), side="right"))
        held = np.cumsum(self._held(int(self.last[at])))
        slot = int(rng.integers(held[-1]))
        k = int(np.searchsorted(held, slot, side="right"))
        step = int(self.schedule.filled[k]) + slot - int(held[k - 1] if k else 0)
        line, place = int(self.lines[at]), int(self.schedule.slot[k])
        return (line, place, step) if self.register.name == "file_act" else (place, line, step)
