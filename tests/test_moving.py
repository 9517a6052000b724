"""Videos and animations through models of pictures: what is kept, what happens after a kill, and `--steady`."""

from __future__ import annotations

import io
import struct
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.nn.functional import interpolate

from i2i import ConfigError, Task, files
from i2i.images import Output, Video, read_video, write_video
from i2i.images.find import find_moving
from i2i.images.segments import LENGTH, Segments
from i2i.images.steady import Steady
from i2i.images.video import iter_video
from i2i.modalities import Image, LabelMap
from i2i.model import Model, moving, translate_files

av = pytest.importorskip("av")


class Larger(Task):
    """Enlarges pictures by two, and can be told to fail at a frame."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale, self.makes = scale, Image(scale=scale)
        self.calls, self.stop, self.error = 0, -1, KeyboardInterrupt
        self.flicker = 0.0

    def translate(self, image: Tensor, invert: str = "") -> Tensor:
        if self.calls == self.stop:
            raise self.error
        self.calls += 1
        made = interpolate(image, scale_factor=self.scale) * (-1 if invert else 1)
        return made + self.flicker * (-1) ** self.calls


class Dark(Task):
    makes = LabelMap()

    def translate(self, image: Tensor) -> Tensor:
        return (image.mean(1, keepdim=True) > 0).long()


def model(task: Task | None = None) -> Model:
    return Model(task or Larger(), {"task": {"use": "larger"}}, Path("larger"))


def moving_scene(count: int, height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    """Return frames of a smooth texture that moves by a pixel per frame, uint8 [T, H, W, 3]."""
    dice = np.random.default_rng(seed)
    tint = np.array([0, 8, 16], np.uint8)  # little colour, as its resolution is halved in files
    small = dice.integers(0, 230, (height // 8 + 2, (width + count) // 8 + 2, 1), np.uint8) + tint
    wide = np.asarray(PILImage.fromarray(small).resize(((width + count), height), PILImage.Resampling.BICUBIC))
    return np.stack([wide[:, n : n + width] for n in range(count)])


def film(
    path: Path,
    frames: np.ndarray,
    *,
    times: list[Fraction] | None = None,
    sound: str | None = "aac",
    codec: str = "libx264",
    late: float = 0.0,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),
) -> Path:
    """Write a video with a tone, with `late` seconds between the start of the sound and of the pictures."""
    times = times or [Fraction(n, 25) for n in range(len(frames))]
    rate = 48000
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25)
        video.height, video.width = frames.shape[1:3]
        context = video.codec_context
        context.pix_fmt = "yuv420p" if not (video.height % 2 or video.width % 2) else "yuv444p"
        context.time_base = Fraction(1, 25) if path.suffix == ".avi" else Fraction(1, 90000)
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        out.metadata["title"] = "a title"
        audio = out.add_stream(sound, rate=rate, layout="mono") if sound else None
        for pixels, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.time_base, frame.pts = context.time_base, round((time + Fraction(late)) / context.time_base)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            wave = np.sin(np.arange(int(float(times[-1] + late) * rate)) / 20).astype(np.float32) / 4
            turn = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=rate)
            size = audio.codec_context.frame_size or 1024
            for at in range(0, len(wave) - size, size):
                part = av.AudioFrame.from_ndarray(wave[None, at : at + size], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = rate, at, Fraction(1, rate)
                for one in turn.resample(part):
                    out.mux(audio.encode(one))
            out.mux(audio.encode(None))
    return path


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    """Return the encoded sound with its times."""
    with av.open(str(path)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(container.streams.audio) if p.size]


def first_shown(path: Path) -> float:
    with av.open(str(path)) as container:
        frame = next(container.decode(container.streams.video[0]))
        return float(frame.pts * frame.time_base)


def translated(source: Path, out: Path, task: Task | None = None, **options: Any) -> list[str]:
    return translate_files([str(source)], out, model(task), say=lambda text: None, output=Output(**options))


# ---- what is kept


@pytest.mark.parametrize(
    ("name", "result", "codec", "sound"),
    [
        ("a.mp4", "a.mp4", "libx264", "aac"),
        ("a.m4v", "a.mp4", "libx264", "aac"),
        ("a.mov", "a.mov", "libx264", "pcm_s16le"),
        ("a.mkv", "a.mkv", "libx264", "libopus"),
        ("a.webm", "a.webm", "libvpx-vp9", "libopus"),
        ("a.avi", "a.mkv", "mpeg4", "mp3"),
    ],
)
def test_frames_times_and_sound_are_kept(name: str, result: str, codec: str, sound: str, tmp_path: Path) -> None:
    source = film(tmp_path / name, moving_scene(LENGTH + 8), codec=codec, sound=sound)
    assert translated(source, tmp_path / "out") == []
    made = tmp_path / "out" / result
    before, after = (list(iter_video(path, silent=True)) for path in (source, made))
    assert len(after) == len(before) == LENGTH + 8
    assert [frame.time for frame in after] == [frame.time for frame in before]
    assert after[-1].duration == before[-1].duration
    assert after[0].pixels.shape == (64, 96, 3)
    for frame, given in zip(after, before, strict=True):
        enlarged = np.repeat(np.repeat(given.pixels, 2, 0), 2, 1)
        assert np.abs(frame.pixels.astype(int) - enlarged).mean() < 4
    given_sound, made_sound = sound_of(source), sound_of(made)
    assert [data for _, data in made_sound] == [data for _, data in given_sound]
    assert np.allclose([time for time, _ in made_sound], [time for time, _ in given_sound], atol=0.0011)
    with av.open(str(made)) as container:
        assert container.metadata["title"] == "a title"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".i2i-translate.jsonl", result]


def test_variable_rates_are_kept_exactly(tmp_path: Path) -> None:
    steps = [Fraction(1, 50), Fraction(1, 25), Fraction(1, 10)] * 14
    times = [sum(steps[:n], Fraction(0)) for n in range(40)]
    source = film(tmp_path / "a.mp4", moving_scene(40), times=times)
    assert translated(source, tmp_path / "out") == []
    assert [frame.time for frame in iter_video(tmp_path / "out" / "a.mp4", silent=True)] == times


def test_pictures_that_start_later_than_the_sound_still_do(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(10), late=0.5)
    assert first_shown(source) == 0.5
    assert translated(source, tmp_path / "out") == []
    assert first_shown(tmp_path / "out" / "a.mp4") == 0.5


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (6, 2, 6, 6), (9, 1, 9, 14)])
def test_colour_tags_are_kept(tags: tuple[int, int, int, int], tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(3), tags=tags, sound=None)
    assert translated(source, tmp_path / "out") == []
    (first, *_), (made, *_) = (list(iter_video(path)) for path in (source, tmp_path / "out" / "a.mp4"))
    assert made.tags == first.tags
    assert (made.tags.space, made.tags.range, made.tags.primaries, made.tags.transfer) == tags


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(3, 31, 45), sound=None)
    assert translated(source, tmp_path / "out", Larger(1)) == []
    assert next(iter(iter_video(tmp_path / "out" / "a.mp4"))).pixels.shape == (31, 45, 3)


def test_a_size_is_asked_for_every_frame(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(3), sound=None)
    assert translated(source, tmp_path / "out", size="144x96") == []
    assert read_video(tmp_path / "out" / "a.mp4").frames.shape == (3, 96, 144, 3)


def test_stripping_leaves_out_the_title(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(3))
    assert translated(source, tmp_path / "out", strip=True) == []
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        assert "title" not in container.metadata
        assert container.streams.audio


# ---- animations, and what is not a clip


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_keeps_its_format_and_its_times(suffix: str, tmp_path: Path) -> None:
    times = [Fraction(n * n, 50) for n in range(1, 7)]
    write_video(tmp_path / f"a{suffix}", Video(moving_scene(5), tuple(time - times[0] for time in times)))
    assert translated(tmp_path / f"a{suffix}", tmp_path / "out") == []
    before, after = read_video(tmp_path / f"a{suffix}"), read_video(tmp_path / "out" / f"a{suffix}")
    assert after.times == before.times
    assert after.frames.shape == (5, 64, 96, 3)


@pytest.mark.parametrize("height", [1, 3])
def test_an_animation_may_be_as_high_as_a_picture_has_channels(height: int, tmp_path: Path) -> None:
    frames = moving_scene(3)[:, :height]
    write_video(tmp_path / "a.png", Video.of(frames, 10))
    assert translated(tmp_path / "a.png", tmp_path / "out", Larger(1)) == []
    assert np.array_equal(read_video(tmp_path / "out" / "a.png").frames, frames)


@pytest.mark.parametrize(
    ("suffix", "kind", "scale"),
    [(".webp", "16,383 pixels per side of WebP", 400), (".gif", "65,535 pixels per side of GIF", 1400)],
)
def test_an_animation_that_its_format_cannot_hold_is_one_sentence_before_a_frame_is_made(
    suffix: str, kind: str, scale: int, tmp_path: Path
) -> None:
    write_video(tmp_path / f"a{suffix}", Video.of(moving_scene(2)[:, :1], 10))
    task = Larger(1)
    (message,) = translated(tmp_path / f"a{suffix}", tmp_path / "out", task, scale=scale)
    assert message == (
        f"'{tmp_path}/a{suffix}': its result of {48 * scale}x{scale} exceeds the {kind}: "
        f"ask for a smaller --size, or convert it to an animated PNG first"
    )
    assert task.calls == 0


def test_an_animation_that_cannot_be_encoded_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_video(tmp_path / f"{name}.gif", Video.of(moving_scene(2), 10))
    write = moving.write_video

    def fails(target: Path, frames: Any) -> None:
        if target.name == "a.gif":
            raise ValueError("encoding error 5")
        write(target, frames)

    monkeypatch.setattr(moving, "write_video", fails)
    (message,) = translated(tmp_path, tmp_path / "out")
    assert message.startswith(f"'{tmp_path}/a.gif': its result cannot be encoded (encoding error 5); ask for")
    assert (tmp_path / "out" / "b.gif").exists()


def test_a_format_makes_a_picture_of_the_first_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", Video.of(moving_scene(5), 10))
    with pytest.warns(UserWarning, match="the first is used"):
        assert translated(tmp_path / "a.gif", tmp_path / "out", format="png") == []
    with PILImage.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (96, 64)


def test_a_still_gif_and_models_of_other_things_are_as_before(tmp_path: Path) -> None:
    PILImage.fromarray(moving_scene(1)[0]).save(tmp_path / "still.gif")
    assert translated(tmp_path / "still.gif", tmp_path / "out") == []
    assert (tmp_path / "out" / "still.png").exists()
    film(tmp_path / "a.mp4", moving_scene(2), sound=None)
    assert "not an image" in translated(tmp_path / "a.mp4", tmp_path / "labels", Dark())[0]


def test_a_format_is_rejected_for_videos(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", moving_scene(2), sound=None)
    assert "format png is for pictures" in translated(tmp_path / "a.mp4", tmp_path / "out", format="png")[0]


def test_steady_is_rejected_for_models_of_other_things(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="steady: only for images"):
        translated(tmp_path, tmp_path / "out", Dark(), steady=True)


def test_a_truncated_video_is_reported_and_nothing_is_left(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(40))
    source.write_bytes(source.read_bytes()[:-3000])
    (message,) = translated(source, tmp_path / "out")
    assert "truncated" in message or "only" in message
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name != ".i2i-translate.jsonl"]


def test_a_result_that_cannot_be_encoded_is_one_sentence(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(2, 16, 64)[:, :2], sound=None)
    (message,) = translated(source, tmp_path / "out", scale=300)  # H.264 ends at 16,384 pixels
    assert message.startswith(f"'{source}': its result cannot be encoded (")


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_rotated_video_becomes_an_upright_one(turn: int, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(3), sound=None)
    matrix = {1: (0, -1, 1, 0), 2: (-1, 0, 0, -1), 3: (0, 1, -1, 0)}[turn]
    a, b, c, d = (value * 65536 for value in matrix)
    data = source.read_bytes()
    at = data.index(b"tkhd") + 44  # the matrix of ISO/IEC 14496-12, 8.3.2
    source.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + data[at + 36 :])
    assert translated(source, tmp_path / "out", Larger(1)) == []
    with av.open(str(tmp_path / "out" / "a.mp4")) as container:
        frame = next(container.decode(container.streams.video[0]))
    assert frame.rotation == 0
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - np.rot90(moving_scene(3)[0], turn)).mean() < 4


# ---- a job that was stopped


@pytest.mark.parametrize("steady", [False, True])
def test_a_stopped_job_continues_and_gives_the_same_frames(steady: bool, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(2 * LENGTH + 6))
    assert translated(source, tmp_path / "whole", flickering(0.1), steady=steady) == []
    task = flickering(0.1)
    for stop in (LENGTH - 1, LENGTH + 3, 2 * LENGTH + 5):
        task.stop = stop
        with pytest.raises(KeyboardInterrupt):
            translated(source, tmp_path / "out", task, steady=steady)
        assert not (tmp_path / "out" / "a.mp4").exists()
        task.calls = stop // LENGTH * LENGTH  # what the finished segments contain
    task.stop = -1
    assert translated(source, tmp_path / "out", task, steady=steady) == []
    assert task.calls == 2 * LENGTH + 6
    once, twice = (read_video(tmp_path / name / "a.mp4") for name in ("whole", "out"))
    assert twice.times == once.times
    assert np.abs(twice.frames.astype(int) - once.frames).mean() < 0.02  # the encoder's threads may round differently
    assert sound_of(tmp_path / "out" / "a.mp4") == sound_of(tmp_path / "whole" / "a.mp4")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".i2i-translate.jsonl", "a.mp4"]


def flickering(amount: float) -> Larger:
    task = Larger()
    task.flicker = amount
    return task


def test_segments_of_another_model_or_input_are_not_used(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(LENGTH + 4), sound=None)
    task = Larger()
    task.stop = LENGTH + 1
    with pytest.raises(KeyboardInterrupt):
        translated(source, tmp_path / "out", task)
    again = Larger()
    translate_files(
        [str(source)], tmp_path / "out", model(again), say=lambda text: None, output=Output(), invert="yes"
    )
    assert again.calls == LENGTH + 4
    made, given = (read_video(path).frames[0].astype(int) for path in (tmp_path / "out" / "a.mp4", source))
    assert np.abs(made - (255 - given.repeat(2, 0).repeat(2, 1))).mean() < 4


def test_two_processes_do_not_write_one_target(tmp_path: Path) -> None:
    with Segments(tmp_path / "a.mp4", "key") as parts:
        assert parts.done == 0
        with pytest.raises(Exception, match="in use by process"), Segments(tmp_path / "a.mp4", "key"):
            pytest.fail("entered")


def test_a_long_name_is_that_of_a_video_too(tmp_path: Path) -> None:
    source = film(tmp_path / ("x" * 251 + ".mp4"), moving_scene(2), sound=None)
    assert translated(source, tmp_path / "out") == []
    assert read_video(tmp_path / "out" / source.name).frames.shape == (2, 64, 96, 3)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for count in (40, 120):
        source = film(tmp_path / f"{count}.mp4", np.repeat(moving_scene(40, 96, 96), count // 40, 0), sound=None)
        tracemalloc.start()
        assert translated(source, tmp_path / "out", Larger(1)) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_progress_has_frames_speed_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.model.moving.SELDOM", 0.0)
    source = film(tmp_path / "a.mp4", moving_scene(6), sound=None)
    said: list[str] = []
    translate_files([str(source)], tmp_path / "out", model(), say=lambda text: None, note=said.append)
    assert len(said) == 8  # and the first line, and that of the result
    assert said[2].startswith(f"[1/1] '{source}': frame 2/6  ")
    assert said[2].count("it/s  ETA 0:00:00") + said[2].count("s/it  ETA 0:00:00") == 1


# ---- steadying


def test_flicker_is_lowered_where_the_motion_is_reliable() -> None:
    scene = moving_scene(20, 64, 64)
    shaken = [np.clip(frame.astype(int) + 12 * (-1) ** n, 0, 255).astype(np.uint8) for n, frame in enumerate(scene)]
    steady = Steady()
    calm = [steady(frame, made) for frame, made in zip(scene, shaken, strict=True)]

    def flicker(frames: list[np.ndarray]) -> float:
        pairs = pairwise(frames[10:])
        return float(np.mean([np.abs(b[:, :-1].astype(int) - a[:, 1:]).mean() for a, b in pairs]))  # moved by a pixel

    assert steady.cuts == 0
    assert flicker(calm) < 0.5 * flicker(shaken)


def test_a_cut_starts_over() -> None:
    first, second = moving_scene(4, 64, 64), moving_scene(4, 64, 64, seed=1)
    steady = Steady()
    made = [steady(frame, frame) for frame in [*first, *second]]
    assert steady.cuts == 1
    assert np.array_equal(made[4], second[0])


def test_steadying_follows_the_motion_at_any_scale() -> None:
    scene = moving_scene(10, 64, 64)
    steady = Steady()
    for frame in scene:
        large = np.repeat(np.repeat(frame, 3, 0), 3, 1)
        made = steady(frame, large)
    assert np.abs(made.astype(int) - large).mean() < 3


@pytest.mark.parametrize("side", [1, 8, 15, 16, 17])
def test_small_frames_are_possible(side: int) -> None:
    steady = Steady()
    for value in (10, 20):
        frame = np.full((side, side, 3), value, np.uint8)
        assert steady(frame, frame).shape == frame.shape


def test_the_option_reaches_the_frames(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", moving_scene(12, 64, 64), sound=None)
    changes = []
    for steady in (False, True):
        assert translated(source, tmp_path / str(steady), flickering(0.1), steady=steady) == []
        frames = read_video(tmp_path / str(steady) / "a.mp4").frames.astype(int)
        changes.append(np.abs(np.diff(frames.mean((1, 2, 3)))).mean())
    assert changes[1] < 0.6 * changes[0]


def test_names_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    film(folder / "film.mp4", moving_scene(2), sound=None)
    film(folder / "noext.mkv", moving_scene(2), sound=None).rename(folder / "noext")
    write_video(folder / "anim.gif", Video.of(moving_scene(2), 10))
    buffer = io.BytesIO()
    PILImage.fromarray(moving_scene(1)[0]).save(buffer, "PNG")
    files.write(folder / "still.png", buffer.getvalue())
    assert translated(folder, tmp_path / "out") == []
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == [".i2i-translate.jsonl", "anim.gif", "film.mp4", "noext.mkv", "still.png"]
    assert torch.get_num_threads() >= 1


def test_a_file_that_is_neither_picture_nor_video_is_told_both(tmp_path: Path) -> None:
    (tmp_path / "fake.mp4").write_text("hello")
    found, ((_, why),) = find_moving(tmp_path / "fake.mp4")
    assert found == []
    assert why.startswith("not an image or video (possible: PNG, JPEG, ")
    assert why.endswith("PPM, and of videos MP4, MOV, MKV, WebM, AVI)")
