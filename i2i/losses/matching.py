"""Feature matching: the generator is to give the discriminator's layers what real pictures give them.

Papers: pix2pixHD arXiv:1711.11585 eq. 5, SPADE arXiv:1903.07291. Tried by `pytest tests/test_perceptual.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss


def feature_matching(fakes: Sequence[Sequence[Tensor]], reals: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the L1 distance between a discriminator's features, added up over layers, the mean over scales.

    Args:
        fakes: for each discriminator (scale) what its layers give for generated images, in order; the last are its
            logits, and they do not count.
        reals: the same for real images; detached here.

    Returns:
        A scalar.
    """
    scales = [
        torch.stack([l1_loss(a, b.detach()) for a, b in zip(fake[:-1], real[:-1], strict=True)]).sum()
        for fake, real in zip(fakes, reals, strict=True)
    ]
    return torch.stack(scales).mean()
