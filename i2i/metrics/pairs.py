"""Metrics of pairs: each prediction against its ground truth, pixel by pixel (`psnr`) and by structure (`ssim`).

    metrics: [{use: psnr, space: y, crop: 4, baseline: bicubic}, {use: ssim, space: y, crop: 4}]  # as in papers

Both are computed on 8-bit images, as they are saved. "y" is the ITU-R BT.601 luma in 16..235, which super-resolution
papers report, cropping `scale` pixels at each edge. Protocol: bicubic x4 has 28.43 dB on Set5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torch.nn.functional import interpolate

from ..data.base import Data
from ..errors import ConfigError
from .base import PAIRS, answers

Space = Literal["rgb", "y"]


class PSNR:
    """Peak signal-to-noise ratio in dB, averaged over the images; identical images count as 100 dB.

    - `db`: PSNR of the predictions; higher is better.
    - `baseline`, if configured: PSNR of "A" itself.
    - `gain`: `db` - `baseline`.

    Args:
        space: "rgb", or "y" for the luma.
        crop: pixels cropped at each edge.
        baseline: "input" compares "A" as it is, grey repeated to RGB; "bicubic" upscales it to the size of "B".

    Raises:
        ConfigError: prediction or baseline cannot be compared with "B" (size, channels).

    Source:
        Y as in the evaluation of SRCNN and its successors (MATLAB's rgb2ycbcr). Bicubic x4, crop 4, on the authors'
        images: Set5 28.43, Set14 26.09 dB.

    Example:
        `PSNR(space="y", crop=4)(task, data)["db"]`
    """

    needs = PAIRS

    def __init__(
        self, space: Space = "rgb", crop: NonNegativeInt = 0, baseline: Literal["input", "bicubic"] | None = None
    ) -> None:
        self.space, self.crop, self.baseline = space, crop, baseline

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` on `data.validation()`."""
        found, before = [], []
        for given, fake, real in pairs(task, data):
            found.append(psnr(fake, real, self.space, self.crop))
            if self.baseline is not None:
                before.append(psnr(undone(given, real, self.baseline), real, self.space, self.crop))
        scores = {"db": sum(found) / len(found)}
        if before:
            scores["baseline"] = sum(before) / len(before)
            scores["gain"] = scores["db"] - scores["baseline"]
        return scores


class SSIM:
    """Structural similarity, averaged over the images: `mean`. 1 is best.

    Computed by kornia as published: an 11-pixel Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, only where the
    window lies entirely inside the image. For "rgb", the mean over the three channels.

    Args:
        space: "rgb", or "y" for the luma.
        crop: pixels cropped at each edge.

    Raises:
        ConfigError: a prediction cannot be compared with "B", or is smaller than 11 pixels after cropping.

    Source:
        Wang et al., IEEE Transactions on Image Processing 13(4), 2004.
    """

    needs = PAIRS

    def __init__(self, space: Space = "rgb", crop: NonNegativeInt = 0) -> None:
        self.space, self.crop = space, crop

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError if the first picture is too small."""
        real = data.validation()[0][task.target]
        ssim(real, real, self.space, self.crop)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the score of a `Task` on `data.validation()`."""
        found = [ssim(fake, real, self.space, self.crop) for _, fake, real in pairs(task, data)]
        return {"mean": sum(found) / len(found)}


def psnr(fake: Tensor, real: Tensor, space: Space = "rgb", crop: int = 0) -> float:
    """Return the PSNR in dB, at most 100, of one image [C, H, W] in [-1, 1] against another."""
    error = (levels(fake, space, crop) - levels(real, space, crop)).square().mean()
    return (10 * torch.log10(255**2 / error.clamp_min(255**2 * 1e-10))).item()


def ssim(fake: Tensor, real: Tensor, space: Space = "rgb", crop: int = 0) -> float:
    """Return the SSIM, at most 1, of one image [C, H, W] in [-1, 1] against another."""
    from kornia.metrics import ssim as map_of

    first, second = (levels(image, space, crop)[None] for image in (fake, real))
    if min(first.shape[-2:]) < 11:
        raise ConfigError(
            f"ssim needs at least 11 pixels in height and width, but a picture of {real.shape[-2]}x{real.shape[-1]} "
            f"cropped by {crop} at each edge has fewer: use larger pictures or crop less"
        )
    return map_of(first, second, window_size=11, max_val=255.0, padding="valid").mean().item()


def levels(image: Tensor, space: Space, crop: int = 0) -> Tensor:
    """Convert an image [C, H, W] in [-1, 1] to the float64 levels that are compared, 0..255 rounded to 8 bits.

    The luma, [1, H, W], is computed from rounded levels and is not rounded again.
    """
    height, width = image.shape[-2:]
    if 2 * crop >= min(height, width):
        raise ConfigError(f"crop {crop} leaves nothing of a picture of {height}x{width} pixels: choose a smaller one")
    inner = image[..., crop : height - crop, crop : width - crop]
    rounded = (inner.double().clamp(-1, 1) + 1).mul(127.5).round()
    if space == "rgb":
        return rounded
    weights = rounded.new_tensor([65.481, 128.553, 24.966]) / 255
    return 16 + (rounded * weights[:, None, None]).sum(0, keepdim=True)


def pairs(task: Any, data: Data) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield "A", the prediction and "B" of each validation sample; the latter two have the same shape."""
    for sample, fake in answers(task, data):
        real = sample[task.target]
        yield sample[task.source], as_image_like(fake, real, "the prediction"), real


def undone(given: Tensor, real: Tensor, how: Literal["input", "bicubic"]) -> Tensor:
    """Return the baseline: "A", upscaled to the size of "B" if `how` is "bicubic"."""
    if how == "bicubic":
        # With antialiasing, torch uses the kernel of Pillow and MATLAB, also for upscaling.
        size = tuple(real.shape[-2:])
        given = interpolate(given[None], size, mode="bicubic", antialias=True)[0]
    return as_image_like(given, real, f'the baseline ("A", {how})')


def as_image_like(image: Tensor, real: Tensor, what: str) -> Tensor:
    """Return an image with the channels of `real`, grey repeated; raise if the two cannot be compared."""
    if image.is_floating_point() and image.ndim == 3 and image.shape[0] == 1:
        image = image.expand(len(real), -1, -1)
    if not image.is_floating_point() or image.shape != real.shape:
        raise ConfigError(
            f'{what} is {image.dtype} {list(image.shape)} and "B" {list(real.shape)}: to be compared, both must be '
            f"pictures of the same size"
        )
    return image
