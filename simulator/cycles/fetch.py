"""Instruction fetch: text and the descriptors it names, a chunk at a time, a few chunks ahead."""

from __future__ import annotations

from collections.abc import Callable

import simpy

from ...isa.instructions import INSTRUCTION_BYTES
from ...isa.program import Program
from ..text.work import Work
from .events import FETCH_RANK, Clock, Process


class InstructionFetch:
    """Feeds the engines' queues; a chunk leaves the buffer when all its instructions are taken.

    Text order is a valid order of execution, so that the oldest instruction that is not done is
    always in the buffer, and the limited buffer cannot deadlock.
    """

    def __init__(
        self, clock: Clock, program: Program, work: Work, request: Callable[[int, int, int], int]
    ) -> None:
        """request : (address, bytes, pc) -> end."""
        self.clock, self.request = clock, request
        self.grant = program.config.dram.grant_bytes
        self.latency = program.config.dram.latency_cycles
        self.base = program.memory_map["text"][0]
        self.chunk, self.held = work.chunk, work.held
        self.nbytes = work.fetch_bytes.tolist()
        self.left = work.chunk_readers.tolist()
        self.fetched = [False] * len(self.left)
        self.arrival: list[simpy.Event | None] = [None] * len(self.left)
        self.drained = 0  # chunks that have left the buffer, in order
        self.full: simpy.Event | None = None

    def process(self) -> Process:
        """The fetch unit."""
        for index in range(len(self.fetched)):
            while index - self.drained >= self.held:
                self.full = self.clock.event()
                yield self.full
            first = index * self.chunk
            at = self.base + first * INSTRUCTION_BYTES
            size = sum(self.nbytes[first : first + self.chunk])
            for offset in range(0, size, self.grant):
                end = self.request(at + offset, min(self.grant, size - offset), first)
                yield self.clock.sleep(FETCH_RANK, end - self.clock.now)
            yield self.clock.sleep(FETCH_RANK, self.latency)
            self.fetched[index] = True
            event = self.arrival[index]
            if event is not None:
                self.clock.wake(FETCH_RANK, event)

    def ready(self, pc: int) -> bool:
        """Whether instruction `pc` is in the buffer."""
        return self.fetched[pc // self.chunk]

    def wait(self, rank: int, pc: int) -> Process:
        """Wait until instruction `pc` is in the buffer."""
        index = pc // self.chunk
        event = self.arrival[index]
        if event is None:
            event = self.arrival[index] = self.clock.event()
        yield event
        yield self.clock.sleep(rank, 0)  # those woken together go on in the order of their rank

    def take(self, pc: int) -> None:
        """One queue has taken instruction `pc`."""
        self.left[pc // self.chunk] -= 1
        while self.drained < len(self.left) and self.left[self.drained] == 0:
            self.drained += 1
            if self.full is not None and not self.full.triggered:
                self.clock.wake(FETCH_RANK, self.full)
