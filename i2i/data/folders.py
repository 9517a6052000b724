"""Data sets that are folders of pictures.

`unpaired_folders` is the layout of CycleGAN (arXiv:1703.10593) and everything like it: two domains that have
nothing to do with each other picture by picture.

    data: {use: unpaired_folders, root: data/horse2zebra, size: 256}  # in a config
    i2i data check data/horse2zebra                                   # what is there, what is wrong with it

A picture that cannot be read does not end a training of days: the next one of its folder takes its place,
which is told once. That replacement depends on the files only, so a resumed run sees the same samples.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from .. import images
from ..errors import DataError, I2IError
from . import cache as caches
from .base import Data, Sample
from .transforms import Augment, fit, to_tensor

log = logging.getLogger("i2i")

SUFFIXES = ".png .jpg .jpeg .webp .tif .tiff .bmp .gif .ppm .pgm .pbm"
WAITS = (0.05, 0.2, 0.8)  # seconds before each new attempt to read a file; a network drive may need them
LASTING = (errno.EINVAL, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP)  # waiting does not help


class UnpairedFolders(Data):
    """Two folders of unrelated pictures, trainA and trainB, with testA and testB for validation.

    An epoch is as long as the larger folder. The engine decides the order of A; B is drawn at random for each
    sample. Every picture is resized to load_size squared, cropped to size and mirrored at random.

    Args:
        root: the folder that holds trainA, trainB, testA and testB.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; by default size * 286 / 256, rounded.
        batch_size: samples in one step.
        flip: mirror half of the pictures left to right.
        augment: further steps, the name of an albumentations transform -> its arguments, such as
            {ColorJitter: {brightness: 0.1}}.
        on_bad: what to do about pictures that cannot be read: "quarantine" replaces each by the next one and
            warns, "fail" reads everything first and refuses to start, naming all of them.
        bad_limit: the share of bad training pictures above which a quarantine gives up.
        cache: keep the resized pictures in `root`/.i2i-cache (or $I2I_CACHE), so that they are decoded once.
        workers: loader processes.
        validation_samples: how many test pictures of each domain are used at most, evenly spread.

    Raises:
        ConfigError: load_size is smaller than size, or an unknown augmentation.
        DataError: a folder is missing or holds no pictures, or there are too many bad ones.

    Source:
        Zhu et al., arXiv:1703.10593, 7.1 and the published code for order, resize and crop.
    """

    def __init__(
        self,
        root: str,
        size: PositiveInt = 256,
        load_size: PositiveInt | None = None,
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        on_bad: Literal["quarantine", "fail"] = "quarantine",
        bad_limit: Annotated[float, Field(ge=0, le=1)] = 0.05,
        cache: bool = True,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers, self.size = batch_size, workers, size
        self.augment = Augment(size, load_size, flip, augment)
        self.root = Path(root).expanduser()
        parts = {part: self._list(part) for part in ("trainA", "trainB", "testA", "testB")}
        train = [*parts["trainA"], *parts["trainB"]]
        self.quarantine = Quarantine(self.root, train, bad_limit if on_bad == "quarantine" else 0.0)
        self.train = {
            domain: Folder(parts[f"train{domain}"], self.augment.resize, self.quarantine) for domain in "AB"
        }
        if cache:
            for domain, folder in self.train.items():
                load = self.augment.load_size
                folder.keep(caches.place(self.root) / f"train{domain}-{load}.npy", load)
        if on_bad == "fail":
            self._refuse_bad([*parts["testA"], *parts["testB"]])
        for folder in self.train.values():
            folder.tell()
        self.quarantine.check()
        self._held_out = HeldOut(parts["testA"], parts["testB"], size, validation_samples)

    def __len__(self) -> int:
        return max(len(folder) for folder in self.train.values())

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return {"A": picture `index` of trainA (modulo its length), "B": a random one of trainB}.

        Returns:
            Two tensors float32 [3, size, size] in [-1, 1].

        Raises:
            DataError: more pictures are bad than `bad_limit` allows.
        """
        a, b = self.train["A"], self.train["B"]
        drawn = int(rng.integers(len(b)))
        sample = self.augment(rng, {"A": a[index % len(a)]})
        return sample | self.augment(rng, {"B": b[drawn]})

    def validation(self) -> Sequence[Sample]:
        """Return pictures of testA and testB, short side resized to `size`, middle cut out."""
        return self._held_out

    def note(self) -> str:
        """Return how many pictures could not be read so far."""
        return (
            f"{self.skipped} of {self.pictures} pictures could not be read and were skipped" if self.skipped else ""
        )

    @property
    def skipped(self) -> int:
        """The number of training pictures that were found to be bad so far, in all loader processes."""
        return len(self.quarantine.found())

    @property
    def pictures(self) -> int:
        """The number of training pictures, good and bad."""
        return len(self.quarantine.paths)

    def _list(self, part: str) -> list[Path]:
        """Return the pictures of one folder, sorted. Only the test folders may be missing."""
        folder = self.root / part
        if part.startswith("test") and not folder.is_dir():
            log.warning("%s: no such folder, so there is nothing to validate on", images.shown(folder))
            return []
        if not folder.is_dir():
            raise DataError(f"{images.shown(folder)}: no such folder; {self._layout()}")
        found, skipped = listed(folder)
        others = "; ".join(f"{images.shown(path)}: {why}" for path, why in skipped[:10])
        if not found:
            instead = f", only others ({others})" if skipped else ""
            raise DataError(f"{images.shown(folder)}: no pictures in it{instead}; {self._layout()}")
        if skipped:
            more = f"; and {len(skipped) - 10} more" if len(skipped) > 10 else ""
            log.warning("%s: other files skipped: %d (%s%s)", images.shown(folder), len(skipped), others, more)
        return found

    def _layout(self) -> str:
        return (
            f"unpaired_folders needs pictures ({SUFFIXES}) in the folders trainA and trainB of "
            f"{images.shown(self.root)}, and for validation in testA and testB"
        )

    def _refuse_bad(self, more: Sequence[Path]) -> None:
        """Read every picture, and raise DataError with all that are bad."""
        bad = [why for folder in self.train.values() for why in folder.scan()]
        bad += [why for path in more for why in reasons(path)]
        if bad:
            count = f"{len(bad)} of {self.pictures + len(more)} pictures"
            raise DataError(f"{count} cannot be read and on_bad is 'fail', so nothing was started: {'; '.join(bad)}")


