"""Networks that classify the colour of each pixel, for the task `colorful`: lightness to logits at a quarter size.

`colour_unet` is ours, small enough for a CPU; `colorful_vgg` is the published one. arXiv:1603.08511.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from i2i import DataError


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut: [N, C, H, W] -> the same. arXiv:1512.03385."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(channels, channels), *convolution(channels, channels)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x + what the convolutions change)."""
        return torch.relu(x + self.body(x))


class Context(nn.Module):
    """Adds to every pixel what the whole image says: the mean of all pixels, through two layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [N, C, H, W] with one vector per image added."""
        return x + self.body(x.mean((2, 3)))[:, :, None, None]


class ColourUnet(nn.Module):
    """A residual U-Net from lightness to logits at a quarter of the size: down to a sixteenth, and back up.

    Args:
        width: channels at half size; a quarter has twice, an eighth and a sixteenth four times as many.
        blocks: residual blocks at each size below one half, both on the way down and on the way up.
        classes: number of classes, 313 for the task `colorful`.
        dropout: probability with which a channel at a sixteenth of the size is dropped in training.

    Example:
        >>> ColourUnet(width=8)(torch.zeros(1, 1, 32, 64)).shape
        torch.Size([1, 313, 8, 16])
    """

    multiple = minimum = 16

    def __init__(
        self,
        width: int = 32,
        blocks: int = 1,
        classes: int = 313,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.stem = nn.Sequential(*convolution(1, width, 5, stride=2), *convolution(width, width))
        self.downs = nn.ModuleList(
            nn.Sequential(*convolution(before, after, stride=2), *(Residual(after) for _ in range(blocks)))
            for before, after in pairwise(widths)
        )
        self.whole = nn.Sequential(Context(widths[-1]), nn.Dropout2d(dropout))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(after, before, 1), nn.Upsample(scale_factor=2, mode="nearest"))
            for before, after in reversed([*pairwise(widths[1:])])
        )
        self.merged = nn.ModuleList(
            nn.Sequential(*(Residual(channels) for _ in range(blocks))) for channels in reversed(widths[1:-1])
        )
        self.head = nn.Conv2d(widths[1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes, H / 4, W / 4] for lightness [N, 1, H, W] in [-1, 1], H and W multiples of 16.

        Raises:
            DataError: another height or width.
        """
        check_size(x, self.multiple)
        x, skips = self.stem(x).contiguous(memory_format=torch.channels_last), []  # 1.1 times as fast on a CPU
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.whole(skips.pop())
        for up, merged in zip(self.ups, self.merged, strict=True):
            x = merged(up(x) + skips.pop())
        return self.head(x)


class ColorfulVGG(nn.Module):
    """The published network, from lightness to logits at a quarter of the size: 32,235,385 parameters.

    Eight stages of 3x3 convolutions, all but the last with batch norm at the end: the first three halve the size, two
    are dilated, and the last doubles it. The layers have the names of the published PyTorch weights, except
    `model_out`, which decodes the classes and is not part of it.

    Args:
        width: channels of the first stage; the others have 2, 4, 8, 8, 8, 8 and 4 times as many.
        classes: number of classes, 313 for the task `colorful`.

    Source: arXiv:1603.08511, appendix (table 4); richzhang/colorization for padding, biases and names.

    Example:
        >>> ColorfulVGG(width=4)(torch.zeros(1, 1, 32, 64)).shape
        torch.Size([1, 313, 8, 16])
    """

    multiple = minimum = 8

    def __init__(self, width: int = 64, classes: int = 313) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.model1 = stage([1, one, one], stride=2)
        self.model2 = stage([one, two, two], stride=2)
        self.model3 = stage([two, four, four, four], stride=2)
        self.model4 = stage([four, eight, eight, eight])
        self.model5 = stage([eight] * 4, dilation=2)
        self.model6 = stage([eight] * 4, dilation=2)
        self.model7 = stage([eight] * 4)
        rise = nn.ConvTranspose2d(eight, four, 4, 2, 1)
        self.model8 = nn.Sequential(rise, nn.ReLU(), *[*stage([four] * 3)][:-1], nn.Conv2d(four, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, classes, H / 4, W / 4] for lightness [N, 1, H, W] in [-1, 1], H and W multiples of 8.

        Raises:
            DataError: another height or width.
        """
        check_size(x, self.multiple)
        x = x / 2  # the published network sees (L - 50) / 100
        for number in range(1, 9):
            x = getattr(self, f"model{number}")(x)
        return x


def stage(channels: list[int], stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return 3x3 convolutions from each number of channels to the next, each with ReLU, and a batch norm at the end.

    The last convolution divides the size by `stride`.
    """
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise(channels), start=2):
        step = stride if place == len(channels) else 1
        layers += [nn.Conv2d(before, after, 3, step, dilation, dilation), nn.ReLU()]
    return nn.Sequential(*layers, nn.BatchNorm2d(channels[-1]))


def convolution(in_channels: int, out_channels: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    """Return a convolution with batch norm and ReLU; `stride` divides height and width."""
    conv = nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU()]


def check_size(x: Tensor, multiple: int) -> None:
    """Raise DataError unless height and width are multiples of `multiple`."""
    height, width = x.shape[-2:]
    if not torch.compiler.is_compiling() and (height % multiple or width % multiple):
        raise DataError(
            f"an image of {height}x{width} pixels does not fit this network: crop or pad it to multiples of "
            f"{multiple} (in a config: data.size)"
        )
