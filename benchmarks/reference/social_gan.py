"""Social GAN's training iteration in plain PyTorch, the baseline for i2i's speed. arXiv:1803.10892.

    python benchmarks/speed.py social_gan --rounds 30

32 scenes a batch, and three batches an iteration: two train D, the third trains G. As in the published code, pooling
goes scene by scene, the samples of the variety loss are drawn one after the other, and the losses of the
discriminator are not detached from the generator. The constants were measured by running the published code
(agrimgupta92/sgan).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

PARAMETERS = (60_234, 25_265)  # generator with pooling, discriminator
SCENES, GFLOP = 32, None  # the number of people differs from batch to batch
PREDICTED, SAMPLES, CLIP = 12, 10, 1.5


class Batch(NamedTuple):
    """32 scenes.

    Attributes:
        past, future: positions in metres [8, M, 2] and [12, M, 2], scene by scene.
        scenes: the people of each scene.
    """

    past: Tensor
    future: Tensor
    scenes: list[slice]


def mlp(*widths: int) -> nn.Sequential:
    """Return linear layers, each followed by ReLU, with Kaiming's normal initialisation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


def moves(path: Tensor, before: Tensor | None = None) -> Tensor:
    """Return displacements [T, M, 2] of positions [T, M, 2]; the first is 0, or from the position `before` [M, 2]."""
    return torch.diff(path, dim=0, prepend=(path[0] if before is None else before)[None])


class Encoder(nn.Module):
    """Displacements [T, M, 2] to the last state of an LSTM [M, hidden]."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Linear(2, 16), nn.LSTM(16, hidden)

    def forward(self, steps: Tensor) -> Tensor:
        """Return the last state."""
        embedded = self.embed(steps.reshape(-1, 2)).view(len(steps), -1, 16)
        state: Tensor = self.lstm(embedded)[1][0][0]
        return state


class Pooling(nn.Module):
    """States [M, 32] and positions [M, 2] to [M, 32]: for each person the maximum over everyone in the scene."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mlp = nn.Linear(2, 16), mlp(16 + 32, 512, 32)

    def forward(self, state: Tensor, place: Tensor, scenes: list[slice]) -> Tensor:
        """Return the maxima, scene by scene."""
        found = []
        for scene in scenes:
            h, x = state[scene], place[scene]
            n = len(h)
            relative = x.repeat(n, 1) - x.repeat_interleave(n, 0)
            pairs = self.mlp(torch.cat([self.embed(relative), h.repeat(n, 1)], 1))
            found.append(pairs.view(n, n, -1).max(1)[0])
        return torch.cat(found)


class Generator(nn.Module):
    """Past displacements to 12 future ones, with one noise vector a scene."""

    def __init__(self, pooling: bool = True) -> None:
        super().__init__()
        self.encoder = Encoder(32)
        self.pool = Pooling() if pooling else None
        self.context = mlp(64 if pooling else 32, 64, 24)
        self.embed, self.decoder, self.out = nn.Linear(2, 16), nn.LSTM(16, 32), nn.Linear(32, 2)

    def forward(self, batch: Batch, noise: Tensor) -> Tensor:
        """Return displacements [12, M, 2] for noise [N, 8]."""
        past = moves(batch.past)
        state = self.encoder(past)
        if self.pool is not None:
            state = torch.cat([state, self.pool(state, batch.past[-1], batch.scenes)], 1)
        own = torch.cat(
            [z.expand(scene.stop - scene.start, -1) for z, scene in zip(noise, batch.scenes, strict=True)]
        )
        h = torch.cat([self.context(state), own], 1)[None]
        c, step, found = torch.zeros_like(h), past[-1], []
        for _ in range(PREDICTED):
            _, (h, c) = self.decoder(self.embed(step)[None], (h, c))
            step = self.out(h[0])
            found.append(step)
        return torch.stack(found)


class Discriminator(nn.Module):
    """Displacements [20, M, 2] of whole paths to scores [M, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.score = Encoder(64), mlp(64, 64, 1)

    def forward(self, steps: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.score(self.encoder(steps))
        return scores


class SocialGAN:
    """Both networks, their optimizers, and an iteration: two updates of D and one of G, 32 scenes each."""

    def __init__(self, pooling: bool = True) -> None:
        self.G, self.D = Generator(pooling), Discriminator()
        self.optimizer_g = torch.optim.Adam(self.G.parameters(), lr=1e-3)
        self.optimizer_d = torch.optim.Adam(self.D.parameters(), lr=1e-3)

    def networks(self) -> tuple[nn.Module, ...]:
        """Return G, D."""
        return self.G, self.D

    def step(self, batch: list[Batch]) -> dict[str, float]:
        """Train D on all batches but the last, and G on the last; return the losses."""
        *for_d, for_g = batch
        losses = [self.train_d(batch) for batch in for_d]
        return {"D/gan": losses[-1]} | self.train_g(for_g)

    def train_d(self, batch: Batch) -> float:
        """Update D on real and generated paths."""
        past, noise = moves(batch.past), torch.randn(len(batch.scenes), 8)
        fake = torch.cat([past, self.G(batch, noise)])
        real = torch.cat([past, moves(batch.future, batch.past[-1])])
        on_fake, on_real = self.D(fake), self.D(real)
        label = torch.empty(()).uniform_(0.7, 1.2)
        loss = cross_entropy(on_real, label.expand_as(on_real)) + cross_entropy(on_fake, torch.zeros_like(on_fake))
        self.optimizer_d.zero_grad()
        loss.backward()
        self.optimizer_d.step()
        return loss.item()

    def train_g(self, batch: Batch) -> dict[str, float]:
        """Update G: the best of ten samples for each scene, and the judgement of D on the last."""
        true, errors, made = moves(batch.future, batch.past[-1]), [], torch.empty(0)
        for _ in range(SAMPLES):
            made = self.G(batch, torch.randn(len(batch.scenes), 8))
            errors.append((made - true).square().sum((0, 2)))
        error = torch.stack(errors, 1)  # [M, samples]
        best = torch.stack([error[s].sum(0).min() / (PREDICTED * (s.stop - s.start)) for s in batch.scenes])
        scores = self.D(torch.cat([moves(batch.past), made]))
        label = torch.empty(()).uniform_(0.7, 1.2)
        variety, gan = best.sum(), cross_entropy(scores, label.expand_as(scores))
        self.optimizer_g.zero_grad()
        (variety + gan).backward()
        nn.utils.clip_grad_norm_(self.G.parameters(), CLIP)
        self.optimizer_g.step()
        return {"G/variety": variety.item(), "G/gan": gan.item()}
