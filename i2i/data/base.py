"""Base class of data sets, whose samples are pure functions of an index and a random generator.

Only `stream.py` decides the order, so every run sees the same samples, whatever the number of processes and
workers, and whether it was resumed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Sample = dict[str, Any]


class Layout(NamedTuple):
    """What `i2i data check` reports about a folder that is laid out for a data set.

    Attributes:
        kind: a description such as "looks like clips, for `use: clips`".
        problems: sentences about what training would reject or skip; the command then exits with 3.
        notes: further lines of the report.
        pictures: whether the images in it are checked like those of any other folder.
    """

    kind: str
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    pictures: bool = True


class Data:
    """Base class of every data set.

    Subclasses set `batch_size` (samples per step, summed over all processes) and implement `__len__`, `sample` and
    `validation`. `workers` is the number of loader processes; the samples do not depend on it.
    `paired` states whether the entries of a sample belong together, like "A" and "B" of pix2pix and unlike those of
    CycleGAN.
    """

    batch_size: int = 1
    workers: int = 0
    paired: bool = True

    @classmethod
    def recognise(cls, root: Path) -> Layout | None:
        """Return what `i2i data check` reports about a folder in the layout of this data set, or None for others."""
        return None

    def __len__(self) -> int:
        """Return the number of training samples per epoch."""
        raise NotImplementedError

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return training sample `index` (0 <= index < len), with `rng` as the only source of randomness.

        Returns:
            Tensors by name, without a batch dimension; images are float32 [C, H, W] in [-1, 1].
        """
        raise NotImplementedError

    def batch(self, indices: Sequence[int], rng: Callable[[int], np.random.Generator]) -> dict[str, Any]:
        """Return a batch of stacked training samples; `rng(i)` is the generator of the i-th one.

        Override it to pad samples of different shapes, or for an in-memory data set that is faster than one by one.
        """
        from torch.utils.data import default_collate

        stacked: dict[str, Any] = default_collate([self.sample(index, rng(i)) for i, index in enumerate(indices)])
        return stacked

    def note(self) -> str:
        """Return one sentence about what was skipped during training, or an empty string."""
        return ""

    def validation(self) -> Sequence[Sample]:
        """Return the fixed validation samples: never augmented, never used for training."""
        return []


def shapes(sample: Sample) -> dict[str, Any]:
    """Return the shape of each entry; samples can be stacked if all of these are equal."""
    return {name: getattr(value, "shape", None) for name, value in sample.items()}
