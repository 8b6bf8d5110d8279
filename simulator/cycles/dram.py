"""The DRAM channel: one port, first come first served in grants of at most `grant_bytes`.

`request` only computes times; it holds no events, so that a grant costs one event of its requester.
"""

from __future__ import annotations

from ...config import Dram
from ...isa.instructions import Kind


class FixedDram:
    """`latency + bytes / bandwidth`: a grant occupies the channel for its transfer only."""

    def __init__(self, config: Dram) -> None:
        self.bytes_per_cycle = config.bytes_per_cycle
        self.free = 0  #: first cycle at which the channel can start another transfer
        self.busy = [0] * len(Kind)  #: cycles of transfer by kind
        self.nbytes = [0] * len(Kind)

    def request(
        self, now: int, address: int, nbytes: int, kind: int, rows: int = 1, stride: int = 0
    ) -> tuple[int, int]:
        """Ask at `now` for `rows` x `nbytes` bytes, `stride` apart: (start, finish) of them.

        The data arrive `latency_cycles` after the finish.
        """
        start = self._start(now, address, nbytes, rows, stride)
        cycles = -(-nbytes * rows // self.bytes_per_cycle)
        self.free = start + cycles
        self.busy[kind] += cycles
        self.nbytes[kind] += nbytes * rows
        return start, self.free

    def _start(self, now: int, address: int, nbytes: int, rows: int, stride: int) -> int:
        return max(now, self.free)


class OpenRowDram(FixedDram):
    """Banks that keep one row open; another row of the bank is opened first.

    Addresses run through a row of one bank, then through the same row of the next bank.  A bank
    opens a row while the channel still serves others; the transfer begins when its rows are open.
    """

    def __init__(self, config: Dram) -> None:
        super().__init__(config)
        self.row_bytes, self.banks = config.row_bytes, config.banks
        self.miss_cycles = config.row_miss_cycles
        self.open = [-1] * config.banks
        self.ready = [0] * config.banks  #: when each bank can open another row
        self.hits = 0
        self.misses = 0

    def _start(self, now: int, address: int, nbytes: int, rows: int, stride: int) -> int:
        start = max(now, self.free)
        for i in range(rows):
            first = address + i * stride
            for piece in range(first // self.row_bytes, (first + nbytes - 1) // self.row_bytes + 1):
                row, bank = divmod(piece, self.banks)
                if self.open[bank] == row:
                    self.hits += 1
                    continue
                self.misses += 1
                self.open[bank] = row
                self.ready[bank] = max(now, self.ready[bank]) + self.miss_cycles
                start = max(start, self.ready[bank])
        return start


def make_dram(config: Dram) -> FixedDram:
    """The channel of a configuration."""
    return OpenRowDram(config) if config.model == "openrow" else FixedDram(config)
