"""What the DPPU answers about one tile: the counterpart of `array.dataflow` for this unit.

How long it works, what its registers do step by step (`step`, the reference) and what faults in
them change (`correct`, the exact twin), what a register holds in a step (`hold`) and when that is
used (`count`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..array.tile import Held
from .corrections import dppu_faults
from .held import USES, Neurons, RegisterUses
from .schedule import DppuShape, dppu_schedule
from .stepper import dppu_tile

step, correct = dppu_tile, dppu_faults


def cycles(parts: Sequence[int], neurons: int, shape: DppuShape) -> int:
    """Steps in which its registers can be hit; 0 without neurons. parts : of the reduction."""
    return dppu_schedule(parts, neurons, shape).cycles if neurons else 0


def count(neurons: Neurons, register: str) -> RegisterUses:
    """When what a register holds is still used, and so how often."""
    return USES[register](neurons)


def hold(neurons: Neurons, register: str, row: int, col: int, step: int) -> Held | None:
    """What a register holds in a step of a fault-free tile, None for nothing that is used."""
    return USES[register](neurons).hold(row, col, step)
