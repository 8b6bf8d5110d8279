"""Area of a whole machine in three scopes, relative to the unprotected array."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ...config import Config
from ...isa.protection import copies, protected_columns
from ...isa.registers import BY_UNIT
from ..netlist.cells import KINDS
from ..netlist.cost import LIBRARY, cost
from ..netlist.dppu import dppu_group, word_voter
from ..netlist.netlist import Netlist
from ..netlist.pe import Datapath
from ..netlist.tmr import in_columns, tripled
from .pe_area import Point
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


#: State of the DPPU outside its groups: what is read and written in many places at once, and what
#: is taken entry by entry.
_FILES = {
    "flip-flops": (
        ("dppu", "file_act"),
        ("dppu", "file_wgt"),
        ("dppu", "position"),
        ("dppu_excess", "file_act"),
        ("dppu_excess", "file_wgt"),
    ),
    "SRAM": (("dppu_excess", "position"), ("dppu_excess", "psum")),
}
_SCOPES = {
    "computing array": ("PEs", "DPPU arithmetic", "voters of the array"),
    "with register files": ("DPPU register files",),
    "with buffers": ("buffers",),
}


def _parts(config: Config, multiplier: str) -> dict[str, float]:
    a, p, d, array = config.arithmetic, config.protection, config.dppu, config.array
    flip_flop = KINDS["DFF"].area[LIBRARY]
    point = Point(
        multiplier,
        p.pe_policy,
        a.overflow,
        p.nb_th,
        p.q_scale,
        a.act_bits,
        a.weight_bits,
        a.acc_bits,
    )
    pe = lookup(point).area_ge
    if array.double_buffered_accumulators:  # a second register and what chooses between the two
        pe += a.acc_bits * (flip_flop + KINDS["MUX2"].area[LIBRARY])
    groups = d.size // d.width
    datapath = Datapath(a.act_bits, a.weight_bits, a.acc_bits, point.datapath.multiplier)
    resident = resident_neurons(config)
    columns = protected_columns(config, p.q_scale, "dppu")
    group = (
        _group_area(datapath, d.width, resident, columns.start if columns else a.acc_bits)
        if groups
        else 0.0
    )
    voted = array.cols // 3 if p.redundancy == "space" else 0
    b = config.buffers
    sram = (
        b.ifmap_bytes + b.weight_bytes + b.output_bytes + b.instruction_bytes
        + (b.position_bytes if groups else 0)
    )  # fmt: skip
    return {
        "PEs": array.rows * array.cols * pe,
        "DPPU arithmetic": groups * group,
        "voters of the array": voted * cost(word_voter(a.acc_bits)).area_ge,
        "DPPU register files": sum(
            _bits(config, unit, name) * (flip_flop if kind == "flip-flops" else SRAM_BIT_GE)
            for kind, registers in _FILES.items()
            for unit, name in registers
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
