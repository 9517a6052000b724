"""MP4 and WebM, read and written with PyAV, the Python binding of FFmpeg: `pip install 'i2i[video]'`.

Colours are converted between YUV and RGB with the matrix and the range that the file declares; a file that declares
none is BT.709 if it is HD, else BT.601, as players assume. Rotated videos are turned upright.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, ResourceError
from .frame import Frame, Tags, Video, alike
from .notes import note

# Matrices by H.273 code, as FFmpeg's scaler numbers them; it has no others.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
LIMITED, FULL = 1, 2
USUAL = Fraction(1, 12)  # seconds that a single frame lasts if nothing says how long
HDR = (16, 18)  # transfer functions PQ and HLG
HD = 720  # lines from which BT.709 is assumed
CODECS = {
    "mp4": ("libx264", {"crf": "8", "bf": "0"}),  # without B-frames, the last duration is kept too
    "webm": ("libvpx-vp9", {"crf": "10", "b": "0", "deadline": "good", "cpu-used": "4"}),
}


def library() -> Any:
    """Import PyAV.

    Raises:
        ResourceError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ResourceError(
            f"MP4 and WebM need PyAV ({error}): pip install 'i2i[video]', or use GIF, WebP or PNG"
        ) from error
    return av


# ---- reading


def decode(
    stream: BinaryIO, kind: str, name: str, check: Callable[[int, int, int], None], silent: bool = False
) -> Iterator[Frame]:
    """Yield the frames of a video file, upright.

    Args:
        stream: the file.
        kind: "mov" (which includes MP4), "matroska" (which includes WebM) or "avi".
        name: for warnings.
        check: called before decoding with width, height and number of frames (0 if unknown); raises DataError.
        silent: do not warn about sound, because the caller copies it.

    Raises:
        DataError: it has no video, or frames are missing.
    """
    stream.seek(0)
    with library().open(stream, "r", format=kind) as container:
        video = pictures_of(container)
        check(video.width, video.height, video.frames)
        if container.streams.audio and not silent:
            note(name, "sound dropped", "has sound, which is dropped")
        begin: Fraction | None = None
        tags: Tags | None = None
        held: Frame | None = None
        for number, shown in enumerate(complete(container, video)):
            time = number / Fraction(video.average_rate) if kind == "avi" else seconds(shown)  # AVI stores no times
            begin = time if begin is None else begin
            tags = tags or tags_of(shown, video, name)
            own = Fraction((shown.duration or 0) * shown.time_base)
            frame = Frame(upright(shown, tags), time - begin, own, tags)
            if held is not None:
                if held.time >= frame.time:
                    raise DataError("its frames are not in the order of their times; convert it")
                yield held._replace(duration=frame.time - held.time)
            held = frame
        if held is None or begin is None:
            raise DataError("contains no frames")
        last = ending(container, video, begin) - held.time
        yield held._replace(duration=last if last > 0 else held.duration or USUAL)


def pictures_of(container: Any) -> Any:
    """Return the video stream of an opened file, not one that is the picture of a cover; raise DataError if none."""
    video = next((s for s in container.streams.video if not s.disposition & s.disposition.attached_pic), None)
    if video is None:
        raise DataError("contains no video")
    return video


def complete(container: Any, video: Any) -> Iterator[Any]:
    """Yield the decoded frames of a video stream; raise DataError at the end if any could not be decoded."""
    video.thread_type = "AUTO"
    video.codec_context.options = {"err_detect": "explode"}  # by default, the decoder paints over damage
    packets = frames = 0
    for packet in container.demux(video):
        packets += bool(packet.size and not packet.is_discard)
        for frame in packet.decode():
            frames += 1
            yield frame
    if frames < packets:
        raise DataError(f"only {frames} of its {packets} frames can be decoded; copy or download it again")


def seconds(frame: Any) -> Fraction:
    """Return when a frame is shown."""
    if frame.pts is None:
        raise DataError("has a frame without a time; convert it, e.g. to MP4")
    return Fraction(frame.pts * frame.time_base)


