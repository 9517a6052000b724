"""Cases of reading and writing pictures: range, rounding, order of channels, depth, orientation, chroma of JPEG."""

from __future__ import annotations

import io

import numpy as np
from store import Files, case, picture


@case("Value range", 1e-6, "of the range -1..1")
def value_range() -> Files:
    """Convention: Networks take x = v / 127.5 - 1 for 8-bit levels v: 0 becomes -1 and 255 becomes 1.

    Trap: v / 255 gives 0..1, which most of these networks do not expect; v / 128 - 1 and v / 256 never reach 1.

    Made: by the formula, for all 256 levels.
    """
    v = np.arange(256).reshape(16, 16)
    return {
        "input.png": np.repeat(v[..., None], 3, 2).astype(np.uint8),
        "expected.npy": v / 127.5 - 1,
        "trap_128.npy": v / 128 - 1,
        "trap_zero_to_one.npy": v / 255,
    }


@case("Rounding to 8 bits", 0, "levels")
def rounding() -> Files:
    """Convention: A result x is clipped to -1..1 and rounded to the nearest of the levels (x + 1) * 127.5.

    Trap: Conversion to an integer type truncates, which darkens a picture by half a level on average; without
    clipping, values outside wrap around.

    Made: from each level and offsets of up to 0.49 levels, so that no value lies halfway between two, where NumPy
    rounds to even and MATLAB up. The last two rows lie outside of -1..1.
    """
    level, offset = np.arange(256.0), np.array([-0.49, -0.25, 0, 0.25, 0.49])[:, None]
    inside = (level + offset) / 127.5 - 1
    outside = np.stack([-1 - level / 100, 1 + level / 100])
    expected = np.concatenate([np.tile(level, (5, 1)), np.zeros((1, 256)), np.full((1, 256), 255)])
    x = np.concatenate([inside, outside])
    return {
        "input.npy": x,
        "expected.npy": expected.astype(np.uint8),
        "trap_truncated.npy": np.trunc((x.clip(-1, 1) + 1) * 127.5 + 1e-9).astype(np.uint8),
    }


@case("Order of channels", 0, "levels")
def channel_order() -> Files:
    """Convention: Channels are red, green, blue, first in memory: [3, H, W].

    Trap: OpenCV reads and writes blue, green, red. A network that gets the wrong order still returns a plausible
    picture.

    Made: by hand, a red, a green, a blue and an orange pixel.
    """
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [230, 120, 10]]], np.uint8)
    planes = pixels.transpose(2, 0, 1)
    return {"input.png": pixels, "expected.npy": planes.copy(), "trap_bgr.npy": planes[::-1].copy()}


