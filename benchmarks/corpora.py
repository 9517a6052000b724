"""Valid inputs for fuzz.py, small ones of every kind, and random edits of them.

edited(pictures(), random.Random(0))             # a picture with a few changed, missing or repeated bytes
"""

from __future__ import annotations

import io
import json
import random
import re
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tiny import CONFIGS, write

from i2i import api
from i2i.checkpoint.manifest import BLANK, sha256

NUMBERS = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pictures() -> list[bytes]:
    """Return small pictures of every format and mode."""
    noise = np.random.default_rng(0)
    rgb = Image.fromarray(noise.integers(0, 256, (24, 30, 3), np.uint8))
    deep = Image.fromarray(noise.integers(0, 65536, (12, 17), np.uint16))
    frames = [Image.fromarray(noise.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(3)]
    found = [encoded(rgb.convert(mode), "PNG") for mode in ("RGB", "RGBA", "P", "L", "LA", "1")]
    found += [encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(rgb, "PNG", dpi=(72, 72))]
    found += [encoded(rgb, "JPEG"), encoded(rgb, "JPEG", progressive=True), encoded(rgb.convert("CMYK"), "JPEG")]
    found += [encoded(rgb, "TIFF", compression=c) for c in (None, "tiff_lzw", "jpeg", "packbits", "tiff_deflate")]
    found += [encoded(rgb.convert("1"), "TIFF", compression="group4"), encoded(rgb, "BMP"), encoded(rgb, "PPM")]
    found += [encoded(rgb, "WEBP"), encoded(rgb, "WEBP", lossless=True), encoded(rgb, "GIF")]
    found += [encoded(frames[0], k, save_all=True, append_images=frames[1:]) for k in ("GIF", "WEBP", "PNG", "TIFF")]
    return found


def labels() -> list[bytes]:
    """Return small label maps."""
    classes = np.random.default_rng(0).integers(0, 12, (24, 30), np.uint8)
    grey = Image.fromarray(classes)
    coloured = grey.copy()
    coloured.putpalette(bytes(range(256)) * 3)
    deep = Image.fromarray(classes.astype(np.uint16) * 300)
    found = [encoded(grey, kind) for kind in ("PNG", "BMP", "TIFF", "GIF", "PPM")]
    return [*found, encoded(coloured, "PNG"), encoded(deep, "PNG"), encoded(grey.convert("RGB"), "PNG")]


def configs() -> list[bytes]:
    """Return the text of configs."""
    return [text.encode() for text in CONFIGS.values()]


def headers() -> list[bytes]:
    """Return weights files: those of two small runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [api.run(write(kind, folder), "train.steps=1", out=folder / kind) for kind in ("vae", "gan")]
        return [(run / "model.safetensors").read_bytes() for run in runs]


# ---- edits


def edited(corpus: list[bytes], dice: random.Random) -> bytes:
    """Return a member of the corpus with a few random edits."""
    data = bytearray(dice.choice(corpus))
    for _ in range(min(8, 1 + int(dice.expovariate(0.7)))):
        at = dice.randrange(len(data) + 1)
        # Half of the edits are near the start, where headers are.
        at = min(at, dice.randrange(200)) if dice.random() < 0.5 else at
        length = min(len(data), 1 + int(dice.expovariate(0.05)))
        edit = dice.randrange(8)
        if edit == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif edit == 1 and data:
            data[at % len(data)] = dice.randrange(256)
        elif edit == 2:
            number = dice.choice(NUMBERS).to_bytes(8, dice.choice(["little", "big"]))
            width = dice.choice([1, 2, 4])
            data[at : at + width] = number[:width] if number[0] else number[-width:]
        elif edit == 3:
            del data[at : at + length]
        elif edit == 4:
            data[at:at] = data[at : at + length] * dice.choice([1, 2, 30])
        elif edit == 5:
            other = dice.choice(corpus)
            start = dice.randrange(len(other))
            data[at : at + length] = other[start : start + length]
        elif edit == 6:
            del data[at:]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 9))
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the right checksums as far as they can be followed."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(data):
            break
        out += data[at:end] + zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out + data[at:])


def with_sha256(data: bytes) -> bytes:
    """Return a weights file whose sha256 fits, if it has one."""
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        digest = json.loads(data[8:end])["__metadata__"]["sha256"].encode()
        header = data[:end].replace(digest, BLANK, 1)
        return header.replace(BLANK, sha256([header, data[end:]]).encode(), 1) + data[end:]
    except (ValueError, LookupError, TypeError, AttributeError):
        return data


def with_other_words(data: bytes, dice: random.Random) -> bytes:
    """Return text with some words exchanged for words elsewhere in it, numbers or values that are often wrong."""
    words = re.split(rb"(\W+)", data)
    for _ in range(dice.randrange(1, 4)):
        odd = [b"-1", b"0", b"null", b"1e400", b"true", b"9" * 30, b"[]", b"{}", b"~", b"0.5", b".nan", b"''"]
        words[2 * dice.randrange(len(words) // 2 + 1)] = dice.choice([*odd, *words[::2]])
    return b"".join(words)
