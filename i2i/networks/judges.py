"""Discriminators for super-resolution: the VGG-style one of SRGAN and ESRGAN, and Real-ESRGAN's U-Net.

Papers: SRGAN arXiv:1609.04802, ESRGAN arXiv:1809.00219, Real-ESRGAN arXiv:2107.10833.
Run with: `i2i run configs/real/superres_gan.yaml` (`discriminator: {use: unet_discriminator}`).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .spectral_norm import spectral


class VGGDiscriminator(nn.Module):
    """Images of a fixed size to one logit each: pairs of a plain and a stride-2 convolution, then two linear layers.

    The defaults are ESRGAN's for 128 pixels, 14,499,401 parameters as published. SRGAN's for 96 pixels is
    `size: 96, halvings: 4, kernel: 3, hidden: 1024`, 23,563,649 parameters.

    Args:
        size: image height and width, a multiple of 2**halvings.
        width: channels after the first convolution; they double with each pair, up to 8 * width.
        halvings: number of pairs of convolutions.
        kernel: kernel size of the stride-2 convolutions.
        hidden: units of the hidden linear layer.

    Raises:
        ConfigError: `size` is not a multiple of 2**halvings.

    Source: BasicSR (VGGStyleDiscriminator), including its parameter count; arXiv:1609.04802, figure 4.

    Example:
        >>> VGGDiscriminator(size=32, width=4)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        size: PositiveInt = 128,
        width: PositiveInt = 64,
        halvings: PositiveInt = 5,
        kernel: Literal[3, 4] = 4,
        hidden: PositiveInt = 100,
    ) -> None:
        super().__init__()
        if size % 2**halvings:
            raise ConfigError(
                f"vgg_discriminator cannot halve {size} pixels {halvings} times: use a multiple of {2**halvings}"
            )
        self.size = size
        layers: list[nn.Module] = []
        before = 3
        for n in range(halvings):
            out = width * min(2**n, 8)
            layers += [nn.Conv2d(before, out, 3, 1, 1, bias=n == 0)]
            layers += [nn.LeakyReLU(0.2)] if n == 0 else [nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(out, out, kernel, 2, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
            before = out
        left = (size // 2**halvings) ** 2 * before
        ends = nn.Linear(left, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        self.body = nn.Sequential(*layers, nn.Flatten(), *ends)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, 1], high where x [N, 3, size, size] in [-1, 1] looks real.

        Raises:
            DataError: x has another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            raise DataError(
                f"vgg_discriminator was built for {self.size}x{self.size} pixels and got "
                f"{x.shape[-2]}x{x.shape[-1]}: set its size and data.size to the same value"
            )
        return self.body(x)


class UnetDiscriminator(nn.Module):
    """Images to one logit per pixel: a U-Net of three scales with additive skips and spectral norm.

    4,376,897 parameters.

    Args:
        width: channels after the first convolution; 8 times as many at 1/8 of the resolution.

    Source: arXiv:2107.10833, figure 6; the published code.

    Example:
        >>> UnetDiscriminator(width=4)(torch.zeros(2, 3, 32, 40)).shape
        torch.Size([2, 1, 32, 40])
    """

    def __init__(self, width: PositiveInt = 64) -> None:
        super().__init__()

        def conv(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
            return spectral(nn.Conv2d(channels, out, kernel, stride, 1, bias=False))

        w = width
        self.head = nn.Conv2d(3, w, 3, 1, 1)
        self.downs = nn.ModuleList([conv(w, 2 * w, 4, 2), conv(2 * w, 4 * w, 4, 2), conv(4 * w, 8 * w, 4, 2)])
        self.ups = nn.ModuleList([conv(8 * w, 4 * w), conv(4 * w, 2 * w), conv(2 * w, w)])
        self.tail = nn.Sequential(
            conv(w, w), nn.LeakyReLU(0.2), conv(w, w), nn.LeakyReLU(0.2), nn.Conv2d(w, 1, 3, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, 1, H, W], high where x [N, 3, H, W] in [-1, 1] looks real.

        Raises:
            DataError: height or width is not a multiple of 8.
        """
        if x.shape[-2] % 8 or x.shape[-1] % 8:
            raise DataError(
                f"an image of {x.shape[-2]}x{x.shape[-1]} pixels does not fit unet_discriminator, which halves it "
                f"three times: height and width must be multiples of 8 (in a config: data.size)"
            )
        maps = [F.leaky_relu(self.head(x), 0.2)]
        for down in self.downs:
            maps.append(F.leaky_relu(down(maps[-1]), 0.2))
        h = maps.pop()
        for up in self.ups:
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            h = F.leaky_relu(up(h), 0.2) + maps.pop()
        return self.tail(h)
