"""Data sets of pairs: "A", what goes in, and "B", what should come out, pixel by pixel.

    data: {use: paired_folders, root: data/shoes}                            # trainA/7.png and trainB/7.jpg
    data: {use: paired_side_by_side, root: data/facades, direction: BtoA}    # both halves in one picture
    data: {use: derived, derive: grey, root: data/caltech101}                # A is made of B
    data: {use: derived_from, derive: grey, source: {use: horses_zebras}}    # also of an embedded set

Bad pictures, the cache and the augmentation are those of `folders`; a pair of which one half is bad is replaced as
a whole. Crops, flips and further steps are the same for A and B.
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
from ..errors import ConfigError, DataError
from .base import Data, Sample
from .derive import DERIVERS
from .folders import SUFFIXES, FromFolders, Share, Source, row_of
from .transforms import Augment, fit, to_tensor

Direction = Literal["AtoB", "BtoA"]
PICTURES = f"pictures ({SUFFIXES})"
EVERY = 10  # without folders for it, each tenth picture is kept for validation


class Paired(FromFolders):
    """What the data sets of pairs share: one row of pictures is one sample."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return pair `index`, augmented alike.

        Returns:
            "A" and "B", float32 [3, size, size] in [-1, 1].

        Raises:
            DataError: more pictures are bad than `bad_limit` allows.
        """
        row = dict(zip(self.train, row_of([*self.train.values()], index), strict=True))
        row = self._complete(self.augment.crops(rng, row), rng)
        return {name: to_tensor(picture) for name, picture in row.items()}


class PairedFolders(Paired):
    """Two folders of pictures that belong together by equal names: trainA/7.png and trainB/7.jpg.

    The folders are trainA and trainB, or train/A and train/B; for validation the same with val or test. Names are
    compared without their suffix and with the folders that they lie in.

    Args:
        root: the folder that holds them.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; by default size * 286 / 256, rounded.
        direction: "AtoB", or "BtoA" to let B go in and A come out.
        batch_size: samples in one step.
        flip: mirror half of the pairs left to right.
        augment: further steps for both pictures alike, the name of an albumentations transform -> its arguments.
        on_bad: what to do about pictures that cannot be read: "quarantine" replaces the pair by the next one and
            warns, "fail" reads everything first and refuses to start, naming all of them.
        bad_limit: the share of bad training pictures above which a quarantine gives up.
        cache: keep the resized pictures in `root`/.i2i-cache (or $I2I_CACHE), so that they are decoded once.
        workers: loader processes.
        validation_samples: how many pairs are used for validation at most, evenly spread.

    Raises:
        ConfigError: load_size is smaller than size, or an unknown augmentation.
        DataError: a folder is missing or empty, a picture has no partner, the two of a pair differ in proportions,
            or there are too many bad ones.

    Source:
        Isola et al., arXiv:1611.07004, 6.2 for resize, crop and flip.
    """

    layout = (
        f"paired_folders needs {PICTURES} of equal names in the folders trainA and trainB (or train/A and train/B) "
        f"of its root, and for validation in valA and valB or testA and testB"
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
        """Return the pictures of two folders in the order of their names, which are the same."""
        listed = [self._list(folder, needed) for folder in folders]
        a, b = (
            {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
            for folder, paths in zip(folders, listed, strict=True)
        )
        both = sorted(a.keys() & b.keys())
        paired = {path for name in both for path in (a[name], b[name])}
        refuse("have no partner of equal name", [path for paths in listed for path in paths if path not in paired])
        skew = [path for name in both if skewed(a[name], b[name]) for path in (a[name], b[name])]
        refuse("have other proportions than their partner", skew)
        return [a[name] for name in both], [b[name] for name in both]


class PairedSideBySide(Paired):
    """Pictures whose left half is A and whose right half is B, in train, and for validation in val or test.

    Args:
        root: the folder that holds train and val.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; by default size * 286 / 256, rounded.
        direction: "AtoB": the left half goes in and the right one comes out; "BtoA": the other way round.
        batch_size: samples in one step.
        flip: mirror half of the pairs left to right.
        augment: further steps for both halves alike, the name of an albumentations transform -> its arguments.
        on_bad: what to do about pictures that cannot be read: "quarantine" replaces each by the next one and
            warns, "fail" reads everything first and refuses to start, naming all of them.
        bad_limit: the share of bad training pictures above which a quarantine gives up.
        cache: keep the resized halves in `root`/.i2i-cache (or $I2I_CACHE), so that they are decoded once.
        workers: loader processes.
        validation_samples: how many pairs are used for validation at most, evenly spread.

    Raises:
        ConfigError: load_size is smaller than size, or an unknown augmentation.
        DataError: train is missing or empty, or there are too many bad pictures.

    Source:
        Isola et al., arXiv:1611.07004, 6.2 and the layout of its published data sets.
    """

    layout = (
        f"paired_side_by_side needs {PICTURES} in the folder train of its root, each with A on its left half and B "
        f"on its right one, and for validation in val or test"
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
    """Any photographs as pairs: B is the photograph, and A is made of it while training.

    The short side of each picture is resized to load_size and the middle kept, then size is cropped at random, so
    that proportions are kept in training as in validation. Further steps change B, and A is made of the result.

    Args:
        root: a folder with train, and val or test for validation; or just a folder of pictures, each tenth of which
            is then kept for validation.
        derive: what is done to B to get A. "grey" takes its colour, for colorization; "edges" leaves outlines;
            "low_light" darkens it and adds a sensor's noise; "noise" adds Gaussian noise.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; by default size * 286 / 256, rounded.
        batch_size: samples in one step.
        flip: mirror half of the pictures left to right.
        augment: further steps for B, the name of an albumentations transform -> its arguments.
        on_bad: what to do about pictures that cannot be read: "quarantine" replaces each by the next one and
            warns, "fail" reads everything first and refuses to start, naming all of them.
        bad_limit: the share of bad training pictures above which a quarantine gives up.
        cache: keep the resized pictures in `root`/.i2i-cache (or $I2I_CACHE), so that they are decoded once.
        workers: loader processes.
        validation_samples: how many pictures are used for validation at most, evenly spread.

    Raises:
        ConfigError: load_size is smaller than size, or an unknown augmentation.
        DataError: there are no pictures, or too many bad ones.
    """

    layout = f"derived needs {PICTURES} in its root, or in the folders train and val (or test) of it"

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
    """Another data set's pictures as pairs: B is its picture, and A is made of it. For the embedded sets above all.

    Args:
        source: the data set, `{use: NAME, ...}`; batch size and loader processes are its own.
        picture: which entry of its samples is the picture.
        derive: what is done to B to get A, see `Derived`.

    Raises:
        ConfigError: the samples of the data set have no such picture.
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
        """Return the pairs of the data set's validation samples."""
        if self._held_out is None:
            given = self.source.validation()
            self._held_out = [self._pair(given[n], np.random.default_rng(n)) for n in range(len(given))]
        return self._held_out

    def note(self) -> str:
        """Return what the data set says."""
        return self.source.note()

    def _pair(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample.get(self.picture)
        if not isinstance(image, Tensor) or image.ndim != 3 or len(image) != 3:
            raise ConfigError(
                f"derived_from: the samples of {type(self.source).__name__} have no picture '{self.picture}', only "
                f"{', '.join(sample)}"
            )
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        return {"A": to_tensor(self.derive(pixels, rng)), "B": image}


def left(picture: np.ndarray) -> np.ndarray:
    """Return the left half of [H, W, 3]."""
    return picture[:, : picture.shape[1] // 2]


def right(picture: np.ndarray) -> np.ndarray:
    """Return the right half of [H, W, 3], as wide as the left one."""
    return picture[:, picture.shape[1] - picture.shape[1] // 2 :]


def turned(files: dict[str, Source], direction: Direction) -> dict[str, Source]:
    """Return which source is A, what goes in, and which is B."""
    a, b = files["A"], files["B"]
    return {"A": a, "B": b} if direction == "AtoB" else {"A": b, "B": a}


def halves(root: Path, part: str) -> tuple[Path, Path]:
    """Return the folders of A and B in either layout, by preference the one that is there."""
    joint = "/" if (root / part / "A").is_dir() else ""
    return root / f"{part}{joint}A", root / f"{part}{joint}B"


def held_out(root: Path) -> Path:
    """Return the folder of the pictures for validation."""
    return root / "val" if (root / "val").is_dir() else root / "test"


def skewed(a: Path, b: Path) -> bool:
    """Say whether two pictures differ in proportions, by more than the rounding of a pixel."""
    (wide, high), (other_wide, other_high) = size_of(a), size_of(b)
    return abs(wide * other_high - other_wide * high) > max(wide, high, other_wide, other_high)


def size_of(path: Path) -> tuple[int, int]:
    """Return the width and the height that a file's head says, upright; (0, 0) where it cannot be read."""
    try:
        with Image.open(path, formats=images.FORMATS) as picture:
            wide, high = picture.size
            return (high, wide) if picture.getexif().get(0x0112, 1) >= 5 else (wide, high)
    except Exception:  # reading it whole will say why
        return 0, 0


def refuse(why: str, paths: Sequence[Path]) -> None:
    """Raise DataError if there are such pictures; it names ten of them."""
    if paths:
        names = ", ".join(f"{images.shown(path)} ({'x'.join(map(str, size_of(path)))})" for path in paths[:10])
        more = ", ..." if len(paths) > 10 else ""
        raise DataError(f"{len(paths)} pictures {why}: {names}{more}; paired_folders takes whole pairs only")
