"""Area of a whole machine in three scopes, relative to the unprotected array."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, get_args

from ...config import Config, Protection, choices
from ...config.schema import LAYER_COPIES
from ...isa.protection import copies, hardening, protected_columns
from ...isa.registers import BY_UNIT, all_handled
from ...tables import complete
from ..netlist.cells import KINDS
from ..netlist.cost import LIBRARY, cost
from ..netlist.design import FREES_COLUMNS, Policy
from ..netlist.dppu import dppu_group, word_voter
from ..netlist.netlist import Netlist
from ..netlist.pe import Datapath
from ..netlist.registers import BESIDE, GROUP, PE
from ..netlist.tmr import in_columns, tripled
from .pe_area import Point, Row
from .table import lookup

#: GE of a bit of SRAM with its share of the periphery: an assumption (docs/hardware.md), used for
#: buffers only, which the paper leaves out.
SRAM_BIT_GE = 0.6


class Scope(NamedTuple):
    """Area up to a scope, in GE, and relative to the unprotected array in the same scope."""

    name: str
    area_ge: float
    relative: float


class MachineArea(NamedTuple):
    """parts : GE by part. scopes : computing array, plus register files, plus buffers."""

    parts: dict[str, float]
    scopes: list[Scope]


def machine_area(config: Config, multiplier: str = "wallace") -> MachineArea:
    """What a configuration costs."""
    parts, plain = _parts(config, multiplier), _parts(_unprotected(config), multiplier)
    scopes, total, base = [], 0.0, 0.0
    for name, own in _SCOPES.items():
        total += sum(parts[part] for part in own)
        base += sum(plain[part] for part in own)
        scopes.append(Scope(name, round(total, 1), round(total / base, 4)))
    return MachineArea({name: round(area, 1) for name, area in parts.items()}, scopes)


#: Where a register is counted: in a netlist, in the registers beside it, in the buffers. State of
#: the DPPU outside its groups is flip-flops where it is read and written in many places at once,
#: SRAM where it is taken entry by entry. The groups' registers are one set for both units.
_COUNTED: dict[str, dict[str, tuple[str, ...]]] = {
    "array": {"netlist": tuple(PE)},
    "dppu": {"netlist": tuple(GROUP), "flip-flops": BESIDE},
    "dppu_excess": {
        "netlist of dppu": tuple(name for name in GROUP if name != "psum"),
        "flip-flops": ("file_act", "file_wgt"),
        "SRAM": ("position", "psum"),
    },
    "buffer": {
        "buffers": ("ifmap", "weight", "scratchpad", "activation", "position", "instruction"),
        "output buffer": ("residual", "output", "result"),
    },
    # The paper counts no delay lines, and has one array: a stationary one is taken for as large.
    "skew": {"left out": ("act", "wgt")},
    "array_ws": {"as array": ("preload", "wgt", "act", "psum")},
    "skew_ws": {"left out": ("act",)},
    "array_is": {"as array": ("preload", "act", "wgt", "psum")},
    "skew_is": {"left out": ("wgt",)},
}
complete("units in isa/registers.py", BY_UNIT, _COUNTED, "hdl/area/machine.py: _COUNTED")
for _unit, _own in _COUNTED.items():
    all_handled(
        _unit, [name for names in _own.values() for name in names], "hdl/area/machine.py: _COUNTED"
    )
complete(
    "protection.pe_policy in config/schema.py",
    choices("protection.pe_policy"),
    [policy for policy in get_args(Policy) if policy != "full"],
    "hdl/netlist/design.py: Policy",
)
complete(
    "arithmetic.overflow in config/schema.py",
    choices("arithmetic.overflow"),
    FREES_COLUMNS,
    "hdl/netlist/design.py: FREES_COLUMNS",
)
complete(
    "protection in config/schema.py",
    Protection.model_fields,
    (
        *("nb_th", "q_scale", "pe_policy"),  # of a PE
        *("ib_th", "hardened_cols"),  # of the DPPU, and of PEs in hardened columns
        "redundancy",  # of the array's voters
        *("s_th", "s_policy", "redundant_layers", "voter"),  # which cost no area
    ),
    "hdl/area/machine.py: what protection costs",
)
_SCOPES = {
    "computing array": ("PEs", "DPPU arithmetic", "voters of the array"),
    "with register files": ("DPPU register files",),
    "with buffers": ("buffers",),
}


def pe_row(config: Config, multiplier: str = "wallace") -> Row:
    """Area and depth of one PE of a configuration, of the deepest if they differ."""
    rows = [lookup(point) for point, _ in _points(config, multiplier)]
    return max(rows, key=lambda row: row.depth)


def _points(config: Config, multiplier: str) -> list[tuple[Point, int]]:
    """Each kind of PE, and how many columns of them the array has."""
    a, p = config.arithmetic, config.protection
    bits = a.act_bits, a.weight_bits, a.acc_bits
    return [
        (
            Point(
                *(multiplier, p.pe_policy, a.overflow),
                *(p.ib_th if hardened else p.nb_th, p.q_scale, *bits),
            ),
            len(cols),
        )
        for hardened, cols in hardening(config, config.array.cols)
    ]


def _parts(config: Config, multiplier: str) -> dict[str, float]:
    a, p, d, array = config.arithmetic, config.protection, config.dppu, config.array
    flip_flop = KINDS["DFF"].area[LIBRARY]
    points = _points(config, multiplier)
    row_of_pes = sum(lookup(point).area_ge * cols for point, cols in points)
    if array.double_buffered_accumulators:  # a second register and what chooses between the two
        row_of_pes += array.cols * a.acc_bits * (flip_flop + KINDS["MUX2"].area[LIBRARY])
    groups = d.size // d.width
    datapath = Datapath(a.act_bits, a.weight_bits, a.acc_bits, points[0][0].datapath.multiplier)
    resident = resident_neurons(config)
    columns = protected_columns(config, p.q_scale, "dppu")
    group = (
        _group_area(datapath, d.width, resident, columns.start if columns else a.acc_bits)
        if groups
        else 0.0
    )
    parts = LAYER_COPIES[p.redundancy].parts
    voted = array.cols // parts if parts > 1 else 0
    b = config.buffers
    sram = (
        b.ifmap_bytes + b.weight_bytes + b.scratchpad_bytes + b.activation_bytes + b.output_bytes
        + b.instruction_bytes + (b.position_bytes if groups else 0)
    )  # fmt: skip
    return {
        "PEs": array.rows * row_of_pes,
        "DPPU arithmetic": groups * group,
        "voters of the array": voted * cost(word_voter(a.acc_bits)).area_ge if voted else 0.0,
        "DPPU register files": sum(
            _bits(config, unit, name) * area
            for kind, area in (("flip-flops", flip_flop), ("SRAM", SRAM_BIT_GE))
            for unit, own in _COUNTED.items()
            for name in own.get(kind, ())
        ),
        "buffers": sram * 8 * SRAM_BIT_GE,
    }


def resident_neurons(config: Config) -> int:
    """Partial sums of a group of the DPPU; one at least, in which each sum is made."""
    groups = config.dppu.size // config.dppu.width
    return max(1, -(-BY_UNIT["dppu"]["psum"].rows(config) // groups)) if groups else 0


def _bits(config: Config, unit: str, name: str) -> int:
    """Stored bits of a register of the table, copies included."""
    register = BY_UNIT[unit][name]
    bits = register.bits(config.arithmetic)
    copied = sum(copies(config, config.protection.q_scale, name, bit, unit) for bit in range(bits))
    return register.rows(config) * register.cols(config) * copied


@cache
def _group_area(datapath: Datapath, width: int, neurons: int, first_column: int) -> float:
    group: Netlist = dppu_group(datapath, width, neurons)
    return cost(tripled(group, in_columns(range(first_column, datapath.acc_bits)))).area_ge


def _unprotected(config: Config) -> Config:
    from ...config.schemes import with_scheme

    return with_scheme(config, "base")
