"""The DRAM channel: first come first served in grants of at most `grant_bytes`.

It has one port, or with `dram.duplex` one for reads and one for writes; nothing else is different
between the two, and banks are common to them.

A model stands here twice: as a class, which the SimPy model asks, and as numbers and a kernel,
which the compiled model asks.  Both only compute times; they hold no events, so that a grant costs
one event of its requester.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...config import Dram, choices
from ...config.dram_time import transfer_cycles
from ...config.section import THOUSAND, thousandths
from ...errors import InternalError
from ...isa.instructions import Kind
from ...kernels import kernel
from ...tables import complete, unique
from .state import record

#: Ports of the channel; without `dram.duplex` everything passes the first. And beside the channel
#: that of the activation memory, which is none of its own (`activation_port`).
READS, WRITES, ON_CHIP = 0, 1, 2
#: What is written; all other kinds are read.
WRITTEN = (Kind.OFMAP,)
_READ = (
    *(Kind.IFMAP, Kind.WEIGHT, Kind.BIAS),
    *(Kind.POSITION_TABLE, Kind.DPPU_OPERAND, Kind.INSTRUCTION),
)
_HERE = "simulator/cycles/dram.py"
complete("Kind in isa/instructions.py", Kind, [*_READ, *WRITTEN], f"{_HERE}: _READ, WRITTEN")


class FixedDram:
    """`latency + bytes / bandwidth`: a grant occupies the channel for its transfer only."""

    def __init__(self, config: Dram) -> None:
        self.config = config
        self.free = [0, 0]  #: first cycle at which each port can start another transfer
        self.busy = [0] * len(Kind)  #: cycles of transfer by kind
        self.nbytes = [0] * len(Kind)

    def request(
        self, now: int, address: int, nbytes: int, kind: int, rows: int = 1, stride: int = 0
    ) -> tuple[int, int]:
        """Ask at `now` for `rows` x `nbytes` bytes, `stride` apart: (start, finish) of them.

        The data arrive `latency_cycles` after the finish. Rows that follow one another are one run.
        """
        port = self.port(kind)
        start = self._start(now, self.free[port], address, nbytes, rows, stride)
        runs, length = (1, nbytes * rows) if stride == nbytes else (rows, nbytes)
        cycles: int = transfer_cycles(self.config, length, runs)
        self.free[port] = start + cycles
        self.busy[kind] += cycles
        self.nbytes[kind] += nbytes * rows
        return start, start + cycles

    def port(self, kind: int) -> int:
        """Where bytes of a kind pass: READS, or WRITES."""
        return WRITES if self.config.duplex and kind in WRITTEN else READS

    def _start(self, now: int, free: int, address: int, nbytes: int, rows: int, stride: int) -> int:
        """When the transfer begins. free : first cycle at which its port is."""
        return max(now, free)


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

    def _start(self, now: int, free: int, address: int, nbytes: int, rows: int, stride: int) -> int:
        start = max(now, free)
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


class DramModel(NamedTuple):
    """A row of `DRAM_MODELS`. code : what the kernel knows it by."""

    code: int
    channel: type[FixedDram]


#: `dram.model` of the configuration -> its model.
DRAM_MODELS: dict[str, DramModel] = {
    "fixed": DramModel(0, FixedDram),
    "openrow": DramModel(1, OpenRowDram),
}
_TABLE = "dram.model in config/schema.py"
complete(_TABLE, choices("dram.model"), DRAM_MODELS, f"{_HERE}: DRAM_MODELS")
unique(f"{_HERE}: DRAM_MODELS", "code", (row.code for row in DRAM_MODELS.values()))
#: Models that the kernel has a branch for: `request` compares with these codes and no others.
_FIXED, _OPEN_ROW = (DRAM_MODELS[name].code for name in ("fixed", "openrow"))
_OFMAP = int(Kind.OFMAP)
complete(f"WRITTEN in {_HERE}", WRITTEN, (Kind.OFMAP,), f"{_HERE}: request, the kernel")
_BRANCHES = {"fixed": _FIXED, "openrow": _OPEN_ROW}
complete(_TABLE, choices("dram.model"), _BRANCHES, f"{_HERE}: request, the kernel")


def make_dram(config: Dram) -> FixedDram:
    """The channel of a configuration."""
    return DRAM_MODELS[config.model].channel(config)


# ---- the same for the compiled model ----------------------------------------------------------


#: The channel: numbers of the configuration, then what changes. bandwidth, request : in
#: thousandths, of a byte a cycle and of a cycle a run.
CHANNEL_STATE = record(
    "model", "bandwidth", "request", "burst", "outstanding", "latency", "duplex",
    "row_bytes", "miss_cycles", "hits", "misses",
)  # fmt: skip
BANK = record("open", "ready")
#: Cycles of transfer, and bytes, by `Kind`.
MOVED = record("busy", "nbytes")


class Channel(NamedTuple):
    """A channel as the kernel takes it."""

    state: Any  #: (1,)
    free: Any  #: by port
    bank: Any
    moved: Any  #: by kind


def make_channel(config: Dram) -> Channel:
    """The channel of a configuration at cycle 0."""
    channel = np.zeros(1, CHANNEL_STATE)
    channel["model"] = DRAM_MODELS[config.model].code
    channel["bandwidth"] = thousandths(config.bytes_per_cycle)
    channel["request"] = thousandths(config.request_cycles)
    channel["burst"], channel["outstanding"] = config.burst_bytes, config.outstanding
    channel["latency"], channel["duplex"] = config.latency_cycles, config.duplex
    channel["row_bytes"], channel["miss_cycles"] = config.row_bytes, config.row_miss_cycles
    bank = np.zeros(config.banks, BANK)
    bank["open"] = -1
    return Channel(channel, np.zeros(2, np.int64), bank, np.zeros(len(Kind), MOVED))


@kernel
def request(
    c: Channel, now: int, address: int, nbytes: int, kind: int, rows: int, stride: int
) -> tuple[int, int]:
    """`FixedDram.request` of all models."""
    channel = c.state[0]
    port = WRITES if channel.duplex and kind == _OFMAP else READS
    free = c.free[port]
    if channel.model == _FIXED:
        start = max(now, free)
    elif channel.model == _OPEN_ROW:
        start = _open_row_start(c, now, free, address, nbytes, rows, stride)
    else:
        raise InternalError(
            "simulator/cycles/dram.py: request has no branch for this model; add it there"
        )
    runs, length = (1, nbytes * rows) if stride == nbytes else (rows, nbytes)
    cycles = _transfer_cycles(c, length, runs)
    c.free[port] = start + cycles
    c.moved[kind].busy += cycles
    c.moved[kind].nbytes += nbytes * rows
    return start, start + cycles


@kernel
def _transfer_cycles(c: Channel, nbytes: int, runs: int) -> int:
    """`config.dram_time.transfer_cycles`."""
    channel = c.state[0]
    moved = runs * -(-nbytes // channel.burst) * channel.burst
    own = runs * channel.request * channel.bandwidth
    busy = -(-(moved * THOUSAND**2 + own) // (channel.bandwidth * THOUSAND))
    if channel.outstanding:
        return max(busy, -(-runs * channel.latency // channel.outstanding))
    return busy


@kernel
def _open_row_start(
    c: Channel, now: int, free: int, address: int, nbytes: int, rows: int, stride: int
) -> int:
    """`OpenRowDram._start`."""
    channel, banks = c.state[0], len(c.bank)
    start = max(now, free)
    for i in range(rows):
        first = address + i * stride
        for piece in range(
            first // channel.row_bytes, (first + nbytes - 1) // channel.row_bytes + 1
        ):
            row, bank = piece // banks, piece % banks
            if c.bank[bank].open == row:
                channel.hits += 1
                continue
            channel.misses += 1
            c.bank[bank].open = row
            c.bank[bank].ready = max(now, c.bank[bank].ready) + channel.miss_cycles
            start = max(start, c.bank[bank].ready)
    return start
