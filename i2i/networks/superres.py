"""Super-resolution networks: SRResNet, MSRResNet, EDSR, and a compact one for CPUs. ESRGAN's is in `rrdb`.

Papers: SRResNet arXiv:1609.04802, EDSR arXiv:1707.02921, ESRGAN arXiv:1809.00219, sub-pixel convolutions
arXiv:1609.05158.
Run with: `i2i run configs/superres.yaml` (`generator: {use: compact_sr, scale: 4}`).

All map images in [-1, 1] to images around [-1, 1]. Where the published network works in 0..1, the range is converted
inside, so published weights keep their meaning. None depends on the whole image, so all can be run on tiles (SRResNet
only in eval mode, because of its batch norm).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

Scale = Literal[2, 3, 4]
RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, in 0..1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation, in 0..1


def conv(channels: int, out: int, kernel: int = 3) -> nn.Conv2d:
    """Return a convolution that keeps height and width."""
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2)


def steps_of(scale: int) -> list[int]:
    """Return the factors of successive upsampling layers: 4 is two steps of 2, 1 is none."""
    return [scale] * (scale > 1) if scale % 2 else [2] * (scale.bit_length() - 1)


def init_small(module: nn.Module, gain: float = 0.1) -> None:
    """Initialise all convolutions with He-normal weights times `gain` and zero biases.

    Source: arXiv:1809.00219, section 3.1: residual networks without batch norm train better from small weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Residual(nn.Module):
    """x + scale * body(x)."""

    def __init__(self, *body: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.body, self.scale = nn.Sequential(*body), scale

    def forward(self, x: Tensor) -> Tensor:
        """Map x to the same shape."""
        y = self.body(x)
        return x + (y if self.scale == 1 else y * self.scale)


class SRResNet(nn.Module):
    """The generator of SRGAN as published: residual blocks with batch norm and PReLU, 9x9 convolutions at both ends.

    1,549,462 parameters at x4. It works in [-1, 1] directly.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels.
        blocks: number of residual blocks, 16 in the paper.
        ends: what follows the last convolution: nothing ("linear"), "tanh", or "half_tanh", (tanh + 1) / 2. Some
            published weights need one of these.
        imagenet: whether the input is normalised by ImageNet's mean and standard deviation, as some published
            weights expect.

    Source: arXiv:1609.04802, section 2.1.1 and figure 4; each PReLU has one parameter.

    Example:
        >>> SRResNet(width=8, blocks=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 48, 64])
    """

    statistics: Tensor

    def __init__(
        self,
        scale: Scale = 4,
        width: PositiveInt = 64,
        blocks: PositiveInt = 16,
        ends: Literal["linear", "tanh", "half_tanh"] = "linear",
        imagenet: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.ends, self.imagenet = scale, ends, imagenet
        self.register_buffer("statistics", torch.tensor(IMAGENET)[:, :, None, None], persistent=False)
        self.head = nn.Sequential(conv(3, width, 9), nn.PReLU())

        def normed() -> list[nn.Module]:
            return [conv(width, width), nn.BatchNorm2d(width)]

        body = [Residual(*normed(), nn.PReLU(), *normed()) for _ in range(blocks)]
        self.body = Residual(*body, *normed())
        self.up = nn.Sequential(
            *(
                layer
                for step in steps_of(scale)
                for layer in (conv(width, width * step**2), nn.PixelShuffle(step), nn.PReLU())
            )
        )
        self.tail = conv(width, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        if self.imagenet:
            x = ((x + 1) / 2 - self.statistics[0]) / self.statistics[1]
        y = self.tail(self.up(self.body(self.head(x))))
        return y if self.ends == "linear" else y.tanh() if self.ends == "tanh" else (y.tanh() + 1) / 2


class MSRResNet(nn.Module):
    """SRResNet without batch norm, which predicts the residual to bilinear upscaling.

    1,517,571 parameters at x4.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels.
        blocks: number of residual blocks.

    Source: BasicSR (MSRResNet), including its parameter count.

    Example:
        >>> MSRResNet(scale=3, width=8, blocks=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 36, 48])
    """

    def __init__(self, scale: Scale = 4, width: PositiveInt = 64, blocks: PositiveInt = 16) -> None:
        super().__init__()
        self.scale = scale

        def block() -> nn.Module:
            return Residual(conv(width, width), nn.ReLU(inplace=True), conv(width, width))

        def active() -> nn.Module:
            return nn.LeakyReLU(0.1, inplace=True)

        self.head = nn.Sequential(conv(3, width), active())
        self.body = nn.Sequential(*(block() for _ in range(blocks)))
        self.up = nn.Sequential(
            *(
                layer
                for step in steps_of(scale)
                for layer in (conv(width, width * step**2), nn.PixelShuffle(step), active())
            )
        )
        self.tail = nn.Sequential(conv(width, width), active(), conv(width, 3))
        init_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        x = (x + 1) / 2
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return 2 * (self.tail(self.up(self.body(self.head(x)))) + base) - 1


class EDSR(nn.Module):
    """Residual blocks without batch norm, a global skip connection and sub-pixel convolutions.

    The defaults are the paper's baseline, 1,517,571 parameters at x4. `blocks: 32, width: 256, residual_scale: 0.1`
    is its large network, 43,089,923.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels.
        blocks: number of residual blocks.
        residual_scale: factor on the residual branch of each block; 0.1 keeps wide networks stable.

    Source: arXiv:1707.02921, section 3 and table 1; as in its code, it works in 0..255 minus the mean of DIV2K.

    Example:
        >>> EDSR(scale=2, width=8, blocks=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 24, 32])
    """

    mean: Tensor

    def __init__(
        self,
        scale: Scale = 4,
        width: PositiveInt = 64,
        blocks: PositiveInt = 16,
        residual_scale: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", 2 * torch.tensor(RGB_MEAN)[:, None, None] - 1, persistent=False)

        def block() -> nn.Module:
            inner = (conv(width, width), nn.ReLU(inplace=True), conv(width, width))
            return Residual(*inner, scale=residual_scale)

        self.head = conv(3, width)
        self.body = Residual(*(block() for _ in range(blocks)), conv(width, width))
        self.up = nn.Sequential(
            *(layer for step in steps_of(scale) for layer in (conv(width, width * step**2), nn.PixelShuffle(step)))
        )
        self.tail = conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        return self.tail(self.up(self.body(self.head((x - self.mean) * 127.5)))) / 127.5 + self.mean


class Gated(nn.Module):
    """Residual block with pixel attention: x + y * sigmoid(gate(y)), with y = convs(x)."""

    def __init__(self, width: int, convs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(width, width)]
        for _ in range(convs - 1):
            layers += [nn.LeakyReLU(0.1, inplace=True), conv(width, width)]
        self.body, self.gate = nn.Sequential(*layers), conv(width, width, 1)
        init_small(self, gain=1.0)
        init_small(layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        y = self.body(x)
        return x + y * torch.sigmoid(self.gate(y))


class CompactSR(nn.Module):
    """A network for CPUs: all layers work at the input resolution, and a final sub-pixel convolution upscales.

    It predicts the residual to bilinear upscaling. Its blocks are plain convolutions with pixel attention, a gate per
    value that costs a ninth of a convolution. It runs in channels_last, where a training step takes
    0.86 of the time on one CPU thread.

    366,432 parameters with the defaults, and about as many multiplications per input pixel.

    Args:
        scale: upscaling factor: 2, 3 or 4.
        width: channels; multiples of 16 are fast.
        blocks: number of residual blocks.
        convs: number of 3x3 convolutions per block.

    Source: pixel attention as in arXiv:2010.01073; the architecture is ours.

    Example:
        >>> CompactSR(width=8, blocks=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 48, 64])
    """

    def __init__(
        self, scale: Scale = 4, width: PositiveInt = 48, blocks: PositiveInt = 5, convs: PositiveInt = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        self.head = conv(3, width)
        self.body = Residual(*(Gated(width, convs) for _ in range(blocks)), conv(width, width))
        self.tail = nn.Sequential(conv(width, 3 * scale**2), nn.PixelShuffle(scale))
        init_small(self.tail)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale]."""
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        added = self.tail(self.body(self.head(x.contiguous(memory_format=torch.channels_last))))
        return base + added.contiguous()
