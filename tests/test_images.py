"""Image input and output. Numbers such as A13 and G8 are cases of the fault catalogue (docs: faults and bad input).

All files are created here. `train` and `infer` are the two ways to read: `read_rgb` for data sets, `take` otherwise.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps

from i2i import images, modalities
from i2i.errors import DataError, I2IError, NumericError, PluginError, ResourceError
from i2i.images import (
    fill_hidden,
    find,
    pad_to_multiple,
    read_rgb,
    read_video,
    save,
    shown,
    take,
    take_labels,
    to_pil,
    writable_name,
)

LENIENT = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def infer(source: Any) -> np.ndarray:
    """Return the result of `translate` with an identity network, as RGB."""
    picture = take(source)
    return np.asarray(to_pil(picture.restore(picture.tensor)).convert("RGB"))


def unit(source: Any) -> np.ndarray:
    """Return the network input as float [H, W, 3] in 0..1."""
    return ((take(source).tensor[0] + 1) / 2).permute(1, 2, 0).numpy()


WAYS = pytest.mark.parametrize("read", [read_rgb, infer], ids=["train", "infer"])


def scene(height: int = 24, width: int = 36, channels: int = 3) -> np.ndarray:
    """Return a smooth asymmetric image, uint8 [H, W, C]."""
    y, x = np.mgrid[0:height, 0:width]
    layers = [255 * x / (width - 1), 255 * y / (height - 1), (x * 3 + y * 5) % 200, 255 - x - y]
    return np.stack(layers[:channels], -1).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Build a PNG from its parts; `rows` are unfiltered, each with a leading zero byte."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + tail


def png16(values: np.ndarray) -> bytes:
    """Encode uint16 [H, W, 1 or 3] as a 16-bit PNG with OpenCV."""
    ok, data = cv2.imencode(".png", values[..., ::-1] if values.shape[2] == 3 else values)
    assert ok
    return data.tobytes()


def gif(frames: int) -> bytes:
    """Build a GIF of 1x1 pixels, with 15 bytes per frame."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00") * frames + b";"


def tiff(pages: int) -> bytes:
    """Build a TIFF with many pages of one grey pixel each."""
    entries = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 1)]
    size = 2 + 12 * len(entries) + 4
    out = bytearray(b"II*\0" + struct.pack("<I", 12) + b"\x63\0\0\0")
    for page in range(pages):
        out += struct.pack("<H", len(entries))
        out += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        out += struct.pack("<I", 12 + size * (page + 1) if page < pages - 1 else 0)
    return bytes(out)


def adobe_rgb() -> bytes:
    """Build an ICC profile with the primaries of Adobe RGB (1998), adapted to D50, and its gamma of 563/256."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    text = b"wide\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 81,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        **{b"rXYZ": xyz(*ADOBE[0]), b"gXYZ": xyz(*ADOBE[1]), b"bXYZ": xyz(*ADOBE[2])},
        **{b"rTRC": curve, b"gTRC": curve, b"bTRC": curve},
    }
    return icc(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: int) -> bytes:
    """Build a grey ICC profile whose tone curve is the power gamma / 256."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + b"\0" * 81,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249)),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, gamma) + b"\0\0",
    }
    return icc(b"mntr", b"GRAY", b"XYZ ", tags)