class Quarantine:
    """The bad pictures of a data set: counted over all loader processes, told once, refused when too many.

    Args:
        root: the data set, for messages.
        paths: its training pictures.
        limit: the share of them that may be bad.
    """

    def __init__(self, root: Path, paths: Sequence[Path], limit: float) -> None:
        self.root, self.paths, self.limit = root, paths, limit
        self._number = {path: number for number, path in enumerate(paths)}
        self._bad = torch.zeros(len(paths), dtype=torch.uint8).share_memory_()  # written by loader processes

    def add(self, path: Path, why: str) -> None:
        """Note a bad picture and warn, unless that was done before."""
        number = self._number[path]
        if not self._bad[number]:
            self._bad[number] = 1
            log.warning("left out of training, another picture takes its place: %s", why)

    def check(self) -> None:
        """Raise DataError if more pictures are bad than allowed."""
        bad = self.found()
        if len(bad) > self.limit * len(self.paths):
            names = ", ".join(images.shown(path) for path in bad[:10]) + (", ..." if len(bad) > 10 else "")
            raise DataError(
                f"{len(bad)} of {len(self.paths)} training pictures cannot be read, more than the share of "
                f"{self.limit:g} that may be: {names}; `i2i data check {images.shown(self.root)}` lists all"
            )

    def found(self) -> list[Path]:
        """Return the bad pictures known so far."""
        return [self.paths[int(number)] for number in self._bad.nonzero()]


