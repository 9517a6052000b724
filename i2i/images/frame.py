"""`Frame` and `Video`: frames of a clip, with their times and the colour tags of the file they came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError


class Tags(NamedTuple):
    """How a video file encodes RGB, in the codes of ITU-T H.273, and the shape of its pixels; by default HD video.

    Attributes:
        space: the matrix between RGB and YUV: 1 is BT.709, 5 and 6 are BT.601, 9 is BT.2020.
        range: 1 is limited (16 to 235), 2 is full.
        primaries: of red, green and blue; kept, not converted.
        transfer: the transfer function; kept, not converted.
        aspect: width / height of a pixel; kept in MP4, not applied.
    """

    space: int = 1
    range: int = 1
    primaries: int = 1
    transfer: int = 1
    aspect: Fraction = Fraction(1)


HD_VIDEO = Tags()


class Frame(NamedTuple):
    """One frame of a clip: uint8 [H, W, 3], when it appears and for how long, in seconds; the tags of its file."""

    pixels: np.ndarray
    time: Fraction
    duration: Fraction
    tags: Tags = HD_VIDEO


def alike(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames; raise DataError if there are none, or if they differ in size."""
    first: Frame | None = None
    for frame in frames:
        first = first or frame
        if frame.pixels.shape != first.pixels.shape:
            sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (first.pixels.shape, frame.pixels.shape))
            raise DataError(f"its frames differ in size ({sizes}); give them one size")
        yield frame
    if first is None:
        raise DataError("a clip without frames; give at least one")


@dataclass(frozen=True)
class Video:
    """A clip in memory. `numpy.asarray(video)` is `frames`, and `video.save("clip.gif")` writes it.

    Attributes:
        frames: uint8 [T, H, W, 3].
        times: when each frame appears, in seconds after the first, and when the last one ends: T + 1 fractions.
        tags: how the file it was read from encodes colours; a video file written from it does the same.
    """

    frames: np.ndarray
    times: tuple[Fraction, ...]
    tags: Tags = HD_VIDEO

    def __post_init__(self) -> None:
        exact = tuple(time if isinstance(time, Fraction) else Fraction(float(time)) for time in self.times)
        object.__setattr__(self, "times", exact)
        if len(exact) != len(self.frames) + 1:
            raise DataError(f"{len(self.frames)} frames need {len(self.frames) + 1} times, not {len(exact)}")

    @classmethod
    def of(cls, frames: np.ndarray, fps: float | Fraction, tags: Tags = HD_VIDEO) -> Video:
        """Return frames uint8 [T, H, W, 3] at a constant rate, in frames per second."""
        step = 1 / Fraction(fps).limit_denominator(100_000)
        return cls(frames, tuple(number * step for number in range(len(frames) + 1)), tags)

    @property
    def fps(self) -> Fraction:
        """The usual frame rate: that of the median duration."""
        durations = sorted(end - start for start, end in zip(self.times[:-1], self.times[1:], strict=True))
        return 1 / durations[len(durations) // 2]

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        for pixels, time, end in zip(self.frames, self.times[:-1], self.times[1:], strict=True):
            yield Frame(pixels, time, end - time, self.tags)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.frames, dtype, copy=copy)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it in the format given by the suffix; see `i2i.images.write_video`."""
        from .video import write_video

        write_video(path, self)
