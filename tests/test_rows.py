"""Large PNG and TIFF files, written row by row: the pixels and the metadata are those of small ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from i2i.images import deep, read_rgb, spill, take, write
from i2i.images.carried import Carried
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


@pytest.mark.parametrize("large", [1e9, 0])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "raw"),
        ("tiff_lzw", "tiff_lzw"),
        ("tiff_adobe_deflate", "tiff_adobe_deflate"),
        ("tiff_deflate", "tiff_adobe_deflate"),
        ("packbits", "packbits"),
        ("lzma", "lzma"),
        ("zstd", "zstd"),
        ("jpeg", "tiff_adobe_deflate"),
    ],
)
def test_a_tiff_is_compressed_as_the_one_that_it_was_made_from(
    given: str | None, kept: str, large: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "LARGE", large)
    source, out = tmp_path / "source.tif", tmp_path / "out.tif"
    Image.fromarray(pixels(3, np.uint8, 90, 110)).save(source, compression=given, tiffinfo={315: "Ann Lee"})
    picture = take(source)
    write.write(picture, picture.tensor, out, strip=large == 0)  # it says nothing about a person
    with Image.open(out) as file:
        assert file.info["compression"] == kept
        assert file.getexif().get(315) == ("Ann Lee" if large else None)
    assert np.array_equal(take(out).tensor, picture.tensor)
    write.write(picture, picture.tensor, tmp_path / "out.png")
    write.write(take(tmp_path / "out.png"), picture.tensor, out)
    with Image.open(out) as file:
        assert file.info["compression"] == "raw"


LAYOUTS = [*((dtype, n) for dtype in (np.uint8, np.uint16) for n in (1, 2, 3, 4)), (np.float32, 1)]


@pytest.mark.parametrize("method", deep.COMPRESSIONS)
@pytest.mark.parametrize(("dtype", "channels"), LAYOUTS)
def test_a_compressed_tiff_has_the_pixels_in_strips_of_any_number_of_rows(
    method: str, dtype: Any, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = (pixels(channels, np.uint16) / 65535).astype(dtype) if dtype is np.float32 else pixels(channels, dtype)
    wanted = values[..., [0, 0, 0, 1]] if channels == 2 else values
    deep_colour = dtype is np.uint16 and channels > 1  # which Pillow reads in 8 bits
    for strip in (1, 1500, 10**6):
        monkeypatch.setattr(deep, "STRIP", strip)
        data = b"".join(deep.encode_tiff(values, method))
        made = np.asarray(Image.open(io.BytesIO(data)))
        assert np.array_equal(made.reshape(wanted.shape), wanted >> 8 if deep_colour else wanted)
        if deep_colour and method not in ("lzma", "zstd"):  # which OpenCV has not
            made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(made[..., [2, 1, 0, 3][: made.shape[2]]], wanted)
    if method != "packbits" and dtype is np.uint8:
        assert len(data) < wanted.nbytes


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
    object.__setattr__(picture, "carried", Carried(compression="tiff_lzw"))
    write.write(picture, picture.tensor, tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_bigtiff
        assert file.pages[0].compression == 8  # deflated: tifffile alone cannot write LZW
        assert np.array_equal(file.asarray().reshape(values.shape), values)


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
