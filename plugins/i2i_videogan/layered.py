"""Networks for clips of a thing that moves on a background, made for CPUs: a clip costs little more than an image.

The generator draws the thing once, on a background of one colour, and then moves it. It is not from a paper, but from
two ideas: a foreground with a mask on a still background (arXiv:1609.02612), placed by a differentiable shift
(arXiv:1506.02025). Content and motion are separate codes, as in MoCoGAN. The discriminator takes the frames as
channels of one image, as in arXiv:1511.05440. Run with: `i2i run configs/videogan.yaml`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Gt, Le
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from i2i.networks import DCGANDiscriminator, DCGANGenerator

SPREAD, PACE, PUSH = 0.4, 0.15, 0.05  # units of position, velocity and change of velocity, in frame sides


class Path(nn.Module):
    """Motion codes to paths: constant velocity plus learned changes, which depend on where it is and was.

    Args:
        motion: length of a code.
        hidden: units of the GRU.
    """

    def __init__(self, motion: int, hidden: int) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Linear(motion, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        self.recurrent = nn.GRUCell(4, hidden)
        self.push = nn.Linear(hidden, 2)

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """Map codes [N, motion] to positions [N, frames, 2] (x, y) relative to the middle, in frame sides."""
        p, v = self.start(z).split(2, 1)
        p, v = SPREAD * p, PACE * v
        h, path = z.new_zeros(len(z), self.recurrent.hidden_size), []
        for _ in range(frames):
            path.append(p)
            h = self.recurrent(torch.cat([p / SPREAD, v / PACE], 1), h)
            v = v + PUSH * self.push(h)
            p = p + v
        return torch.stack(path, 1)


class LayeredGenerator(nn.Module):
    """Codes to clips: a DCGAN draws a thing, its mask and the colour of the background; a GRU moves the thing.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip.
        classes: number of classes, which affect what is drawn, but not the motion; 0 for unconditional.
        content: length of the content code.
        motion: length of the motion code.
        width: channels of the last feature map of the DCGAN.
        extent: height and width of the window in which the thing is drawn, relative to the frame.
        hidden: units of the GRU.

    Attributes:
        latent: length of a code, content + motion.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        content: PositiveInt = 64,
        motion: PositiveInt = 16,
        width: PositiveInt = 16,
        extent: Annotated[float, Gt(0), Le(1)] = 0.6,
        hidden: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.channels, self.frames, self.extent = channels, frames, extent
        self.content, self.latent = content, content + motion
        self.draw = DCGANGenerator(2 * channels + 1, size, content, classes, width=width)
        self.path = Path(motion, hidden)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        drawn = self.draw(z[:, : self.content], label)
        background, thing, mask = drawn.split([self.channels, self.channels, 1], 1)
        background = background.mean((2, 3), keepdim=True)  # if not, it draws what the mask uncovers
        mask = (mask + 1) / 2
        layer = torch.cat([mask * thing, mask], 1)[:, None].expand(-1, self.frames, -1, -1, -1)
        moved = placed(layer.flatten(0, 1), self.path(z[:, self.content :], self.frames).flatten(0, 1), self.extent)
        moved = moved.unflatten(0, (len(z), self.frames))
        return moved[:, :, :-1] + (1 - moved[:, :, -1:]) * background[:, None]


def placed(image: Tensor, position: Tensor, extent: float) -> Tensor:
    """Return images [N, C, H, W], shrunk to `extent` and placed, with zeros around them.

    Args:
        image: [N, C, H, W].
        position: of their middle [N, 2] (x, y) relative to the middle of the frame, in frame sides.
        extent: height and width, relative to the frame.
    """
    if not len(image):  # which affine_grid rejects
        return image
    window = torch.eye(2, 3, device=image.device).repeat(len(image), 1, 1)
    window[:, :, 2] = -2 * position
    grid = affine_grid(window / extent, list(image.shape), align_corners=False)
    return grid_sample(image, grid, align_corners=False)


class StackedDiscriminator(nn.Module):
    """Logits of clips, by DCGAN's discriminator with spectral norm on the frames as channels of one image.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip.
        classes: number of classes, with a projection; 0 for unconditional.
        width: channels of the first feature map; they double from each map to the next, up to 8 * width.
    """

    def __init__(self, channels: int, size: int, frames: int, classes: int = 0, /, width: PositiveInt = 32) -> None:
        super().__init__()
        self.judge = DCGANDiscriminator(channels * frames, size, classes, width=width, norm="spectral")

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map clips [N, T, C, H, W], and labels int64 [N] if there are classes, to logits [N, 1]."""
        return self.judge(x.flatten(1, 2), label)
