"""Clips: files of frames with time stamps, read frame by frame or as a whole, and written.

    clip = read_video("clip.gif")              # clip.frames uint8 [T, H, W, 3], clip.times in seconds
    write_video("clip.webp", clip)

GIF, WebP and APNG are packed in `animate`.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError, ResourceError
from . import animate
from .animate import Frame
from .decode import MAX_PIXELS, format_of, opened, read_rgb
from .notes import reason_of, shown

ENCODE: dict[str, Callable[[Iterable[Frame]], bytes]] = {
    ".gif": animate.encode_gif,
    ".webp": animate.encode_webp,
    ".png": animate.encode_apng,
    ".apng": animate.encode_apng,
}
ANIMATED = ("GIF", "WEBP", "PNG")  # the picture formats that may hold a clip
POSSIBLE = "possible are GIF, WebP, PNG"


@dataclass(frozen=True)
class Video:
    """A clip in memory. `numpy.asarray(video)` is `frames`, `video.save("clip.gif")` writes it.

    Attributes:
        frames: uint8 [T, H, W, 3].
        times: when each frame appears, in seconds after the first, and when the last one ends: T + 1 fractions.
    """

    frames: np.ndarray
    times: tuple[Fraction, ...]

    @classmethod
    def of(cls, frames: np.ndarray, fps: float) -> Video:
        """Return frames uint8 [T, H, W, 3] at a constant rate."""
        step = 1 / Fraction(fps).limit_denominator(100_000)
        return cls(frames, tuple(number * step for number in range(len(frames) + 1)))

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        for pixels, time, end in zip(self.frames, self.times[:-1], self.times[1:], strict=True):
            yield Frame(pixels, time, end - time)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype, copy=copy)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it in the format given by the suffix; see `write_video`."""
        write_video(path, self)


def read_video(source: Any, *, fps: float = 12, limit: int = MAX_PIXELS) -> Video:
    """Read a whole clip.

    Args:
        source: a path, encoded bytes, or a folder of pictures, its frames in the order of the numbers in their names.
        fps: the frame rate of a folder.
        limit: the maximum number of pixels (T * H * W).

    Raises:
        DataError: it cannot be read; the message has the reason.
    """
    if isinstance(source, str | os.PathLike) and os.path.isdir(source):
        return read_folder(Path(source), fps, limit)
    name = shown(source) if isinstance(source, str | os.PathLike) else f"the given {type(source).__name__}"
    try:
        with opened(source) as stream:
            data = stream.read()
        image = animation(io.BytesIO(data))
        width, height = image.size
        if width * height * getattr(image, "n_frames", 1) > limit:
            raise DataError(f"more than {limit:,} pixels in all frames; make it smaller or shorter first")
        frames = list(animate.decode(image, name))
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{name}: does not fit in memory; make it smaller or shorter") from error
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DataError(f"{name}: {reason_of(error)}; replace the file or leave it out") from error
    times = (*(frame.time for frame in frames), frames[-1].time + frames[-1].duration)
    return Video(np.stack([frame.pixels for frame in frames]), times)


def animation(stream: BinaryIO) -> Any:
    """Open a file in a format that may hold an animation, without decoding it."""
    kind = format_of(stream.read(16))
    if kind not in ANIMATED:
        raise DataError(f"a {kind} picture, not a clip; {POSSIBLE}")
    stream.seek(0)
    return Image.OPEN[kind][0](stream, "")


def moves(path: Path) -> bool:
    """Return whether a picture is an animation."""
    try:
        with opened(path) as stream:
            image = animation(stream)
            return bool(image.format == "GIF" or getattr(image, "is_animated", False))
    except DataError:
        return False
    except Exception:  # damaged: the error is raised when it is read
        return True


def read_folder(folder: Path, fps: float, limit: int) -> Video:
    """Read a folder of pictures as a clip.

    Raises:
        DataError: a picture cannot be read, they differ in size, or there are none.
    """
    paths = sorted((path for path in files.find(folder, lambda path: None)[0] if path.parent == folder), key=natural)
    frames: list[np.ndarray] = []
    for path in paths:
        frames.append(read_rgb(path))
        if frames[-1].shape != frames[0].shape:
            raise DataError(
                f"{shown(folder)}: frames differ in size ({shown(paths[0].name)} {shape_of(frames[0])}, "
                f"{shown(path.name)} {shape_of(frames[-1])}); resize them to one size"
            )
        if len(paths) * frames[0].shape[0] * frames[0].shape[1] > limit:
            raise DataError(f"{shown(folder)}: more than {limit:,} pixels in all frames; make it smaller or shorter")
    if not frames:
        raise DataError(f"{shown(folder)}: no pictures in this folder; give a folder of frames")
    return Video.of(np.stack(frames), fps)


def natural(path: Path) -> list[Any]:
    """Return a key that sorts names by the numbers in them: 2.png before 10.png."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def shape_of(frame: np.ndarray) -> str:
    """Return the size of a frame for messages."""
    return f"{frame.shape[1]}x{frame.shape[0]}"


def write_video(path: str | os.PathLike[str], frames: Iterable[Frame]) -> None:
    """Write frames atomically, in the format given by the suffix.

    Args:
        path: an existing file is replaced.
        frames: a `Video`, or any frames of one size with their times.

    Raises:
        DataError: files with this suffix cannot be written.
        ResourceError: the folder or the disk cannot be written to.
    """
    path = Path(path)
    encode = ENCODE.get(path.suffix.lower())
    if encode is None:
        raise DataError(f"{shown(path)}: clips are written as {', '.join(ENCODE)}")
    files.write(path, encode(frames))
