"""Networks for clips of a thing that moves on a background, made for CPUs: a clip costs little more than an image.

The generator draws the thing once, on a background of one colour, and then moves it. It is not from a paper, but from
two ideas: a foreground with a mask on a still background (arXiv:1609.02612), placed by a differentiable shift
(arXiv:1506.02025). Content and motion are separate codes, as in MoCoGAN. The discriminator takes the frames as
channels of one image, as in arXiv:1511.05440. Run with: `i2i run configs/videogan.yaml`, and for solid things
`i2i run configs/real/videogan_shapes.yaml data.root=shapes.npz`.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from i2i.networks import DCGANDiscriminator, DCGANGenerator

SPREAD, PACE, PUSH = 0.4, 0.15, 0.05  # units of position, velocity and change of velocity, in frame sides
SMOOTH, STEEP = 5, 12.0  # pixels over which a drawing is smoothed, and slope of a mask at its edge


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

    The drawing has as many pixels as the window needs: the next size that a DCGAN can draw.

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

    drawings: ClassVar[int] = 2  # pictures that the DCGAN draws, besides the mask

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
        self.channels, self.size, self.frames, self.extent = channels, size, frames, extent
        self.content, self.latent = content, content + motion
        drawings = self.drawings * channels + 1
        self.draw = DCGANGenerator(drawings, drawn_size(size, extent), content, classes, width=width)
        self.path = Path(motion, hidden)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        background, thing, mask = self.drawn(z[:, : self.content], label)
        layer = torch.cat([mask * thing, mask], 1)[:, None].expand(-1, self.frames, -1, -1, -1)
        path = self.route(self.path(z[:, self.content :], self.frames), mask)
        moved = placed(layer.flatten(0, 1), path.flatten(0, 1), self.extent, self.size)
        moved = moved.unflatten(0, (len(z), self.frames))
        return moved[:, :, :-1] + (1 - moved[:, :, -1:]) * background[:, None]

    def drawn(self, content: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the colour of the background [N, C, 1, 1], the thing [N, C, h, w] or [N, C, 1, 1], and its mask."""
        background, thing, mask = self.draw(content, label).split([self.channels, self.channels, 1], 1)
        background = background.mean((2, 3), keepdim=True)  # if not, it draws what the mask uncovers
        return background, thing, (mask + 1) / 2

    def route(self, path: Tensor, mask: Tensor) -> Tensor:
        """Return the path [N, T, 2] of the middle of the window in which the mask [N, 1, h, w] is."""
        return path


class SolidGenerator(LayeredGenerator):
    """The same for a solid thing: it has one colour, and can neither fade nor shrink away nor leave the frame.

    A DCGAN draws heights, which are smoothed; the mask is what is higher than half of the maximum. The centre of mass
    of the mask follows the path, and stays in the frame. Layers of their own compute the colour of the thing and that
    of the background, which starts out black, from the content code. Without all this, G first learns that a missing
    thing is better than a wrong one, and its clips stay empty.

    Args: as for `LayeredGenerator`.
    """

    drawings = 0

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
        extent: Annotated[float, Gt(0), Le(1)] = 0.3,
        hidden: PositiveInt = 64,
    ) -> None:
        super().__init__(channels, size, frames, classes, content, motion, width, extent, hidden)
        self.ground = nn.Sequential(nn.Linear(content, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.colour = nn.Linear(content, channels)
        # Things of all colours on black. If all clips had to become darker first, G would shrink and hide the things.
        nn.init.normal_(self.colour.weight, std=content**-0.5)
        nn.init.zeros_(self.ground[-1].weight)  # type: ignore[arg-type]
        nn.init.constant_(self.ground[-1].bias, -3.0)  # type: ignore[arg-type]
        pixels = drawn_size(size, extent)
        window = torch.hann_window(pixels + 2, periodic=False)[1:-1]
        self.register_buffer("window", window[:, None] * window, persistent=False)

    def drawn(self, content: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the colours of the background and the thing, both [N, C, 1, 1], and the mask [N, 1, h, w]."""
        background, thing = (layer(content).tanh()[:, :, None, None] for layer in (self.ground, self.colour))
        height = avg_pool2d((self.draw(content, label) + 1) * self.window, SMOOTH, 1, SMOOTH // 2)
        height = height / height.amax((2, 3), keepdim=True).clamp_min(1e-6)
        return background, thing, torch.sigmoid(STEEP * (height - 1 / 2))

    def route(self, path: Tensor, mask: Tensor) -> Tensor:
        """Return the path [N, T, 2] of the middle of the window that puts the centre of the mask on the given one."""
        place = torch.linspace(-1, 1, 2 * mask.shape[-1] + 1, device=mask.device)[1::2] / 2  # of pixels, in windows
        x, y = ((mask.sum(axis) * place).sum((1, 2)) / mask.sum((1, 2, 3)) for axis in (2, 3))
        most = 1 / 2 - self.extent / 8
        return most * (path / most).tanh() - self.extent * torch.stack([x, y], 1)[:, None]


def drawn_size(size: int, extent: float) -> int:
    """Return the height and width of a drawing in pixels: those of its window, rounded up to 8, 16, ... or `size`."""
    return size if extent > 1 / 2 else max(8, 2 ** math.ceil(math.log2(extent * size)))


def placed(image: Tensor, position: Tensor, extent: float, size: int) -> Tensor:
    """Return frames [N, C, size, size] in which images are placed, with zeros around them.

    Args:
        image: [N, C, h, w].
        position: of their middle [N, 2] (x, y) relative to the middle of the frame, in frame sides.
        extent: height and width of the image, relative to the frame.
        size: height and width of the frame in pixels.
    """
    shape = [*image.shape[:2], size, size]
    if not len(image):  # which affine_grid rejects
        return image.new_zeros(shape)
    window = torch.eye(2, 3, device=image.device).repeat(len(image), 1, 1)
    window[:, :, 2] = -2 * position
    grid = affine_grid(window / extent, shape, align_corners=False)
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
