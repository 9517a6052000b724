"""Likelihoods: log p(x | z) of an image given the decoder's output. arXiv:1312.6114, appendix C.

    likelihood: {use: bernoulli}                # grey values as probabilities of white, as on MNIST
    likelihood: {use: gaussian, sigma: null}    # colour; sigma is learned

Networks work on the scale of their likelihood; `scaled` and `mean` convert to and from images.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


class Bernoulli(nn.Module):
    """Each value is black or white: the decoder predicts the logit of white.

    For grey values x in 0..1 this is the cross entropy x log p + (1 - x) log(1 - p), used for the usual MNIST curves.
    It is then not a density and never 0: its optimum is the entropy of the grey values themselves.

    Source: arXiv:1312.6114, appendix C.1.
    """

    def scaled(self, image: Tensor) -> Tensor:
        """Scale images in [-1, 1] to 0..1."""
        return (image + 1) / 2

    def mean(self, given: Tensor) -> Tensor:
        """Convert decoder outputs to the expected images, in [-1, 1]."""
        return 2 * torch.sigmoid(given.float()) - 1

    def log_prob(self, given: Tensor, target: Tensor) -> Tensor:
        """Return log p(target | given) in nats [N], for logits and targets [N, C, H, W], targets in 0..1."""
        loss = binary_cross_entropy_with_logits(given.float(), target, reduction="none")
        return -loss.flatten(1).sum(1)


class Gaussian(nn.Module):
    """Each value is normally distributed around the decoder's output, with one standard deviation for all.

    Args:
        sigma: the standard deviation, for images in [-1, 1]; null to learn it, which balances reconstruction and KL
            automatically (arXiv:2006.13202, section 4).

    Source: arXiv:1312.6114, appendix C.2.
    """

    def __init__(self, sigma: Annotated[float, Gt(0)] | None = None) -> None:
        super().__init__()
        log_sigma = torch.tensor(math.log(sigma or 1.0))
        self.log_sigma: Tensor
        if sigma is None:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def scaled(self, image: Tensor) -> Tensor:
        """Return the images unchanged, in [-1, 1]."""
        return image

    def mean(self, given: Tensor) -> Tensor:
        """Return the decoder's output, clipped to [-1, 1]."""
        return given.float().clamp(-1, 1)

    def log_prob(self, given: Tensor, target: Tensor) -> Tensor:
        """Return log p(target | given) in nats [N], the log of a density, for both [N, C, H, W]."""
        off = (target - given.float()) * torch.exp(-self.log_sigma)
        each = -0.5 * off.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)
        return each.flatten(1).sum(1)
