"""16-bit colour, for which Pillow has no mode: PNG and TIFF by OpenCV.

Pillow decodes the same file to 8 bits, with every check of `decode.py`; OpenCV then adds the low bytes. If the high
bytes of both differ, the file is read in 8 bits.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import DataError
from ..files.scratch import release
from .animate import png_chunk, png_chunks
from .rows import extra_chunks, tiff_strips

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the chunks of a PNG that decide its pixels
STRIP = 1 << 20  # bytes of a strip of a TIFF
COMPRESSIONS = {"tiff_lzw": 5, "tiff_adobe_deflate": 8, "packbits": 32773, "lzma": 34925, "zstd": 50000}
"""Lossless compressions of a TIFF, as Pillow calls them, with their numbers in the file."""
PREDICTED = ("tiff_lzw", "tiff_adobe_deflate", "lzma", "zstd")  # of differences, which are smaller


def pixels_only(png: bytes) -> bytes:
    """Return a PNG without the chunks that do not decide its pixels."""
    kept = [png_chunk(kind, data) for kind, data in png_chunks(png) if kind in PIXELS]
    return SIGNATURE + b"".join(kept)


def read(data: bytes, image: Image.Image, grey: bool) -> np.ndarray | None:
    """Decode 16-bit colour.

    Args:
        data: the file, a PNG or TIFF.
        image: the same, decoded by Pillow; RGB or RGBA.
        grey: the file is grey with alpha.

    Returns:
        uint16 [H, W, 2, 3 or 4]; None if OpenCV cannot read it, or reads other pixels.
    """
    import cv2

    if image.format == "PNG":
        data = pixels_only(data)
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    high = np.asarray(image)
    if found is None or found.dtype != np.uint16 or found.ndim != 3 or found.shape[:2] != high.shape[:2]:
        return None
    values: np.ndarray = found[..., [2, 1, 0, 3][: found.shape[2]]]  # OpenCV has BGR
    if image.mode == "RGB" and "transparency" not in image.info:
        values = values[..., :3]  # a fourth channel that is not alpha
    shared = min(values.shape[2], high.shape[2])
    if not np.array_equal(values[..., :shared] >> 8, high[..., :shared]):
        return None
    return values[..., [0, 3]] if grey else values


def encode_big_tiff(values: np.ndarray, stream: BinaryIO, icc: bytes | None, compression: str = "") -> None:
    """Write uint8 or uint16 [H, W, C] as BigTIFF, for more than 4 GB; of the metadata it has the profile.

    It is deflated if a compression is given, as tifffile needs another package for the others.
    """
    try:
        import tifffile
    except ImportError:
        raise DataError(
            f"{values.nbytes / 1e9:.1f} GB of pixels need a BigTIFF: `pip install 'i2i[tiff]'`, or use PNG"
        ) from None
    height, width, channels = values.shape
    rows = max(1, STRIP // (width * channels * values.dtype.itemsize))
    strips = (
        values[top : top + rows].squeeze(2) if channels == 1 else values[top : top + rows]
        for top in range(0, height, rows)
    )
    with tifffile.TiffWriter(stream, bigtiff=True) as file:
        file.write(
            strips,
            shape=values.shape if channels > 1 else values.shape[:2],
            dtype=values.dtype,
            rowsperstrip=rows,
            photometric="minisblack" if channels <= 2 else "rgb",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            planarconfig="contig" if channels > 1 else None,
            iccprofile=icc,
            metadata=None,
            compression="zlib" if compression else None,
        )


def encode_png(values: np.ndarray, **options: Any) -> bytes:
    """Encode uint16 [H, W, C] as PNG, with the metadata in the options of Pillow; grey with alpha becomes RGBA."""
    import cv2

    order = ([0], [0, 0, 0, 1], [2, 1, 0], [2, 1, 0, 3])[values.shape[2] - 1]
    ok, png = cv2.imencode(".png", values[..., order], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert ok
    extra = described(**options)
    start = len(SIGNATURE) + 25  # after IHDR
    return png.tobytes()[:start] + extra + png.tobytes()[start:]


def described(**options: Any) -> bytes:
    """Return the chunks of a PNG that hold the metadata in the options of Pillow."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, format="PNG", **options)
    return extra_chunks(buffer.getvalue(), PIXELS)


