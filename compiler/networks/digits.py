"""The shipped small network: a residual CNN for scikit-learn's 8x8 digits.

23 thousand weights, 0.6 million multiply-accumulates: small enough to simulate in a second, and it
has one of everything (convolution, batch norm, ReLU, pools, residual add, linear).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Digits(nn.Module):
    """conv 16 - conv 32 - max pool - residual block 32 - average pool - linear 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.conv4 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 2 * 2, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 8, 8) -> logits (n, 10)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.max_pool2d(x, 2)
        y = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(x + self.bn4(self.conv4(y)))
        x = F.avg_pool2d(x, 2)
        return self.fc(x.flatten(1))  # type: ignore[no-any-return]
