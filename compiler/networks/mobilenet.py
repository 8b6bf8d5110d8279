"""MobileNetV2 (Sandler et al. 2018), with the parameter names of torchvision."""

from __future__ import annotations

from torch import Tensor, nn

#: (expansion, output channels, blocks, stride of the first block)
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(in_c: int, out_c: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    conv = nn.Conv2d(in_c, out_c, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_c), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; a shortcut where the shape stays the same."""

    def __init__(self, in_c: int, out_c: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_c * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(in_c, width, 1)]
        layers += [
            _conv(width, width, 3, stride, groups=width),
            nn.Conv2d(width, out_c, 1, bias=False),
            nn.BatchNorm2d(out_c),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_c == out_c

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_c, h, w) -> (n, out_c, h / stride, w / stride)."""
        y = self.conv(x)
        return x + y if self.shortcut else y  # type: ignore[no-any-return]


class MobileNetV2(nn.Module):
    """Width 1.0."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        features: list[nn.Module] = [_conv(3, 32, 3, 2)]
        in_c = 32
        for expansion, out_c, blocks, stride in _STAGES:
            for i in range(blocks):
                features.append(InvertedResidual(in_c, out_c, 1 if i else stride, expansion))
                in_c = out_c
        features.append(_conv(in_c, 1280, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> logits (n, classes)."""
        return self.classifier(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]
