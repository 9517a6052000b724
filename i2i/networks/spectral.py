"""Spectral norm: a layer whose weight is divided by its largest singular value.

Paper: SNGAN, arXiv:1802.05957. Run by: `i2i run configs/spade.yaml`.

This stays close to PyTorch's `parametrizations.spectral_norm` but for two things. Averaged weights come with averaged
singular vectors, which lag behind and are shorter than 1: PyTorch would take the singular value for half of what it
is (the median of a generator's layers after 150 steps), and pictures become white. And it refuses to be pickled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize


class Spectral(nn.Module):
    """Weight [out, ...] to weight / its largest singular value, by power iteration from where the last one ended.

    While training there is one iteration for each forward pass, and it is remembered. In use there are three, which
    are forgotten again: the same weight gives the same result each time, and averaged weights are right to 1 %.

    Source: arXiv:1802.05957, algorithm 1.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        self.register_buffer("u", normalize(torch.randn_like(flat[:, 0]), dim=0))
        self.u.copy_(self.vectors(flat, 10)[0])

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, its largest singular value 1."""
        flat = weight.flatten(1)
        u, v = self.vectors(flat.detach(), 1 if self.training else 3)
        if self.training:
            self.u.copy_(u)
        return weight / torch.dot(u, torch.mv(flat, v))

    def vectors(self, flat: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Return the first left and right singular vectors of [out, n], better with every iteration."""
        u = self.u
        for _ in range(iterations):
            v = normalize(torch.mv(flat.T, u), dim=0, eps=1e-12)
            u = normalize(torch.mv(flat, v), dim=0, eps=1e-12)
        return u, v


def spectral(layer: nn.Module) -> nn.Module:
    """Divide the weight of a layer by its largest singular value.

    Args:
        layer: a convolution or a linear layer, initialised; it is changed.

    Returns:
        The same layer; what is trained is `layer.parametrizations.weight.original`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> layer = spectral(nn.Linear(30, 20))
        >>> for _ in range(50):
        ...     y = layer(torch.randn(1, 30))
        >>> round(torch.linalg.matrix_norm(layer.weight.detach(), 2).item(), 2)
        1.0
    """
    parametrize.register_parametrization(layer, "weight", Spectral(layer.weight))  # type: ignore[arg-type]
    type(layer).__reduce_ex__ = _reduced  # type: ignore[method-assign]
    return layer


def _reduced(layer: Any, protocol: Any) -> tuple[Any, ...]:
    """Take a layer apart for pickling: its class before it was changed, its attributes, its parametrization."""
    own = {"weight": layer.parametrizations.weight.original, **layer._parameters}
    attributes = {**layer.__dict__, "_parameters": own, "_modules": {}}
    return _restored, (type(layer).__base__, attributes, layer.parametrizations.weight[0])


def _restored(kind: type[nn.Module], attributes: dict[str, Any], parametrization: Spectral) -> nn.Module:
    """Put it together again."""
    layer: Any = kind.__new__(kind)
    layer.__dict__.update(attributes)
    training = parametrization.training
    with torch.random.fork_rng(devices=[]):
        spectral(layer)
    layer.parametrizations.weight[0] = parametrization
    return layer.train(training)
