"""ResNet for ImageNet (He et al. 2016), with the parameter names of torchvision.

The stride of a bottleneck stands in its 3x3 convolution, as in torchvision (there called v1.5).
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut."""

    expansion = 1

    def __init__(self, in_c: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_c, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_c, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_c, h, w) -> (n, width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, the last one four times as wide, and the shortcut."""

    expansion = 4

    def __init__(self, in_c: int, width: int, stride: int) -> None:
        super().__init__()
        out_c = width * self.expansion
        self.conv1 = nn.Conv2d(in_c, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_c, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_c)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_c, out_c, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_c, h, w) -> (n, 4 * width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


def _shortcut(in_c: int, out_c: int, stride: int) -> nn.Module | None:
    """1x1 convolution and batch norm where the block changes the shape."""
    if stride == 1 and in_c == out_c:
        return None
    conv = nn.Conv2d(in_c, out_c, 1, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_c))


_Block = type[BasicBlock] | type[Bottleneck]


def _stage(block: _Block, in_c: int, width: int, count: int, stride: int) -> nn.Sequential:
    rest = [block(width * block.expansion, width, 1) for _ in range(count - 1)]
    return nn.Sequential(block(in_c, width, stride), *rest)


class ResNet(nn.Module):
    """7x7 convolution, max pool, four stages of blocks, average pool, linear."""

    def __init__(
        self,
        block: _Block,
        blocks: tuple[int, int, int, int],
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, blocks[0], 1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, blocks[1], 2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, blocks[2], 2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> logits (n, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))  # type: ignore[no-any-return]


def resnet18() -> ResNet:
    """18 layers: two basic blocks a stage."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet34() -> ResNet:
    """34 layers of basic blocks."""
    return ResNet(BasicBlock, (3, 4, 6, 3))


def resnet50() -> ResNet:
    """50 layers of bottlenecks."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
