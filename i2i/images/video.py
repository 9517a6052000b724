"""Clips: files of frames with time stamps, read frame by frame or as a whole, and written.

    clip = read_video("clip.mp4")              # clip.frames uint8 [T, H, W, 3], clip.times in seconds
    write_video("clip.webp", clip)

    frame.py      `Frame`, `Video`
    animate.py    GIF, WebP and APNG, with Pillow
    pyav.py       MP4 and WebM, with PyAV (`pip install 'i2i[video]'`)
    complete.py   rejects truncated files

The format is detected from the content. What exceeds the limits, or was cut off, is rejected before decoding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError, I2IError, ResourceError
from . import animate, pyav
from .complete import kind_of, outline
from .decode import opened, read_rgb
from .frame import Frame, Video, alike
from .limits import MAX_CLIP_FRAMES, MAX_PIXELS, allowed, check_claims, check_frames, check_pixels, way_out
from .notes import ImageWarning, reason_of, shown

ANIMATIONS = {
    ".gif": animate.encode_gif,
    ".webp": animate.encode_webp,
    ".png": animate.encode_apng,
    ".apng": animate.encode_apng,
}
VIDEOS = {".mp4": "mp4", ".webm": "webm"}
MOVING = (*ANIMATIONS, *VIDEOS)  # suffixes of clips that are written
READ = "GIF, WebP, PNG, MP4, WebM, MOV, MKV, AVI, or a folder of frames"


def read_video(source: Any, *, fps: float = 12, limit: int | None = None) -> Video:
    """Read a whole clip.

    Args:
        source: a path, encoded bytes, or a folder of pictures, its frames in the order of the numbers in their names.
        fps: the frame rate of a folder.
        limit: the maximum number of pixels in all frames (T * H * W); by default that of `limits`.

    Raises:
        DataError: it cannot be read; the message has the reason.
        ResourceError: it is an MP4 or the like and PyAV is not installed, or it does not fit in memory.

    Example:
        >>> Video.of(np.zeros((4, 6, 5, 3), np.uint8), fps=10).save("black.gif")              # doctest: +SKIP
        >>> read_video("black.gif").frames.shape                                              # doctest: +SKIP
        (4, 6, 5, 3)
    """
    found = list(iter_video(source, fps=fps, limit=allowed(MAX_PIXELS) if limit is None else limit))
    times = (*(frame.time for frame in found), found[-1].time + found[-1].duration)
    return Video(np.stack([frame.pixels for frame in found]), times, found[0].tags)


def iter_video(source: Any, *, fps: float = 12, limit: int | None = None, silent: bool = False) -> Iterator[Frame]:
    """Yield the frames of a clip one by one, so that it need not fit in memory; see `read_video`.

    With `silent`, no warning mentions sound, which the caller copies.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        yield from of_folder(Path(source), fps, limit)
        return
    name = shown(source) if isinstance(source, str | os.PathLike) else f"the given {type(source).__name__}"
    with explained(name), opened_clip(source) as (stream, kind):

        def check(width: int, height: int, count: int) -> None:
            check_limits(width, height, count, limit)

        found = outline(stream, kind)
        if found is None:
            frames = pyav.decode(stream, kind, name, check, silent)
        else:
            check(found.width, found.height, found.frames)
            check_claims(kind.upper(), found.width, found.height, stream.seek(0, os.SEEK_END), found.frames)
            stream.seek(0)
            frames = animate.decode(Image.OPEN[kind.upper()][0](stream, ""), name)
        number = 0
        for number, frame in enumerate(alike(frames), start=1):
            check(frame.pixels.shape[1], frame.pixels.shape[0], number)
            yield frame
        if found is not None and number < found.frames:
            raise DataError(
                f"damaged: only {number} of its {found.frames} frames can be decoded; copy or download it again"
            )


def check_limits(width: int, height: int, count: int, limit: int | None) -> None:
    """Raise DataError if a clip is too large: a single frame, the number of frames, or all pixels together."""
    check_pixels(width, height)
    check_frames(count, MAX_CLIP_FRAMES)
    if limit is not None and width * height * count > limit:
        more = f", or {way_out(width * height * count, MAX_PIXELS)}" if limit == allowed(MAX_PIXELS) else ""
        raise DataError(
            f"more than {limit:,} pixels in all frames; cut it into shorter clips, or make it smaller{more}"
        )