def icc(kind: bytes, space: bytes, between: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Build an ICC profile with the given tags. Source: ICC.1:2010, 7."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02100000, kind, space, between)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(struct.pack(">i", round(v * 65536)) for v in (0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


CORNERS = {  # of a fictitious press, amounts of C, M, Y and K -> CIE Lab (D50); far from the naive conversion
    (0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -25, -30), (0, 1, 0, 0): (50, 55, -5), (0, 0, 1, 0): (85, -3, 60),
    (1, 1, 0, 0): (35, 15, -40), (1, 0, 1, 0): (52, -40, 25), (0, 1, 1, 0): (48, 50, 35), (1, 1, 1, 0): (23, 0, 0),
}  # fmt: skip


def press() -> bytes:
    """Build a CMYK to Lab ICC profile with a table of the corners only. Source: ICC.1:2010, 10.10 (lut8Type)."""
    table = b""
    for inks in itertools.product((0, 1), repeat=4):
        light, a, b = CORNERS.get(inks, (0, 0, 0))
        table += bytes((round(light * 2.55), a + 128, b + 128))
    identity = bytes(range(256))
    matrix = b"".join(struct.pack(">i", 65536 * (place % 4 == 0)) for place in range(9))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + 4 * identity + table + 3 * identity
    return icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
# XYZ (D50) -> linear sRGB. Source: Bruce Lindbloom, "RGB/XYZ matrices", Bradford-adapted.
TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


def far(one: Any, two: Any) -> float:
    """Return the maximum absolute difference of two images."""
    one, two = np.asarray(one), np.asarray(two)
    assert one.shape == two.shape
    return float(np.abs(one.astype(np.float64) - two.astype(np.float64)).max())


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes bytes to a named file."""

    def write(data: bytes, name: str = "photo.png") -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


# ---- damaged files


@WAYS
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [  # A1, A2: half a file; A3: empty; A4: text
        ("A1.jpg", encode(scene(200, 300), "JPEG")[: len(encode(scene(200, 300), "JPEG")) // 2], "truncated"),
        ("A1-progressive.jpg", encode(scene(200, 300), "JPEG", progressive=True)[:4000], "truncated"),
        ("A2.png", encode(scene(200, 300), "PNG")[:-300], "truncated|broken"),
        ("A3.png", b"", "empty file"),
        ("A4.jpg", b"this is text, not a picture\n" * 20, "not an image.*PNG, JPEG"),
        ("A2-header.png", encode(scene(), "PNG")[:20], "Truncated|truncated|IHDR|unpack"),
    ],
    ids=["A1", "A1 progressive", "A2", "A3", "A4", "A2 header"],
)
def test_A1_to_A4_a_damaged_file_is_an_error_that_names_it(
    photo: Any, read: Any, name: str, data: bytes, reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(photo(data, name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("seed", range(25))
def test_A5_overwritten_scan_bytes_decode_or_are_rejected(photo: Any, seed: int) -> None:
    rng, data = np.random.default_rng(seed), bytearray(encode(scene(64, 96), "JPEG"))
    place = int(rng.integers(data.index(b"\xff\xda") + 20, len(data) - 42))
    data[place : place + 40] = rng.bytes(40)
    path, results = photo(bytes(data), "a.jpg"), []
    for read in (read_rgb, infer):
        try:
            results.append(read(path).tobytes())
        except DataError:
            results.append("refused")
    assert results[0] == results[1]


@LENIENT
@given(st.data())
def test_damaged_bytes_give_an_image_or_a_data_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"]))
    raw = bytearray(encode(Image.fromarray(scene(9, 13)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    message = "the given bytes: "
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert read_rgb(bytes(raw), limit=10**6).shape[2] == 3
        except DataError as error:
            message = str(error)
    assert message.startswith("the given bytes: ")


def test_missing_files_and_unsupported_inputs_are_named() -> None:
    with pytest.raises(DataError, match=r"'nowhere.png': no such file: check the path$"):
        take("nowhere.png")
    with pytest.raises(DataError, match="null"):
        take("a\0b.png")
    for thing in (None, 5, [1, 2], object()):
        with pytest.raises(DataError, match=f"{type(thing).__name__}: not a picture; give a path"):
            take(thing)


def test_a_disk_read_error_is_the_cause_of_the_data_error(photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(encode(scene(), "PNG"))

    def broken(*_: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(images.decode, "opened", broken)
    with pytest.raises(DataError, match="Input/output") as caught:
        read_rgb(path)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 5


# ---- depth


def test_A6_a_16_bit_ramp_equals_the_8_bit_ramp() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(1, 256)
    eight = np.repeat((np.arange(256, dtype=np.uint8))[None, :, None], 3, 2)
    for data in (encode(ramp, "PNG"), encode(ramp, "TIFF"), b"P5 256 1 65535\n" + ramp.astype(">u2").tobytes()):
        assert np.array_equal(read_rgb(data), eight)
        assert far(unit(data), eight / 255) < 1e-4
    full = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(read_rgb(encode(full, "PNG"))[..., 0], (full.astype(np.uint32) + 128) // 257)


def test_A7_a_dark_16_bit_image_stays_dark() -> None:
    dark = encode(np.full((5, 7), 200, np.uint16), "PNG")
    assert read_rgb(dark).max() == 1
    assert unit(dark).max() == pytest.approx(200 / 65535, abs=1e-6)


@WAYS
def test_A8_16_bit_colour_is_within_one_level_of_8_bit_colour(read: Any) -> None:
    values = (scene().astype(np.uint16) << 8) + 77
    assert far(read(png16(values)), scene()) <= 1


def test_A8_reduction_of_16_bit_colour_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr("i2i.images.notes._warned", set())
    values = scene().astype(np.uint16) * 257
    (tmp_path / "grey.png").write_bytes(png16(values[..., :1]))
    cv2.imwrite(str(tmp_path / "colour.tif"), values)
    assert take(tmp_path / "grey.png").dtype == np.uint16
    assert take(tmp_path / "colour.tif").dtype == np.uint16
    assert read_rgb(tmp_path / "colour.tif").dtype == read_rgb(png16(values)).dtype == np.uint8
    assert [str(warning.message) for warning in recwarn] == [
        f"pictures of 16 bits are read in 8 bits ('{tmp_path}/colour.tif' is the first)"
    ]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_A8_16_bit_arrays_are_saved_with_16_bits(tmp_path: Path, channels: int, order: str) -> None:
    values = np.random.default_rng(channels).integers(0, 65536, (37, 21, channels)).astype(order)
    save(values, tmp_path / "deep.png")
    again = cv2.imread(str(tmp_path / "deep.png"), cv2.IMREAD_UNCHANGED)
    assert again.dtype == np.uint16
    again = again[..., None] if again.ndim == 2 else again
    expected = values[..., [[0], [0, 0, 0, 1], [0, 1, 2], [0, 1, 2, 3]][channels - 1]]  # no grey with alpha
    assert np.array_equal(again[..., [[0], [], [2, 1, 0], [2, 1, 0, 3]][again.shape[2] - 1]], expected)


def test_A8_a_16_bit_grey_file_gives_a_16_bit_result(photo: Any, tmp_path: Path) -> None:
    ramp = np.arange(0, 65535, 91, dtype=np.uint16)[None]
    picture = take(photo(encode(ramp, "PNG")))
    result = picture.restore(picture.tensor)
    assert result.mode == "I;16"
    assert np.array_equal(np.asarray(result), ramp)
    for name in ("again.png", "again.tif"):
        save(result, tmp_path / name)
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), ramp)


def test_A9_a_float_file_within_0_to_1_is_scaled_by_its_dtype(tmp_path: Path) -> None:
    ramp = np.linspace(0, 0.5, 50, dtype=np.float32)[None]
    data = encode(ramp, "TIFF")
    assert far(unit(data)[..., 0], ramp) < 1e-6
    assert read_rgb(data).max() == 128
    picture = take(data)
    result = picture.restore(picture.tensor)
    assert result.mode == "F"
    save(result, tmp_path / "f.tiff")
    assert far(np.asarray(Image.open(tmp_path / "f.tiff")), ramp) < 1e-6


@WAYS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.5, 1.5, 255.0])
def test_A9_other_floats_are_rejected_with_the_rule(photo: Any, read: Any, bad: float) -> None:
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = bad
    with pytest.raises(DataError, match=r"f\.tif.* within 0\.\.1"):
        read(photo(encode(values, "TIFF"), "f.tif"))


def test_32_bit_integers_are_read_as_16_bits_or_rejected() -> None:
    image = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert read_rgb(image)[0, :, 0].tolist() == [0, 255]
    for value in (-1, 65536):
        with pytest.raises(DataError, match=r"0\.\.65535"):
            read_rgb(Image.fromarray(np.array([[0, value]], np.int32)))


# ---- alpha and modes


def test_A10_training_composites_transparent_pixels_and_counts_it() -> None:
    colour, alpha = scene(), np.full((24, 36, 1), 128, np.uint8)
    alpha[:, :18] = 0
    data, before = encode(np.concatenate([colour, alpha], 2), "PNG"), images.counts["alpha composited"]
    for background in ((255, 255, 255), (0, 0, 0), (10, 200, 30)):
        expected = colour * (alpha / 255) + np.array(background) * (1 - alpha / 255)
        assert far(read_rgb(data, background=background), expected) <= 0.51
    assert images.counts["alpha composited"] == before + 3
    read_rgb(encode(np.concatenate([colour, alpha * 0 + 255], 2), "PNG"))
    assert images.counts["alpha composited"] == before + 3


def test_A10_inference_preserves_alpha(photo: Any) -> None:
    rgba = scene(channels=4)
    picture = take(photo(encode(rgba, "PNG")))
    assert far(unit(rgba), rgba[..., :3] / 255) < 1e-6
    assert far(picture.alpha[0, 0], rgba[..., 3] / 255) < 1e-6
    darker = picture.restore(picture.tensor - 0.5)
    assert np.array_equal(np.asarray(darker)[..., 3], rgba[..., 3])
    assert (np.asarray(darker)[..., :3] <= rgba[..., :3]).all()


def test_A10_alpha_is_resized_to_the_result() -> None:
    rgba = np.concatenate([scene(8, 8), np.full((8, 8, 1), 77, np.uint8)], 2)
    picture = take(rgba)
    large = picture.restore(torch.nn.functional.interpolate(picture.tensor, scale_factor=4))
    assert large.shape == (32, 32, 4)
    assert (large[..., 3] == 77).all()


def paletted(transparent: bool) -> Image.Image:
    image = Image.fromarray(scene()).quantize(16)
    if transparent:
        image.info["transparency"] = bytes(range(0, 160, 10))
    return image


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "P+tRNS", "PA", "RGB", "RGBA", "HSV", "YCbCr", "RGBX"])
def test_A11_modes_match_the_reference_conversion(mode: str) -> None:
    image = paletted(mode == "P+tRNS") if mode[0] == "P" else Image.fromarray(scene(channels=4)).convert(mode)
    image = image.convert("PA") if mode == "PA" else image
    reference = np.asarray(image.convert("RGBA")).astype(np.float64)
    assert far(unit(image) * 255, reference[..., :3]) < 1e-3
    alpha = reference[..., 3:] / 255
    assert far(read_rgb(image), reference[..., :3] * alpha + 255 * (1 - alpha)) <= 0.51
    assert (take(image).alpha is None) == (mode not in ("LA", "P+tRNS", "PA", "RGBA"))


def test_A11_files_of_each_kind_equal_the_image_they_were_made_from() -> None:
    rgba = Image.fromarray(scene(channels=4))
    for image in (rgba.convert("1"), rgba.convert("L"), rgba.convert("LA"), paletted(True), paletted(False), rgba):
        data = encode(image, "PNG", **{k: v for k, v in image.info.items() if k == "transparency"})
        assert np.array_equal(read_rgb(data), read_rgb(image))
        assert far(take(data).tensor, take(image).tensor) == 0


@pytest.mark.parametrize(("colour", "bits", "key"), [(0, 8, 7), (0, 16, 700), (2, 8, 7)])
def test_A11_one_transparent_colour_becomes_alpha(colour: int, bits: int, key: int) -> None:
    width = bits // 8 * (3 if colour == 2 else 1)
    pixels = b"".join(value.to_bytes(bits // 8, "big") * (3 if colour == 2 else 1) for value in (key, key + 1))
    trns = chunk(b"tRNS", key.to_bytes(2, "big") * (3 if colour == 2 else 1))
    picture = take(png(2, 1, bits, colour, b"\0" + pixels, trns))
    assert len(pixels) == 2 * width
    assert picture.alpha is not None
    assert picture.alpha.flatten().tolist() == [0, 1]


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 1), (2, 3), (4, 5), (4, 15)])
def test_A11_a_transparent_grey_of_few_bits_becomes_alpha(bits: int, key: int) -> None:
    trns = chunk(b"tRNS", key.to_bytes(2, "big"))
    data = png(2, 1, bits, 0, bytes([0, key << 8 - bits]), trns)  # the second pixel is black
    opened = Image.open(io.BytesIO(data))
    for picture in (take(data), take(opened), take(opened)):
        assert picture.alpha is not None
        assert picture.alpha.flatten().tolist() == [0, 1]
    assert read_rgb(data).tolist() == [[[255] * 3, [0] * 3]]
    plays = chunk(b"acTL", struct.pack(">II", 2, 0))
    place = struct.pack(">IIIIHHBB", 2, 1, 0, 0, 1, 10, 0, 0)
    first, again = (chunk(b"fcTL", struct.pack(">I", number) + place) for number in (0, 1))
    pixels = zlib.compress(bytes([0, key << 8 - bits]))
    more = again + chunk(b"fdAT", struct.pack(">I", 2) + pixels) + chunk(b"IEND", b"")
    moving = png(2, 1, bits, 0, bytes([0, key << 8 - bits]), trns, plays, first).replace(chunk(b"IEND", b""), more)
    assert read_video(moving).frames.tolist() == [[[[255] * 3, [0] * 3]]] * 2


@pytest.mark.parametrize(
    ("mode", "back"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("CMYK", "RGB")],
)
def test_a_pil_image_is_returned_in_its_mode_where_sensible(mode: str, back: str) -> None:
    image = Image.fromarray(scene(channels=4)).convert("RGB" if mode in ("P", "CMYK") else mode).convert(mode)
    picture = take(image)
    result = picture.restore(picture.tensor)
    assert (result.mode, result.size) == (back, image.size)
    assert np.array_equal(np.asarray(result), np.asarray(image.convert(back)))


def test_grey_stays_grey_unless_the_task_adds_colour() -> None:
    picture, coloured = take(Image.new("L", (5, 4), 100)), torch.zeros(1, 3, 4, 5)
    coloured[:, 0] = 1
    assert picture.restore(coloured).mode == "L"
    assert picture.restore(coloured).getpixel((0, 0)) == Image.new("RGB", (1, 1), (255, 128, 128)).convert(
        "L"
    ).getpixel((0, 0))
    assert picture.restore(coloured, colour=True).getpixel((0, 0)) == (255, 128, 128)
    assert take(np.zeros((4, 5), np.uint8)).restore(coloured, colour=True).shape == (4, 5, 3)
    assert take(torch.zeros(1, 4, 5)).restore(coloured, colour=True).shape == (3, 4, 5)


def test_a_one_channel_result_is_expanded_if_the_input_had_colour() -> None:
    assert take(Image.new("RGB", (5, 4))).restore(torch.zeros(1, 1, 4, 5)).getpixel((0, 0)) == (128, 128, 128)


@WAYS
def test_A12_cmyk_matches_the_naive_reference_and_is_not_inverted(read: Any) -> None:
    cmyk = Image.fromarray(scene(64, 96)).convert("CMYK")
    naive = 255 * (1 - np.asarray(cmyk)[..., :3] / 255.0) * (1 - np.asarray(cmyk)[..., 3:] / 255.0)
    assert far(read(encode(cmyk, "TIFF")), naive) <= 1
    jpeg = encode(cmyk, "JPEG", quality=98, subsampling=0)
    assert b"Adobe" in jpeg  # hence stored inverted, as Photoshop does
    assert np.abs(read(jpeg) - naive).mean() < 2
    white = read(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"))
    assert white.min() > 250


def srgb_of(light: float, a: float, b: float) -> list[float]:
    """Convert CIE Lab (D50) to sRGB 0..255."""
    y = (light + 16) / 116
    cubes = (
        value**3 if value > 6 / 29 else (value - 4 / 29) * 3 * (6 / 29) ** 2
        for value in (y + a / 500, y, y - b / 200)
    )
    linear = TO_SRGB @ [value * white for value, white in zip(cubes, (0.9642, 1.0, 0.8249))]
    return [255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055) for v in linear.clip(0, 1)]


@WAYS
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_A12_cmyk_with_a_profile_is_converted_with_it(read: Any, kind: str) -> None:
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    naive = []
    for inks, lab in CORNERS.items():
        image = Image.new("CMYK", (8, 8), tuple(255 * ink for ink in inks))
        expected = np.broadcast_to(srgb_of(*lab), (8, 8, 3))
        assert far(read(encode(image, kind, icc_profile=press(), **options)), expected) <= 4, inks
        naive.append(far(read(encode(image, kind, **options)), expected))
    assert np.median(naive) > 40  # large enough to detect a missing conversion


# ---- orientation, animation, colour profiles

TURN = {  # transform of the upright scene that the orientation tag undoes
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
    **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
    8: Image.Transpose.ROTATE_270,
}


def oriented(orientation: int, kind: str) -> bytes:
    image, exif = Image.fromarray(scene()), Image.Exif()
    exif[0x0112] = orientation
    turned = image.transpose(TURN[orientation]) if orientation in TURN else image
    return encode(turned, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@WAYS
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_A13_eight_orientations_give_eight_identical_images(read: Any, kind: str) -> None:
    for orientation in range(1, 9):
        assert np.array_equal(read(oriented(orientation, kind)), scene()), orientation


@WAYS
def test_A13_jpeg_and_pil_images_are_rotated_too(read: Any) -> None:
    for orientation in range(1, 9):
        data = oriented(orientation, "JPEG")
        assert np.abs(read(data).astype(int) - scene()).mean() < 6
        assert np.array_equal(read(Image.open(io.BytesIO(data))), read(data))


def test_A13_a_saved_result_has_no_stale_orientation(photo: Any, tmp_path: Path) -> None:
    picture = take(photo(oriented(6, "JPEG"), "a.jpg"))
    assert picture.tensor.shape == (1, 3, 24, 36)
    for name in ("out.jpg", "out.png", "out.tif", "out.webp"):
        save(picture.restore(picture.tensor), tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert (image.size, image.getexif().get(0x0112, 1)) == ((36, 24), 1)
    save(Image.open(io.BytesIO(oriented(6, "JPEG"))), tmp_path / "direct.jpg")
    with Image.open(tmp_path / "direct.jpg") as image:
        assert (image.size, image.getexif().get(0x0112, 1)) == ((36, 24), 1)


@WAYS
def test_unreadable_exif_is_ignored_with_a_warning(photo: Any, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise SyntaxError("bad TIFF header in EXIF")

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    with pytest.warns(images.ImageWarning, match="unreadable EXIF"):
        assert read(photo(oriented(6, "PNG"), f"{read.__name__}.png")).shape == (36, 24, 3)


@WAYS
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_A14_an_animation_gives_its_first_frame_and_one_warning_per_file(photo: Any, read: Any, kind: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    path = photo(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options), f"moving.{kind}")
    before = images.counts["first frame"]
    with pytest.warns(images.ImageWarning, match=r"moving.* the first is used"):
        assert read(path).reshape(-1, 3).tolist() == [[255, 0, 0]] * 48
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(path)
    assert images.counts["first frame"] == before + 2


@WAYS
def test_A14_an_animation_is_rejected_every_time_if_warnings_are_errors(photo: Any, read: Any) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime")]
    path = photo(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), f"refused {read.__name__}.gif")
    with warnings.catch_warnings():
        warnings.simplefilter("error", images.ImageWarning)
        for _ in range(2):
            with pytest.raises(DataError, match=r"refused .*\.gif' has several frames; the first is used, and warn"):
                read(path)


def test_A14_an_opened_image_keeps_its_current_frame(photo: Any) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    moving = Image.open(photo(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), "a.gif"))
    moving.seek(1)
    assert read_rgb(moving)[0, 0].tolist() == [0, 255, 0]
    assert moving.tell() == 1


@WAYS
def test_A25_wide_gamut_is_converted_to_srgb_consistently(read: Any) -> None:
    colours = np.array([[[128, 128, 128], [150, 120, 100], [90, 140, 110], [200, 180, 190]]], np.uint8)
    light = TO_SRGB @ np.array(ADOBE).T @ ((colours.reshape(-1, 3) / 255.0) ** (563 / 256)).T
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).T[None]
    assert far(expected, colours) > 8  # large enough to detect a missing conversion
    before = images.counts["profile converted"]
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        assert far(read(encode(colours, kind, icc_profile=adobe_rgb(), **options)), expected) <= 1.5
    assert images.counts["profile converted"] >= before + 3
    clear = np.concatenate([colours, np.full((1, 4, 1), 255, np.uint8)], 2)
    assert far(read(encode(clear, "PNG", icc_profile=adobe_rgb())), expected) <= 1.5
    assert (
        np.abs(read(encode(Image.fromarray(colours).quantize(4), "PNG", icc_profile=adobe_rgb())) - expected).max()
        < 3
    )


@WAYS
@pytest.mark.parametrize("gamma", [256, 461, 563], ids=["linear", "1.8", "2.2"])
def test_A25_grey_profiles_are_converted_and_grey_stays_grey(read: Any, gamma: int) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    light = (ramp / 255) ** (gamma / 256)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    found = read(encode(ramp, "PNG", icc_profile=grey_profile(gamma)))
    assert far(found[..., 0], expected) <= 1
    assert far(ramp, expected) > 8  # large enough to detect a missing conversion
    clear = Image.merge("LA", (Image.fromarray(ramp), Image.fromarray(np.full_like(ramp, 255))))
    assert far(read(encode(clear, "PNG", icc_profile=grey_profile(gamma)))[..., 0], expected) <= 1


@WAYS
def test_A25_what_a_profile_does_decides_and_not_its_name(read: Any) -> None:
    named = adobe_rgb().replace(b"wide\0", b"sRGB\0")
    assert named != adobe_rgb()
    same = [read(encode(scene(), "PNG", icc_profile=profile)) for profile in (named, adobe_rgb())]
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], scene())


def test_A25_a_saved_result_has_the_pixels_and_the_profile_of_the_picture(tmp_path: Path) -> None:
    dull = scene() // 4 + 96  # within sRGB
    save(Image.open(io.BytesIO(encode(dull, "PNG", icc_profile=adobe_rgb()))), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == adobe_rgb()
        assert np.array_equal(np.asarray(image), dull)


@WAYS
def test_A25_srgb_unsuitable_and_broken_profiles_change_nothing(photo: Any, read: Any) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    before = images.counts["profile converted"]
    assert np.array_equal(read(encode(scene(), "PNG", icc_profile=srgb)), scene())
    assert images.counts["profile converted"] == before
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = b"\0" * 16 + b"GRAY" + b"\0" * 200
    unusable = {"cut": adobe_rgb()[:300], "lab": lab, "grey": grey, "junk": np.random.default_rng(0).bytes(400)}
    for name, profile in unusable.items():
        given_ = photo(encode(scene(), "PNG", icc_profile=profile), f"{read.__name__} {name}.png")
        with pytest.warns(images.ImageWarning, match="unusable colour profile") as caught:
            assert np.array_equal(read(given_), scene())
        assert len(caught) == 1


@WAYS
def test_A25_a_profile_that_pillow_finds_damaged_is_reported(photo: Any, read: Any) -> None:
    whole = encode(scene(), "JPEG", icc_profile=adobe_rgb())
    at = whole.index(b"ICC_PROFILE\0") + 13
    missing = photo(whole[:at] + b"\2" + whole[at + 1 :], f"{read.__name__}.jpg")  # one of two parts
    with pytest.warns(images.ImageWarning, match="unusable colour profile"):
        assert np.array_equal(read(missing), read(encode(scene(), "JPEG")))


# ---- sizes


def mirrored(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reference implementation: walk pixel by pixel, turning back at each edge."""

    def walk(size: int, wanted: int) -> list[int]:
        place, step, out = 0, 1, []
        for _ in range(wanted):
            out.append(place)
            step = step if 0 <= place + step < size else -step
            place += step if size > 1 else 0
        return out

    return values[:, :, walk(values.shape[2], height)][:, :, :, walk(values.shape[3], width)]


def test_a_hidden_colour_does_not_reach_what_is_visible() -> None:
    place = torch.arange(48.0)
    away = ((place[:, None] - 24) ** 2 + (place[None] - 24) ** 2).sqrt()
    alpha = (18 - away).clamp(0, 1)[None, None]
    seen = alpha[0, 0] > 0
    results = []
    for hidden in (-1.0, 0.0, 1.0):
        colour = torch.full((1, 3, 48, 48), hidden)
        colour[..., seen] = torch.tensor([0.3, 0.6, -0.2])[:, None]
        filled = fill_hidden(colour, alpha)
        assert torch.equal(filled[..., seen], colour[..., seen])
        assert torch.equal(filled, filled[..., 24:25, 24:25].expand_as(filled))  # the one colour of the disc
        array = np.concatenate([colour[0].numpy() / 2 + 0.5, alpha[0].numpy()]).transpose(1, 2, 0).copy()
        results.append(modalities.Image().take(array).values)
    assert torch.allclose(results[0], results[1], atol=1e-6)
    assert torch.allclose(results[0], results[2], atol=1e-6)
    assert torch.equal(fill_hidden(colour, torch.zeros_like(alpha)), colour)  # nothing is visible


def test_a_hidden_pixel_gets_the_colour_of_the_nearest_visible_one() -> None:
    colour, alpha = torch.rand(2, 3, 9, 7), (torch.rand(2, 1, 9, 7) > 0.7).float()
    filled = fill_hidden(colour, alpha)
    for image in range(2):
        seen = alpha[image, 0].nonzero().double()
        for y, x in np.ndindex(9, 7):
            far = (seen - torch.tensor([y, x])).norm(dim=1)
            near = seen[far <= far.min() + 0.05].long()  # OpenCV's distances are accurate to a few percent
            assert any(torch.equal(filled[image, :, y, x], colour[image, :, a, b]) for a, b in near), (y, x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4000), (4000, 1), (3, 4000), (5, 5), (2, 2)])
