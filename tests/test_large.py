"""Large PNG and TIFF files, decoded a few rows at a time: the pixels and the metadata are those of the whole."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from test_rows import pixels

import i2i
from i2i.errors import DataError
from i2i.images import Output, cut, fill_hidden, hidden, large, spill, take, write
from i2i.images.decode import read_photo
from i2i.images.large import can_be_cut, read_large
from i2i.images.notes import ImageWarning
from i2i.images.rows import png_rows
from i2i.model.memory import Plan


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every picture as a large one, in parts of a few rows, on the disk."""
    monkeypatch.setattr(large, "LARGE", 0)
    monkeypatch.setattr(cut, "PART", 1500)
    monkeypatch.setattr(spill, "SPILL", 0)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str, height: int = 37, width: int = 53) -> Image.Image:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3}[mode]
    values = pixels(channels, np.uint8, height, width)
    return Image.fromarray(values[..., 0] if channels == 1 else values, mode)


def check(data: bytes, parts: int = 2) -> None:
    """Compare a file in parts with the whole."""
    assert can_be_cut(data)
    stream = io.BytesIO(data)
    kind = large.format_of(data[:16])
    assert len(list(cut.cut(stream, kind, large.header_of(stream, kind)).parts)) >= parts
    whole, made = read_photo(data), read_large(data)
    assert (made.values.dtype, made.carried, made.space) == (whole.values.dtype, whole.carried, whole.space)
    assert np.array_equal(made.values, whole.values)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_png_in_parts_has_the_pixels_of_the_whole(mode: str) -> None:
    check(encoded(picture(mode), "PNG"))
    check(b"".join(png_rows(pixels(len(mode), np.uint16))))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("clear", [False, True])
def test_a_palette_in_parts_has_the_pixels_of_the_whole(bits: int, clear: bool) -> None:
    options = {"transparency": bytes([0, 128])} if clear else {}
    check(encoded(picture("RGB", 150, 200).quantize(2**bits), "PNG", bits=bits, **options))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("clear", [False, True])
def test_grey_of_few_and_many_bits_and_a_transparent_value(bits: int, clear: bool) -> None:
    rng, width, height = np.random.default_rng(0), 131, 150
    row = (width * bits + 7) // 8
    filters = rng.integers(0, 5, (height, 1), dtype=np.uint8)  # every one of them, also in the first row
    data = np.hstack([filters, rng.integers(0, 256, (height, row), dtype=np.uint8)]).tobytes()
    chunks = [cut.png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))]
    chunks += [cut.png_chunk(b"tRNS", struct.pack(">H", 1))] * clear
    packed = zlib.compress(data)
    chunks += [cut.png_chunk(b"IDAT", packed[at : at + 500]) for at in range(0, len(packed), 500)]
    check(b"".join([cut.SIGNATURE, *chunks, cut.png_chunk(b"IEND", b"")]))


