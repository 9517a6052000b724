"""MNIST, read from a single .npz file and kept in memory.

    data: {use: mnist, root: data/mnist, batch_size: 128}      # in a config; root contains mnist.npz, or is that file

The file contains x_train [60000, 28, 28], y_train, x_test [10000, 28, 28] and y_test, all uint8, as distributed by
many libraries. The test images are the validation samples.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import interpolate

from .. import images
from ..errors import DataError
from .base import Data, Sample
from .memory import InMemory

Binary = Literal["none", "sample", "threshold"]
KEYS = ("x_train", "y_train", "x_test", "y_test")


class MNIST(Data):
    """Handwritten digits with labels, in greyscale.

    Args:
        root: `mnist.npz`, or the folder containing it.
        size: height and width of a sample, in pixels; sizes other than 28 are resized bilinearly.
        batch_size: samples per step.
        binary: "none" keeps grey values; "sample" samples each pixel with its grey value as the probability of white,
            every time for training and once for validation (arXiv:1509.00519); "threshold" thresholds at 0.5.
        samples: number of training images to use, evenly spaced; null for all.
        validation_samples: number of test images to use, evenly spaced; null for all.
        workers: number of loader processes.

    Raises:
        DataError: the file is missing or not in this format.

    Source: LeCun et al., 1998; the official split.
    """

    channels = 1
    classes = tuple("0123456789")

    def __init__(
        self,
        root: str,
        size: PositiveInt = 28,
        batch_size: PositiveInt = 128,
        binary: Binary = "none",
        samples: PositiveInt | None = None,
        validation_samples: PositiveInt | None = None,
        workers: NonNegativeInt = 0,
    ) -> None:
        self.size, self.batch_size, self.binary, self.workers = size, batch_size, binary, workers
        x, y, x_test, y_test = arrays(Path(root).expanduser())
        some, held_out = spread(len(x), samples), spread(len(x_test), validation_samples)
        self.train = InMemory(resized(x[some], size), y[some])
        self.test = InMemory(resized(x_test[held_out], size), y_test[held_out])

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return training image `index`: "image" float32 [1, size, size] in [-1, 1], "label" int64 []."""
        return binarised(self.train[index], self.binary, rng)

    def batch(self, indices: Sequence[int], rng: Callable[[int], np.random.Generator]) -> Sample:
        """Return a batch of training images."""
        if self.binary == "sample":
            return super().batch(indices, rng)
        return binarised(self.train.batch(indices), self.binary, np.random.default_rng(0))

    def validation(self) -> Sequence[Sample]:
        """Return the test images, in the same form."""
        return self.test if self.binary == "none" else Binarised(self.test, self.binary)


class Binarised(Sequence[Sample]):
    """Binarised samples, each drawn with a generator seeded by its index."""

    def __init__(self, samples: Sequence[Sample], how: Binary) -> None:
        self.samples, self.how = samples, how

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return binarised(self.samples[index], self.how, np.random.default_rng([0xB1, index % len(self)]))


def binarised(sample: Sample, how: Binary, rng: np.random.Generator) -> Sample:
    """Binarise the image of a sample to -1 and 1; "none" leaves it unchanged."""
    if how == "none":
        return sample
    image: Tensor = sample["image"]
    edge = torch.from_numpy(rng.random(image.shape, np.float32)) if how == "sample" else torch.tensor(0.5)
    return sample | {"image": (image > 2 * edge - 1).float().mul_(2).sub_(1)}


def arrays(root: Path) -> list[np.ndarray]:
    """Return x_train, y_train, x_test and y_test of a file, or of `mnist.npz` in a folder.

    Raises:
        DataError: the file is missing or not in the MNIST format.
    """
    file = root / "mnist.npz" if root.is_dir() else root
    if not file.is_file():
        raise DataError(
            f"{images.shown(file)}: no such file; mnist needs mnist.npz with the arrays {', '.join(KEYS)}: set "
            f"data.root"
        )
    try:
        with np.load(file, allow_pickle=False) as found:
            missing = [key for key in KEYS if key not in found]
            if missing:
                raise DataError(
                    f"{images.shown(file)}: has no {', '.join(missing)}, only {', '.join(found) or 'nothing'}"
                )
            held = [found[key] for key in KEYS]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{images.shown(file)}: cannot be read as an npz file: {error}") from error
    for x, y in (held[:2], held[2:]):
        if x.dtype != np.uint8 or x.ndim != 3 or y.shape != x.shape[:1] or not len(x):
            raise DataError(
                f"{images.shown(file)}: images must be uint8 [N, H, W] with N labels, but are {x.dtype} "
                f"{list(x.shape)} with labels {list(y.shape)}"
            )
    return held


def spread(n: int, most: int | None) -> np.ndarray:
    """Return at most `most` of the indices below `n`, evenly spaced because some files are sorted by class."""
    count = min(n, most or n)
    return np.arange(count) * n // count


def resized(pictures: np.ndarray, size: int) -> np.ndarray:
    """Resize images uint8 [N, H, W] to [N, size, size], bilinearly, with antialiasing when shrinking."""
    if pictures.shape[1:] == (size, size):
        return pictures
    made = np.empty((len(pictures), size, size), np.uint8)
    for first in range(0, len(pictures), 2000):
        some = torch.from_numpy(pictures[first : first + 2000])[:, None].float()
        some = interpolate(some, (size, size), mode="bilinear", antialias=True, align_corners=False)
        made[first : first + 2000] = some[:, 0].add_(0.5).clamp_(0, 255).byte().numpy()
    return made
