"""The register table: the state that exists, and so what a bit flip can hit.

One row a register: unit, name, width in bits as a function of the arithmetic, and what a wrong
value reaches.  Fault sites, sampling weights, the stepper's hooks and the manual page
are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .layers import Arithmetic


@dataclass(frozen=True)
class Register:
    """A register of one processing element."""

    unit: str
    name: str
    code: int  #: number that the numba kernels use
    bits: Callable[[Arithmetic], int]
    reach: str


REGISTERS: tuple[Register, ...] = (
    Register("array", "act", 0, lambda a: a.act_bits, "row r, columns >= c (it moves right)"),
    Register("array", "wgt", 1, lambda a: a.weight_bits, "column c, rows >= r (it moves down)"),
    Register("array", "prod", 2, lambda a: a.act_bits + a.weight_bits, "PE (r, c) only"),
    Register("array", "acc", 3, lambda a: a.acc_bits, "PE (r, c) only"),
)

BY_NAME = {r.name: r for r in REGISTERS}
