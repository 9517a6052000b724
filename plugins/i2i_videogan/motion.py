"""What moves in a clip, and how: optical flow, the path of the centre, and features of space and time.

All functions take clips float32 [T, C, H, W] or [N, T, C, H, W] in [-1, 1]; lengths are in frame sides, so that clips
of different sizes can be compared. Test with: `pytest tests/test_videogan.py`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

STILL = 0.01  # frame sides per frame: a slower centre has no direction (noise moves it, too)
MOVING = 0.2  # share of the largest difference from the background, below which pixels are background
SIDES = 32, 16, 8  # pixels of the clips that features are computed of
LAGS = 1, 2, 4  # frames between the frames that are subtracted
FILTERS, KERNEL = 16, 5
SMALL = 0.005  # added to responses before the logarithm


def flow(clip: Tensor) -> Tensor:
    """Return the mean length of the optical flow from each frame to the next, over the pixels that differ: [T - 1].

    Farneback's method (cv2.calcOpticalFlowFarneback), on grey frames of 64 pixels. Pixels count by their difference
    from the background, the median colour of the frame.
    """
    import cv2

    grey = interpolate(clip.mean(1, keepdim=True), (64, 64), mode="bilinear", antialias=True)
    frames = ((grey[:, 0] + 1) * 127.5).clamp(0, 255).byte().numpy()
    weights = foreground(grey).numpy()
    found = []
    for before, after, weight in zip(frames[:-1], frames[1:], weights[:-1], strict=True):
        field = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
        length = np.linalg.norm(field, axis=-1)
        found.append((length * weight).sum() / (weight.sum() + 1e-8) / 64)
    return torch.tensor(found, dtype=torch.float64)


def foreground(clip: Tensor) -> Tensor:
    """Return how much each pixel differs from the median colour of its frame, small differences cut: [T, H, W]."""
    background = clip.flatten(2).median(2).values[:, :, None, None]
    apart = (clip - background).norm(dim=1)
    return (apart - MOVING * apart.amax((1, 2), keepdim=True)).clamp_min(0)


def centres(clip: Tensor) -> Tensor:
    """Return the centre of what is not background in each frame, [T, 2] (x, y) in frame sides."""
    weight = foreground(clip).double() + 1e-12
    height, width = weight.shape[1:]
    x = (weight.sum(1) * (torch.arange(width) + 0.5)).sum(1) / weight.sum((1, 2)) / width
    y = (weight.sum(2) * (torch.arange(height) + 0.5)).sum(1) / weight.sum((1, 2)) / height
    return torch.stack([x, y], 1)


def steps(clip: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the centre moves from frame to frame [T - 1], and by how much it turns [T - 2], 0 to pi.

    The turn is 0 where one of the two moves is too short to have a direction.
    """
    moves = centres(clip).diff(dim=0)
    length = moves.norm(dim=1)
    going = (length[1:] > STILL) & (length[:-1] > STILL)
    cosine = (moves[1:] * moves[:-1]).sum(1) / (length[1:] * length[:-1]).clamp_min(1e-12)
    return length, torch.acos(cosine.clamp(-1, 1)) * going


def statistics(clips: list[Tensor]) -> dict[str, Tensor]:
    """Return the values whose distributions are compared, by name: flow, speed and turning, of all clips together."""
    paths = [steps(clip) for clip in clips]
    return {
        "flow": torch.cat([flow(clip) for clip in clips]),
        "speed": torch.cat([speed for speed, _ in paths]),
        "turning": torch.cat([turning for _, turning in paths]),
    }


@functools.lru_cache(1)
def filters() -> Tensor:
    """Return the fixed random filters of the features, [FILTERS, 3, 5, 5], each with mean 0 and norm 1."""
    weight = torch.randn(FILTERS, 3, KERNEL, KERNEL, generator=torch.Generator().manual_seed(0))
    weight = weight - weight.mean((1, 2, 3), keepdim=True)
    return weight / weight.flatten(1).norm(dim=1)[:, None, None, None]


def space_time(clips: Tensor) -> Tensor:
    """Return the features `space_time` of clips [N, T, C, H, W] with T > 4: [N, 240].

    Sixteen random filters respond to the frames, to their differences over 1, 2 and 4 frames, and to second
    differences, at 32, 16 and 8 pixels. A feature is the logarithm of the mean size of a response (frames,
    differences over 1 frame), or of its ratio to that of the differences over 1 frame (all others). So the ratios
    tell motion from flicker: along a path, differences over 4 frames are larger than those over 1; of frames in
    random order they are not.
    """
    n, found = len(clips), []
    for side in SIDES:
        small = interpolate(clips.flatten(0, 1), (side, side), mode="bilinear", antialias=True)
        x = small.unflatten(0, (n, -1))
        views = [x, *(x[:, lag:] - x[:, :-lag] for lag in LAGS), x[:, 2:] - 2 * x[:, 1:-1] + x[:, :-2]]
        look, first, *others = (torch.log(response(view) + SMALL) for view in views)
        found += [look, first, *(other - first for other in others)]
    return torch.cat(found, 1).double()


def response(clips: Tensor) -> Tensor:
    """Return the mean size of the responses of the filters to clips [N, T, C, H, W]: [N, FILTERS]."""
    weight = filters() if clips.shape[2] == 3 else filters().sum(1, keepdim=True)
    sizes = conv2d(clips.flatten(0, 1), weight, padding=KERNEL // 2).abs().mean((2, 3))
    return sizes.unflatten(0, clips.shape[:2]).mean(1)


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return the energy distance of features [N, D] and [M, D], the squared MMD for the kernel -|x - y| / sqrt D.

    Unbiased: two sets from the same distribution score 0 on average. Unlike with the cubic kernel of KID, a few
    features that are far off do not outweigh all others.

    Source: Szekely and Rizzo, Journal of Statistical Planning and Inference 143(8), 2013; Sejdinovic et al.,
        arXiv:1207.6076, for the kernel.
    """

    def within(a: Tensor) -> Tensor:
        return torch.cdist(a, a).sum() / (len(a) * (len(a) - 1))

    return ((2 * torch.cdist(x, y).mean() - within(x) - within(y)) / x.shape[1] ** 0.5).item()


def shuffled(clips: Tensor) -> Tensor:
    """Return clips [N, T, ...], each with its frames in another random order, always the same one: a control."""
    order = torch.rand(clips.shape[:2], generator=torch.Generator().manual_seed(0)).argsort(1)
    return clips[torch.arange(len(clips))[:, None], order]


def stills(clips: Tensor) -> Tensor:
    """Return the middle frame of each clip [N, T, ...], repeated: a control."""
    return clips[:, clips.shape[1] // 2 :][:, :1].expand_as(clips)


def relative(found: Tensor, wanted: Tensor) -> dict[str, float]:
    """Return how far the mean and the quartiles of one distribution are from those of another, relative to these."""
    at = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    made, real = (torch.cat([values.mean()[None], values.quantile(at)]) for values in (found, wanted))
    return dict(zip(("mean", "q25", "q50", "q75"), ((made - real).abs() / real.abs().clamp_min(1e-9)).tolist()))
