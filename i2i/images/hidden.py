"""`fill_hidden`: the colour of pixels that nobody sees, so that networks do not draw it into what is visible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..files.scratch import release
from .levels import bands
from .spill import empty

if TYPE_CHECKING:
    from torch import Tensor

AROUND = 256  # rows above and below in which the nearest visible pixel of a large picture is looked for


def fill_hidden(colour: Tensor, alpha: Tensor) -> Tensor:
    """Give pixels that nobody sees the colour of the nearest visible pixel.

    Otherwise the hidden colour, which is black or white in most files, shows up in the rim of what is visible, as
    networks look at neighbours.

    Of a large picture this is done in bands, and what is hidden more than `AROUND` rows away from anything visible
    keeps its colour; no network that is tiled with a margin sees as far.

    Args:
        colour: [N, 3, H, W] in [-1, 1], or `levels`.
        alpha: [N, 1, H, W] in [0, 1], or `levels`.

    Returns:
        The colour, changed where alpha is 0; images of which nothing is visible are unchanged.
    """
    import torch

    count, channels, height, width = colour.shape
    if colour.is_floating_point() or count > 1 or not any((alpha[..., rows, :] == 0).any() for rows in parts(alpha)):
        return filled(colour, alpha) if colour.is_floating_point() or count > 1 else colour
    dtype = np.uint8 if colour.dtype == torch.uint8 else np.uint16
    made = torch.from_numpy(empty((1, height, width, channels), dtype)).permute(0, 3, 1, 2)
    for rows in parts(alpha):
        first, last = max(0, rows.start - AROUND), rows.stop + AROUND
        near = filled(colour[..., first:last, :], alpha[..., first:last, :])
        made[..., rows, :] = near[..., rows.start - first : rows.stop - first, :]
    return made


def parts(alpha: Tensor) -> Iterator[slice]:
    """Yield rows of a picture in parts, and forget what was read of it from the disk."""
    for rows in bands(*alpha.shape[2:]):
        yield rows
        release()


def filled(colour: Tensor, alpha: Tensor) -> Tensor:
    """Return a copy with the hidden pixels of the whole filled; see `fill_hidden`."""
    import cv2
    import torch

    made = colour.clone()
    for image, hidden in zip(made, (alpha[:, 0] == 0).cpu().numpy(), strict=True):
        if hidden.all() or not hidden.any():
            continue
        kind = cv2.DIST_LABEL_PIXEL
        nearest = cv2.distanceTransformWithLabels(hidden.astype(np.uint8), cv2.DIST_L2, 5, labelType=kind)[1].ravel()
        visible = np.flatnonzero(~hidden)
        place = np.zeros(nearest.max() + 1, np.int64)
        place[nearest[visible]] = visible
        image.copy_(image.flatten(1)[:, torch.from_numpy(place[nearest]).to(image.device)].view_as(image))
    return made
