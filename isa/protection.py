"""Which stored bits of a processing element, or of the DPPU, have three copies and a voter.

Used alike by faults, area and RTL: what survives a flip here is what is paid for there
(docs/faults.md).  Operands have one copy.  The voter stands behind each register and feeds the next
state (`voter: feedback`): one wrong copy is outvoted in the cycle in which it is read, and heals at
the next edge.  Or it stands behind the last sum (`output`), and the copies go on apart until then.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config import Config, choices
from ..config.schema import HEALS, LAYER_COPIES
from ..network.fixedpoint import DROPS_ABOVE
from ..network.names import matches
from ..tables import complete
from .columns import configurable_product, configurable_sum
from .descriptors import Redundancy
from .registers import BY_UNIT, REGISTERS, UNIT_OF_DATAFLOW

#: Copies of a protected bit, and of the sums of a redundant layer.
COPIES = 3
#: Units that have protected registers -> how many top bits of neurons, of a hardened column or not.
_PROTECTED_BITS: dict[str, Callable[[Config, bool], int]] = {
    "array": lambda c, hardened: c.protection.ib_th if hardened else c.protection.nb_th,
    "dppu": lambda c, hardened: c.protection.ib_th,
    "dppu_excess": lambda c, hardened: c.protection.ib_th,
}
complete(
    "units of protected registers in isa/registers.py",
    dict.fromkeys(register.unit for register in REGISTERS if register.protected),
    _PROTECTED_BITS,
    "isa/protection.py: _PROTECTED_BITS",
)


def hardening(config: Config, cols: int) -> list[tuple[bool, range]]:
    """Columns of `cols` whose PEs are alike: (whether they have `ib_th` protected bits, which)."""
    own = min(config.protection.hardened_cols, cols)
    parts = [(True, range(own)), (False, range(own, cols))]
    return [(hardened, part) for hardened, part in parts if part]


def protected_columns(
    config: Config, shift: int, unit: str = "array", register: str = "", hardened: bool = False
) -> range:
    """Columns that have three copies in a unit, for a layer truncated at bit `shift`.

    Those that hold the top bits of [n+act_bits-1 : n], which requantisation keeps: `nb_th` of them
    in the array, `ib_th` in the DPPU.  `direct`, and the DPPU always, triple every column that a
    layer with n >= q_scale may select.  `configurable` routes spare columns to what the layer
    selects, where that pays (isa.columns); under `saturate`, where a flip in any column above is a
    full-scale error, it is `direct`.
    register : "prod" for the array's products, whose columns may be other ones than those of sums.
    hardened : of PEs in a hardened column of the array, which have `ib_th` bits as well.
    """
    bits = _PROTECTED_BITS[unit](config, hardened) if unit in _PROTECTED_BITS else 0
    if bits == 0:
        return range(0)
    policy = config.protection.pe_policy if unit == "array" else "direct"
    return _COLUMNS[policy](config, shift, bits, register)


def _none(config: Config, shift: int, bits: int, register: str) -> range:
    return range(0)


def _direct(config: Config, shift: int, bits: int, register: str) -> range:
    a = config.arithmetic
    return range(config.protection.q_scale + a.act_bits - bits, a.acc_bits)


def _configurable(config: Config, shift: int, bits: int, register: str) -> range:
    protection, a = config.protection, config.arithmetic
    if not DROPS_ABOVE[a.overflow]:
        return _direct(config, shift, bits, register)
    if register == "prod" and HEALS[protection.voter]:  # else copies are those of the sum
        return configurable_product(a.act_bits, a.weight_bits, bits, protection.q_scale, shift)
    return configurable_sum(a.act_bits, a.acc_bits, bits, protection.q_scale, shift)


_COLUMNS = {"none": _none, "direct": _direct, "configurable": _configurable}
complete(
    "protection.pe_policy in config/schema.py",
    choices("protection.pe_policy"),
    _COLUMNS,
    "isa/protection.py: _COLUMNS",
)
complete(
    "arithmetic.overflow in config/schema.py",
    choices("arithmetic.overflow"),
    ("slice", "saturate"),
    "isa/protection.py: _configurable",
)
# A voter takes the majority of that many.
complete(
    "1 and COPIES in isa/protection.py",
    {1, COPIES},
    {made.runs * made.parts for made in LAYER_COPIES.values()},
    "config/schema.py: LAYER_COPIES",
)


def copies(
    config: Config, shift: int, register: str, bit: int, unit: str = "", hardened: bool = False
) -> int:
    """How many flip-flops hold a bit of a register: 1, or `COPIES` with a voter.

    unit : of isa.registers; without one, the array of the configured dataflow. hardened : whether
    it is one of a PE in a hardened column.
    """
    unit = unit or UNIT_OF_DATAFLOW[config.array.dataflow]
    if not BY_UNIT[unit][register].protected:
        return 1
    return COPIES if bit in protected_columns(config, shift, unit, register, hardened) else 1


def bits_of_layer(
    config: Config, shift: int, unit: str = "", hardened: bool = False
) -> list[tuple[str, int, int]]:
    """(register, bit, copy) of the flip-flops of a unit at one place, while a layer runs.

    unit : as of `copies`; without one, those of a PE. hardened : as of `copies`.
    """
    unit = unit or UNIT_OF_DATAFLOW[config.array.dataflow]
    return [
        (register.name, bit, copy)
        for register in BY_UNIT[unit].values()
        for bit in range(register.bits(config.arithmetic))
        for copy in range(copies(config, shift, register.name, bit, unit, hardened))
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
    made = redundancy_of(config, layer).copies
    return made.runs * made.parts


def layer_columns(config: Config, layer: str) -> int:
    """Columns of PEs that compute a tile of the layer: all, or with `space` a third, rounded down.

    Of 32 columns three times ten work, and two are idle.
    """
    return config.array.cols // redundancy_of(config, layer).copies.parts
