"""Which mapping a layer gets: the best by estimate, and of several the best on the cycle model.

Estimates are within some per cent of the cycle model, worst for small layers, whose programs are
short: there the best few are emitted alone and timed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...config import Config
from ...isa.descriptors import Redundancy
from ...network.layers import NO_TENSOR, Network, Tensor
from ...simulator.cycles.compiled import CompiledModel
from ..codegen.emitter import Emitter
from .candidates import ALIKE, Mapping, mappings
from .plan_conv import plan_conv
from .tiles import Geometry

#: Mappings that are timed at most, and instructions of one that is.
_TIMED, _MOST_INSTRUCTIONS = 6, 3000


@lru_cache(4096)
def chosen_mapping(
    geometry: Geometry, machine: Config, redundancy: Redundancy, most_cols: int, may_park: bool
) -> Mapping | None:
    """The mapping of a layer (`Geometry.shape`); None if not one PE's operands fit the buffers.

    machine : see `machine_of`. most_cols : channels of a tile. may_park : whether sums may wait.
    """
    found = mappings(geometry, machine, redundancy, most_cols, may_park, _TIMED)
    short = [c for c in found if c.instructions <= _MOST_INSTRUCTIONS]
    if not found or len(short) < len(found) or not machine.runs_engines:
        return found[0].mapping if found else None
    timed = [(_cycles(geometry, machine, c.mapping), c) for c in short]
    most = min(cycles for cycles, _ in timed) * (1 + ALIKE)
    alike = [(c.traffic, cycles, c.mapping) for cycles, c in timed if cycles <= most]
    return min(alike, key=lambda row: row[:2])[-1]


def machine_of(config: Config, redundancy: Redundancy) -> Config:
    """What of a configuration times a layer that the DPPU does not compute: one for many."""
    plain = type(config.protection)(
        s_th=0.0,
        ib_th=0,
        nb_th=0,
        pe_policy="none",
        redundancy=config.protection.redundancy,
        redundant_layers=("*",) if redundancy != Redundancy.NONE else (),
    )
    dppu = config.dppu.model_copy(update={"size": 0})
    return config.model_copy(update={"name": "", "protection": plain, "dppu": dppu})


def _cycles(geometry: Geometry, machine: Config, mapping: Mapping) -> int:
    """Of the layer alone."""
    layer, out = geometry.layer, geometry.out
    per_group = geometry.source.c // layer.groups
    tensors = [geometry.source, out]
    if layer.residual != NO_TENSOR:
        tensors.append(Tensor("", out.h, out.w, out.c, 1.0))
    shape = (out.c, layer.kernel_h, layer.kernel_w, per_group)
    network = Network(
        "",
        tuple(tensors),
        (layer,),
        {0: np.broadcast_to(np.int8(0), shape)},
        {0: np.broadcast_to(np.int32(0), (out.c,))},
        machine.arithmetic,
        0,
        1,
    )
    plan = plan_conv(geometry, mapping)
    return CompiledModel(Emitter(network, machine, [plan], {}, geometry.batch).program()).run()
