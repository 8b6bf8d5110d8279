"""SimPy events that happen in a fixed order within a cycle."""

from __future__ import annotations

from collections.abc import Generator

import simpy

from ..isa.instructions import Engine

Process = Generator[simpy.Event, None, None]

#: Rank of the instruction fetch unit among the engines of a cycle: after all of them.
FETCH_RANK = len(Engine)


class Clock:
    """Simulated time. Events of one cycle come in the order of the rank of who waits for them.

    Without that, the outcome would depend on the order in which SimPy inserted the events.
    """

    def __init__(self) -> None:
        self.env = simpy.Environment()

    @property
    def now(self) -> int:
        """The current cycle; delays are integers, so it is one."""
        now: int = self.env.now  # type: ignore[assignment]
        return now

    def sleep(self, rank: int, cycles: int) -> simpy.Event:
        """An event `cycles` from now."""
        event = simpy.Event(self.env)
        self._schedule(event, rank, cycles)
        return event

    def event(self) -> simpy.Event:
        """An event that `wake` triggers."""
        return simpy.Event(self.env)

    def wake(self, rank: int, event: simpy.Event) -> None:
        """Trigger `event` in this cycle."""
        self._schedule(event, rank, 0)

    def _schedule(self, event: simpy.Event, rank: int, cycles: int) -> None:
        # As simpy.Timeout does it, but with a priority of our own (0 and 1 are SimPy's).
        event._ok, event._value = True, None
        self.env.schedule(event, rank + 2, cycles)  # type: ignore[arg-type]
