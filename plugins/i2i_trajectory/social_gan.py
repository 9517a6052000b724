"""The networks of Social GAN, for all scenes and all samples at once. arXiv:1803.10892.

Coordinates enter as displacements from frame to frame. The published code loops over scenes in the pooling, and over
the samples of the variety loss; here people of all scenes are in one list, only pairs within a scene exist, and
everything before the noise is computed once for all samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i import ConfigError

from .pooling import PairMaximum
from .recurrence import lstm
from .scenes import Scenes, normal
from .selective import Selective


def dense(*widths: int) -> nn.Sequential:
    """Return linear layers, each followed by ReLU, also the last."""
    return nn.Sequential(*[layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())])


def initialise(network: nn.Module) -> None:
    """Draw the weights of linear layers from Kaiming's normal distribution, as the published code does."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)


class PathEncoder(nn.Module):
    """An LSTM over linearly embedded displacements; returns its last state."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, embedding)
        self.lstm = nn.LSTMCell(embedding, hidden)

    def forward(self, observed: Tensor, futures: Tensor | None = None) -> Tensor:
        """Return the state [M, hidden] after paths [M, T, 2], or [K, M, hidden] after their futures [K, M, T', 2].

        The observed part is read once for all futures.
        """
        cell, embed = self.lstm, self.embed
        # The embedding is linear, so that it and the input layer are one map.
        bias = (cell.bias_ih + cell.bias_hh + cell.weight_ih @ embed.bias)[:, None]
        weight = torch.cat([cell.weight_hh, cell.weight_ih @ embed.weight, bias], 1)
        start = bias.expand(-1, len(observed))  # the first displacement is 0
        moves = torch.diff(observed, dim=1).permute(1, 2, 0)  # [T - 1, 2, M]
        states, memory = lstm(start, torch.zeros_like(start[: cell.hidden_size]), moves, weight)
        state: Tensor = states[-1]
        if futures is None:
            return state.T
        count = len(futures)
        state, memory = (values.repeat(1, count) for values in (state, memory))
        moves = torch.diff(torch.cat([observed[:, -1:].expand(count, -1, -1, -1), futures], 2), dim=2)
        moves = moves.permute(2, 3, 0, 1).flatten(2)  # [T', 2, K * M]
        summed = weight @ torch.cat([state, moves[0], torch.ones_like(state[:1])])
        states, _ = lstm(summed, memory, moves[1:], weight)
        return states[-1].T.unflatten(0, (count, -1))


class PairPooling(nn.Module):
    """For each person the maximum, over everyone in the scene, of an MLP of relative position and state.

    Source: arXiv:1803.10892, section 3.3.
    """

    def __init__(self, embedding: int, hidden: int, wide: int, out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, embedding)
        self.first, self.second = nn.Linear(embedding + hidden, wide), nn.Linear(wide, out)

    def forward(self, state: Tensor, place: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return [M, out].

        Args:
            state: [M, hidden].
            place: last positions [M, 2], from any origin; the nearer it is, the less rounding there is.
            sizes: number of people of each scene.
        """
        first, second = self.first, self.second
        on_place, on_state = first.weight.split([self.embed.out_features, state.shape[1]], 1)
        # As in PathEncoder, the embedding and the layer behind it are one map, here of place j - place i and state j.
        of_self = place @ (on_place @ self.embed.weight).T
        of_other = of_self + state @ on_state.T + (first.bias + on_place @ self.embed.bias)
        keep = torch.is_grad_enabled()
        most: Tensor = PairMaximum.apply(of_other, of_self, second.weight, second.bias, sizes, keep)
        return most


class SocialGANGenerator(nn.Module):
    """Encoder LSTM, pooling, noise, decoder LSTM: 60,234 parameters, or 16,634 without pooling.

    Args:
        predicted: frames to predict.
        noise: length of the noise vector of a scene.
        pooling: whether people see each other.
        embedding: width of embedded displacements.
        state: width of the LSTMs.
        width: hidden width of the MLP before the decoder.
        pool_width: hidden width of the pooling.
        pooled: output width of the pooling; 32 in the published script, 8 in the published weights.

    Raises:
        ConfigError: the noise leaves no room for anything else in the state.

    Source: arXiv:1803.10892 section 3; widths from the published `scripts/run_traj.sh`.
    """

    def __init__(
        self,
        predicted: PositiveInt = 12,
        noise: PositiveInt = 8,
        pooling: bool = True,
        embedding: PositiveInt = 16,
        state: PositiveInt = 32,
        width: PositiveInt = 64,
        pool_width: PositiveInt = 512,
        pooled: PositiveInt = 32,
    ) -> None:
        super().__init__()
        if noise >= state:
            raise ConfigError(f"social_gan_generator: noise is {noise}, a part of state, {state}: make it smaller")
        self.predicted, self.noise = predicted, noise
        self.encoder = PathEncoder(embedding, state)
        self.pool = PairPooling(embedding, state, pool_width, pooled) if pooling else None
        self.context = dense(state + pooled * pooling, width, state - noise)
        self.embed = nn.Linear(2, embedding)
        self.decoder = nn.LSTMCell(embedding, state)
        self.out = nn.Linear(state, 2)
        initialise(self)

    def draw(self, n: int, samples: int, source: torch.Generator | None = None) -> Tensor:
        """Return the noise [n, samples, noise] of `n` scenes."""
        return normal(n, samples, self.noise, source)

    def forward(self, scenes: Scenes, noise: Tensor) -> Tensor:
        """Predict positions [K, M, predicted, 2] from observed scenes and noise [N, K, noise]."""
        observed = scenes.paths
        state = self.encoder(observed)
        if self.pool is not None:
            state = torch.cat([state, self.pool(state, observed[:, -1], scenes.sizes())], 1)
        context, drawn = self.context(state), noise[scenes.scene].transpose(0, 1)
        state = torch.cat([context.expand(len(drawn), -1, -1), drawn], 2).flatten(0, 1)
        moves = self._decoded(state, observed[:, -1] - observed[:, -2]).unflatten(0, (len(drawn), -1))
        return observed[:, -1:] + moves.cumsum(2)

    def _decoded(self, state: Tensor, move: Tensor) -> Tensor:
        """Return displacements [B, predicted, 2] after states [B, hidden] and last displacements [M, 2], repeated."""
        cell, embed, out = self.decoder, self.embed, self.out
        on_move = cell.weight_ih @ embed.weight
        bias = (cell.bias_ih + cell.bias_hh + cell.weight_ih @ embed.bias)[:, None]
        first = torch.cat([cell.weight_hh, on_move, bias], 1)
        # Each output is embedded and becomes the next input: linear maps only, so they belong to those on the state.
        later = torch.cat([cell.weight_hh + on_move @ out.weight, bias + on_move @ out.bias[:, None]], 1)

        def walk(rows: Tensor, state: Tensor, first: Tensor, later: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            known = [state.index_select(0, rows), move[rows % len(move)], state.new_ones(len(rows), 1)]
            summed = first @ torch.cat(known, 1).T
            empty, nothing = torch.zeros_like(known[0].T), move.new_empty(self.predicted - 1, 0, len(rows))
            states, _ = lstm(summed, empty, nothing, later, every=True)  # [T, hidden, R]
            return torch.baddbmm(bias[:, None], weight.expand(len(states), -1, -1), states).permute(2, 0, 1)

        moves: Tensor = Selective.apply(walk, len(state), 1024, state, first, later, out.weight, out.bias)
        return moves


class SocialGANDiscriminator(nn.Module):
    """Scores whole paths, observed and future: 25,265 parameters. Source: arXiv:1803.10892, section 3.4.

    As published, the last layer is a ReLU too.
    """

    def __init__(self, embedding: PositiveInt = 16, hidden: PositiveInt = 64, width: PositiveInt = 64) -> None:
        super().__init__()
        self.encoder = PathEncoder(embedding, hidden)
        self.score = dense(hidden, width, 1)
        initialise(self)

    def forward(self, observed: Tensor, futures: Tensor) -> Tensor:
        """Return scores [K, M, 1] of paths [M, T, 2] with K futures [K, M, T', 2]: logits, but never below 0."""
        scores: Tensor = self.score(self.encoder(observed, futures))
        return scores
