"""Networks of StackGAN: a generator of small pictures, one that enlarges them, and their discriminators.

Paper: arXiv:1612.03242. Run with: `i2i run configs/paper/stackgan.yaml`, which has the published sizes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu

from .networks import BASE, map_widths


class Condition(NamedTuple):
    """What conditioning augmentation returns: a random condition [N, D] for G, its mean for D, and the divergence."""

    drawn: Tensor
    mean: Tensor
    kl: Tensor


class ConditioningAugmentation(nn.Module):
    """Sentence embeddings to random conditions c ~ N(mu, sigma^2), so that similar sentences overlap.

    In eval mode, c is mu.

    Args:
        text: length of a sentence embedding.
        width: length of a condition.

    Source: arXiv:1612.03242 section 3.2; the ReLU and the mean over all values of the KL divergence are the published
    code's.
    """

    def __init__(self, text: int, /, width: PositiveInt = 128) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(text, 2 * width)

    def forward(self, sentence: Tensor) -> Condition:
        """Map sentences [N, text] to conditions [N, width]."""
        mean, logvar = relu(self.linear(sentence)).chunk(2, 1)
        drawn = mean + torch.randn_like(mean) * (logvar / 2).exp() if self.training else mean
        kl = (mean.square() + logvar.exp() - 1 - logvar).mean() / 2  # eq. 2
        return Condition(drawn, mean, kl)


def up(channels: int, out: int) -> nn.Sequential:
    """Return a block that doubles height and width: nearest neighbour, conv3, batch norm, ReLU."""
    return nn.Sequential(nn.Upsample(scale_factor=2), *same(channels, out))


def same(channels: int, out: int, slope: float = 0.0) -> list[nn.Module]:
    """Return conv3, batch norm and (leaky) ReLU."""
    return [nn.Conv2d(channels, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(slope)]


def down(channels: int, out: int, slope: float = 0.2) -> list[nn.Module]:
    """Return a conv4 of stride 2, batch norm and (leaky) ReLU."""
    return [nn.Conv2d(channels, out, 4, 2, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(slope)]


class StackGANGenerator(nn.Module):
    """Stage I: codes and conditions to small pictures.

    Published for COCO, with text of 1024: 20,020,832 parameters including those of the conditioning augmentation.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2; 64 in the paper.
        latent: length of a code.
        text: length of a condition.
        width: an eighth of the channels of the first feature map; they halve with each.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:1612.03242 section 3.3; the published code, whose parameter count it reproduces.
    """

    def __init__(self, channels: int, size: int, latent: int, text: int, /, width: PositiveInt = 192) -> None:
        super().__init__()
        steps = len(map_widths("stackgan_generator", size, 1, 1)) - 1
        widths = [max(1, 8 * width // 2**n) for n in range(steps + 1)]
        first = widths[0] * BASE**2
        self.start = nn.Sequential(nn.Linear(latent + text, first, bias=False), nn.BatchNorm1d(first), nn.ReLU())
        self.blocks = nn.Sequential(*(up(*pair) for pair in pairwise(widths)))
        self.end = nn.Conv2d(widths[-1], channels, 3, 1, 1, bias=False)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """Map codes [N, latent] and conditions [N, text] to images [N, C, H, W] in [-1, 1]."""
        h = self.start(torch.cat([condition, z], 1)).unflatten(1, (-1, BASE, BASE))
        return torch.tanh(self.end(self.blocks(h)))


class Residual(nn.Module):
    """Residual block: conv3, batch norm, ReLU, conv3, batch norm, the sum, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *same(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to the same shape."""
        return relu(x + self.body(x))


class StackGANRefiner(nn.Module):
    """Stage II: small pictures and conditions to pictures of four times the height and width.

    Published for COCO: 57,151,312 parameters together with stage I and both conditioning augmentations.

    Args:
        channels: image channels.
        text: length of a condition.
        width: channels after the first convolution.
        blocks: residual blocks; 2 for COCO, 4 for birds and flowers.

    Source: arXiv:1612.03242 section 3.4; the published code, whose parameter count it reproduces.
    """

    scale = 4

    def __init__(self, channels: int, text: int, /, width: PositiveInt = 192, blocks: NonNegativeInt = 2) -> None:
        super().__init__()
        w = width
        self.encode = nn.Sequential(
            nn.Conv2d(channels, w, 3, 1, 1, bias=False), nn.ReLU(), *down(w, 2 * w, 0.0), *down(2 * w, 4 * w, 0.0)
        )
        self.join = nn.Sequential(*same(text + 4 * w, 4 * w))
        self.blocks = nn.Sequential(*(Residual(4 * w) for _ in range(blocks)))
        widths = [4 * w, 2 * w, w, max(1, w // 2), max(1, w // 4)]
        self.grow = nn.Sequential(*(up(*pair) for pair in pairwise(widths)))
        self.end = nn.Conv2d(widths[-1], channels, 3, 1, 1, bias=False)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Map images [N, C, H, W] and conditions [N, text] to images [N, C, 4H, 4W] in [-1, 1]."""
        h = self.encode(image)
        maps = condition[:, :, None, None].expand(-1, -1, *h.shape[2:])
        return torch.tanh(self.end(self.grow(self.blocks(self.join(torch.cat([maps, h], 1))))))


class StackGANDiscriminator(nn.Module):
    """Pictures and conditions to logits; the condition joins at 4x4.

    Published for COCO: 12,407,425 parameters at 64 px, and 159,889,538 at 256 px with `unconditional`.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2.
        text: length of a condition.
        width: channels of the first feature map; they double with each, and fall to 8 times `width` at the end.
        unconditional: a second head, which judges the picture alone, as in stage II.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:1612.03242 sections 3.3 and 3.4; the published code, whose parameter counts it reproduces.
    """

    def __init__(
        self, channels: int, size: int, text: int, /, width: PositiveInt = 96, unconditional: bool = False
    ) -> None:
        super().__init__()
        widths = map_widths("stackgan_discriminator", size, width, size)[:-1]
        parts = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for pair in pairwise(widths):
            parts += down(*pair)
        top = widths[-1]
        while top > 8 * width:
            parts += same(top, top // 2, 0.2)
            top //= 2
        self.body = nn.Sequential(*parts)
        self.with_text = nn.Sequential(*same(top + text, top, 0.2), nn.Conv2d(top, 1, BASE))
        self.alone = nn.Conv2d(top, 1, BASE) if unconditional else None

    def features(self, image: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F, 4, 4]."""
        return self.body(image)

    def judge(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return logits of features [N, F, 4, 4] and conditions [N, text].

        [N, 1], or [N, 2] if `unconditional`: the second is high where the picture looks real, whatever its caption.
        """
        maps = condition[:, :, None, None].expand(-1, -1, BASE, BASE)
        logits = self.with_text(torch.cat([maps, features], 1)).flatten(1)
        return logits if self.alone is None else torch.cat([logits, self.alone(features).flatten(1)], 1)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return logits [N, 1 or 2] of images [N, C, H, W] in [-1, 1] with conditions [N, text]."""
        return self.judge(self.features(image), condition)
