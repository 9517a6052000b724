"""Clips: files of frames with their times, and the modality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from i2i import images
from i2i.modalities import Clip
from i2i.testing import check_modality

LOSSLESS = (".gif", ".webp", ".png", ".apng")  # a GIF only with up to 256 colours per frame


@pytest.fixture
def frames() -> np.ndarray:
    """Five frames of noise, some of them equal to the one before."""
    made = np.random.default_rng(0).integers(0, 256, (5, 9, 13, 3), dtype=np.uint8)
    made[2:4] = made[1]
    made[3, 4, 5] = 0
    return made


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_an_animation_keeps_pixels_and_times(suffix: str, frames: np.ndarray, tmp_path: Path) -> None:
    video = images.Video.of(frames, 10)
    video.save(tmp_path / f"a{suffix}")
    again = images.read_video(tmp_path / f"a{suffix}")
    assert np.array_equal(again.frames, frames)
    assert again.times == video.times


def test_the_modality_fulfils_the_contract(frames: np.ndarray, tmp_path: Path) -> None:
    check_modality(Clip(), frames, tmp_path, wrong=b"text")
