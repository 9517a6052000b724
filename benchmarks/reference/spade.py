"""SPADE's training step in plain PyTorch, the baseline for i2i's speed. arXiv:1903.07291.

    python benchmarks/speed.py spade

19 labels, 128 pixels, without the perceptual loss, which is the same fixed network on both sides. As published, the
discriminator is not frozen in the generator's update, and the generator runs again for the discriminator's. The
constants were measured by running the published code (NVlabs/SPADE).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

PARAMETERS = (92_538_819, 5_566_594)  # generator, discriminator
SIZE, BATCH, GFLOP = 128, 1, 312.8
LABELS, FEATURE = 19, 10.0


class Spade(nn.Module):
    """Batch norm, scaled and shifted as two convolutions of the label map say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Sequential(nn.Conv2d(LABELS, 128, 3, padding=1), nn.ReLU())
        self.gamma, self.beta = nn.Conv2d(128, channels, 3, padding=1), nn.Conv2d(128, channels, 3, padding=1)

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        """Normalise x [N, channels, h, w] for a label map [N, LABELS, H, W]."""
        normal = self.norm(x)
        shared = self.shared(F.interpolate(segmap, size=x.shape[2:], mode="nearest"))
        return normal * (1 + self.gamma(shared)) + self.beta(shared)


class Block(nn.Module):
    """A residual block of SPADE and convolutions with spectral norm; the shortcut is learned if widths differ."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        middle = min(before, after)
        self.norm_0, self.conv_0 = Spade(before), spectral_norm(nn.Conv2d(before, middle, 3, padding=1))
        self.norm_1, self.conv_1 = Spade(middle), spectral_norm(nn.Conv2d(middle, after, 3, padding=1))
        self.learned = before != after
        if self.learned:
            self.norm_s, self.conv_s = Spade(before), spectral_norm(nn.Conv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        """Map [N, before, h, w] to [N, after, h, w]."""
        shortcut = self.conv_s(self.norm_s(x, segmap)) if self.learned else x
        h = self.conv_0(F.leaky_relu(self.norm_0(x, segmap), 0.2))
        h = self.conv_1(F.leaky_relu(self.norm_1(h, segmap), 0.2))
        return shortcut + h


class Generator(nn.Module):
    """Label map to image, with five doublings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(LABELS, 16 * width, 3, padding=1)
        pairs = [(16, 16), (16, 16), (16, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
        self.blocks = nn.ModuleList(Block(before * width, after * width) for before, after in pairs)
        self.up, self.last = nn.Upsample(scale_factor=2), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, segmap: Tensor) -> Tensor:
        """Map [N, LABELS, H, W] to images [N, 3, H, W] in [-1, 1]."""
        h = self.first(F.interpolate(segmap, size=[side // 32 for side in segmap.shape[2:]]))
        for number, block in enumerate(self.blocks):
            h = block(self.up(h) if number not in (0, 2) else h, segmap)
        return torch.tanh(self.last(F.leaky_relu(h, 0.2)))


class Scale(nn.Module):
    """The patch discriminator of one scale; returns the output of each layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Conv2d(LABELS + 3, width, 4, 2, 2), nn.LeakyReLU(0.2))])
        for factor, stride in ((1, 2), (2, 2), (4, 1)):
            conv = spectral_norm(nn.Conv2d(factor * width, 2 * factor * width, 4, stride, 2, bias=False))
            self.layers.append(nn.Sequential(conv, nn.InstanceNorm2d(2 * factor * width), nn.LeakyReLU(0.2)))
        self.layers.append(nn.Conv2d(8 * width, 1, 4, 1, 2))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of every layer; the last are the logits."""
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class Discriminator(nn.Module):
    """Two patch discriminators, the second at half the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(Scale(width) for _ in range(2))
        self.smaller = nn.AvgPool2d(3, 2, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """Return the outputs of each scale."""
        return [self.scales[0](x), self.scales[1](self.smaller(x))]


class SPADE:
    """Both networks, their optimizers, and the step: an update of the generator and one of the discriminator."""

    def __init__(self, width: int = 64) -> None:
        self.G, self.D = Generator(width), Discriminator(width)
        self.optimizer_g = torch.optim.Adam(self.G.parameters(), lr=1e-4, betas=(0.0, 0.9))
        self.optimizer_d = torch.optim.Adam(self.D.parameters(), lr=4e-4, betas=(0.0, 0.9))
        self.l1 = nn.L1Loss()

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G, D."""
        return self.G, self.D

    def encoded(self, label: Tensor) -> Tensor:
        """Return class indices [N, 1, H, W] as one channel per class."""
        shape = (len(label), LABELS, *label.shape[2:])
        return torch.zeros(shape, device=label.device).scatter_(1, label, 1.0)

    def judged(self, segmap: Tensor, fake: Tensor, real: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return the discriminator's outputs for fake and real images, which it sees in one batch."""
        both = self.D(torch.cat([torch.cat([segmap, fake], 1), torch.cat([segmap, real], 1)]))
        n = len(fake)
        return [[x[:n] for x in scale] for scale in both], [[x[n:] for x in scale] for scale in both]

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Do one training step on label maps A int64 [N, 1, H, W] and images B [N, 3, H, W] in [-1, 1]."""
        return self.train_g(batch["A"], batch["B"]) | self.train_d(batch["A"], batch["B"])

    def train_g(self, label: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Update the generator."""
        self.optimizer_g.zero_grad()
        segmap = self.encoded(label)
        fakes, reals = self.judged(segmap, self.G(segmap), real)
        gan = sum((-scale[-1].mean() for scale in fakes), torch.zeros((), device=real.device)) / len(fakes)
        feature = torch.zeros((), device=real.device)
        for fake, true in zip(fakes, reals, strict=True):
            for x, y in zip(fake[:-1], true[:-1], strict=True):
                feature = feature + self.l1(x, y.detach()) * FEATURE / len(fakes)
        (gan + feature).backward()
        self.optimizer_g.step()
        return {"G/gan": gan, "G/feature": feature}

    def train_d(self, label: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Update the discriminator, on images that the generator makes again."""
        self.optimizer_d.zero_grad()
        segmap = self.encoded(label)
        with torch.no_grad():
            fake = self.G(segmap)
        fakes, reals = self.judged(segmap, fake.detach(), real)
        zero = torch.zeros((), device=real.device)
        on_fake = sum((F.relu(1 + scale[-1]).mean() for scale in fakes), zero) / len(fakes)
        on_real = sum((F.relu(1 - scale[-1]).mean() for scale in reals), zero) / len(reals)
        (on_fake + on_real).backward()
        self.optimizer_d.step()
        return {"D/fake": on_fake, "D/real": on_real}
