"""Our own forecaster: a correction to constant velocity, in each person's own frame.

The ideas are old ones: positions relative to the heading make the network blind to where the scene is and how it is
turned (as in arXiv:2001.03093 for vehicles); constant velocity is a strong baseline (arXiv:1903.07933), so only the
difference is learned; neighbours enter through a maximum over pairs, as in Social GAN.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import relu

from .scenes import Scenes, normal, per_person


def spread(n: int, samples: int, width: int, source: torch.Generator | None = None) -> Tensor:
    """Return `n` sets of `samples` vectors [n, samples, width], each N(0, I), but evenly spread within a set.

    They are Sobol's points, shifted at random and mapped to the normal distribution. Best-of-K errors gain from it,
    as samples seldom repeat each other. Source: arXiv:2203.13471 for the use of such points in forecasting.
    """
    points = torch.quasirandom.SobolEngine(width).draw(samples)
    shifted = (points + torch.rand(n, 1, width, generator=source)) % 1
    return math.sqrt(2) * torch.erfinv((2 * shifted - 1).clamp(-0.999999, 0.999999))


def frames_of(paths: Tensor, least: float = 1e-3) -> Tensor:
    """Return a rotation [M, 2, 2] for each path [M, T, 2]: its columns are the heading and the left.

    The heading is the direction of the last two displacements together; of people who stand still, the x axis.
    """
    way = paths[:, -1] - paths[:, -3]
    length = way.norm(dim=1, keepdim=True)
    x_axis = torch.zeros_like(way)
    x_axis[:, 0] = 1
    ahead = torch.where(length > least, way / length.clamp(min=least), x_axis)
    left = torch.stack([-ahead[:, 1], ahead[:, 0]], 1)
    return torch.stack([ahead, left], 2)


class HeadingForecaster(nn.Module):
    """A GRU over a person's displacements, a maximum over the neighbours, and an MLP for each sample.

    Args:
        predicted: frames to predict.
        noise: length of the noise vector of a scene, which all its people share.
        spread: whether the noise vectors of a scene are spread evenly instead of independent; each is N(0, I) anyway.
        width: width of the GRU and of the pooling.
        decoder: hidden width of the decoder.
    """

    def __init__(
        self,
        predicted: PositiveInt = 12,
        noise: PositiveInt = 2,
        spread: bool = True,
        width: PositiveInt = 64,
        decoder: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.predicted, self.noise, self.spread = predicted, noise, spread
        self.gru = nn.GRU(2, width)
        self.neighbour = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width))
        self.on_known = nn.Linear(2 * width, decoder)
        self.on_noise = nn.Linear(noise, decoder, bias=False)
        self.second = nn.Linear(decoder, decoder)
        self.last = nn.Linear(decoder, 2 * predicted)
        nn.init.zeros_(self.last.weight)  # so that training starts at constant velocity
        nn.init.zeros_(self.last.bias)

    def draw(self, n: int, samples: int, source: torch.Generator | None = None) -> Tensor:
        """Return the noise [n, samples, noise] of `n` scenes."""
        return (spread if self.spread else normal)(n, samples, self.noise, source)

    def forward(self, scenes: Scenes, noise: Tensor) -> Tensor:
        """Predict positions [K, M, predicted, 2] from observed scenes and noise [N, K, noise]."""
        paths = scenes.paths
        turn = frames_of(paths)
        moves = torch.diff(paths, dim=1) @ turn  # [M, T - 1, 2] ahead and to the left, metres a frame
        _, state = self.gru(moves.transpose(0, 1))
        known = torch.cat([state[0], self._neighbours(scenes, turn)], 1)
        # The first layer of the decoder in two parts: of a person, and of a sample of a scene.
        drawn = self.on_noise(noise).transpose(0, 1)[:, scenes.scene]
        hidden = relu(drawn + self.on_known(known), inplace=True)
        change = self.last(relu(self.second(hidden), inplace=True)).unflatten(-1, (self.predicted, 2))
        return paths[:, -1:] + (moves[:, -1:] + change).cumsum(2) @ turn.mT

    def _neighbours(self, scenes: Scenes, turn: Tensor) -> Tensor:
        """Return, for each person, the maximum [M, width] over the others in the scene; 0 if there are none."""
        place, speed = scenes.paths[:, -1], scenes.paths[:, -1] - scenes.paths[:, -2]
        i, j = scenes.pairs(others=True)
        seen = torch.stack([place[j] - place[i], speed[j] - speed[i]], 1) @ turn[i]  # [pairs, 2, 2]
        return per_person(relu(self.neighbour(seen.flatten(1))), j, i, len(place))
