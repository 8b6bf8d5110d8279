"""A protected processing element, from its parameters: the plain circuit and the passes over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ...isa.columns import (
    groups,
    routed_product,
    routed_sum,
    selected,
)
from .configurable import Configured, Group, configurable
from .netlist import Cell, Netlist
from .pe import Datapath
from .tmr import in_columns, tripled

Policy = Literal["none", "direct", "configurable", "full"]


@dataclass(frozen=True)
class PeProtection:
    """protect : top bits s. q_scale : lowest legal truncation bit. overflow : slice | saturate."""

    protect: int = 0
    q_scale: int = 0
    policy: Policy = "none"
    overflow: str = "slice"


def shifts(datapath: Datapath, protection: PeProtection) -> range:
    """Truncation bits that a layer may have."""
    return range(protection.q_scale, datapath.acc_bits - datapath.act_bits + 1)


def protected(netlist: Netlist, datapath: Datapath, protection: PeProtection) -> Configured:
    """The circuit under `protection`; with policy configurable it has control lines."""
    if protection.policy == "full":
        return Configured(tripled(netlist, _any_column))
    if protection.policy == "none" or not protection.protect:
        return Configured(netlist)
    first = protection.q_scale + datapath.act_bits - protection.protect
    columns = range(first, datapath.acc_bits)
    inside = in_columns(columns)
    if protection.policy == "direct" or protection.overflow == "saturate":
        # Saturation makes every bit above a full-scale error: no column is free for any layer.
        return Configured(tripled(netlist, inside))

    def product(cell: Cell) -> bool:
        return inside(cell) and (cell.part == "multiplier" or cell.name == "prod")

    def total(cell: Cell) -> bool:
        return inside(cell) and not product(cell)

    families: list[tuple[Callable[[Cell], bool], tuple[Group, ...]]] = []
    left = groups(
        datapath.act_bits,
        datapath.weight_bits,
        protection.protect,
        first,
        datapath.product_bits - 1,
    )
    if routed_product(protection.protect, len(left)):
        families.append((product, left))
    else:
        netlist = tripled(netlist, product)
    if routed_sum(protection.protect, len(columns)):
        families.append((total, tuple((column,) for column in columns)))
    else:
        netlist = tripled(netlist, total)
    legal = shifts(datapath, protection)
    chosen = {n: selected(n, datapath.act_bits, protection.protect) for n in legal}
    return configurable(netlist, families, chosen) if families else Configured(netlist)


def _any_column(cell: Cell) -> bool:
    return cell.part in ("multiplier", "accumulator", "registers")
