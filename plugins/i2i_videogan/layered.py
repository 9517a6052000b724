"""Networks for clips of a thing that moves on a background, made for CPUs: a clip costs little more than an image.

The generator draws the thing and the background once, and then moves the thing. It is not from a paper, but from two
ideas: a foreground with a mask on a still background (arXiv:1609.02612), placed by a differentiable shift
(arXiv:1506.02025). Content and motion are separate codes, as in MoCoGAN. The discriminator takes the frames as
channels of one image, as in arXiv:1511.05440. Run with: `i2i run configs/videogan.yaml`.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i.networks import DCGANDiscriminator, DCGANGenerator

from .predictor import shifted

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
    """Codes to clips: a DCGAN draws a background, a thing and its mask; a GRU moves the thing.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip.
        classes: number of classes, which affect what is drawn, but not the motion; 0 for unconditional.
        content: length of the content code.
        motion: length of the motion code.
        width: channels of the last feature map of the DCGAN.
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
        hidden: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.channels, self.frames, self.content, self.latent = channels, frames, content, content + motion
        self.draw = DCGANGenerator(2 * channels + 1, size, content, classes, width=width)
        self.path = Path(motion, hidden)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        drawn = self.draw(z[:, : self.content], label)
        background, thing, mask = drawn.split([self.channels, self.channels, 1], 1)
        mask = (mask + 1) / 2
        layer = torch.cat([mask * thing, mask], 1)[:, None].expand(-1, self.frames, -1, -1, -1)
        flow = self.path(z[:, self.content :], self.frames) * drawn.shape[-1]
        moved = shifted(
            layer.flatten(0, 1), flow.flatten(0, 1)[:, :, None, None].expand(-1, -1, *drawn.shape[2:]), "zeros"
        )
        moved = moved.unflatten(0, (len(z), self.frames))
        return moved[:, :, :-1] + (1 - moved[:, :, -1:]) * background[:, None]


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
