"""CIE Lab for colorization: the network sees the lightness, and its a and b are shown at that lightness.

`to_lab` and `from_lab` are each other's inverse for colours that sRGB can display.
"""

from __future__ import annotations

import torch
from torch import Tensor

from i2i.devices import full_precision


def to_lab(image: Tensor) -> Tensor:
    """Convert RGB images [N, 3, H, W] in [-1, 1] into L / 50 - 1, a / 110, b / 110 (D65), [N, 3, H, W]."""
    from kornia.color import rgb_to_lab

    with full_precision(image.device):  # in bf16, colours would be off by several units
        lab = rgb_to_lab((image.float() + 1) / 2)
        return torch.cat([lab[:, :1] / 50 - 1, lab[:, 1:] / 110], 1)


def from_lab(lab: Tensor, halvings: int = 12) -> Tensor:
    """Convert L / 50 - 1, a / 110, b / 110 into RGB in [-1, 1], [N, 3, H, W]; L and the hue are preserved.

    An out-of-gamut colour moves towards the grey of its lightness until it fits: clipping red, green and blue
    separately would change the lightness. The distance is found by `halvings` bisection steps per pixel.
    """
    from kornia.color import lab_to_rgb

    lightness, colour = (lab[:, :1].float() + 1) * 50, lab[:, 1:].float() * 110

    def rgb(share: Tensor | float) -> Tensor:
        return lab_to_rgb(torch.cat([lightness, share * colour], 1), clip=False)

    def fits(share: Tensor | float) -> Tensor:
        values = rgb(share)
        return ((values > -1e-4) & (values < 1 + 1e-4)).all(1, keepdim=True)

    inside = fits(1.0).float()  # the largest share of the chroma known to fit
    outside = torch.ones_like(inside)
    for _ in range(halvings):  # also if all fit: to find that out, an accelerator would have to be waited for
        middle = (inside + outside) / 2
        fit = fits(middle)
        inside, outside = torch.where(fit, middle, inside), torch.where(fit, outside, middle)
    return rgb(inside).clamp(0, 1) * 2 - 1
