"""`Steps`: how many steps a task has done, for one whose step depends on it.

self.done = Steps(self, "done")
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn


class Steps(nn.Module):
    """A number of steps as a Python number: reading it does not make an accelerator wait.

    It is extra state: part of checkpoints, so that a resume goes on from it, but not of published weights. Older
    versions saved it as a tensor, which is read from a checkpoint, and ignored in published weights.

    Args:
        task: the task that counts.
        name: of its attribute.

    Example:
        >>> task = nn.Module()
        >>> task.done = Steps(task, "done")
        >>> now = int(task.done)
        >>> task.done.number = now + 1      # not += 1: micro-batches in lockstep are one step
    """

    def __init__(self, task: nn.Module, name: str) -> None:
        super().__init__()
        self.number = 0
        task.register_load_state_dict_pre_hook(partial(from_tensor, name))

    def __int__(self) -> int:
        return self.number

    def get_extra_state(self) -> int:
        """Return the number."""
        return self.number

    def set_extra_state(self, state: int) -> None:
        """Restore what `get_extra_state` returned."""
        self.number = int(state)


def from_tensor(name: str, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Replace the tensor of older versions in a state that is about to be loaded into a module."""
    if prefix + name in state:
        state[f"{prefix}{name}._extra_state"] = int(state.pop(prefix + name))
