"""Penalties on a discriminator's gradient with respect to its input.

Papers: R1 arXiv:1801.04406, gradient penalty of WGAN-GP arXiv:1704.00028.
Test with: `pytest tests/test_losses.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.linalg import vector_norm


def r1_penalty(D: Callable[[Tensor], Tensor | Sequence[Tensor]], real: Tensor, gamma: float = 10.0) -> Tensor:
    """Return gamma / 2 * E |dD/dx|^2 at real images, a scalar.

    Args:
        D: images -> logits, or a list of them.
        real: images [N, C, H, W].
        gamma: weight, 10 in the paper.

    Source: arXiv:1801.04406 eq. 9.
    """
    return 0.5 * gamma * gradient_norms(D, real).square().mean()


def gradient_penalty(D: Callable[[Tensor], Tensor | Sequence[Tensor]], real: Tensor, fake: Tensor) -> Tensor:
    """Return E (|dD/dx| - 1)^2 at random points between real and fake images, a scalar.

    The points are drawn from torch's global generator, one random number per image or clip.

    Args:
        D: images -> logits, or a list of them.
        real: images [N, C, H, W], or clips [N, T, C, H, W].
        fake: of the same shape, also in half precision, as a generator gives them under autocast; detached here.

    Source: arXiv:1704.00028 eq. 3.
    """
    t = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
    return (gradient_norms(D, torch.lerp(real, fake.detach().to(real.dtype), t)) - 1).square().mean()


def gradient_norms(D: Callable[[Tensor], Tensor | Sequence[Tensor]], images: Tensor) -> Tensor:
    """Return |dD/dx| [N] at `images`, itself differentiable.

    As in the objectives, D is the mean logit of an image over its patches and scales.
    """
    x = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = D(x)
        scales = [logits] if isinstance(logits, Tensor) else logits
        score = torch.stack([scale.reshape(len(x), -1).mean(1).sum() for scale in scales]).mean()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
    return vector_norm(gradient.flatten(1), dim=1)
