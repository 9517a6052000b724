"""ESRGAN's generator in plain PyTorch, the baseline for i2i's speed of inference. arXiv:1809.00219.

    python benchmarks/speed.py rrdb_inference

The constants were measured by running the published code (BasicSR).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARAMETERS = (16_697_987,)
INFERENCE_SIZE, INFERENCE_GFLOP = 64, 146.9


class Dense(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, growth, 3, 1, 1)
        self.conv2 = nn.Conv2d(width + growth, growth, 3, 1, 1)
        self.conv3 = nn.Conv2d(width + 2 * growth, growth, 3, 1, 1)
        self.conv4 = nn.Conv2d(width + 3 * growth, growth, 3, 1, 1)
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, 1, 1)
        self.active = nn.LeakyReLU(0.2, True)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        x1 = self.active(self.conv1(x))
        x2 = self.active(self.conv2(torch.cat((x, x1), 1)))
        x3 = self.active(self.conv3(torch.cat((x, x1, x2), 1)))
        x4 = self.active(self.conv4(torch.cat((x, x1, x2, x3), 1)))
        return self.conv5(torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x


class RRDB(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return self.inner(x) * 0.2 + x


class RRDBNet(nn.Module):
    """Images [N, 3, H, W] in 0..1 to [N, 3, 4 H, 4 W]."""

    def __init__(self, width: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, 1, 1)
        self.up1, self.up2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.hr, self.last = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)
        self.active = nn.LeakyReLU(0.2, True)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale."""
        h = self.first(x)
        h = h + self.after(self.body(h))
        h = self.active(self.up1(F.interpolate(h, scale_factor=2, mode="nearest")))
        h = self.active(self.up2(F.interpolate(h, scale_factor=2, mode="nearest")))
        return self.last(self.active(self.hr(h)))
