"""The generator of VGAN: a moving foreground with a mask, on a background that does not move.

Paper: arXiv:1609.02612, section 3. Run with: `i2i run configs/real/vgan_actions.yaml data.root=actions.npz`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import one_hot

from i2i.networks import DCGANGenerator

from .frames import SMALLEST, widths_for


class VGANGenerator(nn.Module):
    """Codes to clips: m * f + (1 - m) * b, with foreground f and mask m from 3-D convolutions, b from a DCGAN.

    All three are drawn from the same code. With classes, it is followed by the class as a one-hot vector.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip. Each transposed convolution doubles height, width and frames; of the frames that are
            too many, the first ones are kept.
        classes: number of classes; 0 for unconditional.
        latent: length of a code.
        width: channels of the last feature maps of foreground and background; they double from each map to the one
            before it, up to 8 * width.

    Attributes:
        latent: length of a code.

    Source: arXiv:1609.02612, section 3.1 and figure 1, which has 32 frames of 64 px, codes of 100 and width 64.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        latent: PositiveInt = 100,
        width: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.frames, self.classes, self.latent = frames, classes, latent
        widths = widths_for(size, width, 8)[::-1]
        first = -(-frames // 2 ** len(widths))
        layers: list[nn.Module] = [
            nn.ConvTranspose3d(latent + classes, widths[0], (first, SMALLEST, SMALLEST), bias=False)
        ]
        for before, after in pairwise(widths):
            layers += [nn.BatchNorm3d(before), nn.ReLU(), nn.ConvTranspose3d(before, after, 4, 2, 1, bias=False)]
        self.moving = nn.Sequential(*layers, nn.BatchNorm3d(widths[-1]), nn.ReLU())
        self.foreground = nn.ConvTranspose3d(widths[-1], channels, 4, 2, 1)
        self.mask = nn.ConvTranspose3d(widths[-1], 1, 4, 2, 1)
        self.background = DCGANGenerator(channels, size, latent + classes, width=width)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        foreground, mask, background = self.layers(z, label)
        return mask * foreground + (1 - mask) * background[:, None]

    def layers(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the foreground [N, T, C, H, W] in [-1, 1], its mask [N, T, 1, H, W] in [0, 1], and the background.

        The background is [N, C, H, W] in [-1, 1].
        """
        if self.classes:
            z = torch.cat([z, one_hot(label, self.classes).to(z)], 1)  # type: ignore[arg-type]
        h = self.moving(z[:, :, None, None, None])
        foreground, mask = (head(h).transpose(1, 2)[:, : self.frames] for head in (self.foreground, self.mask))
        return foreground.tanh(), mask.sigmoid(), self.background(z)
