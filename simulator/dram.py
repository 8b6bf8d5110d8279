"""The DRAM channel: one port, first come first served in grants of at most `grant_bytes`.

`request` only computes times; it holds no events, so that a grant costs one event of its requester.
"""

from __future__ import annotations

from ..isa.instructions import Kind


class FixedDram:
    """`latency + bytes / bandwidth`: a grant occupies the channel for its transfer only."""

    def __init__(self, bytes_per_cycle: int, latency_cycles: int) -> None:
        self.bytes_per_cycle = bytes_per_cycle
        self.latency_cycles = latency_cycles
        self.free = 0  #: first cycle at which the channel can start another transfer
        self.busy = [0] * len(Kind)  #: cycles of transfer by kind
        self.nbytes = [0] * len(Kind)

    def request(self, now: int, address: int, nbytes: int, kind: int) -> tuple[int, int]:
        """Ask at `now`: (start, finish) of the transfer; its data arrive `latency_cycles` later."""
        start = max(now, self.free)
        cycles = -(-nbytes // self.bytes_per_cycle)
        self.free = start + cycles
        self.busy[kind] += cycles
        self.nbytes[kind] += nbytes
        return start, self.free
