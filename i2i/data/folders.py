"""Image folder data sets.

`unpaired_folders` reads the CycleGAN layout (arXiv:1703.10593): two domains without any correspondence between
individual images.

    data: {use: unpaired_folders, root: data/horse2zebra, size: 256}  # in a config
    i2i data check data/horse2zebra                                   # list contents and problems

An unreadable image does not abort a long training run: the next readable one in its folder is used instead, with
one warning. The replacement depends on the files only, so a resumed run sees the same samples.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from .. import files, images
from ..errors import DataError, I2IError
from . import cache as caches
from .base import Data, Sample
from .transforms import Augment, Size, fit, sides, to_tensor

log = logging.getLogger("i2i")

SUFFIXES = ".png .jpg .jpeg .webp .tif .tiff .bmp .gif .ppm .pgm .pbm"
WAITS = (0.05, 0.2, 0.8)  # seconds before each retry of a failed read; network drives may need it
LASTING = (errno.EINVAL, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP)  # retrying does not help

Share = Annotated[float, Field(ge=0, le=1)]
Complete = Callable[[dict[str, np.ndarray], np.random.Generator], dict[str, np.ndarray]]


class Source(NamedTuple):
    """The image files of one domain.

    Attributes:
        name: name of its cache file.
        train: training files, in order.
        test: validation files.
        cut: extracts the domain's part of a decoded file, uint8 [H, W, 3].
    """

    name: str
    train: Sequence[Path]
    test: Sequence[Path]
    cut: Callable[[np.ndarray], np.ndarray] = np.asarray


class FromFolders(Data):
    """Base class of image folder data sets: handles unreadable images, the cache and validation.

    A subclass describes its folders in `layout`, finds the files of each `Source` with `_list`, passes the sources
    to `_open`, and builds its samples from `train`.
    """

    layout: ClassVar[str] = ""  # the required folders, for error messages
    augment: Augment

    def _open(
        self,
        root: Path,
        sources: Mapping[str, Source],
        *,
        on_bad: Literal["quarantine", "fail"],
        bad_limit: float,
        cache: bool,
        validation_samples: int,
    ) -> None:
        """Prepare the images of each domain; the arguments are documented in `UnpairedFolders`."""
        paths = [path for source in sources.values() for path in source.train]
        self.quarantine = Quarantine(root, list(dict.fromkeys(paths)), bad_limit if on_bad == "quarantine" else 0.0)
        self.train = {
            domain: Folder(source.train, partial(self._prepared, source.cut), self.quarantine)
            for domain, source in sources.items()
        }
        if cache:
            for domain, folder in self.train.items():
                load, _ = sides(self.augment.load_size)  # always square here; the cache supports nothing else
                folder.keep(caches.place(root) / f"{sources[domain].name}-{load}.npy", load)
        if on_bad == "fail":
            self._refuse_bad([path for source in sources.values() for path in source.test])
        for folder in self.train.values():
            folder.tell()
        self.quarantine.check()
        self._held_out = HeldOut(sources, self.augment.size, validation_samples, self._complete)

    def __len__(self) -> int:
        return max(len(folder) for folder in self.train.values())

    def validation(self) -> Sequence[Sample]:
        """Return the validation images, resized along the short side to `size` and centre-cropped."""
        return self._held_out

    def note(self) -> str:
        """Return how many images could not be read so far."""
        return f"{self.skipped} of {self.pictures} images could not be read and were skipped" if self.skipped else ""

    @property
    def skipped(self) -> int:
        """Number of training images found to be unreadable so far, over all loader processes."""
        return len(self.quarantine.found())

    @property
    def pictures(self) -> int:
        """Number of training images, including unreadable ones."""
        return len(self.quarantine.paths)

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        """Resize an image to load_size x load_size; by default this ignores its aspect ratio, as published."""
        return self.augment.resize(picture)

    def _prepared(self, cut: Callable[[np.ndarray], np.ndarray], picture: np.ndarray) -> np.ndarray:
        return self._resize(cut(picture))

    def _complete(self, row: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Add the images that are derived from the others to a sample."""
        return row

    def _list(self, folder: Path, needed: bool) -> list[Path]:
        """Return the images of a folder, sorted. A folder that is not `needed` may be missing, with a warning."""
        if not needed and not folder.is_dir():
            log.warning("%s: no such folder, so there is no validation data", images.shown(folder))
            return []
        if not folder.is_dir():
            why = files.lacking(folder, "folder")
            raise DataError(f"{images.shown(folder)}: {why}; set data.root to your data: {self.layout}")
        found, skipped = listed(folder)
        others = "; ".join(f"{images.shown(path)}: {why}" for path, why in skipped[:10])
        if not found:
            instead = f", only other files ({others})" if skipped else ""
            raise DataError(f"{images.shown(folder)}: no images found{instead}; {self.layout}")
        if skipped:
            more = f"; and {len(skipped) - 10} more" if len(skipped) > 10 else ""
            log.warning("%s: non-image files skipped: %d (%s%s)", images.shown(folder), len(skipped), others, more)
        return found

    def _refuse_bad(self, more: Sequence[Path]) -> None:
        """Read every image and raise DataError listing all unreadable ones."""
        more = list(dict.fromkeys(more))
        bad = [why for folder in self.train.values() for why in folder.scan()]
        bad = list(dict.fromkeys([*bad, *(why for path in more for why in reasons(path))]))
        if bad:
            count = f"{len(bad)} of {self.pictures + len(more)} images"
            raise DataError(
                f"{count} cannot be read and on_bad is 'fail', so training did not start: {'; '.join(bad)}"
            )


