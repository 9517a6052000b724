"""The numbers of a task on a data set: the evaluations of a run while it trains, and of `i2i evaluate` after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..data.base import Data
from ..engine import seed_everything
from ..errors import blame
from ..metrics.base import check_needs, device_of, validated
from ..task import Task

Metrics = Sequence[tuple[str, Any]]


def refuse_what_cannot_be_judged(metrics: Metrics, task: Task, data: Data) -> None:
    """Reject metrics that cannot judge this task on this data, before training and not after it."""
    for name, metric in metrics:
        with blame(metric, "refuse"):
            check_needs(name, metric, task, data)


def evaluate(task: Task, data: Data, metrics: Metrics, *, seed: int, step: int) -> dict[str, float]:
    """Return what the task itself validates, and every metric, by name.

    All random numbers follow from `seed` and `step`, so evaluating the same weights again gives the same numbers.

    Args:
        task: a task in eval mode, with the weights to judge.
        data: the data set, whose validation samples are used.
        metrics: (name, metric) pairs.
        seed: `train.seed` of the run.
        step: the training step that the weights are from.

    Raises:
        PluginError: the task or a metric raised; names its file and line.
    """
    found: dict[str, float] = {}
    seed_everything(seed, step, rank=0)
    with torch.no_grad():
        if type(task).validate is not Task.validate:
            with blame(task, "validate"):
                numbers = validated(task, data, device_of(task))
            found |= {f"validation/{key}": value for key, value in numbers.items()}
        for name, metric in metrics:
            with blame(metric, "an evaluation"):
                found |= {f"{name}/{key}": float(value) for key, value in metric(task, data).items()}
    return found


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Let PyTorch use this many CPU threads inside; None leaves them as they are."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
