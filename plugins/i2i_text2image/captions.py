"""`captions`: photographs with captions, in the layout of Flickr8k.

    data: {use: captions, root: data/flickr8k, size: 64, batch_size: 32}     # in a config

    train.tar  captions_train.txt  val.tar  captions_val.txt     # or folders train and val

A line of captions_train.txt is `<file>#<number><tab><caption>`; a picture may have any number of captions. All
pictures are decoded once at the start and kept in memory as uint8. Tar files are read in place and never unpacked.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from i2i import Data, DataError, files, images
from i2i.data import Layout, Sample, archived, to_tensor

from .text import LENGTH, decoded, to_codes

log = logging.getLogger("i2i")

Share = Annotated[float, Field(ge=0, le=1)]
Crop = Annotated[float, Field(gt=0, le=1)]
LINE = re.compile(r"(.+)#\d+\t(.*)")
BAD_LIMIT = 0.05  # the default of the data set
NAMED = 5  # how many names a message lists
LAYOUT = (
    "captions needs in its root train and captions_train.txt, val and captions_val.txt (train, val: folder or .tar)"
)


@dataclass(frozen=True)
class Captioned:
    """The pictures of a split and their captions.

    Attributes:
        pixels: uint8 [N, size, size, 3].
        codes: the captions as code points, int32 [M, length], those of a picture one after the other.
        first: where those of each picture begin, and M: int64 [N + 1].
    """

    pixels: np.ndarray
    codes: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def caption(self, index: int, number: int = 0) -> Tensor:
        """Return a caption of picture `index`: int64 [length]."""
        return torch.from_numpy(self.codes[self.first[index] + number].astype(np.int64))


class Captions(Data):
    """Photographs with captions: "image" float32 [3, size, size] in [-1, 1], "text" int64 [length], its code points.

    Pictures are resized along the short side and centre-cropped. In training each picture gets one of its captions at
    random, and with `crop` a part of it at a random place. The validation samples are the whole pictures of val, each
    with its first caption.

    Args:
        root: the folder with train and val, and captions_train.txt and captions_val.txt.
        size: height and width of a sample, in pixels.
        batch_size: samples in one step.
        flip: mirror half of the training pictures; captions that name left or right are not changed.
        crop: the smallest part of a training picture, as a share of its side: its side is drawn between this and 1,
            and it is resized to `size`; 1 for whole pictures.
        length: characters of the tensors of captions.
        bad_limit: the share of pictures that may be unreadable or without captions, and of captions that may be
            without pictures; these are skipped with a warning.
        validation_samples: how many pictures of val are used at most, evenly spaced.
        workers: loader processes; 0 is usually fastest, since everything is in memory.

    Raises:
        DataError: a file is missing, lines are not in the format, captions are empty or too long, or too much is
            skipped.

    Source:
        Hodosh, Young, Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013.
    """

    def __init__(
        self,
        root: str,
        size: PositiveInt = 64,
        batch_size: PositiveInt = 32,
        flip: bool = True,
        crop: Crop = 1.0,
        length: PositiveInt = LENGTH,
        bad_limit: Share = BAD_LIMIT,
        validation_samples: PositiveInt = 300,
        workers: NonNegativeInt = 0,
    ) -> None:
        self.size, self.flip, self.crop, self.batch_size, self.workers = size, flip, crop, batch_size, workers
        place = Path(root).expanduser()
        self.train = gathered(place, "train", size, length, bad_limit)
        self.large = self.train.pixels  # what crops are taken from: so large that the smallest one has `size` pixels
        if crop < 1:
            self.large = gathered(place, "train", math.ceil(size / crop), length, bad_limit).pixels
        self.held_out = gathered(place, "val", size, length, bad_limit)
        count = min(validation_samples, len(self.held_out))
        self.used = [i * len(self.held_out) // count for i in range(count)]

    @classmethod
    def recognise(cls, root: Path) -> Layout | None:
        """Recognise a folder by a file of captions; report splits and lines that training would reject."""
        splits = [split for split in ("train", "val") if (root / f"captions_{split}.txt").is_file()]
        if not splits:
            return None
        problems = []
        for split in ("train", "val"):
            try:
                captions = captions_of(root / f"captions_{split}.txt", LENGTH)
                refuse_unmatched(root, split, captions, {name for name, _ in found(root, split)})
            except DataError as error:
                problems.append(str(error))
        return Layout("looks like images with captions (train and captions_train.txt), for `use: captions`", problems)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return picture `index` or a crop of it, mirrored half of the time, with one of its captions."""
        pixels = self.train.pixels[index] if self.crop == 1 else cropped(self.large[index], self.size, rng)
        if self.flip and rng.random() < 0.5:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        captions = int(self.train.first[index + 1] - self.train.first[index])
        return {"image": to_tensor(pixels), "text": self.train.caption(index, int(rng.integers(captions)))}

    def validation(self) -> Sequence[Sample]:
        """Return the pictures of val, each with its first caption."""
        return [{"image": to_tensor(self.held_out.pixels[i]), "text": self.held_out.caption(i)} for i in self.used]


# ---- reading


