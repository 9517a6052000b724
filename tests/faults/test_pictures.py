"""Faults of pictures: fewer pixels than promised, too many claimed, too many scans. Intact files must still pass."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from i2i.data.check import check
from i2i.errors import ConfigError, DataError
from i2i.images import Output, limits, read_rgb, read_video, whole
from i2i.images.animate import riff_chunk, uint24
from i2i.images.complete import webp_size

SQUARE = Image.new("RGB", (40, 40))
NOISE = Image.fromarray(np.random.default_rng(0).integers(30, 220, (40, 48, 3), np.uint8))
SMOOTH = Image.fromarray(np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)).convert("RGB")
PICTURES = [NOISE, SMOOTH, Image.new("RGB", (48, 40)), Image.new("RGB", (33, 21), "white")]
DEEP = Image.fromarray((np.arange(48 * 40).reshape(40, 48) * 30).astype(np.uint16))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, raw: bytes, *, bits: int = 8, colour: int = 2, interlaced: bool = False) -> bytes:
    """A PNG with right checksums around any pixel data."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def halved(tiff: bytes) -> bytes:
    """A TIFF whose StripByteCounts are half of what they were."""
    data = bytearray(tiff)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, at)
        if tag == 279:
            code, size = {3: ("<H", 2), 4: ("<I", 4)}[kind]
            (where,) = (at + 8,) if number * size <= 4 else struct.unpack_from("<I", data, at + 8)
            for place in range(where, where + number * size, size):
                struct.pack_into(code, data, place, struct.unpack_from(code, data, place)[0] // 2)
    return bytes(data)


def corpus() -> list[tuple[str, bytes]]:
    """Intact files of every kind, also with flat last rows, which have to be looked at twice."""
    files = []
    for image in PICTURES:
        for mode in ("1", "L", "P", "LA", "RGB", "RGBA"):
            files.append((f"png {mode}", encoded(image.convert(mode), "PNG")))
        for options in (
            {},
            {"progressive": True},
            {"subsampling": 0},
            {"optimize": True},
            {"restart_marker_rows": 1},
        ):
            for mode in ("L", "RGB", "CMYK"):
                files.append((f"jpeg {mode} {options}", encoded(image.convert(mode), "JPEG", **options)))
        for mode, interlace in (("1", 0), ("L", 1), ("P", 0), ("P", 1)):
            files.append((f"gif {mode} {interlace}", encoded(image.convert(mode), "GIF", interlace=interlace)))
        for method in (None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"):
            options = {"compression": method, "tiffinfo": {278: 16}}  # three strips
            files.append((f"tiff {method}", encoded(image, "TIFF", **options)))
        for method in ("group3", "group4"):
            for rows in (16, 40):
                options = {"compression": method, "tiffinfo": {278: rows}}
                files.append((f"tiff {method}", encoded(image.convert("1"), "TIFF", **options)))
        for lossless in (True, False):
            files.append((f"webp {lossless}", encoded(image, "WEBP", lossless=lossless)))
        files += [(f"bmp {mode}", encoded(image.convert(mode), "BMP")) for mode in ("1", "L", "P", "RGB")]
        files += [(f"ppm {mode}", encoded(image.convert(mode), "PPM")) for mode in ("1", "L", "RGB")]
    for kind in ("PNG", "GIF", "WEBP"):
        files.append((f"animated {kind}", encoded(NOISE, kind, save_all=True, append_images=PICTURES[1:3])))
    files += [("png 16", encoded(DEEP, "PNG")), ("tiff 16", encoded(DEEP, "TIFF"))]
    for width, height in ((1, 1), (3, 5), (8, 8), (20, 17)):  # passes of Adam7 may be empty
        raw = bytes(whole.png_bytes(width, height, 24, interlaced=True))
        files.append((f"interlaced {width}x{height}", png(width, height, raw, interlaced=True)))
    return files


@pytest.mark.filterwarnings("ignore")
def test_A2_intact_files_of_every_kind_are_read(tmp_path: Path) -> None:
    for name, data in corpus():
        assert read_rgb(data).shape[2] == 3, name
        if name.startswith("jpeg"):
            (tmp_path / "a.jpg").write_bytes(data)
            assert not whole.cut_short(tmp_path / "a.jpg"), name


ROW = 1 + 3 * 48  # bytes of a row of a PNG


@pytest.mark.parametrize("rows", [0, 1, 20, 39])
def test_R6_a_png_with_fewer_rows_than_it_says(rows: int) -> None:
    full = b"".join(b"\0" + row.tobytes() for row in np.asarray(NOISE))
    with pytest.raises(DataError, match="truncated"):
        read_rgb(png(48, 40, full[: rows * ROW]))
    assert np.array_equal(read_rgb(png(48, 40, full)), np.asarray(NOISE))


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_R6_an_interlaced_png_with_fewer_bytes_than_it_says(missing: int) -> None:
    raw = bytes(whole.png_bytes(48, 40, 24, interlaced=True))
    with pytest.raises(DataError, match="truncated"):
        read_rgb(png(48, 40, raw[:-missing], interlaced=True))


@pytest.mark.parametrize("image", [NOISE, SMOOTH, PICTURES[3]], ids=["noise", "smooth", "white"])
@pytest.mark.parametrize("method", ["jpeg", "group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_R6_a_tiff_whose_strips_are_cut(method: str, image: Image.Image) -> None:
    picture = image.convert("1") if method.startswith("group") else image
    data = encoded(picture, "TIFF", compression=method)
    read_rgb(data)
    with pytest.raises(DataError):
        read_rgb(halved(data))


def raw_tiff(bits: int, samples: int, planes: bool, tile: int, short: str) -> bytes:
    """An uncompressed TIFF of 21x20 pixels whose first, last or all pieces claim half of their bytes; or "none"."""
    pieces = [(tile, tile)] * 4 if tile else [(21, 8), (21, 8), (21, 4)]
    channels = 1 if planes else samples
    data = [bytes(range(1, 251)) * 20 for _ in pieces * (samples if planes else 1)]
    data = [one[: (wide * bits * channels + 7) // 8 * rows] for one, (wide, rows) in zip(data, pieces * 9)]
    halved = {"none": [], "first": [0], "last": [len(data) - 1], "all": range(len(data))}[short]
    counts = [len(one) // (2 if at in halved else 1) for at, one in enumerate(data)]
    offsets = [sum(map(len, data[:at])) for at in range(len(data))]
    tags = {256: 21, 257: 20, 258: (bits,) * samples, 259: 1, 262: 2 if samples == 3 else 1, 277: samples}
    tags |= {284: 2 if planes else 1}
    tags |= {322: tile, 323: tile, 324: offsets, 325: counts} if tile else {278: 8, 273: offsets, 279: counts}
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag, value in tags.items():
        directory[tag] = tuple(value) if isinstance(value, list) else value
    return whole.tiff_head(directory) + b"".join(data)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize(("bits", "samples", "planes"), [(1, 1, 0), (8, 1, 0), (8, 3, 0), (8, 3, 1), (16, 3, 0)])
def test_R6_an_uncompressed_tiff_with_fewer_bytes_than_its_pixels_need(
    bits: int, samples: int, planes: int, tile: int
) -> None:
    assert read_rgb(raw_tiff(bits, samples, bool(planes), tile, "none")).shape == (20, 21, 3)
    for short in ("first", "last", "all"):
        with pytest.raises(DataError, match="truncated"):
            read_rgb(raw_tiff(bits, samples, bool(planes), tile, short))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("method", [None, "group4"])
def test_R6_the_strips_of_a_tiff_that_is_turned_are_counted_as_stored(method: str | None, orientation: int) -> None:
    picture = NOISE.convert("1") if method else NOISE
    data = encoded(picture, "TIFF", compression=method, tiffinfo={274: orientation, 278: 16})
    assert read_rgb(data).shape == ((40, 48, 3) if orientation == 1 else (48, 40, 3))
    with pytest.raises(DataError, match="truncated"):
        read_rgb(halved(data))


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_R6_a_gif_whose_data_end_early(interlace: int, keep: float) -> None:
    data = encoded(SMOOTH.convert("L"), "GIF", interlace=interlace)
    start = data.index(b"\x2c", 13 + (3 << (data[10] & 7) + 1)) + 10
    start += 1  # the width of codes
    blocks, at = bytearray(), start
    while data[at]:
        blocks += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    cut = bytes(blocks[: int(keep * len(blocks))])
    pieces = b"".join(bytes([len(cut[n : n + 255])]) + cut[n : n + 255] for n in range(0, len(cut), 255))
    with pytest.raises(DataError):
        read_rgb(data[:start] + pieces + data[at:])


@pytest.mark.parametrize("kind", ["BMP", "PPM", "WEBP"])
def test_R6_other_formats_with_short_pixel_data(kind: str) -> None:
    data = encoded(NOISE, kind)
    if kind == "WEBP":  # its container is mended
        body = data[20 : 20 + (len(data) - 20) // 4 * 2]
        data = (
            b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + data[12:16] + struct.pack("<I", len(body)) + body
        )
    with pytest.raises(DataError):
        read_rgb(data[:-100] if kind != "WEBP" else data)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_A5_a_jpeg_whose_scan_is_cut_is_found_by_check(tmp_path: Path, options: dict[str, Any], keep: float) -> None:
    data = encoded(NOISE, "JPEG", **options)
    (tmp_path / "whole.jpg").write_bytes(data)
    start = data.rindex(b"\xff\xda") + 14
    cut = data[: start + int(keep * (len(data) - 2 - start))].rstrip(b"\xff")
    (tmp_path / "cut.jpg").write_bytes(cut + b"\xff\xd9")
    (problem,) = check(tmp_path).problems
    assert "cut.jpg" in problem
    assert "truncated" in problem


def test_A5_a_jpeg_with_missing_rows_is_refused_in_training_too() -> None:
    data = encoded(NOISE, "JPEG")
    start = data.index(b"\xff\xda") + 14
    with pytest.raises(DataError, match="truncated"):
        read_rgb(data[: start + (len(data) - start) // 2].rstrip(b"\xff") + b"\xff\xd9")


# ---- a small file must stay cheap


def rejected_quickly(data: bytes, match: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=match):
        read_rgb(data)
    assert time.process_time() - start < 3  # less than a second, even on a slow machine


def test_A17_a_small_file_that_claims_many_pixels_is_rejected_before_decoding() -> None:
    rejected_quickly(png(20, 8_388_628, bytes(800)), "more than 100,000 on a side")
    rejected_quickly(png(14_000, 14_000, bytes(800), bits=1, colour=0), "claims 14000x14000 pixels")
    tiff = bytearray(encoded(Image.new("1", (8, 8)), "TIFF", compression="group4"))
    for at in range(len(tiff) - 12):
        if struct.unpack_from("<HHI", tiff, at) in ((256, 3, 1), (257, 3, 1)):
            struct.pack_into("<H", tiff, at + 8, 12_000)
    rejected_quickly(bytes(tiff), "claims 12000x12000 pixels")


FRAMES = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]


def animated(kind: str, width: int, height: int) -> bytes:
    """An intact animation of three frames that claims this width and height."""
    data = bytearray(encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:]))
    if kind == "GIF":
        struct.pack_into("<HH", data, 6, width, height)
    elif kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[24:30] = uint24(width - 1) + uint24(height - 1)
    return bytes(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_A20_an_animation_that_claims_many_pixels_is_rejected_before_decoding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(read_video(animated(kind, 8, 6))) == 3
    monkeypatch.setitem(Image.OPEN, kind, (lambda *_: pytest.fail("decoded"), Image.OPEN[kind][1]))
    start = time.process_time()
    with pytest.raises(DataError, match=r"it claims 3 frames of 4000x3000 pixels and has .* bytes, too few for a"):
        read_video(animated(kind, 4000, 3000))
    if kind != "GIF":  # its sides have 16 bits
        with pytest.raises(DataError, match="more than 100,000 on a side"):
            read_video(animated(kind, 8_650_761, 9), limit=10**9)
    assert time.process_time() - start < 3  # less than a second, even on a slow machine


def test_A20_a_webp_that_claims_a_huge_canvas_is_rejected_before_its_decoder_takes_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(Image.OPEN, "WEBP", (lambda *_: pytest.fail("opened"), Image.OPEN["WEBP"][1]))
    rejected_quickly(animated("WEBP", 8_650_761, 9), "8650761x9 pixels, more than 100,000 on a side")
    rejected_quickly(animated("WEBP", 9000, 9000), "claims 9000x9000 pixels")


@pytest.mark.parametrize(
    "options",
    [{}, {"lossless": True}, {"save_all": True, "append_images": FRAMES}],
    ids=["lossy", "lossless", "animated"],
)
def test_A20_the_size_of_a_webp_is_read_from_its_header(options: dict[str, Any]) -> None:
    assert webp_size(encoded(Image.new("RGB", (8, 6)), "WEBP", **options)[:30]) == (8, 6)
    assert webp_size(riff_chunk(b"RIFF", b"WEBP")) == (0, 0)


def test_A17_one_factor_raises_every_limit_and_errors_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in {"MAX_SIDE": 20, "MAX_PIXELS": 800, "MAX_FRAMES": 2, "MAX_SCANS": 1, "CHEAP": 0}.items():
        monkeypatch.setattr(limits, limit, value)
    monkeypatch.setattr("i2i.images.output.MAX_PIXELS", 800)
    monkeypatch.setitem(limits.PIXELS_PER_BYTE, "PNG", 1)
    scans = encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    cases = {
        "40x40 pixels, more than the limit of 800; .* set I2I_LIMITS=2 to raise": encoded(
            NOISE.resize((40, 40)), "PNG"
        ),
        "41x9 pixels, more than 20 on a side; .* set I2I_LIMITS=3": encoded(NOISE.resize((41, 9)), "PNG"),
        "claims 18x18 pixels .* if it is intact, set I2I_LIMITS=": encoded(Image.new("L", (18, 18)), "PNG"),
        "more than 2 frames; .* set I2I_LIMITS=2": animated("GIF", 8, 6),
        "scans, more than 1; .* set I2I_LIMITS=": scans,
    }
    for sentence, data in cases.items():
        monkeypatch.delenv("I2I_LIMITS", raising=False)
        with pytest.raises(DataError, match=sentence):
            read_rgb(data)
        monkeypatch.setenv("I2I_LIMITS", "100")
        assert read_rgb(data).ndim == 3
    assert Output(scale=2).size_of(100, 100) == (200, 200)
    monkeypatch.setenv("I2I_LIMITS", "0.5")
    with pytest.raises(DataError, match=r"20x40 pixels is more than the limit of 400; .* set I2I_LIMITS=1 to"):
        Output(scale=2).size_of(20, 10)
    for wrong in ("many", "0", "inf"):
        monkeypatch.setenv("I2I_LIMITS", wrong)
        with pytest.raises(ConfigError, match=f"I2I_LIMITS is '{wrong}': give a factor above 0"):
            read_rgb(scans)


def test_A17_the_densest_pictures_that_encoders_write_are_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHEAP", 0)
    flat = Image.new("L", (1000, 800), 200)
    options = {"JPEG": {"quality": 30, "progressive": True}, "TIFF": {"compression": "tiff_lzw"}}
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "WEBP"):
        assert read_rgb(encoded(flat, kind, **options.get(kind, {}))).shape == (800, 1000, 3), kind
    for kind, more in (("PNG", {}), ("TIFF", {"compression": "group4"})):
        assert read_rgb(encoded(flat.convert("1"), kind, **more)).shape == (800, 1000, 3), kind


def test_R7_a_jpeg_of_hundreds_of_scans_is_rejected() -> None:
    data = encoded(Image.new("L", (800, 800)), "JPEG", progressive=True)
    read_rgb(data)
    last = data[data.rindex(b"\xff\xda") : -2]
    rejected_quickly(data[:-2] + 400 * last + b"\xff\xd9", "scans, more than 100")
    looks = data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + 400) + 200 * b"\xff\xda" + data[2:]  # a comment
    assert read_rgb(looks).shape == (800, 800, 3)


def test_R6_libtiff_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "cut.tif").write_bytes(halved(encoded(NOISE, "TIFF", compression="tiff_adobe_deflate")))
    code = "import sys, i2i\nfrom i2i import images\n"
    code += "try: images.read_rgb(sys.argv[1])\nexcept i2i.DataError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "cut.tif"], capture_output=True, text=True)
    assert "cut.tif" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("bits", [13, 62, 255])
def test_a_gif_with_impossible_codes_takes_no_memory(bits: int) -> None:
    assert whole.lzw_length(bytes(8), bits, 10) == 0
