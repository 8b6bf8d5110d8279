"""Faults of one tile's registers: flips and stuck bits, as plain data and as the kernels read them.

Steps count within the tile.  What happens before a step: the flips of this step first, then bits
that are stuck at 0, then bits that are stuck at 1; so a stuck bit does not flip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...config import Arithmetic, Config
from ...config.schema import HEALS
from ...errors import FlexhycaError, InternalError
from ...isa.pe_map import StuckPe
from ...isa.protection import COPIES
from ...isa.registers import BY_UNIT, REGISTERS, UNIT_OF_DATAFLOW, Register, all_handled
from ...kernels import kernel
from ...network.arrays import I64
from ...network.fixedpoint_kernels import signed

#: Columns of a plan: steps [FROM, TO), KIND, register code, place, bit, copy.
FROM, TO, KIND, REGISTER, ROW, COL, BIT, COPY = range(8)
#: Kinds, in the order in which they act: a flip, stuck at 0, stuck at 1.
FLIPPED, STUCK_0, STUCK_1 = range(3)
#: COPY of a bit that has one flip-flop, which all copies of the word share.
UNCOPIED = -1
#: Codes of the registers of the second, third ... unit of a plan begin here, times its place.
UNIT_STEP = 32
if max(register.code for register in REGISTERS) >= UNIT_STEP:
    raise InternalError(
        f"simulator/array/flips.py: UNIT_STEP is {UNIT_STEP}, and a register of isa/registers.py "
        "has a larger code; raise it"
    )
_ARRAYS = tuple(UNIT_OF_DATAFLOW.values())

Places = Callable[[Register], tuple[int, int]]


def codes(unit: str, names: Sequence[str], where: str, place: int = 0) -> tuple[int, ...]:
    """Codes in a plan of the registers that a kernel handles; they have to be all of the unit.

    where : the kernel. place : of the unit among those of the plan.
    """
    all_handled(unit, names, where)
    return tuple(place * UNIT_STEP + BY_UNIT[unit][name].code for name in names)


class Flip(NamedTuple):
    """A wrong bit of a tile: it flips before it is read in `step`, or is stuck from then on."""

    step: int
    register: str  #: a name of the unit in isa.registers
    row: int
    col: int
    bit: int
    copy: int = 0  #: of a protected bit
    unit: str = "array"  #: the PEs of any dataflow, or a unit of isa.registers
    stuck: int = -1  #: -1: one flip; else the value that the bit holds
    until: int = -1  #: first step in which a stuck bit is free again; -1: stuck to the end


def stuck_flips(pe_map: Sequence[StuckPe], config: Config, shift: int) -> list[Flip]:
    """What stuck PEs are in each tile of a layer of this shift."""
    return [
        Flip(0, name, entry.row, entry.col, bit, copy, stuck=entry.stuck)
        for entry in pe_map
        for name, bit, copy in entry.flip_flops(config, shift)
    ]


def tile_plan(
    units: Sequence[str],
    flips: Sequence[Flip],
    steps: int,
    places: Places,
    arithmetic: Arithmetic,
    protected: range = range(0),
    product: range | None = None,
) -> I64:
    """The faults as the kernels read them: (f, 8), flips first, then stuck at 0, then at 1.

    units : that the tile runs on; the registers of the i-th have the codes i * UNIT_STEP + code.
    places : rows and columns of a register. protected : columns that have copies, in the registers
    that isa.registers calls protected. product : those of `prod`, if they are others.
    Raises FlexhycaError for a unit, register, place, bit, copy or step that does not exist.
    """
    plan = np.zeros((len(flips), 8), np.int64)
    for i, flip in enumerate(flips):
        unit = units[0] if flip.unit == "array" and units[0] in _ARRAYS else flip.unit
        if unit not in units:
            raise FlexhycaError(
                f"flip of {flip.register}: unit {flip.unit!r} is not here; "
                f"use one of {', '.join(units)}"
            )
        register = BY_UNIT[unit].get(flip.register)
        if register is None:
            raise FlexhycaError(
                f"register {flip.register!r} does not exist in unit {unit!r}; "
                f"use one of {', '.join(BY_UNIT[unit])}"
            )
        rows, cols = places(register)
        if rows < 1 or cols < 1:
            raise FlexhycaError(f"flip of {flip.register}: this machine has none in unit {unit!r}")
        single = not _has_copies(flip._replace(unit=unit), protected, product)
        for name, value, limit in (
            ("step", flip.step, steps),
            ("row", flip.row, rows),
            ("col", flip.col, cols),
            ("bit", flip.bit, register.bits(arithmetic)),
            ("copy", flip.copy, 1 if single else COPIES),
        ):
            if not 0 <= value < limit:
                raise FlexhycaError(
                    f"flip of {flip.register}: {name}={value} is outside 0..{limit - 1}"
                )
        if not register.exists(flip.row, flip.col):
            raise FlexhycaError(
                f"flip of {flip.register}: there is none at row={flip.row}, col={flip.col}"
            )
        end = flip.step + 1
        if flip.stuck != -1:
            end = steps if flip.until == -1 else flip.until
            if flip.stuck not in (0, 1) or end <= flip.step:
                raise FlexhycaError(
                    f"flip of {flip.register}: stuck={flip.stuck} until step {end} from "
                    f"{flip.step}; a bit is stuck at 0 or 1 until a later step"
                )
        plan[i] = (
            flip.step,
            end,
            FLIPPED if flip.stuck == -1 else STUCK_0 + flip.stuck,
            units.index(unit) * UNIT_STEP + register.code,
            flip.row,
            flip.col,
            flip.bit,
            UNCOPIED if single else flip.copy,
        )
    return plan[np.argsort(plan[:, KIND], kind="stable")]


def _has_copies(flip: Flip, protected: range, product: range | None) -> bool:
    """Whether a bit has copies."""
    if product is not None and flip.register == "prod":
        protected = product
    return flip.bit in protected and BY_UNIT[flip.unit][flip.register].protected


def outvoted(
    flips: Sequence[Flip], protected: range, voter: str, product: range | None = None
) -> list[bool]:
    """Which of the faults of a tile cannot matter, because the other copies are right.

    A copy is right again at the next edge where the voter stands behind each register (`feedback`);
    with a voter behind the last sum only (`output`) the copies of an array PE go on apart, and in
    the DPPU, which adds many products, those of the whole unit do.  Faults in two different copies
    that may meet are left to the execution.
    """

    def place(flip: Flip) -> tuple[object, ...]:
        if HEALS[voter]:
            return flip.unit, flip.register, flip.row, flip.col, flip.bit
        return (flip.unit, flip.row, flip.col) if flip.unit == "array" else (flip.unit,)

    at: dict[tuple[object, ...], list[Flip]] = {}
    for flip in flips:
        if _has_copies(flip, protected, product):
            at.setdefault(place(flip), []).append(flip)

    def alone(flip: Flip) -> bool:
        others = (f for f in at[place(flip)] if f.copy != flip.copy)
        return not any(not HEALS[voter] or _meet(flip, other) for other in others)

    return [_has_copies(f, protected, product) and alone(f) for f in flips]


def _meet(one: Flip, other: Flip) -> bool:
    """Whether two faults act in one step."""

    def end(flip: Flip) -> float:
        if flip.stuck == -1:
            return flip.step + 1
        return float("inf") if flip.until == -1 else flip.until

    return one.step < end(other) and other.step < end(one)


@kernel
def strike(plan: I64, i: int, value: int, bits: int) -> int:
    """A two's-complement number of `bits` bits after fault i of a plan."""
    mask = np.int64(1) << plan[i, BIT]
    if plan[i, KIND] == FLIPPED:
        return signed(value ^ mask, bits)
    if plan[i, KIND] == STUCK_0:
        return signed(value & ~mask, bits)
    return signed(value | mask, bits)


