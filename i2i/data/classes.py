"""Classes by name and by number: what a config calls them, and which of them somebody asks for.

i2i sample 20 -o OUT -m runs/cgan -c label=3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError


def class_names(classes: int | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of classes that are given by their number, by their names, or not at all."""
    return tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes or ())


def class_numbers(classes: Sequence[str], n: int, label: Any, device: torch.device) -> Tensor | None:
    """Return the classes of `n` pictures as int64 [n], or None where there are no classes.

    Args:
        classes: their names.
        n: how many pictures.
        label: a class by name or number, or `n` of them; None draws all classes equally often.
        device: where the numbers should be.

    Raises:
        ConfigError: no such class, a list of another length, or a label where there are no classes.
    """
    if not classes:
        if label is not None:
            raise ConfigError(f"label={label}: this run knows no classes: train it with task.classes")
        return None
    if label is None:
        return torch.randint(len(classes), (n,), device=device)
    label = label.tolist() if hasattr(label, "tolist") else label  # of a tensor or an array
    asked = list(label) if isinstance(label, list | tuple) else [label] * n
    if len(asked) != n:
        raise ConfigError(f"label: {len(asked)} classes for {n} pictures: give one, or one for each picture")
    return torch.tensor([class_number(classes, one) for one in asked], device=device)


def class_number(classes: Sequence[str], label: Any) -> int:
    """Return the number of a class given by name or number; a name that is a number counts as a name first."""
    if str(label) in classes:
        return classes.index(str(label))
    if str(label).isdecimal() and int(label) < len(classes):
        return int(label)
    raise ConfigError(f"label={label}: no such class; possible: {', '.join(classes)}, or 0 to {len(classes) - 1}")
