"""Video clips, with or without classes, kept in memory: folders of files, or one .npz.

    data: {use: clips, root: data/ucf, size: 64, frames: 16}        # in a config
    i2i data check data/ucf                                         # list contents and problems

    train/a.mp4  train/b.gif  train/c/0001.png ...  val/d.mp4       # files, and folders of numbered frames
    train/run/a.mp4  train/jump/b.mp4 ...                           # the same in a folder per class
    actions.npz                                                     # or arrays, see `of_arrays`

Everything is decoded and resized once at the start and kept as uint8, so this is meant for small clips.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from .. import files, images
from ..errors import ConfigError, DataError
from .base import Data, Layout, Sample
from .clip_files import LAYOUT, class_names_of, class_of, clips_in, layout_of
from .folders import Share
from .labelled import LUMA
from .memory import VALUES
from .transforms import fit

log = logging.getLogger("i2i")

KEYS = ("clips", "frames", "offsets", "labels", "classes")


class Split(NamedTuple):
    """The clips of a split: each uint8 [L, size, size, channels], and their class names, or None without classes."""

    clips: list[np.ndarray]
    classes: list[str | None]

    def some(self, indices: Iterable[int]) -> Split:
        """Return the clips at these indices."""
        chosen = list(indices)
        return Split([self.clips[i] for i in chosen], [self.classes[i] for i in chosen])


class Clips(Data):
    """Video clips: "clip" float32 [frames, channels, size, size] in [-1, 1] and, with classes, "label".

    A training sample is `frames` frames of a clip, each `stride` after the one before, from a random start. For
    validation, clips are cut into such pieces one after another. Class indices follow the sorted class names.

    Args:
        root: a folder with the splits train and val (or test), or an .npz file.
        size: height and width of a sample, in pixels: frames are resized along the short side and centre-cropped.
        frames: number of frames of a sample; shorter clips are skipped with a warning.
        stride: take every `stride`-th frame.
        given: for prediction: split samples into "A", the first `given` frames, and "B", the rest.
        channels: 3, or 1 for grey.
        batch_size: samples per step.
        flip: flip half of the training clips horizontally; leave it off where left and right have a meaning.
        reverse: play half of the training clips backwards; leave it off where time has a direction.
        held_out: for .npz: hold out the last tenth of all clips for validation, or the last tenth of each class.
        bad_limit: the fraction of clips that may be unreadable; these are skipped with a warning.
        workers: number of loader processes; 0 is usually fastest, since everything is in memory.
        validation_samples: maximum number of validation samples, evenly spaced.

    Raises:
        ConfigError: `given` is not less than `frames`.
        DataError: no clips, too many unreadable ones, none long enough, or a class in val or test but not in train.
    """

    def __init__(
        self,
        root: str,
        size: PositiveInt = 64,
        frames: PositiveInt = 16,
        stride: PositiveInt = 1,
        given: PositiveInt | None = None,
        channels: Literal[1, 3] = 3,
        batch_size: PositiveInt = 16,
        flip: bool = False,
        reverse: bool = False,
        held_out: Literal["last", "each_class"] = "last",
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 0,
        validation_samples: PositiveInt = 64,
    ) -> None:
        if given is not None and given >= frames:
            raise ConfigError(f"given={given}, but a sample has {frames} frames: make frames larger than given")
        self.size, self.frames, self.stride, self.given = size, frames, stride, given
        self.channels, self.batch_size, self.workers = channels, batch_size, workers
        self.flip, self.reverse = flip, reverse
        self.span, self.short = (frames - 1) * stride + 1, 0
        place = Path(root).expanduser()
        if place.is_file():
            train, rest = of_arrays(place, size, channels, by_class=held_out == "each_class")
        else:
            train, rest = (of_folder(place, split, size, channels, bad_limit) for split in ("train", "val"))
        self.classes = class_names_of(train.classes, rest.classes, images.shown(place))
        self.train = self._long_enough(train, images.shown(place))
        pieces = [
            (i, at) for i, clip in enumerate(rest.clips) for at in range(0, len(clip) - self.span + 1, self.span)
        ]
        count = min(validation_samples, len(pieces))
        chosen = (pieces[i * len(pieces) // count] for i in range(count))
        self.held_out = [self._piece(rest, number, start) for number, start in chosen]
        if rest.clips and not pieces:
            log.warning("%s: no validation data, as no clip has %d frames", images.shown(place), self.span)

    @classmethod
    def recognise(cls, root: Path) -> Layout | None:
        """Recognise train with clips in files; report lengths, frame sizes, and what cannot be read."""
        return layout_of(root)

    def __len__(self) -> int:
        return len(self.train.clips)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return `frames` frames of training clip `index`, from a random start.

        Returns:
            "clip" float32 [frames, channels, size, size] in [-1, 1], or with `given` "A" [given, ...] and "B"; with
            classes "label" int64 [].
        """
        start = int(rng.integers(len(self.train.clips[index]) - self.span + 1))
        mirrored = self.flip and rng.random() < 0.5
        backwards = self.reverse and rng.random() < 0.5
        return self._piece(self.train, index, start, mirrored=mirrored, backwards=backwards)

    def validation(self) -> Sequence[Sample]:
        """Return pieces of the clips of val or test, without augmentation."""
        return self.held_out

    def note(self) -> str:
        """Return how many training clips were too short."""
        total = self.short + len(self)
        return (
            f"{self.short} of {total} clips had fewer than {self.span} frames and were skipped" if self.short else ""
        )

    def _piece(
        self, split: Split, number: int, start: int, *, mirrored: bool = False, backwards: bool = False
    ) -> Sample:
        frames = split.clips[number][start : start + self.span : self.stride]
        frames = frames[:, :, ::-1] if mirrored else frames
        frames = frames[::-1] if backwards else frames
        clip = torch.from_numpy(VALUES.take(frames.transpose(0, 3, 1, 2)))
        name = split.classes[number]
        sample: Sample = {} if name is None else {"label": torch.tensor(self.classes.index(name))}
        if self.given is None:
            return {"clip": clip, **sample}
        return {"A": clip[: self.given], "B": clip[self.given :], **sample}

    def _long_enough(self, train: Split, where: str) -> Split:
        """Return the clips with enough frames for a sample."""
        kept = train.some(i for i, clip in enumerate(train.clips) if len(clip) >= self.span)
        self.short = len(train.clips) - len(kept.clips)
        if not kept.clips:
            longest = max(map(len, train.clips), default=0)
            raise DataError(
                f"{where}: none of the {self.short} training clips has the {self.span} frames that frames="
                f"{self.frames} and stride={self.stride} need, the longest has {longest}: lower these"
            )
        if self.short:
            log.warning("%s: training clips with fewer than %d frames skipped: %d", where, self.span, self.short)
        return kept


