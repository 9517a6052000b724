"""Face images with numeric attributes: a tar file or folder and a .csv table per split, e.g. UTKFace.

    data: {use: faces_with_attributes, root: data/utkface, size: 64, batch_size: 64}     # in a config

    train.tar  train.csv  val.tar  val.csv        # or folders train and val; the tables have a column "file"

All images are decoded once at the start and kept in memory as uint8. Tar files are read in place and never unpacked.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import DataError
from .archives import archived
from .base import Data, Sample
from .folders import Share, listed
from .labelled import LUMA, attempted, found
from .transforms import fit

log = logging.getLogger("i2i")

COLUMNS = {"sex": ("sex", "gender")}  # alternative column names of an attribute
LAYOUT = "faces_with_attributes needs train.csv and val.csv in its root, each with a .tar or folder of the same name"


class FacesWithAttributes(Data):
    """Images with attributes: "image" float32 [channels, size, size] in [-1, 1], "attributes" float32 [K] in [0, 1].

    Each column is min-max scaled by its range in train. For UTKFace, sex is 0 for men and 1 for women, and age is 0
    for the youngest and 1 for the oldest. Validation values outside that range are clipped.

    Args:
        root: the folder containing train.csv with train.tar or a folder train, and likewise for val (or test).
        attributes: numeric columns of the tables.
        size: height and width of a sample, in pixels.
        channels: 3, or 1 for grey.
        batch_size: samples per step.
        flip: flip half of the training images horizontally.
        bad_limit: the fraction of images that may be missing or unreadable; these are skipped with a warning.
        workers: number of loader processes; 0 is usually fastest, since everything is in memory.
        validation_samples: maximum number of images used from val (or test), evenly spaced.

    Raises:
        DataError: a table or its images are missing, a column is missing or not numeric, or too many images are bad.
    """

    def __init__(
        self,
        root: str,
        attributes: tuple[str, ...] = ("sex", "age"),
        size: PositiveInt = 64,
        channels: Literal[1, 3] = 3,
        batch_size: PositiveInt = 64,
        flip: bool = True,
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 0,
        validation_samples: PositiveInt = 200,
    ) -> None:
        self.size, self.channels, self.flip, self.attributes = size, channels, flip, attributes
        self.batch_size, self.workers = batch_size, workers
        place = Path(root).expanduser()
        train = gathered(place, "train", attributes, size, channels, bad_limit)
        low, high = train.values.min(0), train.values.max(0)
        still = [name for name, least, most in zip(attributes, low, high) if least == most]
        if still:
            raise DataError(
                f"{images.shown(place / 'train.csv')}: {', '.join(still)} is the same for all images: remove it from "
                f"data.attributes"
            )
        self.train = Kept(train, low, high)
        self.held_out: Sequence[Sample] = []
        split = next((split for split in ("val", "test") if (place / f"{split}.csv").is_file()), None)
        if split is not None:
            rest = gathered(place, split, attributes, size, channels, bad_limit)
            count = min(validation_samples, len(rest.values))
            chosen = np.arange(count) * len(rest.values) // count
            self.held_out = Kept(Table(rest.pixels[chosen], rest.values[chosen]), low, high)
        else:
            log.warning("%s: neither val nor test, so there is no validation data", images.shown(place))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return image `index` and its attributes, flipped horizontally half of the time."""
        sample = self.train[index]
        mirrored = self.flip and rng.random() < 0.5
        return {**sample, "image": sample["image"].flip(2)} if mirrored else sample

    def validation(self) -> Sequence[Sample]:
        """Return the images of val or test, without augmentation."""
        return self.held_out


class Table(NamedTuple):
    """The images of a split, uint8 [N, channels, size, size], and their attributes, float32 [N, K]."""

    pixels: np.ndarray
    values: np.ndarray


