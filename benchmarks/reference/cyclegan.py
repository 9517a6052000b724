"""CycleGAN's training step in plain PyTorch, the baseline for i2i's speed. arXiv:1703.10593.

    python benchmarks/speed.py cyclegan

The constants below were measured by running the published code: parameters of a generator (by number of residual
blocks) and of a discriminator, and floating-point operations of one training step on two 128x128 images.
"""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor, nn

GENERATOR_PARAMETERS = {9: 11_378_179, 6: 7_837_699}
DISCRIMINATOR_PARAMETERS = 2_764_737
STEP_GFLOP = {9: 468.8, 6: 338.3}  # at 128x128, batch 1


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


def generator(blocks: int) -> nn.Sequential:
    """Return the generator with `blocks` residual blocks."""
    return nn.Sequential(
        *(nn.ReflectionPad2d(3), nn.Conv2d(3, 64, 7), nn.InstanceNorm2d(64), nn.ReLU(True)),
        *(nn.Conv2d(64, 128, 3, 2, 1), nn.InstanceNorm2d(128), nn.ReLU(True)),
        *(nn.Conv2d(128, 256, 3, 2, 1), nn.InstanceNorm2d(256), nn.ReLU(True)),
        *(Residual(256) for _ in range(blocks)),
        *(nn.ConvTranspose2d(256, 128, 3, 2, 1, 1), nn.InstanceNorm2d(128), nn.ReLU(True)),
        *(nn.ConvTranspose2d(128, 64, 3, 2, 1, 1), nn.InstanceNorm2d(64), nn.ReLU(True)),
        *(nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Tanh()),
    )


def discriminator() -> nn.Sequential:
    """Return the 70x70 patch discriminator."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(64, 128, 4, 2, 1), nn.InstanceNorm2d(128), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(128, 256, 4, 2, 1), nn.InstanceNorm2d(256), nn.LeakyReLU(0.2, True)),
        *(nn.Conv2d(256, 512, 4, 1, 1), nn.InstanceNorm2d(512), nn.LeakyReLU(0.2, True)),
        nn.Conv2d(512, 1, 4, 1, 1),
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
    """The four networks, their two optimizers, and the step.

    Weights have PyTorch's default initialisation; the benchmark overwrites them with those of i2i.
    """

    def __init__(self, blocks: int = 9, device: str = "cpu") -> None:
        self.G_ab, self.G_ba = generator(blocks).to(device), generator(blocks).to(device)
        self.D_a, self.D_b = discriminator().to(device), discriminator().to(device)
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

    def step(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Do one training step on a and b [N, 3, H, W] in [-1, 1] and return the losses."""
        fake_b = self.G_ab(a)
        rec_a = self.G_ba(fake_b)
        fake_a = self.G_ba(b)
        rec_b = self.G_ab(fake_a)

        self.freeze(True)
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

        self.freeze(False)
        self.optimizer_d.zero_grad()
        losses["D/a"] = self.learn_to_judge(self.D_a, a, self.pool_a(fake_a.detach()))
        losses["D/b"] = self.learn_to_judge(self.D_b, b, self.pool_b(fake_b.detach()))
        self.optimizer_d.step()
        return losses

    def freeze(self, frozen: bool) -> None:
        """Disable or enable gradients of the discriminators."""
        for parameter in itertools.chain(self.D_a.parameters(), self.D_b.parameters()):
            parameter.requires_grad_(not frozen)
