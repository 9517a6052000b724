"""The data set `horses_zebras`: horses as domain A, zebras as domain B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from i2i import Data
from i2i.data import Sample, to_tensor

from .pictures import mask, render
from .scene import TRAINING, VALIDATION, Array, scene


class HorsesAndZebras(Data):
    """Unpaired horses (A) and zebras (B): no training scene shows both. Nothing is read from disk.

    Args:
        size: height and width of a sample, in pixels; 64 to 256 look good.
        batch_size: samples in one step.
        samples: training samples in an epoch: the number of scenes with horses, and of other scenes with zebras.
        validation_samples: pairs of scenes not used in training, the same for every `seed`.
        workers: loader processes.
        seed: selects the scenes of the training set.
    """

    paired = False

    def __init__(
        self,
        size: Annotated[int, Field(ge=32, le=1024)] = 64,
        batch_size: PositiveInt = 1,
        samples: PositiveInt = 2000,
        validation_samples: PositiveInt = 64,
        workers: NonNegativeInt = 0,
        seed: Annotated[int, Field(ge=0, lt=1 << 20)] = 0,
    ) -> None:
        self.size, self.batch_size, self.samples, self.workers = size, batch_size, samples, workers
        self.first = TRAINING + (seed << 32)
        self.pictures = Pictures(size)
        self._held_out = HeldOut(size, validation_samples)

    def __len__(self) -> int:
        return self.samples

    def seeds(self) -> tuple[range, range]:
        """Return the seeds of the training scenes with horses, and of those with zebras."""
        return (
            range(self.first, self.first + self.samples),
            range(self.first + self.samples, self.first + 2 * self.samples),
        )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return "A", the horse of scene `index`, and "B", the zebra of a random other scene.

        Half of the pictures are mirrored.

        Returns:
            Two tensors float32 [3, size, size] in [-1, 1].
        """
        horses, zebras = self.seeds()
        drawn, mirrored = int(rng.integers(len(zebras))), rng.random(2) < 0.5
        a = self.pictures(horses[index], "horse")
        b = self.pictures(zebras[drawn], "zebra")
        return {"A": to_tensor(a[:, ::-1] if mirrored[0] else a), "B": to_tensor(b[:, ::-1] if mirrored[1] else b)}

    def validation(self) -> Sequence[Sample]:
        """Return scenes that are in no training set, with their ground truth.

        Returns:
            Samples of "A" (a horse), "B" (the zebra of another scene), "truth_A" (A's scene with a zebra),
            "truth_B" (B's scene with a horse), each float32 [3, size, size] in [-1, 1], and "mask_A" and "mask_B"
            float32 [1, size, size], 1 where the animal is and 0 elsewhere.
        """
        return self._held_out


class Pictures:
    """Renders scenes, and keeps up to half a gigabyte of pictures."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: dict[tuple[int, str], Array] = {}
        self.most = (1 << 29) // (3 * size * size)

    def __call__(self, seed: int, animal: Literal["horse", "zebra", "mask"]) -> Array:
        """Return the picture uint8 [size, size, 3], or the mask bool [size, size], of the scene of a seed."""
        picture = self.kept.get((seed, animal))
        if picture is None:
            drawn = scene(seed)
            picture = mask(drawn, self.size) if animal == "mask" else render(drawn, animal, self.size)
            if len(self.kept) < self.most:
                self.kept[seed, animal] = picture
        return picture


class HeldOut(Sequence[Sample]):
    """The validation samples, rendered on first use."""

    def __init__(self, size: int, samples: int) -> None:
        self.samples, self.pictures = samples, Pictures(size)

    def seeds(self) -> tuple[range, range]:
        """Return the seeds of the scenes of A and of the scenes of B."""
        end = VALIDATION + 2 * self.samples
        return range(VALIDATION, end, 2), range(VALIDATION + 1, end, 2)

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not -self.samples <= index < self.samples:
            raise IndexError(index)
        a, b = (seeds[index] for seeds in self.seeds())
        return {
            "A": to_tensor(self.pictures(a, "horse")),
            "B": to_tensor(self.pictures(b, "zebra")),
            "truth_A": to_tensor(self.pictures(a, "zebra")),
            "truth_B": to_tensor(self.pictures(b, "horse")),
            "mask_A": torch.from_numpy(self.pictures(a, "mask")).float()[None],
            "mask_B": torch.from_numpy(self.pictures(b, "mask")).float()[None],
        }
