"""Networks of DF-GAN: a generator with text fused into every block, and a discriminator that text joins at 4x4.

Paper: arXiv:2008.05865. Run with: `i2i run configs/paper/df_gan.yaml`, which has the published sizes.

Every discriminator of this plugin works in two halves, so that one pass over a picture serves several captions:
`features(image)`, and `judge(features, sentence)` -> logits.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from i2i import ConfigError

BASE = 4  # pixels of the smallest feature map


class Affine(nn.Module):
    """Scale and shift of each channel, both functions of the condition; the identity at first.

    Args:
        condition: length of the condition.
        channels: channels of the feature map.

    Source: arXiv:2008.05865 eq. 2 and 3; the published code for sizes and initial values.
    """

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.gain, self.bias = (constant_at_first(condition, channels, value) for value in (1.0, 0.0))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Transform x [N, channels, H, W] by the condition [N, D]."""
        return torch.addcmul(self.bias(condition)[:, :, None, None], x, self.gain(condition)[:, :, None, None])


def constant_at_first(condition: int, channels: int, value: float) -> nn.Sequential:
    """Return two linear layers whose result is `value` until they are trained."""
    last = nn.Linear(channels, channels)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)
    return nn.Sequential(nn.Linear(condition, channels), nn.ReLU(), last)


class Fusion(nn.Module):
    """Text-image fusion: twice an affine transformation and leaky ReLU. Source: arXiv:2008.05865, figure 4."""

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.affine_0, self.affine_1 = Affine(condition, channels), Affine(condition, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Fuse x [N, channels, H, W] with the condition [N, D]."""
        h = leaky_relu(self.affine_0(x, condition), 0.2)
        return leaky_relu(self.affine_1(h, condition), 0.2)


class UpBlock(nn.Module):
    """Upsampling residual block: nearest x2, then twice fusion and a 3x3 convolution.

    Args:
        condition: length of the condition.
        channels, out: input and output channels.
    """

    def __init__(self, condition: int, channels: int, out: int) -> None:
        super().__init__()
        self.fuse_0, self.fuse_1 = Fusion(condition, channels), Fusion(condition, out)
        self.conv_0, self.conv_1 = nn.Conv2d(channels, out, 3, 1, 1), nn.Conv2d(out, out, 3, 1, 1)
        self.conv_s = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, 2H, 2W]."""
        shortcut = interpolate(self.conv_s(x), scale_factor=2.0)  # the same as after upsampling, for a quarter
        h = self.conv_0(interpolate(self.fuse_0(x, condition), scale_factor=2.0))
        return shortcut + self.conv_1(self.fuse_1(h, condition))


class DFGANGenerator(nn.Module):
    """Codes and sentence embeddings to images: one stage, with the text fused into every block.

    Published: 4,868,867 parameters at 64 px and 9,744,131 at 256 px, with codes of length 100 and text of 256.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2.
        latent: length of a code.
        text: length of a sentence embedding.
        width: channels of the last feature map.
        widest: channels double from each map to the one before it, up to `widest` times `width`.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:2008.05865, section 3.1 and figure 2; the published code, whose parameter counts it reproduces.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        text: int,
        /,
        width: PositiveInt = 32,
        widest: PositiveInt = 8,
    ) -> None:
        super().__init__()
        widths = map_widths("df_gan_generator", size, width, widest)[::-1]
        self.start = nn.Linear(latent, widths[0] * BASE**2)
        self.blocks = nn.ModuleList(UpBlock(latent + text, *pair) for pair in pairwise(widths))
        self.end = nn.Conv2d(widths[-1], channels, 3, 1, 1)

    def forward(self, z: Tensor, sentence: Tensor) -> Tensor:
        """Map codes [N, latent] and sentences [N, text] to images [N, C, H, W] in [-1, 1]."""
        condition = torch.cat([z, sentence], 1)
        h = self.start(z).unflatten(1, (-1, BASE, BASE)).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, condition)
        return torch.tanh(self.end(leaky_relu(h, 0.2)))


class DownBlock(nn.Module):
    """Halving residual block: a 4x4 convolution of stride 2 and a 3x3 one, with a gain that is 0 at first."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv_0 = nn.Conv2d(channels, out, 4, 2, 1, bias=False)
        self.conv_1 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.conv_s = nn.Conv2d(channels, out, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, H/2, W/2]."""
        h = leaky_relu(self.conv_1(leaky_relu(self.conv_0(x), 0.2)), 0.2)
        return self.conv_s(avg_pool2d(x, 2)) + self.gain * h  # pooled first: the same, for a quarter


class DFGANDiscriminator(nn.Module):
    """Images and sentence embeddings to one logit each; the sentence joins at 4x4.

    Published: 3,210,820 parameters at 64 px and 6,619,206 at 256 px, and 295,936 in the head, for text of 256.

    Args:
        channels: image channels.
        size: image height and width, 4 times a power of 2.
        text: length of a sentence embedding.
        width: channels of the first feature map.
        widest: channels double from each map to the next, up to `widest` times `width`.

    Raises:
        ConfigError: unsupported size.

    Source: arXiv:2008.05865, section 3.1 and figure 2; the published code, whose parameter counts it reproduces.
    """

    def __init__(
        self, channels: int, size: int, text: int, /, width: PositiveInt = 32, widest: PositiveInt = 8
    ) -> None:
        super().__init__()
        widths = map_widths("df_gan_discriminator", size, width, widest)
        self.start = nn.Conv2d(channels, width, 3, 1, 1)
        self.blocks = nn.Sequential(*(DownBlock(*pair) for pair in pairwise(widths)))
        self.head = nn.Sequential(
            nn.Conv2d(widths[-1] + text, 2 * width, 3, 1, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, BASE, bias=False),
        )

    def features(self, image: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F, 4, 4]."""
        return self.blocks(self.start(image.contiguous(memory_format=torch.channels_last)))

    def judge(self, features: Tensor, sentence: Tensor) -> Tensor:
        """Return logits [N, 1], high where features [N, F, 4, 4] look real and match the sentences [N, text]."""
        maps = sentence[:, :, None, None].expand(-1, -1, BASE, BASE)
        return self.head(torch.cat([features, maps], 1)).flatten(1)

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        """Return logits [N, 1] of images [N, C, H, W] in [-1, 1] with sentences [N, text]."""
        return self.judge(self.features(image), sentence)


def map_widths(name: str, size: int, width: int, widest: int) -> list[int]:
    """Return the channels of the feature maps from the image size down to 4x4.

    Raises:
        ConfigError: the size is not 4 times a power of 2.
    """
    halvings = (size // BASE).bit_length() - 1
    if halvings < 1 or size != BASE * 2**halvings:
        raise ConfigError(f"{name}: {size} pixels are not supported: use 4 times a power of 2, e.g. 32, 64 or 256")
    return [width * min(2**n, widest) for n in range(halvings + 1)]
