"""The PatchGAN discriminator of pix2pix and CycleGAN: one logit per patch rather than per image.

Papers: pix2pix arXiv:1611.07004 (appendix 6.1.2), CycleGAN arXiv:1703.10593 (appendix 7.2).
Run with: `i2i run configs/cyclegan.yaml` (`discriminator: {use: patch_discriminator, layers: 3}`).
"""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .blocks import Norm, init_normal, needs_bias, norm_layer, to_opponent


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one per patch: the papers' C64-C128-C256-C512 with a 70x70 receptive field.

    `layers` sets the receptive field: 1 for 16x16, 2 for 34x34, 3 for 70x70, 5 for 286x286. `layers=0` is pix2pix's
    pixel discriminator of 1x1 convolutions. There is no sigmoid: the losses take logits.

    Parameters as published: 2,764,737 (3 channels, instance norm), 2,768,705 (6 channels, batch norm), 9,024 (6
    channels, batch norm, layers=0).

    Args:
        in_channels: channels of the image, or of image and condition concatenated.
        width: channels after the first convolution; they double up to 8 * width.
        layers: number of stride-2 convolutions.
        norm: normalisation after each convolution except the first and the last.
        chroma: convert the image to brightness and two colour differences, and scale the differences by `chroma`:
            above 1 it is stricter about colours. Not in the papers; null for plain RGB.

    Raises:
        ConfigError: negative `layers`, unknown norm, or `chroma` without exactly 3 channels.

    Source: pytorch-CycleGAN-and-pix2pix, including its parameter counts.

    Example:
        >>> import torch
        >>> PatchDiscriminator(width=8)(torch.zeros(1, 3, 128, 128)).shape
        torch.Size([1, 1, 14, 14])
    """

    def __init__(
        self,
        in_channels: int = 3,
        width: int = 64,
        layers: int = 3,
        norm: Norm = "instance",
        chroma: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        if layers < 0:
            raise ConfigError(f"patch_discriminator got layers={layers}: use 0 (single pixels) or more, e.g. 3")
        if chroma is not None and in_channels != 3:
            raise ConfigError(f"chroma needs RGB images, but in_channels is {in_channels}: set it to 3")
        self.chroma = chroma
        self.smallest = 3 * 2**layers if layers else 1  # two unstrided 4x4 convolutions take one pixel each
        bias = needs_bias(norm)

        def conv(channels: int, out: int, stride: int, bias: bool = True) -> nn.Conv2d:
            kernel, padding = (4, 1) if layers else (1, 0)
            return nn.Conv2d(channels, out, kernel, stride if layers else 1, padding, bias=bias)

        body: list[nn.Module] = [conv(in_channels, width, 2), nn.LeakyReLU(0.2, inplace=True)]
        channels = width
        for n in range(1, max(layers, 1) + 1):
            out = width * min(2**n, 8)
            body += [conv(channels, out, 2 if n < layers else 1, bias), norm_layer(norm, out)]
            body += [nn.LeakyReLU(0.2, inplace=True)]
            channels = out
        # Only the published pixel discriminator drops the bias of the last layer with batch norm.
        body += [conv(channels, 1, 1, bias or layers > 0)]
        self.body = nn.Sequential(*body)
        init_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Classify each patch of x as real or fake.

        Args:
            x: images [N, in_channels, H, W] in [-1, 1].

        Returns:
            Logits [N, 1, h, w], high where the patch looks real; h = H / 2**layers - 2 for multiples of
                2**layers, and h = H for layers=0.

        Raises:
            DataError: the image is smaller than 3 * 2**layers pixels, so there is no patch.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.smallest:
            raise DataError(
                f"an image of {height}x{width} pixels is too small for this patch_discriminator: "
                f"use at least {self.smallest}x{self.smallest} pixels, or fewer layers"
            )
        return self.body(x if self.chroma is None else to_opponent(x, self.chroma))
