"""The network of frame prediction: a ConvGRU reads the given frames and draws the next ones, one after another.

Each new frame is a mixture: the frame before it, moved by a predicted flow field (arXiv:1511.06309), and newly drawn
pixels (arXiv:1605.07157). Run with: `i2i run configs/video_prediction.yaml`.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, leaky_relu, pixel_shuffle

from .frames import ConvGRU


class FramePredictor(nn.Module):
    """Given frames to the frames that follow.

    Args:
        channels: channels of a frame.
        frames: how many frames to predict.
        width: channels of the largest feature map.
        reach: the largest motion from one frame to the next, in pixels.

    Attributes:
        multiple: height and width must be divisible by this.
    """

    multiple = 4

    def __init__(self, channels: int, frames: int, /, width: PositiveInt = 16, reach: PositiveInt = 8) -> None:
        super().__init__()
        self.channels, self.frames, self.reach = channels, frames, reach
        self.encode = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
        )
        hidden = 4 * width
        self.recurrent = ConvGRU(2 * width, hidden, lambda a, b: nn.Conv2d(a, b, 3, padding=1), torch.tanh)
        self.move = nn.Conv2d(hidden, 2, 3, padding=1)
        self.up = nn.Conv2d(hidden, 4 * width, 3, padding=1)
        self.draw = nn.Conv2d(width, 4 * (channels + 1), 3, padding=1)
        for layer in (self.move, self.draw):
            for p in layer.parameters():
                nn.init.zeros_(p)  # at first, the last frame stays

    def forward(self, given: Tensor) -> Tensor:
        """Map frames [N, K, C, H, W] in [-1, 1] to the next ones [N, frames, C, H, W]."""
        h = given.new_zeros(len(given), self.recurrent.hidden, given.shape[-2] // 4, given.shape[-1] // 4)
        for frame in given[:, :-1].unbind(1):
            h = self.recurrent.cell(self.recurrent.given(self.encode(frame)), h)
        frame, made = given[:, -1], []
        for _ in range(self.frames):
            h = self.recurrent.cell(self.recurrent.given(self.encode(frame)), h)
            frame = self.next(frame, h)
            made.append(frame)
        return torch.stack(made, 1)

    def next(self, frame: Tensor, h: Tensor) -> Tensor:
        """Return the frame after `frame` [N, C, H, W], from the state h [N, hidden, H/4, W/4]."""
        flow = interpolate(torch.tanh(self.move(h)), scale_factor=4, mode="bilinear")  # smooth, so shapes stay
        moved = shifted(frame, self.reach * flow)
        drawn = pixel_shuffle(self.draw(leaky_relu(pixel_shuffle(self.up(h), 2), 0.2)), 2)
        new, share = drawn.split([self.channels, 1], 1)
        share = torch.sigmoid(share - 3)
        return share * torch.tanh(new) + (1 - share) * moved


def shifted(frame: Tensor, flow: Tensor, outside: str = "border") -> Tensor:
    """Return images whose pixel p is that of `frame` [N, C, H, W] at p - flow, bilinearly.

    Args:
        frame: images [N, C, H, W].
        flow: [N, 2, H, W] (x, y), in pixels.
        outside: the values outside of the image: "border" for those of the nearest pixel, or "zeros".
    """
    height, width = frame.shape[-2:]
    still = torch.eye(2, 3, device=frame.device, dtype=frame.dtype).expand(len(frame), -1, -1)
    grid = affine_grid(still, list(frame.shape), align_corners=False)
    by = flow.movedim(1, 3) * (2 / flow.new_tensor([width, height]))
    return grid_sample(frame, grid - by, padding_mode=outside, align_corners=False)
