"""How long a transfer occupies the DRAM channel, or the activation memory's port.

For compilers that estimate and models that count. The compiled model has twins of both
(`simulator/cycles/dram.py`, `simulator/cycles/activation_port.py`), which tests hold equal.
"""

from __future__ import annotations

from typing import Any

from .buffers import Buffers
from .schema import Dram
from .section import THOUSAND, thousandths


def transfer_cycles(dram: Dram, nbytes: Any, runs: Any = 1) -> Any:
    """Whole cycles that a request for `runs` runs of `nbytes` each takes of the channel.

    Integers or arrays of them. Exact: counted in thousandths of a byte and of a cycle.
    """
    bandwidth, own = thousandths(dram.bytes_per_cycle), thousandths(dram.request_cycles)
    bursts = -(-nbytes // dram.burst_bytes)
    moved = runs * bursts * dram.burst_bytes
    busy = -(-(moved * THOUSAND**2 + runs * own * bandwidth) // (bandwidth * THOUSAND))
    if not dram.outstanding:
        return busy
    least = -(-runs * dram.latency_cycles // dram.outstanding)
    return busy + (least - busy) * (least > busy)  # the larger one, of integers and of arrays


def port_cycles(buffers: Buffers, nbytes: Any) -> Any:
    """Whole cycles that a request for so many bytes takes of the activation memory's port.

    Integers or arrays of them. Into how many runs they are cut does not matter.
    """
    return -(-nbytes // buffers.activation_bytes_per_cycle)
