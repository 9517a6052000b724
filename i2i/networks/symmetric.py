"""Convolutions that commute with quarter turns and flips: the result of a turned picture is the turned result.

Paper: Group equivariant convolutional networks, arXiv:1602.07576, for the group p4m of eight turns and flips.
Run with: `i2i run configs/real/upscale_x4.yaml task.generator.symmetric=true task.generator.branches=false`.

An eighth of the weights is free. The stored ones are those of an ordinary convolution, which gives the same results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError

ELEMENTS = [(quarters, flipped) for flipped in (False, True) for quarters in range(4)]
Kind = Literal["turned", "squares"]


class SymmetricConv(nn.Conv2d):
    """A convolution whose weights are averaged over the eight turns and flips of what it takes and makes.

    Channels are of one of two kinds. "turned": each eight in a row are one feature in its eight orientations, so a
    turn of the picture also permutes them. "squares": RGB, or RGB of squares of pixels as for `nn.PixelShuffle`, so
    it moves them within the square; with one pixel each, it leaves them alone.

    Args:
        channels: input channels: a multiple of 8, or 3 * side^2.
        out: output channels: likewise.
        kernel: height and width, odd; the padding keeps those of the image.
        takes: the kind of the input channels.
        makes: the kind of the output channels.

    Raises:
        ConfigError: a number of turned channels is not a multiple of 8.
    """

    bias: nn.Parameter

    def __init__(
        self, channels: int, out: int, kernel: int = 3, takes: Kind = "turned", makes: Kind = "turned"
    ) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2)
        for name, parameter, kinds in (("weight", self.weight, (makes, takes)), ("bias", self.bias, (makes,))):
            orbits, member = orbits_of(parameter.shape, kinds)
            self.register_buffer(f"{name}_orbits", orbits, persistent=False)
            self.register_buffer(f"{name}_member", member, persistent=False)
            with torch.no_grad():  # one of each eight, because their average would be smaller than usual
                parameter.copy_(parameter.flatten()[orbits[:, 0]][member])

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W] to [N, out, H, W]."""
        weight, bias = (
            averaged(getattr(self, name), getattr(self, f"{name}_orbits"), getattr(self, f"{name}_member"))
            for name in ("weight", "bias")
        )
        return F.conv2d(x, weight, bias, padding=self.padding)


def averaged(values: Tensor, orbits: Tensor, member: Tensor) -> Tensor:
    """Replace each value by the mean of its orbit."""
    if torch.is_grad_enabled():
        return _Averaged.apply(values, orbits, member)
    return values.flatten()[orbits].mean(1)[member]


class _Averaged(torch.autograd.Function):
    """An orthogonal projection, so it is its own derivative; that of indexing takes many times as long."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, orbits: Tensor, member: Tensor) -> Tensor:
        ctx.save_for_backward(orbits, member)
        return values.flatten()[orbits].mean(1)[member]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        orbits, member = ctx.saved_tensors
        return grads[0].flatten()[orbits].mean(1)[member], None, None


def orbits_of(shape: Sequence[int], kinds: Sequence[Kind]) -> tuple[Tensor, Tensor]:
    """Return which values of a weight [out, channels, k, k] or bias [out] must be equal.

    Args:
        shape: of the weight or bias.
        kinds: of its first axis, and of its second if it has one.

    Returns:
        orbits [M, 8]: the positions that position orbits[m, 0] takes; member, of `shape`: to which m a position
        belongs.
    """
    positions = torch.arange(math.prod(shape)).reshape(tuple(shape))
    moved = torch.stack([acted(positions, number, kinds).flatten() for number in range(len(ELEMENTS))])
    first, member = torch.unique(moved.min(0).values, return_inverse=True)
    return moved[:, first].T.contiguous(), member.reshape(tuple(shape))


def acted(values: Tensor, number: int, kinds: Sequence[Kind]) -> Tensor:
    """Return a weight or bias after an element of the group has turned its input and output."""
    for axis, kind in enumerate(kinds):
        count = values.shape[axis]
        if kind == "turned":
            if count % len(ELEMENTS):
                raise ConfigError(f"symmetric: {count} channels are not a multiple of {len(ELEMENTS)}")
            order = TABLE[number].argsort()
            values = values.unflatten(axis, (-1, len(ELEMENTS))).index_select(axis + 1, order).flatten(axis, axis + 1)
        else:
            side = math.isqrt(count // 3)
            squares = values.unflatten(axis, (3, side, side))
            values = turned(squares, number, (axis + 1, axis + 2)).flatten(axis, axis + 2)
    return turned(values, number, (2, 3)) if values.ndim == 4 else values


def turned(x: Tensor, number: int, axes: tuple[int, int]) -> Tensor:
    """Flip a tensor, or not, and rotate it by quarter turns."""
    quarters, flipped = ELEMENTS[number]
    return torch.rot90(x.flip(axes[1]) if flipped else x, quarters, axes)


def products() -> Tensor:
    """Return the table of the group: products()[g, h] is the element that does h and then g."""
    square = torch.arange(4).reshape(2, 2)
    known = [turned(square, number, (0, 1)).flatten().tolist() for number in range(len(ELEMENTS))]
    rows = [
        [known.index(turned(torch.tensor(h).reshape(2, 2), number, (0, 1)).flatten().tolist()) for h in known]
        for number in range(len(ELEMENTS))
    ]
    return torch.tensor(rows)


TABLE = products()
