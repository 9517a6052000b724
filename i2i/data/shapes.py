"""What does not fit what a task was built for, told in a sentence before anything is trained or decoded.

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
    """Refuse a batch without the images of a task, or where it has classes, without their labels.

    Args:
        batch: needs "image" [N, *shape], and with classes "label" int64 [N].
        task: its name, for the message.
        shape: of an image: channels, height and width.
        classes: what labels are numbers of; empty where no labels are needed.

    Raises:
        ConfigError: one is missing or has another shape, or a label is beyond the classes.
    """
    missing = [name for name in ("image", *(["label"] if classes else [])) if name not in batch]
    if missing:
        raise ConfigError(
            f'{task} needs samples with "{missing[0]}", and these have {", ".join(sorted(batch))}: use another data '
            f"set{', or task.classes=null' if missing[0] == 'label' else ''}"
        )
    if batch["image"].shape[1:] != shape:
        wanted, given = (" x ".join(map(str, one)) for one in (shape, batch["image"].shape[1:]))
        raise ConfigError(
            f"{task} was built for {wanted} values and the data gives {given}: set task.channels and task.size to "
            f"those of the data"
        )
    if classes and int(batch["label"].max()) >= len(classes):
        raise ConfigError(
            f"{task} was built for {len(classes)} classes and the data has the label {int(batch['label'].max())}: "
            f"set task.classes to those of the data"
        )


def refuse_other_codes(z: Tensor, length: int) -> None:
    """Refuse codes that are not [N, length].

    Raises:
        DataError: they have another shape.
    """
    if z.ndim != 2 or z.shape[1] != length:
        raise DataError(f"a latent of shape {tuple(z.shape)} cannot be decoded: it should be [N, {length}]")
