"""DCGAN's training step in plain PyTorch, the baseline for i2i's speed. arXiv:1511.06434.

    python benchmarks/speed.py dcgan

The recipe of pytorch/examples: 64 pixels, batches of 64. Its generator is updated on the images that the
discriminator was just trained on, and the discriminator is not frozen meanwhile. The constants were measured by
running the published code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PARAMETERS = (3_576_704, 2_765_568)  # generator, discriminator
SIZE, BATCH, GFLOP = 64, 64, 159.0
LATENT = 100


def generator(width: int) -> nn.Sequential:
    """Return the generator: codes [N, 100, 1, 1] to images [N, 3, 64, 64] in [-1, 1]."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, 8 * width, 4, 1, 0, bias=False)]
    for before in (8, 4, 2):
        layers += [nn.BatchNorm2d(before * width), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(before * width, before * width // 2, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def discriminator(width: int) -> nn.Sequential:
    """Return the discriminator: images to probabilities [N, 1, 1, 1]."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for before in (1, 2, 4):
        layers += [nn.Conv2d(before * width, 2 * before * width, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(2 * before * width), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid())


class DCGAN:
    """Both networks, their optimizers, and the step."""

    def __init__(self, width: int = 64) -> None:
        self.G, self.D = generator(width), discriminator(width)
        self.optimizer_d = torch.optim.Adam(self.D.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_g = torch.optim.Adam(self.G.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.bce = nn.BCELoss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G, D."""
        return self.G, self.D

    def learn(self, images: Tensor, label: float) -> Tensor:
        """Backpropagate the cross entropy of D's probabilities with `label`, and return it."""
        found = self.D(images).view(-1)
        loss: Tensor = self.bce(found, torch.full_like(found, label))
        loss.backward()
        return loss.detach()

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on `image` [N, 3, 64, 64] in [-1, 1] and return the losses."""
        real = batch["image"]
        self.D.zero_grad()
        on_real = self.learn(real, 1.0)
        fake = self.G(torch.randn(len(real), LATENT, 1, 1, device=real.device))
        on_fake = self.learn(fake.detach(), 0.0)
        self.optimizer_d.step()

        self.G.zero_grad()
        convinced = self.learn(fake, 1.0)
        self.optimizer_g.step()
        return {"D/gan": on_real + on_fake, "G/gan": convinced}
