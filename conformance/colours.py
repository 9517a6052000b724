"""Cases of colour: the two lumas of BT.601, Lab as networks see it, and the colours that VGG expects."""

from __future__ import annotations

import numpy as np
from store import Files, case, picture

WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degrees
SRGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


@case("Luma of super-resolution scores", 1e-3, "levels")
def luma_studio() -> Files:
    """Convention: PSNR and SSIM of super-resolution are taken on Y of MATLAB's rgb2ycbcr: BT.601 in the studio
    range, Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, from 16 to 235.

    Trap: The full-range luma (0.299 R + 0.587 G + 0.114 B) gives a PSNR that is lower by 20 log10(255 / 219) = 1.32
    dB. MATLAB rounds Y if it was given 8-bit levels (`rounded.npy`), and does not if given floats; the difference is
    about 0.01 dB at x4.

    Made: by the formula, in float64.
    """
    image = picture(12, 16, 1)
    y = 16 + image @ np.array([65.481, 128.553, 24.966]) / 255
    return {
        "input.png": image,
        "expected.npy": y,
        "rounded.npy": np.floor(y + 0.5).astype(np.uint8),
        "trap_full_range.npy": image @ np.array([0.299, 0.587, 0.114]),
    }


@case("Luma of grey pictures", 0.51, "levels")
def luma_grey() -> Files:
    """Convention: A colour picture becomes grey as 0.299 R + 0.587 G + 0.114 B, BT.601 in full range, on encoded
    levels: as Pillow's convert("L") and OpenCV's COLOR_RGB2GRAY, which round.

    Trap: The mean of the channels, and the weights of BT.709 (0.2126, 0.7152, 0.0722), change the grey of saturated
    colours by tens of levels; the studio range of `luma_studio` never gets black or white.

    Made: by the formula, in float64; the tolerance allows for rounding.
    """
    image = picture(12, 16, 2)
    return {
        "input.png": image,
        "expected.npy": image @ np.array([0.299, 0.587, 0.114]),
        "trap_mean.npy": image.mean(-1),
        "trap_bt709.npy": image @ np.array([0.2126, 0.7152, 0.0722]),
    }


def lab_of(image: np.ndarray) -> np.ndarray:
    """Convert sRGB levels [..., 3] to CIE Lab: IEC 61966-2-1, then CIE 15:2004 with the exact constants."""
    v = image / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    t = linear @ SRGB.T / WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@case("Lab", 1e-3, "of the range -1..1")
def lab() -> Files:
    """Convention: Colorization networks see L / 50 - 1, and predict a / 110 and b / 110, of CIE Lab with the white
    point D65.

    Trap: OpenCV's 8-bit Lab is L * 255 / 100, a + 128, b + 128; other projects divide a and b by 128 or 100; and
    linear RGB has to be computed first.

    Made: by the formulas of IEC 61966-2-1 and CIE 15, in float64. The rows: 6 greys, 6 primaries, 6 dark and 6
    random colours.
    """
    chance = np.random.default_rng(3)
    grey = np.array([0, 10, 64, 128, 200, 255])[:, None].repeat(3, 1)
    primary = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0]])
    image = np.stack([grey, primary, chance.integers(0, 20, (6, 3)), chance.integers(0, 256, (6, 3))]).astype(
        np.uint8
    )
    exact = lab_of(image)
    divided = np.concatenate([exact[..., :1] / 50 - 1, exact[..., 1:] / 128], -1)
    return {
        "input.png": image,
        "lab.npy": exact,
        "expected.npy": np.concatenate([exact[..., :1] / 50 - 1, exact[..., 1:] / 110], -1).transpose(2, 0, 1),
        "trap_128.npy": divided.transpose(2, 0, 1),
    }


@case("Colours that VGG expects", 1e-5, "standard deviations")
def vgg_colours() -> Files:
    """Convention: The VGG, SqueezeNet and ResNet of torchvision take (v / 255 - mean) / std in RGB, with mean 0.485,
    0.456, 0.406 and std 0.229, 0.224, 0.225.

    Trap: Pictures in -1..1 passed as they are: the loss still decreases. The original VGG of Caffe takes blue,
    green, red in 0..255 minus 103.939, 116.779, 123.68, and SRGAN's features are divided by 12.75.

    Made: by the formula.
    """
    image = picture(8, 8, 5)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return {
        "input.png": image,
        "expected.npy": ((image / 255 - mean) / deviation).transpose(2, 0, 1),
        "trap_plain.npy": (image / 127.5 - 1).transpose(2, 0, 1),
    }
