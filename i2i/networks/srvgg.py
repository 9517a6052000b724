"""The compact network of Real-ESRGAN: plain convolutions with PReLU at low resolution, known as Compact or SRVGG.

Source: Real-ESRGAN's published code (SRVGGNetCompact), arXiv:2107.10833.
Run with: `i2i translate PICTURES -o OUT -m realesr-animevideov3-x2` (`generator: {use: srvgg}`).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from .superres import conv


class SRVGG(nn.Module):
    """A stack of 3x3 convolutions with PReLU and a sub-pixel convolution, plus the input upscaled by repetition.

    621,424 parameters at x4, and 1,213,296 with `convs: 32`. The published weights take and give 0..1: set
    `values: [0, 1]` of the task `superres`.

    Args:
        scale: upscaling factor: 1, 2, 3, 4 or 8.
        width: channels.
        convs: number of convolutions between the first and the last.
        inner: the factor of the sub-pixel convolution, whose result is resized to `scale` with a bicubic filter, as
            in animevideov3 x2 and x3; null for `scale`.

    Example:
        >>> SRVGG(scale=2, width=8, convs=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 24, 32])
    """

    def __init__(
        self,
        scale: Literal[1, 2, 3, 4, 8] = 4,
        width: PositiveInt = 64,
        convs: PositiveInt = 16,
        inner: Literal[1, 2, 3, 4, 8] | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.inner = scale, inner or scale
        layers: list[nn.Module] = [conv(3, width), nn.PReLU(width)]
        for _ in range(convs):
            layers += [conv(width, width), nn.PReLU(width)]
        self.body = nn.Sequential(*layers, conv(width, 3 * self.inner**2))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] to [N, 3, H * scale, W * scale] in the same range of values."""
        y = F.pixel_shuffle(self.body(x), self.inner) + F.interpolate(
            x, scale_factor=float(self.inner), mode="nearest"
        )
        if self.inner == self.scale:
            return y
        size = [side * self.scale for side in x.shape[-2:]]
        return F.interpolate(y, size, mode="bicubic", align_corners=False)
