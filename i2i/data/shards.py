"""Shards: pictures in tar files, as WebDataset writes them, read in any order.

    data: {use: shards, root: "data/train-*.tar", parts: {A: sketch.png, B: photo.jpg}}    # in a config

A sample is the files of a shard that share a name up to the first dot: `00017.sketch.png` and `00017.photo.jpg`. The
shards are listed once, at the start; a sample is then read by its position. So the order is that of any other data
set, a pure function of the seed and the number of the sample, and a resume is exact; a stream of shards has neither.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Len
from pydantic import NonNegativeInt, PositiveInt

from .. import images
from ..errors import ConfigError, DataError
from .archives import members
from .base import Data, Layout, Sample
from .folders import Quarantine, Share
from .transforms import Augment, fit, to_tensor

log = logging.getLogger("i2i")

EVERY = 10  # without validation shards, every tenth sample is held out
CLASS = "cls"  # the part that is the number of a class, in digits


class Shards(Data):
    """Pictures in tar files, as WebDataset writes them.

    The pictures of a sample are resized to load_size squared, randomly cropped to size and randomly flipped, all in
    the same way.

    Args:
        root: a pattern of uncompressed tar files, such as "data/train-*.tar".
        parts: what a sample has, by its name for the task -> the end of a file's name after the first dot, e.g.
            {A: sketch.png, B: photo.jpg} or {image: jpg, label: cls}. The content of "cls" is a number.
        validation: the same for validation; `root` may match these too, but they are not trained on. null holds out
            every tenth sample of `root`.
        size: height and width of a sample, in pixels.
        load_size: height and width before the random crop; defaults to size * 286 / 256, rounded.
        batch_size: samples per step.
        flip: flip half of the samples horizontally.
        augment: extra augmentations, albumentations transform name -> its arguments.
        bad_limit: the fraction of unreadable training samples above which training stops; below it, each is replaced
            by the next one, with a warning. Unreadable validation samples are left out, with a warning.
        workers: number of loader processes.
        validation_samples: maximum number of validation samples, evenly spaced.

    Raises:
        ConfigError: load_size is smaller than size, or an augmentation is unknown.
        DataError: no shard matches, one is damaged, truncated or compressed, or no sample has all parts.
    """

    def __init__(
        self,
        root: str,
        parts: Annotated[dict[str, str], Len(1)],
        validation: str | None = None,
        size: PositiveInt = 256,
        load_size: PositiveInt | None = None,
        batch_size: PositiveInt = 1,
        flip: bool = True,
        augment: dict[str, dict[str, Any]] | None = None,
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 2,
        validation_samples: PositiveInt = 64,
    ) -> None:
        self.batch_size, self.workers, self.parts = batch_size, workers, parts
        self.augment = Augment(size, load_size, flip, augment)
        if all(end == CLASS for end in parts.values()):
            raise ConfigError(f"data.parts has no picture, only {parts}: add one, such as {{image: jpg}}")
        ends = [end.lower() for end in parts.values()]
        test = Index(validation, ends) if validation else None
        train = Index(root, ends, () if test is None or validation == root else test.shards)
        test = train if test is None else test
        numbers, held_out = np.arange(len(train)), np.arange(len(test))
        if validation is None:
            numbers, held_out = np.delete(numbers, slice(EVERY - 1, None, EVERY)), held_out[EVERY - 1 :: EVERY]
        self.train, self.numbers, self.test = train, numbers, test
        count = min(validation_samples, len(held_out))
        self.held_out = [int(held_out[n * len(held_out) // count]) for n in range(count)]
        self._held_out = HeldOut(self)
        names = [train.name(int(n)) for n in numbers]
        self.quarantine = Quarantine(Path(root).parent, names, bad_limit, "write these shards again without them")

    @classmethod
    def recognise(cls, root: Path) -> Layout | None:
        """Return what `i2i data check` reports about a folder of tar files that have pictures of several names."""
        shards = sorted(root.glob("*[0-9].tar"))  # train.tar and the like are for other data sets
        if not shards:
            return None
        ends: dict[str, int] = {}
        problems = []
        for shard in shards:
            try:
                for member in members(shard):
                    end = member.name.rpartition("/")[2].partition(".")[2].lower()
                    ends[end] = ends.get(end, 0) + 1
            except DataError as error:
                problems.append(str(error))
        parts = ", ".join(f"{count:,} .{end}" for end, count in sorted(ends.items())[:10])
        starts = sorted({shard.stem.rstrip("0123456789") for shard in shards})
        train, held = (
            [s for s in starts if any(word in s for word in words)] for words in (("train",), ("val", "test"))
        )
        pattern = f"{train[0] if len(starts) > 1 and len(train) == 1 else ''}*.tar"
        validation = f', `validation: "{root}/{held[0]}*.tar"`' if len(starts) > 1 and len(held) == 1 else ""
        kind = f'looks like shards, for `use: shards` with `root: "{root}/{pattern}"`{validation} and `parts`'
        return Layout(kind, problems, [f"{len(shards)} tar files: {parts or 'nothing in them'}"], pictures=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return sample `index`, or the next readable one, augmented.

        Returns:
            By the names of `parts`: pictures float32 [3, size, size] in [-1, 1]; classes int64 scalars.

        Raises:
            DataError: more samples are unreadable than `bad_limit` allows, or none is readable.
        """
        for ahead in range(len(self)):
            at = (index + ahead) % len(self)
            try:
                row = self._read(self.train, int(self.numbers[at]))
            except DataError as error:
                self.quarantine.add(self.quarantine.paths[at], str(error))
                self.quarantine.check()
            else:
                pictures = {name: part for name, part in row.items() if isinstance(part, np.ndarray)}
                return {**row, **self.augment(rng, {n: self.augment.resize(p) for n, p in pictures.items()})}
        raise DataError(f"none of the {len(self)} samples can be read")

    def validation(self) -> Sequence[Sample]:
        """Return the validation samples: resized along the short side to `size` and centre-cropped."""
        return self._held_out

    def note(self) -> str:
        """Return how many samples could not be read so far."""
        bad = len(self.quarantine.found())
        return f"{bad} of {len(self)} samples could not be read and were skipped" if bad else ""

    def _read(self, index: Index, number: int) -> dict[str, Any]:
        """Return the parts of a sample: pictures uint8 [H, W, 3], and classes as int64 tensors."""
        found: dict[str, Any] = {}
        for (name, end), content in zip(self.parts.items(), index.read(number), strict=True):
            try:
                found[name] = class_of(content) if end == CLASS else images.read_rgb(content)
            except DataError as error:
                why = str(error).removeprefix("the given bytes: ")
                raise DataError(f"{index.name(number)}.{end}: {why}") from error
        return found