@contextmanager
def opened_clip(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Open a path or bytes, and return the stream and the kind of the file; raise DataError if it is none."""
    with opened(source) as stream:
        prefix = stream.read(16)
        if not prefix:
            raise DataError("empty file")
        kind = kind_of(prefix)
        if not kind:
            raise DataError(f"not a clip; possible: {READ}")
        yield stream, kind


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn every error of a decoder into one that names the file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except ImageWarning as error:
        raise DataError(f"{error}, and warnings are turned into errors") from error
    except MemoryError as error:
        raise ResourceError(f"{name}: does not fit in memory; make it smaller or shorter") from error
    except I2IError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DataError(f"{name}: {reason_of(error)}; replace the file or leave it out") from error


def of_folder(folder: Path, fps: float, limit: int | None) -> Iterator[Frame]:
    """Yield the pictures in a folder as frames.

    Raises:
        DataError: a picture cannot be read, they differ in size, or there are none.
    """
    inside = files.find(folder, lambda path: None)[0]  # without hidden files
    paths = sorted((path for path in inside if path.parent == folder), key=natural)
    if not paths:
        raise DataError(f"{shown(folder)}: no pictures in this folder; give a folder of frames")
    step = 1 / Fraction(fps).limit_denominator(100_000)
    with explained(shown(folder)):
        for frame in alike(Frame(read_rgb(path), n * step, step) for n, path in enumerate(paths)):
            check_limits(frame.pixels.shape[1], frame.pixels.shape[0], len(paths), limit)
            yield frame


def natural(path: Path) -> list[Any]:
    """Return a key that sorts names by the numbers in them: 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def moves(path: Path) -> bool:
    """Return whether a file, or one of the formats of pictures, is a clip, without decoding it."""
    with opened(path) as stream:
        kind = kind_of(stream.read(16))
        if kind not in ("webp", "png"):
            return bool(kind)
        try:
            stream.seek(0)
            return bool(getattr(Image.OPEN[kind.upper()][0](stream, ""), "is_animated", False))
        except Exception:  # damaged: reading it raises the reason
            return False


def animated(source: Any) -> bool:
    """Return whether a file or bytes are a GIF, WebP or PNG of several frames, without decoding; not if damaged."""
    try:
        with opened(source) as stream:
            kind = kind_of(stream.read(16))
            if f".{kind}" not in ANIMATIONS:
                return False
            stream.seek(0)
            return bool(getattr(Image.OPEN[kind.upper()][0](stream, ""), "is_animated", False))
    except Exception:  # decoders raise almost anything on damaged bytes
        return False


def count_of(path: Path) -> int:
    """Return the number of frames that a clip claims to have, or 0 if it does not say."""
    with explained(shown(path)), opened_clip(path) as (stream, kind):
        found = outline(stream, kind)
        if found is not None:
            return found.frames
        stream.seek(0)
        with pyav.library().open(stream, "r", format=kind) as container:
            return int(pyav.pictures_of(container).frames)


def write_video(path: str | os.PathLike[str], frames: Iterable[Frame]) -> None:
    """Write frames atomically, in the format given by the suffix.

    GIF has 256 colours per frame, WebP and PNG are lossless; MP4 is H.264 and WebM is VP9, both of high quality.

    Args:
        path: an existing file is replaced.
        frames: a `Video`, or any frames of one size with their times.

    Raises:
        DataError: files with this suffix cannot be written, there are no frames, or they differ in size.
        ResourceError: PyAV is needed and not installed, or the folder or the disk cannot be written to.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in ANIMATIONS:
        files.write(path, ANIMATIONS[suffix](frames))
    elif suffix in VIDEOS:
        pyav.library()  # before a file is opened
        files.write(path, lambda stream: pyav.encode(stream, frames, VIDEOS[suffix]))
    else:
        raise DataError(f"{shown(path)}: clips are written as {', '.join(MOVING)}")
