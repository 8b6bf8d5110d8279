"""Which stored bits of a processing element have three copies and a voter (docs/faults.md).

Used alike by faults, area and RTL: what survives a flip here is what is paid for there.
`act` and `wgt` have one copy.  The voter stands behind the register and feeds the next state
(`feedback`): one wrong copy is outvoted in the cycle in which it is read, and heals at the next
edge.
"""

from __future__ import annotations

from ..config import Config
from .layers import Arithmetic, Redundancy
from .names import matches
from .registers import BY_UNIT, UNIT_OF_DATAFLOW

#: Copies of a protected bit.
COPIES = 3
#: Registers whose columns are protected: they hold sums of products.
_PROTECTED = ("prod", "acc")


def protected_columns(config: Config, shift: int) -> range:
    """Columns of the sum that have three copies, for a layer that is truncated at bit `shift`.

    The top `nb_th` of the bits [n+act_bits-1 : n] that requantisation keeps, and under `saturate`
    all above them, because a flip there is a full-scale error.  Policy `configurable` routes copies
    to those columns; `direct` triples every column that a layer with n >= q_scale may select.
    """
    protection, a = config.protection, config.arithmetic
    if protection.nb_th == 0 or protection.pe_policy == "none":
        return range(0)
    if protection.pe_policy == "direct":
        return range(protection.q_scale + a.act_bits - protection.nb_th, a.acc_bits)
    top = shift + a.act_bits if a.overflow == "slice" else a.acc_bits
    return range(shift + a.act_bits - protection.nb_th, top)


def copies(config: Config, shift: int, register: str, bit: int) -> int:
    """How many flip-flops hold a bit of a register of the array: 1, or 3 with a voter."""
    if config.array.dataflow != "os" or register not in _PROTECTED:
        return 1
    return COPIES if bit in protected_columns(config, shift) else 1


def bits_of_layer(config: Config, shift: int) -> list[tuple[str, int, int]]:
    """(register, bit, copy) of every flip-flop of a PE while a layer runs."""
    arithmetic = Arithmetic(**config.arithmetic.model_dump())
    return [
        (register.name, bit, copy)
        for register in BY_UNIT[UNIT_OF_DATAFLOW[config.array.dataflow]].values()
        for bit in range(register.bits(arithmetic))
        for copy in range(copies(config, shift, register.name, bit))
    ]


def redundancy_of(config: Config, layer: str) -> Redundancy:
    """How a conv or linear layer of this name is computed: once, or three times and voted.

    The compiler writes it into the layer's descriptor (column `redundancy`).  The voter stands at
    the output: of the three accumulators of a sum each bit is the majority's, when all three are
    done.  A flip in one copy is outvoted whatever it does to the copy's sums.
    """
    protection = config.protection
    if any(matches(pattern, layer) for pattern in protection.redundant_layers):
        return Redundancy[protection.redundancy.upper()]
    return Redundancy.NONE


def layer_copies(config: Config, layer: str) -> int:
    """Accumulators of each sum of a conv or linear layer: 1, or 3 that are voted bit by bit.

    The copies have the same operands and the same steps: those of a tile on an array of
    `array.rows` x `layer_columns`.  They run at once (space) or one after the other (time); a fault
    site in such a layer has to say in which of them it is.
    """
    return 1 if redundancy_of(config, layer) == Redundancy.NONE else COPIES


def layer_columns(config: Config, layer: str) -> int:
    """Columns of PEs that compute a tile of the layer: all, or with `space` a third, rounded down.

    Of 32 columns three times ten work, and two are idle.
    """
    space = redundancy_of(config, layer) == Redundancy.SPACE
    return config.array.cols // COPIES if space else config.array.cols
