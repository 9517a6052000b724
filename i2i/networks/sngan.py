"""Residual generator and discriminator of SNGAN and SAGAN, with optional classes, attention and spectral norm.

Papers: SNGAN arXiv:1802.05957, projection arXiv:1802.05637, SAGAN arXiv:1805.08318.
Run with: `i2i run configs/sngan.yaml`, `i2i run configs/sagan.yaml`.

    {use: sngan_generator, width: 256}                                                # SNGAN at 32 px
    {use: sngan_generator, width: 64, widest: 16, spectral_norm: true, attention: 32}     # SAGAN at 128 px
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from ..errors import ConfigError
from .conditional import ConditionalBatchNorm, Layers, Projection, SelfAttention, by_label, sum_pool
from .dcgan import BASE, map_widths


def glorot(weight: Tensor) -> Any:
    """Glorot initialisation, with a gain of sqrt 2 for 3x3 convolutions and 1 otherwise. Source: pfnet's code."""
    return nn.init.xavier_uniform_(weight, math.sqrt(2) if weight.shape[2:] == (3, 3) else 1.0)


class UpBlock(nn.Module):
    """Upsampling residual block: twice (norm, ReLU, conv3), upsampled before the first conv3, and a conv1 shortcut.

    The shortcut is convolved before it is upsampled: the same result for a quarter of the work.

    Args:
        channels: input channels.
        out: output channels.
        layers: factory of its convolutions.
        norm: channels -> norm layer, which is called with the feature map and the condition.
    """

    def __init__(self, channels: int, out: int, layers: Layers, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm_0, self.norm_1 = norm(channels), norm(out)
        self.conv_0, self.conv_1 = layers.conv(channels, out), layers.conv(out, out)
        self.conv_s = layers.conv(channels, out, 1)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, 2H, 2W]."""
        h = self.conv_0(upsample(relu(self.norm_0(x, condition))))
        return self.conv_1(relu(self.norm_1(h, condition))) + upsample(self.conv_s(x))


class DownBlock(nn.Module):
    """Downsampling residual block: twice (ReLU, conv3), then average pooling, and a conv1 shortcut where needed.

    Args:
        channels: input channels.
        out: output channels.
        layers: factory of its convolutions.
        halve: halve height and width.
        first: the input is the image, so it gets no ReLU.
    """

    def __init__(self, channels: int, out: int, layers: Layers, halve: bool = True, first: bool = False) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv_0, self.conv_1 = layers.conv(channels, out), layers.conv(out, out)
        self.conv_s = layers.conv(channels, out, 1) if halve or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, H/2, W/2], or [N, out, H, W]."""
        h = self.conv_1(relu(self.conv_0(x if self.first else relu(x))))
        if self.halve:
            h, x = avg_pool2d(h, 2), avg_pool2d(x, 2)
        return h + self.conv_s(x)


class SNGANGenerator(nn.Module):
    """Latent codes to images: a linear layer to a 4x4 feature map, then residual blocks that upsample it.

    SNGAN: 4,276,739 parameters for 3 channels, 32 px, codes of length 128 and no classes. With 10 classes and
    spectral norm 4,304,387, as in BigGAN's code for CIFAR-10.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2 and at least 8.
        latent: length of a code.
        classes: number of classes, each with its own batch norm gains and biases; 0 for unconditional.
        width: channels of the last feature map.
        widest: channels double from each map to the one before it, up to `widest` times `width`: 1 for SNGAN at 32
            px, 16 for SAGAN at 128 px.
        spectral_norm: divide the weights by their largest singular values, as SAGAN does.
        attention: resolution of the feature map with self-attention; 0 for none.

    Raises:
        ConfigError: unsupported size, or no feature map of resolution `attention`.

    Source: arXiv:1802.05957 table 4 and arXiv:1805.08318; pfnet's code, whose parameter count it reproduces.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        classes: int = 0,
        /,
        width: PositiveInt = 256,
        widest: PositiveInt = 1,
        spectral_norm: bool = False,
        attention: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        layers = Layers(glorot, spectral_norm)
        widths = generator_widths(size, width, widest)
        check_attention("sngan_generator", attention, [BASE * 2 ** (n + 1) for n in range(len(widths) - 1)])
        self.start = layers.linear(latent, widths[0] * BASE**2)
        parts: list[nn.Module] = []
        for n, (before, after) in enumerate(pairwise(widths)):
            parts += [UpBlock(before, after, layers, lambda c: ConditionalBatchNorm(c, by_label(classes)))]
            parts += [SelfAttention(after, layers)] if attention == BASE * 2 ** (n + 1) else []
        self.parts = nn.ModuleList(parts)
        self.end = nn.Sequential(nn.BatchNorm2d(widths[-1]), nn.ReLU(), layers.conv(widths[-1], channels), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to images [N, C, H, W] in [-1, 1]."""
        h = self.start(z).unflatten(1, (-1, BASE, BASE))
        for part in self.parts:
            h = part(h, label) if isinstance(part, UpBlock) else part(h)
        return self.end(h)