@pytest.mark.parametrize("multiple", [1, 4, 32, 256])
def test_A15_padding_works_for_extreme_sizes(height: int, width: int, multiple: int) -> None:
    image = torch.rand(1, 3, height, width)
    padded, crop = pad_to_multiple(image, multiple, minimum=8)
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert min(padded.shape[2:]) >= 8
    assert max(padded.shape[2] - height, padded.shape[3] - width) < max(multiple, 8)
    assert torch.equal(crop(padded), image)
    assert np.array_equal(padded.numpy(), mirrored(image.numpy(), *padded.shape[2:]))


@LENIENT
@given(*(st.integers(2, 67),) * 2, st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.integers(1, 40), st.integers(1, 4))
def test_A16_output_size_is_input_size_times_scale(
    height: int, width: int, multiple: int, minimum: int, scale: int
) -> None:
    image = torch.rand(2, 1, height, width)
    padded, crop = pad_to_multiple(image, multiple, minimum)
    enlarged = padded.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    result = crop(enlarged, scale)
    assert result.shape == (2, 1, height * scale, width * scale)
    assert torch.equal(result[..., ::scale, ::scale], image)
    if padded.shape[2] < 2 * height and padded.shape[3] < 2 * width:
        pads = (0, padded.shape[3] - width, 0, padded.shape[2] - height)
        assert torch.equal(padded, torch.nn.functional.pad(image, pads, mode="reflect"))