class HeldOut(Sequence[Sample]):
    """The validation samples of `Shards`, read when they are asked for; the unreadable ones are left out."""

    def __init__(self, data: Shards) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def _numbers(self) -> list[int]:
        numbers = []
        for number in self.data.held_out:
            try:
                self.data._read(self.data.test, number)
            except DataError as error:
                log.warning("skipped in validation: %s", error)
            else:
                numbers.append(number)
        return numbers

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(len(self)))]
        row = self.data._read(self.data.test, self._numbers[index])
        size = self.data.augment.size
        return {n: to_tensor(fit(part, size)) if isinstance(part, np.ndarray) else part for n, part in row.items()}


class Index:
    """Where each part of each sample lies: 24 bytes for each of them, and the names.

    Args:
        pattern: of the tar files.
        ends: the ends of the file names in lower case, in the order in which they are read.
        others: files to leave out.

    Raises:
        DataError: no file matches, one is damaged, truncated or compressed, or no sample has all parts.
    """

    def __init__(self, pattern: str, ends: Sequence[str], others: Sequence[Path] = ()) -> None:
        found = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
        self.shards = [path for path in map(Path, found) if path not in others]
        if not self.shards:
            raise DataError(f"{pattern}: no file matches; shards needs tar files, such as data/train-*.tar")
        self.keys: list[str] = []
        rows: list[list[tuple[int, int, int]]] = []
        ends_seen: set[str] = set()
        lacking = 0
        for number, shard in enumerate(self.shards):
            if shard.is_dir():
                raise DataError(f"{pattern}: is a folder; give a pattern of tar files, such as {shard}/*.tar")
            samples: dict[str, dict[str, tuple[int, int, int]]] = {}
            for member in members(shard):
                folder, _, base = member.name.rpartition("/")
                stem, _, end = base.partition(".")
                ends_seen.add(end.lower())
                place = (number, member.offset_data, member.size)
                samples.setdefault(f"{folder}/{stem}".lstrip("/"), {})[end.lower()] = place
            whole = {key: parts for key, parts in samples.items() if all(end in parts for end in ends)}
            lacking += len(samples) - len(whole)
            self.keys += whole
            rows += [[parts[end] for end in ends] for parts in whole.values()]
        if not rows:
            seen = ", ".join(sorted(ends_seen)[:10]) or "nothing"
            raise DataError(f"{pattern}: no sample has {' and '.join(ends)}, only {seen}: set data.parts")
        if lacking:
            log.warning("%s: samples skipped because they lack one of %s: %d", pattern, ", ".join(ends), lacking)
        self.places = np.array(rows, dtype=np.int64)  # [samples, parts, 3]: shard, first byte, number of bytes
        self._open: dict[int, int] = {}  # shard -> file descriptor, of this process

    def __len__(self) -> int:
        return len(self.places)

    def name(self, number: int) -> Path:
        """Return the shard and the key of a sample, as a path for messages."""
        return self.shards[int(self.places[number, 0, 0])] / self.keys[number]

    def read(self, number: int) -> list[bytes]:
        """Return the contents of the parts of a sample.

        Raises:
            DataError: the shard cannot be read, or has become shorter.
        """
        parts = []
        for shard, first, size in self.places[number].tolist():
            try:
                if shard not in self._open:
                    self._open[shard] = os.open(self.shards[shard], os.O_RDONLY)
                content = os.pread(self._open[shard], size, first)
            except OSError as error:
                raise DataError(f"{self.shards[shard]}: cannot be read ({error.strerror})") from error
            if len(content) < size:
                raise DataError(f"{self.shards[shard]}: has become shorter since it was listed")
            parts.append(content)
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


def class_of(content: bytes) -> torch.Tensor:
    """Return the number of a class from its digits."""
    text = content.decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise DataError(f"a class is a number from 0 up, in digits, not {text[:20]!r}")
    return torch.tensor(int(text))
