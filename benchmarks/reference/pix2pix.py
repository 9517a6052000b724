"""pix2pix's training step in plain PyTorch, the baseline for i2i's speed. arXiv:1611.07004.

    python benchmarks/speed.py pix2pix

The U-Net for 256 pixels with batch norm and dropout, and the 70x70 patch discriminator on pairs. The discriminator
is updated first. The constants were measured by running the published code (pytorch-CycleGAN-and-pix2pix).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import require_grad

PARAMETERS = (54_413_955, 2_768_705)  # generator, discriminator
SIZE, BATCH, GFLOP = 256, 1, 86.9


class Level(nn.Module):
    """One scale of the U-Net: halve, the levels below, double, and concatenate the input."""

    def __init__(self, outer: int, inner: int, below: nn.Module | None, dropout: bool = False) -> None:
        super().__init__()
        down = [nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
        up = [nn.ReLU(True), nn.ConvTranspose2d(inner if below is None else 2 * inner, outer, 4, 2, 1, bias=False)]
        middle = [] if below is None else [nn.BatchNorm2d(inner), below]
        drop = [nn.Dropout(0.5)] if dropout else []
        self.inner = nn.Sequential(*down, *middle, *up, nn.BatchNorm2d(outer), *drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and what the levels below make of it, side by side."""
        return torch.cat([x, self.inner(x)], 1)


def generator(width: int) -> nn.Sequential:
    """Return the U-Net that halves 256 pixels eight times."""
    below = Level(8 * width, 8 * width, None)
    for _ in range(3):
        below = Level(8 * width, 8 * width, below, dropout=True)
    for outer in (4, 2, 1):
        below = Level(outer * width, 2 * outer * width, below)
    # The activation before the outermost up-convolution is here; the one before the next halving is in the level.
    last = [nn.ReLU(True), nn.ConvTranspose2d(2 * width, 3, 4, 2, 1), nn.Tanh()]
    return nn.Sequential(nn.Conv2d(3, width, 4, 2, 1, bias=False), below, *last)


def discriminator(width: int) -> nn.Sequential:
    """Return the 70x70 patch discriminator on pairs of images."""

    def normed(before: int, after: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(before, after, 4, stride, 1, bias=False)
        return [conv, nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]

    w = width
    return nn.Sequential(
        *(nn.Conv2d(6, w, 4, 2, 1), nn.LeakyReLU(0.2, True)),
        *(*normed(w, 2 * w, 2), *normed(2 * w, 4 * w, 2), *normed(4 * w, 8 * w, 1)),
        nn.Conv2d(8 * w, 1, 4, 1, 1),
    )


class Pix2Pix:
    """Both networks, their optimizers, and the step."""

    def __init__(self, width: int = 64) -> None:
        self.G, self.D = generator(width), discriminator(width)
        self.optimizer_g = torch.optim.Adam(self.G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_d = torch.optim.Adam(self.D.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.bce, self.l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G, D."""
        return self.G, self.D

    def judged(self, first: Tensor, second: Tensor, label: float) -> Tensor:
        """Return the cross entropy of a pair's logits with `label`."""
        logits = self.D(torch.cat([first, second], 1))
        return self.bce(logits, torch.full_like(logits, label))

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on pairs A and B [N, 3, 256, 256] in [-1, 1] and return the losses."""
        a, b = batch["A"], batch["B"]
        fake = self.G(a)

        require_grad([self.D], True)
        self.optimizer_d.zero_grad()
        pairs = (self.judged(a, fake.detach(), 0.0) + self.judged(a, b, 1.0)) * 0.5
        pairs.backward()
        self.optimizer_d.step()

        require_grad([self.D], False)
        self.optimizer_g.zero_grad()
        gan, l1 = self.judged(a, fake, 1.0), self.l1(fake, b) * 100.0
        (gan + l1).backward()
        self.optimizer_g.step()
        return {"D/pairs": pairs, "G/gan": gan, "G/l1": l1}
