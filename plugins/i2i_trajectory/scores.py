"""How good predicted paths are: errors, best of K jointly or per person, collisions; and constant velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .scenes import Scenes

TOUCH = 0.2  # metres between two centres that count as a collision: two people of radius 0.1 m


def errors(made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and final distance in metres, each [K, M], of paths [K, M, T, 2] from the truth [M, T, 2]."""
    distance = (made - truth).norm(dim=-1)
    return distance.mean(-1), distance[..., -1]


def constant_velocity(observed: Tensor, steps: int, samples: int = 1, degrees: float = 0.0) -> Tensor:
    """Repeat the last displacement of paths [M, T, 2], turned by a random angle for each person and sample.

    Args:
        observed: positions in metres.
        steps: frames to predict.
        samples: K.
        degrees: standard deviation of the angle. Source: arXiv:1903.07933, where it is 25.

    Returns:
        Positions [K, M, steps, 2].
    """
    move = observed[:, -1] - observed[:, -2]
    angle = torch.randn(samples, len(observed), device=observed.device) * math.radians(degrees)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([cos * move[:, 0] - sin * move[:, 1], sin * move[:, 0] + cos * move[:, 1]], -1)
    time = torch.arange(1, steps + 1, device=observed.device, dtype=observed.dtype)
    return observed[:, -1:] + turned[:, :, None] * time[:, None]


@dataclass
class Errors:
    """Sums of errors over scenes; `means` are averages over people, as in the tables of the literature.

    `joint` takes the minimum over the samples once for a scene, for the sum over its people, as Social GAN does;
    `per_person` takes it for each person alone, as most later papers do, which gives lower numbers. The minimum of
    the mean and that of the final error are taken separately.
    """

    people: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, made: Tensor, truth: Tensor, scenes: Scenes) -> None:
        """Count predictions [K, M, T, 2] of the truth [M, T, 2]."""
        self.people += len(truth)
        for name, error in zip(("ade", "fde"), errors(made, truth), strict=True):
            self._sum(name, scenes.total(error).amin(0).sum())
            self._sum(f"{name}_per_person", error.amin(0).sum())
        self._sum("collisions", collisions(made, scenes).sum() / len(made))

    def _sum(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value.item()

    def means(self) -> dict[str, float]:
        """Return the averages: `ade`, `fde` (joint), `ade_per_person`, `fde_per_person`, `collisions`."""
        return {name: value / max(self.people, 1) for name, value in self.sums.items()}


def collisions(made: Tensor, scenes: Scenes, touch: float = TOUCH) -> Tensor:
    """Return which people [K, M] come nearer than `touch` metres to another in any frame of paths [K, M, T, 2]."""
    i, j = scenes.pairs()
    i, j = i[i < j], j[i < j]
    hit = torch.zeros(made.shape[:2], dtype=torch.bool, device=made.device)
    for k, paths in enumerate(made):  # one sample at a time: a crowd has thousands of pairs
        close = (paths[i] - paths[j]).square().sum(-1).amin(-1) < touch**2
        hit[k, i[close]] = True
        hit[k, j[close]] = True
    return hit
