"""The fully connected generator and discriminator of the first GANs, with or without a class.

Papers: GAN arXiv:1406.2661, conditional GAN arXiv:1411.1784. Run by: `i2i run configs/gan.yaml`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import one_hot

Share = Annotated[float, Ge(0), Lt(1)]


class DenseGenerator(nn.Module):
    """Latent codes to pictures through fully connected layers with ReLU; tanh at the end.

    Args:
        channels: of the pictures.
        size: their height and width.
        latent: numbers in a code.
        classes: the class is put beside the code, one number each; 0 for none.
        widths: of the hidden layers, from the code on.
        batch_norm: in the hidden layers.

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
        """Turn codes [N, latent], and labels int64 [N] where there are classes, into images [N, C, H, W]."""
        return self.layers(beside(z, label, self.classes)).unflatten(1, self.shape)


class DenseDiscriminator(nn.Module):
    """Pictures to a logit each through fully connected layers with leaky ReLU.

    Args:
        channels: of the pictures.
        size: their height and width.
        classes: the class is put beside the pixels, one number each; 0 for none.
        widths: of the hidden layers, from the picture on.
        dropout: share of the hidden units that are left out while training.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        widths: tuple[PositiveInt, ...] = (512, 256),
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        for before, after in pairwise([channels * size * size + classes, *widths]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2), *([nn.Dropout(dropout)] if dropout else [])]
        last = widths[-1] if widths else channels * size * size + classes
        self.layers = nn.Sequential(*layers, nn.Linear(last, 1))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1], high where x [N, C, H, W] looks real and, where there are classes, like its label."""
        return self.layers(beside(x.flatten(1), label, self.classes))


def beside(x: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Return x [N, D] with its label int64 [N] beside it, one number for each class: [N, D + classes]."""
    return torch.cat([x, one_hot(label, classes).to(x)], 1) if classes and label is not None else x
