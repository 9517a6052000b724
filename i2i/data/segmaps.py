"""Photographs with label maps: "A", a class for each pixel, and "B", the photograph.

    data: {use: label_maps, root: data/camvid, size: [96, 128]}                        # in a config
    data: {use: label_maps, root: data/camvid, size: [96, 128], encode: colours}       # the same for pix2pix

    train/images/7.jpg  train/labels/7.png  val/images  val/labels  classes.json       # what lies in the root

A label map is read as it is: a grey or indexed PNG holds class indices, and with `coded: colours` an RGB one holds
the colours of classes.json. A pair that cannot be read is replaced by the next one, as everywhere. A label map with
a class that is not there ends the run: then the config or the data set is wrong, and not one file.
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
from ..errors import ConfigError, DataError
from .base import Data, Sample
from .folders import SUFFIXES, Quarantine, Share, listed, read
from .transforms import Augment, Size, fit, to_tensor

log = logging.getLogger("i2i")

LOOKS = 16  # label maps that are read before a run starts, so that a wrong number of classes shows at once
Coded = Literal["index", "colours"]
Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class Classes:
    """Which numbers a label map may hold.

    Attributes:
        count: how many classes there are; their numbers are the first ones from 0 on, without `ignore`.
        ignore: the number of what belongs to no class, or None.

    Example:
        >>> Classes(3).values, Classes(3, ignore=0).values, Classes(3, ignore=255).values
        ([0, 1, 2], [1, 2, 3, 0], [0, 1, 2, 255])
    """

    count: int
    ignore: int | None = None

    @property
    def values(self) -> list[int]:
        """The numbers of the classes, in order, and last the one of what belongs to none."""
        known = [value for value in range(self.count + 1) if value != self.ignore][: self.count]
        return known if self.ignore is None else [*known, self.ignore]

    def table(self) -> np.ndarray:
        """Return the place of each number in `values`, int64 [largest + 1]; -1 where there is no class."""
        table = np.full(max(self.values) + 1, -1)
        table[self.values] = np.arange(len(self.values))
        return table

    def complaint(self, found: Sequence[int]) -> str:
        """Return what is wrong with the numbers found in a label map, or nothing."""
        strangers = sorted(set(found) - set(self.values))
        if not strangers:
            return ""
        last = self.values[self.count - 1]
        ignored = "" if self.ignore is None else f", and {self.ignore} for what belongs to none"
        return (
            f"holds class {strangers[-1]}, but there are {self.count} classes ({self.values[0]} to {last}){ignored}: "
            f"give the right numbers for `classes` and `ignore`, or mend the label map"
        )


class Pair(NamedTuple):
    """The files of one sample."""

    image: Path
    label: Path
    instance: Path | None


class LabelMaps(Data):
    """Photographs and label maps of equal names, and maps of instances where there are any.

    Everything is resized to load_size, cropped to size and mirrored alike: photographs with the bicubic filter, maps
    to the nearest pixel.

    Args:
        root: the folder that holds train and val, each with the folders images and labels, and if there are maps of
            instances with the folder instances.
        size: height and width of a sample, in pixels; one number or two.
        load_size: height and width before the random crop; by default size * 286 / 256, rounded.
        classes: how many classes there are, not counting the ignored one; by default as classes.json in root says.
        ignore: the number of what belongs to no class; by default as classes.json says, or none.
        coded: what label maps hold, class "index" or the "colours" of classes.json.
        encode: what "A" is, class "index" or a picture in the "colours" of the classes for tasks that take pictures.
        batch_size: samples in one step.
        flip: mirror half of the samples left to right.
        augment: further steps, the name of an albumentations transform -> its arguments. Those that change colours
            change the photograph alone.
        on_bad: what to do about pairs that cannot be read: "quarantine" replaces each by the next one and warns,
            "fail" reads everything first and refuses to start, naming all of them.
        bad_limit: the share of bad training pairs above which a quarantine gives up.
        workers: loader processes.
        validation_samples: how many pairs of val are used at most, evenly spread.

    Raises:
        ConfigError: load_size is smaller than size, an unknown augmentation, or nothing says how many classes there
            are or what their colours are.
        DataError: a folder is missing or empty, a photograph has no label map or one of another size, a label map
            holds a class that is not there, or there are too many bad pairs.

    Source:
        arXiv:1903.07291 and its published code for what is resized how; the layout is CamVid's.
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
        self._held_out = HeldOut(self, spread(held_out, validation_samples))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return pair `index`, augmented alike.

        Returns:
            "A": the label map, int64 [1, H, W], or with `encode: colours` a picture; "B": the photograph; and where
            there are instances, "instance": their numbers, int64 [1, H, W]. Pictures are float32 [3, H, W] in
            [-1, 1].

        Raises:
            DataError: a class that is not there, or more pairs are bad than `bad_limit` allows.
        """
        return self.encoded(self.augment.crops(rng, self._good(index)))

    def validation(self) -> Sequence[Sample]:
        """Return pairs of val, resized until `size` is covered, the middle cut out."""
        return self._held_out

    def note(self) -> str:
        """Return how many pairs could not be read so far."""
        found = len(self.quarantine.found())
        return f"{found} of {len(self)} pairs could not be read and were skipped" if found else ""

    def read(self, pair: Pair) -> Row:
        """Return the arrays of a pair: label map uint8 or uint16 [H, W], photograph uint8 [H, W, 3], instances.

        Raises:
            DataError: a file cannot be read.
        """
        decode = images.read_labels if self.coded == "index" else None
        row = {"A": read(pair.label, decode), "B": read(pair.image)}
        if self.coded == "colours":
            row["A"] = self._classified(row["A"], pair.label)
        if pair.instance is not None:
            numbers = read(pair.instance, images.read_labels)
            row["instance"] = np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
        for name in row.keys() - {"B"}:  # albumentations takes small integers
            if row[name].max() < 1 << 16:
                row[name] = row[name].astype(np.uint8 if row[name].max() < 256 else np.uint16)
        return row

    def check(self, row: Row, pair: Pair) -> None:
        """Raise DataError where sizes differ or a class is not there; no other pair takes the place of such a one."""
        height, width = row["B"].shape[:2]
        for path, name in ((pair.label, "A"), (pair.instance, "instance")):
            if path is not None and row[name].shape != (height, width):
                raise DataError(
                    f"{images.shown(path)} has {row[name].shape[1]}x{row[name].shape[0]} pixels and its photograph "
                    f"{images.shown(pair.image)} {width}x{height}: both must be of one size"
                )
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
        """Return pair `index`, or the next that can be read: a pure function of the files."""
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
        raise DataError(f"{images.shown(self.root)}: none of its {len(self)} pairs can be read, put good ones there")

    def _look(self, some: Sequence[Pair], *, refuse: bool) -> None:
        """Read these pairs, raise DataError for a class that is not there, and if asked for what cannot be read."""
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
            raise DataError(f"{count} cannot be read and on_bad is 'fail', so nothing was started: {'; '.join(bad)}")

    def _classified(self, colours: np.ndarray, path: Path) -> np.ndarray:
        """Return the classes [H, W] of colours [H, W, 3].

        Raises:
            DataError: a colour that no class has.
        """
        known = packed(self.palette)
        order = np.argsort(known)
        given = packed(colours)
        place = order[np.searchsorted(known, given, sorter=order).clip(max=len(known) - 1)]
        strange = known[place] != given
        if strange.any():
            y, x = np.argwhere(strange)[0].tolist()
            raise DataError(
                f"{images.shown(path)}: no class of classes.json has the colour {tuple(colours[y, x].tolist())} "
                f"at x {x}, y {y}; a label map has the classes' colours only, without smoothing or compression"
            )
        return np.array(self.classes.values)[place]


class HeldOut(Sequence[Sample]):
    """The validation samples. Pairs that cannot be read are left out and told."""

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
        """Decode on first use and keep the bytes, because every metric goes through them."""
        if self._rows is None:
            self._rows = []
            for pair in self.pairs:
                try:
                    row = self.data.read(pair)
                except DataError as error:
                    log.warning("left out of validation: %s", error)
                else:
                    self.data.check(row, pair)
                    self._rows.append({name: fit(array, self.data.augment.size) for name, array in row.items()})
        return self._rows


def pairs(root: Path, part: str) -> list[Pair]:
    """Return the files of one part of a data set, sorted; of val there may be none.

    Raises:
        DataError: a folder is missing or empty, or a file has no partner.
    """
    layout = (
        f"label_maps needs pictures ({SUFFIXES}) of equal names in images and labels of its train, and of its val"
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
            log.warning("%s: no such folder, so there is nothing to validate on", images.shown(folder))
            return []
        if kind != "instances" and not files[kind]:
            raise DataError(f"{images.shown(folder)}: no pictures in it; {layout}")
    for kind, other in [("images", "labels"), ("labels", "images"), ("images", "instances")]:
        lone = sorted(files[kind].keys() - files.get(other, files[kind]).keys())
        if lone:
            names = ", ".join(images.shown(files[kind][name]) for name in lone[:10]) + (", ..." if lone[10:] else "")
            raise DataError(f"{len(lone)} files of {part}/{kind} have no partner in {part}/{other}: {names}")
    instances = files.get("instances", {})
    return [Pair(path, files["labels"][name], instances.get(name)) for name, path in files["images"].items()]


def legend(root: Path, count: int | None, ignore: int | None, *, needs_colours: bool) -> tuple[Classes, np.ndarray]:
    """Return the classes and their colours uint8 [classes, 3], in the order of `Classes.values`.

    What the arguments leave open is read from classes.json in `root`:
    `{"classes": [{"index": 0, "name": "Sky", "colour": [128, 128, 128]}, ...], "ignore_index": 11}`.

    Raises:
        ConfigError: nothing says how many classes there are, or what their colours are.
        DataError: classes.json is not of that form.
    """
    file = root / "classes.json"
    colours: dict[int, list[int]] = {}
    if file.is_file():
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            ignore = said.get("ignore_index") if ignore is None else ignore
            colours = {int(one["index"]): [int(c) for c in one["colour"]] for one in said["classes"]}
            counted = len(colours.keys() - {ignore})
            if colours.keys() - {*Classes(counted, ignore).values} or any(len(c) != 3 for c in colours.values()):
                raise ValueError("its indices do not count from 0 on, or a colour has not three numbers")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{images.shown(file)}: {type(error).__name__}, {error}; {FORM}") from error
        count = counted if count is None else count
    if count is None:
        raise ConfigError(
            f"nothing says how many classes there are: give `classes`, or put classes.json into {images.shown(root)}"
        )
    classes = Classes(count, ignore)
    if needs_colours and not {*classes.values} - {ignore} <= colours.keys():
        raise ConfigError(f"coded: colours needs the colour of every class in {images.shown(file)}")
    drawn = palette(classes)
    return classes, np.array([colours.get(v, drawn[n]) for n, v in enumerate(classes.values)], np.uint8)


FORM = 'it should be {"classes": [{"index": 0, "name": "Sky", "colour": [128, 128, 128]}, ...], "ignore_index": 11}'


def palette(classes: Classes) -> np.ndarray:
    """Return a colour for each of `classes.values`, uint8 [classes, 3]: neighbours differ, no class is black."""
    ignored = 0 if classes.ignore is None else 1
    return np.concatenate([images.label_colours(classes.count), np.zeros((ignored, 3), np.uint8)])


def coloured(places: Tensor, colours: Tensor) -> Tensor:
    """Paint places in a list of colours, int64 [N, 1, H, W], with colours uint8 [K, 3]: float32 [N, 3, H, W]."""
    return colours.to(places.device)[places[:, 0]].permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def packed(colours: np.ndarray) -> np.ndarray:
    """Return colours uint8 [..., 3] as one number each."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def spread(items: Sequence[Pair], at_most: int) -> list[Pair]:
    """Return at most so many items, evenly spread."""
    count = min(at_most, len(items))
    return [items[n * len(items) // count] for n in range(count)]
