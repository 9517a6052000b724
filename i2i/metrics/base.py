"""What all metrics go through: a task's answers to the validation samples, or what it makes, one picture at a time.

for sample, fake in answers(task, data): ...      # what `psnr`, and `kid` of a translation, do
for fake in sampled(task, 1000): ...              # what `class_share`, and `kid` of what is made from nothing, do
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import default_collate

from ..data.base import Data, Sample, shapes
from ..data.stream import to_device
from ..errors import ConfigError, NumericError, PluginError
from ..images import pad_to_multiple

Item = TypeVar("Item")


def answers(task: Any, data: Data, batch_size: PositiveInt = 8) -> Iterator[tuple[Sample, Tensor]]:
    """Give each validation sample with what the task predicts for its "A".

    Neighbours of equal shapes are predicted together. "A", and every other entry of its height and width, is
    padded to what the task can take, and the prediction is cut back to the size of "A" times the task's scale.

    Args:
        task: a `Task`, in the mode in which it is to be judged.
        data: its data set; the samples may differ in size.
        batch_size: pictures predicted at a time.

    Yields:
        The sample as the data set gives it, and the prediction on the CPU, float32 [C, H, W] clipped to [-1, 1].

    Raises:
        ConfigError: there are no validation samples, or they lack "A" or "B".
        NumericError: a prediction holds NaN or infinity.
        PluginError: a prediction is not `task.scale` times as large as its "A".
    """
    samples = data.validation()
    for name in "AB":
        if not len(samples) or name not in samples[0]:
            raise ConfigError(
                f'this metric needs validation samples with "A" and "B", and those of {type(data).__name__} have '
                f"{sorted(samples[0]) if len(samples) else 'none at all'}: use another data set or another metric"
            )
    for batch in alike(samples, batch_size):
        yield from zip(batch, predicted(task, batch), strict=True)


def predicted(task: Any, samples: list[Sample]) -> Tensor:
    """Return what the task predicts for samples of equal shapes: [N, C, H, W] on the CPU."""
    device = device_of(task)
    batch = default_collate(samples)
    given = batch["A"]
    size, crop = given.shape[-2:], None
    for name, value in batch.items():
        if isinstance(value, Tensor):
            if value.ndim >= 3 and value.shape[-2:] == size:
                value, crop = pad_to_multiple(value, task.multiple, minimum=task.minimum)
            batch[name] = value.to(device)
    assert crop is not None
    with torch.no_grad():
        fakes = crop(task.predict(batch), task.scale).float().cpu()
    wanted = tuple(side * task.scale for side in size)
    if fakes.ndim != 4 or len(fakes) != len(samples) or fakes.shape[-2:] != wanted:
        raise PluginError(
            f"{type(task).__name__}.predict made {tuple(fakes.shape)} from {tuple(given.shape)}; with scale "
            f"{task.scale} it must keep N and give {wanted[0]}x{wanted[1]} pixels"
        )
    finite(f"{type(task).__name__}.predict", fakes)
    return fakes.clamp(-1, 1)


def sampled(task: Any, n: int, batch_size: PositiveInt = 64, **condition: Sequence[Any]) -> Iterator[Tensor]:
    """Give pictures that a task makes from nothing, always from the same random numbers.

    The global random state is left as it was.

    Args:
        task: a `Task`, in the mode in which it is to be judged.
        n: how many pictures.
        batch_size: pictures made at a time.
        condition: what is asked for, a list of `n` by name, such as label=[3, 3, 5].

    Yields:
        Pictures on the CPU, float32 [C, H, W] clipped to [-1, 1].

    Raises:
        ConfigError: the task makes no pictures from nothing.
        NumericError: a picture holds NaN or infinity.
        PluginError: the task makes more or fewer pictures than it was asked for, or no pictures.
    """
    device = device_of(task)
    for first in range(0, n, batch_size):
        part = slice(first, min(first + batch_size, n))
        chosen = {name: list(values[part]) for name, values in condition.items()}
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(first)
            fakes = task.sample(part.stop - first, **chosen).detach().float().cpu()
        if fakes.ndim != 4 or len(fakes) != part.stop - first:
            raise PluginError(
                f"{type(task).__name__}.sample made {tuple(fakes.shape)} where {part.stop - first} pictures "
                f"[N, C, H, W] were wanted"
            )
        finite(f"{type(task).__name__}.sample", fakes)
        yield from fakes.clamp(-1, 1)


def validated(task: Any, data: Data, device: torch.device) -> dict[str, float]:
    """Return the mean over the validation samples of what `task.validate` says of batches of one shape."""
    sums: dict[str, float] = {}
    samples = data.validation()
    for batch in alike(samples, data.batch_size):
        for key, value in task.validate(to_device(default_collate(batch), device)).items():
            sums[key] = sums.get(key, 0.0) + float(value) * len(batch)
    return {key: total / len(samples) for key, total in sums.items()}


def finite(who: str, images: Tensor) -> None:
    """Raise NumericError where pictures hold NaN or infinity."""
    if not images.isfinite().all():
        raise NumericError(f"{who} gave values that are not finite: are the weights whole?")


def device_of(task: Any) -> torch.device:
    """Return the device that a task's weights are on."""
    return next((p.device for p in task.parameters()), torch.device("cpu"))


def alike(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Cut samples into lists of at most `size` neighbours of equal shapes."""
    for _, group in groupby((samples[i] for i in range(len(samples))), shapes):
        yield from batches(group, size)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a stream into lists of at most `size`."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
