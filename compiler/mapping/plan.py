"""Tiling: which tiles a layer has, in which order, and what must be in the buffers for them.

A plan is independent of buffer addresses and of other layers; `emit` places its blocks in the two
halves of each buffer.  Convolutions and linear layers are planned in `plan_conv`, what only the
vector unit computes in `plan_vector`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...config.mappings import ANY_MAPPING, WantedMapping
from ...errors import CompileError, FlexhycaError
from ...isa.protection import redundancy_of
from ...network.layers import LayerOp, Network
from ...network.names import match_layers, matches
from ...simulator.inject.repair import Repair
from ...tables import complete
from ..on_chip import KeptPlaces, OnChip, keep_on_chip
from ..tiling.tiles import Geometry, LayerPlan
from .choose import best_candidates, machine_of
from .mapping import LayerOnMachine
from .packing import best_packing, pack_groups, packings
from .plan_conv import plan_conv, tile_columns
from .plan_vector import plan_vector
from .recomputing import DppuNeurons, holds_up

WantedMappings = Mapping[str, WantedMapping]  #: layer name or pattern -> what is wanted
NOTHING_WANTED: WantedMappings = MappingProxyType({})


class LayerRequest(NamedTuple):
    """What is to be tiled.

    recomputed : whether the DPPU has neurons of it: its sums have no room to wait, none are parked.
    wanted : of the mapping of a conv or linear layer. on_chip : what of it is in the activation
    memory. known : which neurons, where they bear on the mapping.
    """

    geometry: Geometry
    config: Config
    recomputed: bool = False
    wanted: WantedMapping = ANY_MAPPING
    on_chip: OnChip = OnChip()
    known: DppuNeurons | None = None

    @classmethod
    def of(
        cls,
        network: Network,
        index: int,
        config: Config,
        batch: int,
        recomputed: bool = False,
        wanted: WantedMapping = ANY_MAPPING,
        kept: KeptPlaces | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> LayerRequest:
        """For layer `index` of a network.

        kept : its tensors that stay on chip, if known. mask : the neurons that the DPPU recomputes,
        if known.
        """
        places = keep_on_chip(network, config, batch) if kept is None else kept
        on_chip = OnChip.of(network.layers[index], places)
        geometry = Geometry.of(network, index, batch)
        request = cls(geometry, config, recomputed, wanted, on_chip)
        layer = geometry.layer
        if layer.op != LayerOp.CONV or not config.runs_engines:
            return request
        layers = [pack_groups(layer, count) for count in packings(request.on_machine)]
        options = [request._replace(geometry=replace(geometry, layer=own)) for own in layers]
        if mask is not None:
            share = float(mask.mean())
            if any(holds_up(config, option.geometry, share) for option in options):
                known = DppuNeurons.of(mask)
                options = [option._replace(known=known) for option in options]
        if len(options) == 1:
            return options[0]
        return options[best_packing(tuple(option.on_machine for option in options))]

    @property
    def on_machine(self) -> LayerOnMachine:
        """A conv or linear layer with all that its mapping depends on."""
        geometry, config = self.geometry, self.config
        redundancy = redundancy_of(config, geometry.layer.name)
        return LayerOnMachine(
            geometry.shape,
            machine_of(config, redundancy, self.known is not None),
            redundancy,
            tile_columns(geometry.layer, config),
            not self.recomputed,
            self.wanted,
            self.on_chip,
            self.known,
        )


def layer_requests(
    network: Network,
    config: Config,
    important: Mapping[int, NDArray[np.bool_]],
    batch: int,
    wanted: WantedMappings = NOTHING_WANTED,
    repair: Repair | None = None,
) -> list[LayerRequest]:
    """All layers of a network, to be tiled. important : neurons that the DPPU recomputes.

    repair : what it recomputes of every tile besides. wanted : of the mappings, by layer name or
    pattern; CompileError for one that names no conv or linear layer, or a layer that another one
    names.
    """
    recomputed = {i for i, mask in important.items() if config.dppu.size and mask.any()}
    # Where tiles decide which neurons are important, these do not decide the tiles.
    known = {} if config.protection.s_policy == "tile" else {i: important[i] for i in recomputed}
    if repair is not None:
        recomputed |= {i for i in network.weights if repair.needs(network.layers[i])}
    weighted = [i for i, layer in enumerate(network.layers) if layer.op == LayerOp.CONV]
    names, own = [network.layers[i].name for i in weighted], dict[int, tuple[str, WantedMapping]]()
    for pattern, mapping in wanted.items():
        try:
            hits = match_layers([pattern], names)
        except FlexhycaError as error:
            what = str(error)
            if other := [layer.name for layer in network.layers if matches(pattern, layer.name)]:
                what = f"{other[0]!r} is no conv or linear layer; others have none"
            raise CompileError(f"{network.name}: mapping: {what}") from None
        for index in sorted(weighted[hit] for hit in hits):
            if index in own:
                raise CompileError(
                    f"{network.name}: mapping: {network.layers[index].name} is named by "
                    f"{own[index][0]!r} and by {pattern!r}; name it once"
                )
            own[index] = pattern, mapping
    asked = {index: mapping for index, (_, mapping) in own.items()}
    kept = keep_on_chip(network, config, batch)
    return [
        LayerRequest.of(
            *(network, i, config, batch, i in recomputed),
            *(asked.get(i, ANY_MAPPING), kept, known.get(i)),
        )
        for i in range(len(network.layers))
    ]


def plan_layer(request: LayerRequest) -> LayerPlan:
    """Tile a layer. Raises CompileError if even one tile does not fit the buffers."""
    return _PLANS[request.geometry.layer.op](request)


def tile_ids(network: Network, index: int, config: Config) -> NDArray[np.int64]:
    """Tile number of every neuron (h, w, c) of layer `index` for a batch of one (policy `tile`)."""
    out = network.tensors[network.layers[index].output]
    ids = np.zeros((out.h * out.w, out.c), np.int64)
    request = LayerRequest.of(network, index, config, 1, recomputed=True)
    for i, t in enumerate(plan_layer(request).tiles):
        ids[t.m0 : t.m0 + t.m, t.n0 : t.n0 + t.n] = i
    return ids.reshape(out.h, out.w, out.c)


def _conv(request: LayerRequest) -> LayerPlan:
    found = best_candidates(request.on_machine)
    if found:
        return plan_conv(request.geometry, found[0].mapping)
    name = request.geometry.layer.name
    if request.wanted != ANY_MAPPING and best_candidates(
        request.on_machine._replace(wanted=ANY_MAPPING)
    ):
        asked = request.wanted.model_dump(exclude_none=True)
        raise CompileError(
            f"layer {name}: no mapping has {', '.join(f'{f}={v}' for f, v in asked.items())}, or "
            "none in buffers of this size; leave some of it to the compiler (--explain shows what "
            "it chooses)"
        )
    half, enlarge = "the ifmap and weight buffers", "buffers.ifmap_bytes or buffers.weight_bytes"
    if request.config.buffers.scratchpad_bytes:
        half, enlarge = "the scratchpad", "buffers.scratchpad_bytes"
    raise CompileError(
        f"layer {name}: one kernel row of one channel does not fit half of {half}; "
        f"enlarge {enlarge}"
    )


def _vector(request: LayerRequest) -> LayerPlan:
    return plan_vector(request.geometry, request.config)


_PLANS: dict[LayerOp, Callable[[LayerRequest], LayerPlan]] = {
    LayerOp.CONV: _conv,
    LayerOp.MAXPOOL: _vector,
    LayerOp.AVGPOOL: _vector,
    LayerOp.ADD: _vector,
    LayerOp.COPY: _vector,
}
complete("LayerOp in network/layers.py", LayerOp, _PLANS, "compiler/mapping/plan.py: _PLANS")
