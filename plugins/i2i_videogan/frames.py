"""What the networks of this plugin share: layers on clips [N, T, C, H, W], and the ConvGRU.

Paper: ConvGRU arXiv:1511.06432; in the form of DVD-GAN, arXiv:1907.06571 section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from i2i import ConfigError

SMALLEST = 4  # pixels, height and width of the smallest feature map


def widths_for(size: int, width: int, widest: int) -> list[int]:
    """Return the channels of the feature maps from half of `size` down to 4 pixels; they double up to a limit.

    Args:
        size: height and width of the clip in pixels.
        width: channels of the largest map.
        widest: the limit, as a multiple of `width`.

    Raises:
        ConfigError: the size is not 8, 16, 32, ...
    """
    halvings = (size // SMALLEST).bit_length() - 1
    if halvings < 1 or size != SMALLEST * 2**halvings:
        raise ConfigError(
            f"the networks for clips need a size of 8, 16, 32, 64, ... pixels, and {size} is not: change it"
        )
    return [width * min(2**n, widest) for n in range(halvings)]


def each(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer for images to each frame of x [N, T, ...]."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class ConvGRU(nn.Module):
    """A gated recurrent unit whose states are feature maps.

    u, r = sigmoid(W [x; h]);  c = rho(W' [x; r h]);  h' = u h + (1 - u) c, with 3x3 convolutions W.

    The part of W that reads x runs on all frames at once.

    Args:
        channels: channels of x.
        hidden: channels of h.
        conv: (channels, out) -> 3x3 convolution that keeps height and width.
        rho: activation of the candidate: ReLU in DVD-GAN, tanh in most others.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        conv: Callable[[int, int], nn.Module],
        rho: Callable[[Tensor], Tensor] = relu,
    ) -> None:
        super().__init__()
        self.hidden, self.rho = hidden, rho
        self.given = conv(channels, 3 * hidden)
        self.gates, self.candidate = conv(hidden, 2 * hidden), conv(hidden, hidden)

    def forward(self, x: Tensor, frames: int, h: Tensor | None = None) -> Tensor:
        """Return the states of all frames.

        Args:
            x: inputs [N, T, channels, H, W], or [N, 1, ...] for the same in every frame.
            frames: T.
            h: the state before the first frame, [N, hidden, H, W]; zeros if None.

        Returns:
            [N, T, hidden, H, W].
        """
        given = each(self.given, x).expand(-1, frames, -1, -1, -1)
        h = x.new_zeros(len(x), self.hidden, *x.shape[-2:]) if h is None else h
        states = []
        for one in given.unbind(1):
            h = self.cell(one, h)
            states.append(h)
        return torch.stack(states, 1)

    def cell(self, given: Tensor, h: Tensor) -> Tensor:
        """Return the state after one frame, from the convolved input [N, 3 hidden, H, W] and the state before."""
        update, reset, new = given.chunk(3, 1)
        more_update, more_reset = self.gates(h).chunk(2, 1)
        u = torch.sigmoid(update + more_update)
        c = self.rho(new + self.candidate(torch.sigmoid(reset + more_reset) * h))
        return u * h + (1 - u) * c
