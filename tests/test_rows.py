"""Large PNG and TIFF files, written row by row: the pixels and the metadata are those of small ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.images import read_rgb, spill, take, write
from i2i.images.rows import png_rows


def pixels(channels: int, dtype: Any, height: int = 37, width: int = 53) -> np.ndarray:
    """Return a smooth picture with some noise, for which all filters of PNG are worth while."""
    rng, white = np.random.default_rng(0), np.iinfo(dtype).max
    ramp = np.linspace(0, 0.7, width) + np.linspace(0, 0.2, height)[:, None]
    noise = rng.random((height, width, channels)) * np.linspace(0, 0.1, height)[:, None, None]
    return ((ramp[..., None] + noise) * white).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("band", [100, 1000, 10**6])
def test_a_png_in_rows_has_the_same_pixels(channels: int, dtype: Any, band: int, monkeypatch: Any) -> None:
    import cv2

    monkeypatch.setattr("i2i.images.rows.BAND", band)
    values = pixels(channels, dtype)
    data = b"".join(png_rows(values))
    Image.open(io.BytesIO(data)).verify()
    made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(*values.shape[:2], -1)
    order = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    assert np.array_equal(made[..., order], values)


def test_a_png_in_rows_is_as_small_as_that_of_pillow() -> None:
    values, buffer = pixels(3, np.uint8, 300, 400), io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    assert len(b"".join(png_rows(values))) < 1.05 * len(buffer.getvalue())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_file_has_the_pixels_and_the_metadata_of_a_small_one(
    suffix: str, mode: str, dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = pixels(len(mode), dtype)
    picture = take(values if len(mode) > 1 else values[..., 0])
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    from i2i.images.carried import Carried

    object.__setattr__(picture, "carried", Carried(exif=exif.tobytes()[6:], dpi=(300.0, 300.0)))
    for name, large in (("small", 1e9), ("large", 0)):
        monkeypatch.setattr(write, "LARGE", large)
        write.write(picture, picture.tensor, tmp_path / f"{name}{suffix}")
    small, big = (take(tmp_path / f"{name}{suffix}") for name in ("small", "large"))
    assert (small.dtype, small.grey) == (big.dtype, big.grey)
    assert np.array_equal(small.tensor, big.tensor)
    assert (big.alpha is None) == (small.alpha is None)
    assert big.alpha is None or np.array_equal(big.alpha, small.alpha)
    assert big.carried.dpi == small.carried.dpi
    with Image.open(tmp_path / f"large{suffix}") as file:
        assert file.getexif()[0x010E] == "a picture"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_more_than_a_tiff_can_hold_becomes_a_bigtiff(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(write, "LARGE", 0)
    monkeypatch.setattr(write, "CLASSIC", 0)
    values = pixels(channels, np.uint8)
    picture = take(values if channels > 1 else values[..., 0])
    write.write(picture, picture.tensor, tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes()[:4] == b"II\x2b\0"
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif").reshape(values.shape), values)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_large_result_is_kept_on_the_disk_until_it_is_written(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import i2i
    from i2i.images import Output
    from i2i.model import translate_files

    Image.fromarray(pixels(3, np.uint8)).save(tmp_path / f"a{suffix}")
    model, made = i2i.load("upscale-x2", speed="exact"), []
    translate_files([str(tmp_path / f"a{suffix}")], tmp_path / "memory", model, output=Output(tile=16))
    monkeypatch.setattr(spill, "SPILL", 0)
    monkeypatch.setattr(write, "LARGE", 0)
    scratch = spill.scratch
    monkeypatch.setattr(spill, "scratch", lambda size: made.append(size) or scratch(size))
    translate_files([str(tmp_path / f"a{suffix}")], tmp_path / "disk", model, output=Output(tile=16))
    assert made == [37 * 53 * 3 * 4]
    first, second = (read_rgb(tmp_path / folder / f"a{suffix}") for folder in ("memory", "disk"))
    assert np.array_equal(first, second)
