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
WAITS = (0.05, 0.2, 0.8)  # seconds before each new attempt to read a file; a network drive may need them
LASTING = (errno.EINVAL, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP)  # waiting does not help

Share = Annotated[float, Field(ge=0, le=1)]
Complete = Callable[[dict[str, np.ndarray], np.random.Generator], dict[str, np.ndarray]]


class Source(NamedTuple):
    """Where the pictures of one domain come from.

    Attributes:
        name: what its cache is called.
        train: the files of the training pictures, in order.
        test: those for validation.
        cut: takes the domain's part out of the picture of a file, uint8 [H, W, 3].
    """

    name: str
    train: Sequence[Path]
    test: Sequence[Path]
    cut: Callable[[np.ndarray], np.ndarray] = np.asarray


class FromFolders(Data):
    """What all data sets made of folders of pictures share: bad pictures, the cache, validation.

    A subclass says in `layout` what it needs, finds its `Source`s with `_list`, hands them to `_open`, and makes
    its samples of `train`.
    """

    layout: ClassVar[str] = ""  # what must lie where, for messages
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
        """Prepare the pictures of each domain; the arguments are those of `UnpairedFolders`."""
        paths = [path for source in sources.values() for path in source.train]
        self.quarantine = Quarantine(root, list(dict.fromkeys(paths)), bad_limit if on_bad == "quarantine" else 0.0)
        self.train = {
            domain: Folder(source.train, partial(self._prepared, source.cut), self.quarantine)
            for domain, source in sources.items()
        }
        if cache:
            for domain, folder in self.train.items():
                load, _ = sides(self.augment.load_size)  # a square: caches hold no other
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
        """Return the pictures kept for validation, short side resized to `size`, middle cut out."""
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

    def _resize(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture at load_size x load_size: by squeezing it, as published, unless a subclass says else."""
        return self.augment.resize(picture)

    def _prepared(self, cut: Callable[[np.ndarray], np.ndarray], picture: np.ndarray) -> np.ndarray:
        return self._resize(cut(picture))

    def _complete(self, row: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the pictures of a sample with what can be made of them."""
        return row

    def _list(self, folder: Path, needed: bool) -> list[Path]:
        """Return the pictures of a folder, sorted. One that is not needed may be missing, with a warning."""
        if not needed and not folder.is_dir():
            log.warning("%s: no such folder, so there is nothing to validate on", images.shown(folder))
            return []
        if not folder.is_dir():
            raise DataError(f"{images.shown(folder)}: {files.lacking(folder, 'folder')}; {self.layout}")
        found, skipped = listed(folder)
        others = "; ".join(f"{images.shown(path)}: {why}" for path, why in skipped[:10])
        if not found:
            instead = f", only others ({others})" if skipped else ""
            raise DataError(f"{images.shown(folder)}: no pictures in it{instead}; {self.layout}")
        if skipped:
            more = f"; and {len(skipped) - 10} more" if len(skipped) > 10 else ""
            log.warning("%s: other files skipped: %d (%s%s)", images.shown(folder), len(skipped), others, more)
        return found

    def _refuse_bad(self, more: Sequence[Path]) -> None:
        """Read every picture, and raise DataError with all that are bad."""
        more = list(dict.fromkeys(more))
        bad = [why for folder in self.train.values() for why in folder.scan()]
        bad = list(dict.fromkeys([*bad, *(why for path in more for why in reasons(path))]))
        if bad:
            count = f"{len(bad)} of {self.pictures + len(more)} pictures"
            raise DataError(f"{count} cannot be read and on_bad is 'fail', so nothing was started: {'; '.join(bad)}")


class UnpairedFolders(FromFolders):
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

    layout = (
        f"unpaired_folders needs pictures ({SUFFIXES}) in the folders trainA and trainB of its root, and for "
        f"validation in testA and testB"
    )

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
        return row_of([self], index)[0]

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

    def read(self, number: int) -> np.ndarray:
        """Return picture `number` itself, or raise DataError."""
        return self.cache[number] if self.cache is not None else self.prepare(read(self.paths[number]))


def row_of(folders: Sequence[Folder], index: int) -> list[np.ndarray]:
    """Return picture `index` of each folder, or of the next row in which all can be read.

    The replacement is a pure function of the files.

    Raises:
        DataError: more pictures are bad than allowed, or there is no good row.
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
    raise DataError(f"{where}: none of its {len(first)} pictures can be read, put good ones there")


class HeldOut(Sequence[Sample]):
    """The validation samples, evenly spread over the test pictures. Bad pictures are left out and told.

    Args:
        sources: where the pictures of each domain come from.
        size: height and width of a sample.
        at_most: how many samples there are, unless there are fewer pictures.
        complete: makes further pictures of those of one sample.
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
        """Decode on first use and keep the bytes, because every metric goes through them."""
        if self._rows is None:
            self._rows = []
            for number in range(self._count):
                try:
                    row = {name: self._picture(source, number) for name, source in self.sources.items()}
                except DataError as error:
                    log.warning("left out of validation: %s", error)
                else:
                    self._rows.append(self.complete(row, np.random.default_rng(number)))
        return self._rows

    def _picture(self, source: Source, number: int) -> np.ndarray:
        return fit(source.cut(read(source.test[number * len(source.test) // self._count])), self.size)


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


def read(path: Path, decode: Callable[[Path], np.ndarray] | None = None) -> np.ndarray:
    """Return a picture as uint8 [H, W, 3]; what the system fails to read is tried three times more.

    Args:
        path: the file.
        decode: what reads it, if it is no picture of three channels.

    Raises:
        DataError: the file is not a picture, is damaged, or cannot be read; it names the file and the reason.
    """
    for wait in (*WAITS, None):
        try:
            return (decode or images.read_rgb)(path)
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
