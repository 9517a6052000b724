"""Semantic segmentation data sets: "A", the label map, and "B", the photograph.

    data: {use: label_maps, root: data/camvid, size: [96, 128]}                        # in a config
    data: {use: label_maps, root: data/camvid, size: [96, 128], encode: colours}       # the same for pix2pix

    train/images/7.jpg  train/labels/7.png  val/images  val/labels  classes.json       # contents of the root

A label map is a grey or indexed PNG of class indices or, with `coded: colours`, an RGB image in the colours of
classes.json. An unreadable pair is replaced by the next one, as in the other data sets. A label map with an unknown
class stops the run, because then the config or the whole data set is wrong, not a single file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from .. import images
from ..errors import ConfigError, DataError, counted
from .base import Data, Sample
from .folders import SUFFIXES, Quarantine, Share, listed, read
from .transforms import Augment, Size, fit, to_tensor

log = logging.getLogger("i2i")

LOOKS = 16  # label maps to read before a run starts, so that a wrong number of classes is found at once
Coded = Literal["index", "colours"]
Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class Classes:
    """The class indices that a label map may contain.

    Attributes:
        count: number of classes; they take the lowest indices from 0 up, except `ignore`.
        ignore: index of unlabelled pixels, or None.

    Example:
        >>> Classes(3).values, Classes(3, ignore=0).values, Classes(3, ignore=255).values
        ([0, 1, 2], [1, 2, 3, 0], [0, 1, 2, 255])
    """

    count: int
    ignore: int | None = None

    @property
    def values(self) -> list[int]:
        """The class indices in order, followed by the ignored index."""
        known = [value for value in range(self.count + 1) if value != self.ignore][: self.count]
        return known if self.ignore is None else [*known, self.ignore]

    def table(self) -> np.ndarray:
        """Return the position of each index in `values`, int64 [largest + 1]; -1 if it is not a class."""
        table = np.full(max(self.values) + 1, -1)
        table[self.values] = np.arange(len(self.values))
        return table

    def complaint(self, found: Sequence[int]) -> str:
        """Return what is wrong with the indices found in a label map, or an empty string."""
        unknown = sorted(set(found) - set(self.values))
        if not unknown:
            return ""
        last = self.values[self.count - 1]
        ignored = "" if self.ignore is None else f", and {self.ignore} is ignored"
        return (
            f"contains class {unknown[-1]}, but there are {self.count} classes ({self.values[0]} to {last}){ignored}"
            f": correct `classes` and `ignore`, or fix the label map"
        )


class Pair(NamedTuple):
    """The files of one sample."""

    image: Path
    label: Path
    instance: Path | None


def is_lossy(path: Path) -> bool:
    """Return whether a file is a JPEG or a plain lossy WebP; reading one that cannot be opened says why."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return start[:2] == b"\xff\xd8" or (start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8 ")


