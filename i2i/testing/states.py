"""What several checks compare: random states, nested values, and whether something can be sent to another process."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_states() -> list[Any]:
    """Return the global random states of torch, numpy and Python."""
    return [torch.get_rng_state(), np.random.get_state(), random.getstate()]


def equal(one: Any, other: Any) -> bool:
    """Whether two nested values are the same, bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, (str, bytes)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def check_copies(thing: Any, name: str) -> None:
    """Check that something can be copied, as averages of the weights and evaluations do."""
    try:
        copy.deepcopy(thing)
    except Exception as error:
        raise AssertionError(
            f"{name} cannot be copied: {error}; keep locks, files and the like outside the task"
        ) from error


def check_pickles(thing: Any, name: str) -> None:
    """Check that something can be sent to another process, such as a data loader's."""
    try:
        ForkingPickler.dumps(thing)
    except Exception as error:
        raise AssertionError(f"{name} cannot be sent to another process: {error}") from error
