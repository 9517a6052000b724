"""Residual feature networks for small super-resolution models: RFDN and its faster successor RLFN.

Papers: RFDN arXiv:2009.11551, RLFN arXiv:2205.07514.
Run with: `i2i translate PICTURES -o OUT -m rfdn_x4.pth` (`generator: {use: rfdn, scale: 4}`).

Neither is tied to a range of values. The published weights take and give 0..255: `values: [0, 255]` of the task
`superres` converts outside the network, so that zero padding keeps its meaning. The attention has a coarse grid that
starts at the upper left corner, so tiles of a picture differ a little from the whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from .superres import Scale, conv


class ESA(nn.Module):
    """Enhanced spatial attention: x * sigmoid of a map that a few convolutions compute at a sixth of the resolution.

    Args:
        width: channels of x.
        inner: channels of the attention.
        convs: number of convolutions at low resolution: 3 in RFDN, 1 in RLFN.

    Source: arXiv:2009.11551, section 3.3; strides and windows as in the published code.
    """

    def __init__(self, width: int, inner: int, convs: int) -> None:
        super().__init__()
        self.shrink, self.skip, self.grow = conv(width, inner, 1), conv(inner, inner, 1), conv(inner, width, 1)
        self.stride = nn.Conv2d(inner, inner, 3, stride=2)
        self.convs = nn.ModuleList(conv(inner, inner) for _ in range(convs))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W], at least 15 x 15, to the same shape."""
        small = self.shrink(x)
        y = F.max_pool2d(self.stride(small), 7, 3)
        for number, layer in enumerate(self.convs):
            y = layer(y if number == 0 else F.relu(y))
        y = F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.grow(y + self.skip(small)))


class RFDB(nn.Module):
    """Residual feature distillation block: after each of three convolutions half of the channels are set aside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.aside = nn.ModuleList(conv(width, half, 1) for _ in range(3))
        self.on = nn.ModuleList(conv(width, width) for _ in range(3))
        self.last, self.join = conv(width, half), conv(half * 4, width, 1)
        self.attention = ESA(width, width // 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        kept = []
        for aside, on in zip(self.aside, self.on, strict=True):
            kept.append(F.leaky_relu(aside(x), 0.05))
            x = F.leaky_relu(on(x) + x, 0.05)
        kept.append(F.leaky_relu(self.last(x), 0.05))
        return self.attention(self.join(torch.cat(kept, 1)))


class RFDN(nn.Module):
    """Residual feature distillation network; 433,448 parameters at x4.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels.
        blocks: number of distillation blocks.

    Source: arXiv:2009.11551, section 3; parameter count as in the code published for AIM 2020.

    Example:
        >>> RFDN(width=8, blocks=1)(torch.zeros(1, 3, 16, 20)).shape
        torch.Size([1, 3, 64, 80])
    """

    minimum = 15

    def __init__(self, scale: Scale = 4, width: PositiveInt = 50, blocks: PositiveInt = 4) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(3, width)
        self.body = nn.ModuleList(RFDB(width) for _ in range(blocks))
        self.join, self.last = conv(width * blocks, width, 1), conv(width, width)
        self.tail = nn.Sequential(conv(width, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] to [N, 3, H * scale, W * scale] in the same range of values."""
        head = h = self.head(x)
        outputs = []
        for block in self.body:
            h = block(h)
            outputs.append(h)
        joined = F.leaky_relu(self.join(torch.cat(outputs, 1)), 0.05)
        return self.tail(self.last(joined) + head)


class RLFB(nn.Module):
    """Residual local feature block: three convolutions, a skip connection, and attention."""

    def __init__(self, width: int, inner: int, attention: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv(width, inner), conv(inner, inner), conv(inner, width)])
        self.join, self.attention = conv(width, width, 1), ESA(width, attention, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        y = x
        for layer in self.convs:
            y = F.leaky_relu(layer(y), 0.05)
        return self.attention(self.join(y + x))


class RLFN(nn.Module):
    """Residual local feature network, the winner of NTIRE 2022; 317,218 parameters at x4.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels between the blocks; 52 in the paper's larger network.
        inner: channels within them; 52 there.
        blocks: number of blocks; 6 there.
        attention: channels of the attention.

    Source: arXiv:2205.07514, section 3; parameter count as in the code published for NTIRE 2022.

    Example:
        >>> RLFN(width=8, inner=8, blocks=1)(torch.zeros(1, 3, 16, 20)).shape
        torch.Size([1, 3, 64, 80])
    """

    minimum = 15

    def __init__(
        self,
        scale: Scale = 4,
        width: PositiveInt = 46,
        inner: PositiveInt = 48,
        blocks: PositiveInt = 4,
        attention: PositiveInt = 16,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(3, width)
        self.body = nn.Sequential(*(RLFB(width, inner, attention) for _ in range(blocks)))
        self.last = conv(width, width)
        self.tail = nn.Sequential(conv(width, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] to [N, 3, H * scale, W * scale] in the same range of values."""
        head = self.head(x)
        return self.tail(self.last(self.body(head)) + head)