def of_folder(root: Path, split: str, size: int, channels: int, bad_limit: float) -> Split:
    """Decode a split into memory: train, or val, for which test is used if it is missing.

    Raises:
        DataError: train is missing, the split is empty, or too many clips are unreadable.
    """
    names = (split, "test") if split == "val" else (split,)
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None and split == "val":
        log.warning("%s: neither val nor test, so there is no validation data", images.shown(root))
        return Split([], [])
    if folder is None:
        folder = root / split if root.is_dir() else root
        raise DataError(
            f"{images.shown(folder)}: {files.lacking(folder, 'folder')}; set data.root to your data: {LAYOUT}"
        )
    where = images.shown(folder)
    paths, skipped, bad = clips_in(folder)
    found, sizes, total = Split([], []), set(), len(paths) + len(bad)
    for path in paths:
        try:
            clip, old = small(path, size, channels)
        except DataError as error:
            bad.append(str(error))
            continue
        sizes.add(old)
        found.clips.append(clip)
        found.classes.append(class_of(path, folder))
    if not total:
        raise DataError(f"{where}: no clips found; {LAYOUT}")
    if len(bad) > bad_limit * total or not found.clips:
        raise DataError(
            f"{where}: {len(bad)} of {total} clips cannot be read, more than the allowed fraction of "
            f"{bad_limit:g}: {'; '.join(bad[:10])}"
        )
    lines = [f"{images.shown(path)}: {why}" for path, why in skipped if not path.name.startswith(".")]
    if bad:
        log.warning("%s: unreadable clips skipped: %d of %d (%s)", where, len(bad), total, "; ".join(bad[:10]))
    if lines:
        log.warning("%s: other files skipped: %d (%s)", where, len(lines), "; ".join(lines[:10]))
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)[:10])
        log.warning("%s: clips of %d sizes (%s) resized and cropped to %d", where, len(sizes), listed, size)
    return found


