"""How long a layer's bytes take to move, of those in DRAM and of those that stay on chip."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...config import Config
from ...config.dram_time import port_cycles, transfer_cycles
from ..on_chip import OnChip


def cycles_per_byte(config: Config, run: Any, kept: bool = False) -> Any:
    """Cycles that a byte takes, in runs of so many. kept : of the activation memory's port."""
    many, most = 1000, config.dram.grant_bytes
    if kept:
        return port_cycles(config.buffers, many * most) / (many * most)
    size = np.minimum(run, most)
    return transfer_cycles(config.dram, size, many) / (many * size)


class Beside(NamedTuple):
    """Cycles of a fill's transfers beside its new operands.

    channel : of DRAM, instructions included. port : of the activation memory. queue : of LOAD,
    which moves one thing at a time.
    """

    on_chip: OnChip
    channel: Any
    port: Any
    queue: Any

    @classmethod
    def of(cls, config: Config, on_chip: OnChip, moved: tuple[Any, Any, Any], fills: Any) -> Beside:
        """moved : instructions, residual and outputs of a layer, in cycles of their memories."""
        instructions, residual, outputs = moved
        channel = (instructions + (0 if on_chip.residual else residual)) / fills
        port = (residual if on_chip.residual else 0) / fills
        if on_chip.output:
            port = port + outputs / fills
        elif not config.dram.duplex:
            channel = channel + outputs / fills
        return cls(on_chip, channel, port, residual / fills)

    def busy(self, inputs: Any, weights: Any, fills: Any = 1) -> Any:
        """Cycles in which new operands come, of so many in all, and all the rest of `fills`."""
        if not any(self.on_chip):
            return inputs + weights + self.channel * fills
        of_port = inputs if self.on_chip.input else 0
        busy = inputs - of_port + weights + self.channel * fills
        busy = np.maximum(busy, inputs + weights + self.queue * fills)
        return np.maximum(busy, of_port + self.port * fills)
