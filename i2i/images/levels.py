"""Pictures as levels: uint8 or uint16 tensors [N, C, H, W], 3 or 6 bytes for a pixel that takes 12 as float32.

A large picture and its result are held like this when a network runs in tiles; `floats` and `levels` convert a part
of them, and `bands` divides a picture into parts of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..files.scratch import release

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BAND = 1 << 20  # pixels that are converted at a time
FEW = 16  # rows: a system maps 64 kB for each one of a picture on the disk that is read, however short


def white(dtype: torch.dtype) -> int:
    """Return the highest level of an integer type."""
    return 255 if dtype.itemsize == 1 else 65535


def floats(values: Tensor) -> Tensor:
    """Return levels as float32 in [-1, 1]; floats as they are."""
    return values if values.is_floating_point() else values.float().div_(white(values.dtype)).mul_(2).sub_(1)


def part_of(
    image: Tensor, top: int, bottom: int, left: int, right: int, device: torch.device | None = None
) -> Tensor:
    """Return a part of a picture: of floats or class indices as it is, of `levels` as floats.

    Args:
        image: [N, C, H, W], in memory or on the disk (see `i2i.files.scratch`).
        top, bottom, left, right: the rows and columns; the last ones are excluded.
        device: where the part is returned.
    """
    import torch

    part = image[..., top:bottom, left:right]
    if image.dtype not in (torch.uint8, torch.uint16):
        return part.to(device) if device else part
    made = torch.empty(part.shape)
    for row in range(0, part.shape[-2], FEW):
        made[..., row : row + FEW, :] = floats(part[..., row : row + FEW, :])
        release()
    return made.to(device) if device else made


def unit_floats(values: Tensor) -> Tensor:
    """Return levels, or floats in [-1, 1], as float32 in [0, 1]."""
    if not values.is_floating_point():
        return values.float().div_(white(values.dtype))
    return ((values.detach().float() + 1) / 2).clamp(0, 1)


def levels(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return floats in [-1, 1] as levels, rounded to the nearest one."""
    return unit_floats(values).mul_(white(dtype)).round_().to(dtype)


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a picture in parts of about `BAND` pixels."""
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
