"""What a protected processing element costs: the point that says which one, and its row.

The shipped table (`table`) holds for the sources that are reached from here, and for no others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

from ..netlist.cost import cost
from ..netlist.design import PeProtection, plainest, protected
from ..netlist.pe import Datapath, pe
from ..rtl import yosys


@dataclass(frozen=True)
class Point:
    """A row's key: the parameters of a PE."""

    multiplier: str
    policy: str
    overflow: str
    protect: int
    q_scale: int
    act_bits: int = 8
    weight_bits: int = 8
    acc_bits: int = 24

    @property
    def datapath(self) -> Datapath:
        """Word lengths and multiplier."""
        return Datapath(self.act_bits, self.weight_bits, self.acc_bits, self.multiplier)  # type: ignore[arg-type]

    @property
    def protection(self) -> PeProtection:
        """What is protected."""
        return PeProtection(self.protect, self.q_scale, self.policy, self.overflow)  # type: ignore[arg-type]


class Row(NamedTuple):
    """What a PE costs. area_ge : its cells. parts : of each part.

    yosys_ge : the same, as Yosys adds the emitted cells up. optimised_ge : after logic optimisation
    inside each copy. sky130_ge : the cells in the ratios of another library. flip_flops : all
    copies. depth : unit delays. fanout : of the busiest net.
    """

    area_ge: float
    parts: dict[str, float]
    yosys_ge: float
    optimised_ge: float
    sky130_ge: float
    flip_flops: int
    depth: int
    fanout: int


def canonical(point: Point) -> Point:
    """The point whose circuit is the same: direct protection is the same under both rules."""
    return Point(**{**asdict(point), **asdict(plainest(point.protection))})


def work_out(point: Point) -> Row:
    """The row of a point, from its circuit; takes some seconds in Yosys."""
    netlist = protected(pe(point.datapath), point.datapath, point.protection).netlist
    own, mapped = cost(netlist), yosys.optimised(netlist)
    return Row(
        own.area_ge,
        own.parts,
        yosys.area(netlist),
        mapped.area_ge,
        cost(netlist, "sky130").area_ge,
        mapped.flip_flops,
        own.depth,
        own.fanout,
    )
