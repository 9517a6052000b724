"""Pictures with a label each: a folder, or a tar, for every split, and in it a folder for every class.

    data: {use: labelled_folders, root: data/cifar10, size: 32, batch_size: 64}     # in a config

    train/cat/7.jpg  train/dog/3.png  test/cat/9.jpg        # either so
    train.tar  test.tar                                     # or so, with cat/7.jpg ... in each, uncompressed or not

Everything is decoded once, at the start, and kept in memory as bytes: small pictures are what this is for. A tar is
read in place and never unpacked.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import DataError
from .base import Data, Sample
from .folders import Share, listed, read
from .memory import InMemory
from .transforms import fit

log = logging.getLogger("i2i")

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as Pillow converts to grey
LAYOUT = "labelled_folders needs train and val (or test) in its root: folders, or .tar files, of <class>/<picture>"


class Pictures(NamedTuple):
    """The pictures of a split: uint8 [N, size, size, channels], and the names of their classes."""

    pixels: np.ndarray
    classes: list[str]


class LabelledFolders(Data):
    """Pictures sorted into classes: "image" float32 [channels, size, size] in [-1, 1] and "label", its number.

    Classes are numbered in the order of their names. A picture of other proportions is resized until it covers
    `size` squared, and its middle is cut out.

    Args:
        root: holds the splits train and val (or test), each a folder or a .tar of <class>/<picture>.
        size: height and width of a sample, in pixels.
        channels: 3, or 1 for grey.
        batch_size: samples in one step.
        flip: mirror half of the training pictures left to right.
        bad_limit: the share of pictures that may be unreadable; they are left out and told.
        workers: loader processes; with everything in memory, none is usually fastest.
        validation_samples: how many pictures of val (or test) are used at most, evenly spread.

    Raises:
        DataError: no pictures, too many bad ones, a class in val or test that train does not have.

    Source:
        The layout of CIFAR-10 and ImageNet as they are passed around.
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
            log.warning("%s: no val and no test, so there is nothing to validate on", images.shown(place))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return picture `index`, mirrored half of the time.

        Returns:
            "image" float32 [channels, size, size] in [-1, 1] and "label" int64 [].
        """
        sample = self.train[index]
        mirrored = self.flip and rng.random() < 0.5
        return {**sample, "image": sample["image"].flip(2)} if mirrored else sample

    def validation(self) -> Sequence[Sample]:
        """Return the pictures of val or test, as they are."""
        return self.held_out

    def _kept(self, pictures: Pictures, where: Path) -> InMemory:
        """Keep pictures with the numbers of their classes."""
        number = {name: n for n, name in enumerate(self.classes)}
        unknown = sorted(set(pictures.classes) - set(number))
        if unknown:
            raise DataError(
                f"{images.shown(where)}: the class {', '.join(unknown)} is not among those of train "
                f"({', '.join(self.classes)}): name them alike in all splits"
            )
        return InMemory(pictures.pixels.transpose(0, 3, 1, 2), np.array([number[name] for name in pictures.classes]))


def spread(pictures: Pictures, at_most: int) -> Pictures:
    """Return some of the pictures, evenly spread."""
    count = min(at_most, len(pictures.classes))
    chosen = np.arange(count) * len(pictures.classes) // max(count, 1)
    return Pictures(pictures.pixels[chosen], [pictures.classes[i] for i in chosen])


def found(root: Path, split: str) -> bool:
    """Say whether a split is there, as a folder or as a tar."""
    return (root / split).is_dir() or (root / f"{split}.tar").is_file()


def gathered(root: Path, split: str, size: int, channels: int, bad_limit: float) -> Pictures:
    """Decode a split into memory.

    Raises:
        DataError: it is not there, is empty, or too many of its pictures cannot be read.
    """
    folder, tar = root / split, root / f"{split}.tar"
    if not found(root, split):
        raise DataError(f"{images.shown(root)}: neither {split} nor {split}.tar is in it; {LAYOUT}")
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
        raise DataError(f"{where}: no pictures in the folders of classes; {LAYOUT}")
    if len(bad) > bad_limit * (len(bad) + len(pixels)):
        raise DataError(
            f"{where}: {len(bad)} of {len(bad) + len(pixels)} pictures cannot be read, more than the share of "
            f"{bad_limit:g} that may be: {'; '.join(bad[:10])}"
        )
    if bad:
        log.warning("%s: %d pictures left out (%s)", where, len(bad), "; ".join(bad[:10]))
    return Pictures(np.stack(pixels), classes)


Picture = tuple[str, np.ndarray | DataError]  # the class, and the pixels uint8 [H, W, 3] or why there are none


def of_folder(folder: Path) -> Iterator[Picture]:
    """Yield the pictures of <class>/<picture> below a folder, sorted by name."""
    for path in listed(folder)[0]:
        parts = path.relative_to(folder).parts
        if len(parts) > 1:
            yield parts[0], attempted(path, images.shown(path))


def of_tar(file: Path) -> Iterator[Picture]:
    """Yield the pictures of <class>/<picture> in a tar, in its order. Nothing is written anywhere.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                hidden = any(part.startswith(".") for part in parts[-2:])
                stream = tar.extractfile(member) if member.isreg() and len(parts) > 1 and not hidden else None
                if stream is not None:
                    yield parts[-2], attempted(stream.read(), f"{images.shown(file)}: {member.name}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{images.shown(file)}: cannot be read as a tar ({str(error).splitlines()[0]})") from error


def attempted(source: Path | bytes, name: str) -> np.ndarray | DataError:
    """Return a picture uint8 [H, W, 3], or what is wrong with it."""
    try:
        return read(source) if isinstance(source, Path) else images.read_rgb(source)
    except DataError as error:
        return error if isinstance(source, Path) else DataError(f"{name}: {error}")
