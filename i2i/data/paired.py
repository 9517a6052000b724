"""Paired data sets: "A", the input, and "B", the target, aligned pixel by pixel.

    data: {use: paired_folders, root: data/shoes}                            # trainA/7.png and trainB/7.jpg
    data: {use: paired_side_by_side, root: data/facades, direction: BtoA}    # both halves in one image
    data: {use: derived, derive: grey, root: data/caltech101}                # A is computed from B
    data: {use: derived_from, derive: grey, source: {use: horses_zebras}}    # same, from another data set

Unreadable images, the cache and augmentation work as in `folders`; if one image of a pair is unreadable, the whole
pair is replaced. Crops, flips and extra augmentations are the same for A and B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from .. import images
from ..errors import ConfigError, DataError, counted
from .base import Data, Sample
from .derive import DERIVERS
from .folders import SUFFIXES, FromFolders, Share, Source, row_of
from .transforms import Augment, fit, to_tensor

Direction = Literal["AtoB", "BtoA"]
PICTURES = f"images ({SUFFIXES})"
EVERY = 10  # without validation folders, every tenth image is held out


class Paired(FromFolders):
    """Base class of paired data sets: one row of images is one sample."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return pair `index`, with the same augmentation applied to both images.

        Returns:
            "A" and "B", float32 [3, size, size] in [-1, 1].

        Raises:
            DataError: more images are unreadable than `bad_limit` allows.
        """
        row = dict(zip(self.train, row_of([*self.train.values()], index), strict=True))
        row = self._complete(self.augment.crops(rng, row), rng)
        return {name: to_tensor(picture) for name, picture in row.items()}


class PairedFolders(Paired):
    """Two folders of images paired by file name: trainA/7.png and trainB/7.jpg.

    The folders are trainA and trainB, or train/A and train/B; likewise with val or test for validation. Relative
    paths are compared without their suffixes.

    Args:
        root: the folder containing them.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        direction: "AtoB", or "BtoA" to swap input and target.
        batch_size: samples per step.
        flip: flip half of the pairs horizontally.
        augment: extra augmentations, the same for both images: albumentations transform name -> its arguments.
        on_bad: what to do with unreadable images: "quarantine" replaces the pair with the next one and warns, "fail"
            reads everything first and raises an error listing all of them.
        bad_limit: the fraction of unreadable training images above which "quarantine" raises an error.
        cache: cache the resized images in `root`/.i2i-cache (or $I2I_CACHE), so that each is decoded only once.
        workers: number of loader processes.
        validation_samples: maximum number of validation pairs, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, or an augmentation is unknown.
        DataError: a folder is missing or empty, an image has no counterpart, the images of a pair differ in aspect
            ratio, or too many images are unreadable.

    Source:
        Isola et al., arXiv:1611.07004, 6.2 for resize, crop and flip.
    """

    layout = (
        f"paired_folders needs {PICTURES} with the same names in the folders trainA and trainB (or train/A and "
        f"train/B) of its root, and in valA and valB or testA and testB for validation"
    )

    def __init__(
        self,
        root: str,
        size: PositiveInt = 256,
        load_size: PositiveInt | None = None,
        direction: Direction = "AtoB",
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        on_bad: Literal["quarantine", "fail"] = "quarantine",
        bad_limit: Share = 0.05,
        cache: bool = True,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers = batch_size, workers
        self.augment = Augment(size, load_size, flip, augment)
        place = Path(root).expanduser()
        train = self._pairs(halves(place, "train"), needed=True)
        held_out = halves(place, "val")
        test = self._pairs(held_out if held_out[0].is_dir() else halves(place, "test"), needed=False)
        files = {name: Source(f"train{name}", train[n], test[n]) for n, name in enumerate("AB")}
        self._open(
            place,
            turned(files, direction),
            on_bad=on_bad,
            bad_limit=bad_limit,
            cache=cache,
            validation_samples=validation_samples,
        )

    def _pairs(self, folders: tuple[Path, Path], needed: bool) -> tuple[list[Path], list[Path]]:
        """Return the images of two folders, matched by name and sorted."""
        listed = [self._list(folder, needed) for folder in folders]
        a, b = (
            {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
            for folder, paths in zip(folders, listed, strict=True)
        )
        both = sorted(a.keys() & b.keys())
        paired = {path for name in both for path in (a[name], b[name])}
        refuse("without a counterpart", [path for paths in listed for path in paths if path not in paired])
        skew = [path for name in both if skewed(a[name], b[name]) for path in (a[name], b[name])]
        refuse("of another aspect ratio than the counterpart", skew)
        return [a[name] for name in both], [b[name] for name in both]


class PairedSideBySide(Paired):
    """Images whose left half is A and whose right half is B, in train, with val or test for validation.

    Args:
        root: the folder containing train and val.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        direction: "AtoB": the left half is the input and the right half the target; "BtoA": the reverse.
        batch_size: samples per step.
        flip: flip half of the pairs horizontally.
        augment: extra augmentations, the same for both halves: albumentations transform name -> its arguments.
        on_bad: what to do with unreadable images: "quarantine" replaces each with the next one and warns, "fail"
            reads everything first and raises an error listing all of them.
        bad_limit: the fraction of unreadable training images above which "quarantine" raises an error.
        cache: cache the resized halves in `root`/.i2i-cache (or $I2I_CACHE), so that each is decoded only once.
        workers: number of loader processes.
        validation_samples: maximum number of validation pairs, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, or an augmentation is unknown.
        DataError: train is missing or empty, or too many images are unreadable.

    Source:
        Isola et al., arXiv:1611.07004, 6.2 and the layout of its published data sets.
    """

    layout = (
        f"paired_side_by_side needs {PICTURES} in the folder train of its root, each with A in the left half and B "
        f"in the right half, and in val or test for validation"
    )

    def __init__(
        self,
        root: str,
        size: PositiveInt = 256,
        load_size: PositiveInt | None = None,
        direction: Direction = "AtoB",
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        on_bad: Literal["quarantine", "fail"] = "quarantine",
        bad_limit: Share = 0.05,
        cache: bool = True,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers = batch_size, workers
        self.augment = Augment(size, load_size, flip, augment)
        place = Path(root).expanduser()
        train = self._list(place / "train", needed=True)
        test = self._list(held_out(place), needed=False)
        files = {"A": Source("train-left", train, test, left), "B": Source("train-right", train, test, right)}
        self._open(
            place,
            turned(files, direction),
            on_bad=on_bad,
            bad_limit=bad_limit,
            cache=cache,
            validation_samples=validation_samples,
        )


class Derived(Paired):
    """Pairs from any photographs: B is the photograph, and A is computed from it on the fly.

    The short side of each image is resized to load_size, followed by a centre crop and a random crop of size, so that
    the aspect ratio is preserved in training and validation. Extra augmentations apply to B, before A is computed.

    Args:
        root: a folder with train, and val or test for validation; or just a folder of images, of which every tenth
            is then held out for validation.
        derive: how A is computed from B. "grey" removes colour, for colorization; "edges" extracts outlines;
            "low_light" darkens it and adds sensor noise; "noise" adds Gaussian noise.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        batch_size: samples per step.
        flip: flip half of the images horizontally.
        augment: extra augmentations of B, albumentations transform name -> its arguments.
        on_bad: what to do with unreadable images: "quarantine" replaces each with the next one and warns, "fail"
            reads everything first and raises an error listing all of them.
        bad_limit: the fraction of unreadable training images above which "quarantine" raises an error.
        cache: cache the resized images in `root`/.i2i-cache (or $I2I_CACHE), so that each is decoded only once.
        workers: number of loader processes.
        validation_samples: maximum number of validation images, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, or an augmentation is unknown.
        DataError: there are no images, or too many of them are unreadable.
    """

    layout = f"derived needs {PICTURES} in its root, or in the folders train and val (or test) of its root"

    def __init__(
        self,
        root: str,
        derive: Literal["grey", "edges", "low_light", "noise"] = "grey",
        size: PositiveInt = 256,
        load_size: PositiveInt | None = None,
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        on_bad: Literal["quarantine", "fail"] = "quarantine",
        bad_limit: Share = 0.05,
        cache: bool = True,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers = batch_size, workers
        self.augment = Augment(size, load_size, flip, augment)
        self.derive = DERIVERS[derive]
        place = Path(root).expanduser()
        if (place / "train").is_dir():
            train, test = self._list(place / "train", needed=True), self._list(held_out(place), needed=False)
        else:
            every = self._list(place, needed=True)
            train, test = [path for n, path in enumerate(every) if (n + 1) % EVERY], every[EVERY - 1 :: EVERY]
        self._open(
            place,
            {"B": Source("train-fit", train, test)},
            on_bad=on_bad,
            bad_limit=bad_limit,
            cache=cache,
            validation_samples=validation_samples,
        )

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        return fit(picture, self.augment.load_size)

    def _complete(self, row: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"A": self.derive(row["B"], rng), **row}


class DerivedFrom(Data):
    """Pairs from another data set: B is its image, and A is computed from it. Meant for the embedded data sets.

    Args:
        source: the data set, `{use: NAME, ...}`; it also sets the batch size and the number of loader processes.
        picture: the sample entry that becomes B.
        derive: how A is computed from B, see `Derived`.

    Raises:
        ConfigError: the samples of the data set have no such image.
    """

    def __init__(
        self,
        source: Annotated[Callable[..., Data], "data"],
        picture: str = "A",
        derive: Literal["grey", "edges", "low_light", "noise"] = "grey",
    ) -> None:
        self.source, self.picture, self.derive = source(), picture, DERIVERS[derive]
        self.batch_size, self.workers = self.source.batch_size, self.source.workers
        self._held_out: list[Sample] | None = None

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return "A" and "B", float32 [3, H, W] in [-1, 1], of training sample `index`."""
        return self._pair(self.source.sample(index, rng), rng)

    def validation(self) -> Sequence[Sample]:
        """Return pairs made from the data set's validation samples."""
        if self._held_out is None:
            given = self.source.validation()
            self._held_out = [self._pair(given[n], np.random.default_rng(n)) for n in range(len(given))]
        return self._held_out

    def note(self) -> str:
        """Return the note of the source data set."""
        return self.source.note()

    def _pair(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample.get(self.picture)
        if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != 3:
            raise ConfigError(
                f"derived_from: the samples of {type(self.source).__name__} have no image '{self.picture}', only "
                f"{', '.join(sample)}"
            )
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        return {"A": to_tensor(self.derive(pixels, rng)), "B": image}


def left(picture: np.ndarray) -> np.ndarray:
    """Return the left half of an image [H, W, 3]."""
    return picture[:, : picture.shape[1] // 2]


def right(picture: np.ndarray) -> np.ndarray:
    """Return the right half of an image [H, W, 3], as wide as the left half."""
    return picture[:, picture.shape[1] - picture.shape[1] // 2 :]


def turned(files: dict[str, Source], direction: Direction) -> dict[str, Source]:
    """Return the sources with A as the input and B as the target."""
    a, b = files["A"], files["B"]
    return {"A": a, "B": b} if direction == "AtoB" else {"A": b, "B": a}


def halves(root: Path, part: str) -> tuple[Path, Path]:
    """Return the folders of A and B, in whichever of the two layouts exists."""
    joint = "/" if (root / part / "A").is_dir() else ""
    return root / f"{part}{joint}A", root / f"{part}{joint}B"


def held_out(root: Path) -> Path:
    """Return the folder of the validation images."""
    return root / "val" if (root / "val").is_dir() else root / "test"


def skewed(a: Path, b: Path) -> bool:
    """Return whether two images differ in aspect ratio by more than the rounding of a pixel."""
    (wide, high), (other_wide, other_high) = size_of(a), size_of(b)
    return abs(wide * other_high - other_wide * high) > max(wide, high, other_wide, other_high)


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height from the file header, after EXIF orientation; (0, 0) if it cannot be read."""
    try:
        with Image.open(path, formats=images.FORMATS) as picture:
            wide, high = picture.size
            return (high, wide) if picture.getexif().get(0x0112, 1) >= 5 else (wide, high)
    except Exception:  # decoding it later reports why
        return 0, 0


def refuse(why: str, paths: Sequence[Path]) -> None:
    """Raise DataError naming the first ten of the images, if there are any."""
    if paths:
        names = ", ".join(f"{images.shown(path)} ({'x'.join(map(str, size_of(path)))})" for path in paths[:10])
        more = ", ..." if len(paths) > 10 else ""
        raise DataError(f"{counted(len(paths), 'image')} {why}: {names}{more}; paired_folders needs complete pairs")
