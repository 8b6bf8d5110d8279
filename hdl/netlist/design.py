"""A protected processing element, from its parameters: the plain circuit and the passes over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from ...isa.columns import (
    groups,
    routed_product,
    routed_sum,
    selected,
)
from ...tables import complete
from .configurable import Configured, Group, configurable
from .netlist import Cell, Netlist
from .pe import Datapath
from .tmr import in_columns, tripled

Policy = Literal["none", "direct", "configurable", "full"]

#: Rule of overflow -> whether a layer drops the bits above those that it keeps, so that their
#: columns are free for it. Under saturation every bit above is a full-scale error.
FREES_COLUMNS = {"slice": True, "saturate": False}


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


def plainest(protection: PeProtection) -> PeProtection:
    """The protection of the same circuit that says no more than it needs.

    No protected bits are policy `none`, and `configurable` where no column is free is `direct`.
    """
    return _POLICIES[protection.policy].plainest(protection)


def protected(netlist: Netlist, datapath: Datapath, protection: PeProtection) -> Configured:
    """The circuit under `protection`; with policy configurable it has control lines."""
    own = plainest(protection)
    return _POLICIES[own.policy].circuit(netlist, datapath, own)


def _columns(datapath: Datapath, protection: PeProtection) -> range:
    """All columns that some layer may have protected."""
    return range(protection.q_scale + datapath.act_bits - protection.protect, datapath.acc_bits)


def _direct(netlist: Netlist, datapath: Datapath, protection: PeProtection) -> Configured:
    return Configured(tripled(netlist, in_columns(_columns(datapath, protection))))


def _configurable(netlist: Netlist, datapath: Datapath, protection: PeProtection) -> Configured:
    columns = _columns(datapath, protection)
    inside = in_columns(columns)

    def product(cell: Cell) -> bool:
        return inside(cell) and (cell.part == "multiplier" or cell.name == "prod")

    def total(cell: Cell) -> bool:
        return inside(cell) and not product(cell)

    families: list[tuple[Callable[[Cell], bool], tuple[Group, ...]]] = []
    left = groups(
        datapath.act_bits,
        datapath.weight_bits,
        protection.protect,
        columns.start,
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


def _plainest_direct(p: PeProtection) -> PeProtection:
    return PeProtection(p.protect, p.q_scale, "direct") if p.protect else PeProtection()


def _plainest_configurable(p: PeProtection) -> PeProtection:
    if p.protect and FREES_COLUMNS[p.overflow]:
        return PeProtection(p.protect, p.q_scale, "configurable")
    return _plainest_direct(p)


@dataclass(frozen=True)
class _OfPolicy:
    """plainest, circuit : as the public functions; `circuit` is given a plainest protection."""

    plainest: Callable[[PeProtection], PeProtection]
    circuit: Callable[[Netlist, Datapath, PeProtection], Configured]


_POLICIES: dict[Policy, _OfPolicy] = {
    "none": _OfPolicy(lambda p: PeProtection(), lambda netlist, d, p: Configured(netlist)),
    "direct": _OfPolicy(_plainest_direct, _direct),
    "configurable": _OfPolicy(_plainest_configurable, _configurable),
    "full": _OfPolicy(
        lambda p: PeProtection(policy="full"),
        lambda netlist, d, p: Configured(tripled(netlist, _any_column)),
    ),
}
complete(
    "Policy in hdl/netlist/design.py",
    get_args(Policy),
    _POLICIES,
    "hdl/netlist/design.py: _POLICIES",
)
