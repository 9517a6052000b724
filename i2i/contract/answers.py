"""What a run asks of a task besides its step: pictures for `samples/` and numbers for the log."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.stream import Batch, to_device
from ..errors import PluginError, blame
from ..task import Task
from .places import line_of, name_of


def check_answers(task: Task, batch: Batch | None) -> None:
    """Ask a task for its pictures and validation numbers once, before training, and check both.

    The answers come from a copy that shares the weights; buffers, extra state, modes and all random states stay as
    they are. It costs one call of each method without gradients.

    Args:
        task: the task that is about to be trained, on its device.
        batch: the validation batch that `samples/` will show, on any device. If the data set has none, None: then
            only a task that keeps `Task.pictures`, which may sample, can be asked.

    Raises:
        PluginError: `pictures` or `validate` raises, or returns what cannot be shown or logged.
    """
    if batch is None and type(task).pictures is not Task.pictures:
        return
    device = next((p.device for p in task.parameters()), torch.device("cpu"))
    with blame(task, "copy.deepcopy, which averages and tests rely on"):
        answering = copy.deepcopy(task, {id(p): p for p in task.parameters()}).eval()
    with random_state_kept(device), torch.no_grad():
        given = to_device(batch or {}, device)
        with blame(task, "pictures"):
            shown = answering.pictures(given)
        broken = flaw_of_pictures(shown)
        if broken:
            raise PluginError(f"{name_of(task)}.pictures returns {broken} ({line_of(task.pictures)})")
        if batch is None or type(task).validate is Task.validate:
            return
        with blame(task, "validate"):
            numbers = answering.validate(given)
        broken = flaw_of_numbers(numbers)
        if broken:
            raise PluginError(f"{name_of(task)}.validate returns {broken} ({line_of(task.validate)})")


def flaw_of_pictures(shown: Any) -> str:
    """Return what is wrong with the result of `Task.pictures`, or ""."""
    if not isinstance(shown, Mapping):
        return f"a {type(shown).__name__} instead of a dict of pictures by name"
    for name, value in shown.items():
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if not isinstance(value, Tensor) or value.ndim != 4 or value.shape[1] not in (1, 3):
            return f"'{name}' as {found}: pictures are tensors [N, 1 or 3, H, W] in [-1, 1]"
    return ""


def flaw_of_numbers(numbers: Any) -> str:
    """Return what is wrong with numbers by name that should be logged, or ""."""
    if not isinstance(numbers, Mapping):
        return f"a {type(numbers).__name__} instead of a dict of numbers by name"
    for name, value in numbers.items():
        if isinstance(value, (str, bytes)) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
            found = f"of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"as a {type(value).__name__}"
            return f"'{name}' {found}, which must be a number"
    return ""


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Put the random states of torch, numpy and Python back at the end."""
    others = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(others[0])
        random.setstate(others[1])
