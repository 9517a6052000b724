"""The U-Net generator of pix2pix: downsampling to one pixel, upsampling back, and a skip connection at each scale.

Papers: pix2pix arXiv:1611.07004 (appendix 6.1.1), U-Net arXiv:1505.04597.
Run with: `i2i run configs/facades.yaml` (`generator: {use: unet_generator, downs: 6}`).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .blocks import Norm, init_normal, needs_bias, norm_layer


class UnetGenerator(nn.Module):
    """Image to image at the same size, with a skip connection at each scale.

    The defaults are the published network for 256 pixels, with the same 54,413,955 parameters; `downs=7` is the one
    for 128 pixels (41,828,995). The feature maps have 1, 2, 4, 8, 8, ... times `width` channels. The noise of the
    paper is dropout in the inner upsampling layers, those with 8 * width channels except the innermost, so there is
    none with downs < 6.

    Args:
        in_channels: channels of the input image.
        out_channels: channels of the output image.
        width: channels after the first convolution.
        downs: number of downsampling layers; height and width must be multiples of 2**downs.
        norm: normalisation after each convolution except the first, the innermost and the last.
        dropout: dropout probability of the inner upsampling layers; 0 for none.
        upsample: "transposed" convolutions as published, or "resize" (nearest neighbour and a 3x3 convolution),
            which avoids checkerboard artefacts.

    Raises:
        ConfigError: unknown norm or upsample.

    Source: pytorch-CycleGAN-and-pix2pix, including its layers and parameter counts. The paper's own Lua code has
    dropout in the innermost upsampling layer too.

    Example:
        >>> UnetGenerator(width=8, downs=5)(torch.zeros(1, 3, 32, 64)).shape
        torch.Size([1, 3, 32, 64])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        downs: Annotated[int, Ge(2)] = 8,
        norm: Norm = "batch",
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.5,
        upsample: Literal["transposed", "resize"] = "transposed",
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.in_channels, self.multiple, self.minimum = in_channels, 2**downs, 2**downs
        bias = needs_bias(norm)
        widths = [width * min(2**n, 8) for n in range(downs)]

        # Encoder: no activation before the first convolution, and no norm on the innermost feature map.
        self.downs = nn.ModuleList([nn.Conv2d(in_channels, width, 4, 2, 1, bias=bias)])
        for n, (before, after) in enumerate(pairwise(widths), start=1):
            layers = [nn.LeakyReLU(0.2), nn.Conv2d(before, after, 4, 2, 1, bias=bias)]
            self.downs.append(nn.Sequential(*layers, *([norm_layer(norm, after)] if n < downs - 1 else [])))

        # Decoder: each input but the innermost is concatenated with the encoder's feature map of the same size.
        self.ups = nn.ModuleList()
        for n in reversed(range(1, downs)):
            before = widths[n] * (1 if n == downs - 1 else 2)
            layers = [nn.ReLU(), *upsampling(before, widths[n - 1], upsample, bias), norm_layer(norm, widths[n - 1])]
            drops = dropout > 0 and 4 <= n < downs - 1
            self.ups.append(nn.Sequential(*layers, *([nn.Dropout(dropout)] if drops else [])))
        self.head = nn.Sequential(nn.ReLU(), *upsampling(2 * width, out_channels, upsample, True))
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Translate x.

        Args:
            x: images [N, in_channels, H, W] in [-1, 1]; H and W multiples of 2**downs.

        Returns:
            Images [N, out_channels, H, W] in [-1, 1].

        Raises:
            DataError: unsupported height or width.
        """
        if not torch.compiler.is_compiling():
            height, width = x.shape[-2:]
            if height % self.multiple or width % self.multiple:
                raise DataError(
                    f"an image of {height}x{width} pixels does not fit this unet_generator, which halves it "
                    f"{len(self.downs)} times: crop or pad it to multiples of {self.multiple} "
                    f"(in a config: data.size)"
                )
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.ups[0](skips.pop())
        for up in self.ups[1:]:
            x = up(torch.cat([skips.pop(), x], 1))
        return torch.tanh(self.head(torch.cat([skips.pop(), x], 1)))


def upsampling(channels: int, out_channels: int, upsample: str, bias: bool) -> list[nn.Module]:
    """Return layers that double height and width: [N, channels, H, W] -> [N, out_channels, 2H, 2W].

    Raises:
        ConfigError: `upsample` is neither "transposed" nor "resize".
    """
    if upsample == "transposed":
        return [nn.ConvTranspose2d(channels, out_channels, 4, 2, 1, bias=bias)]
    if upsample == "resize":
        conv = nn.Conv2d(channels, out_channels, 3, padding=1, padding_mode="reflect", bias=bias)
        return [nn.Upsample(scale_factor=2, mode="nearest"), conv]
    raise ConfigError(f"unknown upsample '{upsample}': choose from transposed, resize")
