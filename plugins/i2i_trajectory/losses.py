"""The losses of trajectory prediction: best of K samples for a whole scene, and smoothed adversarial labels."""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from i2i.losses import Objective

from .scenes import Scenes
from .scores import errors

Weight = Annotated[float, Ge(0)]


class SquaredVariety:
    """Social GAN's variety loss: squared errors of displacements, the best sample of each scene, summed over scenes.

    A scene counts the same whatever its number of people. Source: arXiv:1803.10892 eq. 3, and the published
    `scripts/train.py`, which sums over the scenes of a batch.
    """

    def __call__(self, made: Tensor, truth: Tensor, scenes: Scenes) -> Tensor:
        """Return the loss of K samples [K, M, T, 2] of the truth [M, T, 2]."""
        last = scenes.paths[:, -1:]
        moves, true = (
            torch.diff(paths, dim=-2, prepend=last.expand_as(paths[..., :1, :])) for paths in (made, truth)
        )
        error = scenes.total((moves - true).square().sum((-2, -1)))  # [K, N]
        people = scenes.people() * truth.shape[1]
        return (error / people).amin(0).sum()


class DistanceVariety:
    """What is measured, as a loss: mean distance plus `final` times the final one, of the best sample of each scene.

    Args:
        final: weight of the final distance.
        crowd: how much a scene of n people counts: n to this power. With 1 every person counts the same, as in the
            metrics; with 0 every scene does.
    """

    def __init__(self, final: Weight = 0.3, crowd: Weight = 0.5) -> None:
        self.final, self.crowd = final, crowd

    def __call__(self, made: Tensor, truth: Tensor, scenes: Scenes) -> Tensor:
        """Return the loss of K samples [K, M, T, 2] of the truth [M, T, 2], in metres."""
        mean, final = errors(made, truth)
        people = scenes.people()
        best = (scenes.total(mean + self.final * final) / people).amin(0)
        weight = people**self.crowd
        return (best * weight).sum() / weight.sum()


class SmoothedCrossEntropy(Objective):
    """Cross entropy with the label of real paths drawn from U(low, high), once for a batch.

    Args:
        low, high: the range of the label.
        lambda_d: factor on the discriminator's loss.

    Source: the published code of arXiv:1803.10892, `sgan/losses.py`.
    """

    def __init__(self, low: float = 0.7, high: float = 1.2, lambda_d: float = 1.0) -> None:
        super().__init__(lambda_d)
        self.low, self.high = low, high

    def convince(self, logits: Tensor) -> Tensor:
        """Return the generator's loss: its paths should pass for real ones."""
        return self.on_real(logits)

    def on_real(self, logits: Tensor) -> Tensor:
        """Return the cross entropy with a label near 1."""
        label = torch.empty((), device=logits.device).uniform_(self.low, self.high)
        return cross_entropy(logits, label.expand_as(logits))

    def on_fake(self, logits: Tensor) -> Tensor:
        """Return the cross entropy with the label 0."""
        return cross_entropy(logits, torch.zeros_like(logits))
