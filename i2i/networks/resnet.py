"""The residual generator of CycleGAN (after Johnson et al.): downsample twice, residual blocks, upsample twice.

Papers: CycleGAN arXiv:1703.10593 (appendix 7.2), perceptual losses arXiv:1603.08155.
Run with: `i2i run configs/cyclegan.yaml` (`generator: {use: resnet_generator, blocks: 9}`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from pydantic import PositiveFloat
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .blocks import Norm, from_opponent, init_normal, needs_bias, norm_layer

Padding = Literal["reflect", "replicate", "zeros"]


class ResnetBlock(nn.Module):
    """x + (conv3, norm, ReLU, dropout, conv3, norm)(x), with no activation after the addition."""

    def __init__(
        self, width: int, norm: Norm = "instance", dropout: float = 0.0, padding: Padding = "reflect"
    ) -> None:
        super().__init__()

        def conv() -> nn.Conv2d:
            return nn.Conv2d(width, width, 3, padding=1, padding_mode=padding, bias=needs_bias(norm))

        drop = [nn.Dropout(dropout)] if dropout > 0 else []
        middle = [norm_layer(norm, width), nn.ReLU(inplace=True), *drop]
        self.body = nn.Sequential(conv(), *middle, conv(), norm_layer(norm, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, width, H, W] to the same shape."""
        return x + self.body(x)


class Blur(nn.Module):
    """Halve height and width after a binomial filter (1, 2, 1) against aliasing. Source: arXiv:1904.11486."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, C, H, W] to [N, C, H / 2, W / 2]."""
        row = x.new_tensor([0.25, 0.5, 0.25])
        channels = int(x.shape[1])  # int: a constant in recorded networks
        weight = (row[:, None] * row).expand(channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=2, groups=channels)


