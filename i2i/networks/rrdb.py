"""ESRGAN's generator: residual-in-residual dense blocks.

Paper: ESRGAN arXiv:1809.00219. Run with: `i2i run configs/paper/esrgan.yaml` (`generator: {use: rrdbnet}`).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError
from .superres import conv, init_small, steps_of

RESIDUAL = 0.2  # scale of the residual branches of DenseBlock and RRDB


class DenseBlock(nn.Module):
    """x + 0.2 * (five densely connected convolutions)(x)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        grown = [width + n * growth for n in range(5)]
        self.convs = nn.ModuleList(conv(channels, width if n == 4 else growth) for n, channels in enumerate(grown))
        init_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        maps = x
        for layer in self.convs[:-1]:
            maps = torch.cat([maps, F.leaky_relu(layer(maps), 0.2)], 1)
        return x + RESIDUAL * self.convs[-1](maps)


class RRDB(nn.Module):
    """Residual-in-residual dense block: x + 0.2 * (three dense blocks)(x)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        return x + RESIDUAL * self.body(x)


class RRDBNet(nn.Module):
    """The generator of ESRGAN; 16,697,987 parameters at x4.

    Args:
        scale: upscaling factor: 1, 2, 3, 4 or 8.
        width: channels.
        blocks: number of RRDBs, 23 in the paper.
        growth: channels added by each convolution of a dense block.
        unshuffle: first move squares of 2 x 2 or 4 x 4 pixels to channels, as Real-ESRGAN does for x2 and x1.

    Raises:
        ConfigError: scale * unshuffle is not 1, 2, 3, 4 or 8.

    Source: arXiv:1809.00219, section 3.1; parameter count as in the published code.

    Example:
        >>> RRDBNet(width=8, blocks=1, growth=4)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 48, 64])
    """

    def __init__(
        self,
        scale: Literal[1, 2, 3, 4, 8] = 4,
        width: PositiveInt = 64,
        blocks: PositiveInt = 23,
        growth: PositiveInt = 32,
        unshuffle: Literal[1, 2, 4] = 1,
    ) -> None:
        super().__init__()
        if scale * unshuffle not in (1, 2, 3, 4, 8):
            raise ConfigError(
                f"rrdbnet: scale {scale} and unshuffle {unshuffle}: their product must be 1, 2, 3, 4 or 8"
            )
        self.scale, self.multiple, self.steps = scale, unshuffle, steps_of(scale * unshuffle)
        self.head = conv(3 * unshuffle**2, width)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), conv(width, width))
        self.ups = nn.ModuleList(conv(width, width) for _ in self.steps)
        self.tail = nn.Sequential(conv(width, width), nn.LeakyReLU(0.2), conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        h = self.head(F.pixel_unshuffle((x + 1) / 2, self.multiple))
        h = h + self.body(h)
        for step, up in zip(self.steps, self.ups, strict=True):
            h = F.leaky_relu(up(F.interpolate(h, scale_factor=step, mode="nearest")), 0.2)
        return 2 * self.tail(h) - 1