class SNGANDiscriminator(nn.Module):
    """Images to one logit each: residual blocks with spectral norm, a sum over all positions, a projection head.

    SNGAN: 1,053,824 parameters for 3 channels, 32 px and no classes.

    Args:
        channels: image channels.
        size: image height and width, `smallest` times a power of 2 and larger than `smallest`.
        classes: number of classes, with a projection of the features; 0 for unconditional.
        width: channels of the first feature map.
        widest: channels double from each map to the next, up to `widest` times `width`: 1 for SNGAN at 32 px, 16 for
            SAGAN at 128 px.
        smallest: resolution of the last feature map: 8 for SNGAN, 4 for SAGAN.
        plain: number of blocks at that resolution which do not downsample: 2 for SNGAN, 1 for SAGAN.
        attention: resolution of the feature map with self-attention; 0 for none.
        bias: whether the last layer has a bias.

    Raises:
        ConfigError: unsupported size, or no feature map of resolution `attention`.

    Source: arXiv:1802.05957 table 4 and arXiv:1805.08318; pfnet's code, whose parameter count it reproduces.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 128,
        widest: PositiveInt = 1,
        smallest: PositiveInt = 8,
        plain: NonNegativeInt = 2,
        attention: NonNegativeInt = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.head = residual_discriminator(
            Layers(glorot, True), channels, size, classes, width, widest, smallest, plain, attention, bias
        )

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, if there are classes, matches its label."""
        return self.head(sum_pool(self.body(x)), label)


def residual_discriminator(
    layers: Layers,
    channels: int,
    size: int,
    classes: int,
    width: int,
    widest: int,
    smallest: int,
    plain: int,
    attention: int,
    bias: bool,
) -> tuple[nn.Sequential, Projection]:
    """Return the blocks and the head of a residual discriminator; arguments as in `SNGANDiscriminator`."""
    halvings = (size // smallest).bit_length() - 1
    if halvings < 1 or size != smallest * 2**halvings:
        raise ConfigError(f"discriminator: {size} pixels cannot be halved down to {smallest}: change its `smallest`")
    check_attention("discriminator", attention, [size // 2 ** (n + 1) for n in range(halvings)])
    parts: list[nn.Module] = []
    before = channels
    for n in range(halvings + plain):
        after = width * min(2**n, widest)
        parts += [DownBlock(before, after, layers, halve=n < halvings, first=n == 0)]
        parts += [SelfAttention(after, layers)] if n < halvings and attention == size // 2 ** (n + 1) else []
        before = after
    return nn.Sequential(*parts), Projection(before, classes, layers, bias)


def generator_widths(size: int, width: int, widest: int) -> list[int]:
    """Return the channels of a generator's feature maps, from 4x4 to the image size."""
    steps = len(map_widths(size, 1))
    return [width * min(2**n, widest) for n in reversed(range(steps + 1))]


def check_attention(name: str, attention: int, sides: list[int]) -> None:
    """Raise ConfigError unless a feature map has the resolution `attention`, or it is 0."""
    if attention and attention not in sides:
        raise ConfigError(
            f"{name}: no feature map is {attention} pixels wide for attention; possible: "
            f"{', '.join(map(str, sides))}, or 0 for none"
        )


def upsample(x: Tensor) -> Tensor:
    """Double height and width by nearest neighbour."""
    return interpolate(x, scale_factor=2, mode="nearest")
