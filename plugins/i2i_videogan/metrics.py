"""Metrics of clips: distribution of motion, a kernel distance with controls, and predicted frames against the truth.

    metrics: [{use: motion}, {use: clip_distance}]               # of a task that generates or predicts clips
    metrics: [{use: frame_scores}, {use: motion}]                # of a task that predicts

Distances of the FVD kind prefer sharp frames to right motion (arXiv:2404.12391). So `clip_distance` always comes with
the distances of two controls that have perfect frames and wrong motion: if ours is not below both, it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from i2i import ConfigError, Data, Task
from i2i.metrics import Needs, answers, psnr, sampled, ssim
from i2i.modalities import Clip

from .motion import centres, energy_distance, relative, shuffled, space_time, statistics, stills
from .predictor import shifted

FEWEST = 4  # validation clips, for two halves of two
AT_ONCE = 16


class Motion:
    """How far the distribution of motion in generated clips is from that of validation clips.

    Three values are compared: the mean length of the optical flow of each pair of frames (`flow`), and how fast the
    centre of the moving thing goes and turns (`speed`, `turning`); see `motion.py`.

    - `flow`, `speed`, `turning`: relative difference of the means; 0 is best.
    - `flow_worst`, ...: the largest relative difference of the mean and the three quartiles.
    - `real_*`: the same between two halves of the validation clips: what chance alone gives.

    Raises:
        ConfigError: fewer than 4 validation clips, or clips of fewer than 3 frames.
    """

    needs = Needs(makes=Clip)

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError if there are not enough clips to compare with."""
        check_clips("motion", task, data, frames=3)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` on `data.validation()`."""
        real = real_clips(task, data)
        found = compared(list(made_clips(task, data)), real)
        return found | {f"real_{name}": value for name, value in compared(real[::2], real[1::2]).items()}


class ClipDistance:
    """Kernel distance between generated clips and validation clips, over the features `space_time`, with controls.

    The energy distance, which is the squared maximum mean discrepancy for the kernel -|x - y|, of features divided by
    their standard deviation among validation clips. Lower is better; two sets from the same
    distribution score 0 on average.

    - `space_time`: of the generated clips.
    - `shuffled`: of validation clips with their frames in random order.
    - `still`: of a frame of each validation clip, repeated.
    - `real`: between two halves of the validation clips.

    A good model is far below `shuffled` and `still`.

    Raises:
        ConfigError: fewer than 4 validation clips, or clips of fewer than 5 frames.
    """

    needs = Needs(makes=Clip)

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError if there are not enough clips to compare with."""
        check_clips("clip_distance", task, data, frames=5)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` on `data.validation()`."""
        real = torch.stack(real_clips(task, data))
        return distances(torch.stack(list(made_clips(task, data))), real)


class FrameScores:
    """Predicted frames against the true ones, next to two baselines.

    - `psnr`, `ssim`: of the predictions, averaged over frames and clips; higher is better.
    - `repeat_psnr`, `repeat_ssim`: of the last given frame, repeated.
    - `velocity_psnr`, `velocity_ssim`: of the last given frame, moved on with the mean velocity of the centre of what
      is not background in the given frames (`motion.centres`).

    Raises:
        ConfigError: no validation clips with "A" and "B", or the prediction has another shape than "B".
    """

    needs = Needs(makes=Clip, source=True, target=True, paired=True)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` on `data.validation()`."""
        sums: dict[str, list[float]] = {}
        for sample, made in answers(task, data, AT_ONCE):
            given, real = sample[task.source], sample[task.target]
            if made.shape != real.shape:
                raise ConfigError(
                    f"frame_scores: the prediction has shape {list(made.shape)} and the truth {list(real.shape)}: "
                    f"set task.frames and task.given to those of the data"
                )
            guesses = {"": made, "repeat_": repeated(given, len(real)), "velocity_": moved_on(given, len(real))}
            for name, guess in guesses.items():
                for a, b in zip(guess, real, strict=True):
                    sums.setdefault(f"{name}psnr", []).append(psnr(a, b))
                    sums.setdefault(f"{name}ssim", []).append(ssim(a, b))
        return {name: sum(values) / len(values) for name, values in sums.items()}


