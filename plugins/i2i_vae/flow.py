"""A prior that is learned: p(z) as what invertible layers make of N(0, I).

    flow: {use: coupling_flow, layers: 6, width: 128}       # in a config, of the task vae

The codes of all pictures together never fill N(0, I) evenly, and the bound pays for what they leave empty. Layers
that can be computed both ways and whose change of volume is known learn where the codes lie, for little time.

Papers: coupling layers arXiv:1605.08803; as the prior of a VAE arXiv:1611.02731.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i import ConfigError

from .networks import dense

WIDEST = 2.0  # a layer stretches a number by e^2 at most, so that no code is thrown far out in the beginning


class CouplingFlow(nn.Module):
    """Invertible layers, each of which moves and stretches one half of the numbers by what it reads in the other.

    The halves are drawn anew for each layer, from the run's seed. In the beginning they only change the order of the
    numbers, so that p(z) starts as N(0, I).

    Args:
        latent: numbers in a code, 2 or more.
        layers: how many.
        width: of the two hidden layers in each.

    Raises:
        ConfigError: codes of a single number.

    Source: arXiv:1605.08803, eq. 4 to 8 (Real NVP), with the stretch bounded by a tanh.

    Example:
        >>> CouplingFlow(20)(torch.zeros(3, 20)).shape
        torch.Size([3, 20])
    """

    orders: Tensor

    def __init__(self, latent: int, /, layers: PositiveInt = 6, width: PositiveInt = 128) -> None:
        super().__init__()
        if latent < 2:
            raise ConfigError(
                "coupling_flow reads one part of a code to move the other: use a task.latent of 2 or more"
            )
        self.read = latent // 2
        widths = [self.read, width, width, 2 * (latent - self.read)]
        self.steps = nn.ModuleList(at_rest(dense(widths, "relu")) for _ in range(layers))
        self.register_buffer("orders", torch.stack([torch.randperm(latent) for _ in range(layers)]))

    def forward(self, noise: Tensor) -> Tensor:
        """Return the codes [N, latent] that numbers [N, latent] of N(0, I) become."""
        z = noise
        for step, order in zip(reversed(self.steps), self.orders.flip(0), strict=True):
            read, moved = z[:, : self.read], z[:, self.read :]
            shift, stretch = self._asked(step, read)
            z = torch.cat([read, moved * stretch.exp() + shift], 1)[:, order.argsort()]
        return z

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers [N, latent] that codes [N, latent] come from, and log |d numbers / d z| [N].

        log p(z) is the log density of the numbers under N(0, I) plus that.
        """
        volume = z.new_zeros(len(z))
        for step, order in zip(self.steps, self.orders, strict=True):
            z = z[:, order]
            read, moved = z[:, : self.read], z[:, self.read :]
            shift, stretch = self._asked(step, read)
            z = torch.cat([read, (moved - shift) * (-stretch).exp()], 1)
            volume = volume - stretch.sum(1)
        return z, volume

    @staticmethod
    def _asked(step: nn.Module, read: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far a layer moves, and the logarithm of how much it stretches."""
        shift, stretch = step(read).to(read.dtype).chunk(2, 1)
        return shift, WIDEST * torch.tanh(stretch / WIDEST)


def at_rest(layers: nn.Sequential) -> nn.Sequential:
    """Return layers whose last one gives 0, whatever goes in."""
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers
