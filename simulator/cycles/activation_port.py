"""The activation memory's one port: first come first served, beside the DRAM channel.

A cycle reads or writes `buffers.activation_bytes_per_cycle` bytes, of whatever runs; data are there
in the cycle in which they are read.  As `dram`, it stands here as a class and as numbers and a
kernel, and only computes times.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...config import Buffers
from ...config.dram_time import port_cycles
from ...isa.instructions import Kind
from ...kernels import kernel
from .state import record


class ActivationPort:
    """free : first cycle at which it can start another transfer. busy, nbytes : by kind."""

    def __init__(self, config: Buffers) -> None:
        self.config, self.free = config, 0
        self.busy, self.nbytes = [0] * len(Kind), [0] * len(Kind)

    def request(self, now: int, nbytes: int, kind: int) -> tuple[int, int]:
        """Ask at `now` for so many bytes: (start, finish) of them."""
        start = max(now, self.free)
        cycles: int = port_cycles(self.config, nbytes)
        self.free = start + cycles
        self.busy[kind] += cycles
        self.nbytes[kind] += nbytes
        return start, start + cycles


#: The port: how wide it is, and first cycle at which it is free.
PORT_STATE = record("width", "free")
#: Cycles of transfer, and bytes, by `Kind`.
PASSED = record("busy", "nbytes")


class Port(NamedTuple):
    """A port as the kernel takes it."""

    state: Any  #: (1,)
    passed: Any  #: by kind


def make_port(config: Buffers) -> Port:
    """The port of a configuration at cycle 0."""
    state = np.zeros(1, PORT_STATE)
    state["width"] = config.activation_bytes_per_cycle
    return Port(state, np.zeros(len(Kind), PASSED))


@kernel
def pass_port(p: Port, now: int, nbytes: int, kind: int) -> tuple[int, int]:
    """`ActivationPort.request`."""
    port = p.state[0]
    start = max(now, port.free)
    cycles = -(-nbytes // port.width)
    port.free = start + cycles
    p.passed[kind].busy += cycles
    p.passed[kind].nbytes += nbytes
    return start, start + cycles