def tags_of(frame: Any, video: Any, name: str) -> Tags:
    """Return the colour tags of a frame; the matrix and the range are guessed if the file does not declare them."""
    space, spread = int(frame.colorspace), int(frame.color_range)
    if space not in MATRICES:  # not declared, RGB, or unknown to the scaler
        space = 1 if max(frame.height, frame.width * 9 // 16) >= HD else 6
    if spread not in (LIMITED, FULL):
        spread = FULL if frame.format.name.startswith("yuvj") else LIMITED
    if frame.color_trc in HDR:
        note(name, "HDR kept", "is HDR: its values are used as they are, so that it looks pale")
    aspect = Fraction(video.sample_aspect_ratio or 1) or Fraction(1)
    aspect = 1 / aspect if frame.rotation % 180 else aspect
    return Tags(space, spread, int(frame.color_primaries), int(frame.color_trc), aspect)


def upright(frame: Any, tags: Tags) -> np.ndarray:
    """Convert a frame to RGB, uint8 [H, W, 3], rotated as the file says."""
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=MATRICES[tags.space],
        src_color_range=tags.range,
        dst_color_range=FULL,
        interpolation=exact(),
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90 % 4))


def exact() -> Any:
    """Return the flags with which FFmpeg's scaler rounds correctly and keeps the full resolution of chroma."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def ending(container: Any, video: Any, begin: Fraction) -> Fraction:
    """Return when the last frame ends, in seconds after the first, or 0 if the file does not say."""
    if video.duration:
        return Fraction((video.start_time or 0) + video.duration) * video.time_base - begin
    if container.duration and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000) - begin
    return Fraction(0)


# ---- writing


def mp4(frames: np.ndarray, fps: float = 12) -> bytes:
    """Encode frames uint8 [T, H, W, 3] as MP4 (H.264).

    Raises:
        ResourceError: PyAV is not installed.
    """
    buffer = io.BytesIO()
    encode(buffer, Video.of(frames, fps), "mp4")
    return buffer.getvalue()


def encode(stream: BinaryIO, frames: Iterable[Frame], kind: str, like: Frame | None = None) -> None:
    """Write frames as H.264 in MP4 or as VP9 in WebM, with the colour tags of the first one.

    Chroma has half the resolution, as players expect. In MP4 an odd height or width does not allow this, so chroma
    then keeps its full resolution, which some players do not support. Times are exact to 1/90000 of a second, in WebM
    to 1/1000.

    Args:
        stream: the file, which must be seekable.
        frames: at least one; all of one size.
        kind: "mp4" or "webm".
        like: the first frame of the clip that these frames are a part of; its rate and units are used.

    Raises:
        DataError: there are no frames, or they differ in size.
        ResourceError: PyAV is not installed, or lacks the encoder.
    """
    av, (codec, options) = library(), CODECS[kind]
    rest = alike(frames)
    first = next(rest)
    if codec not in av.codecs_available:
        raise ResourceError(
            f"the installed PyAV has no encoder {codec}: pip install 'i2i[video]', or use GIF or WebP"
        )
    (height, width, _), tags = first.pixels.shape, first.tags
    like = like or first
    base = Fraction(1, units(like))
    with av.open(stream, "w", format=kind) as container:
        video = container.add_stream(codec, rate=1 / like.duration, options=options)
        context = video.codec_context
        context.width, context.height, context.time_base = width, height, base
        context.pix_fmt = "yuv444p" if kind == "mp4" and (height % 2 or width % 2) else "yuv420p"
        context.colorspace, context.color_range = tags.space, tags.range
        context.color_primaries, context.color_trc = tags.primaries, tags.transfer
        context.sample_aspect_ratio = tags.aspect
        durations: dict[int, int] = {}
        before = -1
        for pixels, time, duration, _ in chain([first], rest):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=context.pix_fmt,
                dst_colorspace=MATRICES[tags.space],
                src_color_range=FULL,
                dst_color_range=tags.range,
                interpolation=exact(),
            )
            frame.time_base, frame.pts = base, max(before + 1, round(time / base))
            before, durations[frame.pts] = frame.pts, max(1, round(duration / base))
            mux(container, video.encode(frame), durations)
        mux(container, video.encode(None), durations)


def mux(container: Any, packets: Iterable[Any], durations: dict[int, int]) -> None:
    """Write encoded frames with their durations, without which the last one would get a guessed duration."""
    for packet in packets:
        packet.duration = durations.pop(packet.pts)
        container.mux(packet)


def units(frame: Frame) -> int:
    """Return the units of time per second: 90000, or a multiple in which the rate of the first frame is exact."""
    exact = math.lcm(90_000, frame.duration.denominator)
    return exact if exact <= 1_000_000 else 90_000
