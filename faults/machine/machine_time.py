"""When a program's tiles are at work, and what the buffers hold meanwhile: from a timed run.

A moment of real time is translated to a site's (tile, cycle): the tile that is on the array then,
or the next one, in program order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...isa.registers import BUFFER_BYTES
from ...simulator.cycles.engines import CycleModel
from ...simulator.cycles.occupancy import leases
from ...simulator.cycles.trace import Recorder, check_traceable
from ...simulator.text.activations import moved_by
from ...simulator.text.spans import Span, Spans
from ...tables import complete

_COUNTERS = {
    "ifmap buffer": "ifmap",
    "weight buffer": "weight",
    "scratchpad": "scratchpad",
    "activation memory": "activation",
    "position buffer": "position",
    "residual slots": "residual",
}
complete(
    "bytes of buffers in isa/registers.py",
    BUFFER_BYTES,
    _COUNTERS.values(),
    "faults/machine/machine_time.py: _COUNTERS",
)


class HeldWords(NamedTuple):
    """Words of a register that hold something that is still read, from `begin` to `end`.

    words : in all, `row` of them at a time, `stride` apart.
    """

    word: int
    words: int
    begin: int
    end: int
    row: int
    stride: int

    def number(self, at: int) -> int:
        """The word that is number `at` of them."""
        row, within = divmod(at, self.row)
        return self.word + row * self.stride + within


class _Work(NamedTuple):
    """A tile at work, from instruction `first` to `last`: its cycles from `cycle` on."""

    span: Span
    first: int
    last: int
    cycle: int
    cycles: int


def _at_work(span: Span) -> Iterator[_Work]:
    if not span.gemms:
        yield _Work(span, span.vec, span.vec, 0, span.cycles)
    for i, end in pairwise((*span.visits, len(span.gemms))):
        until = span.starts[end] if end < len(span.gemms) else span.cycles
        yield _Work(
            span, span.gemms[i], span.gemms[end - 1], span.starts[i], until - span.starts[i]
        )


class MachineTime:
    """One timed run of a program. cycles : of the whole run."""

    def __init__(self, spans: Spans) -> None:
        program = spans.program
        check_traceable(program.config)
        self.spans, self.program, self.recorder = spans, program, Recorder()
        self.cycles = CycleModel(program, recorder=self.recorder).run()
        self.at_work = sorted(
            (work for span in spans.all for work in _at_work(span)), key=lambda work: work.first
        )
        self.begins = np.array([self.recorder.begin[work.first] for work in self.at_work])
        ends = np.array([self.recorder.end[work.last] for work in self.at_work])
        self.ends = np.maximum.accumulate(ends)

    def at(self, time: int) -> tuple[Span, int]:
        """The tile that is at work at a time, or the next, or the last one; and its cycle."""
        index = int(np.searchsorted(self.ends, time, side="right"))
        index = min(index, len(self.ends) - 1)
        work, since = self.at_work[index], time - int(self.begins[index])
        return work.span, work.cycle + min(max(0, since), work.cycles - 1)

    def stretches(self, layers: Sequence[int]) -> list[tuple[int, int]]:
        """Stretches of time, (begin, end), in which `at` gives a tile of some layers."""
        last = len(self.ends) - 1
        found: list[tuple[int, int]] = []
        for index, work in enumerate(self.at_work):
            begin = int(self.ends[index - 1]) if index else 0
            end = self.cycles if index == last else int(self.ends[index])
            if work.span.layer not in layers or begin >= end:
                continue
            if found and found[-1][1] == begin:
                begin = found.pop()[0]
            found.append((begin, end))
        return found

    def sums(self, span: Span) -> list[int]:
        """Cycles that the tile's sums stand in the output buffer: parked, before and after the
        DPPU's merge."""
        begin, end = self.recorder.begin, self.recorder.end
        again = [span.gemms[i] for i in span.visits[1:]]
        parked = [
            max(0, begin[pc] - end[before])
            for pc, before in zip(again, (span.gemms[i - 1] for i in span.visits[1:]), strict=True)
        ]
        drained = end[span.gemms[-1]]
        merged = max([drained, *(end[pc] for pc in span.dppus)])
        return [*parked, merged - drained, max(0, end[span.vec] - merged)]

    def results(self, span: Span) -> int:
        """Cycles that the tile's results stand there."""
        return self.recorder.end[span.store] - self.recorder.end[span.vec]

    @cached_property
    def leases(self) -> dict[str, list[HeldWords]]:
        """What is in the memories and still read, by register: of each LOAD, or STORE."""
        program, end = self.program, self.recorder.end
        c, stores = program.columns, moved_by(program, "STORE")
        stored = {pc: run for pc, *run in zip(*(x.tolist() for x in stores), strict=True)}
        found: dict[str, list[HeldWords]] = {name: [] for name in _COUNTERS.values()}
        for lease in leases(program):
            name = _COUNTERS.get(lease.counter)
            if name is None or not lease.ends:
                continue
            (pc,) = lease.begins
            loaded = int(c["row_bytes"][pc] * c["count"][pc])
            word, row, rows, stride = stored.get(pc, (int(c["buf_addr"][pc]), loaded, 1, 0))
            last = max(end[pc] + 1, *(end[reader] for reader in lease.ends))
            found[name].append(HeldWords(word, row * rows, end[pc], last, row, stride))
        return found

    def instructions(self) -> NDArray[np.int64]:
        """Cycles that each instruction waits in its buffer."""
        fetched: dict[int, int] = {}
        for pc, state, start, cycles in zip(
            self.recorder.channel.pcs,
            self.recorder.channel.states,
            self.recorder.channel.starts,
            self.recorder.channel.cycles,
            strict=True,
        ):
            if state == "instruction":
                fetched[pc] = start + cycles + self.program.config.dram.latency_cycles
        chunks = np.array(sorted(fetched))
        ready = np.array([fetched[pc] for pc in chunks.tolist()])
        pcs = np.arange(len(self.program.text))
        there = ready[np.searchsorted(chunks, pcs, side="right") - 1]
        taken = np.array([self.recorder.begin.get(pc, -1) for pc in pcs.tolist()])
        # SYNC and HALT do no work; they are taken when they are there.
        waits: NDArray[np.int64] = np.maximum(1, np.where(taken < 0, there, taken) - there)
        return waits
