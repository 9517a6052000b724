"""The networks of Social GAN, for all scenes and all samples at once. arXiv:1803.10892.

Coordinates enter as displacements from frame to frame. The published code loops over scenes in the pooling, and over
the samples of the variety loss; here people of all scenes are in one list, only pairs within a scene exist, and
everything before the noise is computed once for all samples.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from i2i import ConfigError

from .recurrence import Recurrence
from .scenes import Scenes, normal, per_person


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

    def forward(self, paths: Tensor) -> Tensor:
        """Return the state [M, hidden] after paths [M, T, 2]."""
        lstm, embed = self.lstm, self.embed
        # The embedding is linear, so that it and the input layer are one map.
        bias = (lstm.bias_ih + lstm.bias_hh + lstm.weight_ih @ embed.bias)[:, None]
        weight = torch.cat([lstm.weight_hh, lstm.weight_ih @ embed.weight, bias], 1)
        moves = torch.diff(paths, dim=1).permute(1, 2, 0)  # [T - 1, 2, M]; the first displacement is 0
        last: Tensor = Recurrence.apply(bias.expand(-1, len(paths)), moves, weight)[-1].T
        return last


class PairPooling(nn.Module):
    """For each person the maximum, over everyone in the scene, of an MLP of relative position and state.

    Source: arXiv:1803.10892, section 3.3.
    """

    def __init__(self, embedding: int, hidden: int, wide: int, out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2, embedding)
        self.first, self.second = nn.Linear(embedding + hidden, wide), nn.Linear(wide, out)

    def forward(self, state: Tensor, place: Tensor, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return [M, out].

        Args:
            state: [M, hidden].
            place: last positions [M, 2].
            pairs: i and j of all pairs; see `Scenes.pairs`.
        """
        i, j = pairs
        first, second = self.first, self.second
        on_place, on_state = first.weight.split([self.embed.out_features, state.shape[1]], 1)
        # As in PathEncoder, the embedding and the layer behind it are one map: 34 inputs a pair instead of 48.
        weight = torch.cat([on_place @ self.embed.weight, on_state], 1)
        bias = first.bias + on_place @ self.embed.bias
        known = torch.cat([place, state], 1)
        seen = known.index_select(0, j) - nn.functional.pad(place, (0, state.shape[1])).index_select(0, i)
        return per_person(relu(second(relu(linear(seen, weight, bias), inplace=True))), j, i, len(state))


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
            state = torch.cat([state, self.pool(state, observed[:, -1], scenes.pairs())], 1)
        context, drawn = self.context(state), noise[scenes.scene].transpose(0, 1)
        state = torch.cat([context.expand(len(drawn), -1, -1), drawn], 2).flatten(0, 1)
        move = (observed[:, -1] - observed[:, -2]).repeat(len(drawn), 1)
        moves = self._decoded(state, move).unflatten(0, (len(drawn), -1))
        return observed[:, -1:] + moves.cumsum(2)

    def _decoded(self, state: Tensor, move: Tensor) -> Tensor:
        """Return displacements [B, predicted, 2] that follow a state [B, hidden] and the last displacement [B, 2]."""
        lstm, embed, out = self.decoder, self.embed, self.out
        on_move = lstm.weight_ih @ embed.weight
        bias = (lstm.bias_ih + lstm.bias_hh + lstm.weight_ih @ embed.bias)[:, None]
        first = torch.cat([lstm.weight_hh, on_move], 1) @ torch.cat([state, move], 1).T + bias
        # Each output is embedded and becomes the next input: linear maps only, so they belong to those on the state.
        weight = torch.cat([lstm.weight_hh + on_move @ out.weight, bias + on_move @ out.bias[:, None]], 1)
        nothing = first.new_empty(self.predicted - 1, 0, first.shape[1])
        states = Recurrence.apply(first, nothing, weight).transpose(0, 1)  # [hidden, T, B]
        return (out.weight @ states.flatten(1) + out.bias[:, None]).unflatten(1, states.shape[1:]).permute(2, 1, 0)


class SocialGANDiscriminator(nn.Module):
    """Scores whole paths, observed and future: 25,265 parameters. Source: arXiv:1803.10892, section 3.4."""

    def __init__(self, embedding: PositiveInt = 16, hidden: PositiveInt = 64, width: PositiveInt = 64) -> None:
        super().__init__()
        self.encoder = PathEncoder(embedding, hidden)
        self.score = dense(hidden, width, 1)
        initialise(self)

    def forward(self, paths: Tensor) -> Tensor:
        """Return scores [M, 1] of paths [M, T, 2]: logits, but never below 0, as published."""
        scores: Tensor = self.score(self.encoder(paths))
        return scores
