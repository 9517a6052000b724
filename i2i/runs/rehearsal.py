"""A rehearsal: one step of a copy of a task on the meta device, where tensors have shapes but no values.

It takes no memory and 1 to 2 seconds, most of them for torch to load what it needs. Only a convolution or a loss that
gets a wrong number of channels is reported. A task that reads values cannot be rehearsed; its first step then fails.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..contract import evaluated
from ..data.stream import Batch
from ..task import Task

OTHER_SIZE = "Using a target size"  # how torch's warning about a loss of unequal shapes begins


class Misfit(NamedTuple):
    """A module that got `given` channels instead of `wanted`; a loss of unequal shapes has no module."""

    module: str = ""
    wanted: int = 0
    given: int = 0


def rehearsed(task: Task, batch: Batch) -> Misfit | None:
    """Take one step of a copy on the meta device; return the first misfit, or None if there is none to be found."""
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", OTHER_SIZE)
        try:
            twin = on_meta(task)
        except Exception:  # it cannot be copied, so there is nothing to rehearse with
            return None
        try:
            twin.train()
            for _, losses in twin.step(dict(batch)):
                evaluated(losses)
        except Exception as error:  # the task reads values, or has bugs, which its first step reports
            return misfit_of(error, twin)
    return None


def on_meta(task: Task) -> Task:
    """Return a copy of a task with parameters and buffers on the meta device; no value is copied."""
    memo: dict[int, Any] = {}
    for value in [*task.parameters(), *task.buffers()]:
        empty = torch.empty_like(value, device="meta")
        trained = isinstance(value, nn.Parameter)
        memo[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad) if trained else empty
    return copy.deepcopy(task, memo)


def misfit_of(error: Exception, task: Task) -> Misfit | None:
    """Return what an error says about channels, or None if it is about something else."""
    if isinstance(error, UserWarning) and str(error).startswith(OTHER_SIZE):
        return Misfit()
    names = {module: name for name, module in task.named_modules()}
    for module, given in reversed([*calls(error.__traceback__)]):
        wanted = getattr(module, "in_channels", None)
        if isinstance(module, nn.modules.conv._ConvNd) and module in names:
            return Misfit(names[module], module.in_channels, given) if given != wanted else None
    return None


def calls(trace: TracebackType | None) -> Iterator[tuple[nn.Module, int]]:
    """Yield the modules that an exception passed through, outermost first, each with the channels of its input."""
    while trace is not None:
        frame = trace.tb_frame
        arguments = [frame.f_locals.get(name) for name in frame.f_code.co_varnames[:2]]
        match arguments:
            case [nn.Module() as module, Tensor() as given] if given.ndim > 1:
                yield module, given.shape[1]
        trace = trace.tb_next