@kernel
def strike_copies(plan: I64, i: int, copies: I64, bits: int) -> None:
    """The copies of a word after fault i of a plan, in place."""
    for copy in range(COPIES):
        if plan[i, COPY] == copy or plan[i, COPY] == UNCOPIED:
            copies[copy] = strike(plan, i, copies[copy], bits)


@kernel
def _acts(plan: I64, i: int, register: int, row: int, col: int, step: int) -> bool:
    return bool(
        plan[i, REGISTER] == register
        and plan[i, FROM] <= step
        and step < plan[i, TO]
        and plan[i, ROW] == row
        and plan[i, COL] == col
    )


@kernel
def stored(plan: I64, register: int, row: int, col: int, step: int, value: int, bits: int) -> int:
    """What a register without copies holds when it is read in `step`."""
    for i in range(len(plan)):
        if _acts(plan, i, register, row, col, step):
            value = strike(plan, i, value, bits)
    return value


@kernel
def stored_copies(
    plan: I64,
    register: int,
    row: int,
    col: int,
    step: int,
    copies: I64,
    bits: int,
) -> None:
    """What the copies of a register hold when they are read in `step`, in place."""
    for i in range(len(plan)):
        if _acts(plan, i, register, row, col, step):
            strike_copies(plan, i, copies, bits)


@kernel
def passed(
    plan: I64, register: int, skew: int, line: int, along: int, number: int, last: int, own: I64
) -> int:
    """Faults of a line of registers that an operand passes up to its PE, in the order of passing.

    register, skew : codes of the line's registers in the PEs, and before the first one. line,
    along : columns of the plan that number the lines, and the registers of a line. number : the
    line, which has as many stages of `skew`. last : the PE.
    Puts (row of the plan, how many registers lie before it) into `own`; returns how many.
    """
    count = 0
    for i in range(len(plan)):
        f = plan[i]
        if f[line] != number:
            continue
        if f[REGISTER] == register and f[along] <= last:
            place = number + f[along]
        elif f[REGISTER] == skew:
            place = f[along]
        else:
            continue
        at = count
        while at and own[at - 1, 1] > place:
            own[at] = own[at - 1]
            at -= 1
        own[at, 0], own[at, 1] = i, place
        count += 1
    return count


@kernel
def arrives(plan: I64, own: I64, count: int, first: int, value: int, bits: int) -> int:
    """An operand after the registers that it has passed.

    own, count : of `passed`. first : the step in which the line's first register is read while it
    holds the operand; the next one is read a step later.
    """
    for i in range(count):
        fault, step = own[i, 0], first + own[i, 1]
        if plan[fault, FROM] <= step < plan[fault, TO]:
            value = strike(plan, fault, value, bits)
    return value
