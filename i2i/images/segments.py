"""A long video written in parts, so that a killed job continues: `with Segments(target, key) as parts`.

The frames are encoded in segments of `LENGTH`, each a complete file in a hidden folder beside the target. When the
last one is there, they are joined into the target with the sound of the source, without encoding again, and the
folder is removed. The target appears complete or not at all, and no more than one segment is ever lost.

A segment is named by its first frame and the one after its last, and when these are shown, in units of
`Segments.base`: "00000032-00000064-115200-230400.mp4".
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from .. import files
from ..errors import DataError
from . import pyav
from .frame import Frame
from .grid import png
from .kept import folder_beside
from .notes import note, shown

LENGTH = 32  # frames of a segment
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Containers that are written, by suffix: H.264 in all of them but WebM, which holds VP9."""
NAME = re.compile(r"(\d{8})-(\d{8})-(\d+)-(\d+)\.(mp4|webm)")


class Segment(NamedTuple):
    """A finished segment: its file, the numbers of its first frame and of the one after its last, and their times."""

    file: Path
    first: int
    end: int
    start: int
    stop: int


class Segments:
    """The segments of one target, within `with`.

    Args:
        target: the video to write, with a suffix of `CONTAINERS`.
        key: what determines the result; finished segments of another key are removed.

    Attributes:
        done: the number of frames that are finished.
    """

    def __init__(self, target: Path, key: str) -> None:
        self.target = target
        self.folder = folder_beside(target, "parts")
        self.kind = "webm" if target.suffix.lower() == ".webm" else "mp4"
        library = pyav.library()
        versions = {"pyav": library.__version__, **{name: list(v) for name, v in library.library_versions.items()}}
        about = json.dumps({"key": key, "length": LENGTH, "kind": self.kind, **versions}, sort_keys=True).encode()
        self.about, self.found, self.done = about, list[Segment](), 0

    def __enter__(self) -> Segments:
        """Lock the folder for this process and find what is finished.

        Raises:
            WeightsError: another process is writing this target.
        """
        files.make_folder(self.folder)
        with ExitStack() as stack:
            stack.enter_context(files.lock(self.folder))
            files.sweep(self.folder)
            if not self._is(self.about):
                for path in self.folder.iterdir():
                    if path.name != ".lock":
                        path.unlink()
                files.write(self.folder / "key.json", self.about)
            self.found = self._finished()
            self.done = self.found[-1].end if self.found else 0
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def add(
        self,
        frames: Iterator[Frame],
        like: Callable[[], Frame],
        state: Callable[[], np.ndarray | None] = lambda: None,
    ) -> bool:
        """Write the next segment; return whether there was any frame left for it.

        Args:
            frames: the frames of the clip from `done` on, of which at most `LENGTH` are taken, one by one.
            like: returns the first frame of the clip, once one of `frames` was read.
            state: called after that; returns a picture needed to continue after this segment, uint8 [H, W, 3].
        """
        first = next(frames, None)
        if first is None:
            return False
        base, count = self.base(like()), 0
        start = stop = round(first.time / base)

        def moved() -> Iterator[Frame]:
            nonlocal count, stop
            for frame in chain([first], islice(frames, LENGTH - 1)):
                count, stop = count + 1, round((frame.time + frame.duration) / base)
                yield frame._replace(time=frame.time - start * base)

        unfinished = self.folder / f"unfinished.{self.kind}"
        files.write(unfinished, lambda stream: pyav.encode(stream, moved(), self.kind, like()))
        before, self.done = self.done, self.done + count
        picture = state()
        if picture is not None:
            files.write(self._state(self.done), png(picture))
        name = f"{before:08d}-{self.done:08d}-{start}-{stop}.{self.kind}"
        segment = Segment(self.folder / name, before, self.done, start, stop)
        unfinished.rename(segment.file)
        self._state(before).unlink(missing_ok=True)
        self.found.append(segment)
        return True

    def forget(self) -> None:
        """Remove what is finished: nothing will continue it."""
        self._stack.close()
        files.remove(self.folder)

    def state(self) -> np.ndarray | None:
        """Return the picture that was given with the last segment, or None."""
        file = self._state(self.done)
        if not file.exists():
            return None
        with Image.open(file) as image:
            return np.array(image)

    def base(self, like: Frame) -> Fraction:
        """Return the unit of time; WebM and Matroska know milliseconds only."""
        coarse = CONTAINERS[self.target.suffix.lower()] in ("matroska", "webm")
        return Fraction(1, 1000 if coarse else pyav.units(like))

    def join(self, source: Path, like: Frame, strip: bool = False) -> None:
        """Write the target with the sound of the source, and remove the segments.

        Args:
            source: the video that was translated.
            like: the first frame of the clip.
            strip: leave out the title and other metadata.

        Raises:
            DataError: the container cannot hold the sound.
        """
        files.write(self.target, lambda stream: self._join(stream, source, like, strip))
        self.forget()

    def _join(self, stream: BinaryIO, source: Path, like: Frame, strip: bool) -> None:
        av, base = pyav.library(), self.base(like)
        kind = CONTAINERS[self.target.suffix.lower()]
        begin = beginning(source)
        with ExitStack() as stack:
            given, head = (stack.enter_context(av.open(str(path))) for path in (source, self.found[0].file))
            with av.open(stream, "w", format=kind) as out:
                if not strip:
                    out.metadata.update({name: text for name, text in given.metadata.items() if name not in OWN})
                video = film(out, head.streams.video[0], like, kind)
                video.time_base = base
                sounds = {one.index: added(out, one, self.target) for one in given.streams.audio}
                dropped = {one.type for one in given.streams} - {"video", "audio"}
                if dropped:
                    what = ", ".join(sorted(dropped))
                    note(shown(source), "tracks dropped", f"has other tracks ({what}), which are dropped")
                shift = max(Fraction(0), -begin)
                pictures = self._packets(video, base, begin + shift)
                for packet in merged(pictures, audio(given, sounds, shift)):
                    out.mux(packet)

    def _packets(self, video: Any, base: Fraction, begin: Fraction) -> Iterator[Any]:
        """Yield the encoded frames of all segments at their times."""
        av = pyav.library()
        first = round(begin / base)
        held = None
        for segment in self.found:
            with av.open(str(segment.file)) as part:
                for packet in part.demux(part.streams.video[0]):
                    if not packet.size:
                        continue
                    at = first + segment.start + round(packet.pts * packet.time_base / base)
                    packet.pts = packet.dts = at
                    packet.time_base, packet.stream = base, video
                    if held is not None:
                        held.duration = at - held.pts
                        yield held
                    held = packet
        if held is not None:
            held.duration = max(1, first + self.found[-1].stop - held.pts)
            yield held

    def _is(self, about: bytes) -> bool:
        file = self.folder / "key.json"
        return file.is_file() and files.read(file) == about

    def _finished(self) -> list[Segment]:
        """Return the finished segments in order; what does not follow the ones before is removed."""
        found: list[Segment] = []
        for path in sorted(self.folder.iterdir()):
            match = NAME.fullmatch(path.name)
            if match is None:
                continue
            segment = Segment(path, *map(int, match.group(1, 2, 3, 4)))
            if segment.first == (found[-1].end if found else 0):
                found.append(segment)
            else:
                path.unlink()
        return found

    def _state(self, end: int) -> Path:
        return self.folder / f"state-{end:08d}.png"


