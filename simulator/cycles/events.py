"""SimPy events that happen in a fixed order within a cycle."""

from __future__ import annotations

from collections.abc import Generator
from heapq import heappush

import simpy

from ...isa.instructions import Engine

Process = Generator[simpy.Event, None, None]
#: A process that returns the cycles for which it waited.
Waiting = Generator[simpy.Event, None, int]

#: Rank of the instruction fetch unit among the engines of a cycle: after all of them.
FETCH_RANK = len(Engine)


class Clock(simpy.Environment):
    """Simulated time. Events of one cycle come in the order of the rank of who waits for them.

    Without that, the outcome would depend on the order in which SimPy inserted the events.
    """

    @property
    def now(self) -> int:
        """The current cycle; delays are integers, so it is one."""
        return self._now  # type: ignore[return-value]

    def sleep(self, rank: int, cycles: int) -> simpy.Event:
        """An event `cycles` from now."""
        event = simpy.Event(self)
        self.wake(rank, event, cycles)
        return event

    def wake(self, rank: int, event: simpy.Event, cycles: int = 0) -> None:
        """Trigger `event` in `cycles`, as simpy.Timeout does it."""
        event._ok, event._value = True, None
        # SimPy's own priorities are 0 and 1.
        heappush(self._queue, (self._now + cycles, rank + 2, next(self._eid), event))  # type: ignore[misc]
