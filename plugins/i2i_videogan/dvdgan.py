"""The networks of DVD-GAN: a generator of ConvGRUs, a discriminator of a few frames and one of the motion.

Paper: arXiv:1907.06571, section 3 and appendix A. No code was published. Run with: `i2i run configs/videogan.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate, relu

from i2i import ConfigError
from i2i.networks import BigGANDiscriminator, ConditionalBatchNorm, Layers, SelfAttention, spectral

from .frames import SMALLEST, ConvGRU, each, widths_for

Norm = Callable[[int], nn.Module]


class Repeated(nn.Module):
    """A linear map of the condition [N, D] to the channels of a frame, repeated for all frames: [N, T * channels]."""

    def __init__(self, linear: nn.Module, frames: int) -> None:
        super().__init__()
        self.linear, self.frames = linear, frames

    def forward(self, condition: Tensor) -> Tensor:
        return self.linear(condition).repeat(1, self.frames)


class Block(nn.Module):
    """Residual block of the generator: twice (norm, ReLU, conv3), optionally upsampled, and a conv1 shortcut.

    Args:
        channels: input channels.
        out: output channels.
        layers: factory of its convolutions.
        norm: channels -> normalisation of [N, T * channels, H, W], given the condition.
        enlarge: double height and width before the first convolution.
    """

    def __init__(self, channels: int, out: int, layers: Layers, norm: Norm, enlarge: bool) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.norm_0, self.norm_1 = norm(channels), norm(out)
        self.conv_0, self.conv_1 = layers.conv(channels, out), layers.conv(out, out)
        self.conv_s = layers.conv(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x [N, T, channels, H, W] to [N, T, out, H, W], or to twice the height and width."""
        h = each(self._sized, relu(normalised(self.norm_0, x, condition)))
        h = relu(normalised(self.norm_1, each(self.conv_0, h), condition))
        return each(self.conv_1, h) + each(self._sized, each(self.conv_s, x))

    def _sized(self, x: Tensor) -> Tensor:
        return interpolate(x, scale_factor=2, mode="nearest") if self.enlarge else x


