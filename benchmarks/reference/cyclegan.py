"""CycleGAN's training step in plain PyTorch, the baseline for i2i's speed. arXiv:1703.10593.

    python benchmarks/speed.py cyclegan
    python benchmarks/speed.py resnet_inference

Generators with nine residual blocks. The constants were measured by running the published code
(pytorch-CycleGAN-and-pix2pix).
"""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor, nn

from . import require_grad

PARAMETERS = (11_378_179, 11_378_179, 2_764_737, 2_764_737)  # both generators, both discriminators
SIZE, BATCH, GFLOP = 128, 1, 468.8
INFERENCE_SIZE, INFERENCE_GFLOP = 256, 99.1  # one generator


class Residual(nn.Module):
    """Two padded 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the residual."""
        return x + self.inner(x)


def generator(width: int = 64, blocks: int = 9) -> nn.Sequential:
    """Return the generator with `blocks` residual blocks."""
    w = width
    return nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7), nn.InstanceNorm2d(w), nn.ReLU(True)),
        *(nn.Conv2d(w, 2 * w, 3, 2, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(True)),
        *(nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.InstanceNorm2d(4 * w), nn.ReLU(True)),
        *(Residual(4 * w) for _ in range(blocks)),
        *(nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, 1), nn.InstanceNorm2d(2 * w), nn.ReLU(True)),
        *(nn.ConvTranspose2d(2 * w, w, 3, 2, 1, 1), nn.InstanceNorm2d(w), nn.ReLU(True)),
        *(nn.ReflectionPad2d(3), nn.Conv2d(w, 3, 7), nn.Tanh()),
    )


def discriminator(width: int) -> nn.Sequential:
    """Return the 70x70 patch discriminator."""
    w = width
    return nn.Sequential(
        *(nn.Conv2d(3, w, 4, 2, 1), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(w, 2 * w, 4, 2, 1), nn.InstanceNorm2d(2 * w), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.InstanceNorm2d(4 * w), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(4 * w, 8 * w, 4, 1, 1), nn.InstanceNorm2d(8 * w), nn.LeakyReLU(0.2, True)),
        nn.Conv2d(8 * w, 1, 4, 1, 1),
    )


class Pool:
    """A buffer of 50 past fakes; half of the new fakes are exchanged for older ones."""

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.kept: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """Return a batch of new and older images."""
        out = []
        for image in images.split(1):
            if len(self.kept) < self.size:
                self.kept.append(image)
            elif random.random() > 0.5:
                at = random.randrange(self.size)
                image, self.kept[at] = self.kept[at], image
            out.append(image)
        return torch.cat(out)


class CycleGAN:
    """The four networks, their two optimizers, and the step."""

    def __init__(self, width: int = 64, blocks: int = 9) -> None:
        self.G_ab, self.G_ba = generator(width, blocks), generator(width, blocks)
        self.D_a, self.D_b = discriminator(width), discriminator(width)
        both = itertools.chain(self.G_ab.parameters(), self.G_ba.parameters())
        self.optimizer_g = torch.optim.Adam(both, lr=2e-4, betas=(0.5, 0.999))
        both = itertools.chain(self.D_a.parameters(), self.D_b.parameters())
        self.optimizer_d = torch.optim.Adam(both, lr=2e-4, betas=(0.5, 0.999))
        self.pool_a, self.pool_b = Pool(), Pool()
        self.mse, self.l1 = nn.MSELoss(), nn.L1Loss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G_ab, G_ba, D_a, D_b."""
        return self.G_ab, self.G_ba, self.D_a, self.D_b

    def judged(self, D: nn.Module, images: Tensor, label: float) -> Tensor:
        """Return the mean squared distance of the logits from `label`."""
        logits = D(images)
        return self.mse(logits, torch.full_like(logits, label))

    def learn_to_judge(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Accumulate the gradients of one discriminator and return its loss."""
        loss = (self.judged(D, real, 1.0) + self.judged(D, fake.detach(), 0.0)) * 0.5
        loss.backward()
        return loss

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on A and B [N, 3, H, W] in [-1, 1] and return the losses."""
        a, b = batch["A"], batch["B"]
        fake_b = self.G_ab(a)
        rec_a = self.G_ba(fake_b)
        fake_a = self.G_ba(b)
        rec_b = self.G_ab(fake_a)

        require_grad([self.D_a, self.D_b], False)
        self.optimizer_g.zero_grad()
        losses = {
            "G/identity_b": self.l1(self.G_ab(b), b) * 10.0 * 0.5,
            "G/identity_a": self.l1(self.G_ba(a), a) * 10.0 * 0.5,
            "G/gan_ab": self.judged(self.D_b, fake_b, 1.0),
            "G/gan_ba": self.judged(self.D_a, fake_a, 1.0),
            "G/cycle_a": self.l1(rec_a, a) * 10.0,
            "G/cycle_b": self.l1(rec_b, b) * 10.0,
        }
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer_g.step()

        require_grad([self.D_a, self.D_b], True)
        self.optimizer_d.zero_grad()
        losses["D/a"] = self.learn_to_judge(self.D_a, a, self.pool_a(fake_a.detach()))
        losses["D/b"] = self.learn_to_judge(self.D_b, b, self.pool_b(fake_b.detach()))
        self.optimizer_d.step()
        return losses