def distances(made: Tensor, real: Tensor) -> dict[str, float]:
    """Return the distances of `ClipDistance`, of clips [N, T, C, H, W] and validation clips [M, T, C, H, W]."""
    truth = features(real)
    mean, scale = truth.mean(0), truth.std(0).clamp_min(0.02)

    def scaled(x: Tensor) -> Tensor:
        return (x - mean) / scale

    controls = {"space_time": made, "shuffled": shuffled(real), "still": stills(real)}
    found = {name: energy_distance(scaled(features(x)), scaled(truth)) for name, x in controls.items()}
    return found | {"real": energy_distance(scaled(truth[::2]), scaled(truth[1::2]))}


def features(clips: Tensor) -> Tensor:
    """Return the features `space_time` of clips [N, T, C, H, W], a few clips at a time: float64 [N, D]."""
    return torch.cat([space_time(some) for some in clips.split(AT_ONCE)])


def compared(made: list[Tensor], real: list[Tensor]) -> dict[str, float]:
    """Return the relative differences of `Motion`, without those of the halves."""
    found: dict[str, float] = {}
    wanted = statistics(real)
    for name, values in statistics(made).items():
        apart = relative(values, wanted[name])
        found |= {name: apart["mean"], f"{name}_worst": max(apart.values())}
    return found


def made_clips(task: Any, data: Data) -> Iterator[Tensor]:
    """Yield the task's clips, as many as there are validation clips.

    A task that predicts gives the given frames followed by its prediction; one that generates gives samples, with
    classes as many of each as there are validation clips: classes move differently.
    """
    if predicts(task):
        for sample, made in answers(task, data, AT_ONCE):
            yield torch.cat([sample[task.source], made])
        return
    real = data.validation()
    classes = {"label": [int(sample["label"]) for sample in real]} if getattr(task, "classes", ()) else {}
    yield from sampled(task, len(real), AT_ONCE, **classes)


def predicts(task: Any) -> bool:
    """Return whether a task translates clips."""
    return type(task).translate is not Task.translate


def real_clips(task: Any, data: Data) -> list[Tensor]:
    """Return the validation clips, of a task that predicts with the given frames and those that follow."""
    if predicts(task):
        return [torch.cat([sample[task.source], sample[task.target]]) for sample in data.validation()]
    return [sample["clip"] for sample in data.validation()]


def check_clips(name: str, task: Any, data: Data, frames: int) -> None:
    """Raise ConfigError unless the data set has enough validation clips, of at least so many frames."""
    samples, needed = data.validation(), [task.source, task.target] if predicts(task) else ["clip"]
    if len(samples) < FEWEST or not set(needed) <= set(samples[0]):
        given = f"{len(samples)} with {', '.join(sorted(samples[0]))}" if len(samples) else "none"
        raise ConfigError(
            f"metrics: {name} needs at least {FEWEST} validation samples with {' and '.join(needed)}, but "
            f"{type(data).__name__} has {given}: use other data or remove it"
        )
    length = sum(len(samples[0][name]) for name in needed)
    if length < frames:
        raise ConfigError(f"metrics: {name} needs clips of at least {frames} frames, not {length}: remove it")


def repeated(given: Tensor, frames: int) -> Tensor:
    """Return the last of the given frames [K, C, H, W], repeated: [frames, C, H, W]."""
    return given[-1:].expand(frames, -1, -1, -1)


def moved_on(given: Tensor, frames: int) -> Tensor:
    """Return the last of the given frames [K, C, H, W], moved on with their mean velocity: [frames, C, H, W]."""
    path = centres(given)
    velocity = (path[-1] - path[0]) / max(len(path) - 1, 1) * torch.tensor([given.shape[-1], given.shape[-2]])
    far = torch.arange(1, frames + 1)[:, None] * velocity.float()
    flow = far[:, :, None, None].expand(-1, -1, *given.shape[-2:])
    return shifted(repeated(given, frames), flow)
