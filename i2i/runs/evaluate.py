"""The numbers of a task on a data set: the evaluations of a run while it trains, and of `i2i evaluate` after it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..data.base import Data
from ..engine import Engine, seed_everything
from ..errors import ConfigError, DataError, PluginError, blame
from ..metrics.base import check_needs, device_of, validated
from ..task import Task
from .folder import Run
from .progress import Line
from .stopping import Stopped, repeatable

Metrics = Sequence[tuple[str, Any]]
OFTEN, SELDOM = 0.5, 10.0  # seconds between two lines about validation, on a terminal and in a file


def refuse_what_cannot_be_judged(metrics: Metrics, task: Task, data: Data) -> None:
    """Reject metrics that cannot judge this task on this data, before training and not after it."""
    for name, metric in metrics:
        with blame(metric, "refuse"):
            check_needs(name, metric, task, data)


def evaluate(
    task: Task, data: Data, metrics: Metrics, *, seed: int, step: int, line: Line | None = None
) -> dict[str, float]:
    """Return what the task itself validates, and every metric, by name.

    All random numbers follow from `seed` and `step`, so evaluating the same weights again gives the same numbers.

    Args:
        task: a task in eval mode, with the weights to judge.
        data: the data set, whose validation samples are used.
        metrics: (name, metric) pairs.
        seed: `train.seed` of the run.
        step: the training step that the weights are from.
        line: shows the progress.

    Raises:
        PluginError: the task or a metric raised; names its file and line.
    """
    found: dict[str, float] = {}
    line = line or Line(shown=False)
    seed_everything(seed, step, rank=0)
    with torch.no_grad():
        if type(task).validate is not Task.validate:
            with blame(task, "validate"):
                numbers = validated(task, data, device_of(task), Samples(line))
            found |= {f"validation/{key}": value for key, value in numbers.items()}
        for number, (name, metric) in enumerate(metrics, start=1):
            line.note(f"evaluating: {name}, metric {number}/{len(metrics)}")
            with blame(metric, "an evaluation"):
                found |= {f"{name}/{key}": float(value) for key, value in metric(task, data).items()}
    return found


class Samples:
    """Shows how many validation samples a task has been validated on, first at once and then every few seconds."""

    def __init__(self, line: Line) -> None:
        self.line, self.due = line, 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show it, if it is due."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + (OFTEN if self.line.live else SELDOM)
            self.line.note(f"evaluating: validation sample {done}/{total}")


def evaluated(
    engine: Engine, metrics: Metrics, data: Data, run: Run, line: Line | None = None, *, final: bool = False
) -> dict[str, float]:
    """Return the numbers of the averaged weights at this step; where the final ones fail, the training is not lost.

    Raises:
        Stopped: a signal ended the evaluation; what was trained was saved before it.
    """
    try:
        with repeatable(engine, run), engine.averaged() as task:
            return evaluate(task, data, metrics, seed=engine.train.seed, step=engine.number, line=line)
    except Stopped as error:
        raise Stopped(engine, run, trained=final) from error
    except (ConfigError, DataError, PluginError) as error:
        if not final:
            raise
        fix = f"the weights are saved: fix this and continue with --resume, or use `i2i evaluate {run.folder}`"
        raise type(error)(f"{error}; {fix}") from error


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
