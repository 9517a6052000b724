"""The networks of SPADE: label map to image, a style encoder, and a multi-scale discriminator.

Papers: SPADE arXiv:1903.07291 (appendix A); the discriminator follows pix2pixHD arXiv:1711.11585.
Run with: `i2i run configs/spade.yaml`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor, nn

from ..devices import recording
from ..errors import ConfigError, DataError
from .blocks import InstanceNorm
from .spectral_norm import spectral

Upsampling = Literal["normal", "more", "most"]
SpadeNormalisation = Literal["batch", "instance"]
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


def conv(channels: int, out: int, kernel: int = 3, stride: int = 1, padding: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a convolution, initialised as in the published code."""
    layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=bias)
    initialise(layer)
    return layer


def initialise(layer: nn.Conv2d | nn.Linear) -> None:
    """Xavier-initialise the weight with a gain of 0.02, and set the bias to 0."""
    nn.init.xavier_normal_(layer.weight, gain=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class SpadeNorm(nn.Module):
    """Spatially-adaptive normalisation: norm(x) * (1 + gamma) + beta, with gamma and beta from the label map.

    Args:
        channels: channels of the feature map.
        segments: channels of the label map.
        hidden: hidden channels between the label map and gamma and beta, 128 in the paper.
        norm: "batch" as in the paper, or "instance", which behaves the same in training and inference.

    Source: arXiv:1903.07291 eq. 1 to 3 and figure 3. The batch norm is not affine.
    """

    def __init__(self, channels: int, segments: int, hidden: int = 128, norm: SpadeNormalisation = "batch") -> None:
        super().__init__()
        self.plain = nn.BatchNorm2d(channels, affine=False) if norm == "batch" else InstanceNorm()
        self.shared = conv(segments, hidden)
        self.gamma, self.beta = conv(hidden, channels), conv(hidden, channels)

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        """Normalise x [N, channels, H, W] given a label map [N, segments, any, any]; the shape is unchanged."""
        h = F.relu(self.shared(F.interpolate(segmap, x.shape[2:], mode="nearest")))
        return torch.addcmul(self.beta(h), self.plain(x), 1 + self.gamma(h))


class SpadeBlock(nn.Module):
    """x + twice (SPADE, leaky ReLU, conv3), with spectral norm; if widths differ, the shortcut is SPADE and conv1."""

    def __init__(
        self, channels: int, out: int, segments: int, hidden: int = 128, norm: SpadeNormalisation = "batch"
    ) -> None:
        super().__init__()
        middle = min(channels, out)
        self.norm_0 = SpadeNorm(channels, segments, hidden, norm)
        self.conv_0 = spectral(conv(channels, middle))
        self.norm_1 = SpadeNorm(middle, segments, hidden, norm)
        self.conv_1 = spectral(conv(middle, out))
        self.norm_s, self.conv_s = None, None
        if channels != out:
            self.norm_s = SpadeNorm(channels, segments, hidden, norm)
            self.conv_s = spectral(conv(channels, out, 1, padding=0, bias=False))

    def forward(self, x: Tensor, segmap: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, H, W]."""
        h = self.conv_0(F.leaky_relu(self.norm_0(x, segmap), 0.2))
        h = self.conv_1(F.leaky_relu(self.norm_1(h, segmap), 0.2))
        if self.norm_s is not None and self.conv_s is not None:
            x = self.conv_s(self.norm_s(x, segmap))
        return x + h


class SpadeGenerator(nn.Module):
    """Label map to image, at any height and width divisible by `multiple`.

    It starts from the downsampled label map, or from a style code `z`, and doubles height and width between its
    blocks. Every block is conditioned on the label map.

    Parameters as published: 97,480,899 (184 channels: COCO-Stuff), 96,492,483 (151: ADE20K), 93,048,003 (36, "more":
    Cityscapes).

    Args:
        channels: channels of the label map; set by the task.
        z: length of the style code; 0 starts from the label map. Set by the task.
        width: channels of the last block; the first has 16 * width.
        upsampling: "normal" doubles 5 times, "more" 6 times (512 pixels in the paper), "most" 7 times.
        size: height and width of the training images, one number or two. With `z`, the first feature map is
            interpolated for other sizes.
        hidden: hidden channels of each SPADE, 128 in the paper.
        norm: "batch" as in the paper, or "instance".

    Raises:
        ConfigError: `size` is not divisible by `multiple`.

    Source: NVlabs/SPADE, including its parameter counts.

    Example:
        >>> SpadeGenerator(12, width=4)(torch.zeros(1, 12, 64, 96)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(
        self,
        channels: int,
        z: int = 0,
        /,
        width: PositiveInt = 64,
        upsampling: Upsampling = "normal",
        size: PositiveInt | tuple[PositiveInt, PositiveInt] = 256,
        hidden: PositiveInt = 128,
        norm: SpadeNormalisation = "batch",
    ) -> None:
        super().__init__()
        self.multiple = self.minimum = 2 ** DOUBLINGS[upsampling]
        height, wide = (size, size) if isinstance(size, int) else size
        if z and (height % self.multiple or wide % self.multiple):
            raise ConfigError(
                f"spade_generator doubles {DOUBLINGS[upsampling]} times (upsampling: {upsampling}), so its size must "
                f"be divisible by {self.multiple}, but it is {height}x{wide}"
            )
        self.first = (16 * width, height // self.multiple, wide // self.multiple)

        def block(channels_in: int, out: int) -> SpadeBlock:
            return SpadeBlock(channels_in * width, out * width, channels, hidden, norm)

        self.start: nn.Conv2d | nn.Linear
        if z:
            self.start = nn.Linear(z, self.first[0] * self.first[1] * self.first[2])
            initialise(self.start)
        else:
            self.start = conv(channels, 16 * width)
        blocks = [block(16, 16), block(16, 16), block(16, 16), block(16, 8), block(8, 4), block(4, 2), block(2, 1)]
        last = width
        if upsampling == "most":
            last = max(1, width // 2)
            blocks.append(SpadeBlock(width, last, channels, hidden, norm))
        self.blocks = nn.ModuleList(blocks)
        self.unscaled = () if upsampling != "normal" else (2,)  # blocks without upsampling before them
        self.head = conv(last, 3)

    def forward(self, segmap: Tensor, z: Tensor | None = None) -> Tensor:
        """Generate images from label maps.

        Args:
            segmap: [N, channels, H, W], one channel per class; H and W multiples of `multiple`.
            z: style codes [N, z], if the generator starts from them.

        Returns:
            Images [N, 3, H, W] in [-1, 1].

        Raises:
            DataError: unsupported height or width.
        """
        height, width = segmap.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise DataError(
                f"a label map of {height}x{width} pixels does not fit this spade_generator: crop or pad it to "
                f"multiples of {self.multiple} (in a config: data.size)"
            )
        small = (height // self.multiple, width // self.multiple)
        if z is None:
            h = self.start(F.interpolate(segmap, small, mode="nearest"))
        else:
            h = self.start(z).unflatten(1, self.first)
            if recording() or small != self.first[1:]:  # recorded for other sizes too
                h = F.interpolate(h, small, mode="bilinear", align_corners=False)
        for number, block in enumerate(self.blocks):
            if number and number not in self.unscaled:
                h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = block(h, segmap)
        return torch.tanh(self.head(F.leaky_relu(h, 0.2)))


class StyleEncoder(nn.Module):
    """Images to the mean and log-variance of their style codes: the encoder of a VAE.

    Parameters as published: 10,463,424.

    Args:
        width: channels after the first convolution; they double up to 8 * width.
        z: length of a style code, 256 in the paper.
        size: images are first resized to size x size pixels, a power of two; 256 in the paper.

    Raises:
        ConfigError: `size` is not a power of two, or less than 8.

    Source: arXiv:1903.07291 figure 14; NVlabs/SPADE, including its parameter count.

    Example:
        >>> mu, logvar = StyleEncoder(width=4, z=8, size=64)(torch.zeros(2, 3, 96, 128))
        >>> mu.shape
        torch.Size([2, 8])
    """

    def __init__(self, width: PositiveInt = 64, z: PositiveInt = 256, size: PositiveInt = 256) -> None:
        super().__init__()
        halvings = size.bit_length() - 3  # down to 4x4
        if size != 2 ** (halvings + 2) or halvings < 1:
            raise ConfigError(f"style_encoder cannot use a size of {size} pixels: set a power of two, at least 8")
        self.size, self.z = size, z
        widths = [3, *(width * min(2**n, 8) for n in range(halvings))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [spectral(conv(before, after, stride=2, bias=False)), InstanceNorm(), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.mu, self.logvar = nn.Linear(16 * widths[-1], z), nn.Linear(16 * widths[-1], z)
        for layer in (self.mu, self.logvar):
            initialise(layer)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance [N, z] of images [N, 3, H, W] in [-1, 1] of any size."""
        square = F.interpolate(image, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True)
        h = self.body(square)
        return self.mu(h), self.logvar(h)


class MultiscaleDiscriminator(nn.Module):
    """A patch discriminator for each of several scales of the image.

    Parameters as published, with two scales: 5,904,514 (187 channels: COCO-Stuff), 5,836,930 (154: ADE20K),
    5,601,410 (39: Cityscapes).

    Args:
        channels: channels of label map and image together; set by the task.
        width: channels after the first convolution; they double up to 8 * width.
        layers: number of convolutions before the logits, 4 in the paper; all of them but the last have stride 2.
        scales: number of discriminators; each sees half the height and width of the one before.

    Source: arXiv:1903.07291 figure 13; NVlabs/SPADE, including its parameter counts.

    Example:
        >>> [tuple(logits.shape) for logits in MultiscaleDiscriminator(15, width=4)(torch.zeros(1, 15, 64, 64))]
        [(1, 1, 11, 11), (1, 1, 7, 7)]
    """

    def __init__(
        self,
        channels: int,
        /,
        width: PositiveInt = 64,
        layers: Annotated[int, Ge(2)] = 4,
        scales: PositiveInt = 2,
    ) -> None:
        super().__init__()

        def discriminator() -> nn.ModuleList:
            parts: list[nn.Module] = [nn.Sequential(conv(channels, width, 4, 2, 2), nn.LeakyReLU(0.2))]
            for n in range(1, layers):
                before, after = (width * min(2**power, 8) for power in (n - 1, n))
                strided = spectral(conv(before, after, 4, 1 if n == layers - 1 else 2, 2, bias=False))
                parts.append(nn.Sequential(strided, InstanceNorm(), nn.LeakyReLU(0.2)))
            return nn.ModuleList([*parts, conv(after, 1, 4, 1, 2)])

        self.judges = nn.ModuleList(discriminator() for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits [N, 1, h, w] at each scale for x [N, channels, H, W], high where x looks real."""
        return [maps[-1] for maps in self.maps(x)]

    def maps(self, x: Tensor) -> list[list[Tensor]]:
        """Return the output of every layer at each scale; the last of each scale are the logits."""
        scales = []
        for discriminator in self.judges:
            maps = [x]
            for part in discriminator.children():
                maps.append(part(maps[-1]))
            scales.append(maps[1:])
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return scales
