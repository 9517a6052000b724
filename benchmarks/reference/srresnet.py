"""The pixel stage of super-resolution in plain PyTorch, the baseline for i2i's speed. arXiv:1609.04802.

    python benchmarks/speed.py srresnet
    python benchmarks/speed.py srresnet_inference

SRResNet without batch norm, as BasicSR publishes it (MSRResNet): x4, L1, averaged weights, truths of 192 pixels. The
constants were measured by running the published code.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARAMETERS = (1_517_571,)
SIZE, BATCH, GFLOP = 192, 4, 140.2
INFERENCE_SIZE, INFERENCE_GFLOP = 64, 20.8


class Residual(nn.Module):
    """x plus two convolutions with a ReLU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.relu = nn.ReLU(True)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return x + self.conv2(self.relu(self.conv1(x)))


class MSRResNet(nn.Module):
    """Images [N, 3, H, W] in 0..1 to [N, 3, 4 H, 4 W]: predicts what bilinear upscaling lacks."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.up1, self.up2 = nn.Conv2d(width, 4 * width, 3, 1, 1), nn.Conv2d(width, 4 * width, 3, 1, 1)
        self.shuffle, self.active = nn.PixelShuffle(2), nn.LeakyReLU(0.1, True)
        self.hr, self.last = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale."""
        h = self.body(self.active(self.first(x)))
        h = self.active(self.shuffle(self.up1(h)))
        h = self.active(self.shuffle(self.up2(h)))
        h = self.last(self.active(self.hr(h)))
        return h + F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


class SRResNet:
    """The network, its average, its optimizer, and the step."""

    def __init__(self, width: int = 64, blocks: int = 16) -> None:
        self.G = MSRResNet(width, blocks)
        self.average = copy.deepcopy(self.G)
        self.optimizer = torch.optim.Adam(self.G.parameters(), lr=2e-4, betas=(0.9, 0.99))
        self.l1 = nn.L1Loss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G."""
        return (self.G,)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on A [N, 3, H, W] and B [N, 3, 4 H, 4 W] in 0..1.

        The loss is returned as in i2i, where images are in [-1, 1]: twice as large.
        """
        self.optimizer.zero_grad()
        loss = self.l1(self.G(batch["A"]), batch["B"])
        loss.backward()
        self.optimizer.step()
        for kept, value in zip(self.average.parameters(), self.G.parameters(), strict=True):
            kept.data.mul_(0.999).add_(value.data, alpha=0.001)
        return {"G/pixel": 2 * loss.detach()}
