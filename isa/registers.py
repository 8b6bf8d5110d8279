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
    """A register of one processing element of a unit: the array of one dataflow."""

    unit: str
    name: str
    code: int  #: number that the numba kernels use, counted from 0 in each unit
    bits: Callable[[Arithmetic], int]
    reach: str


REGISTERS: tuple[Register, ...] = (
    Register("array", "act", 0, lambda a: a.act_bits, "row r, columns >= c (it moves right)"),
    Register("array", "wgt", 1, lambda a: a.weight_bits, "column c, rows >= r (it moves down)"),
    Register("array", "prod", 2, lambda a: a.act_bits + a.weight_bits, "PE (r, c) only"),
    Register("array", "acc", 3, lambda a: a.acc_bits, "PE (r, c) only"),
    Register(
        "array_ws",
        "preload",
        0,
        lambda a: a.weight_bits,
        "the one weight in it, so one wgt latch of column c, rows >= r, for a whole fold",
    ),
    Register("array_ws", "wgt", 1, lambda a: a.weight_bits, "column c, pixels up to the reload"),
    Register(
        "array_ws", "act", 2, lambda a: a.act_bits, "one pixel, columns >= c (it moves right)"
    ),
    Register("array_ws", "psum", 3, lambda a: a.acc_bits, "one output of column c"),
    Register(
        "array_is",
        "preload",
        0,
        lambda a: a.act_bits,
        "the one activation in it, so one act latch of column c, rows >= r, for a whole fold",
    ),
    Register("array_is", "act", 1, lambda a: a.act_bits, "column c, filters up to the reload"),
    Register(
        "array_is", "wgt", 2, lambda a: a.weight_bits, "one filter, columns >= c (it moves right)"
    ),
    Register("array_is", "psum", 3, lambda a: a.acc_bits, "one output of column c"),
)

#: unit -> name -> register
BY_UNIT: dict[str, dict[str, Register]] = {}
for _register in REGISTERS:
    BY_UNIT.setdefault(_register.unit, {})[_register.name] = _register

#: The unit that the 2-D array is with each `array.dataflow`.
UNIT_OF_DATAFLOW = {"os": "array", "ws": "array_ws", "is": "array_is"}
