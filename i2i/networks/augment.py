"""Differentiable augmentation of everything D sees, real and generated, so that gradients still reach G.

Paper: arXiv:2006.10738. In a config: `augment: [translation, cutout]`.

Does not use kornia: its colour jitter clips values at 0 and 1, and gradients with them, its erased square never
extends beyond an edge, and at 32 pixels it takes about twice as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

Augmentation = Literal["colour", "translation", "cutout", "flip"]


def augmented(image: Tensor, kinds: Sequence[Augmentation]) -> Tensor:
    """Return images [N, C, H, W], each augmented at random by the given kinds, in that order.

    Parameters are drawn per image from torch's global generator. Differentiable.
    """
    for kind in kinds:
        image = KINDS[kind](image)
    return image


def colour(image: Tensor) -> Tensor:
    """Change brightness by up to 0.5, saturation up to twofold and contrast by half, as in the paper.

    Black is -1 and white is 1. Saturation does not affect grey images.
    """
    brightness, saturation, contrast = torch.rand(3, len(image), 1, 1, 1, device=image.device).unbind()
    image = image + (brightness - 0.5)
    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * (2 * saturation)
    mean = image.mean((1, 2, 3), keepdim=True)
    return mean + (image - mean) * (contrast + 0.5)


def translation(image: Tensor) -> Tensor:
    """Shift by up to an eighth of the image in each direction, padding with 0, as in the paper."""
    n, _, height, width = image.shape
    by = [round(side / 8) for side in (height, width)]
    padded = pad(image, (by[1], by[1], by[0], by[0]))
    top, left = (torch.randint(0, 2 * most + 1, (n, 1), device=image.device) for most in by)
    rows = (top + torch.arange(height, device=image.device))[:, :, None]  # [N, H, 1]
    columns = (left + torch.arange(width, device=image.device))[:, None]  # [N, 1, W]
    which = torch.arange(n, device=image.device)[:, None, None]
    return padded.movedim(1, 3)[which, rows, columns].movedim(3, 1)


def cutout(image: Tensor) -> Tensor:
    """Set a random square of half the image's sides to 0; it may extend beyond an edge."""
    n, _, height, width = image.shape

    def inside(side: int) -> Tensor:
        half = side // 4
        middle = torch.randint(0, side + 1, (n, 1), device=image.device)
        place = torch.arange(side, device=image.device)
        return (place >= middle - half) & (place < middle + half)

    hidden = inside(height)[:, :, None] & inside(width)[:, None]
    return image.masked_fill(hidden[:, None], 0.0)


def flip(image: Tensor) -> Tensor:
    """Flip half of the images horizontally."""
    mirrored = torch.rand(len(image), 1, 1, 1, device=image.device) < 0.5
    return torch.where(mirrored, image.flip(3), image)


KINDS: dict[Augmentation, Callable[[Tensor], Tensor]] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
}
