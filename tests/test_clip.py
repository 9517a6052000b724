"""Clips: files of frames with their times and colours, and the modality `Clip` from arrays to the command line."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from toyclips import Imagine, Predict

import i2i
from i2i import images
from i2i.errors import DataError, PluginError, ResourceError
from i2i.images import complete, limits, pyav
from i2i.images import video as videos
from i2i.images.frame import Tags
from i2i.modalities import Clip, Image
from i2i.testing import check_modality, check_task

EXACT = (".gif", ".webp", ".png", ".apng")  # a GIF with up to 256 colours per frame
PER_SECOND = {".gif": 100, ".webp": 1000, ".png": 1000, ".apng": 1000, ".mp4": 90000, ".webm": 1000}
UNEVEN = tuple(Fraction(x, 1000) for x in (0, 40, 50, 120, 130, 300, 400, 1000, 1500))  # a variable rate


def noise(length: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Frames in which every pixel is random, uint8 [T, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), dtype=np.uint8)


def smooth(length: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """One soft picture that becomes another, as codecs like it, uint8 [T, H, W, 3]."""
    ends = [cv2.resize(noise(1, 3, 3, seed + i)[0], (width, height), interpolation=cv2.INTER_LINEAR) for i in (0, 9)]
    share = np.linspace(0, 1, length)[:, None, None, None]
    return np.rint((1 - share) * ends[0] + share * ends[1]).astype(np.uint8)


def saved(folder: Path, suffix: str, video: images.Video) -> Path:
    video.save(folder / f"clip{suffix}")
    return folder / f"clip{suffix}"


# ---- what a file keeps


@pytest.mark.parametrize("suffix", EXACT)
def test_an_animation_keeps_every_pixel_and_equal_neighbours_stay_separate(suffix: str, tmp_path: Path) -> None:
    frames = noise(6, 9, 13)
    frames[2:4] = frames[1]
    frames[3, 4, 5] = 0
    again = images.read_video(saved(tmp_path, suffix, images.Video.of(frames, 10)))
    assert np.array_equal(again.frames, frames)
    assert again.times == tuple(Fraction(n, 10) for n in range(7))
    with PIL.Image.open(tmp_path / f"clip{suffix}") as other:  # without our reader
        assert other.n_frames == 6  # type: ignore[attr-defined]
        other.seek(5)
        assert np.array_equal(np.array(other.convert("RGB")), frames[5])


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_ffmpeg_reads_our_animations_too(suffix: str, tmp_path: Path) -> None:
    frames = noise(4, 9, 13)
    frames[2, 1:] = frames[1, 1:]
    with av.open(str(saved(tmp_path, suffix, images.Video.of(frames, 10)))) as container:
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.array_equal(read, frames)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([".gif", ".webp", ".png"]),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(st.integers(1, 300), min_size=5, max_size=5),
)
def test_any_animation_comes_back(
    tmp_path_factory: Any, suffix: str, length: int, height: int, width: int, waits: list[int]
) -> None:
    times = tuple(Fraction(sum(waits[:n]), 100) for n in range(length + 1))
    video = images.Video(noise(length, height, width) // 64 * 64, times)
    again = images.read_video(saved(tmp_path_factory.mktemp("any"), suffix, video))
    assert np.array_equal(again.frames, video.frames)
    assert again.times == times


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("size", [(32, 48), (33, 47), (3, 5), (1, 1)])
def test_a_video_keeps_its_size_even_an_odd_one_and_nearly_its_colours(
    suffix: str, size: tuple[int, int], tmp_path: Path
) -> None:
    frames = smooth(5, *size)
    again = images.read_video(saved(tmp_path, suffix, images.Video.of(frames, 25)))
    assert again.frames.shape == frames.shape
    assert np.abs(again.frames.astype(int) - frames).mean() < 4 or min(size) < 32
    theirs = cv2.VideoCapture(str(tmp_path / f"clip{suffix}")).read()[1]
    assert theirs.shape == frames.shape[1:]


@pytest.mark.parametrize("suffix", images.MOVING)
@pytest.mark.parametrize("rate", [12, Fraction(30000, 1001), None], ids=str)
def test_times_are_as_exact_as_the_format(suffix: str, rate: Fraction | None, tmp_path: Path) -> None:
    frames = smooth(8, 16, 16)
    video = images.Video.of(frames, rate) if rate else images.Video(frames, UNEVEN)
    again = images.read_video(saved(tmp_path, suffix, video))
    wrong = [abs(a - b) for a, b in zip(again.times, video.times, strict=True)]
    assert max(wrong) <= Fraction(1, PER_SECOND[suffix])
    if suffix == ".mp4":
        assert again.times == video.times


RATIOS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr and Kb of ITU-R BT.709, BT.601, BT.2020


def by_hand(rgb: tuple[int, ...], space: int, spread: int) -> list[float]:
    """Return Y, Cb and Cr of a colour: ITU-T H.273, equations 38 to 49, for 8 bits."""
    red, blue = RATIOS[space]
    r, g, b = (value / 255 for value in rgb)
    y = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - y) / 2 / (1 - blue), (r - y) / 2 / (1 - red)
    if spread == 1:
        return [16 + 219 * y, *(128 + 224 * c for c in chroma)]
    return [255 * y, *(128 + 255 * c for c in chroma)]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("spread", [1, 2])
@pytest.mark.parametrize("space", RATIOS)
def test_colour_tags_decide_the_conversion_and_are_kept(suffix: str, space: int, spread: int, tmp_path: Path) -> None:
    colour = (200, 60, 30)
    tags = Tags(space, spread, 5, 6)
    path = saved(tmp_path, suffix, images.Video.of(np.full((3, 16, 16, 3), colour, np.uint8), 10, tags))
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = [np.array(plane)[4, 4] for plane in frame.to_ndarray(format="yuv444p")]
    assert stored == pytest.approx(by_hand(colour, space, spread), abs=2)
    again = images.read_video(path)
    assert again.tags == tags
    assert np.abs(again.frames.astype(int) - colour).max() <= 4


def test_a_clip_keeps_times_and_tags_from_input_to_output(tmp_path: Path) -> None:
    tags = Tags(6, 2, 5, 6, Fraction(4, 3))
    path = saved(tmp_path, ".mp4", images.Video(smooth(8, 16, 16), UNEVEN, tags))
    taken = Clip().take(path)
    result = Clip(scale=2).restore(taken.values.repeat_interleave(2, 3).repeat_interleave(2, 4), taken.like)
    Clip().write(result, tmp_path / "out.mp4")
    again = images.read_video(tmp_path / "out.mp4")
    assert (again.times, again.tags, again.frames.shape) == (UNEVEN, tags, (8, 32, 32, 3))
    longer = Clip().restore(taken.values.repeat(1, 2, 1, 1, 1), taken.like)
    assert (len(longer), longer.fps, longer.tags) == (16, images.read_video(path).fps, tags)


def test_a_video_without_colour_tags_is_bt601_unless_it_is_hd(tmp_path: Path) -> None:
    for height, expected in ((64, 6), (720, 1)):
        path = tmp_path / f"{height}.mp4"
        plain(path, smooth(2, height, 64))
        assert images.read_video(path).tags == Tags(expected, 1, 2, 2)


def plain(path: Path, frames: np.ndarray, codec: str = "libx264", pixels: str = "yuv420p", **options: str) -> None:
    """Write a video as others do: B-frames, no colour tags."""
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=25)
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], pixels
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("mpeg4.avi", "mpeg4", "yuv420p"),
        ("b-frames.avi", "libx264", "yuv420p"),
        ("ten bits.mov", "libx264", "yuv422p10le"),
        ("clip.mkv", "libx264", "yuv420p"),
        ("rgb.mp4", "libx264rgb", "rgb24"),
        ("hevc.mp4", "libx265", "yuv420p"),
    ],
)
def test_other_containers_codecs_and_depths_are_read(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    frames = smooth(6, 64, 64)
    plain(tmp_path / name, frames, codec, pixels)
    video = images.read_video(tmp_path / name)
    assert video.times == tuple(Fraction(n, 25) for n in range(7))
    assert np.abs(video.frames.astype(int) - frames).mean() < 8
    data = (tmp_path / name).read_bytes()
    for length in range(0, len(data), len(data) // 20):
        with pytest.raises(DataError):
            images.read_video(data[:length])


@pytest.mark.parametrize(
    ("turn", "matrix"),
    [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))],
)
def test_a_rotated_video_is_turned_upright(turn: int, matrix: tuple[int, ...], tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :16, :16] = 255
    plain(tmp_path / "flat.mp4", frames)
    data = (tmp_path / "flat.mp4").read_bytes()
    a, b, c, d = (value * 65536 for value in matrix)
    at = data.index(b"tkhd") + 44  # the matrix of ISO/IEC 14496-12, 8.3.2
    turned = data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + data[at + 36 :]
    (tmp_path / "turned.mp4").write_bytes(turned)
    mine = images.read_video(tmp_path / "turned.mp4").frames
    theirs = cv2.VideoCapture(str(tmp_path / "turned.mp4")).read()[1]
    assert mine.shape == (3, *theirs.shape)
    assert np.abs(mine[0].astype(int) - theirs).mean() < 2
    assert np.abs(mine[0].astype(int) - np.rot90(frames[0], turn)).mean() < 2


def test_sound_is_dropped_with_a_warning_and_a_file_without_video_is_rejected(tmp_path: Path) -> None:
    for name, sizes in (("both", [(16, 16)]), ("sound", [])):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            streams = [container.add_stream("libx264", rate=10) for _ in sizes]
            sound = container.add_stream("aac", rate=8000)
            for video in streams:
                video.height, video.width, video.pix_fmt = 16, 16, "yuv420p"
                for pixels in smooth(3, 16, 16):
                    container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                container.mux(video.encode(None))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.rate = 8000
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    with pytest.warns(images.ImageWarning, match="has sound, which is dropped"):
        assert images.read_video(tmp_path / "both.mp4").frames.shape == (3, 16, 16, 3)
    with pytest.raises(DataError, match=r"sound.mp4.: contains no video"):
        images.read_video(tmp_path / "sound.mp4")


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    frames = noise(12, 6, 5)
    for number, pixels in enumerate(frames):
        images.save(pixels, tmp_path / f"frame {number}.png")
    video = images.read_video(tmp_path, fps=10)
    assert np.array_equal(video.frames, frames)
    assert video.times[-1] == Fraction(12, 10)
    images.save(noise(1, 7, 5)[0], tmp_path / "frame 12.png")
    with pytest.raises(DataError, match=r"its frames differ in size \(5x6 and 5x7\); give them one size"):
        images.read_video(tmp_path)


def test_transparency_is_white_and_a_frame_without_duration_lasts_a_tenth_of_a_second(tmp_path: Path) -> None:
    clear = PIL.Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.save(tmp_path / "a.webp", save_all=True, append_images=[PIL.Image.new("RGBA", (4, 4), (0, 0, 255, 255))])
    video = images.read_video(tmp_path / "a.webp")
    assert video.frames[0, 0, 0].tolist() == [255, 255, 255]
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "b.gif", save_all=True, append_images=[clear.convert("RGB")])
    assert images.read_video(tmp_path / "b.gif").times == (0, Fraction(1, 10), Fraction(2, 10))


# ---- what is rejected


@pytest.mark.parametrize("suffix", images.MOVING)
def test_a_file_that_was_cut_off_anywhere_is_rejected(suffix: str, tmp_path: Path) -> None:
    data = saved(tmp_path, suffix, images.Video.of(smooth(6, 32, 48), 25)).read_bytes()
    assert len(images.read_video(data)) == 6
    step = max(1, len(data) // 250)
    for length in {*range(0, len(data), step), *range(len(data) - 40, len(data))}:
        with pytest.raises(DataError, match=r"truncated|damaged|empty file|not a clip|contains no"):
            images.read_video(data[:length])


def test_an_mp4_with_its_index_in_front_is_rejected_when_cut(tmp_path: Path) -> None:
    plain(tmp_path / "front.mp4", smooth(6, 32, 48), movflags="faststart")
    data = (tmp_path / "front.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert images.read_video(data).times == tuple(Fraction(n, 25) for n in range(7))
    for length in range(0, len(data), 11):
        with pytest.raises(DataError):
            images.read_video(data[:length])


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".mp4", ".webm"])
def test_a_damaged_file_raises_a_data_error_or_none(suffix: str, tmp_path: Path) -> None:
    data = saved(tmp_path, suffix, images.Video.of(smooth(6, 16, 16), 25)).read_bytes()
    rejected = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            images.read_video(bytes(damaged))
        except DataError:
            rejected += 1
    assert rejected == 60 if suffix == ".png" else rejected > 0  # only PNG has checksums


def test_a_file_with_fewer_frames_than_it_declares_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, ".gif", images.Video.of(noise(3, 4, 4), 10))
    monkeypatch.setattr(videos, "outline", lambda stream, kind: complete.Outline(4, 16, 16))
    with pytest.raises(DataError, match="damaged: only 3 of its 4 frames can be decoded"):
        images.read_video(path)


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        (b"", "empty file"),
        (b"some text, not a clip", "not a clip; possible: GIF, WebP, PNG, MP4"),
        (b"\0\0\0\x20ftypheic" + bytes(40), "not a clip"),
        (np.zeros((8, 8, 3), np.uint8), r"ndarray of shape \[8, 8, 3\] is not a clip; possible: GIF"),
        (np.zeros((4, 8, 8, 4), np.uint8), "is not a clip"),
        (np.zeros((4, 3, 8, 8), np.uint8), "is not a clip"),
        (torch.zeros(4, 8, 8, 3), "is not a clip"),
        (np.full((2, 4, 4, 3), 200.0), "not within 0..1"),
        (np.full((2, 4, 4, 3), np.nan), "NaN"),
        (3, "int is not a clip"),
        ("", "the name of the file is empty"),
    ],
)
def test_what_is_not_a_clip_is_rejected(given: Any, reported: str) -> None:
    with pytest.raises(DataError, match=reported):
        Clip().take(given)


def test_a_photograph_is_not_a_clip(tmp_path: Path) -> None:
    images.save(noise(1, 8, 8)[0], tmp_path / "a.jpg")
    with pytest.raises(DataError, match="not a clip; possible: GIF, WebP"):
        Clip().take(tmp_path / "a.jpg")


def test_limits_are_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = images.Video.of(smooth(6, 16, 16), 25)
    for suffix in (".gif", ".mp4"):
        path = saved(tmp_path, suffix, video)
        with monkeypatch.context() as patch:
            patch.setattr(pyav, "complete", lambda *_: pytest.fail("decoded"))
            patch.setattr(videos.animate, "on_colour", lambda *_: pytest.fail("decoded"))
            with pytest.raises(DataError, match="more than 1,000 pixels in all frames; cut it into shorter clips"):
                images.read_video(path, limit=1000)
            patch.setattr(videos, "MAX_CLIP_FRAMES", 5)
            with pytest.raises(DataError, match="more than 5 frames"):
                images.read_video(path)
            patch.setattr(limits, "MAX_PIXELS", 255)
            with pytest.raises(DataError, match="16x16 pixels, more than the limit of 255"):
                images.read_video(path)


def test_a_webm_declares_no_number_of_frames_so_that_the_limit_holds_while_decoding(tmp_path: Path) -> None:
    path = saved(tmp_path, ".webm", images.Video.of(smooth(6, 16, 16), 25))
    with pytest.raises(DataError, match="more than 1,000 pixels in all frames"):
        images.read_video(path, limit=1000)


def test_without_pyav_videos_ask_for_it_and_animations_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = images.Video.of(smooth(3, 16, 16), 10)
    path = saved(tmp_path, ".mp4", video)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ResourceError, match=r"MP4 and WebM need PyAV .*: pip install 'i2i\[video\]', or use GIF"):
        images.read_video(path)
    with pytest.raises(ResourceError, match=r"pip install 'i2i\[video\]'"):
        video.save(tmp_path / "b.webm")
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert len(images.read_video(saved(tmp_path, ".gif", video))) == 3


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_failing_writer_leaves_no_file(suffix: str, tmp_path: Path) -> None:
    def failing() -> Any:
        yield from images.Video.of(smooth(2, 16, 16), 10)
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        images.write_video(tmp_path / f"a{suffix}", failing())
    with pytest.raises(DataError, match="without frames"):
        images.write_video(tmp_path / f"a{suffix}", [])
    mixed = [*images.Video.of(smooth(1, 16, 16), 10), *images.Video.of(smooth(1, 8, 16), 10)]
    with pytest.raises(DataError, match=r"differ in size \(16x16 and 16x8\); give them one size"):
        images.write_video(tmp_path / f"a{suffix}", mixed)
    assert not list(tmp_path.iterdir())


def test_the_structure_of_long_boxes_and_recorded_streams_is_understood(tmp_path: Path) -> None:
    data = saved(tmp_path, ".mp4", images.Video.of(smooth(3, 16, 16), 10)).read_bytes()
    at = data.index(b"mdat") - 4
    (length,) = struct.unpack_from(">I", data, at)
    unbounded = data[:at] + struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", length + 8) + data[at + 8 :]
    (tmp_path / "long.mp4").write_bytes(unbounded)
    with (tmp_path / "long.mp4").open("rb") as stream:
        assert complete.outline(stream, "mov") is None
    recorded = saved(tmp_path, ".webm", images.Video.of(smooth(3, 16, 16), 10)).read_bytes()
    at = recorded.index(complete.SEGMENT) + 4
    live = recorded[:at] + b"\x01" + b"\xff" * 7 + recorded[at + 8 :]
    assert len(images.read_video(live)) == 3


# ---- the modality


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1), ("float64", 1)])
def test_the_modality_fulfils_the_contract(dtype: str, white: int, tmp_path: Path) -> None:
    check_modality(Clip(), (noise(5, 9, 13) / 255 * white).astype(dtype), tmp_path, wrong=b"text")


def test_arrays_tensors_and_files_give_the_same_values_and_their_type_back(tmp_path: Path) -> None:
    frames = noise(4, 6, 5)
    path = saved(tmp_path, ".webp", images.Video.of(frames, 10))
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    taken = [Clip().take(given) for given in (frames, tensor, path, path.read_bytes(), images.read_video(path))]
    assert all(torch.equal(one.values, taken[0].values) for one in taken)
    assert taken[0].values.shape == (1, 4, 3, 6, 5)
    back = [Clip().restore(one.values, one.like) for one in taken]
    assert np.array_equal(back[0], frames)
    assert torch.equal(back[1], tensor)
    assert all(isinstance(video, images.Video) and np.array_equal(np.asarray(video), frames) for video in back[2:])
    grey = Clip().take(frames[..., :1])
    assert Clip().restore(grey.values, grey.like).shape == (4, 6, 5, 1)
    assert Clip(fps=5).restore(taken[0].values).fps == 5  # without an input


def test_a_longer_clip_is_cut_with_a_warning_and_a_shorter_one_is_rejected() -> None:
    with pytest.warns(images.ImageWarning, match="has 6 frames, of which the first 4 are used"):
        taken = Clip(frames=4).take(noise(6, 4, 4))
    assert torch.equal(taken.values, Clip().take(noise(6, 4, 4)[:4]).values)
    with pytest.raises(DataError, match="has 3 frames, but the model takes 4: give a longer clip"):
        Clip(frames=4).take(noise(3, 4, 4))


def test_inputs_are_padded_to_multiples_and_results_cropped() -> None:
    clip = Clip(multiple=8, minimum=16)
    given = Clip().take(noise(3, 17, 9)).values
    batch, undo = clip.fit({"A": given, "mask": given, "label": torch.tensor(1)}, "A")
    assert batch["A"].shape == batch["mask"].shape == (1, 3, 3, 24, 16)
    assert torch.equal(undo(batch["A"], Clip(), "f"), given)
    assert undo(torch.zeros(1, 7, 3, 48, 32), Clip(scale=2), "f").shape == (1, 7, 3, 34, 18)
    with pytest.raises(PluginError, match=r"f made \[1, 3, 3, 8, 8\] .* give 17x9 pixels"):
        undo(torch.zeros(1, 3, 3, 8, 8), Clip(), "f")
    assert undo(torch.zeros(1, 3, 8, 8), Image(), "f").shape == (1, 3, 8, 8)
    assert repr(Clip(frames=4, multiple=8)) == "Clip(frames=4, multiple=8)"
    network = nn.Identity()
    network.multiple = 4  # type: ignore[assignment]
    assert Clip.of(network, frames=2) == Clip(frames=2, multiple=4)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 4, 2, 8, 8)])
def test_a_result_that_is_not_a_clip_is_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(PluginError, match=r"f made .*; clips are floats \[N, T, 1 or 3, H, W\] in \[-1, 1\]"):
        Clip().accept(torch.zeros(shape), "f")
    assert Clip().accept(torch.full((1, 2, 1, 4, 4), 3.0), "f").max() == 1


def test_clips_are_gathered_at_the_size_of_the_task_or_rejected() -> None:
    given = [noise(4, 8, 8), noise(5, 12, 16)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Clip(frames=4, size=8, channels=1).gather(given).shape == (2, 4, 1, 8, 8)
    with pytest.raises(DataError, match=r"the clips differ \(4 frames of 8x8, 5 frames of 16x12\)"):
        Clip().gather(given)
    with pytest.raises(DataError, match="no clips given"):
        Clip().gather([])


def test_clips_and_folders_of_frames_are_found_by_content(tmp_path: Path) -> None:
    video = images.Video.of(noise(3, 6, 5), 10)
    for name in ("a.gif", "b.png", "c.mp4"):
        video.save(tmp_path / name)
    (tmp_path / "b.png").rename(tmp_path / "no suffix")
    for number in range(2):
        (tmp_path / "frames").mkdir(exist_ok=True)
        images.save(video.frames[number], tmp_path / "frames" / f"{number}.png")
    images.save(video.frames[0], tmp_path / "still.png")
    (tmp_path / "text.txt").write_text("text")
    found, skipped = Clip().find(str(tmp_path))
    assert [str(name) for _, name in found] == ["a.gif", "c.mp4", "frames", "no suffix"]
    assert {path.name: why for path, why in skipped} == {
        "still.png": "a single picture, not a clip",
        "text.txt": "not a clip (possible: GIF, WebP, PNG, MP4, WebM, MOV, MKV, AVI, or a folder of frames)",
    }
    assert Clip().find(str(tmp_path / "frames"))[0] == [(tmp_path / "frames", Path("frames"))]
    assert len(Clip().find(str(tmp_path / "still.png"))[0]) == 1
    names = {"a.gif": "a.gif", "b.MOV": "b.mp4", "frames": "frames.gif", "c.webm": "c.webm"}
    assert {name: str(Clip().file_name(Path(name))) for name in names} == names


# ---- from training to files


CONFIG = """
task: {use: TASK}
data: {use: clips, root: clips.npz, size: 16, frames: FRAMES, given: GIVEN, batch_size: 4, validation_samples: 2}
optimizer: {use: adam, lr: 5.0e-3}
train: {steps: 4, log_every: 2, sample_every: 4}
"""


COMMANDS = """
run predict.yaml
run imagine.yaml
sample 3 -m runs/imagine -o made
sample 2 -m runs/imagine -o films --format MP4
sample 1 -m runs/imagine -o films --format avi
translate given -m runs/predict -o out
data check given
"""
PROGRAM = """
import sys
from i2i import cli
for line in sys.stdin.read().split("\\n"):
    words = line.split()
    sys.argv[1:] = words if "data" in words else [*words, "--plugin", "PLUGIN"]
    try:
        words and cli.main()
    except SystemExit as end:
        print("exit", words[0], end.code)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which all COMMANDS were run in one process, and what they printed."""
    folder = tmp_path_factory.mktemp("clips")
    np.savez(folder / "clips.npz", clips=np.stack([smooth(12, 20, 16, seed) for seed in range(10)]))
    for task, frames, given_ in (("predict", 10, 4), ("imagine", 5, "null")):
        text = CONFIG.replace("TASK", task).replace("FRAMES", str(frames)).replace("GIVEN", str(given_))
        (folder / f"{task}.yaml").write_text(text)
    (folder / "given").mkdir()
    images.Video.of(smooth(4, 18, 15), 30).save(folder / "given" / "a.mp4")
    images.Video.of(smooth(4, 18, 15), 20).save(folder / "given" / "b.gif")
    (folder / "given" / "cut.mp4").write_bytes((folder / "given" / "a.mp4").read_bytes()[:900])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("PLUGIN", str(Path(__file__).with_name("toyclips.py")))],
        input=COMMANDS,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return folder, done.stdout


def test_the_samples_of_a_training_move_and_the_picture_shows_the_middle_frame(home: tuple[Path, str]) -> None:
    run = home[0] / "runs" / "predict"
    with PIL.Image.open(run / "samples" / "00000004.gif") as moving:
        assert moving.n_frames == 6  # type: ignore[attr-defined]
        moving.seek(3)
        middle = np.array(moving.convert("RGB")).astype(int)
    still = np.array(PIL.Image.open(run / "samples" / "00000004.png")).astype(int)
    assert np.abs(middle - still).mean() < 6  # up to the palette
    assert "data:image/gif" in (run / "report.html").read_text()


def test_sampled_clips_are_written_as_gifs(home: tuple[Path, str]) -> None:
    made = sorted((home[0] / "made").iterdir())
    assert [path.name for path in made] == ["00000.gif", "00001.gif", "00002.gif"]
    clip = images.read_video(made[0])
    assert clip.frames.shape == (5, 16, 16, 3)
    assert clip.times[-1] == Fraction(62, 100)  # 5 / 8 s, in hundredths


def test_sampled_clips_are_written_in_the_format_asked_for(home: tuple[Path, str]) -> None:
    films = sorted((home[0] / "films").iterdir())
    assert [path.name for path in films] == ["00000.mp4", "00001.mp4"]
    film = images.read_video(films[0])
    assert film.frames.shape == (5, 16, 16, 3)
    assert film.fps == 8
    gifs = [images.read_video(home[0] / "made" / f"0000{number}.gif") for number in range(2)]
    luma = [clip.frames @ (0.2126, 0.7152, 0.0722) for clip in (film, *gifs)]  # a video has less resolution in colour
    same, other = (np.corrcoef(luma[0].ravel(), luma[number].ravel())[0, 1] for number in (1, 2))
    assert same > 0.95
    assert other < 0.5
    assert "i2i: format avi cannot be written for clips; possible: gif, " in home[1]
    assert "exit sample 2" in home[1]


def test_files_are_translated_under_their_names_and_a_truncated_one_is_reported(home: tuple[Path, str]) -> None:
    assert "'given/cut.mp4': truncated: copy or download it again" in home[1]
    assert "exit translate 3" in home[1]
    assert sorted(path.name for path in (home[0] / "out").glob("[!.]*")) == ["a.mp4", "b.gif"]
    for name, rate in (("a.mp4", 30), ("b.gif", 20)):
        made = images.read_video(home[0] / "out" / name)
        assert made.frames.shape == (6, 18, 15, 3)
        assert made.fps == rate


def test_data_check_reads_every_clip(home: tuple[Path, str]) -> None:
    assert "'given': looks like 3 clips\nproblems (1):\n  'given/cut.mp4': truncated: copy" in home[1]
    assert "exit data 3" in home[1]


def test_a_task_for_clips_fulfils_the_contract_and_its_model_takes_any_type(tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = Predict()
    clip = Clip().take(smooth(10, 16, 16)).values
    check_task(task, {"A": clip[:, :4].repeat(4, 1, 1, 1, 1), "B": clip[:, 4:].repeat(4, 1, 1, 1, 1)}, steps=12)
    model = i2i.Model(task, {}, Path("here"))
    frames = smooth(4, 18, 15)
    made = model(frames)
    assert (made.shape, made.dtype) == ((6, 18, 15, 3), np.uint8)
    assert model(torch.from_numpy(frames / 255).permute(0, 3, 1, 2)).shape == (6, 3, 18, 15)
    assert len(model([frames, frames])) == 2
    images.Video.of(frames, 10).save(tmp_path / "a.gif")
    assert isinstance(model(tmp_path / "a.gif"), images.Video)
    sampled = i2i.Model(Imagine(), {}, Path("here")).sample(2)
    assert (sampled.shape, sampled.dtype) == ((2, 5, 3, 16, 16), torch.float32)
    assert 0 <= sampled.min() < sampled.max() <= 1


def test_times_may_be_any_numbers_and_must_fit_the_frames(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    clip = images.Video(frames, np.array([0, 0.25, 1.0]))  # type: ignore[arg-type]
    clip.save(tmp_path / "a.mp4")
    assert images.read_video(tmp_path / "a.mp4").times == (0, Fraction(1, 4), 1)
    with pytest.raises(DataError, match="2 frames need 3 times, not 2"):
        images.Video(frames, (0, 1))  # type: ignore[arg-type]
