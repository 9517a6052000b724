"""Data for super-resolution: "B" is a part of a photograph, "A" the same part at a half to a quarter of its size.

    data: {use: superres, root: data/photos, validation: data/Set5, scale: 4}     # in a config

The photographs are kept in memory, as bytes, and `degrade` makes each "A" on the fly: at 192 pixels a sample takes
1.6 ms by "bicubic", so that a small network on a CPU does not wait for its data, and 12 ms by "real_world".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le, Len
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import ConfigError, DataError
from .base import Data, Sample
from .degrade import DEGRADATIONS
from .folders import SUFFIXES, Quarantine, Share, listed, read
from .transforms import resize, to_tensor

log = logging.getLogger("i2i")

Array = np.ndarray
Read = Callable[[], tuple[Array, Array | None]]
Shrinkage = Annotated[float, Gt(0), Le(1)]
Degrade = Callable[[Array], Array]

EVERY = 10  # without a folder for it, each tenth picture is kept for validation
MARGIN = 4  # low-resolution pixels around a sample that are cut off again, so that it does not see its border


class Patches(Data):
    """What data sets for super-resolution share: "A" and "B" are parts of pictures that are in memory.

    Cutting out comes before making small and gives the same: with "bicubic", "A" equals that part of the whole
    picture made small, bit for bit.

    A subclass calls `_set`, and then sets `pictures`, each at one or more sizes, and `_held_out`.
    """

    pictures: Sequence[Sequence[Array]]
    _held_out: Whole

    def _set(self, scale: int, size: int, degradation: str, turn: bool) -> None:
        if size % scale:
            raise ConfigError(
                f"size {size} is no multiple of the scale {scale}: use {size // scale * scale or scale}"
            )
        self.scale, self.size, self.turn, self.degrade = scale, size, turn, DEGRADATIONS[degradation]

    def __len__(self) -> int:
        return len(self.pictures)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a part of picture `index`.

        Returns:
            "A" float32 [3, size / scale, size / scale] and "B" float32 [3, size, size] in [-1, 1].
        """
        sizes = self.pictures[index]
        picture = sizes[int(rng.integers(len(sizes)))]
        top, left = (int(rng.integers((side - self.size) // self.scale + 1)) for side in picture.shape[:2])
        quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        wide = self.size + 2 * MARGIN * self.scale
        high = part(picture, (top - MARGIN) * self.scale, (left - MARGIN) * self.scale, wide)
        low = self.degrade(high, self.scale, rng)[MARGIN:-MARGIN, MARGIN:-MARGIN]
        cut = MARGIN * self.scale
        pair = {"A": low, "B": high[cut:-cut, cut:-cut]}
        if self.turn:
            pair = {name: turned(picture, quarters, mirrored) for name, picture in pair.items()}
        return {name: to_tensor(picture) for name, picture in pair.items()}

    def validation(self) -> Sequence[Sample]:
        """Return whole pictures, which may differ in size: "A" and, `scale` times as large, "B"."""
        return self._held_out

    def widened(self, picture: Array) -> Array:
        """Return a picture that is at least as large as "B", by mirroring where it was not."""
        missing = [(0, max(0, self.size - side)) for side in picture.shape[:2]]
        return np.pad(picture, (*missing, (0, 0)), mode="symmetric") if max(missing) > (0, 0) else picture


class SuperResolution(Patches):
    """Folders of photographs: parts of them, cut out, turned and mirrored at random, and made small.

    A picture that is smaller than a sample is extended by mirroring.

    Args:
        root: a folder of photographs, searched to the bottom, or several; one that is named twice is seen twice as
            often.
        scale: how much smaller "A" is: 2, 3 or 4.
        size: height and width of "B" in pixels, a multiple of `scale`.
        degradation: how "A" is made: "bicubic" as the published protocol has it, or "real_world" for pictures that
            were blurred, scaled, noisy and compressed in unknown ways.
        validation: a folder of photographs, or one with HR and LR_x2 (or 3, 4) in it: pairs as their authors made
            them, of which HR is cut to LR x scale at the top left. null keeps each tenth picture of `root`.
        shrink: besides, the photographs are made smaller by these factors, one of which is drawn for each sample: a
            JPEG at half its size has no visible artefacts.
        turn: mirror half of the samples, and turn by 0, 90, 180 or 270 degrees.
        batch_size: samples in one step.
        workers: loader processes.
        bad_limit: the share of pictures that may be unreadable; they are left out and told.
        validation_samples: how many pictures are used for validation at most, evenly spread.

    Raises:
        ConfigError: size is no multiple of scale.
        DataError: no pictures, too many bad ones, or pairs that do not fit.

    Source:
        The protocol of SRCNN and its successors; EDSR, arXiv:1707.02921, for the augmentation.
    """

    def __init__(
        self,
        root: str | Annotated[list[str], Len(1)],
        scale: Literal[2, 3, 4] = 4,
        size: PositiveInt = 192,
        degradation: Literal["bicubic", "real_world"] = "bicubic",
        validation: str | None = None,
        shrink: Annotated[list[Shrinkage], Len(1)] | None = None,
        turn: bool = True,
        batch_size: PositiveInt = 16,
        workers: NonNegativeInt = 1,
        bad_limit: Share = 0.05,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers, self.shrink = batch_size, workers, shrink or [1.0]
        self._set(scale, size, degradation, turn)
        roots = [Path(folder).expanduser() for folder in ([root] if isinstance(root, str) else root)]
        paths = [path for folder in roots for path in pictures_in(folder)]
        held_out: list[Path] = []
        if validation is None:
            held_out = sorted(set(paths))[EVERY - 1 :: EVERY]
            paths = [path for path in paths if path not in set(held_out)]
        self.quarantine = Quarantine(roots[0], list(dict.fromkeys(paths)), bad_limit)
        kept = self._loaded(self.quarantine.paths)
        self.pictures = [kept[path] for path in paths if path in kept]
        if not self.pictures:
            raise DataError(f"{images.shown(roots[0])}: none of its pictures is left for training")
        rows = rows_of(Path(validation).expanduser(), scale) if validation else [(path, None) for path in held_out]
        readers = [partial(pair_of, paths, scale) for paths in rows]
        self._held_out = Whole(readers, scale, self.degrade, validation_samples)

    def _loaded(self, paths: Sequence[Path]) -> dict[Path, list[Array]]:
        """Return the pictures that can be read, each at all its sizes, with the narrow ones extended."""

        def load(path: Path) -> list[Array] | DataError:
            try:
                return [self._prepared(read(path), factor) for factor in self.shrink]
            except DataError as error:
                return error

        kept = {}
        with ThreadPoolExecutor(4) as pool:
            for path, found in zip(paths, pool.map(load, paths), strict=True):
                if isinstance(found, DataError):
                    self.quarantine.add(path, str(found))
                else:
                    kept[path] = found
        self.quarantine.check()
        return kept

    def _prepared(self, picture: Array, factor: float) -> Array:
        height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
        return self.widened(resize(picture, height, width))

    def note(self) -> str:
        """Return how many pictures could not be read."""
        bad = len(self.quarantine.found())
        return f"{bad} of {len(self.quarantine.paths)} pictures could not be read and were left out" if bad else ""


class Whole(Sequence[Sample]):
    """The validation samples: whole pictures, each a multiple of the scale in size.

    Args:
        readers: functions that return "B" and "A", uint8 [H, W, 3]; None for an "A" that is made of "B".
        scale: size of "B" / size of "A".
        degrade: makes "A", the same one each time.
        at_most: how many there are at most, evenly spread.
    """

    def __init__(self, readers: Sequence[Read], scale: int, degrade: Callable[..., Array], at_most: int) -> None:
        count = min(at_most, len(readers))
        self.readers = [readers[n * len(readers) // count] for n in range(count)]
        self.scale, self.degrade = scale, degrade
        self._known: dict[int, dict[str, Array]] = {}

    def __len__(self) -> int:
        return len(self.readers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._known:  # the bytes are kept, because every metric goes through all of them
            high, low = self.readers[number]()
            if low is None:
                rows, columns = (side - side % self.scale for side in high.shape[:2])
                high = high[:rows, :columns]
                low = self.degrade(high, self.scale, np.random.default_rng(number))
            self._known[number] = {"A": low, "B": high}
        return {name: to_tensor(picture) for name, picture in self._known[number].items()}


def pair_of(paths: tuple[Path, Path | None], scale: int) -> tuple[Array, Array | None]:
    """Return a picture and its small version as its authors made it, or None; the large one is cut to fit.

    Raises:
        DataError: one cannot be read, or the small one times the scale is more than the large one.
    """
    high = read(paths[0])
    if paths[1] is None:
        return high, None
    low = read(paths[1])
    rows, columns = (side * scale for side in low.shape[:2])
    if high.shape[0] < rows or high.shape[1] < columns:
        raise DataError(
            f"{images.shown(paths[1])} has {low.shape[1]}x{low.shape[0]} pixels, which times {scale} are more than "
            f"the {high.shape[1]}x{high.shape[0]} of {images.shown(paths[0])}"
        )
    return high[:rows, :columns], low


def part(picture: Array, top: int, left: int, size: int) -> Array:
    """Return `size` squared pixels; those beyond the border equal those at it."""
    rows, columns = (
        np.arange(first, first + size).clip(0, side - 1) for first, side in zip((top, left), picture.shape)
    )
    if rows[-1] - rows[0] == columns[-1] - columns[0] == size - 1:
        return picture[top : top + size, left : left + size]
    return picture[rows[:, None], columns]


def turned(picture: Array, quarters: int, mirrored: bool) -> Array:
    """Return the picture, turned by so many quarters and then mirrored if asked for."""
    picture = np.rot90(picture, quarters)
    return picture[:, ::-1] if mirrored else picture


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder and below, sorted.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"{images.shown(folder)}: no such folder; superres needs folders of pictures ({SUFFIXES})")
    found, _ = listed(folder)
    if not found:
        raise DataError(f"{images.shown(folder)}: no pictures in it; superres needs some ({SUFFIXES})")
    return found


def rows_of(folder: Path, scale: int) -> list[tuple[Path, Path | None]]:
    """Return the files for validation, (high, low): pairs where a folder has HR, else (high, None).

    Raises:
        DataError: no pictures, or one has no partner of equal name.
    """
    high, low = folder / "HR", folder / f"LR_x{scale}"
    if not high.is_dir():
        return [(path, None) for path in pictures_in(folder)]
    small = {path.relative_to(low).with_suffix(""): path for path in pictures_in(low)}
    rows = [(path, small.get(path.relative_to(high).with_suffix(""))) for path in pictures_in(high)]
    alone = [path for path, partner in rows if partner is None]
    if alone:
        names = ", ".join(map(images.shown, alone[:10]))
        raise DataError(f"{len(alone)} pictures have no partner of equal name in {images.shown(low)}: {names}")
    return rows
