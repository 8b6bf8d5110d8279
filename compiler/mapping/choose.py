"""Which mapping a layer gets: the best by estimate, and of several the best on the cycle model.

Estimates are within some per cent of the cycle model, worst for small layers, whose programs are
short: there the best are emitted alone and timed, as many as take little time together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...config import Config
from ...isa.descriptors import Redundancy
from ...network.layers import NO_TENSOR, Network, Tensor
from ...simulator.cycles.compiled import CompiledModel
from ..codegen.emitter import Emitter
from .mapping import LayerOnMachine, Mapping
from .plan_conv import plan_conv
from .rank import ALIKE, RatedMapping, mappings

#: Mappings that are timed at most, and about how many instructions all of them may have.
_TIMED, _TIMED_INSTRUCTIONS = 12, 15_000


@lru_cache(4096)
def best_candidates(layer: LayerOnMachine) -> tuple[RatedMapping, ...]:
    """The best mappings of a layer, the one to take first; none if no PE's operands fit."""
    found = mappings(layer, _TIMED)
    count = _TIMED_INSTRUCTIONS // max((c.instructions for c in found), default=1)
    by_cycles = layer.machine.mapping.objective == "cycles"
    if count < 2 or not by_cycles or not layer.machine.runs_engines:
        return tuple(found)
    timed = [c._replace(cycles=cycles_alone(layer, c.mapping)) for c in found[:count]]
    most = min((c.cycles for c in timed), default=0) * (1 + ALIKE)
    return tuple(sorted(timed, key=lambda c: (c.cycles > most, c.traffic, c.cycles)))


def machine_of(config: Config, redundancy: Redundancy, recomputes: bool) -> Config:
    """What of a configuration times a layer: one for many. recomputes : whether its DPPU does."""
    plain = type(config.protection)(
        s_th=0.0,
        ib_th=0,
        nb_th=0,
        pe_policy="none",
        redundancy=config.protection.redundancy,
        redundant_layers=("*",) if redundancy != Redundancy.NONE else (),
    )
    dppu = config.dppu if recomputes else type(config.dppu)(size=0)
    return config.model_copy(update={"name": "", "protection": plain, "dppu": dppu})


def cycles_alone(on_machine: LayerOnMachine, mapping: Mapping) -> int:
    """On the cycle model, of a program of the layer and nothing else."""
    geometry, machine = on_machine.geometry, on_machine.machine
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
    kept = on_machine.on_chip.alone(layer)
    masks = {0: on_machine.recomputed.mask} if on_machine.recomputed else {}
    emitter = Emitter(network, machine, [plan], masks, geometry.batch, kept)
    return CompiledModel(emitter.program()).run()
