"""Video clips, with or without classes, kept in memory: folders of files, or one .npz.

    data: {use: clips, root: data/ucf, size: 64, frames: 16}        # in a config
    i2i data check data/ucf                                         # list contents and problems

    train/a.mp4  train/b.gif  train/c/0001.png ...  val/d.mp4       # files, and folders of numbered frames
    train/run/a.mp4  train/jump/b.mp4 ...                           # the same in a folder per class
    actions.npz                                                     # or arrays, see `arrays`

Everything is decoded and resized once at the start, and kept as uint8.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt

from .. import files, images
from ..errors import ConfigError, DataError
from .base import Data, Sample
from .folders import Share
from .labelled import LUMA
from .memory import VALUES
from .transforms import fit

log = logging.getLogger("i2i")

LAYOUT = "clips needs train and val (or test) in its root, with video files or folders of frames, or an .npz file"


class Split(NamedTuple):
    """The clips of a split: each uint8 [L, size, size, channels], and their class names or None."""

    clips: list[np.ndarray]
    classes: list[str | None]


class Clips(Data):
    """Video clips: "clip" float32 [frames, channels, size, size] in [-1, 1] and, with classes, "label".

    A training sample is `frames` frames of a clip, each `stride` after the one before, from a random start. For
    validation, clips are cut into such pieces one after another. Class indices follow the sorted class names.

    Args:
        root: a folder with the splits train and val (or test), or an .npz file.
        size: height and width of a sample, in pixels: frames are resized along the short side and centre-cropped.
        frames: number of frames of a sample.
        stride: take every `stride`-th frame of a clip.
        given: for prediction: split a sample into "A", its first `given` frames, and "B", the rest.
        channels: 3, or 1 for grey.
        batch_size: samples per step.
        flip: flip half of the training clips horizontally; not where left and right have a meaning.
        held_out: for .npz, what is used for validation: the last tenth of all clips, or of each class.
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
        held_out: Literal["last", "each_class"] = "last",
        bad_limit: Share = 0.05,
        workers: NonNegativeInt = 0,
        validation_samples: PositiveInt = 64,
    ) -> None:
        if given is not None and given >= frames:
            raise ConfigError(f"given={given}, but a sample has {frames} frames: set frames to more than given")
        self.size, self.frames, self.stride, self.given = size, frames, stride, given
        self.channels, self.batch_size, self.flip, self.workers = channels, batch_size, flip, workers
        self.span = (frames - 1) * stride + 1
        place = Path(root).expanduser()
        if place.is_file():
            train, rest = of_arrays(place, size, channels, held_out)
        else:
            train = of_folder(place, ("train",), size, channels, bad_limit)
            rest = of_folder(place, ("val", "test"), size, channels, bad_limit)
        where = images.shown(place)
        self.classes: tuple[str, ...] = tuple(sorted({name for name in train.classes if name is not None}))
        unknown = sorted({name for name in rest.classes if name is not None} - set(self.classes))
        if unknown:
            raise DataError(
                f"{where}: unknown class {', '.join(unknown)}; train has {', '.join(self.classes) or 'none'}: "
                f"use the same class names in all splits"
            )
        self.train = self._long_enough(train, where)
        if not self.train.clips:
            raise DataError(
                f"{where}: none of the {len(train.clips)} clips has the {self.span} frames that frames={frames} and "
                f"stride={stride} need: lower these"
            )
        pieces = [
            (number, start)
            for number, clip in enumerate(rest.clips)
            for start in range(0, len(clip) - self.span + 1, self.span)
        ]
        count = min(validation_samples, len(pieces))
        chosen = [pieces[i * len(pieces) // count] for i in range(count)]
        self.held_out = [self._piece(rest, number, start, False) for number, start in chosen]

    def __len__(self) -> int:
        return len(self.train.clips)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """Return `frames` frames of training clip `index`, from a random start.

        Returns:
            "clip" float32 [frames, channels, size, size] in [-1, 1], or with `given` "A" [given, ...] and "B"; with
            classes "label" int64 [].
        """
        start = int(rng.integers(len(self.train.clips[index]) - self.span + 1))
        return self._piece(self.train, index, start, self.flip and rng.random() < 0.5)

    def validation(self) -> Sequence[Sample]:
        """Return pieces of the clips of val or test, without augmentation."""
        return self.held_out

    def _piece(self, split: Split, number: int, start: int, mirrored: bool) -> Sample:
        frames = split.clips[number][start : start + self.span : self.stride]
        frames = frames[:, :, ::-1] if mirrored else frames
        clip = torch.from_numpy(VALUES.take(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))))
        sample: dict[str, Any] = (
            {"clip": clip} if self.given is None else {"A": clip[: self.given], "B": clip[self.given :]}
        )
        name = split.classes[number]
        return sample if name is None else {**sample, "label": torch.tensor(self.classes.index(name))}

    def _long_enough(self, split: Split, where: str) -> Split:
        kept = [i for i, clip in enumerate(split.clips) if len(clip) >= self.span]
        if 0 < len(kept) < len(split.clips):
            log.warning(
                "%s: clips with fewer than %d frames skipped: %d of %d",
                where,
                self.span,
                len(split.clips) - len(kept),
                len(split.clips),
            )
        return Split([split.clips[i] for i in kept], [split.classes[i] for i in kept])


