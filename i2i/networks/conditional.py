"""Layers of class-conditional generators and discriminators, and self-attention.

Papers: conditional batch norm arXiv:1610.07629, projection arXiv:1802.05637, self-attention arXiv:1805.08318.
Run with: `i2i run configs/sagan.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from .spectral_norm import spectral


class Layers(NamedTuple):
    """Layer factory of a network: one initialisation for all layers, with or without spectral norm.

    Attributes:
        init: initialises a weight [out, in, ...] in place.
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
        """Return a convolution; the default padding keeps height and width."""
        padding = kernel // 2 if padding is None else padding
        return self._finished(nn.Conv2d(channels, out, kernel, stride, padding, bias=bias))

    def linear(self, features: int, out: int, bias: bool = True) -> nn.Module:
        """Return a linear layer."""
        return self._finished(nn.Linear(features, out, bias=bias))

    def embedding(self, classes: int, features: int) -> nn.Module:
        """Return a class embedding."""
        return self._finished(nn.Embedding(classes, features))

    def _finished(self, layer: Any) -> nn.Module:
        with torch.no_grad():
            self.init(layer.weight)
            if getattr(layer, "bias", None) is not None:
                layer.bias.zero_()
        return spectral(layer) if self.spectral_norm else layer


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are functions of a condition; without one, plain batch norm.

    Args:
        channels: channels of the feature map.
        make: channels -> module, which maps a condition to [N, channels]; called twice, for the bias and for the
            offset of the gain from 1. None for plain batch norm with learned gains and biases.

    Source: arXiv:1610.07629 eq. 5, with batch statistics as in arXiv:1802.05637.
    """

    def __init__(self, channels: int, make: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        self.plain = nn.BatchNorm2d(channels, affine=make is None)
        self.gain = make(channels) if make else None
        self.bias = make(channels) if make else None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalise x [N, channels, H, W]; the shape is unchanged."""
        h = self.plain(x)
        if self.gain is None or self.bias is None:
            return h
        gain, bias = 1 + self.gain(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], h, gain[:, :, None, None])


def by_label(classes: int) -> Callable[[int], nn.Module] | None:
    """Return `make` for `ConditionalBatchNorm` on labels int64 [N], initially zero; None if there are no classes."""

    def make(channels: int) -> nn.Module:
        table = nn.Embedding(classes, channels)
        nn.init.zeros_(table.weight)
        return table

    return make if classes else None


class SelfAttention(nn.Module):
    """Self-attention over all positions: x + gamma * attention(x), with gamma = 0 at initialisation.

    Queries and keys have an eighth of the channels, values half; keys and values are 2x2 max-pooled.

    Args:
        channels: channels of the feature map.
        layers: factory of its convolutions, which have no bias.

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
        attention = torch.softmax(query.transpose(1, 2) @ key, 2)  # [N, H W, H W / 4]
        h = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(h)


class Projection(nn.Module):
    """Projection discriminator head: a linear layer, plus the inner product of features and class embedding.

    Args:
        features: number of features.
        classes: number of classes; 0 for unconditional.
        layers: factory of its layers.
        bias: whether the linear layer has a bias.

    Source: arXiv:1802.05637 eq. 3 and figure 1d.
    """

    def __init__(self, features: int, classes: int, layers: Layers, bias: bool = True) -> None:
        super().__init__()
        self.linear = layers.linear(features, 1, bias=bias)
        self.table = layers.embedding(classes, features) if classes else None

    def forward(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Map features [N, D], and labels int64 [N] if there are classes, to logits [N, 1]."""
        logit = self.linear(h)
        return logit if self.table is None else logit + (self.table(label) * h).sum(1, keepdim=True)


def sum_pool(h: Tensor) -> Tensor:
    """Reduce feature maps [N, C, H, W] to features [N, C]: ReLU, then the sum over all positions."""
    return relu(h).sum((2, 3))
