"""What a run asks of a task besides its step: pictures for `samples/` and numbers for the log."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import devices
from ..data.stream import Batch
from ..errors import NumericError, PluginError, blame
from ..metrics.base import device_of, handed, predict_batch
from ..modalities import Modality
from ..task import Task
from .entries import Entries
from .places import line_of, name_of


def check_answers(task: Task, batch: Batch | None) -> None:
    """Ask a task for its pictures, a translation and validation numbers once, before training, and check them.

    The answers come from a copy that shares the weights; buffers, extra state, modes and all random states stay as
    they are. It costs one call of each method without gradients.

    Args:
        task: the task that is about to be trained, on its device.
        batch: the validation batch that `samples/` will show, on any device. If the data set has none, None: then
            only a task that keeps `Task.pictures`, which may sample, can be asked.

    Raises:
        ConfigError: one of them reads an entry of the batch that the data set does not have.
        PluginError: `pictures`, `predict` or `validate` raises, or returns what cannot be shown, saved or logged.
    """
    if batch is None and type(task).pictures is not Task.pictures:
        return
    device = device_of(task)
    with blame(task, "copy.deepcopy, which averages and tests rely on"):
        shared = [*task.parameters(), task.over_processes]  # a group of processes cannot be copied
        answering = copy.deepcopy(task, {id(part): part for part in shared}).eval()
    with random_state_kept(device), torch.no_grad():
        given = Entries(task, handed(task, batch or {}, device))
        if batch is not None and task.source in batch and type(task).translate is not Task.translate:
            with suppress(NumericError):  # a task that is not trained may give anything
                predict_batch(answering, given)
        with blame(task, "pictures"):
            shown = answering.pictures(given)
        broken = flaw_of_pictures(shown, task.makes)
        if broken:
            raise PluginError(f"{name_of(task)}.pictures returns {broken} ({line_of(task.pictures)})")
        if batch is None or type(task).validate is Task.validate:
            return
        with blame(task, "validate"):
            numbers = answering.validate(given)
        broken = flaw_of_numbers(numbers)
        if broken:
            raise PluginError(f"{name_of(task)}.validate returns {broken} ({line_of(task.validate)})")


def flaw_of_pictures(shown: Any, makes: Modality) -> str:
    """Return what is wrong with the result of `Task.pictures`, or ""; `makes` is the modality of plain columns."""
    if not isinstance(shown, Mapping):
        return f"a {type(shown).__name__} instead of a dict of batches by name"
    for name, value in shown.items():
        modality, values = value if isinstance(value, tuple) and len(value) == 2 else (makes, value)
        if not isinstance(modality, Modality):
            return f"'{name}' as a pair of {type(modality).__name__} and values; its first part must be a modality"
        try:
            modality.accept(values, f"'{name}'")
            modality.show(values)
        except NumericError:
            continue  # of a task that is not trained; what its losses are is checked in every step
        except Exception as error:
            found = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            return f"'{name}' as {found}, which is not a batch of {modality.plural}: {error}"
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
        with devices.random_state_kept(device):
            yield
    finally:
        np.random.set_state(others[0])
        random.setstate(others[1])
