"""A learned prior: p(z) as an invertible transform of N(0, I).

    flow: {use: coupling_flow, layers: 6, width: 128}       # in the config of a vae task

The codes of all images together never fill N(0, I) evenly, and the bound pays for the gaps. Invertible layers with a
known Jacobian determinant learn where the codes are, at little cost.

Papers: coupling layers arXiv:1605.08803; as the prior of a VAE arXiv:1611.02731.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i import ConfigError

from .networks import dense

WIDEST = 2.0  # a layer scales by e^2 at most, so that no code is thrown far out early in training


class CouplingFlow(nn.Module):
    """Affine coupling layers, each of which shifts and scales one half of the dimensions given the other.

    The halves are random for each layer, from the run's seed. At initialisation the layers only permute the
    dimensions, so that p(z) starts as N(0, I).

    Args:
        latent: latent dimensions, 2 or more.
        layers: number of coupling layers.
        width: of the two hidden layers in each.

    Raises:
        ConfigError: a single latent dimension.

    Source: arXiv:1605.08803, eq. 4 to 8 (Real NVP), with the scale bounded by a tanh.

    Example:
        >>> CouplingFlow(20)(torch.zeros(3, 20)).shape
        torch.Size([3, 20])
    """

    orders: Tensor

    def __init__(self, latent: int, /, layers: PositiveInt = 6, width: PositiveInt = 128) -> None:
        super().__init__()
        if latent < 2:
            raise ConfigError(
                "coupling_flow transforms one part of a code given the other: use a task.latent of 2 or more"
            )
        self.read = latent // 2
        widths = [self.read, width, width, 2 * (latent - self.read)]
        self.steps = nn.ModuleList(at_rest(dense(widths, "relu")) for _ in range(layers))
        self.register_buffer("orders", torch.stack([torch.randperm(latent) for _ in range(layers)]))

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise [N, latent] from N(0, I) to codes [N, latent]."""
        z = noise
        for step, order in zip(reversed(self.steps), self.orders.flip(0), strict=True):
            read, moved = z[:, : self.read], z[:, self.read :]
            shift, stretch = self._asked(step, read)
            z = torch.cat([read, moved * stretch.exp() + shift], 1)[:, order.argsort()]
        return z

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map codes [N, latent] back to noise [N, latent], and return log |det d noise / d z| [N].

        log p(z) is the log density of the noise under N(0, I) plus that.
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
        """Return the shift and the log scale of a layer."""
        shift, stretch = step(read).to(read.dtype).chunk(2, 1)
        return shift, WIDEST * torch.tanh(stretch / WIDEST)


def at_rest(layers: nn.Sequential) -> nn.Sequential:
    """Zero the last layer, so that the output is 0 for any input."""
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers
