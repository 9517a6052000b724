"""The networks of MoCoGAN: a generator of content and motion, and discriminators of pictures and of clips.

Paper: arXiv:1707.04993. Parameter counts are those of the published networks at 64 px, with 3 channels and 6 classes:
generator 3,298,836, `picture_discriminator` 2,765,568, `patch_picture_discriminator` 663,296, `video_discriminator`
11,253,504, `patch_video_discriminator` 2,650,880.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, one_hot

from i2i import ConfigError
from i2i.networks import spectral

from .frames import SMALLEST, widths_for

Norm = Literal["batch", "spectral"]
Condition = Literal["none", "projection", "category"]
Sigma = Annotated[float, Ge(0)]
REACH = 4  # frames that a 3-D convolution covers; there is no padding in time


class MoCoGANGenerator(nn.Module):
    """Codes to clips: one content code for all frames, one motion code per frame, and a DCGAN that draws each frame.

    A code is [content; h0; e1 ... eT]: a GRU turns the noise e of each frame into its motion code, starting from h0.
    With classes, the content is followed by the class as a one-hot vector.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip.
        classes: number of classes; 0 for unconditional.
        content: length of the content code.
        motion: length of the motion code, and of the noise of a frame.
        width: channels of the last feature map; they double from each map to the one before it, up to 8 * width.

    Attributes:
        latent: length of a code, content + motion * (frames + 1).

    Source: arXiv:1707.04993, section 3 and table 7.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        content: PositiveInt = 50,
        motion: PositiveInt = 10,
        width: PositiveInt = 64,
    ) -> None:
        super().__init__()
        self.frames, self.classes, self.content, self.motion = frames, classes, content, motion
        self.latent = content + motion * (frames + 1)
        self.recurrent = nn.GRUCell(motion, motion)
        widths = widths_for(size, width, 8)[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(content + classes + motion, widths[0], SMALLEST, bias=False)]
        for before, after in pairwise([*widths, channels]):
            layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.draw = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Map codes [N, latent], and labels int64 [N] if there are classes, to clips [N, T, C, H, W] in [-1, 1]."""
        content, noise = z[:, : self.content], z[:, self.content :].unflatten(1, (self.frames + 1, self.motion))
        if self.classes:
            content = torch.cat([content, one_hot(label, self.classes).to(z)], 1)  # type: ignore[arg-type]
        h, codes = noise[:, 0], []
        for e in noise[:, 1:].unbind(1):
            h = self.recurrent(e, h)
            codes.append(torch.cat([content, h], 1))
        frames = self.draw(torch.stack(codes, 1).flatten(0, 1)[:, :, None, None])
        return frames.unflatten(0, (len(z), self.frames))


class Strided(nn.Module):
    """Strided 4x4 or 4x4x4 convolutions with leaky ReLU, down to logits: the common form of the four discriminators.

    Args:
        dims: 2 for pictures, 3 for clips. Clips are not padded in time, and their frame rate is kept.
        channels: channels of a frame.
        widths: channels of the feature maps.
        patch: pixels are halved by the last convolution too, so there is a logit per patch; if not, it covers 4x4.
        categories: number of classes to predict, by a second last convolution without spectral norm, which would keep
            the logits of the classes too close to each other.
        norm: "batch" as published, or "spectral" to normalise the weights instead.
        noise: standard deviation of the noise added to the input of each convolution in training.
        classes: with a projection of the class on the last features (arXiv:1802.05637); 0 for none.
    """

    def __init__(
        self,
        dims: int,
        channels: int,
        widths: list[int],
        patch: bool,
        norm: Norm,
        noise: float,
        classes: int = 0,
        categories: int = 0,
    ) -> None:
        super().__init__()
        self.noise = noise
        conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        batch_norm: Any = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        halving = {"stride": 2, "padding": 1} if dims == 2 else {"stride": (1, 2, 2), "padding": (0, 1, 1)}

        def layer(before: int, after: int, bias: bool, **how: Any) -> nn.Module:
            made = conv(before, after, 4, bias=bias, **how)
            return spectral(made) if norm == "spectral" else made

        self.convs = nn.ModuleList(
            layer(before, after, norm == "spectral", **halving) for before, after in pairwise([channels, *widths])
        )
        self.norms = nn.ModuleList(
            batch_norm(after) if n and norm == "batch" else nn.Identity() for n, after in enumerate(widths)
        )
        self.last = layer(widths[-1], 1, False, **(halving if patch else {}))
        self.predict = conv(widths[-1], categories, 4, bias=False) if categories else None
        self.table: nn.Module | None = None
        if classes:
            table = nn.Embedding(classes, widths[-1])
            nn.init.normal_(table.weight, std=0.02)
            self.table = spectral(table) if norm == "spectral" else table

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Map pictures [N, C, H, W] or clips [N, C, T, H, W] to logits [N, 1, ...].

        With categories, their logits [N, categories] are returned, too.
        """
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = leaky_relu(norm(conv(self.noisy(x))), 0.2)
        seen = self.noisy(x)
        out = self.last(seen)
        if self.table is not None:
            inner = (self.table(label) * x.flatten(2).sum(2)).sum(1, keepdim=True)
            out = out + inner.unflatten(1, (1,) * (out.ndim - 1))
        return out if self.predict is None else (out, self.predict(seen).flatten(2).mean(2))

    def noisy(self, x: Tensor) -> Tensor:
        """Add noise, in training."""
        return x + self.noise * torch.randn_like(x) if self.noise and self.training else x


class PictureDiscriminator(nn.Module):
    """Logits of pictures, each on its own: DCGAN's discriminator with instance noise.

    Args:
        channels: channels of a picture.
        size: height and width in pixels, 4 times a power of 2.
        classes: number of classes; only used with `condition`.
        width: channels of the first feature map; they double from each map to the next, up to 8 * width.
        norm: "batch" as published, or "spectral" (arXiv:1802.05957).
        noise: standard deviation of the noise added to the input of each convolution in training.
        condition: how it judges the class: by a "projection" (arXiv:1802.05637), by predicting the "category"
            (arXiv:1610.09585), or "none" as published.

    Source: arXiv:1707.04993, with the sizes of the published code.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: Norm = "batch",
        noise: Sigma = 0.1,
        condition: Condition = "none",
    ) -> None:
        super().__init__()
        widths = widths_for(size, width, 8)
        self.body = Strided(2, channels, widths, False, norm, noise, *heads(condition, classes))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Map pictures [N, K, C, H, W] of N clips, and their labels int64 [N], to logits [N * K, 1, 1, 1].

        If it predicts the class, the logits of the classes [N * K, classes] are returned, too.
        """
        return self.body(x.flatten(0, 1), None if label is None else label.repeat_interleave(x.shape[1]))


class PatchPictureDiscriminator(nn.Module):
    """A map of logits for each picture, one per patch. Arguments as for `PictureDiscriminator`; no projection.

    Source: arXiv:1707.04993, with the sizes of the published code.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: Norm = "batch",
        noise: Sigma = 0.1,
    ) -> None:
        super().__init__()
        self.body = Strided(2, channels, patch_widths(size, width), True, norm, noise)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map pictures [N, K, C, H, W] of N clips to logits [N * K, 1, H / 16, W / 16]."""
        return self.body(x.flatten(0, 1))


class VideoDiscriminator(nn.Module):
    """Logits of clips by 3-D convolutions and, with classes, logits of the classes: MoCoGAN's categorical one.

    Args:
        channels: channels of a frame.
        size: height and width in pixels, 4 times a power of 2.
        frames: frames of a clip, at least 13 at 32 px, 16 at 64 px.
        classes: number of classes; 0 for unconditional.
        width, norm, noise: as for `PictureDiscriminator`.
        condition: how it judges the class: by predicting the "category" as published, by a "projection"
            (arXiv:1802.05637), or "none".

    Source: arXiv:1707.04993, section 3.3, with the sizes of the published code.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: Norm = "batch",
        noise: Sigma = 0.1,
        condition: Condition = "category",
    ) -> None:
        super().__init__()
        widths = widths_for(size, width, 8)
        check_frames("video_discriminator", frames, len(widths) + 1)
        self.body = Strided(3, channels, widths, False, norm, noise, *heads(condition, classes))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Map clips [N, T, C, H, W] to logits [N, 1, T', 1, 1]; with classes, also to theirs [N, classes]."""
        return self.body(x.transpose(1, 2), label)


class PatchVideoDiscriminator(nn.Module):
    """Logits of the patches of clips, by 3-D convolutions. Arguments as for `VideoDiscriminator`; no classes.

    Source: arXiv:1707.04993, with the sizes of the published code.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        frames: int,
        classes: int = 0,
        /,
        width: PositiveInt = 64,
        norm: Norm = "batch",
        noise: Sigma = 0.1,
    ) -> None:
        super().__init__()
        check_frames("patch_video_discriminator", frames, 4)
        self.body = Strided(3, channels, patch_widths(size, width), True, norm, noise)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map clips [N, T, C, H, W] to logits [N, 1, T - 12, H / 16, W / 16]."""
        return self.body(x.transpose(1, 2))


def heads(condition: Condition, classes: int) -> tuple[int, int]:
    """Return for how many classes there is a projection, and how many are predicted."""
    return classes if condition == "projection" else 0, classes if condition == "category" else 0


def patch_widths(size: int, width: int) -> list[int]:
    """Return the channels of the three feature maps before the patches; ConfigError if the size is too small."""
    if size < 16 or size % 16:
        raise ConfigError(f"a patch discriminator of clips needs a size of 16, 32, 48, ... pixels, and {size} is not")
    return [width, 2 * width, 4 * width]


def check_frames(name: str, frames: int, convolutions: int) -> None:
    """Raise ConfigError if a clip is shorter than the convolutions of a network cover."""
    least = (REACH - 1) * convolutions + 1
    if frames < least:
        raise ConfigError(
            f"{name} covers {least} frames at this size, but clips have {frames}: set task.frames to at least "
            f"{least}, or use temporal_discriminator"
        )
