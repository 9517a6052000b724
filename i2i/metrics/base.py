"""What all metrics share: a task's predictions for the validation samples, or its samples, one at a time.

    for sample, fake in answers(task, data): ...      # `psnr`, and `kid` of translations
    for fake in sampled(task, 1000): ...              # `class_share`, and `kid` of samples

A metric declares its `Needs`, so that a mismatch is an error before training, not after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import default_collate

from ..data.base import Data, Sample, shapes
from ..devices import move, random_state_kept
from ..errors import ConfigError, PluginError, blame
from ..modalities import Image, Modality

Item = TypeVar("Item")


@dataclass(frozen=True)
class Needs:
    """The requirements of a metric, declared as its attribute `needs` and checked before training.

    Args:
        makes: the modality that the task must make.
        source, target: whether validation samples need the task's `source` and its `target`.
        paired: whether the two must be paired.

    Example:
        `class Error: needs = Needs(makes=Waveform, source=True, target=True, paired=True)`
    """

    makes: type[Modality] = Modality
    source: bool = False
    target: bool = False
    paired: bool = False


PAIRS = Needs(makes=Image, source=True, target=True, paired=True)  # for most image metrics


def check_needs(name: str, metric: Any, task: Any, data: Data) -> None:
    """Reject a metric that cannot evaluate this task on this data, before any training or evaluation.

    Args:
        name: name of the metric, for the message.
        metric: may declare `needs`, and make further checks in a method `refuse(task, data)`.

    Raises:
        ConfigError: the task makes another modality, or the validation samples lack an entry or are not paired.
    """
    needs: Needs = getattr(metric, "needs", Needs())
    if not isinstance(task.makes, needs.makes):
        raise ConfigError(
            f"metrics: {name} compares {needs.makes.plural}, but {type(task).__name__} makes {task.makes.plural}: "
            f"remove it"
        )
    with blame(data, "validation"):
        samples = data.validation()
    keys = [task.source] * needs.source + [task.target] * needs.target
    if keys and (not len(samples) or not set(keys) <= set(samples[0])):
        given = ", ".join(sorted(samples[0])) if len(samples) else "no validation samples"
        raise ConfigError(
            f"metrics: {name} needs validation samples with {' and '.join(map(repr, keys))}, but "
            f"{type(data).__name__} has {given}: use other data or remove it"
        )
    if needs.paired and not data.paired:
        raise ConfigError(
            f"metrics: {name} compares each prediction with its own target, but {type(data).__name__} is not paired: "
            f"use kid or frechet, which compare whole sets, or paired data"
        )
    if hasattr(metric, "refuse"):
        metric.refuse(task, data)


def answers(task: Any, data: Data, batch_size: PositiveInt = 8) -> Iterator[tuple[Sample, Tensor]]:
    """Yield each validation sample with the task's prediction for its `task.source`.

    Consecutive samples of equal shape are predicted as a batch, fitted to what the task takes (images are padded, and
    predictions cropped back).

    Args:
        task: a `Task`, already in the mode to evaluate.
        data: its data set; the samples may differ in size.
        batch_size: samples per batch.

    Yields:
        The sample as the data set returns it, and the prediction on the CPU, without a batch axis; images are float32
        [C, H, W] in [-1, 1].

    Raises:
        ConfigError: there are no validation samples, or they lack the source. A metric that needs the target too
            declares it in `needs`.
        NumericError: a prediction contains NaN or infinity.
        PluginError: a prediction is not of the modality that the task makes, or has the wrong size.
    """
    samples = data.validation()
    if not len(samples) or task.source not in samples[0]:
        raise ConfigError(
            f'this metric needs validation samples with "{task.source}", but {type(data).__name__} has '
            f"{sorted(samples[0]) if len(samples) else 'none'}: use another data set or another metric"
        )
    for batch in same_shapes(samples, batch_size):
        yield from zip(batch, predicted(task, batch), strict=True)


def predicted(task: Any, samples: list[Sample]) -> Tensor:
    """Return the task's predictions for samples of equal shape: [N, ...] on the CPU."""
    return predict_batch(task, handed(task, default_collate(samples), device_of(task)))


def handed(task: Any, batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch on the device of a task that has checked it, as the engine does with those of training."""
    with blame(task, "check"):
        task.check(batch)
    return move(batch, device, task.on_host)


def predict_batch(task: Any, batch: dict[str, Any]) -> Tensor:
    """Return the task's predictions for a batch on its device: [N, ...] on the CPU.

    Raises:
        NumericError: the result contains NaN or infinity.
        PluginError: the task failed, or the result is not what it declares to make, or has the wrong size.
    """
    call = "translate" if type(task).predict.__qualname__ == "Task.predict" else "predict"  # what its author wrote
    who = f"{type(task).__name__}.{call}"
    fitted, undo = task.takes.fit(batch, task.source)
    with torch.no_grad(), blame(task, call):
        made = task.predict(fitted)
        if not isinstance(made, Tensor):
            task.makes.accept(made, who)  # raises
        made = undo(made, task.makes, who)
    made = task.makes.accept(made, who)
    if len(made) != len(batch[task.source]):
        raise PluginError(f"{who} made {len(made)} predictions for {len(batch[task.source])} samples: it must keep N")
    return made


def sampled(task: Any, n: int, batch_size: PositiveInt = 64, **condition: Sequence[Any]) -> Iterator[Tensor]:
    """Yield samples of a task, always from the same random numbers.

    The global random state is not changed.

    Args:
        task: a `Task`, already in the mode to evaluate.
        n: number of samples.
        batch_size: samples per batch.
        condition: conditions by name, each a list of `n` values, e.g. label=[3, 3, 5].

    Yields:
        One sample at a time on the CPU, without a batch axis; images are float32 [C, H, W] in [-1, 1].

    Raises:
        ConfigError: the task does not sample.
        NumericError: the result contains NaN or infinity.
        PluginError: the number of samples is wrong, or they are not of the modality that the task declares.
    """
    device = device_of(task)
    for first in range(0, n, batch_size):
        part = slice(first, min(first + batch_size, n))
        chosen = {name: list(values[part]) for name, values in condition.items()}
        with random_state_kept(device), torch.no_grad():
            torch.manual_seed(first)
            with blame(task, "sample"):
                made = task.sample(part.stop - first, **chosen)
        made = task.makes.accept(made, f"{type(task).__name__}.sample")
        if len(made) != part.stop - first:
            raise PluginError(f"{type(task).__name__}.sample made {len(made)} of {part.stop - first}: it must make n")
        yield from made


def validated(
    task: Any, data: Data, device: torch.device, tell: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Return the results of `task.validate`, averaged over the validation samples; each batch has a single shape.

    `tell` is called before each batch with the number of samples done, and of all.
    """
    sums: dict[str, float] = {}
    samples, done = data.validation(), 0
    for batch in same_shapes(samples, data.batch_size):
        if tell is not None:
            tell(done, len(samples))
        done += len(batch)
        for key, value in task.validate(handed(task, default_collate(batch), device)).items():
            sums[key] = sums.get(key, 0.0) + float(value) * len(batch)
    return {key: total / len(samples) for key, total in sums.items()}


def device_of(task: Any) -> torch.device:
    """Return the device that a task's weights are on."""
    return next((p.device for p in task.parameters()), torch.device("cpu"))


def same_shapes(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Group consecutive samples of equal shape into lists of at most `size`."""
    for _, group in groupby((samples[i] for i in range(len(samples))), shapes):
        yield from batches(group, size)


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Split a stream into lists of at most `size` items."""
    held: list[Item] = []
    for item in items:
        held.append(item)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
