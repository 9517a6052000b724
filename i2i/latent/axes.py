"""Which axes of a latent space a model uses: a VAE may ignore some, and a traversal of these shows nothing.

used = i2i.latent.usage(model)          # variance of each axis over training images
i2i.latent.unused(used)                 # [3, 7]: posterior collapse
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import Model
from .codes import encoded, need
from .examples import batches, data_of

EXAMPLES = 512  # training images from which it is measured
LEAST = 0.01  # variance below which an axis is unused; it is 1 where an axis carries all that the prior has room for


def usage(model: Model, root: str | None = None, n: int = EXAMPLES) -> Tensor:
    """Return the variance of each axis of the code over training images: float32 [axes], of the flattened code.

    Args:
        model: a model whose task can encode; `encode` of a VAE gives the mean of the posterior.
        root: the new folder of the data set, if it was moved.
        n: maximum number of training images, a random subset.

    Raises:
        ConfigError: the task cannot encode.
        DataError: the data set does not exist.

    Source: arXiv:1509.00519, section 5.2, "active units".
    """
    need(model, "encode")
    codes = [encoded(model, x).flatten(1) for _, x, _ in batches(model, data_of(model, root), n)]
    return torch.cat(codes).var(0, correction=0)


def unused(variances: Tensor) -> list[int]:
    """Return the axes whose variance is below the threshold of the source, 0.01."""
    return (variances < LEAST).nonzero().flatten().tolist()