def gathered(root: Path, split: str, size: int, length: int, bad_limit: float) -> Captioned:
    """Decode a split into memory, sorted by file name.

    Raises:
        DataError: it is missing, or too much of it would be skipped.
    """
    lines = root / f"captions_{split}.txt"
    captions = captions_of(lines, length)
    pictures: dict[str, np.ndarray] = {}
    bad: list[str] = []
    for name, source in found(root, split):
        if name in pictures:
            raise DataError(f"{images.shown(root / split)}: two pictures are named {name}: rename one")
        try:
            pictures[name] = squared(images.read_rgb(source), size)
        except DataError as error:
            bad.append(f"{name}: {error}")
    report(lines, bad, len(pictures) + len(bad), "unreadable pictures", bad_limit)
    captions = {name: own for name, own in captions.items() if name not in {line.partition(":")[0] for line in bad}}
    refuse_unmatched(root, split, captions, pictures.keys(), bad_limit)
    kept = sorted(pictures.keys() & captions.keys())
    counts = [len(captions[name]) for name in kept]
    return Captioned(
        np.stack([pictures[name] for name in kept]),
        np.concatenate([np.stack(captions[name]) for name in kept]),
        np.cumsum([0, *counts]),
    )


def refuse_unmatched(
    root: Path, split: str, captions: Mapping[str, Any], pictures: Set[str], bad_limit: float = BAD_LIMIT
) -> None:
    """Raise DataError if too many pictures have no captions, or captions no pictures; warn of the others."""
    lines = root / f"captions_{split}.txt"
    if not captions:
        raise DataError(f"{images.shown(lines)}: contains no captions; {LAYOUT}")
    if not captions.keys() & pictures:
        raise DataError(
            f"{images.shown(lines)}: none of its {len(captions)} pictures is among the {len(pictures)} of {split}; "
            f"{LAYOUT}"
        )
    report(lines, sorted(pictures - captions.keys()), len(pictures), "pictures without captions", bad_limit)
    report(lines, sorted(captions.keys() - pictures), len(captions), "captions without pictures", bad_limit)


def report(lines: Path, skipped: Sequence[str], of: int, what: str, bad_limit: float) -> None:
    """Warn about what is skipped; raise DataError if it is more than the allowed share."""
    if not skipped:
        return
    some = ", ".join(skipped[:NAMED]) + ", ..." * (len(skipped) > NAMED)
    if len(skipped) > bad_limit * of:
        raise DataError(
            f"{images.shown(lines)}: {what}: {len(skipped)} of {of}, more than the allowed share of {bad_limit:g}: "
            f"{some}; add what is missing, or raise data.bad_limit to skip them"
        )
    log.warning("%s: %s skipped: %d (%s)", images.shown(lines), what, len(skipped), some)


def captions_of(path: Path, length: int) -> dict[str, list[np.ndarray]]:
    """Return the captions of each picture by file name, as code points int32 [length].

    Raises:
        DataError: the file is missing, or some lines are not `<file>#<number><tab><caption>`, or a caption is empty
            or too long.
    """
    if not path.is_file():
        raise DataError(f"{images.shown(path)}: {files.lacking(path, 'file')}; {LAYOUT}")
    captions: dict[str, list[np.ndarray]] = {}
    wrong: list[str] = []
    for number, line in enumerate(decoded(path.read_bytes(), images.shown(path)).splitlines(), start=1):
        if not line.strip():
            continue
        parts = LINE.fullmatch(line)
        if parts is None:
            wrong.append(f"line {number}: {line[:40]!r} is not <file>#<number><tab><caption>")
            continue
        try:
            codes = to_codes(parts[2], length)
        except DataError as error:
            wrong.append(f"line {number}: {error}")
            continue
        captions.setdefault(PurePosixPath(parts[1]).name, []).append(codes.numpy().astype(np.int32))
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" * (len(wrong) > NAMED)
        raise DataError(f"{images.shown(path)}: {'; '.join(wrong[:NAMED])}{more}")
    return captions


def found(root: Path, split: str) -> Iterator[tuple[str, Path | bytes]]:
    """Yield the pictures of a split, a folder or a .tar file: file name, and path or bytes.

    Raises:
        DataError: there is neither, or the .tar file is damaged.
    """
    folder, tar = root / split, root / f"{split}.tar"
    if folder.is_dir():
        yield from ((path.name, path) for path in images.find(folder)[0])
    elif tar.is_file():
        for member, content in archived(tar):
            name = PurePosixPath(member.name).name
            if not name.startswith("."):
                yield name, content
    else:
        raise DataError(f"{images.shown(root)}: neither {split} nor {split}.tar found; {LAYOUT}")


def squared(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize along the short side and centre-crop: uint8 [H, W, 3] -> [size, size, 3]."""
    return np.array(ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BICUBIC))


def cropped(pixels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a square at random, with a side between `size` and all of it, and resize it: uint8 -> [size, size, 3]."""
    whole = len(pixels)
    side = int(rng.integers(size, whole + 1))
    top, left = rng.integers(0, whole - side + 1, 2)
    box = (int(left), int(top), int(left) + side, int(top) + side)
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC, box))