def encode_tiff(values: np.ndarray, compression: str = "", **options: Any) -> Iterator[bytes]:
    """Encode uint8, uint16 or float32 [H, W, C] as TIFF in parts; grey with alpha becomes RGBA.

    Pillow's own writer of compressed files fails if there is EXIF.

    Args:
        values: the pixels, of which a few rows are read at a time.
        compression: one of `COMPRESSIONS`, or empty for none.
        **options: metadata, as options of Pillow.
    """
    height, width, channels = values.shape
    order: Any = [0, 0, 0, 1] if channels == 2 else slice(None)
    channels = 4 if channels == 2 else channels
    depth = values.dtype.itemsize
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, format="TIFF", **options)
    with Image.open(buffer) as small:
        assert isinstance(small, TiffImagePlugin.TiffImageFile)
        small.load()
        tags, exif = small.tag_v2, small.getexif()
        directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
        for tag in tags:
            directory[tag] = exif.get_ifd(tag) if tag in (0x8769, 0x8825) else tags[tag]
    each = width * channels * depth
    rows = max(1, STRIP // each)
    if compression:
        # Packed twice, because all of them may be large, and the sizes come first.
        sizes = [len(strip) for strip in packed_strips(values, rows, order, compression)]
    else:
        sizes = [min(rows, height - top) * each for top in range(0, height, rows)]
    kind = 1 if channels == 1 else 2  # grey, where 0 is black, or RGB
    layout = {256: width, 257: height, 258: (8 * depth,) * channels, 262: kind, 277: channels}
    layout |= {
        259: COMPRESSIONS[compression] if compression else 1,
        278: rows,
        279: tuple(sizes),
        273: tuple(np.cumsum([0, *sizes[:-1]]).tolist()),
    }
    if channels == 4:
        layout[338] = 2  # alpha, not multiplied
    if values.dtype == np.float32:
        layout[339] = 3
    elif compression in PREDICTED:
        layout[317] = 2
    for tag, value in layout.items():
        directory[tag] = value
    yield tiff_head(directory)
    yield from packed_strips(values, rows, order, compression) if compression else tiff_strips(values, rows, order)


def lossless(compression: str) -> str:
    """Return the one of `COMPRESSIONS` that is nearest to that of a TIFF, as Pillow calls it; "" for none."""
    if compression in ("", "raw", "tiff_raw_16"):
        return ""
    return compression if compression in COMPRESSIONS else "tiff_adobe_deflate"


def packed_strips(values: np.ndarray, rows: int, order: Any, compression: str) -> Iterator[bytes]:
    """Yield the compressed strips of a TIFF, of this many rows each, with the channels in this order."""
    for top in range(0, len(values), rows):
        band = values[top : top + rows][..., order]
        if compression in PREDICTED and band.dtype != np.float32:  # each value less the one to its left
            band = np.diff(band, axis=1, prepend=band.dtype.type(0))
        data = band.astype(band.dtype.newbyteorder("<"), copy=False).reshape(len(band), -1).view(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(data).save(buffer, format="TIFF", compression=compression, tiffinfo={278: len(band)})
        with Image.open(buffer) as packed:
            assert isinstance(packed, TiffImagePlugin.TiffImageFile)
            (start,), (size,) = packed.tag_v2[273], packed.tag_v2[279]
        release()
        yield buffer.getvalue()[start : start + size]


def tiff_head(directory: TiffImagePlugin.ImageFileDirectory_v2) -> bytes:
    """Return the start of a TIFF, up to its pixels; the offsets of strips count from its end."""
    out = io.BytesIO()
    directory.save(out)
    return out.getvalue()
