"""Super-resolution data sets: "B" is a patch of a photograph, "A" the same patch, degraded, at 1 to 1/4 of the size.

    data: {use: superres, root: data/photos, validation: data/Set5, scale: 4}     # in a config

Photographs are kept in memory as uint8, and `degrade` computes each "A" on the fly: a 192-pixel sample takes 1.6 ms
with "bicubic", fast enough for a small network on a CPU, and 12 ms with "real_world".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le, Len
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import ConfigError, DataError, counted
from .base import Data, Sample
from .degrade import DEGRADATIONS
from .folders import SUFFIXES, Quarantine, Share, listed, read
from .transforms import resize, to_tensor

log = logging.getLogger("i2i")

Array = np.ndarray
Read = Callable[[], tuple[Array, Array | None]]
Shrinkage = Annotated[float, Gt(0), Le(1)]
Degrade = Callable[[Array], Array]

EVERY = 10  # without a validation folder, every tenth image is held out
MARGIN = 4  # low-resolution pixels around a patch, removed after degrading to avoid border effects


class Patches(Data):
    """Base class of super-resolution data sets: "A" and "B" are patches of in-memory images.

    Patches are cropped before degrading. With "bicubic", "A" is bit-identical to a crop of the whole downsampled
    image.

    A subclass calls `_set` and then sets `pictures`, each image at one or more sizes, and `_held_out`.
    """

    pictures: Sequence[Sequence[Array]]
    _held_out: Whole

    def _set(self, scale: int, size: int, degradation: str, turn: bool) -> None:
        if size % scale:
            raise ConfigError(
                f"size {size} is not a multiple of the scale {scale}: use {size // scale * scale or scale}"
            )
        self.scale, self.size, self.turn, self.degrade = scale, size, turn, DEGRADATIONS[degradation]

    def __len__(self) -> int:
        return len(self.pictures)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return a random patch of image `index`.

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
        """Return whole images, which may differ in size: "A", and "B" at `scale` times its size."""
        return self._held_out

    def widened(self, picture: Array) -> Array:
        """Pad an image that is smaller than "B" by mirroring it."""
        missing = [(0, max(0, self.size - side)) for side in picture.shape[:2]]
        return np.pad(picture, (*missing, (0, 0)), mode="symmetric") if max(missing) > (0, 0) else picture


class SuperResolution(Patches):
    """Folders of photographs: random crops, flips and rotations of them, and their degraded versions.

    Images smaller than a sample are padded by mirroring.

    Args:
        root: a folder of photographs, searched recursively, or a list of folders; one listed twice is sampled twice
            as often.
        scale: the upscaling factor from "A" to "B": 2, 3 or 4; 1 for restoring images, with `degradation: jpeg`.
        size: height and width of "B" in pixels, a multiple of `scale`.
        degradation: how "A" is computed: "bicubic" as in the published protocol, "jpeg" for noise and JPEG artefacts
            only, or "real_world" for images with unknown blur, resizing, noise and compression.
        validation: a folder of photographs, or of published pairs in HR and LR_x2 (or _x3, _x4), where HR is cropped
            to LR x scale from the top left. It may be inside `root`: its images are not trained on. null holds out
            every tenth image of `root`.
        shrink: factors by which the photographs are downsized first, one drawn at random for each sample: at half
            its size, a JPEG has no visible artefacts.
        turn: flip half of the samples, and rotate by 0, 90, 180 or 270 degrees.
        batch_size: samples per step.
        workers: number of loader processes.
        bad_limit: the fraction of images that may be unreadable; these are skipped with a warning. Those of
            `validation` must be readable.
        validation_samples: maximum number of validation images, evenly spaced.

    Raises:
        ConfigError: size is not a multiple of scale.
        DataError: no images, too many unreadable ones, or pairs whose sizes do not match.

    Source:
        The protocol of SRCNN and its successors; EDSR, arXiv:1707.02921, for the augmentation.
    """

    def __init__(
        self,
        root: str | Annotated[list[str], Len(1)],
        scale: Literal[1, 2, 3, 4] = 4,
        size: PositiveInt = 192,
        degradation: Literal["bicubic", "jpeg", "real_world"] = "bicubic",
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
        home = Path(validation).expanduser().resolve() if validation else None
        paths = [path for folder in roots for path in pictures_in(folder, home)]
        held_out: list[Path] = []
        if validation is None:
            held_out = sorted(set(paths))[EVERY - 1 :: EVERY]
            paths = [path for path in paths if path not in set(held_out)]
        self.quarantine = Quarantine(roots[0], list(dict.fromkeys(paths)), bad_limit)
        kept = self._loaded(self.quarantine.paths)
        self.pictures = [kept[path] for path in paths if path in kept]
        if not self.pictures:
            raise DataError(f"{images.shown(roots[0])}: no images left for training")
        rows = rows_of(Path(validation).expanduser(), scale) if validation else [(path, None) for path in held_out]
        readers = [partial(pair_of, paths, scale) for paths in rows]
        self._held_out = Whole(readers, scale, self.degrade, validation_samples, strict=validation is not None)

    def _loaded(self, paths: Sequence[Path]) -> dict[Path, list[Array]]:
        """Return the readable images, each at all of its sizes, with small ones padded."""

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
        """Return how many images could not be read."""
        bad = len(self.quarantine.found())
        return f"{bad} of {len(self.quarantine.paths)} images could not be read and were skipped" if bad else ""


class Whole(Sequence[Sample]):
    """The validation samples: whole images whose sizes are multiples of the scale.

    Args:
        readers: functions that return "B" and "A", uint8 [H, W, 3]; None for an "A" to be computed from "B".
        scale: size of "B" / size of "A".
        degrade: computes "A", deterministically for each sample.
        at_most: maximum number of samples, evenly spaced.
        strict: raise the DataError of one that cannot be read, instead of leaving it out with a warning.
    """

    def __init__(
        self,
        readers: Sequence[Read],
        scale: int,
        degrade: Callable[..., Array],
        at_most: int,
        strict: bool = True,
    ) -> None:
        count = min(at_most, len(readers))
        self.readers = [readers[n * len(readers) // count] for n in range(count)]
        self.scale, self.degrade, self.strict = scale, degrade, strict

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        return {name: to_tensor(picture) for name, picture in self._pairs[index].items()}

    @cached_property
    def _pairs(self) -> list[dict[str, Array]]:
        """All pairs, read on first use, before the training, and kept, because every metric iterates over them."""
        pairs = []
        for number, reader in enumerate(self.readers):
            try:
                high, low = reader()
            except DataError as error:
                if self.strict:
                    raise
                log.warning("skipped in validation: %s", error)
                continue
            if low is None:
                rows, columns = (side - side % self.scale for side in high.shape[:2])
                high = high[:rows, :columns]
                low = self.degrade(high, self.scale, np.random.default_rng(number))
            pairs.append({"A": low, "B": high})
        return pairs


def pair_of(paths: tuple[Path, Path | None], scale: int) -> tuple[Array, Array | None]:
    """Return an image and its published low-resolution version, or None; the large one is cropped to match.

    Raises:
        DataError: one cannot be read, or the small one times the scale is larger than the large one.
    """
    high = read(paths[0])
    if paths[1] is None:
        return high, None
    low = read(paths[1])
    rows, columns = (side * scale for side in low.shape[:2])
    if high.shape[0] < rows or high.shape[1] < columns:
        raise DataError(
            f"{images.shown(paths[1])} is {low.shape[1]}x{low.shape[0]} pixels, which times {scale} exceeds the "
            f"{high.shape[1]}x{high.shape[0]} of {images.shown(paths[0])}"
        )
    return high[:rows, :columns], low


def part(picture: Array, top: int, left: int, size: int) -> Array:
    """Crop `size` x `size` pixels, replicating the border outside the image."""
    rows, columns = (
        np.arange(first, first + size).clip(0, side - 1) for first, side in zip((top, left), picture.shape)
    )
    if rows[-1] - rows[0] == columns[-1] - columns[0] == size - 1:
        return picture[top : top + size, left : left + size]
    return picture[rows[:, None], columns]


def turned(picture: Array, quarters: int, mirrored: bool) -> Array:
    """Rotate an image by a number of quarter turns, then optionally flip it horizontally."""
    picture = np.rot90(picture, quarters)
    return picture[:, ::-1] if mirrored else picture


def pictures_in(folder: Path, without: Path | None = None) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted, leaving out one of the subfolders.

    Raises:
        DataError: the folder is missing or contains no images.
    """
    if not folder.is_dir():
        raise DataError(f"{images.shown(folder)}: no such folder; superres needs folders of images ({SUFFIXES})")
    found, _ = listed(folder)
    if not found:
        raise DataError(f"{images.shown(folder)}: no images found; superres needs folders of images ({SUFFIXES})")
    if without is not None and folder.resolve() in without.parents:
        found = [path for path in found if without not in path.resolve().parents]
    return found


def rows_of(folder: Path, scale: int) -> list[tuple[Path, Path | None]]:
    """Return the validation files as (high, low): pairs if the folder contains HR, else (high, None).

    Raises:
        DataError: no images, or one has no counterpart.
    """
    high, low = folder / "HR", folder / f"LR_x{scale}"
    if not high.is_dir():
        return [(path, None) for path in pictures_in(folder)]
    small = {path.relative_to(low).with_suffix(""): path for path in pictures_in(low)}
    rows = [(path, small.get(path.relative_to(high).with_suffix(""))) for path in pictures_in(high)]
    alone = [path for path, partner in rows if partner is None]
    if alone:
        names = ", ".join(map(images.shown, alone[:10]))
        raise DataError(f"{counted(len(alone), 'image')} without a counterpart in {images.shown(low)}: {names}")
    return rows
