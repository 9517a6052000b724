"""Pieces of generators and discriminators that know of a class, or look at the whole picture at once.

Papers: conditional batch norm arXiv:1610.07629, projection arXiv:1802.05637, self-attention arXiv:1805.08318.
Run by: `i2i run configs/sagan.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from .spectral import spectral


class Layers(NamedTuple):
    """How a network makes its layers: initialised by one rule, with spectral norm or without.

    Attributes:
        init: draws a weight, in place; it sees the weight [out, in, ...].
        spectral_norm: divide each weight by its largest singular value.
    """

    init: Callable[[Tensor], Any]
    spectral_norm: bool = False

    def conv(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> nn.Module:
        """Return a convolution, by default one that keeps height and width."""
        padding = kernel // 2 if padding is None else padding
        return self._finished(nn.Conv2d(channels, out, kernel, stride, padding, bias=bias))

    def linear(self, features: int, out: int, bias: bool = True) -> nn.Module:
        """Return a linear layer."""
        return self._finished(nn.Linear(features, out, bias=bias))

    def embedding(self, classes: int, features: int) -> nn.Module:
        """Return a vector for each class."""
        return self._finished(nn.Embedding(classes, features))

    def _finished(self, layer: Any) -> nn.Module:
        with torch.no_grad():
            self.init(layer.weight)
            if getattr(layer, "bias", None) is not None:
                layer.bias.zero_()
        return spectral(layer) if self.spectral_norm else layer


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are made of a condition; without one, plain batch norm.

    Args:
        channels: of what is normalised.
        make: returns a module, condition -> [N, channels], for what is added to a gain of 1 and for the bias; None
            for batch norm with gains and biases of its own.

    Source: arXiv:1610.07629 eq. 5, for whole batches as in arXiv:1802.05637.
    """

    def __init__(self, channels: int, make: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.plain = nn.BatchNorm2d(channels, affine=make is None)
        self.gain = make(channels) if make else None
        self.bias = make(channels) if make else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise x [N, channels, H, W]; the shape stays."""
        h = self.plain(x)
        if self.gain is None or self.bias is None:
            return h
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], h, gain[:, :, None, None])


def by_label(classes: int) -> Callable[[int], nn.Module] | None:
    """Return what makes gains and biases of labels int64 [N], at first the same for all; None for no classes."""

    def make(channels: int) -> nn.Module:
        table = nn.Embedding(classes, channels)
        nn.init.zeros_(table.weight)
        return table

    return make if classes else None


class SelfAttention(nn.Module):
    """x + gamma * what each place of the map takes from all others; gamma starts at 0, so at first x itself.

    Queries and keys have an eighth of the channels, values half of them; keys and values are those of 2x2 pixels
    together, by their maximum.

    Args:
        channels: of the map.
        layers: how its convolutions are made; they have no bias.

    Source: arXiv:1805.08318 section 3, with the sizes of the published code.
    """

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = layers.conv(channels, narrow, 1, bias=False)
        self.key = layers.conv(channels, narrow, 1, bias=False)
        self.value = layers.conv(channels, half, 1, bias=False)
        self.out = layers.conv(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, channels, H, W], H and W even, to the same shape."""
        query = self.query(x).flatten(2)
        key, value = (max_pool2d(part(x), 2).flatten(2) for part in (self.key, self.value))
        share = torch.softmax(query.transpose(1, 2) @ key, 2)  # [N, H W, H W / 4]
        taken = (value @ share.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(taken)


class Projection(nn.Module):
    """Features to a logit: a linear function of them, plus their product with a vector for the class.

    Args:
        features: how many there are.
        classes: how many there are; 0 for none.
        layers: how its parts are made.
        bias: of the linear function.

    Source: arXiv:1802.05637 eq. 3 and figure 1d.
    """

    def __init__(self, features: int, classes: int, layers: Layers, bias: bool = True) -> None:
        super().__init__()
        self.linear = layers.linear(features, 1, bias=bias)
        self.table = layers.embedding(classes, features) if classes else None

    def forward(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Return logits [N, 1] of features [N, D], and of labels int64 [N] where there are classes."""
        logit = self.linear(h)
        return logit if self.table is None else logit + (self.table(label) * h).sum(1, keepdim=True)


def summed(h: Tensor) -> Tensor:
    """Return the features [N, C] of maps [N, C, H, W]: ReLU, then the sum over all places."""
    return relu(h).sum((2, 3))