class LabelMaps(Data):
    """Photographs and label maps matched by file name, with optional instance maps.

    All of them get the same resize to load_size, crop to size and flip; photographs are resized bicubically, maps by
    nearest neighbour.

    Args:
        root: the folder containing train and val, each with the folders images, labels and optionally instances.
        size: height and width of a sample, in pixels; one number or two.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        classes: number of classes, not counting the ignored one; defaults to that in classes.json in root.
        ignore: index of unlabelled pixels; defaults to that in classes.json, or none.
        coded: encoding of the label map files, class "index" or the "colours" of classes.json.
        encode: encoding of "A", class "index" or an RGB image in the class "colours", for tasks that take images.
        batch_size: samples per step.
        flip: flip half of the samples horizontally.
        augment: extra augmentations, albumentations transform name -> its arguments. Colour transforms affect the
            photograph only.
        on_bad: what to do with unreadable pairs: "quarantine" replaces each with the next one and warns, "fail" reads
            everything first and raises an error listing all of them.
        bad_limit: the fraction of unreadable training pairs above which "quarantine" raises an error.
        workers: number of loader processes.
        validation_samples: maximum number of pairs used from val, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, an augmentation is unknown, or the number of classes or their
            colours are not given.
        DataError: a folder is missing or empty, a photograph has no label map or one of another size, a label map
            contains an unknown class, or too many pairs are unreadable.

    Source:
        arXiv:1903.07291 and its published code for the resizing; the layout is CamVid's.
    """

    def __init__(
        self,
        root: str,
        size: Size = 256,
        load_size: Size | None = None,
        classes: PositiveInt | None = None,
        ignore: NonNegativeInt | None = None,
        coded: Coded = "index",
        encode: Coded = "index",
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        on_bad: Literal["quarantine", "fail"] = "quarantine",
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers = batch_size, workers
        self.augment = Augment(size, load_size, flip, augment)
        self.coded, self.encode = coded, encode
        self.root = Path(root).expanduser()
        self.classes, self.palette = legend(self.root, classes, ignore, needs_colours=coded == "colours")
        self.train, held_out = pairs(self.root, "train"), pairs(self.root, "val")
        self.quarantine = Quarantine(
            self.root, [pair.image for pair in self.train], bad_limit if on_bad == "quarantine" else 0.0
        )
        if on_bad == "fail":
            self._look([*self.train, *held_out], refuse=True)
        else:
            self._look(spread(self.train, LOOKS), refuse=False)
        lossy = next((pair.label for pair in spread(self.train, LOOKS) if is_lossy(pair.label)), None)
        if lossy is not None:
            what = "a label map with lossy compression, which changes the values along every edge"
            log.warning("%s: %s; `i2i data check` lists all of them", images.shown(lossy), what)
        self._held_out = HeldOut(self, spread(held_out, validation_samples))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return pair `index`, with the same augmentation applied to all of its maps.

        Returns:
            "A": the label map, int64 [1, H, W], or an image with `encode: colours`; "B": the photograph; and
            "instance", if there are instance maps: instance ids, int64 [1, H, W]. Images are float32 [3, H, W] in
            [-1, 1].

        Raises:
            DataError: an unknown class, or more pairs are unreadable than `bad_limit` allows.
        """
        return self.encoded(self.augment.crops(rng, self._good(index)))

    def validation(self) -> Sequence[Sample]:
        """Return pairs of val, resized to cover `size` and centre-cropped."""
        return self._held_out

    def note(self) -> str:
        """Return how many pairs could not be read so far."""
        found = len(self.quarantine.found())
        return f"{found} of {len(self)} pairs could not be read and were skipped" if found else ""

    def read(self, pair: Pair) -> Row:
        """Return the arrays of a pair: label map uint8 or uint16 [H, W], photograph uint8 [H, W, 3], instance map.

        Raises:
            DataError: a file cannot be read.
        """
        decode = images.read_labels if self.coded == "index" else None
        row = {"A": read(pair.label, decode), "B": read(pair.image)}
        if self.coded == "colours":
            row["A"] = classified(row["A"], pair.label, self.classes, self.palette)
        if pair.instance is not None:
            numbers = read(pair.instance, images.read_labels)
            row["instance"] = np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
        for name in row.keys() - {"B"}:  # albumentations needs small integer types
            if row[name].max() < 1 << 16:
                row[name] = row[name].astype(np.uint8 if row[name].max() < 256 else np.uint16)
        return row

    def check(self, row: Row, pair: Pair) -> None:
        """Raise DataError if sizes differ or a class is unknown; such pairs are never replaced."""
        for path, name in ((pair.label, "A"), (pair.instance, "instance")):
            wrong = path and other_size(path, row[name].shape, pair.image, row["B"].shape[:2])
            if wrong:
                raise DataError(wrong)
        complaint = self.classes.complaint(np.unique(row["A"]).tolist())
        if complaint:
            raise DataError(f"{images.shown(pair.label)}: {complaint}")

    def encoded(self, row: Row) -> Sample:
        """Return the arrays of a pair as tensors."""
        sample = {name: to_tensor(array) for name, array in row.items()}
        sample = {name: value[None] if value.ndim == 2 else value for name, value in sample.items()}
        if self.encode == "colours":
            places = torch.from_numpy(self.classes.table())[sample["A"]]
            sample["A"] = coloured(places[None], torch.from_numpy(self.palette))[0]
        return sample

    def _good(self, index: int) -> Row:
        """Return pair `index`, or the next readable one: a pure function of the files."""
        for number in chain(range(index, len(self)), range(index)):
            pair = self.train[number]
            try:
                row = self.read(pair)
            except DataError as error:
                self.quarantine.add(pair.image, str(error))
                self.quarantine.check()
                continue
            self.check(row, pair)
            return row
        raise DataError(f"{images.shown(self.root)}: none of its {len(self)} pairs can be read; add readable ones")

    def _look(self, some: Sequence[Pair], *, refuse: bool) -> None:
        """Read some pairs; raise DataError for an unknown class, and with `refuse` for unreadable pairs too."""
        bad = []
        for pair in some:
            try:
                row = self.read(pair)
            except DataError as error:
                bad.append(str(error))
            else:
                self.check(row, pair)
        if bad and refuse:
            count = f"{len(bad)} of {len(some)} pairs"
            raise DataError(
                f"{count} cannot be read and on_bad is 'fail', so training did not start: {'; '.join(bad)}"
            )


class HeldOut(Sequence[Sample]):
    """The validation samples. Unreadable pairs are skipped with a warning."""

    def __init__(self, data: LabelMaps, pairs: Sequence[Pair]) -> None:
        self.data, self.pairs = data, pairs
        self._rows: list[Row] | None = None

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.data.encoded(self._read()[index])

    def _read(self) -> list[Row]:
        """Decode on first use and keep the pixels, because every metric iterates over them."""
        if self._rows is None:
            self._rows = []
            for pair in self.pairs:
                try:
                    row = self.data.read(pair)
                except DataError as error:
                    log.warning("skipped in validation: %s", error)
                else:
                    self.data.check(row, pair)
                    self._rows.append({name: fit(array, self.data.augment.size) for name, array in row.items()})
        return self._rows


def pairs(root: Path, part: str) -> list[Pair]:
    """Return the files of one split, sorted; val may be missing.

    Raises:
        DataError: a folder is missing or empty, or a file has no counterpart.
    """
    layout = (
        f"label_maps needs images ({SUFFIXES}) with the same names in train/images and train/labels, and likewise in "
        f"val for validation"
    )
    files: dict[str, dict[str, Path]] = {}
    for kind in ("images", "labels", "instances"):
        folder = root / part / kind
        if folder.is_dir():
            found = listed(folder)[0]
            files[kind] = {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}
        elif kind != "instances" and part == "train":
            raise DataError(f"{images.shown(folder)}: no such folder; {layout}")
        elif kind != "instances":
            log.warning("%s: no such folder, so there is no validation data", images.shown(folder))
            return []
        if kind != "instances" and not files[kind]:
            raise DataError(f"{images.shown(folder)}: no images found; {layout}")
    for kind, other in [("images", "labels"), ("labels", "images"), ("images", "instances")]:
        lone = sorted(files[kind].keys() - files.get(other, files[kind]).keys())
        if lone:
            names = ", ".join(images.shown(files[kind][name]) for name in lone[:10]) + (", ..." if lone[10:] else "")
            raise DataError(
                f"{counted(len(lone), 'file')} of {part}/{kind} without a counterpart in {part}/{other}: {names}"
            )
    instances = files.get("instances", {})
    return [Pair(path, files["labels"][name], instances.get(name)) for name, path in files["images"].items()]


def legend(root: Path, count: int | None, ignore: int | None, *, needs_colours: bool) -> tuple[Classes, np.ndarray]:
    """Return the classes and their colours uint8 [classes, 3], in the order of `Classes.values`.

    Arguments that are None are read from classes.json in `root`:
    `{"classes": [{"index": 0, "name": "Sky", "colour": [128, 128, 128]}, ...], "ignore_index": 11}`.

    Raises:
        ConfigError: the number of classes or their colours are not given.
        DataError: classes.json is not in that format.
    """
    file = root / "classes.json"
    colours: dict[int, list[int]] = {}
    if file.is_file():
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            ignore = given.get("ignore_index") if ignore is None else ignore
            colours = {int(one["index"]): [int(c) for c in one["colour"]] for one in given["classes"]}
            counted = len(colours.keys() - {ignore})
            if colours.keys() - {*Classes(counted, ignore).values} or any(len(c) != 3 for c in colours.values()):
                raise ValueError("indices do not count up from 0, or a colour does not have three numbers")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{images.shown(file)}: {type(error).__name__}, {error}; {FORM}") from error
        count = counted if count is None else count
    if count is None:
        raise ConfigError(
            f"the number of classes is unknown: set `classes`, or put classes.json in {images.shown(root)}"
        )
    classes = Classes(count, ignore)
    if needs_colours and not {*classes.values} - {ignore} <= colours.keys():
        raise ConfigError(f"coded: colours needs a colour for every class in {images.shown(file)}")
    drawn = palette(classes)
    return classes, np.array([colours.get(v, drawn[n]) for n, v in enumerate(classes.values)], np.uint8)


def other_size(path: Path, shape: Sequence[int], photo: Path, size: Sequence[int]) -> str:
    """Return the complaint that a map [H, W] and its photograph differ in size, or an empty string."""
    if tuple(shape) == tuple(size):
        return ""
    return (
        f"{images.shown(path)} is {shape[1]}x{shape[0]} pixels but its photograph {images.shown(photo)} is "
        f"{size[1]}x{size[0]}: they must be the same size"
    )


def classified(colours: np.ndarray, path: Path, classes: Classes, palette: np.ndarray) -> np.ndarray:
    """Convert the colours [H, W, 3] of a label map to class indices [H, W].

    Raises:
        DataError: a colour that belongs to no class.
    """
    known = packed(palette)
    order = np.argsort(known)
    given = packed(colours)
    place = order[np.searchsorted(known, given, sorter=order).clip(max=len(known) - 1)]
    unknown = known[place] != given
    if unknown.any():
        y, x = np.argwhere(unknown)[0].tolist()
        raise DataError(
            f"{images.shown(path)}: no class in classes.json has the colour {tuple(colours[y, x].tolist())} at "
            f"x {x}, y {y}; label maps may contain class colours only, without antialiasing or lossy compression"
        )
    return np.array(classes.values)[place]


FORM = 'it should be {"classes": [{"index": 0, "name": "Sky", "colour": [128, 128, 128]}, ...], "ignore_index": 11}'


def palette(classes: Classes) -> np.ndarray:
    """Return a colour for each of `classes.values`, uint8 [classes, 3]: neighbours differ, only `ignore` is black."""
    ignored = 0 if classes.ignore is None else 1
    return np.concatenate([images.label_colours(classes.count), np.zeros((ignored, 3), np.uint8)])


def coloured(places: Tensor, colours: Tensor) -> Tensor:
    """Look up colours uint8 [K, 3] at positions int64 [N, 1, H, W]: float32 [N, 3, H, W] in [-1, 1]."""
    return colours.to(places.device)[places[:, 0]].permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def packed(colours: np.ndarray) -> np.ndarray:
    """Pack colours uint8 [..., 3] into one integer each."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def spread(items: Sequence[Pair], at_most: int) -> list[Pair]:
    """Return at most `at_most` items, evenly spaced."""
    count = min(at_most, len(items))
    return [items[n * len(items) // count] for n in range(count)]
