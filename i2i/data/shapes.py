"""Checks that batches and latent codes have the shapes that a task was built for.

refuse_other_samples(batch, "gan", shape=(1, 32, 32), classes=("0", "1"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..errors import ConfigError, DataError


def refuse_other_samples(
    batch: Mapping[str, Any], task: str, shape: tuple[int | None, ...], classes: Sequence[str] = ()
) -> None:
    """Check that a batch has the images, and if there are classes the labels, that a task needs.

    Args:
        batch: must contain "image" [N, *shape], and "label" int64 [N] if there are classes.
        task: name of the task, for the message.
        shape: shape of an image: channels, height and width.
        classes: the class names; empty if no labels are needed.

    Raises:
        ConfigError: an entry is missing, or images have another shape. See `refuse_other_labels` for their values.
    """
    missing = [name for name in ("image", *(["label"] if classes else [])) if name not in batch]
    if missing:
        raise ConfigError(
            f'{task} needs samples with "{missing[0]}", but these have {", ".join(sorted(batch))}: use another data '
            f"set{', or task.classes=null' if missing[0] == 'label' else ''}"
        )
    if batch["image"].shape[1:] != shape:
        wanted, given = (" x ".join(map(str, one)) for one in (shape, batch["image"].shape[1:]))
        raise ConfigError(
            f"{task} was built for {wanted} values but the data has {given}: set task.channels and task.size to "
            f"match the data"
        )


def refuse_other_labels(batch: Mapping[str, Any], task: str, classes: Sequence[str]) -> None:
    """Check that the labels of a batch are those of the classes of a task; for `Task.check`, as it reads values.

    Args:
        batch: "label" int64 [N]; without it, nothing is checked.
        task: name of the task, for the message.
        classes: the class names; empty if no labels are needed.

    Raises:
        ConfigError: a label is out of range, or is not a whole number.
    """
    label = batch.get("label") if classes else None
    if label is not None and (label.ndim != 1 or label.is_floating_point()):
        kind = "floats" if label.is_floating_point() else "whole numbers"
        raise ConfigError(
            f"{task} needs a class as 'label' of each sample, one whole number, but these have {kind} "
            f"{[*label.shape[1:]]}: use other data, or task.classes=null"
        )
    greatest = int(batch["label"].max()) if classes and "label" in batch else -1
    if greatest >= len(classes):
        raise ConfigError(
            f"{task} was built for {len(classes)} classes but the data has label {greatest}: set "
            f"task.classes to match the data"
        )


def refuse_other_codes(z: Tensor, length: int) -> None:
    """Check that latent codes have shape [N, length].

    Raises:
        DataError: they have another shape.
    """
    if z.ndim != 2 or z.shape[1] != length:
        raise DataError(f"a latent of shape {tuple(z.shape)} cannot be decoded: it should be [N, {length}]")
