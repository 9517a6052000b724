"""Do generated clips show what they should? The judge of `classes` reads the digit in their frames.

metrics: [{use: clip_class_accuracy}]      # for a task that generates clips, trained on `moving_digits`
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from i2i import ConfigError, Data
from i2i.data import classes_of
from i2i.metrics import Needs, sampled
from i2i.modalities import Clip

from .classes import SIZE, judged_by, numbers, read, refuse_colour
from .moving import SIDE, MovingDigits


class ClipClassAccuracy:
    """How often the frames of generated clips are read as the requested class.

    The same number of clips of each class is sampled, always from the same random numbers. The judge, a classifier of
    drawn digits that are in no data set, reads a window around the centre of brightness of each chosen frame.

    - `mean`: the share of frames read as requested; 1 is best. Chance is 0.1.
    - `smallest`: the smallest such share of any class.
    - `judge`: the same share for validation clips, the upper limit to expect of generated ones.

    Args:
        per_class: clips of each class.
        every: every which frame is read, from the first on.

    Raises:
        ConfigError: the data are not `moving_digits` of one grey digit, or the task has no classes or others.

    Example:
        `ClipClassAccuracy()(task, data)["mean"]`
    """

    needs = Needs(makes=Clip)

    def __init__(self, per_class: PositiveInt = 20, every: PositiveInt = 5) -> None:
        self.per_class, self.every = per_class, every

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the scores cannot be computed."""
        if not isinstance(data, MovingDigits) or not data.classes:
            raise ConfigError(
                "clip_class_accuracy reads single moving digits: use data moving_digits with digits=1, or remove it"
            )
        if classes_of(task) != data.classes:
            raise ConfigError(
                f"clip_class_accuracy: {type(task).__name__} has {len(classes_of(task))} classes instead of the 10 "
                f"digits: train it with task.classes=10, or remove this metric"
            )
        refuse_colour("embedded", data.validation()[0]["clip"][0])

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that takes `sample(n, label=[...])`."""
        self.refuse(task, data)
        asked = list(classes_of(task)) * self.per_class  # 0 1 2 ... 0 1 2 ...: every batch has all classes
        made = sampled(task, len(asked), 20, label=asked)
        wanted = numbers("embedded", classes_of(task)).repeat(self.per_class)
        right = self._right(made, wanted).unflatten(0, (self.per_class, -1)).mean((0, 2))
        real = data.validation()
        truth = torch.stack([sample["label"] for sample in real])
        judge = self._right((sample["clip"] for sample in real), truth)
        return {"mean": right.mean().item(), "smallest": right.min().item(), "judge": judge.mean().item()}

    def _right(self, clips: Iterable[Tensor], wanted: Tensor) -> Tensor:
        """Return 1 where a frame is read as wanted, and 0 where it is not: float64 [N, frames]."""
        said = read("embedded", judged_by("embedded"), windows(clips, self.every))
        return (said.unflatten(0, (len(wanted), -1)) == wanted[:, None]).double()


def windows(clips: Iterable[Tensor], every: int) -> Iterator[Tensor]:
    """Yield the digit in every `every`-th frame of clips [T, 1, H, W], as [1, 32, 32]."""
    for clip in clips:
        yield from centred(clip[::every])


def centred(frames: Tensor) -> Tensor:
    """Return the window of a digit's size around the centre of brightness of frames [N, 1, S, S]: [N, 1, 32, 32]."""
    light = (frames[:, 0] + 1).clamp_min(0) + 1e-6
    place = torch.linspace(-1, 1, 2 * frames.shape[-1] + 1)[1::2]  # centres of pixels
    x, y = ((light.sum(axis) * place).sum(1) / light.sum((1, 2)) for axis in (1, 2))
    window = torch.eye(2, 3).repeat(len(frames), 1, 1) * SIDE
    window[:, :, 2] = torch.stack([x, y], 1)
    grid = affine_grid(window, [len(frames), 1, SIZE, SIZE], align_corners=False)
    return grid_sample(frames + 1, grid, align_corners=False) - 1  # black outside
