"""DCGAN: strided convolutions from a 4x4 feature map up to the image, and from the image back down to 4x4.

Papers: DCGAN arXiv:1511.06434; for classes, conditional batch norm and the projection of arXiv:1802.05637.
Run with: `i2i run configs/dcgan.yaml`.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from ..errors import ConfigError
from .blocks import Norm, init_normal, norm_layer
from .conditional import ConditionalBatchNorm, Layers, by_label

BASE = 4  # pixels, height and width of the smallest feature map

DiscriminatorNorm = Literal["batch", "instance", "none", "spectral"]


class DCGANGenerator(nn.Module):
    """Latent codes to images: transposed 4x4 convolutions with batch norm and ReLU, then tanh.

    3,576,704 parameters for 3 channels, 64 px, codes of length 100, width 64 and no classes.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2 and at least 8.
        latent: length of a code.
        classes: number of classes, each with its own batch norm gains and biases; 0 for unconditional.
        width: channels of the last feature map; they double from each map to the one before it, up to 8 * width.

    Raises:
        ConfigError: unsupported size.

    Source: DCGAN of pytorch/examples, including its parameter count.
    """

    def __init__(self, channels: int, size: int, latent: int, classes: int = 0, /, width: PositiveInt = 64) -> None:
        super().__init__()
        widths = map_widths(size, width)[::-1]
        self.start = nn.ConvTranspose2d(latent, widths[0], BASE, bias=False)
        self.norms = nn.ModuleList(ConditionalBatchNorm(channel, by_label(classes)) for channel in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False) for before, after in pairwise([*widths, channels])
        )
        init_normal(self)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to images [N, C, H, W] in [-1, 1]."""
        h = self.start(z[:, :, None, None])
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(relu(norm(h, label)))
        return h.tanh()


class DCGANDiscriminator(nn.Module):
    """Images to one logit each: strided 4x4 convolutions with leaky ReLU.

    2,765,568 parameters for 3 channels, 64 px, width 64 and no classes.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2 and at least 8.
        classes: number of classes, with a projection of the summed last features; 0 for unconditional.
        width: channels of the first feature map; they double from each map to the next, up to 8 * width.
        norm: "batch" as published, "instance" or "none" (for the gradient penalty of `wgan_gp`), or "spectral"
            to normalise the weights instead (arXiv:1802.05957).

    Raises:
        ConfigError: unsupported size.

    Source: DCGAN of pytorch/examples, including its parameter count; projection arXiv:1802.05637.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: DiscriminatorNorm = "batch",
    ) -> None:
        super().__init__()
        widths = map_widths(size, width)
        between: Norm = "none" if norm == "spectral" else norm
        layers = Layers(partial(nn.init.normal_, std=0.02), spectral_norm=norm == "spectral")
        self.convs = nn.ModuleList(
            layers.conv(before, after, 4, stride=2, padding=1, bias=between == "none")
            for before, after in pairwise([channels, *widths])
        )
        self.norms = nn.ModuleList(norm_layer(between if n else "none", after) for n, after in enumerate(widths))
        self.last = layers.conv(widths[-1], 1, BASE, padding=0, bias=False)
        self.table = layers.embedding(classes, widths[-1]) if classes else None
        init_normal(self.norms)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, if there are classes, matches its label."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(conv(x)), 0.2)
        logit = self.last(x).flatten(1)
        return logit if self.table is None else logit + (self.table(label) * x.sum((2, 3))).sum(1, keepdim=True)


def map_widths(size: int, width: int) -> list[int]:
    """Return the channels of the feature maps from half of `size` down to 4 pixels."""
    halvings = (size // BASE).bit_length() - 1
    if halvings < 1 or size != BASE * 2**halvings:
        raise ConfigError(
            f"the dcgan, sngan and biggan networks need a size of {BASE} times a power of 2, and {size} is not: "
            f"use a size such as 32 or 64, or dense_generator and dense_discriminator"
        )
    return [width * min(2**n, 8) for n in range(halvings)]
