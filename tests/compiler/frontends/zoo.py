"""Small torch modules, each with something that a frontend or the quantiser can get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Shortcut with weights, in-place activations, two convolutions that meet in an add."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.a = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.b = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(12)
        self.down = nn.Conv2d(8, 12, 1, stride=2, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        y = self.bn(self.b(self.act(self.a(x))))
        y += self.down(x)
        y = F.adaptive_avg_pool2d(self.act(y), (1, 1))
        return self.fc(torch.flatten(y, 1))


class Inverted(nn.Module):
    """MobileNet's block: depthwise, ReLU6, an add without activation; dropout and identity."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2d(3, 12, 1)
        self.deep = nn.Conv2d(12, 12, 3, padding="same", groups=12)
        self.down = nn.Conv2d(12, 3, 1)
        self.act = nn.ReLU6()
        self.rest = nn.Sequential(nn.Dropout(0.2), nn.Identity(), nn.Linear(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.down(self.act(self.deep(self.act(self.up(x)))))
        return self.rest(y.mean([2, 3]))


class Pools(nn.Module):
    """VGG's head (linear over a map), ceil_mode, overlapping pools, a lone batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, (3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1))
        self.first = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.AvgPool2d(3, stride=2, padding=1)
        self.fc1 = nn.Linear(6 * 2 * 2, 10)
        self.bn1 = nn.BatchNorm1d(10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.relu(self.norm(self.first(self.conv(x)))))
        x = F.relu(self.bn1(self.fc1(x.view(x.size(0), -1))))
        return self.fc2(x)


class Branches(nn.Module):
    """Concat of different ranges, slices and pads in chains, an add of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 3, padding=1)
        self.c = nn.Conv2d(9, 6, 3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([F.relu(self.a(x)), self.b(x)], 1)
        z = F.relu(self.c(F.pad(y, (1, 0, 0, 2))))
        short = F.pad(y[:, 2:6, 1::2, ::3], (0, 1, 1, 0, 1, 1))
        z = F.relu(z[:, :, : short.shape[2], : short.shape[3]]) + F.relu(short)
        return self.fc(z.mean((2, 3)))


class Twice(nn.Module):
    """One module used twice, a value that is read by an activation and by an add."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.conv(F.relu(y)) + y
        z = torch.clamp(z + z, -1.0, 1.5)
        return self.fc(z.mean((2, 3)))


ZOO = {cls.__name__: cls for cls in (Residual, Inverted, Pools, Branches, Twice)}
SHAPE = (3, 8, 8)  #: input (c, h, w) of all of them but `Pools`
SHAPES = dict.fromkeys(ZOO, SHAPE) | {"Pools": (3, 11, 12)}


def build(name: str, seed: int = 0) -> nn.Module:
    """A zoo module in evaluation mode, its batch norms with statistics of their own."""
    torch.manual_seed(seed)
    module = ZOO[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module.eval()
