"""Idle group-cycles of the DPPU: when does work that fills the gaps get done?"""

from __future__ import annotations

from collections import deque


class SlackLedger:
    """Group-cycles that tapped windows leave free, as a piecewise linear function of time.

    Work from the taps is booked in order of time and spread evenly over its interval; work from
    DRAM uses what is left, one instruction after the other (DPPU queue order).
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups
        self._booked: deque[tuple[int, int, int]] = deque()

    def book(self, begin: int, end: int, work: int) -> None:
        """Tapped windows use `work` group-cycles of [begin, end); intervals come in order."""
        if end > begin:
            self._booked.append((begin, end, work))

    def finish(self, start: int, work: int, least: int) -> int:
        """First cycle by which `work` group-cycles are free after `start`; `least` always pass.

        Starts never go back, so that intervals which ended before `start` are dropped.
        """
        while self._booked and self._booked[0][1] <= start:
            self._booked.popleft()
        at, left = start, work
        for begin, end, used in self._booked:
            gap = max(0, begin - at) * self.groups
            if left <= gap:
                break
            left -= gap
            at = max(at, begin)
            length = end - begin
            free = self.groups * length - used  # over the whole interval
            available = free * (end - at) // length
            if left <= available:
                return max(start + least, at + -(-left * length // free))
            left -= available
            at = end
        return max(start + least, at + -(-left // self.groups))