class Folder:
    """The pictures of one folder, each prepared the same way, bad ones replaced by the next good one.

    Args:
        paths: the pictures, in order.
        prepare: the part of the augmentation that is the same each time.
        quarantine: where bad ones are noted.
    """

    def __init__(
        self, paths: Sequence[Path], prepare: Callable[[np.ndarray], np.ndarray], quarantine: Quarantine
    ) -> None:
        self.paths, self.prepare, self.quarantine = paths, prepare, quarantine
        self.cache: caches.Cache | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return picture `index`, or the next that can be read: a pure function of the files."""
        for number in chain(range(index, len(self.paths)), range(index)):
            try:
                return self._read(number)
            except DataError as error:
                self.quarantine.add(self.paths[number], str(error))
                self.quarantine.check()
        folder = images.shown(self.paths[0].parent)
        raise DataError(f"{folder}: none of its {len(self.paths)} pictures can be read, put good ones there")

    def keep(self, file: Path, size: int) -> None:
        """Read from a cache from now on. Where none can be written, say so and go on without."""
        try:
            self.cache = caches.Cache(file, self.paths, size, lambda path: self.prepare(read(path)))
        except (OSError, I2IError) as error:
            where = images.shown(file.parent)
            log.warning("no cache in %s, so pictures are decoded each time: %s", where, error)

    def tell(self) -> None:
        """Note what is known to be bad, before the first step."""
        for number, why in self.cache.bad.items() if self.cache is not None else ():
            self.quarantine.add(self.paths[number], why)

    def scan(self) -> list[str]:
        """Read every picture and return why the bad ones are."""
        if self.cache is not None:
            return list(self.cache.bad.values())
        return [why for path in self.paths for why in reasons(path)]

    def _read(self, number: int) -> np.ndarray:
        return self.cache[number] if self.cache is not None else self.prepare(read(self.paths[number]))


class HeldOut(Sequence[Sample]):
    """The validation samples, evenly spread over the test folders. Bad pictures are left out and told."""

    def __init__(self, a: Sequence[Path], b: Sequence[Path], size: int, at_most: int) -> None:
        self.size, self._paths = size, (a, b)
        self._count = min(len(a), len(b), at_most)
        self._pixels: list[tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        a, b = self._read()[index]
        return {"A": to_tensor(a), "B": to_tensor(b)}

    def _read(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Decode on first use and keep the bytes, because every metric goes through them."""
        if self._pixels is None:
            self._pixels = list(zip(*(self._pictures(paths) for paths in self._paths), strict=False))
        return self._pixels

    def _pictures(self, paths: Sequence[Path]) -> list[np.ndarray]:
        found = []
        for number in range(self._count):
            try:
                found.append(fit(read(paths[number * len(paths) // self._count]), self.size))
            except DataError as error:
                log.warning("left out of validation: %s", error)
        return found


def listed(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the pictures of a folder and below, sorted, and (path, reason) of everything else.

    Content decides what is a picture. A file that is none but is named like one counts as a bad picture, so
    that it is not left out in silence.
    """
    found, skipped = images.find([folder])
    bad = {path for path, _ in skipped if path.suffix.lower() in SUFFIXES.split() and path.is_file()}
    bad -= {path for path in bad if path.name.startswith(".")}
    others = [(path, why) for path, why in skipped if path not in bad]
    return sorted([*found, *bad], key=lambda path: path.parts), others


def read(path: Path) -> np.ndarray:
    """Return a picture as uint8 [H, W, 3]; what the system fails to read is tried three times more.

    Raises:
        DataError: the file is not a picture, is damaged, or cannot be read; it names the file and the reason.
    """
    for wait in (*WAITS, None):
        try:
            return images.read_rgb(path)
        except (OSError, DataError) as error:
            if not failed_to_read(error):
                raise
            if wait is None:
                tried = f"cannot be read ({error}), also after {len(WAITS)} more attempts"
                raise DataError(f"{images.shown(path)}: {tried}") from error
            time.sleep(wait)
    raise AssertionError


def failed_to_read(error: BaseException | None) -> bool:
    """Say whether the system failed, which may pass, and not the picture, which will not."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in LASTING
    return isinstance(error, I2IError) and failed_to_read(error.__cause__)


def reasons(path: Path) -> list[str]:
    """Return why a picture cannot be read: one reason or none."""
    try:
        read(path)
    except DataError as error:
        return [str(error)]
    return []
