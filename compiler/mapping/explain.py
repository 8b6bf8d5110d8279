"""What was chosen for each layer, what the next best would cost, and what no mapping can beat."""

from __future__ import annotations

from typing import NamedTuple

from ...network.layers import NO_TENSOR, LayerOp, Network
from ..on_chip import OnChip
from ..tiling.tiles import Blocks
from .choose import best_candidates
from .mapping import Mapping
from .plan import LayerRequest, plan_layer
from .rank import RatedMapping, least_traffic


class LayerChoice(NamedTuple):
    """A layer's mapping.

    mapping : None where only the vector unit computes it. cycles : of the layer alone, estimated
    or, of small layers, on the cycle model; None without a mapping. traffic : bytes of operands and
    results in DRAM, of none that stay on chip. runner_up : the next best mapping. least : traffic
    of the mapping that moves fewest bytes. compulsory : bytes that any mapping moves: every operand
    and result once. bound : cycles below which none can be, for its products, its bytes and its
    results. blocks : bytes of the largest blocks in the buffers, of which two fit. on_chip : what
    of it is in the activation memory.
    """

    name: str
    op: str
    mapping: Mapping | None
    cycles: float | None
    traffic: int
    runner_up: RatedMapping | None
    least: int
    compulsory: int
    bound: int
    blocks: Blocks
    on_chip: OnChip


def mapping_choices(requests: list[LayerRequest], network: Network) -> list[LayerChoice]:
    """All layers of a network. Raises CompileError as `plan_layer`."""
    return [_choice(request, network, i) for i, request in enumerate(requests)]


def _choice(request: LayerRequest, network: Network, index: int) -> LayerChoice:
    geometry, config, layer = request.geometry, request.config, network.layers[index]
    outputs, kept = geometry.pixels * geometry.out.c, request.on_chip
    # Of inputs and results, those in DRAM.
    added, residual = layer.op == LayerOp.ADD, layer.residual != NO_TENSOR and not kept.residual
    operands = (not kept.input) + (added and residual)
    needed = operands * geometry.block(0, geometry.pixels).nbytes
    stored = outputs * ((not kept.output) + (layer.op == LayerOp.CONV and residual))
    macs = network.macs(index) * geometry.batch if layer.op == LayerOp.CONV else 0
    constants = network.weights[index].size + 4 * geometry.out.c if index in network.weights else 0
    compulsory = needed + constants + stored
    written = outputs * (not kept.output)
    channel = max(written, compulsory - written) if config.dram.duplex else compulsory
    window = layer.kernel_h * layer.kernel_w if layer.op != LayerOp.CONV else 1
    bound = max(
        -(-macs // (config.array.rows * config.array.cols)),
        int(channel / float(config.dram.bytes_per_cycle)),
        -(-outputs * window // config.vec.lanes),
    )
    name, op = layer.name, LayerOp(layer.op).name.lower()
    if layer.op != LayerOp.CONV:
        plan = plan_layer(request)
        moved = sum(operands * fill.a.nbytes for fill in plan.fills if fill.a) + stored
        blocks = plan.largest(layer)
        return LayerChoice(
            name, op, None, None, moved, None, moved, compulsory, bound, blocks, kept
        )
    blocks = plan_layer(request).largest(layer)  # or says why where there is none
    best, *others = best_candidates(request.on_machine)
    least = round(least_traffic(request.on_machine))
    after = others[0] if others else None
    traffic = round(best.traffic)
    return LayerChoice(
        name, op, best.mapping, best.cycles, traffic, after, least, compulsory, bound, blocks, kept
    )
