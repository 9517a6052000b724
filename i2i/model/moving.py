"""Videos and animations through a model of pictures, frame by frame: `i2i translate clip.mp4 -m upscale-x2 -o out`.

Memory does not grow with the length. An MP4, MOV, MKV or WebM keeps its number of frames, their times, its sound and
its colour tags, and a job that was stopped continues (`i2i.images.segments`); a GIF, animated WebP or APNG keeps its
format and its times, and is made again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError, I2IError
from ..images import Output, shown
from ..images.decode import size_of
from ..images.find import find_moving, is_video
from ..images.frame import Frame
from ..images.notes import reason_of
from ..images.segments import Segments
from ..images.steady import Steady
from ..images.video import ANIMATIONS, animated, count_of, iter_video, write_video
from ..images.write import LABELS, LARGEST
from ..modalities import Modality
from ..modalities.base import relative
from ..runs.progress import pace
from .trained import Model

RESULTS = {".mp4": ".mp4", ".m4v": ".mp4", ".mov": ".mov", ".mkv": ".mkv", ".webm": ".webm"}
"""Suffixes of videos, and those of their results; all others become Matroska, which holds any sound."""
SELDOM, OFTEN = 10.0, 0.2  # seconds between lines of progress: in a file, and on a terminal

Found = tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]


def possible(takes: Modality, makes: Modality) -> bool:
    """Return whether a model maps pictures to pictures, so that it can be applied to the frames of a clip."""
    return takes.name == makes.name == "image"


def found(source: str, takes: Modality, makes: Modality) -> Found:
    """Return what a source contains, as `Modality.find` does; for models of pictures with videos."""
    if not possible(takes, makes):
        return takes.find(source)
    paths, skipped = find_moving(source)
    return [(path, relative(path, source)) for path in paths], skipped


def is_clip(thing: Any, takes: Modality, makes: Modality, output: Output) -> bool:
    """Return whether an input is translated frame by frame: a video, or an animation unless a format is asked for."""
    if not possible(takes, makes) or not isinstance(thing, Path):
        return False
    return is_video(thing) or (output.format is None and animated(thing))


def name_of(thing: Any, name: Path, takes: Modality, makes: Modality, output: Output) -> Path:
    """Return the file name of a result: of a clip with the suffix of its format, else as the modality says."""
    if not is_clip(thing, takes, makes, output):
        return output.name(makes.file_name(name))
    suffix = name.suffix.lower()
    if is_video(thing):
        return name.with_suffix(RESULTS[suffix]) if suffix in RESULTS else name.with_name(f"{stem(name)}.mkv")
    return name if suffix in ANIMATIONS else name.with_name(f"{name.name}.webp")


def stem(name: Path) -> str:
    """Return a name without the suffix .avi; with any other."""
    return name.stem if name.suffix.lower() == ".avi" else name.name


def translate(
    thing: Path,
    target: Path,
    model: Model,
    output: Output,
    condition: dict[str, Any],
    key: str,
    begin: Callable[[], None],
    note: Callable[[str], None] | None,
) -> None:
    """Translate a clip into a file.

    Args:
        thing: the clip.
        target: the file to write, with the suffix of `name_of`.
        model, output, condition: see `translate_files`.
        key: what determines the result, by which finished segments of an earlier start are recognised.
        begin: called before the target is written.
        note: called with the progress.

    Raises:
        DataError: the clip is damaged or too large, or its result cannot be written.
    """
    if output.format is not None:
        raise DataError(f"{shown(thing)}: format {output.format} is for pictures, and this is a video; leave it out")
    files.make_folder(target.parent)
    clip = Clip(thing, model, output, condition, note)
    if target.suffix.lower() in ANIMATIONS:
        refuse_large(thing, target, model, output)
        begin()
        with encoding(thing):
            write_video(target, clip.results(0))
        return
    with encoding(thing), Segments(target, key) as parts:
        clip.steady_after(parts.state)
        try:
            rest = clip.results(parts.done)
            while parts.add(rest, clip.like, clip.state):
                pass
        except DataError:
            parts.forget()
            raise
        begin()
        parts.join(thing, clip.like(), output.strip)


def refuse_large(thing: Path, target: Path, model: Model, output: Output) -> None:
    """Raise DataError, before a frame is translated, if an animation of this format cannot be as large."""
    size, scale = size_of(thing), getattr(model.task.makes, "scale", 1)
    kind = target.suffix[1:].upper()
    if size is None or kind not in LARGEST:
        return
    height, width = output.size_of(size[0] * scale, size[1] * scale, scale)
    if max(height, width) > LARGEST[kind]:
        raise DataError(
            f"{shown(thing)}: its result of {width}x{height} exceeds the {LARGEST[kind]:,} pixels per side of "
            f"{LABELS.get(kind, kind)}: ask for a smaller --size, or convert it to an animated PNG first"
        )


@contextmanager
def encoding(thing: Path) -> Iterator[None]:
    """Turn an error of the encoder into one that names the file; all others are explained where they occur."""
    try:
        yield
    except (I2IError, MemoryError):
        raise
    except Exception as error:  # FFmpeg's have no common base class but this
        raise DataError(
            f"{shown(thing)}: its result cannot be encoded ({reason_of(error)}); ask for a smaller --size, or "
            f"translate its frames as pictures"
        ) from error


class Clip:
    """The frames of one clip and their results.

    Attributes:
        first: its first frame, once it has been read.
    """

    def __init__(
        self,
        source: Path,
        model: Model,
        output: Output,
        condition: dict[str, Any],
        note: Callable[[str], None] | None,
    ) -> None:
        self.source, self.model, self.output, self.condition, self.note = source, model, output, condition, note
        self.first: Frame | None = None
        self.steady = Steady() if output.steady else None

    def like(self) -> Frame:
        """Return the first frame; it has been read by then."""
        assert self.first is not None
        return self.first

    def steady_after(self, state: Callable[[], np.ndarray | None]) -> None:
        """Continue after a result that was steadied before, if there is one."""
        if self.steady is not None:
            self.steady.made = state()

    def state(self) -> np.ndarray | None:
        """Return what is needed to continue after the last frame."""
        return None if self.steady is None else self.steady.made

    def results(self, done: int) -> Iterator[Frame]:
        """Yield the results of all frames after the first `done`, with their times and colour tags."""
        total = count_of(self.source)
        began = shown_at = time.monotonic()
        every = OFTEN if sys.stderr.isatty() else SELDOM
        for number, frame in enumerate(iter_video(self.source, silent=True), start=1):
            self.first = self.first or frame._replace(pixels=frame.pixels[:1, :1])
            if number <= done:
                if self.steady is not None:
                    self.steady.given = frame.pixels
                continue
            yield frame._replace(pixels=self.result(frame.pixels))
            if self.note is not None and time.monotonic() - shown_at >= every:
                shown_at = time.monotonic()
                self.note(self.progress(number, total, number - done, shown_at - began))

    def result(self, pixels: np.ndarray) -> np.ndarray:
        """Return the result of one frame, uint8 [H, W, 3]."""
        output = self.output
        picture = Image.fromarray(pixels)  # the axes of an array would be guessed, wrongly if it is 3 pixels high
        made = np.asarray(
            self.model(picture, tile=output.tile, size=output.size, scale=output.scale, **self.condition)
        )
        made = made if made.ndim == 3 else made[..., None]
        made = np.repeat(made, 3, 2) if made.shape[2] == 1 else made
        return made if self.steady is None else self.steady(pixels, made)

    def progress(self, number: int, total: int, done: int, seconds: float) -> str:
        """Return how far it is: "'clip.mp4': frame 37/240  2.31 it/s  ETA 0:01:28"."""
        of, speed = (f"/{total}", pace(done, max(0, total - number), seconds)) if total else ("", "")
        return f"{shown(self.source)}: frame {number}{of}  {speed or f'{done / max(seconds, 1e-9):.2f} it/s'}"