class ResnetGenerator(nn.Module):
    """Image to image at the same size: the paper's c7s1-64, d128, d256, R256 x blocks, u128, u64, c7s1-3.

    The defaults are the published network, with the same 11,378,179 parameters (7,837,699 with 6 blocks).

    These options are not in the paper:

    - `upsample="resize"` is nearest-neighbour upsampling and a reflection-padded conv3, which avoids the checkerboard
      artefacts of transposed convolutions (distill.pub/2016/deconv-checkerboard).
    - `downsample="blur"` and `upsample="bilinear"` are those of CUT (arXiv:2007.15651): convolutions of stride 1, a
      binomial filter before each halving, and bilinear upsampling before the convolution.
    - `masked=True` also predicts a mask m, and the output is m * painting + (1 - m) * x (AttentionGAN,
      arXiv:1911.11897), so the network need not redraw what should stay the same, such as the background. The mask
      needs no loss of its own. Here m is a slightly stretched sigmoid, so that it reaches 0 and 1 exactly.
    - `chroma` makes the last layer predict brightness and two colour differences instead of RGB. Where its three
      channels disagree, as on edges early in training, the error is in brightness rather than a coloured speck.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        width: channels after the first convolution; the blocks have 4 * width.
        blocks: number of residual blocks; in the paper 9 for 256 pixels and 6 for 128.
        norm: normalisation after each convolution except the last.
        upsample: "transposed" as published, "resize" or "bilinear".
        downsample: "strided" convolutions as published, or "blur".
        dropout: dropout probability in the blocks; 0 for none, as in CycleGAN.
        padding: of the blocks; the published code has all three, and reflects by default.
        masked: predict a mask, and copy the input where it is 0; needs in_channels == out_channels.
        chroma: predict brightness and two colour differences, the differences scaled by `chroma`; null for plain RGB.

    Raises:
        ConfigError: `masked` with in_channels != out_channels, `chroma` without exactly 3 channels, or unknown norm
            or upsample.

    Source: pytorch-CycleGAN-and-pix2pix, including its parameter counts.

    Example:
        >>> ResnetGenerator(width=8, blocks=1)(torch.zeros(1, 3, 32, 48)).shape
        torch.Size([1, 3, 32, 48])
    """

    multiple = 4  # of height and width: the network downsamples twice
    minimum = 8  # of height and width: the blocks need 2 pixels at a quarter of the size for reflection padding

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        upsample: Literal["transposed", "resize", "bilinear"] = "transposed",
        masked: bool = False,
        chroma: PositiveFloat | None = None,
        downsample: Literal["strided", "blur"] = "strided",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        if masked and in_channels != out_channels:
            raise ConfigError(
                f"masked: true copies from the input, but in_channels is {in_channels} and out_channels "
                f"{out_channels}: make them equal or set masked: false"
            )
        if chroma is not None and out_channels != 3:
            raise ConfigError(f"chroma needs RGB images, but out_channels is {out_channels}: set it to 3")
        self.out_channels = out_channels
        self.in_channels, self.masked, self.chroma = in_channels, masked, chroma
        bias = needs_bias(norm)

        def activated(conv: list[nn.Module], channels: int) -> list[nn.Module]:
            return [*conv, norm_layer(norm, channels), nn.ReLU(inplace=True)]

        stem = nn.Conv2d(in_channels, width, 7, padding=3, padding_mode="reflect", bias=bias)
        layers = activated([stem], width)
        for wide in (2 * width, 4 * width):
            stride = 2 if downsample == "strided" else 1
            layers += activated([nn.Conv2d(wide // 2, wide, 3, stride, padding=1, bias=bias)], wide)
            layers += [Blur()] if downsample == "blur" else []
        layers += [ResnetBlock(4 * width, norm, dropout, padding) for _ in range(blocks)]
        for narrow in (2 * width, width):
            layers += activated(upsampling(2 * narrow, narrow, upsample, bias), narrow)
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, out_channels + masked, 7, padding=3, padding_mode="reflect")
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translate x.

        Args:
            x: images [N, in_channels, H, W] in [-1, 1]; H and W multiples of 4, at least 8.

        Returns:
            Images [N, out_channels, H, W] in [-1, 1].

        Raises:
            DataError: unsupported height or width.
        """
        # Not checked in exported or compiled graphs, whose sizes are symbolic; there the caller pads.
        if not torch.compiler.is_compiling():
            height, width = x.shape[-2:]
            if height % 4 or width % 4 or min(height, width) < 8:
                raise DataError(
                    f"an image of {height}x{width} pixels does not fit resnet_generator, which halves it twice: "
                    f"crop or pad it to multiples of 4, at least 8x8 (in a config: data.size)"
                )
        h = self.head(self.body(x))
        colours = h[:, :-1] if self.masked else h
        if self.chroma is not None:
            # Scaled by sqrt 3, so that one unit of brightness changes R, G and B by one unit each.
            colours = 3**0.5 * from_opponent(colours, self.chroma)
        painting = torch.tanh(colours)
        if not self.masked:
            return painting
        mask = (1.2 * torch.sigmoid(h[:, -1:]) - 0.1).clamp(0, 1)
        return mask * painting + (1 - mask) * x


def upsampling(channels: int, out_channels: int, upsample: str, bias: bool) -> list[nn.Module]:
    """Return layers that double height and width: [N, channels, H, W] -> [N, out_channels, 2H, 2W].

    Raises:
        ConfigError: unknown `upsample`.
    """
    if upsample == "transposed":
        return [nn.ConvTranspose2d(channels, out_channels, 3, 2, padding=1, output_padding=1, bias=bias)]
    if upsample == "resize":
        conv = nn.Conv2d(channels, out_channels, 3, padding=1, padding_mode="reflect", bias=bias)
        return [nn.Upsample(scale_factor=2, mode="nearest"), conv]
    if upsample == "bilinear":
        return [
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=bias),
        ]
    raise ConfigError(f"unknown upsample '{upsample}': choose from transposed, resize, bilinear")
