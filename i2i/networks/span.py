"""SPAN: fast super-resolution with parameter-free attention, trained as branches that merge into convolutions.

Paper: Swift Parameter-free Attention Network, arXiv:2311.12770.
Run with: `i2i run configs/real/upscale_x2.yaml` (`generator: {use: span, scale: 2}`).

It is not tied to a range of values. The published weights take and give 0..1: `values: [0, 1]` of the task `superres`
converts outside the network, so that zero padding keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..errors import ConfigError
from .superres import RGB_MEAN, conv
from .symmetric import SymmetricConv

Layer = Callable[..., nn.Module]


class Branched(nn.Module):
    """A 3x3 convolution as the sum of a 1x1 convolution and three in a row: 1x1 to twice the channels, 3x3, 1x1.

    The branches have no nonlinearity, so they equal one 3x3 convolution, and `forward` runs that one, in training
    too: merging kernels is cheap next to convolving pictures.

    Args:
        channels: input channels.
        out: output channels.
        gain: channels inside / channels outside.

    Source: arXiv:2311.12770, section 3.3; zero padding comes before the first 1x1 convolution.
    """

    def __init__(self, channels: int, out: int, gain: int = 2) -> None:
        super().__init__()
        self.skip = nn.Conv2d(channels, out, 1)
        self.first = nn.Conv2d(channels, channels * gain, 1)
        self.middle = nn.Conv2d(channels * gain, out * gain, 3)
        self.last = nn.Conv2d(out * gain, out, 1)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Return weight [out, channels, 3, 3] and bias [out] of the one convolution."""
        layers = {"skip": self.skip, "first": self.first, "middle": self.middle, "last": self.last}
        return merge_branches({name: (layer.weight, layer.bias) for name, layer in layers.items()})  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, H, W]."""
        return F.conv2d(x, *self.merged(), padding=1)


def merge_branches(branches: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the 3x3 convolution that equals the branches "skip", "first", "middle" and "last"."""
    (first, b1), (middle, b2), (last, b3), (skip, b0) = (
        branches[name] for name in ("first", "middle", "last", "skip")
    )
    weight = torch.einsum("omhw,mi->oihw", middle, first[:, :, 0, 0])
    weight = torch.einsum("po,oihw->pihw", last[:, :, 0, 0], weight)
    bias = last[:, :, 0, 0] @ (middle.sum((2, 3)) @ b1 + b2) + b3
    return weight + F.pad(skip, (1, 1, 1, 1)), bias + b0


class SPAB(nn.Module):
    """Three convolutions, whose output is also the attention: (x + y) * (sigmoid(y) + shift)."""

    def __init__(self, width: int, layer: Layer, shift: float) -> None:
        super().__init__()
        self.convs, self.shift = nn.ModuleList(layer(width, width) for _ in range(3)), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x [N, width, H, W] to the output and the activated one of the first convolution, of the same shape."""
        first = F.silu(self.convs[0](x))
        y = self.convs[2](F.silu(self.convs[1](first)))
        return (x + y) * (torch.sigmoid(y) + self.shift), first


class SPAN(nn.Module):
    """Swift Parameter-free Attention Network; with the defaults and width 28, 150,688 parameters at x4.

    Args:
        scale: upscaling factor: 1, 2, 3 or 4.
        width: channels, 48 in the paper.
        blocks: number of attention blocks.
        branches: hold each 3x3 convolution as branches, for training; `merged_state` converts the weights.
        centred: subtract the mean of DIV2K (of 0..1) and multiply by 255 first, as published.
        shift: added to the sigmoid of the attention. The published -0.5 needs `centred`, or the signal dies out in
            the blocks; with 0.5, a block starts as the identity.
        base: predict the residual to bilinear upscaling, which trains faster.
        unshuffle: first move squares of 2 x 2 pixels to channels, as Real-ESRGAN does for x1, which takes a quarter
            of the multiplications.
        symmetric: let the network commute with quarter turns and flips (arXiv:1602.07576). The weights also fit a
            network without this.

    Raises:
        ConfigError: scale * unshuffle is more than 4, `symmetric` with `branches`, or with a width that is not a
            multiple of 8.

    Source: arXiv:2311.12770, section 3 and figure 3; parameter count as in the published code.

    Example:
        >>> SPAN(width=8, blocks=1)(torch.zeros(1, 3, 12, 16)).shape
        torch.Size([1, 3, 48, 64])
    """

    mean: Tensor

    def __init__(
        self,
        scale: Literal[1, 2, 3, 4] = 4,
        width: PositiveInt = 48,
        blocks: PositiveInt = 6,
        branches: bool = False,
        centred: bool = False,
        shift: float = -0.5,
        base: bool = False,
        unshuffle: Literal[1, 2] = 1,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if symmetric and branches:
            raise ConfigError("span: `symmetric` and `branches` exclude each other: choose one")
        if symmetric and width % 8:
            raise ConfigError(f"span: with `symmetric`, width must be a multiple of 8, not {width}")
        if scale * unshuffle > 4:
            raise ConfigError(f"span: scale {scale} and unshuffle {unshuffle}: their product must be 4 at most")
        self.scale, self.multiple, self.centred, self.base = scale, unshuffle, centred, base
        self.register_buffer("mean", torch.tensor(RGB_MEAN)[:, None, None], persistent=False)
        plain: Layer = SymmetricConv if symmetric else conv
        layer: Layer = Branched if branches else plain
        first: Layer = partial(SymmetricConv, takes="squares") if symmetric else layer
        final: Layer = partial(SymmetricConv, makes="squares") if symmetric else conv
        self.head = first(3 * unshuffle**2, width)
        self.body = nn.ModuleList(SPAB(width, layer, shift) for _ in range(blocks))
        self.last = layer(width, width)
        self.join = plain(width * 4, width, 1)
        self.tail = nn.Sequential(final(width, 3 * (scale * unshuffle) ** 2), nn.PixelShuffle(scale * unshuffle))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale x [N, 3, H, W] to [N, 3, H * scale, W * scale] in the same range of values."""
        given = F.pixel_unshuffle((x - self.mean) * 255 if self.centred else x, self.multiple)
        head = h = self.head(given.contiguous(memory_format=torch.channels_last))
        outputs, firsts = [], []
        for block in self.body:
            h, first = block(h)
            outputs.append(h)
            firsts.append(first)
        y = self.tail(self.join(torch.cat([head, self.last(h), outputs[0], firsts[-1]], 1))).contiguous()
        if not self.base:
            return y
        return y + F.interpolate(x, scale_factor=float(self.scale), mode="bilinear", align_corners=False)


def merged_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a `SPAN` with `branches` as those of one without; outputs are equal to 1e-5."""
    heads = [name.removesuffix("skip.weight") for name in state if name.endswith("skip.weight")]
    plain = {name: value for name, value in state.items() if not name.startswith(tuple(heads) or "-")}
    for head in heads:
        parts = {
            part: (state[f"{head}{part}.weight"], state[f"{head}{part}.bias"])
            for part in ("skip", "first", "middle", "last")
        }
        plain[f"{head}weight"], plain[f"{head}bias"] = merge_branches(parts)
    return plain
