"""What the DPPU answers about one tile; the counterpart of `array.unit`.

How long it works, what its registers do step by step (`step`, the reference) and what faults in
them change (`correct`, the exact twin), what a register holds in a step (`hold`) and when that is
used (`count`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...network.arrays import I8, I64
from ..array.tile import Held
from .corrections import dppu_faults
from .held import USES, Neurons, RegisterUses
from .schedule import DppuShape, dppu_schedule
from .stepper import dppu_tile


@dataclass(frozen=True)
class DppuUnit:
    """The DPPU of a shape. Numbers in, numbers out; steps are those of a tile."""

    shape: DppuShape

    def cycles(self, parts: Sequence[int], neurons: int) -> int:
        """Steps in which its registers can be hit; 0 without neurons. parts : of the reduction."""
        return dppu_schedule(parts, neurons, self.shape).cycles if neurons else 0

    def step(
        self,
        act: I8,
        wgt: I8,
        start: I64,
        positions: I64,
        **machine: Any,
    ) -> tuple[I64, I64]:
        """Sums, and positions that they are written to, every register stepped: `dppu_tile`."""
        return dppu_tile(act, wgt, start, positions, dppu=self.shape, **machine)

    def correct(
        self,
        act: I8,
        wgt: I8,
        start: I64,
        positions: I64,
        **machine: Any,
    ) -> tuple[I64, I64]:
        """The same, from fault-free sums."""
        return dppu_faults(act, wgt, start, positions, dppu=self.shape, **machine)

    def count(self, neurons: Neurons, register: str) -> RegisterUses:
        """When what a register holds is still used, and so how often."""
        return USES[register](neurons)

    def hold(self, neurons: Neurons, register: str, row: int, col: int, step: int) -> Held | None:
        """What a register holds in a step of a fault-free tile, None for nothing that is used."""
        return USES[register](neurons).hold(row, col, step)