class Kept(Sequence[Sample]):
    """In-memory images with attributes scaled to [0, 1]; samples are built on access."""

    def __init__(self, table: Table, low: np.ndarray, high: np.ndarray) -> None:
        self.pixels = torch.from_numpy(np.ascontiguousarray(table.pixels))
        self.values = torch.from_numpy(((table.values - low) / (high - low)).clip(0, 1))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return {"image": self.pixels[index].float().div_(127.5).sub_(1), "attributes": self.values[index]}


def gathered(root: Path, split: str, attributes: Sequence[str], size: int, channels: int, bad_limit: float) -> Table:
    """Decode a split into memory.

    Raises:
        DataError: see `FacesWithAttributes`.
    """
    table, folder, tar = root / f"{split}.csv", root / split, root / f"{split}.tar"
    if not table.is_file() or not found(root, split):
        missing = table if not table.is_file() else tar
        raise DataError(f"{images.shown(missing)}: no such file; {LAYOUT}")
    rows = numbers(table, attributes)
    pixels: list[np.ndarray] = []
    values: list[list[float]] = []
    bad: list[str] = []
    left = dict(rows)
    for name, picture in of_folder(folder) if folder.is_dir() else of_tar(tar):
        known = left.pop(name, None)
        if known is not None and isinstance(picture, DataError):
            bad.append(str(picture))
        elif known is not None and not isinstance(picture, DataError):
            square = fit(picture, size)
            grey = np.rint(square @ LUMA).astype(np.uint8)[None]
            pixels.append(grey if channels == 1 else square.transpose(2, 0, 1))
            values.append(known)
    where = images.shown(folder if folder.is_dir() else tar)
    bad += [f"{where}: {name} is missing" for name in left]
    if len(bad) > bad_limit * len(rows):
        raise DataError(
            f"{where}: {len(bad)} of the {len(rows)} images in {table.name} are missing or cannot be read, more than "
            f"the allowed fraction of {bad_limit:g}: {'; '.join(bad[:10])}"
        )
    if bad:
        log.warning("%s: missing or unreadable images skipped: %d (%s)", where, len(bad), "; ".join(bad[:10]))
    return Table(np.stack(pixels), np.array(values, np.float32))


def numbers(table: Path, attributes: Sequence[str]) -> dict[str, list[float]]:
    """Return the attribute values in a table, by file name.

    Raises:
        DataError: it cannot be read, has no rows, lacks a column, or contains a value that is not a number.
    """
    where = images.shown(table)
    try:
        with table.open(newline="", encoding="utf-8-sig") as source:
            rows = csv.DictReader(source)
            head = rows.fieldnames or []
            columns = [next((c for c in COLUMNS.get(name, (name,)) if c in head), None) for name in attributes]
            lacking = [name for name, column in zip(attributes, columns) if column is None]
            if "file" not in head or lacking:
                raise DataError(
                    f"{where}: has no column {', '.join(lacking) or 'file'}, only {', '.join(head) or 'nothing'}: "
                    f"set data.attributes to numeric columns"
                )
            values = {row["file"]: [float(row[column or ""] or "nan") for column in columns] for row in rows}
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{where}: cannot be read as a table: {error}") from error
    except ValueError as error:
        raise DataError(f"{where}: {error}: set data.attributes to numeric columns") from error
    empty = next((name for name, row in values.items() if not np.isfinite(row).all()), None)
    if empty is not None or not values:
        raise DataError(f"{where}: {'no rows' if not values else f'{empty} lacks a value'}")
    return values


Picture = tuple[str, np.ndarray | DataError]  # its name in the table, and its pixels uint8 [H, W, 3] or the error


def of_folder(folder: Path) -> Iterator[Picture]:
    """Yield the images in a folder and its subfolders, sorted by name."""
    for path in listed(folder)[0]:
        yield path.relative_to(folder).as_posix(), attempted(path, images.shown(path))


def of_tar(file: Path) -> Iterator[Picture]:
    """Yield the images in a tar file, in archive order, without writing anything to disk.

    Raises:
        DataError: the file is damaged or was cut off.
    """
    for member, content in archived(file):
        yield PurePosixPath(member.name).as_posix(), attempted(content, f"{images.shown(file)}: {member.name}")
