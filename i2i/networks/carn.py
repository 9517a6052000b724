"""CARN-M, a small cascading network for super-resolution whose residual blocks share their weights.

Paper: arXiv:1803.08664.
Run with: `i2i translate PICTURES -o OUT -m carn_m.pth` (`generator: {use: carn_m, scale: 4}`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError
from .superres import RGB_MEAN, Scale, conv, steps_of

REPEATS = 3  # blocks in the network, and uses of the residual block in each


class Cascade(nn.Module):
    """Three steps, each followed by a 1x1 convolution on its result and the inputs of all steps so far."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joins = nn.ModuleList(conv(width * (n + 2), width, 1) for n in range(REPEATS))

    def forward(self, x: Tensor, steps: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        seen = x
        for step, join in zip(steps, self.joins, strict=True):
            seen = torch.cat([seen, step(x)], 1)
            x = F.relu(join(seen))
        return x


class Block(nn.Module):
    """A cascade of one residual block, used three times: two grouped convolutions and a 1x1 one."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        grouped = [nn.Conv2d(width, width, 3, padding=1, groups=groups) for _ in range(2)]
        self.residual = nn.Sequential(grouped[0], nn.ReLU(), grouped[1], nn.ReLU(), conv(width, width, 1))
        self.cascade = Cascade(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        return self.cascade(x, [lambda y: F.relu(y + self.residual(y))] * REPEATS)


class CARNM(nn.Module):
    """CARN-M: 294,147 parameters at x4, 414,787 with the three upsamplings of the published file.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        scales: factors to hold layers for, such as [2, 3, 4] of the published weights; null for `scale` alone.
        width: channels.
        groups: of the 3x3 convolutions but the first and the last.

    Raises:
        ConfigError: `scale` is not one of `scales`, or `width` is not a multiple of `groups`.

    Source: arXiv:1803.08664, figures 3 and 5; it works in 0..1 minus the mean of DIV2K, as the published code.

    Example:
        >>> CARNM(scale=2, width=8)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 24, 32])
    """

    mean: Tensor

    def __init__(
        self, scale: Scale = 4, scales: list[Scale] | None = None, width: PositiveInt = 64, groups: PositiveInt = 4
    ) -> None:
        super().__init__()
        scales = scales or [scale]
        if scale not in scales:
            raise ConfigError(f"carn_m: scale {scale} is not one of its scales {scales}: use one of them")
        if width % groups:
            raise ConfigError(f"carn_m: width {width} is not a multiple of groups {groups}")
        self.scale = scale
        self.register_buffer("mean", torch.tensor(RGB_MEAN)[:, None, None])
        self.head = conv(3, width)
        self.blocks = nn.ModuleList(Block(width, groups) for _ in range(REPEATS))
        self.cascade = Cascade(width)

        def up(step: int) -> list[nn.Module]:
            grouped = nn.Conv2d(width, width * step**2, 3, padding=1, groups=groups)
            return [grouped, nn.ReLU(), nn.PixelShuffle(step)]

        self.ups = nn.ModuleDict(
            {
                str(scale): nn.Sequential(*(layer for step in steps_of(scale) for layer in up(step)))
                for scale in scales
            }
        )
        self.tail = conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        x = self.cascade(self.head((x + 1) / 2 - self.mean), [*self.blocks])
        return 2 * (self.tail(self.ups[str(self.scale)](x)) + self.mean) - 1
