"""Random weights for networks without a checkpoint: timing and area need shapes, not accuracy.

They are drawn so that values keep their size from layer to layer; so the quantiser finds shifts
like those of a trained network, and no layer is dead.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_IMAGES = 2  # that batch norms take their statistics from


@torch.no_grad()
def draw_weights(module: nn.Module, input_shape: tuple[int, int, int], seed: int) -> None:
    """Give every parameter and statistic of `module` its value, from `seed` alone.

    Convolutions and linear layers: He et al. 2015, uniform (a third of the time of a normal one),
    by fan-in.  Batch norms: factors 0.5..1.5, offsets -0.25..0.25, and the statistics that they
    meet on noise; without those, sums of residual branches would grow from block to block.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = []
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            bound = math.sqrt(6 / part.weight[0].numel())
            part.weight.uniform_(-bound, bound, generator=generator)
            if part.bias is not None:
                part.bias.uniform_(-0.05, 0.05, generator=generator)
        elif isinstance(part, _BatchNorm):
            part.weight.uniform_(0.5, 1.5, generator=generator)
            part.bias.uniform_(-0.25, 0.25, generator=generator)
            norms.append(part)
    if not norms:
        return
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain mean over what it sees
        norm.train()
    module(torch.rand(_IMAGES, *input_shape, generator=generator) * 4 - 2)
    module.eval()
