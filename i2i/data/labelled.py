"""Image classification data sets: a folder or tar file per split, with a subfolder per class.

    data: {use: labelled_folders, root: data/cifar10, size: 32, batch_size: 64}     # in a config

    train/cat/7.jpg  train/dog/3.png  test/cat/9.jpg        # as folders
    train.tar  test.tar                                     # or as tar files of cat/7.jpg ..., compressed or not

All images are decoded once at the start and kept in memory as uint8, so this is meant for small images. Tar files
are read in place and never unpacked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import DataError
from .archives import archived
from .base import Data, Sample
from .folders import Share, listed, read
from .memory import InMemory
from .transforms import fit

log = logging.getLogger("i2i")

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as in Pillow's conversion to grey
LAYOUT = "labelled_folders needs train and val (or test) in its root: folders or .tar files of <class>/<image>"


class Pictures(NamedTuple):
    """The images of a split: uint8 [N, size, size, channels], and their class names."""

    pixels: np.ndarray
    classes: list[str]


class LabelledFolders(Data):
    """Images with class labels: "image" float32 [channels, size, size] in [-1, 1] and "label", the class index.

    Class indices follow the sorted class names. Images that are not square are resized along the short side and
    centre-cropped.

    Args:
        root: the folder containing the splits train and val (or test), each a folder or a .tar of <class>/<image>.
        size: height and width of a sample, in pixels.
        channels: 3, or 1 for grey.
        batch_size: samples per step.
        flip: flip half of the training images horizontally.
        bad_limit: the fraction of images that may be unreadable; these are skipped with a warning.
        workers: number of loader processes; 0 is usually fastest, since everything is in memory.
        validation_samples: maximum number of images used from val (or test), evenly spaced.

    Raises:
        DataError: no images, too many unreadable ones, or a class in val or test that is not in train.

    Source:
        The layout in which CIFAR-10 and ImageNet are commonly distributed.
    """

    def __init__(
        self,
        root: str,
        size: PositiveInt = 32,
        channels: Literal[1, 3] = 3,
        batch_size: PositiveInt = 64,
        flip: bool = True,
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 0,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.size, self.channels, self.flip = size, channels, flip
        self.batch_size, self.workers = batch_size, workers
        place = Path(root).expanduser()
        train = gathered(place, "train", size, channels, bad_limit)
        self.classes: tuple[str, ...] = tuple(sorted(set(train.classes)))
        self.train = self._kept(train, place / "train")
        self.held_out: Sequence[Sample] = []
        split = next((split for split in ("val", "test") if found(place, split)), None)
        if split is not None:
            rest = gathered(place, split, size, channels, bad_limit)
            self.held_out = self._kept(spread(rest, validation_samples), place / split)
        else:
            log.warning("%s: neither val nor test, so there is no validation data", images.shown(place))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return image `index`, flipped horizontally half of the time.

        Returns:
            "image" float32 [channels, size, size] in [-1, 1] and "label" int64 [].
        """
        sample = self.train[index]
        mirrored = self.flip and rng.random() < 0.5
        return {**sample, "image": sample["image"].flip(2)} if mirrored else sample

    def validation(self) -> Sequence[Sample]:
        """Return the images of val or test, without augmentation."""
        return self.held_out

    def _kept(self, pictures: Pictures, where: Path) -> InMemory:
        """Keep the images in memory with their class indices."""
        number = {name: n for n, name in enumerate(self.classes)}
        unknown = sorted(set(pictures.classes) - set(number))
        if unknown:
            raise DataError(
                f"{images.shown(where)}: unknown class {', '.join(unknown)}; train has {', '.join(self.classes)}: "
                f"use the same class names in all splits"
            )
        return InMemory(pictures.pixels.transpose(0, 3, 1, 2), np.array([number[name] for name in pictures.classes]))


def spread(pictures: Pictures, at_most: int) -> Pictures:
    """Return at most `at_most` of the images, evenly spaced."""
    count = min(at_most, len(pictures.classes))
    chosen = np.arange(count) * len(pictures.classes) // max(count, 1)
    return Pictures(pictures.pixels[chosen], [pictures.classes[i] for i in chosen])


def found(root: Path, split: str) -> bool:
    """Return whether a split exists, as a folder or a tar file."""
    return (root / split).is_dir() or (root / f"{split}.tar").is_file()


def gathered(root: Path, split: str, size: int, channels: int, bad_limit: float) -> Pictures:
    """Decode a split into memory.

    Raises:
        DataError: it is missing or empty, or too many of its images are unreadable.
    """
    folder, tar = root / split, root / f"{split}.tar"
    if not found(root, split):
        raise DataError(f"{images.shown(root)}: neither {split} nor {split}.tar found; {LAYOUT}")
    pixels: list[np.ndarray] = []
    classes: list[str] = []
    bad: list[str] = []
    for name, picture in of_folder(folder) if folder.is_dir() else of_tar(tar):
        if isinstance(picture, DataError):
            bad.append(str(picture))
            continue
        square = fit(picture, size)
        pixels.append(np.rint(square @ LUMA).astype(np.uint8)[:, :, None] if channels == 1 else square)
        classes.append(name)
    where = images.shown(folder if folder.is_dir() else tar)
    if not pixels and not bad:
        raise DataError(f"{where}: no images in class folders; {LAYOUT}")
    if len(bad) > bad_limit * (len(bad) + len(pixels)):
        raise DataError(
            f"{where}: {len(bad)} of {len(bad) + len(pixels)} images cannot be read, more than the allowed fraction "
            f"of {bad_limit:g}: {'; '.join(bad[:10])}"
        )
    if bad:
        log.warning("%s: unreadable images skipped: %d (%s)", where, len(bad), "; ".join(bad[:10]))
    return Pictures(np.stack(pixels), classes)


Picture = tuple[str, np.ndarray | DataError]  # the class, and the pixels uint8 [H, W, 3] or the error


def of_folder(folder: Path) -> Iterator[Picture]:
    """Yield the images <class>/<image> in a folder, sorted by name."""
    for path in listed(folder)[0]:
        parts = path.relative_to(folder).parts
        if len(parts) > 1:
            yield parts[0], attempted(path, images.shown(path))


def of_tar(file: Path) -> Iterator[Picture]:
    """Yield the images <class>/<image> in a tar file, in archive order, without writing anything to disk.

    Raises:
        DataError: the file is damaged or was cut off.
    """
    for member, content in archived(file):
        parts = PurePosixPath(member.name).parts
        if len(parts) > 1 and not any(part.startswith(".") for part in parts[-2:]):
            yield parts[-2], attempted(content, f"{images.shown(file)}: {member.name}")


def attempted(source: Path | bytes, name: str) -> np.ndarray | DataError:
    """Return an image as uint8 [H, W, 3], or the error if it cannot be read."""
    try:
        return read(source) if isinstance(source, Path) else images.read_rgb(source)
    except DataError as error:
        return error if isinstance(source, Path) else DataError(f"{name}: {error}")