def normalised(norm: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    """Normalise clips [N, T, C, H, W], each frame number with its own statistics (section 3.1)."""
    return norm(x.flatten(1, 2), condition).unflatten(1, x.shape[1:3])


class Group(nn.Module):
    """A ConvGRU over the frames, then two residual blocks on each frame, of which the second doubles its size."""

    def __init__(self, channels: int, out: int, layers: Layers, norm: Norm, attention: bool) -> None:
        super().__init__()
        self.recurrent = ConvGRU(channels, channels, layers.conv)
        self.attention = SelfAttention(channels, layers) if attention else nn.Identity()
        self.block_0 = Block(channels, channels, layers, norm, enlarge=False)
        self.block_1 = Block(channels, out, layers, norm, enlarge=True)

    def forward(self, x: Tensor, frames: int, condition: Tensor) -> Tensor:
        """Map x [N, T or 1, channels, H, W] to [N, T, out, 2H, 2W]."""
        h = each(self.attention, self.recurrent(x, frames))
        return self.block_1(self.block_0(h, condition), condition)


class DVDGANGenerator(nn.Module):
    """Codes and classes to clips: a 4x4 map, then groups of a ConvGRU over the frames and two residual blocks.

    The condition [z; class embedding] is mapped to a 4x4 map, the input of the first ConvGRU in every frame, and to
    the gains and biases of all batch norms. The second block of each group doubles height and width. Batch norms do
    not average over time, so frames do not exchange information through them.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip.
        classes: number of classes; 0 for unconditional.
        content: length of a code z.
        shared: length of the class embedding.
        width: channels of the last feature map.
        widest: channels double from each map to the one before it, up to `widest` times `width`.
        attention: resolution of the feature maps with self-attention, each frame on its own; 0 for none.
        spectral_norm: divide the weights by their largest singular values.

    Attributes:
        latent: length of a code.

    Raises:
        ConfigError: unsupported size, or no feature map of resolution `attention`.

    Source: arXiv:1907.06571, section 3.1.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        content: PositiveInt = 120,
        shared: PositiveInt = 120,
        width: PositiveInt = 96,
        widest: PositiveInt = 8,
        attention: NonNegativeInt = 0,
        spectral_norm: bool = True,
    ) -> None:
        super().__init__()
        self.frames, self.latent = frames, content
        layers = Layers(nn.init.orthogonal_, spectral_norm)
        condition = content + (shared if classes else 0)
        sides = [SMALLEST * 2**n for n in range(len(widths_for(size, width, widest)))]
        if attention and attention not in sides:
            shown = ", ".join(map(str, sides))
            raise ConfigError(f"dvdgan_generator: no feature map is {attention} pixels wide; possible: {shown}, or 0")

        def norm(features: int) -> nn.Module:
            return ConditionalBatchNorm(
                features * frames,
                lambda out: Repeated(layers.linear(condition, out // frames, bias=False), frames),
            )

        self.table = nn.Embedding(classes, shared) if classes else None
        if self.table is not None:
            nn.init.orthogonal_(self.table.weight)
        widths = [*widths_for(size, width, widest)[::-1], width]
        self.start = layers.linear(condition, widths[0] * SMALLEST**2)
        self.groups = nn.ModuleList(
            Group(before, after, layers, norm, attention=side == attention)
            for side, (before, after) in zip(sides, pairwise(widths), strict=True)
        )
        self.end = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), layers.conv(width, channels), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        condition = z if self.table is None else torch.cat([z, self.table(label)], 1)
        h = self.start(condition).unflatten(1, (-1, SMALLEST, SMALLEST))[:, None]
        for group in self.groups:
            h = group(h, self.frames, condition)
        return each(self.end, h)


class SpatialDiscriminator(nn.Module):
    """D_S: BigGAN's discriminator on a few frames of full size; the logits of the frames of a clip are summed.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        classes: number of classes, with a projection; 0 for unconditional.
        width: channels of the first feature map.
        widest: channels double from each map to the next, up to `widest` times `width`.
        attention: resolution of the feature map with self-attention; 0 for none.

    Source: arXiv:1907.06571, section 3.2.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 96,
        widest: PositiveInt = 16,
        attention: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.judge = BigGANDiscriminator(channels, size, classes, width=width, widest=widest, attention=attention)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map frames [N, K, C, H, W], and labels int64 [N] if there are classes, to logits [N, 1]."""
        repeated = None if label is None else label.repeat_interleave(x.shape[1])
        return self.judge(x.flatten(0, 1), repeated).unflatten(0, x.shape[:2]).sum(1)


class Down(nn.Module):
    """Residual block of a discriminator: twice (ReLU, conv3), average pooling, and a conv1 shortcut.

    Args:
        dims: 2 for images, 3 for clips, which are pooled over time too.
        channels: input channels.
        out: output channels.
        halve: pool.
        first: the input is the clip, so it gets no ReLU.
    """

    def __init__(self, dims: int, channels: int, out: int, halve: bool, first: bool) -> None:
        super().__init__()
        self.pool = (avg_pool2d if dims == 2 else avg_pool3d) if halve else None
        self.first = first
        self.conv_0, self.conv_1 = convolution(dims, channels, out), convolution(dims, out, out)
        self.conv_s = convolution(dims, channels, out, 1) if halve or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, (T,) H, W] to [N, out, (T/2,) H/2, W/2], or to the same size."""
        h = self.conv_1(relu(self.conv_0(x if self.first else relu(x))))
        if self.pool:
            h, x = self.pool(h, 2), self.pool(x, 2)
        return h + self.conv_s(x)


def convolution(dims: int, channels: int, out: int, kernel: int = 3) -> nn.Module:
    """Return a convolution of images or clips with spectral norm; sizes are kept."""
    conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
    layer = conv(channels, out, kernel, padding=kernel // 2)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return spectral(layer)


class TemporalDiscriminator(nn.Module):
    """D_T: all frames, averaged over 2x2 pixels; two residual blocks of 3x3x3 convolutions, then 2-D ones per frame.

    The last features are summed over positions and frames.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2 and at least 16.
        frames: frames of a clip, at least 4.
        classes: number of classes, with a projection; 0 for unconditional.
        width: channels of the first feature map.
        widest: channels double from each map to the next, up to `widest` times `width`.
        pool: pixels averaged along height and width before the first block: 2 in the paper, 1 for none.

    Raises:
        ConfigError: unsupported size, or too few frames.

    Source: arXiv:1907.06571, section 3.2; pooling over time in the 3-D blocks is our choice.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        width: PositiveInt = 96,
        widest: PositiveInt = 16,
        pool: PositiveInt = 2,
    ) -> None:
        super().__init__()
        if frames < 4:
            raise ConfigError(f"temporal_discriminator needs at least 4 frames: task.frames is {frames}")
        self.pool = pool
        halvings = len(widths_for(size // pool, width, widest))
        parts: list[nn.Module] = []
        before = channels
        for n in range(max(halvings, 2) + 1):
            after = width * min(2**n, widest)
            parts.append(Down(3 if n < 2 else 2, before, after, halve=n < halvings, first=n == 0))
            before = after
        self.clips, self.images = nn.Sequential(*parts[:2]), nn.Sequential(*parts[2:])
        self.linear = spectral(nn.Linear(before, 1))
        self.table = spectral(nn.Embedding(classes, before)) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map clips [N, T, C, H, W], and labels int64 [N] if there are classes, to logits [N, 1]."""
        pooled = each(lambda frame: avg_pool2d(frame, self.pool), x)
        h = self.clips(pooled.transpose(1, 2)).transpose(1, 2)
        h = relu(each(self.images, h)).sum((1, 3, 4))
        logit = self.linear(h)
        return logit if self.table is None else logit + (self.table(label) * h).sum(1, keepdim=True)
