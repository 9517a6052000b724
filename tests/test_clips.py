"""The data set `clips`: folders of clips and arrays, pieces of them, and what is skipped or rejected."""

from __future__ import annotations

import logging
import re
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2i import images
from i2i.data.check import check
from i2i.data.clips import Clips, of_arrays
from i2i.data.memory import VALUES
from i2i.errors import ConfigError, DataError
from i2i.modalities import Clip
from i2i.testing import check_data


def counted(length: int, value: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    """A clip whose frame number is its red value and whose green value is given, uint8 [T, H, W, 3]."""
    frames = np.zeros((length, height, width, 3), np.uint8)
    frames[..., 0] = np.arange(length)[:, None, None]
    frames[..., 1] = value
    return frames


def write(path: Path, frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.Video.of(frames, 10).save(path)


def numbers(clip: torch.Tensor) -> list[int]:
    """The red value of each frame of a sample [T, C, H, W]."""
    return ((clip[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of clips in several formats, of 8 to 12 frames."""
    for split, count in (("train", 3), ("val", 1)):
        for value, name in enumerate(("jump", "run")):
            for number in range(count):
                suffix = (".gif", ".webp", ".png")[number]
                clip = counted(8 + 2 * number, 100 * value + 10 * (split == "val"))
                write(tmp_path / split / name / f"{number}{suffix}", clip)
    for number, pixels in enumerate(counted(11, 100)):
        path = tmp_path / "train" / "run" / "frames" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        images.save(pixels, path)
    return tmp_path


def npz(path: Path, **others: np.ndarray) -> str:
    np.savez(path, **others)
    return str(path)


# ---- samples


def test_a_folder_of_classes_gives_clips_with_labels(folder: Path) -> None:
    data = Clips(str(folder), size=8, frames=4, validation_samples=10)
    assert (len(data), data.classes, len(data.validation())) == (7, ("jump", "run"), 4)
    sample = data.sample(6, np.random.default_rng(0))
    assert (sample["clip"].shape, sample["clip"].dtype) == ((4, 3, 8, 8), torch.float32)
    assert sample["label"] == 1
    assert ((sample["clip"][:, 1] + 1) * 127.5).round().unique().tolist() == [100]
    check_data(data)


def test_an_mp4_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.mp4", counted(8, 100, 32, 32))
    data = Clips(str(tmp_path), size=16, frames=8)
    assert data.sample(0, np.random.default_rng(0)).keys() == {"clip"}
    assert data.classes == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_a_sample_is_every_stride_th_frame_from_a_start_that_depends_on_rng_only(
    tmp_path_factory: Any, frames: int, stride: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    root = npz(path, clips=np.stack([counted(20), counted(20)]))
    data = Clips(root, size=8, frames=frames, stride=stride)
    found = numbers(data.sample(0, np.random.default_rng(seed))["clip"])
    assert found == [found[0] + stride * n for n in range(frames)]
    assert 0 <= found[0] <= found[-1] < 20
    assert found == numbers(data.sample(0, np.random.default_rng(seed))["clip"])


def test_all_starts_are_drawn(tmp_path: Path) -> None:
    data = Clips(npz(tmp_path / "a.npz", clips=np.stack([counted(9)] * 2)), size=8, frames=3, stride=2)
    starts = {numbers(data.sample(0, np.random.default_rng(seed))["clip"])[0] for seed in range(100)}
    assert starts == {0, 1, 2, 3, 4}


def test_given_splits_a_sample_in_time(tmp_path: Path) -> None:
    root = npz(tmp_path / "a.npz", clips=np.stack([counted(10), counted(10, 50)]))
    data = Clips(root, size=8, frames=10, given=4, channels=1)
    sample = data.sample(0, np.random.default_rng(0))
    assert [part.shape for part in sample.values()] == [(4, 1, 8, 8), (6, 1, 8, 8)]
    whole = Clips(root, size=8, frames=10, channels=1).sample(0, np.random.default_rng(0))["clip"]
    assert torch.equal(torch.cat([sample["A"], sample["B"]]), whole)
    check_data(data)
    with pytest.raises(ConfigError, match="given=10, but a sample has 10 frames: make frames larger than given"):
        Clips(root, frames=10, given=10)


def test_flip_mirrors_whole_clips_half_of_the_time(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    data = Clips(npz(tmp_path / "a.npz", clips=np.stack([frames] * 2)), size=8, frames=4, flip=True)
    plain = torch.from_numpy(VALUES.take(frames.transpose(0, 3, 1, 2)))
    drawn = [data.sample(0, np.random.default_rng(seed))["clip"] for seed in range(60)]
    same = sum(torch.equal(clip, plain) for clip in drawn)
    assert same + sum(torch.equal(clip, plain.flip(3)) for clip in drawn) == 60
    assert 15 < same < 45


def test_reverse_plays_clips_backwards_half_of_the_time(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    data = Clips(npz(tmp_path / "a.npz", clips=np.stack([frames] * 20)), size=8, frames=4, reverse=True)
    plain = torch.from_numpy(VALUES.take(frames.transpose(0, 3, 1, 2)))
    drawn = [data.sample(0, np.random.default_rng(seed))["clip"] for seed in range(60)]
    same = sum(torch.equal(clip, plain) for clip in drawn)
    assert same + sum(torch.equal(clip, plain.flip(0)) for clip in drawn) == 60
    assert 15 < same < 45
    assert all(torch.equal(sample["clip"], plain) for sample in data.validation())


def test_validation_cuts_clips_into_pieces_without_overlap(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.gif", counted(8))
    write(tmp_path / "test" / "a.gif", counted(13))
    write(tmp_path / "test" / "b.gif", counted(3))
    data = Clips(str(tmp_path), size=8, frames=4)
    assert [numbers(sample["clip"]) for sample in data.validation()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    few = Clips(str(tmp_path), size=8, frames=4, validation_samples=2).validation()
    assert [numbers(sample["clip"])[0] for sample in few] == [0, 4]


def test_frames_are_resized_to_cover_the_size_and_cropped_and_mixed_sizes_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wide = counted(4, 0, 16, 32)
    wide[:, :, :8, 2] = 255  # a band that the crop removes
    write(tmp_path / "train" / "a.gif", wide)
    write(tmp_path / "train" / "b.gif", counted(4, 0, 8, 8))
    with caplog.at_level(logging.WARNING):
        data = Clips(str(tmp_path), size=8, frames=4)
    assert "clips of 2 sizes (8x8, 32x16) resized and cropped to 8" in caplog.text
    assert data.sample(0, np.random.default_rng(0))["clip"][:, 2, :, 1:].max() < -0.9


# ---- arrays


def test_the_last_tenth_of_an_npz_is_held_out_of_all_clips_or_of_each_class(tmp_path: Path) -> None:
    labels = np.array([0] * 11 + [1] * 9)
    root = tmp_path / "a.npz"
    np.savez(root, clips=np.stack([counted(2, value) for value in range(20)]), labels=labels, classes=["a", "b"])
    last = of_arrays(root, 8, 3, by_class=False)
    assert [clip[0, 0, 0, 1] for clip in last[1].clips] == [18, 19]
    assert last[1].classes == ["b", "b"]
    each = of_arrays(root, 8, 3, by_class=True)
    assert [clip[0, 0, 0, 1] for clip in each[1].clips] == [9, 10, 19]
    assert len(each[0].clips) == 17
    assert Clips(str(root), size=8, frames=2, held_out="each_class").classes == ("a", "b")


def test_frames_with_offsets_are_clips_of_different_lengths(tmp_path: Path) -> None:
    lengths = [3, 5, 4]
    np.savez(
        tmp_path / "a.npz",
        frames=np.concatenate([counted(length) for length in lengths]),
        offsets=np.cumsum([0, *lengths]),
        labels=np.array([0, 2, 0]),
    )
    train, rest = of_arrays(tmp_path / "a.npz", 8, 3, by_class=False)
    assert [len(clip) for clip in (*train.clips, *rest.clips)] == lengths
    assert (train.classes, rest.classes) == (["0", "2"], ["0"])


GOOD = counted(4)[None].repeat(3, 0)


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({"x": GOOD}, "needs the array clips, or frames and offsets, but has x"),
        ({"frames": GOOD[0]}, "needs the array clips, or frames and offsets, but has frames"),
        ({"clips": GOOD.astype(float)}, r"clips must be uint8 \[N, L, H, W, 3\], but are float64 \[3, 4, 8, 8, 3\]"),
        ({"clips": GOOD[0]}, r"clips must be uint8 \[N, L, H, W, 3\]"),
        ({"frames": GOOD, "offsets": np.array([0, 3])}, r"frames must be uint8 \[F, H, W, 3\]"),
        ({"frames": GOOD[0], "offsets": np.array([0, 3])}, "offsets must rise from 0 to the number of frames, 4"),
        ({"frames": GOOD[0], "offsets": np.array([0, 2, 2, 4])}, "offsets must rise"),
        ({"clips": GOOD, "labels": np.array([0, 1])}, "labels must be 3 class indices, one per clip"),
        (
            {"clips": GOOD, "labels": np.array([0, 1, 2]), "classes": ["a", "b"]},
            "label 2 has no name",
        ),
    ],
)
def test_an_npz_of_another_form_is_rejected(given: dict[str, Any], reported: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **given)
    with pytest.raises(DataError, match=reported):
        Clips(str(tmp_path / "a.npz"))


def test_a_file_that_is_no_npz_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be read as an npz file"):
        Clips(str(tmp_path / "a.npz"))


# ---- what is skipped or rejected


def test_short_clips_are_skipped_and_counted_and_it_is_an_error_if_none_remain(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = Clips(str(folder), size=8, frames=5, stride=2)  # needs 9 frames
    assert "training clips with fewer than 9 frames skipped: 2" in caplog.text
    assert "no validation data, as no clip has 9 frames" in caplog.text
    assert data.note() == "2 of 7 clips had fewer than 9 frames and were skipped"
    assert Clips(str(folder), size=8, frames=4).note() == ""
    reported = "none of the 7 training clips has the 31 frames that frames=16 and stride=2 need, the longest has 12"
    with pytest.raises(DataError, match=reported) as caught:
        Clips(str(folder), size=8, stride=2)
    assert caught.value.exit_code == 3


def test_unreadable_clips_are_skipped_up_to_a_limit(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = folder / "train" / "run" / "0.gif"
    broken.write_bytes(broken.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"1 of 7 clips cannot be read, more than .* 0.05: .*0.gif': truncated"):
        Clips(str(folder), size=8, frames=4)
    with caplog.at_level(logging.WARNING):
        assert len(Clips(str(folder), size=8, frames=4, bad_limit=0.2)) == 6
    assert re.search("unreadable clips skipped: 1 .*0.gif': truncated: copy or download it again", caplog.text)


@pytest.mark.parametrize(
    ("files", "reported"),
    [
        ([], "train': no such folder; set data.root to your data: clips needs train and val"),
        (["train/a.txt"], "train': no clips found; clips needs"),
        (["train/a.gif", "train/run/b.gif"], "some clips are in class folders such as run, others are not"),
        (["train/run/a.gif", "val/jump/b.gif"], "train has the classes run, validation has jump: use the same class"),
        (["train/run/a.gif", "val/b.gif"], "train has the classes run, validation has none"),
    ],
)
def test_a_folder_of_another_layout_is_rejected(files: list[str], reported: str, tmp_path: Path) -> None:
    for name in files:
        write(tmp_path / name, counted(4)) if name.endswith(".gif") else None
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=reported):
        Clips(str(tmp_path), size=8, frames=4)


def test_without_val_and_test_there_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train" / "a.gif", counted(4))
    with caplog.at_level(logging.WARNING):
        assert Clips(str(tmp_path), size=8, frames=4).validation() == []
    assert "neither val nor test, so there is no validation data" in caplog.text


def test_files_that_only_have_the_name_of_a_clip_count_as_unreadable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "train" / "a.gif", counted(4))
    for number in range(2):
        (tmp_path / "train" / f"{number}.mp4").write_text("hello")
    with pytest.raises(DataError, match=r"2 of 3 clips cannot be read, more than .*0.mp4': not a clip"):
        Clips(str(tmp_path), size=8, frames=4)
    with caplog.at_level(logging.WARNING):
        assert len(Clips(str(tmp_path), size=8, frames=4, bad_limit=0.7)) == 1
    assert "unreadable clips skipped: 2 of 3" in caplog.text


def test_data_check_lists_lengths_and_sizes_of_clips(folder: Path) -> None:
    report = check(folder, data=[Clips])
    assert (report.kind, report.ok) == ("looks like video clips (train, and val or test), for `use: clips`", True)
    assert [line.split() for line in report.notes[1:]] == [
        ["train", "7", "8", "/", "10", "/", "12", "8x8", "7"],
        ["val", "2", "8", "/", "8", "/", "8", "8x8", "2"],
    ]
    (folder / "val" / "run" / "1.mp4").write_text("hello")
    broken = folder / "train" / "run" / "0.gif"
    broken.write_bytes(broken.read_bytes()[:-5])
    truncated, no_clip = check(folder, data=[Clips]).problems
    assert "0.gif': truncated" in truncated
    assert "1.mp4': not a clip" in no_clip


def test_data_check_reports_classes_that_training_would_reject(folder: Path) -> None:
    shutil.copytree(folder / "val" / "run", folder / "val" / "hop")
    problem, *others = check(folder, data=[Clips]).problems
    assert "validation has hop: use the same class names in all splits" in problem
    assert others == []
    write(folder / "train" / "x.gif", counted(12))
    problem, *others = check(folder, data=[Clips]).problems
    assert "some clips are in class folders such as" in problem
    assert others == []


def test_data_check_takes_pictures_with_a_stray_animation_for_pictures(tmp_path: Path) -> None:
    for name in "abcd":
        for number in range(2):
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            images.save(counted(1, 50 * number, 40, 40)[0], tmp_path / "train" / name / f"{number}.png")
    write(tmp_path / "train" / "a" / "x.gif", counted(4))
    assert check(tmp_path, data=[Clips]).kind == "looks like images in 4 folders, possibly one per class"


def test_data_check_sees_a_folder_of_animations_as_clips(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.gif", counted(4, number))
    report = check(tmp_path, modalities=[Clip()])
    assert (report.kind, report.ok) == ("looks like 3 clips", True)
    assert images.read_video(tmp_path / "0.gif").times[-1] == Fraction(4, 10)
