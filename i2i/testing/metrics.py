"""`check_metric`: numbers by name, the same twice, and a task that is left as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..contract import flaw_of_numbers
from ..data.base import Data
from ..engine import seed_everything
from ..errors import ConfigError, blame
from ..metrics import check_needs
from ..task import Task
from .states import equal, random_states


def check_metric(
    metric: Callable[[Any, Data], Mapping[str, float]],
    task: Task,
    data: Data,
    *,
    rejects: tuple[Task, Data] | None = None,
) -> None:
    """Check all that an evaluation relies on in a metric; the task itself is left as it was.

    Args:
        metric: the metric to check, as its constructor returns it.
        task: a task that it can judge; it is copied.
        data: the data set that it is judged on.
        rejects: a task and a data set that it cannot judge: its `needs`, or its `refuse(task, data)`, must lead to a
            ConfigError, so that a run ends before training and not after it.

    Raises:
        AssertionError: a point is broken; the message says which.
        PluginError: the metric itself raises; the message names its file and line.
        ConfigError: the metric rejects `task` and `data`.
    """
    name = type(metric).__name__ if not hasattr(metric, "__name__") else metric.__name__
    task = copy.deepcopy(task).eval()
    with blame(metric, "refuse"):
        check_needs(name, metric, task, data)
    state = copy.deepcopy(task.state_dict())
    seed_everything(0, 0, 0)
    before = random_states()
    with torch.no_grad(), blame(metric, "its call"):
        found = metric(task, data)
    drew = not equal(before, random_states())
    flaw = flaw_of_numbers(found)
    assert not flaw, f"{name} returns {flaw}"
    assert found, f"{name} returns no numbers"
    for key, value in found.items():
        assert isinstance(key, str), f"{name}: the name {key!r} of a number must be a string"
        assert math.isfinite(value), f"{name}: '{key}' is {float(value)}"
    assert not drew, f"{name} changes the global random state: use torch.random.fork_rng, or a generator of its own"
    assert equal(dict(state), dict(task.state_dict())), f"{name} changes the weights or buffers of the task"
    assert not any(part.training for part in task.modules()), f"{name} leaves the task in training mode"
    with torch.no_grad(), blame(metric, "its call"):
        again = metric(task, data)
    assert equal(dict(found), dict(again)), (
        f"{name} gives other numbers the second time: {dict(found)}, {dict(again)}"
    )
    if rejects is not None:
        check_rejection(name, metric, *rejects)


def check_rejection(name: str, metric: Any, task: Task, data: Data) -> None:
    """Check that what a metric cannot judge is rejected before training."""
    try:
        check_needs(name, metric, task, data)
    except ConfigError:
        return
    raise AssertionError(
        f"{name} lets {type(task).__name__} on {type(data).__name__} through, so a run would train first and fail "
        f"afterwards: declare `needs`, or add a method refuse(task, data)"
    )
