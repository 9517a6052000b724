"""The weights of interpolation, as PyTorch has them: each output pixel is a weighted sum of a few input pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def weights(
    name: str, old: int, new: int, scale: float | None, align: bool, start: int, stop: int
) -> tuple[int, Tensor]:
    """Return how output pixels from `start` to `stop` along one axis depend on the input.

    Args:
        name: of the operation, which contains bilinear or bicubic, and aa if it is antialiased.
        old, new: sizes of input and output.
        scale: the factor of the output, if given.
        align: whether the corner pixels are aligned.

    Returns:
        The first input pixel, and a matrix [stop - start, input pixels].
    """
    ratio = (old - 1) / max(1, new - 1) if align else 1 / scale if scale else old / new
    smooth, cubic = name.endswith("aa"), "bicubic" in name
    reach = 2 if cubic else 1
    at = torch.arange(start, stop, dtype=torch.float64)
    if smooth:
        wide = max(1.0, ratio)
        centre = ratio * (at + 0.5)
        first = (centre - reach * wide + 0.5).long().clamp(min=0)
        last = (centre + reach * wide + 0.5).long().clamp(max=old)
        low, high = int(first.min()), int(last.max())
        places = torch.arange(low, high)
        away = (places - centre[:, None] + 0.5) / wide
        found = kernel(away, cubic, -0.5) * ((places >= first[:, None]) & (places < last[:, None]))
        return low, (found / found.sum(1, keepdim=True)).float()
    centre = ratio * at if align else ratio * (at + 0.5) - 0.5
    if not cubic:
        centre = centre.clamp(min=0)
    base = centre.floor().long()
    taps = base[:, None] + torch.arange(1 - reach, reach + 1)
    found = kernel(taps - centre[:, None], cubic, -0.75)
    taps = taps.clamp(0, old - 1)
    low = int(taps.min())
    matrix = torch.zeros(stop - start, int(taps.max()) + 1 - low, dtype=torch.float64)
    return low, matrix.scatter_add_(1, taps - low, found).float()


def kernel(away: Tensor, cubic: bool, sharp: float) -> Tensor:
    """Return the weight of a pixel at a distance: a triangle, or Keys' cubic with this parameter."""
    far = away.abs()
    if not cubic:
        return (1 - far).clamp(min=0)
    near = ((sharp + 2) * far - (sharp + 3)) * far**2 + 1
    tail = ((sharp * far - 5 * sharp) * far + 8 * sharp) * far - 4 * sharp
    return torch.where(far <= 1, near, torch.where(far < 2, tail, torch.zeros_like(far)))
