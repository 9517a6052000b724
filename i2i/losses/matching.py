"""Feature matching: generated images should produce the same discriminator features as real ones.

Papers: pix2pixHD arXiv:1711.11585 eq. 5, SPADE arXiv:1903.07291. Test with: `pytest tests/test_perceptual.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import l1_loss


def feature_matching(fakes: Sequence[Sequence[Tensor]], reals: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the L1 distance between discriminator features, summed over layers and averaged over scales.

    Args:
        fakes: the layer outputs of each discriminator (scale) for generated images, in order; the last are the
            logits, which are ignored.
        reals: the same for real images; detached here.

    Returns:
        A scalar.
    """
    scales = [
        torch.stack([l1_loss(a, b.detach()) for a, b in zip(fake[:-1], real[:-1], strict=True)]).sum()
        for fake, real in zip(fakes, reals, strict=True)
    ]
    return torch.stack(scales).mean()