@case("16 bits per channel", 1e-6, "of the range -1..1; levels of 8 bits for expected_8bit: 0")
def sixteen_bit() -> Files:
    """Convention: 16-bit levels v are scaled by their type, x = v / 32767.5 - 1. In 8 bits they are v / 257,
    rounded.

    Trap: Scaling by the maximum of the picture brightens dark ones; v / 256, which many decoders return as v >> 8,
    rounds down; converting a 16-bit grey picture of Pillow to its mode L clips at 255.

    Made: by the formula, for random levels, dark ones, and those next to the multiples of 256 and 257.
    """
    chance = np.random.default_rng(4)
    v = chance.integers(0, 65536, (12, 10, 3))
    v[:3] = chance.integers(0, 3000, (3, 10, 3))
    near = np.arange(0, 65536, 1927)[:30]
    v[3:6] = np.stack([near * 256 // 256, near // 257 * 257 + 128, near // 257 * 257 + 129]).reshape(3, 10, 3)
    return {
        "input_rgb.png": v.astype(np.uint16),
        "input_grey.png": v[..., :1].astype(np.uint16),
        "expected_rgb.npy": (v / 32767.5 - 1).transpose(2, 0, 1),
        "expected_grey.npy": v[..., 0] / 32767.5 - 1,
        "expected_8bit_rgb.npy": ((v + 128) // 257).astype(np.uint8),
        "expected_8bit_grey.npy": ((v[..., 0] + 128) // 257).astype(np.uint8),
        "trap_rgb_by_maximum.npy": (v / v.max() * 2 - 1).transpose(2, 0, 1),
        "trap_8bit_rgb_high_byte.npy": (v >> 8).astype(np.uint8),
    }


# How a picture is stored whose orientation is 2 to 8, from the upright one (EXIF 2.3, table 6, tag 274).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@case("Orientation of photographs (EXIF)", 4, "levels")
def exif_orientation() -> Files:
    """Convention: The EXIF tag 274 says how to turn the stored pixels; it is applied on reading, and dropped or set
    to 1 on writing. All eight files show the same upright picture.

    Trap: Pillow and most decoders ignore the tag, so that photographs of phones are trained on, or returned, lying
    on their side; applied twice, or kept after the pixels have been turned, it turns them again.

    Made: six flat blocks, turned in NumPy by the table of the EXIF standard, and encoded by Pillow with full chroma.
    """
    from PIL import Image

    blocks = np.array(
        [[[220, 40, 40], [40, 200, 60], [50, 60, 220]], [[230, 210, 40], [40, 40, 40], [235, 235, 235]]]
    )
    upright = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    files: Files = {"expected.png": upright, "trap_mirrored.png": np.ascontiguousarray(upright[:, ::-1])}
    for number, turn in STORED.items():
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[274] = number
        stored = Image.fromarray(np.ascontiguousarray(turn(upright)))
        stored.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
        files[f"input_{number}.jpg"] = buffer.getvalue()
    return files


def full_range_rgb(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    """Convert Y, Cb, Cr of JPEG (JFIF), all 0..255, to RGB levels, float [H, W, 3]."""
    cb, cr = cb - 128, cr - 128
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)


@case("Chroma of JPEG", 2, "levels")
def jpeg_chroma() -> Files:
    """Convention: JPEG stores full-range Y, Cb, Cr (0..255, JFIF), usually with chroma at half the size, which
    decoders enlarge with a triangle filter: 3/4 of the nearest sample and 1/4 of the next, along both axes.

    Trap: Repeating samples leaves colour edges two pixels wide, and the studio range of `luma_studio` (16..235)
    gives wrong colours. Networks trained on one decoder see a shift on pictures of another.

    Made: luma and chroma are flat in every block of 8 x 8, so that quantisation by 1 is exact, and the decoded
    picture follows from the formulas of JFIF and of the filter. The file was encoded by Pillow, quality 100, 4:2:0.
    """
    from PIL import Image

    y = np.array([[90, 140, 120, 160], [150, 110, 130, 100], [120, 120, 170, 90], [100, 160, 140, 120]]).repeat(8, 0)
    y = y.repeat(8, 1).astype(float)
    small = [
        np.array(plane).repeat(8, 0).repeat(8, 1) for plane in ([[110, 150], [140, 120]], [[150, 115], [120, 140]])
    ]
    whole = np.stack([y, *(plane.repeat(2, 0).repeat(2, 1) for plane in small)], -1)
    buffer = io.BytesIO()
    Image.fromarray(whole.astype(np.uint8), "YCbCr").save(buffer, "JPEG", quality=100, subsampling=2)

    def doubled(plane: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            padded = np.pad(plane, [(1, 1) if n == axis else (0, 0) for n in (0, 1)], "edge")
            inner, size = plane, plane.shape[axis]
            before, after = padded.take(range(size), axis), padded.take(range(2, size + 2), axis)
            both = np.stack([0.75 * inner + 0.25 * before, 0.75 * inner + 0.25 * after], axis + 1)
            plane = both.reshape([2 * side if n == axis else side for n, side in enumerate(plane.shape)])
        return plane

    smooth, blocky = (
        [f(plane.astype(float)) for plane in small] for f in (doubled, lambda p: p.repeat(2, 0).repeat(2, 1))
    )
    return {
        "input.jpg": buffer.getvalue(),
        "expected.npy": full_range_rgb(y, *smooth),
        "trap_repeated.npy": full_range_rgb(y, *blocky),
    }


@case("Transparency", 1, "levels")
def alpha_straight() -> Files:
    """Convention: Alpha is straight, not premultiplied: on a background b, a pixel shows (c * a + b * (255 - a)) /
    255. A network that takes no alpha is given either this or the colour alone.

    Trap: Dropping alpha shows the hidden colour, black or white in most files, where nothing was visible;
    multiplying colour that already was gives dark rims.

    Made: by the formula, on white, rounded.
    """
    chance = np.random.default_rng(7)
    pixels = chance.integers(0, 256, (6, 8, 4))
    pixels[0, :, 3], pixels[1, :, 3] = 0, 255
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    shown = (colour * alpha + 255 * (255 - alpha)) / 255
    return {
        "input.png": pixels.astype(np.uint8),
        "expected.npy": np.floor(shown + 0.5).astype(np.uint8),
        "trap_dropped.npy": colour.astype(np.uint8),
    }


@case("Round trip of 8 bits", 0, "levels")
def round_trip() -> Files:
    """Convention: Reading a picture and writing it again changes no level, at any size, odd ones included.

    Trap: A range such as v / 128 - 1 in and (x + 1) * 127.5 out, or float16 on the way, moves levels by one.

    Made: a picture of 17 x 23 pixels.
    """
    image = picture(17, 23)
    wrong = np.rint((image / 128 - 1 + 1) * 127.5).astype(np.uint8)
    return {"input.png": image, "expected.png": image, "trap_128.png": wrong}
