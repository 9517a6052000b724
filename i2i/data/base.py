"""What a data set is: samples that are pure functions of an index and a random generator.

`stream.py` alone decides the order, so one process or four, zero workers or eight, a first run or a resumed
one all see the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Sample = dict[str, Any]


class Data:
    """Base of every data set.

    Subclasses set `batch_size` (samples in one step, over all processes) and implement the three methods.
    `workers` is the number of loader processes; the samples do not depend on it. `paired` says whether the entries of
    a sample belong together, as "A" and "B" of pix2pix do and those of CycleGAN do not.
    """

    batch_size: int = 1
    workers: int = 0
    paired: bool = True

    def __len__(self) -> int:
        """Return the number of training samples in an epoch."""
        raise NotImplementedError

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return training sample `index` (0 <= index < len), augmented with `rng` and nothing else.

        Returns:
            Tensors by name, without a batch dimension: images float32 [C, H, W] in [-1, 1].
        """
        raise NotImplementedError

    def batch(self, indices: Sequence[int], rng: Callable[[int], np.random.Generator]) -> dict[str, Any]:
        """Return training samples stacked; `rng(i)` is the generator of the i-th of them.

        A data set that lies in memory overrides this where a step takes less time than its samples one by one.
        """
        from torch.utils.data import default_collate

        stacked: dict[str, Any] = default_collate([self.sample(index, rng(i)) for i, index in enumerate(indices)])
        return stacked

    def note(self) -> str:
        """Return one sentence about what was left out while training, or nothing."""
        return ""

    def validation(self) -> Sequence[Sample]:
        """Return the fixed validation samples, never augmented and never seen in training."""
        return []


def shapes(sample: Sample) -> dict[str, Any]:
    """Return what must be equal for samples to be stacked."""
    return {name: getattr(value, "shape", None) for name, value in sample.items()}