def few(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a picture seven at a time."""
    return (slice(top, min(top + 7, height)) for top in range(0, height, 7))


def described() -> dict[str, Any]:
    """Return a profile that is not sRGB, and what else a picture carries."""
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index(b"gXYZ", 128)
    start = struct.unpack_from(">I", profile, at + 4)[0]
    struct.pack_into(">3i", profile, start + 8, 18000, 45000, 4000)
    return {"exif": exif, "icc_profile": bytes(profile), "dpi": (300, 200)}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_metadata_profile_and_orientation_are_those_of_the_whole(kind: str, turn: int) -> None:
    given = described()
    given["exif"][0x0112] = turn
    data = encoded(picture("RGB"), kind, **given)
    check(data)
    assert read_large(data).space is not None
    assert read_large(data).carried.dpi is not None
    assert (read_large(data).values.shape[0] == 53) == (turn > 4)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("method", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_in_strips_has_the_pixels_of_the_whole(mode: str, method: str | None) -> None:
    if method == "jpeg" and mode == "RGBA":
        return
    check(encoded(picture(mode, 80), "TIFF", compression=method, tiffinfo={278: 8}))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("layout", ["strips", "tiles", "planes", "big endian", "deflate", "one strip"])
def test_a_tiff_of_any_layout_has_the_pixels_of_the_whole(dtype: Any, channels: int, big: bool, layout: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    values, buffer = pixels(channels, dtype, 100), io.BytesIO()
    options: dict[str, Any] = {"strips": {"rowsperstrip": 9}, "one strip": {"rowsperstrip": 100}}.get(layout, {})
    options |= {"tiles": {"tile": (16, 32)}, "deflate": {"compression": "zlib", "rowsperstrip": 9}}.get(layout, {})
    options["photometric"] = "rgb" if channels > 2 else "minisblack"
    if layout == "planes":
        values = values.transpose(2, 0, 1)
        options |= {"planarconfig": "separate", "rowsperstrip": 9}
    if channels == 1:
        values = values[0] if layout == "planes" else values[..., 0]
        options.pop("planarconfig", None)
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(buffer, values, bigtiff=big, byteorder=">" if layout == "big endian" else "<", **options)
    data = buffer.getvalue()
    try:
        read_photo(data)
    except DataError:  # what is not read at all is rejected here too
        with pytest.raises(DataError):
            read_large(data)
        return
    check(data)


def test_a_pyramid_gives_its_full_size() -> None:
    tifffile = pytest.importorskip("tifffile")
    values, buffer = pixels(3, np.uint8, 128, 96), io.BytesIO()
    with tifffile.TiffWriter(buffer, bigtiff=True) as file:
        file.write(values, tile=(32, 32), photometric="rgb", subifds=1)
        file.write(values[::2, ::2], tile=(32, 32), photometric="rgb", subfiletype=1)
    assert np.array_equal(read_large(buffer.getvalue()).values, values)
    check(buffer.getvalue())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encoded(picture("RGB"), "PNG", interlace=1), "interlaced"),
        (encoded(picture("RGB", 80), "TIFF", compression="tiff_lzw", tiffinfo={278: 80}), "compressed as one"),
    ],
)
def test_what_cannot_be_cut_is_decoded_as_a_whole_with_a_sentence(
    data: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "LARGEST", 1000)
    if why == "interlaced":  # Pillow writes none
        data = data[:28] + b"\1" + struct.pack(">I", zlib.crc32(data[12:28] + b"\1")) + data[33:]
        with pytest.raises(cut.Uncuttable, match=why):
            cut.cut_png(io.BytesIO(data))
        return
    (tmp_path / "a.tif").write_bytes(data)
    assert not can_be_cut(tmp_path / "a.tif")
    with pytest.warns(ImageWarning, match=f"is decoded as a whole, .* because .*{why}"):
        made = read_large(tmp_path / "a.tif")
    assert np.array_equal(made.values, read_photo(data).values)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_was_cut_off_is_rejected(kind: str, share: float) -> None:
    data = encoded(picture("RGB", 80), kind)
    if kind == "TIFF":  # whose directory is at the start
        data = b"".join(write.encode_tiff(pixels(3, np.uint8, 80)))
    for read in (read_photo, read_large):
        with pytest.raises(DataError):
            read(data[: int(len(data) * share)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_large_picture_with_alpha_is_written_as_a_small_one(
    dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn.functional import interpolate

    data = b"".join(png_rows(pixels(4, dtype)))
    cut_up, whole = take(data, large=True), take(data)
    result = interpolate(whole.tensor, scale_factor=2)
    for name, one in (("large", cut_up), ("small", whole)):
        monkeypatch.setattr(
            "i2i.images.border.bands", lambda height, _: (slice(n, n + 7) for n in range(0, height, 7))
        )
        write.write(one, result, tmp_path / f"{name}.png")
    first, second = (read_photo(tmp_path / f"{name}.png").values.astype(int) for name in ("large", "small"))
    assert np.abs(first - second).max() <= 1


def test_hidden_pixels_are_filled_in_bands_as_in_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    rng = np.random.default_rng(0)
    colour = torch.from_numpy(rng.integers(0, 256, (1, 3, 90, 70), dtype=np.uint8))
    alpha = torch.from_numpy((rng.random((1, 1, 90, 70)) > 0.98).astype(np.uint8) * 255)
    monkeypatch.setattr(
        hidden, "bands", lambda height, _: (slice(n, min(n + 8, height)) for n in range(0, height, 8))
    )
    monkeypatch.setattr(hidden, "AROUND", 40)
    whole = fill_hidden(colour.float() / 127.5 - 1, alpha / 255)
    made = fill_hidden(colour, alpha)
    assert torch.equal(made, ((whole + 1) * 127.5).round().to(torch.uint8))
    assert not torch.equal(made, colour)


def test_the_estimated_memory_of_tiles_grows_only_by_their_row_with_a_file_that_is_cut(tmp_path: Path) -> None:
    import torch

    task = i2i.Task()
    task.net = torch.nn.Conv2d(3, 3, 3, 1, 1)
    task.translate = task.net.forward  # type: ignore[method-assign]
    model = i2i.Model(task, {}, Path("here"))
    stages = model.stages({}) or []
    sizes = (2_000, 5_000), (20_000, 20_000), (5_000, 2_000)
    few, many, tall = (Plan(size, stages, Output(tile=256), True, True).needs(256) for size in sizes)
    assert many - few == pytest.approx(2 * 8 * 256 * (20_000 - 5_000))  # of input and result, 8 bytes a pixel
    assert few - tall == pytest.approx(2 * 8 * 256 * (5_000 - 2_000))
    assert many < 5e8
    assert Plan((10_000, 10_000), stages, Output(tile=256), False, True).needs(256) > few + 10**9