OWN = ("major_brand", "minor_version", "compatible_brands", "encoder", "ENCODER")
"""Metadata that describes the file of the source and not what is in it."""


def beginning(source: Path) -> Fraction:
    """Return when the first picture of a video is shown, in seconds; AVI stores no times."""
    with pyav.library().open(str(source)) as container:
        if container.format.name == "avi":
            return Fraction(0)
        return pyav.seconds(next(container.decode(pyav.pictures_of(container))))


def film(out: Any, part: Any, like: Frame, kind: str) -> Any:
    """Add a track like that of a segment."""
    if kind != "webm":
        return out.add_stream_from_template(part)
    video = out.add_stream("libvpx-vp9", rate=1 / like.duration)  # a copy has no rate, and then no last duration
    for name in ("width", "height", "pix_fmt", "colorspace", "color_range", "color_primaries", "color_trc"):
        setattr(video.codec_context, name, getattr(part.codec_context, name))
    video.codec_context.sample_aspect_ratio = part.sample_aspect_ratio or 1
    return video


def added(out: Any, sound: Any, target: Path) -> Any:
    """Add a track like one of the source; raise DataError if the container cannot hold it."""
    try:
        return out.add_stream_from_template(sound)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{shown(target)}: {target.suffix} cannot hold its sound ({sound.codec_context.name}); "
            f"convert the input to .mkv first"
        ) from error


def audio(container: Any, sounds: dict[int, Any], shift: Fraction) -> Iterator[Any]:
    """Yield the encoded sound of the source, of all its tracks, later by `shift` seconds."""
    if not sounds:
        return
    for packet in container.demux(*container.streams.audio):
        if packet.size and packet.dts is not None:
            later = round(shift / packet.time_base)
            packet.pts, packet.dts = (packet.dts if packet.pts is None else packet.pts) + later, packet.dts + later
            packet.stream = sounds[packet.stream.index]
            yield packet


def merged(*streams: Iterable[Any]) -> Iterator[Any]:
    """Yield packets in the order of their times, so that a container need not hold back any."""
    return heapq.merge(*streams, key=lambda packet: packet.dts * packet.time_base)