def small(path: Path, size: int, channels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a clip frame by frame: uint8 [L, size, size, channels], and its original height and width."""
    frames, old = [], (0, 0)
    for frame in images.iter_video(path):
        old = (frame.pixels.shape[0], frame.pixels.shape[1])
        frames.append(prepared(frame.pixels, size, channels))
    return np.stack(frames), old


def prepared(frame: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Resize a frame uint8 [H, W, 3] to cover the size and centre-crop: uint8 [size, size, channels]."""
    square = fit(frame, size)
    return np.rint(square @ LUMA).astype(np.uint8)[:, :, None] if channels == 1 else square


def of_arrays(file: Path, size: int, channels: int, *, by_class: bool) -> tuple[Split, Split]:
    """Read the clips for training and those for validation from an .npz file.

    It contains `clips` uint8 [N, L, H, W, 3]; or, if they differ in length, `frames` uint8 [F, H, W, 3] and `offsets`
    [N + 1], where clip i is frames[offsets[i]:offsets[i + 1]]. There may be `labels` [N], and `classes`, their names.
    The last tenth, rounded up, is for validation: of all clips, or `by_class` of each class.

    Raises:
        DataError: the file is not of this form.
    """
    held = arrays(file)
    clips = [*held["clips"]] if "clips" in held else np.split(held["frames"], held["offsets"][1:-1])
    names: list[str | None] = [None] * len(clips)
    if "labels" in held:
        known = held["classes"].tolist() if "classes" in held else range(int(held["labels"].max()) + 1)
        names = [str(known[number]) for number in held["labels"].tolist()]
    whole = Split([np.stack([prepared(frame, size, channels) for frame in clip]) for clip in clips], names)
    groups = [[i for i, name in enumerate(names) if not by_class or name == one] for one in dict.fromkeys(names)]
    last = {i for group in groups for i in group[len(group) - -(-len(group) // 10) :]}
    return whole.some(i for i in range(len(clips)) if i not in last), whole.some(sorted(last))


def arrays(file: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file, checked; see `of_arrays`."""
    where = images.shown(file)
    try:
        with np.load(file, allow_pickle=False) as found:
            held = {key: found[key] for key in KEYS if key in found}
            others = ", ".join(found)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{where}: cannot be read as an npz file ({error}); {LAYOUT}") from error
    if "clips" not in held and not {"frames", "offsets"} <= held.keys():
        raise DataError(f"{where}: needs the array clips, or frames and offsets, but has {others or 'none'}")
    pixels, axes = (held["clips"], 5) if "clips" in held else (held["frames"], 4)
    if pixels.dtype != np.uint8 or pixels.ndim != axes or pixels.shape[-1] != 3 or 0 in pixels.shape:
        name = "clips must be uint8 [N, L, H, W, 3]" if axes == 5 else "frames must be uint8 [F, H, W, 3]"
        raise DataError(f"{where}: {name}, but are {pixels.dtype} {list(pixels.shape)}")
    count = len(pixels)
    if axes == 4:
        offsets, count = held["offsets"], len(held["offsets"]) - 1
        if offsets.ndim != 1 or count < 1 or offsets[0] or offsets[-1] != len(pixels) or (np.diff(offsets) < 1).any():
            raise DataError(f"{where}: offsets must rise from 0 to the number of frames, {len(pixels)}")
    labels, classes = held.get("labels"), held.get("classes")
    if labels is not None and (labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0):
        raise DataError(f"{where}: labels must be {count} class indices, one per clip, not {list(labels.shape)}")
    if labels is not None and classes is not None and labels.max() >= len(classes):
        raise DataError(f"{where}: label {labels.max()} has no name, as there are {len(classes)} classes")
    return held
