"""Spectral norm: the weight of a layer divided by its largest singular value.

Paper: SNGAN, arXiv:1802.05957. Run with: `i2i run configs/spade.yaml`.

It follows PyTorch's `parametrizations.spectral_norm` with two differences. It works with averaged weights: the
averaged singular vectors lag behind and are shorter than 1, so PyTorch would underestimate the singular value by half
(the median of a generator's layers after 150 steps), and images turn white. And it can be pickled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize


class Spectral(nn.Module):
    """Weight [out, ...] divided by its largest singular value, estimated by warm-started power iteration.

    In training, each forward pass runs one iteration and stores its result. In eval mode it runs three and stores
    nothing, so the same weight always gives the same result, and averaged weights are accurate to 1 %.

    Source: arXiv:1802.05957, algorithm 1.
    """

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        self.register_buffer("u", normalize(torch.randn_like(flat[:, 0]), dim=0))
        self.u.copy_(self.vectors(flat, 10)[0])

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, scaled to a largest singular value of 1."""
        flat = weight.flatten(1)
        u, v = self.vectors(flat.detach(), 1 if self.training else 3)
        if self.training:
            self.u.copy_(u)
        return weight / torch.dot(u, torch.mv(flat, v))

    def vectors(self, flat: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Estimate the leading left and right singular vectors of [out, n] by power iteration."""
        u = self.u
        for _ in range(iterations):
            v = normalize(torch.mv(flat.T, u), dim=0, eps=1e-12)
            u = normalize(torch.mv(flat, v), dim=0, eps=1e-12)
        return u, v


def spectral(layer: nn.Module) -> nn.Module:
    """Divide the weight of a layer by its largest singular value.

    Args:
        layer: an initialised convolution, linear or embedding layer; modified in place.

    Returns:
        The same layer; the trained parameter is `layer.parametrizations.weight.original`.

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
    """Reduce a layer for pickling to its original class, its attributes and its parametrization."""
    own = {"weight": layer.parametrizations.weight.original, **layer._parameters}
    attributes = {**layer.__dict__, "_parameters": own, "_modules": {}}
    return _restored, (type(layer).__base__, attributes, layer.parametrizations.weight[0])


def _restored(kind: type[nn.Module], attributes: dict[str, Any], parametrization: Spectral) -> nn.Module:
    """Rebuild a layer from what `_reduced` returned."""
    layer: Any = kind.__new__(kind)
    layer.__dict__.update(attributes)
    training = parametrization.training
    with torch.random.fork_rng(devices=[]):
        spectral(layer)
    layer.parametrizations.weight[0] = parametrization
    return layer.train(training)