def test_an_image_that_needs_no_padding_is_not_copied() -> None:
    image = torch.rand(1, 3, 32, 64)
    assert pad_to_multiple(image, 32)[0] is image


# ---- limits

MEASURE = """
import json, resource, sys, time, warnings
from i2i.errors import DataError
from i2i.images import read_rgb
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
warnings.simplefilter("ignore")
read_rgb(sys.argv[1])
for path in sys.argv[3:]:
    start, before = time.process_time(), peak()
    try:
        read_rgb(path, limit=int(sys.argv[2]))
        text = "read"
    except DataError as error:
        text = str(error)
    print(json.dumps([text, time.process_time() - start, peak() - before]))
"""


def measure(folder: Path, limit: int, *data: bytes) -> Iterator[tuple[str, float, float]]:
    """Read each in a fresh process: (error, seconds of CPU time, additional MiB of memory)."""
    small = folder / "small.png"
    small.write_bytes(encode(scene(), "PNG"))
    paths = [folder / f"{number}.bin" for number in range(len(data))]
    for path, content in zip(paths, data):
        path.write_bytes(content)
    command = [sys.executable, "-c", MEASURE, str(small), str(limit), *map(str, paths)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return (tuple(json.loads(line)) for line in printed.splitlines())


def test_A17_A18_pixel_bombs_are_rejected_before_decoding(tmp_path: Path) -> None:
    a17, a18 = (png(n, n, 1, 0, bytes(n * (1 + n // 8))) for n in (13000, 20000))
    assert max(len(a17), len(a18)) < 250_000
    webp = bytes.fromhex("524946461a000000574542505650384c0d0000002fffffff3f07101111888808")  # 16384 x 16384
    for limit, bombs in ((50_000_000, [a17, a18]), (images.MAX_PIXELS, [a18, webp])):
        for text, seconds, megabytes in measure(tmp_path, limit, *bombs):
            assert "more than the limit" in text or "exceeds" in text
            assert seconds < 1  # 0.01 on an idle machine; decoded, seconds
            assert megabytes < 20


def test_the_pixel_limit_is_inclusive_and_independent_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rgb(encode(scene(), "PNG"), limit=24 * 36).shape == (24, 36, 3)
        assert take(encode(scene(), "JPEG"), limit=24 * 36).tensor.shape == (1, 3, 24, 36)
    with pytest.raises(DataError, match=r"36x24 pixels, more than the limit of 863"):
        read_rgb(encode(scene(), "PNG"), limit=24 * 36 - 1)
    with pytest.raises(DataError, match="more than the limit"):
        take(Image.fromarray(scene()), limit=863)


@pytest.mark.parametrize("read", [read_rgb, take])
def test_A19_a_text_chunk_bomb_is_left_out(photo: Any, read: Any) -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(70_000_000), 9))
    path = photo(png(1, 1, 8, 0, b"\0\0", bomb))
    assert path.stat().st_size < 100_000
    with pytest.warns(images.ImageWarning, match=r"photo.png.*too large"):
        assert read(path) is not None


def test_A20_too_many_frames_are_rejected_quickly(photo: Any) -> None:
    for name, make in (("a.gif", gif), ("a.tif", tiff)):
        for frames, allowed in ((1, True), (images.MAX_FRAMES, True), (images.MAX_FRAMES + 1, False), (65000, False)):
            path = photo(make(frames), name)
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if allowed:
                    assert read_rgb(path).shape == (1, 1, 3)
                else:
                    with pytest.raises(DataError, match="more than 1,000 frames"):
                        read_rgb(path)
            assert time.process_time() - start < 5


def test_A20_frames_of_png_and_webp_are_counted_from_the_header(photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.limits, "MAX_FRAMES", 2)
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for kind in ("PNG", "WEBP", "GIF", "TIFF"):
        with pytest.raises(DataError, match="frames"):
            take(encode(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_A20_a_colour_profile_bomb_takes_no_memory(tmp_path: Path) -> None:
    bomb = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(100_000_000), 9))
    for _, seconds, megabytes in measure(tmp_path, images.MAX_PIXELS, png(1, 1, 8, 2, b"\0\0\0\0", bomb)):
        assert seconds < 5
        assert megabytes < 40


# ---- formats, names and folders


@WAYS
def test_A21_content_decides_rather_than_the_suffix(photo: Any, read: Any) -> None:
    data = encode(scene(), "JPEG")
    for name in ("a.png", "b.JPeG", "c", "d.txt", "e.TIF"):
        assert np.array_equal(read(photo(data, name)), read(data))
    for kind in images.FORMATS:
        assert read(photo(encode(scene(), kind), "same.name")).shape == (24, 36, 3)


def test_A21_every_file_in_a_folder_is_found_or_listed_with_a_reason(tmp_path: Path) -> None:
    data = encode(scene(), "PNG")
    for name in ("b.png", "a.JPeG", "sub/c.TIF", "sub/none", "z.webp", ".hidden.png", "sub/deep/e.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "broken.jpg").write_text("words")
    (tmp_path / "empty.png").touch()
    found, skipped = find(tmp_path)
    inside = [path.relative_to(tmp_path).as_posix() for path in found]
    assert inside == ["a.JPeG", "b.png", "sub/c.TIF", "sub/deep/e.gif", "sub/none", "z.webp"]
    assert {path.name: why.split(" (")[0] for path, why in skipped} == {
        ".hidden.png": "hidden",
        "README.md": "not an image",
        "broken.jpg": "not an image",
        "empty.png": "empty file",
    }


def test_A21_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["b/1.png", "a-b/2.png", "a/3.png", "a.png", "B.png", "ä.png", "10.png", "9.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    first = find(tmp_path)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: reversed(list(scandir(path))))
    assert find(tmp_path) == first
    assert [p.relative_to(tmp_path).as_posix() for p in first[0]] == sorted(names, key=lambda name: name.split("/"))


def test_files_matched_by_several_sources_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x/1.png", "x/2.jpg", "x/y/3.png", "odd[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(scene(4, 4), "PNG"))

    def names(*sources: str | Path) -> list[str]:
        found, skipped = find(sources)
        assert not skipped
        return [path.relative_to(tmp_path).as_posix() if path.is_absolute() else path.as_posix() for path in found]

    assert names(str(tmp_path / "x/*.png")) == ["x/1.png"]
    assert names(str(tmp_path / "x/**/*.png")) == ["x/1.png", "x/y/3.png"]
    assert names(str(tmp_path / "**/y/*.png")) == ["x/y/3.png"]
    assert names(str(tmp_path / "?")) == ["x/1.png", "x/2.jpg", "x/y/3.png"]
    assert names(tmp_path / "odd[1].png") == ["odd[1].png"]
    assert names(tmp_path / "x/2.jpg", tmp_path / "x", tmp_path / "x/1.png") == ["x/2.jpg", "x/1.png", "x/y/3.png"]
    monkeypatch.chdir(tmp_path)
    assert names("**/3.png") == ["x/y/3.png"]
    assert find("nothing*.png") == ([], [(Path("nothing*.png"), "no file matches this pattern")])
    assert find("nothing.png") == ([], [(Path("nothing.png"), "No such file or directory")])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"SIMPLE  =                    T", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9", "not an image"),
        (b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\1\0\0\0\1\0\x08\0\3", "format not supported, PSD"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        (b"%PDF-1.7\n", "not an image"),
        (b"\0\0\1\0\1\0", "format not supported, ICO"),
        (b"DDS |\0\0\0", "format not supported, DDS"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "format not supported, JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "format not supported, JPEG 2000"),
        (b"\0\0\0 ftypavif", "format not supported, AVIF"),
        (b"\0\0\0 ftypheic", "format not supported, HEIC"),
        (b"\0\0\0 ftypisom", "not an image"),
        (b"\xff\x0a\xfa", "format not supported, JPEG XL"),
        (b"\xff\xff\0\1\0\1\0" + bytes(3000), "not an image"),
        (b"P7\nWIDTH 1\n", "not an image"),
        (bytes(2000), "not an image"),
    ],
    ids=[
        "fits",
        "eps",
        "psd",
        "svg",
        "pdf",
        "ico",
        "dds",
        "jp2",
        "j2k",
        "avif",
        "heic",
        "mp4",
        "jxl",
        "gd",
        "pam",
        "zeros",
    ],
)
def test_A22_other_formats_are_rejected_without_calling_their_parsers(
    photo: Any, monkeypatch: pytest.MonkeyPatch, data: bytes, what: str
) -> None:
    Image.init()
    entered = []
    for kind in list(Image.OPEN):
        if kind not in images.FORMATS:
            monkeypatch.setitem(Image.OPEN, kind, (lambda *_, kind=kind: entered.append(kind), None))
    path = photo(data)
    for read in (read_rgb, take):
        with pytest.raises(
            DataError, match=rf"photo.png.*: {what} \(possible: PNG, JPEG, WEBP, TIFF, BMP, GIF, PPM\)"
        ):
            read(path)
    assert find(path)[0] == []
    assert not entered


NAMES = [
    "a\nb.png",
    "'; rm -rf ~.png",
    "x" * 251 + ".png",
    "\udcff.png",
    "画像.png",
    "-o.png",
    " .png",
    "\u202egnp.png",
]


@pytest.mark.parametrize(
    "name", NAMES, ids=["newline", "quote", "255", "surrogate", "chinese", "dash", "space", "rtl"]
)
def test_A23_odd_file_names_work_and_are_escaped(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save(scene(), path)
    found, skipped = find(tmp_path)
    assert (found, skipped) == ([path], [])
    assert np.array_equal(read_rgb(path), scene())
    assert np.array_equal(np.asarray(take(str(path)).restore(take(path).tensor)), scene())
    path.write_bytes(b"")
    with pytest.raises(DataError, match="empty file") as caught:
        take(path)
    for text in (str(caught.value), shown(path)):
        text.encode()
        assert text.isprintable()
    assert "画像" in str(caught.value) or name != "画像.png"


def test_A24_special_files_are_listed_and_never_block(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "x.png").mkdir(parents=True)
    (folder / "x.png" / "inside.png").write_bytes(encode(scene(), "PNG"))
    (folder / "loop").symlink_to(folder)
    (folder / "x.png" / "up").symlink_to("..")
    (folder / "self.png").symlink_to("self.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "linked.png").symlink_to("x.png/inside.png")
    os.mkfifo(folder / "pipe.png")
    start = time.perf_counter()
    found, skipped = find([folder])
    assert [path.relative_to(folder).as_posix() for path in found] == ["linked.png", "x.png/inside.png"]
    reasons = {path.relative_to(folder).as_posix(): why for path, why in skipped}
    assert reasons == {
        "dangling.png": "No such file or directory",
        "loop": "a link to a folder that was already searched",
        "pipe.png": "not a regular file",
        "self.png": "Too many levels of symbolic links",
        "x.png/up": "a link to a folder that was already searched",
        "zero.png": "not a regular file",
    }
    assert len(find(f"{folder}/**/*.png")[0]) == 2
    for name in ("x.png", "pipe.png", "zero.png", "self.png", "dangling.png", "loop"):
        for read in (read_rgb, take):
            with pytest.raises(DataError, match=name):
                read(folder / name)
    assert time.perf_counter() - start < 20


def test_A24_files_without_read_permission_are_listed() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "closed").mkdir()
        (folder / "mine.png").write_bytes(encode(scene(), "PNG"))
        (folder / "mine.png").chmod(0)
        (folder / "closed").chmod(0)
        folder.chmod(0o755)
        if root := os.geteuid() == 0:
            os.seteuid(65534)  # root may read everything
        try:
            found, skipped = find(folder)
            with pytest.raises(DataError, match=r"mine\.png.*Permission denied"):
                take(folder / "mine.png")
        finally:
            if root:
                os.seteuid(0)
        assert found == []
        assert {path.name: why for path, why in skipped} == {
            "closed": "this folder cannot be listed: Permission denied",
            "mine.png": "Permission denied",
        }
    finally:
        (folder / "closed").chmod(0o700)
        shutil.rmtree(folder)


# ---- arrays and tensors


def kinds(rgb: np.ndarray, folder: Path) -> dict[str, Any]:
    """Return an image uint8 [H, W, 3] in every supported form."""
    (folder / "same.png").write_bytes(encode(rgb, "PNG"))
    frozen = rgb.copy()
    frozen.flags.writeable = False
    tensor = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
    return {
        "PIL": Image.fromarray(rgb),
        "path": folder / "same.png",
        "str": str(folder / "same.png"),
        "bytes": encode(rgb, "PNG"),
        "bytearray": bytearray(encode(rgb, "PNG")),
        "uint8": rgb.copy(),
        "uint16": rgb.astype(np.uint16) * 257,
        "big-endian": (rgb.astype(np.uint16) * 257).astype(">u2"),
        "float16": (rgb / 255).astype(np.float16),
        "float32": (rgb / 255).astype(np.float32),
        "float64": rgb / 255,
        "CHW": rgb.transpose(2, 0, 1),
        "NHWC": np.stack([rgb, rgb]),
        "NCHW": np.stack([rgb, rgb]).transpose(0, 3, 1, 2),
        "negative strides": rgb[::-1].copy()[::-1],
        "BGR view": rgb[..., ::-1].copy()[..., ::-1],
        "every second": np.repeat(np.repeat(rgb, 2, 0), 2, 1)[::2, ::2],
        "fortran": np.asfortranarray(rgb),
        "read-only": frozen,
        "tensor uint8": tensor.contiguous(),
        "tensor strided": tensor,
        "tensor uint16": (tensor.to(torch.int32) * 257).to(torch.uint16),
        "tensor float32": tensor / 255,
        "tensor float64": tensor.double() / 255,
        "tensor bfloat16": (tensor / 255).bfloat16(),
        "tensor batch": torch.stack([tensor, tensor]) / 255,
        "tensor channels last": (torch.stack([tensor, tensor]) / 255).to(memory_format=torch.channels_last),
        "tensor with gradient": (tensor / 255).requires_grad_(),
    }


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    return np.array_equal(np.asarray(one), np.asarray(two)) if not isinstance(one, str | bytes | Path) else one == two


def test_G8_all_kinds_of_input_give_the_same_tensor_and_round_trip(tmp_path: Path) -> None:
    rgb = scene(13, 17)
    expected = torch.from_numpy(rgb).permute(2, 0, 1) / 127.5 - 1
    before = kinds(rgb, tmp_path)
    for name, given_ in kinds(rgb, tmp_path).items():
        picture = take(given_)
        coarse = 0.01 if "bfloat16" in name else 1e-3 if "float16" in name else 1e-6
        assert picture.tensor.dtype == torch.float32, name
        assert not picture.tensor.requires_grad, name
        assert (picture.tensor - expected).abs().max() < coarse, name
        result = picture.restore(picture.tensor)
        picture.tensor.zero_()
        assert same(given_, before[name]), f"{name} was changed"
        if isinstance(given_, np.ndarray | torch.Tensor):
            assert type(result) is type(given_), name
            assert (result.dtype, result.shape) == (given_.dtype, given_.shape), name
            assert np.allclose(
                torch.as_tensor(result).double() if isinstance(result, torch.Tensor) else result.astype(float),
                given_.detach().double() if isinstance(given_, torch.Tensor) else given_.astype(float),
                atol=coarse if "float" in str(given_.dtype) else 0,
            ), name
        else:
            assert isinstance(result, Image.Image), name
            assert np.array_equal(np.asarray(result), rgb), name


@LENIENT
@given(st.data())
def test_G8_arrays_of_any_size_and_dtype_round_trip(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(["uint8", "uint16", ">u2", "float32", "float64", ">f8"])))
    layout = data.draw(st.sampled_from(["HW", "HWC", "CHW", "NHWC", "NCHW"]))
    channels = data.draw(st.sampled_from([1, 3, 4] if layout[-1] != "C" else [1, 2, 3, 4]))
    sizes = {"H": data.draw(st.integers(1, 9)), "W": data.draw(st.integers(1, 9)), "N": 2, "C": channels}
    numbers = st.floats(0, 1, width=32) if dtype.kind == "f" else st.integers(0, np.iinfo(dtype).max)
    values = data.draw(hnp.arrays(dtype, [sizes[axis] for axis in layout], elements=numbers))
    if data.draw(st.booleans()):
        values = values[::-1]
    picture = take(values, layout=layout)
    result = picture.restore(picture.tensor)
    assert (result.dtype, result.shape) == (values.dtype, values.shape)
    assert np.abs(result.astype(np.float64) - values.astype(np.float64)).max() <= (2e-7 if dtype.kind == "f" else 0)


def test_G8_a_result_of_another_size_keeps_dtype_and_layout() -> None:
    for given_, shape in (
        (np.zeros((8, 6, 3), np.uint16), (16, 12, 3)),
        (np.zeros((3, 8, 6), np.float64), (3, 16, 12)),
        (np.zeros((8, 6), np.uint8), (16, 12)),
        (torch.zeros(8, 6), (16, 12)),
        (torch.zeros(5, 4, 8, 6, dtype=torch.uint8), (5, 4, 16, 12)),
    ):
        picture = take(given_)
        result = picture.restore(torch.ones(len(picture.tensor), 3, 16, 12))
        assert (tuple(result.shape), result.dtype) == (shape, given_.dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_G8_a_tensor_is_returned_on_its_device() -> None:
    picture = take(torch.rand(4, 9, 7, device="cuda"))
    assert picture.restore(picture.tensor.cpu()).device.type == "cuda"


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (np.zeros((3, 3, 3), np.uint8), "could be HWC or CHW"),
        (np.zeros((3, 40, 4), np.uint8), "could be HWC or CHW"),
        (np.zeros((1, 4000, 3), np.uint8), "could be HWC or CHW"),
        (np.zeros((2, 3, 50, 3), np.uint8), "could be NHWC or NCHW"),
        (np.zeros((10, 20, 30), np.uint8), "is not a picture"),
        (np.zeros((2, 20, 30), np.uint8), "is not a picture"),
        (np.zeros((20, 30, 5), np.uint8), "is not a picture"),
        (np.zeros(9, np.uint8), "is not a picture"),
        (np.zeros((1, 1, 5, 5, 3), np.uint8), "is not a picture"),
        (np.zeros((0, 5, 3), np.uint8), "is not a picture"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
        (np.zeros((8, 8, 3), bool), "bool"),
        (np.full((8, 8, 3), None), "object"),
        (np.zeros((8, 8, 3), np.complex64), "complex64"),
        (np.full((8, 8, 3), 200.0), "not within 0..1"),
        (np.full((8, 8, 3), -0.1), "not within 0..1"),
        (np.full((8, 8, 3), np.nan), "NaN or infinity"),
        (np.full((8, 8, 3), np.inf), "NaN or infinity"),
        (np.full((8, 8, 3), 1e300), "NaN or infinity"),
        (torch.zeros(20, 30, 3), "tensors have their channels first"),
        (torch.zeros(2, 20, 30), "is not a picture"),
        (torch.full((3, 8, 8), -1.0), "not within 0..1"),
        (torch.full((3, 8, 8), 255.0), "not within 0..1"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (torch.zeros(3, 8, 8, dtype=torch.bool), "bool"),
        (torch.zeros(8, 8).to_sparse(), "is not a picture"),
    ],
)
def test_G9_ambiguous_arrays_and_tensors_are_rejected_with_the_rule(given_: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        take(given_)
    assert says in str(caught.value)
    assert "0..1" in str(caught.value)  # the rule
    assert "\n" not in str(caught.value)


def test_G9_layout_resolves_ambiguity() -> None:
    values = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    first, last = (take(values, layout=layout).tensor[0] for layout in ("CHW", "HWC"))
    assert torch.equal(first, torch.from_numpy(values) / 127.5 - 1)
    assert torch.equal(last, first.permute(2, 0, 1))
    assert take(np.zeros((1, 40, 3), np.uint8), layout="HWC").tensor.shape == (1, 3, 1, 40)
    assert take(torch.zeros(20, 30, 3), layout="HWC").tensor.shape == (1, 3, 20, 30)
    assert take(np.zeros((4, 4, 3), np.uint8)).tensor.shape == (1, 3, 4, 4)
    assert take(np.zeros((2, 4, 9, 3), np.uint8)).tensor.shape == (2, 3, 4, 9)
    assert take(np.zeros((4, 9, 3), np.uint8), layout="CHW").alpha is not None
    assert take(torch.zeros(4, 9, 3)).alpha is not None
    with pytest.raises(DataError, match="is not a picture"):
        take(np.zeros((20, 30, 3), np.uint8), layout="CHW")
    with pytest.raises(DataError, match="is not a picture"):
        take(np.zeros((20, 30, 3), np.uint8), layout="WHC")


def test_rounding_errors_beyond_0_to_1_are_tolerated() -> None:
    picture = take(np.full((8, 8, 3), 1 + 5e-6, np.float32))
    assert picture.tensor.max() == 1


def test_a_result_that_is_not_finite_or_not_an_image_is_rejected() -> None:
    picture = take(Image.new("RGB", (5, 4)))
    with pytest.raises(NumericError, match="NaN"):
        picture.restore(torch.full((1, 3, 4, 5), float("nan")))
    for shape in ((3, 4, 5), (2, 3, 4, 5), (1, 2, 4, 5)):
        with pytest.raises(PluginError, match="shape"):
            picture.restore(torch.zeros(shape))


def test_out_of_range_results_are_clipped() -> None:
    result = take(np.zeros((1, 6, 3), np.uint8), layout="HWC").restore(torch.linspace(-9, 9, 6).expand(1, 3, 1, 6))
    assert result[0, :, 0].tolist() == [0, 0, 0, 255, 255, 255]


def test_G7_four_threads_decode_identically(photo: Any) -> None:
    paths = [photo(oriented(n, "PNG"), f"{n}.png") for n in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, scene()) for found in pool.map(read_rgb, paths * 10))


def test_training_and_inference_read_the_same_pixels(photo: Any) -> None:
    for kind in images.FORMATS:
        path = photo(encode(scene(), kind), f"a.{kind}")
        assert np.array_equal(read_rgb(path), infer(path))
        assert read_rgb(path).flags.writeable
        assert read_rgb(path).flags.c_contiguous


# ---- writing


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".bmp", ".ppm", ".jpg", ".webp"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_saved_image_reads_back(tmp_path: Path, suffix: str, channels: int) -> None:
    values = scene(32, 48, 4)[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    image = Image.fromarray(values[..., 0] if channels == 1 else values)
    flat = channels in (2, 4) and suffix in (".jpg", ".bmp", ".ppm")
    path = tmp_path / f"{channels}{suffix}"
    if flat:
        with pytest.warns(images.ImageWarning, match="no alpha"):
            save(image, path)
    else:
        save(image, path)
    assert np.abs(read_rgb(path).astype(int) - read_rgb(image)).mean() < (6 if suffix in (".jpg", ".webp") else 0.01)
    assert (take(path).alpha is not None) == (channels in (2, 4) and not flat)
    assert os.listdir(tmp_path) == [path.name]


def test_save_accepts_tensors_arrays_and_floats(tmp_path: Path) -> None:
    rgb = scene()
    for image in (torch.from_numpy(rgb).permute(2, 0, 1) / 255, rgb / 255, rgb):
        save(image, tmp_path / "a.png")
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgb)
    with pytest.raises(DataError, match="2 pictures given"):
        save(np.stack([rgb, rgb]), tmp_path / "b.png")


def test_unsupported_suffixes_are_rejected_or_replaced(tmp_path: Path) -> None:
    for name in ("a.gif", "a", "a.tga"):
        with pytest.raises(DataError, match=r"possible: \.png, \.jpg"):
            save(scene(), tmp_path / name)
    assert not os.listdir(tmp_path)
    assert [writable_name(n).name for n in ("a.JPG", "a.gif", "a", "a.b.tga")] == [
        "a.JPG",
        "a.png",
        "a.png",
        "a.b.tga.png",
    ]


def test_a_failed_save_leaves_only_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(scene(), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="No space"):
        save(scene() // 2, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]
    monkeypatch.undo()
    with pytest.raises(I2IError, match=r"nowhere"):
        save(scene(), tmp_path / "nowhere" / "a.png")


def test_to_pil_converts_anything_to_a_pil_image() -> None:
    assert to_pil(torch.full((3, 4, 5), 0.5)).getpixel((0, 0)) == (128, 128, 128)
    assert to_pil(np.zeros((4, 5), np.uint16)).mode == "I;16"
    assert to_pil(np.zeros((6, 5, 3), np.uint16)).mode == "RGB"


# ---- grids


def test_a_grid_has_a_column_per_name_and_a_row_per_sample() -> None:
    light = torch.full((2, 3, 4, 4), 0.5)
    light[1] = -1
    sheet = images.grid({"A": light, "B": torch.zeros(2, 1, 4, 4)}, gap=3, least=8)
    assert (sheet.dtype, sheet.shape) == (np.uint8, (16 + 2 * 11 + 3, 2 * 11 + 3, 3))  # cells of 4 * 2 pixels
    for left, top, value in ((3, 16, 191), (3, 27, 0), (14, 16, 128), (14, 27, 128)):
        cell = sheet[top : top + 8, left : left + 8]
        assert (cell == value).all(), (left, top)
        assert (sheet[top : top + 8, [left - 1, left + 8]] == 255).all()
    assert (sheet[:16, 3:11] < 128).any()  # the names
    assert (sheet[:16, 14:22] < 128).any()


def test_a_grid_upscales_by_integer_factors_and_matches_column_sizes() -> None:
    small = torch.rand(1, 3, 5, 7) * 2 - 1
    columns = {"large": torch.zeros(1, 3, 20, 15), "small": small}
    sheet = images.grid(columns, gap=0, least=30)  # 20 * 2 = 40 pixels a cell; 7 * 5 fits into it
    assert sheet.shape == (16 + 40, 70, 3)  # columns are as wide as the widest cell, 7 * 5
    assert np.array_equal(sheet[16:41, 35:70], images.to_uint8(small)[0].repeat(5, 0).repeat(5, 1))
    assert (sheet[16:, :30] == 128).all()
    assert (sheet[41:, 35:] == 255).all()
    assert images.grid({"large": torch.zeros(1, 3, 20, 15)}, gap=0, least=20).shape == (36, 15, 3)


def test_to_uint8_rounds_clips_and_repeats_grey() -> None:
    values = torch.tensor([-9, -1, -0.999, 0, 0.5, 1, 9]).reshape(1, 1, 1, 7).requires_grad_()
    result = images.to_uint8(values)
    assert (result.dtype, result.shape) == (np.uint8, (1, 1, 7, 3))
    assert result[0, 0].tolist() == [[value] * 3 for value in (0, 0, 0, 128, 191, 255, 255)]


def test_a_png_reads_back() -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(images.png(scene())))), scene())


def test_importing_the_border_does_not_import_torch() -> None:
    code = "import sys, i2i.images; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_label_map_keeps_its_indices_and_gives_an_image_of_its_kind(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 200], [3, 2, 7]], np.uint8)
    grey, palette = Image.fromarray(indices), Image.fromarray(indices).convert("P")
    palette.putdata(indices.flatten().tolist())
    palette.putpalette([255 - i // 3 for i in range(768)])
    palette.save(tmp_path / "labels.png")
    drawn = torch.zeros(1, 3, 2, 3)
    for source in (grey, palette, tmp_path / "labels.png", (tmp_path / "labels.png").read_bytes()):
        taken = take_labels(source)
        assert taken.tensor.dtype == torch.int64
        assert taken.tensor.tolist() == [[indices.tolist()]]
        assert taken.restore(drawn).mode == "RGB"
    assert take_labels(indices).restore(drawn).shape == (2, 3, 3)
    assert take_labels(torch.from_numpy(indices)).restore(drawn).shape == (3, 2, 3)
    four = take_labels(torch.from_numpy(indices).long().expand(2, 1, 2, 3))
    assert four.tensor.shape == (2, 1, 2, 3)
    assert four.restore(drawn.expand(2, 3, 2, 3)).dtype == torch.uint8


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (np.zeros((3, 4), np.float32), "is not a label map; possible are integers"),
        (np.zeros((3, 4, 3), np.uint8), "is not a label map"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "is not a label map"),
        (np.array([[-1]]), "has negative values"),
        (Image.new("RGB", (3, 3)), "a label map has one channel of class indices .* but this is RGB"),
    ],
)
def test_invalid_label_maps_are_rejected(given: Any, why: str) -> None:
    with pytest.raises(DataError, match=why):
        take_labels(given)
