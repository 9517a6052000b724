"""Class names and indices, as given in a config and as requested for sampling.

i2i sample 20 -o OUT -m runs/cgan -c label=3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..devices import recording
from ..errors import ConfigError


def class_names(classes: int | Sequence[str] | None) -> tuple[str, ...]:
    """Return the class names, given the number of classes, their names, or None."""
    return tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes or ())


def classes_of(owner: Any) -> tuple[str, ...]:
    """Return the names of the classes of a task or a data set, in order; () if it has none, or only a number."""
    classes = getattr(owner, "classes", None)
    return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()


def class_numbers(classes: Sequence[str], n: int, label: Any, device: torch.device) -> Tensor | None:
    """Return the class indices of `n` images as int64 [n], or None if there are no classes.

    Args:
        classes: the class names.
        n: number of images.
        label: a class name or index, or `n` of them; None samples classes uniformly.
        device: device of the result.

    Raises:
        ConfigError: no such class, a list of the wrong length, or a label although there are no classes.
    """
    if not classes:
        if label is not None:
            raise ConfigError(f"label={label}: this run was trained without classes: retrain it with task.classes")
        return None
    if recording() and isinstance(label, Tensor):
        return label  # its values are those of a single recording, so they are not looked at
    if label is None:
        return torch.randint(len(classes), (n,), device=device)
    label = label.tolist() if hasattr(label, "tolist") else label  # a tensor or an array
    asked = list(label) if isinstance(label, list | tuple) else [label] * n
    if len(asked) != n:
        raise ConfigError(f"label: {len(asked)} classes for {n} images: give one class, or one per image")
    return torch.tensor([class_number(classes, one) for one in asked], device=device)


def possible(classes: Sequence[str]) -> str:
    """Return what a label may be: a name or a number."""
    numbers = [str(number) for number in range(len(classes))]
    named = "" if [*classes] == numbers else f"{', '.join(classes)}, or "
    return f"{named}a number from 0 to {len(classes) - 1}"


def class_number(classes: Sequence[str], label: Any) -> int:
    """Return the index of a class given by name or index; names take precedence, even if they are numeric."""
    if str(label) in classes:
        return classes.index(str(label))
    if str(label).isdecimal() and int(label) < len(classes):
        return int(label)
    raise ConfigError(f"label={label}: this model has no such class; choose {possible(classes)}")