class UnpairedFolders(FromFolders):
    """Two folders of unpaired images, trainA and trainB, with testA and testB for validation.

    An epoch is as long as the larger folder. The engine decides the order of A; B is drawn at random for each
    sample. Images are resized to load_size squared, randomly cropped to size and randomly flipped.

    Args:
        root: the folder containing trainA, trainB, testA and testB.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        batch_size: samples per step.
        flip: flip half of the images horizontally.
        augment: extra augmentations, albumentations transform name -> its arguments, e.g.
            {ColorJitter: {brightness: 0.1}}.
        on_bad: what to do with unreadable images: "quarantine" replaces each with the next one and warns, "fail"
            reads everything first and raises an error listing all of them.
        bad_limit: the fraction of unreadable training images above which "quarantine" raises an error.
        cache: cache the resized images in `root`/.i2i-cache (or $I2I_CACHE), so that each is decoded only once.
        workers: number of loader processes.
        validation_samples: maximum number of test images used from each domain, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, or an augmentation is unknown.
        DataError: a folder is missing or contains no images, or too many of them are unreadable.

    Source:
        Zhu et al., arXiv:1703.10593, 7.1 and the published code for order, resize and crop.
    """

    layout = (
        f"unpaired_folders needs images ({SUFFIXES}) in the folders trainA and trainB of its root, and in testA and "
        f"testB for validation"
    )

    paired = False

    def __init__(
        self,
        root: str,
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
        place = Path(root).expanduser()
        train = {domain: self._list(place / f"train{domain}", needed=True) for domain in "AB"}
        test = {domain: self._list(place / f"test{domain}", needed=False) for domain in "AB"}
        self._open(
            place,
            {domain: Source(f"train{domain}", train[domain], test[domain]) for domain in "AB"},
            on_bad=on_bad,
            bad_limit=bad_limit,
            cache=cache,
            validation_samples=validation_samples,
        )

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return {"A": image `index` of trainA (modulo its length), "B": a random image of trainB}.

        Returns:
            Two tensors float32 [3, size, size] in [-1, 1].

        Raises:
            DataError: more images are unreadable than `bad_limit` allows.
        """
        a, b = self.train["A"], self.train["B"]
        drawn = int(rng.integers(len(b)))
        sample = self.augment(rng, {"A": a[index % len(a)]})
        return sample | self.augment(rng, {"B": b[drawn]})


class Quarantine:
    """The unreadable images of a data set: counted over all loader processes, reported once, an error if too many.

    Args:
        root: the folder of the data set, for messages.
        paths: its training images.
        limit: the fraction of them that may be unreadable.
        advice: what to do, if it is not `i2i data check`.
    """

    def __init__(self, root: Path, paths: Sequence[Path], limit: float, advice: str | None = None) -> None:
        self.paths, self.limit = paths, limit
        self.advice = advice or f"`i2i data check {images.shown(root)}` lists all of them"
        self._number = {path: number for number, path in enumerate(paths)}
        self._bad = torch.zeros(len(paths), dtype=torch.uint8).share_memory_()  # written by loader processes

    def add(self, path: Path, why: str) -> None:
        """Record an unreadable image and warn, once per image."""
        number = self._number[path]
        if not self._bad[number]:
            self._bad[number] = 1
            log.warning("skipped in training and replaced by another image: %s", why)

    def check(self) -> None:
        """Raise DataError if more images are unreadable than allowed."""
        bad = self.found()
        if len(bad) > self.limit * len(self.paths):
            names = ", ".join(images.shown(path) for path in bad[:10]) + (", ..." if len(bad) > 10 else "")
            raise DataError(
                f"{len(bad)} of {len(self.paths)} training images cannot be read, more than the allowed fraction of "
                f"{self.limit:g}: {names}; {self.advice}"
            )

    def found(self) -> list[Path]:
        """Return the unreadable images found so far."""
        return [self.paths[int(number)] for number in self._bad.nonzero()]


class Folder:
    """The prepared images of one folder, with unreadable ones replaced by the next readable one.

    Args:
        paths: the image files, in order.
        prepare: the deterministic part of the augmentation.
        quarantine: records unreadable images.
    """

    def __init__(
        self, paths: Sequence[Path], prepare: Callable[[np.ndarray], np.ndarray], quarantine: Quarantine
    ) -> None:
        self.paths, self.prepare, self.quarantine = paths, prepare, quarantine
        self.cache: caches.Cache | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image `index`, or the next readable one: a pure function of the files."""
        return row_of([self], index)[0]

    def keep(self, file: Path, size: int) -> None:
        """Read from a cache from now on. If it cannot be written, warn and continue without one."""
        try:
            self.cache = caches.Cache(file, self.paths, size, lambda path: self.prepare(read(path)))
        except (OSError, I2IError) as error:
            where = images.shown(file.parent)
            log.warning("no cache in %s, so images are decoded every time: %s", where, error)

    def tell(self) -> None:
        """Record the images that the cache knows to be unreadable, before the first step."""
        for number, why in self.cache.bad.items() if self.cache is not None else ():
            self.quarantine.add(self.paths[number], why)

    def scan(self) -> list[str]:
        """Read every image and return the reason for each unreadable one."""
        if self.cache is not None:
            return list(self.cache.bad.values())
        return [why for path in self.paths for why in reasons(path)]

    def read(self, number: int) -> np.ndarray:
        """Return image `number` without replacement, or raise DataError."""
        return self.cache[number] if self.cache is not None else self.prepare(read(self.paths[number]))


def row_of(folders: Sequence[Folder], index: int) -> list[np.ndarray]:
    """Return image `index` of each folder, or the next row whose images are all readable.

    The replacement is a pure function of the files.

    Raises:
        DataError: more images are unreadable than allowed, or no row is readable.
    """
    first = folders[0]
    for number in chain(range(index, len(first)), range(index)):
        row = []
        for folder in folders:
            try:
                row.append(folder.read(number))
            except DataError as error:
                folder.quarantine.add(folder.paths[number], str(error))
                folder.quarantine.check()
                break
        else:
            return row
    where = images.shown(first.paths[0].parent)
    raise DataError(f"{where}: none of its {len(first)} images can be read; add readable ones")


class HeldOut(Sequence[Sample]):
    """The validation samples, evenly spaced over the test images. Unreadable images are skipped with a warning.

    Args:
        sources: the image files of each domain.
        size: height and width of a sample.
        at_most: maximum number of samples.
        complete: adds derived images to a sample.
    """

    def __init__(self, sources: Mapping[str, Source], size: Size, at_most: int, complete: Complete) -> None:
        self.sources, self.size, self.complete = sources, size, complete
        self._count = min(at_most, *(len(source.test) for source in sources.values()))
        self._rows: list[dict[str, np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return {name: to_tensor(picture) for name, picture in self._read()[index].items()}

    def _read(self) -> list[dict[str, np.ndarray]]:
        """Decode on first use and keep the pixels, because every metric iterates over them."""
        if self._rows is None:
            self._rows = []
            for number in range(self._count):
                try:
                    row = {name: self._picture(source, number) for name, source in self.sources.items()}
                except DataError as error:
                    log.warning("skipped in validation: %s", error)
                else:
                    self._rows.append(self.complete(row, np.random.default_rng(number)))
        return self._rows

    def _picture(self, source: Source, number: int) -> np.ndarray:
        return fit(source.cut(read(source.test[number * len(source.test) // self._count])), self.size)


def listed(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the images in a folder and its subfolders, sorted, and (path, reason) for everything else.

    Images are recognised by content. Any other file with an image suffix counts as an unreadable image, so that it
    is not skipped silently.
    """
    found, skipped = images.find([folder])
    bad = {path for path, _ in skipped if path.suffix.lower() in SUFFIXES.split() and path.is_file()}
    bad -= {path for path in bad if path.name.startswith(".")}
    others = [(path, why) for path, why in skipped if path not in bad]
    return sorted([*found, *bad], key=lambda path: path.parts), others


def read(path: Path, decode: Callable[[Path], np.ndarray] | None = None) -> np.ndarray:
    """Read an image as uint8 [H, W, 3], retrying I/O errors three times.

    Args:
        path: the file.
        decode: the reader to use, if not for a three-channel image.

    Raises:
        DataError: the file is not an image, is damaged, or cannot be read; the message names the file and the reason.
    """
    for wait in (*WAITS, None):
        try:
            return (decode or images.read_rgb)(path)
        except (OSError, DataError) as error:
            if not failed_to_read(error):
                raise
            if wait is None:
                why = f"cannot be read, even after {len(WAITS)} retries ({error})"
                raise DataError(f"{images.shown(path)}: {why}") from error
            time.sleep(wait)
    raise AssertionError


def failed_to_read(error: BaseException | None) -> bool:
    """Return whether an error is a possibly transient I/O failure rather than a permanently bad image."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in LASTING
    return isinstance(error, I2IError) and failed_to_read(error.__cause__)


def reasons(path: Path) -> list[str]:
    """Return the reason an image cannot be read, as a list of at most one."""
    try:
        read(path)
    except DataError as error:
        return [str(error)]
    return []
