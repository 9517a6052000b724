"""The fully connected generator and discriminator of the first GANs, unconditional or class-conditional.

Papers: GAN arXiv:1406.2661, conditional GAN arXiv:1411.1784. Run with: `i2i run configs/gan.yaml`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import one_hot

Probability = Annotated[float, Ge(0), Lt(1)]


class DenseGenerator(nn.Module):
    """Latent codes to images: fully connected layers with ReLU, then tanh.

    Args:
        channels: image channels.
        size: image height and width.
        latent: length of a code.
        classes: number of classes, concatenated one-hot with the code; 0 for unconditional.
        widths: units of the hidden layers, from the code to the image.
        batch_norm: whether the hidden layers have batch norm.

    Example:
        >>> DenseGenerator(1, 28, 100, 0)(torch.zeros(2, 100)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        latent: int,
        classes: int = 0,
        /,
        widths: tuple[PositiveInt, ...] = (256, 512),
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.shape, self.classes = (channels, size, size), classes
        layers: list[nn.Module] = []
        for before, after in pairwise([latent + classes, *widths]):
            layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if batch_norm else []), nn.ReLU()]
        last = widths[-1] if widths else latent + classes
        self.layers = nn.Sequential(*layers, nn.Linear(last, channels * size * size), nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to images [N, C, H, W] in [-1, 1]."""
        return self.layers(with_label(z, label, self.classes)).unflatten(1, self.shape)


class DenseDiscriminator(nn.Module):
    """Images to one logit each: fully connected layers with leaky ReLU.

    Args:
        channels: image channels.
        size: image height and width.
        classes: number of classes, concatenated one-hot with the pixels; 0 for unconditional.
        widths: units of the hidden layers, from the image to the logit.
        dropout: probability of dropping a hidden unit in training.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        widths: tuple[PositiveInt, ...] = (512, 256),
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        for before, after in pairwise([channels * size * size + classes, *widths]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2), *([nn.Dropout(dropout)] if dropout else [])]
        last = widths[-1] if widths else channels * size * size + classes
        self.layers = nn.Sequential(*layers, nn.Linear(last, 1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, if there are classes, matches its label."""
        return self.layers(with_label(x.flatten(1), label, self.classes))


def with_label(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Concatenate x [N, D] with its one-hot label int64 [N]: [N, D + classes]."""
    return torch.cat([x, one_hot(label, classes).to(x)], 1) if classes and label is not None else x