def of_folder(root: Path, splits: Sequence[str], size: int, channels: int, bad_limit: float) -> Split:
    """Decode the first of these splits that exists into memory; for val and test, none need exist.

    Raises:
        DataError: train is missing or empty, or too many clips are unreadable.
    """
    folder = next((root / split for split in splits if (root / split).is_dir()), None)
    if folder is None and "train" in splits:
        raise DataError(f"{images.shown(root)}: {files.lacking(root / 'train', 'folder')}: train; {LAYOUT}")
    if folder is None:
        log.warning("%s: neither %s, so there is no validation data", images.shown(root), " nor ".join(splits))
        return Split([], [])
    paths, _ = images.find_clips(folder)
    clips: list[np.ndarray] = []
    classes: list[str | None] = []
    bad: list[str] = []
    for path in paths:
        try:
            clips.append(prepared(images.read_video(path).frames, size, channels))
        except DataError as error:
            bad.append(str(error))
        else:
            parts = path.relative_to(folder).parts
            classes.append(parts[0] if len(parts) > 1 else None)
    where = images.shown(folder)
    if not paths:
        raise DataError(f"{where}: no clips found; {LAYOUT}")
    if len(bad) > bad_limit * len(paths):
        raise DataError(
            f"{where}: {len(bad)} of {len(paths)} clips cannot be read, more than the allowed fraction of "
            f"{bad_limit:g}: {'; '.join(bad[:10])}"
        )
    if bad:
        log.warning("%s: unreadable clips skipped: %d (%s)", where, len(bad), "; ".join(bad[:10]))
    return Split(clips, classes)


def of_arrays(file: Path, size: int, channels: int, held_out: str) -> tuple[Split, Split]:
    """Read the clips for training and for validation from an .npz file.

    It contains `clips` uint8 [N, T, H, W, 3]; or, if they differ in length, `frames` uint8 [F, H, W, 3] and `offsets`
    [N + 1], where clip i is frames[offsets[i]:offsets[i + 1]]. There may be `labels` [N], and `classes`, their names.

    Raises:
        DataError: the file is not of this form.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            held = {key: found[key] for key in ("clips", "frames", "offsets", "labels", "classes") if key in found}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{images.shown(file)}: cannot be read as an npz file: {error}") from error
    if "clips" not in held and not {"frames", "offsets"} <= held.keys():
        raise DataError(f"{images.shown(file)}: has neither clips nor frames and offsets")
    clips = [*held["clips"]] if "clips" in held else np.split(held["frames"], held["offsets"][1:-1])
    if any(clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 for clip in clips):
        raise DataError(f"{images.shown(file)}: clips must be uint8 [T, H, W, 3]")
    numbers = held.get("labels")
    names = [str(name) for name in held["classes"]] if "classes" in held else None
    classes: list[str | None] = [None if numbers is None else str(i) for i in range(len(clips))]
    if numbers is not None:
        classes = [names[n] if names else str(n) for n in numbers.tolist()]
    whole = Split([prepared(clip, size, channels) for clip in clips], classes)
    groups = [
        [i for i in range(len(clips)) if held_out == "last" or classes[i] == name]
        for name in sorted({*map(str, classes)})
    ]
    last = {i for group in groups for i in group[len(group) - -(-len(group) // 10) :]}
    return tuple(
        Split([whole.clips[i] for i in part], [classes[i] for i in part])
        for part in ([i for i in range(len(clips)) if i not in last], sorted(last))
    )  # type: ignore[return-value]


def prepared(clip: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Resize frames uint8 [T, H, W, 3] to cover the size and centre-crop: uint8 [T, size, size, channels]."""
    if clip.shape[1:3] != (size, size):
        clip = np.stack([fit(frame, size) for frame in clip])
    return np.rint(clip @ LUMA).astype(np.uint8)[..., None] if channels == 1 else clip
