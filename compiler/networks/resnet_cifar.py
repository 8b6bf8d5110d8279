"""ResNet for CIFAR with option-A shortcuts (He et al. 2016, section 4.2).

Parameter names are those of github.com/akamaster/pytorch_resnet_cifar10, so its checkpoints load.
A shortcut over a change of size takes every second row and column and pads the channels with zeros:
it has no weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut."""

    def __init__(self, in_c: int, out_c: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_c, out_c, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_c)
        self.conv2 = nn.Conv2d(out_c, out_c, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_c)
        self.stride, self.extra = stride, out_c - in_c

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_c, h, w) -> (n, out_c, h / stride, w / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1 or self.extra:
            front = self.extra // 2
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, front, self.extra - front))
        return F.relu(y + x)


class ResNetCifar(nn.Module):
    """6*blocks + 2 layers: 20 for blocks = 3."""

    def __init__(self, blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, 1, blocks)
        self.layer2 = self._stage(16, 32, 2, blocks)
        self.layer3 = self._stage(32, 64, 2, blocks)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _stage(in_c: int, out_c: int, stride: int, blocks: int) -> nn.Sequential:
        rest = [CifarBlock(out_c, out_c, 1) for _ in range(blocks - 1)]
        return nn.Sequential(CifarBlock(in_c, out_c, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 32, 32) -> logits (n, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(x.mean((2, 3)), 1))  # type: ignore[no-any-return]
