"""Code generation: a network and a machine -> one program, or a line that says why not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..errors import CompileError, FlexhycaError, ProgramError
from ..given.arrays import given_mask, given_words
from ..isa.pe_map import PeMap, StuckPe, check_pe_map
from ..isa.program import Program
from ..isa.validate import validate
from ..network.layers import LayerOp, Network
from ..network.names import match_layers
from ..simulator.inject.repair import Repair
from .codegen.emitter import Emitter, Masks
from .hardened import with_hardened_channels
from .mapping.packing import with_packed
from .mapping.plan import NOTHING_WANTED, WantedMappings, layer_requests, plan_layer
from .mapping.plan_conv import tile_columns
from .on_chip import keep_on_chip

#: Tiles of a program: about four instructions and two kilobytes of memory each.
_MOST_TILES = 1 << 22


def compile_network(
    network: Network,
    config: Config,
    important: Masks | None = None,
    batch: int = 1,
    wanted: WantedMappings = NOTHING_WANTED,
    pe_map: Sequence[StuckPe] = (),
    repair: bool | None = None,
) -> Program:
    """Compile `network` for the machine of `config`.

    important : neurons that the DPPU recomputes, or that hardened columns are for; None or a
    missing layer means none. wanted : of the mappings of layers by name or pattern. pe_map,
    repair : as of `repair_of`. The network's arithmetic must be that of `config`.
    Raises CompileError with layer, value and limit.
    What is returned keeps the rules of the program file, so that it loads wherever it is saved.
    """
    _check_redundant_layers(network, config)
    _check_tiles(network, config, batch)
    _check_weights(network)
    masks = checked_masks(network, important or {})
    own = check_pe_map(pe_map, config, f"{network.name}: pe_map")
    repaired = repair_of(network, config, own, repair)
    requests = layer_requests(network, config, masks, batch, wanted, repaired)
    plans = [plan_layer(request) for request in requests]
    if columns := config.protection.hardened_cols:
        network = with_hardened_channels(network, plans, columns, masks)
    packed = with_packed(network, [request.geometry.layer for request in requests])
    kept = keep_on_chip(network, config, batch)
    program = Emitter(packed, config, plans, masks, batch, kept, own, repaired).program()
    try:
        validate(program, network.name)
    except ProgramError as error:
        raise CompileError(
            f"{error.what}; that is beyond what a program can hold, make the layer smaller"
        ) from None
    return program


def repair_of(
    network: Network, config: Config, pe_map: PeMap, wanted: bool | None
) -> Repair | None:
    """What the DPPU recomputes for stuck PEs; None for nothing.

    wanted : None for what the machine can, which is all with a DPPU and nothing without one.
    Raises CompileError where it is wanted and cannot be.
    """
    able = config.dppu.size > 0 and config.array.keeps_sums and config.runs_engines
    if not able and wanted:
        raise CompileError(
            f"{network.name}: repair of stuck PEs: {config.name} has no DPPU that recomputes their "
            "sums (dppu.size, array.dataflow os, timing native); give it one, or leave repair out"
        )
    if not pe_map or not able or wanted is False:
        return None
    if config.buffers.position_bytes < config.table_bytes:
        raise CompileError(
            f"{network.name}: repair of stuck PEs: buffers.position_bytes = "
            f"{config.buffers.position_bytes} cannot hold the tables of two tiles, twice; use at "
            f"least {config.table_bytes}"
        )
    return Repair(config, pe_map)


def _check_weights(network: Network) -> None:
    """Every layer with weights has its own, of the type and shape that the table says."""
    a = network.arithmetic
    for index, layer in enumerate(network.layers):
        if layer.op != LayerOp.CONV:
            continue
        source, out = network.tensors[layer.input], network.tensors[layer.output]
        kernel = (layer.kernel_h, layer.kernel_w, source.c // layer.groups)
        for what, arrays, dtype, shape, bits in (
            ("weights", network.weights, np.int8, (out.c, *kernel), a.weight_bits),
            ("biases", network.biases, np.int32, (out.c,), a.acc_bits),
        ):
            title = f"layer {layer.name} of {network.name}: {what}"
            if index not in arrays:
                raise CompileError(f"{title} are missing; quantise the model")
            given_words(title, arrays[index], np.dtype(dtype), shape, bits)


def checked_masks(network: Network, important: Masks) -> dict[int, NDArray[np.bool_]]:
    """Those masks, of layers with weights only."""
    masks = {}
    for index, mask in important.items():
        if index not in network.weights:
            known = ", ".join(map(str, sorted(network.weights)))
            raise CompileError(
                f"{network.name}: important neurons of layer {index!r}, which has no weights; "
                f"those that have are {known}"
            )
        layer = network.layers[index]
        out = network.tensors[layer.output]
        what = f"layer {layer.name} of {network.name}: important neurons"
        masks[index] = given_mask(what, mask, (out.h, out.w, out.c))
    return masks


def _check_redundant_layers(network: Network, config: Config) -> None:
    """Refuse a name that no conv or linear layer has: what is asked for would not be protected."""
    if config.protection.redundancy == "none":
        return
    names = [network.layers[index].name for index in sorted(network.weights)]
    try:
        match_layers(config.protection.redundant_layers, names)
    except FlexhycaError as error:
        raise CompileError(f"{network.name}: protection.redundant_layers: {error}") from None


def _check_tiles(network: Network, config: Config, batch: int) -> None:
    """Refuse what would take hours and all memory, before it does."""
    count = 0
    for layer in network.layers:
        out = network.tensors[layer.output]
        pixels = batch * out.h * out.w
        if layer.op == LayerOp.CONV:
            count += -(-pixels // config.tile_rows) * -(-out.c // tile_columns(layer, config))
        else:
            count += -(-pixels * out.c // config.tile_words)
        if count > _MOST_TILES:
            raise CompileError(
                f"layer {layer.name}: {network.name} has {count} tiles up to here, at most "
                f"{_MOST_TILES} are compiled; use a smaller batch or a larger array"
            )
