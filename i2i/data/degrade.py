"""Degradations that turn high-resolution images into low-resolution ones.

    data: {use: superres, degradation: real_world, scale: 4, root: data/photos}     # in a config

`bicubic` is the standard protocol of papers, `real_world` that of Real-ESRGAN, arXiv:2107.10833, and `jpeg` is for
restoring images at their own size. A degradation takes an image uint8 [H, W, 3], the scale and a random generator,
its only source of randomness, and returns uint8 [H / scale, W / scale, 3]. `DEGRADATIONS` lists them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

Array = np.ndarray


def bicubic(picture: Array, scale: int, rng: np.random.Generator | None = None) -> Array:
    """Downsample an image by the published protocol: MATLAB's bicubic `imresize` with antialiasing.

    The kernel (a = -0.5) is stretched by the scale, rows are resized first, the result is rounded to 8 bits after
    each axis, and the border is replicated. Reproduces bit for bit the low-resolution images of Set5 and Set14
    published with SelfExSR (x2 and x4, 38 files). Pillow resizes columns first, treats the border differently, and
    is off by up to 14 levels (mean 0.2).

    Args:
        picture: uint8 [H, W, C]; cropped at the bottom and right to a multiple of `scale`.
        scale: an integer.
        rng: unused.

    Returns:
        uint8 [H // scale, W // scale, C].

    Source:
        Keys, IEEE ASSP 29(6), 1981, eq. 15; https://github.com/jbhuang0604/SelfExSR for the images.

    Example:
        >>> bicubic(np.full((8, 12, 3), 7, np.uint8), 4).shape
        (2, 3, 3)
    """
    height, width = (side // scale for side in picture.shape[:2])
    rows = shrinking(height * scale, scale) @ picture[: height * scale].reshape(height * scale, -1).astype(np.float32)
    turned = rounded(rows).reshape(height, picture.shape[1], -1)[:, : width * scale]
    return rounded(shrinking(width * scale, scale) @ turned.astype(np.float32))


@functools.lru_cache(64)
def shrinking(size: int, scale: int) -> Array:
    """Return the matrix [size / scale, size] of antialiased bicubic downsampling along one axis."""
    centre = (np.arange(size // scale) + 0.5) * scale - 0.5
    taps = np.floor(centre - 2 * scale).astype(int)[:, None] + np.arange(4 * scale + 2)
    weight = keys((centre[:, None] - taps) / scale)
    weight /= weight.sum(1, keepdims=True)
    matrix = np.zeros((len(centre), size))
    np.add.at(matrix, (np.arange(len(centre))[:, None], taps.clip(0, size - 1)), weight)
    return matrix.astype(np.float32)


def keys(x: Array) -> Array:
    """Evaluate Keys' cubic convolution kernel with a = -0.5 at `x`."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def rounded(values: Array) -> Array:
    """Round to uint8; halves are rounded up, as in MATLAB."""
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------ JPEG and noise

CLEAN, NOISY, UNCOMPRESSED = 0.15, 0.12, 0.3  # probabilities: unchanged, with noise, and of those without JPEG
ALIGNED, HALVED = 0.9, 0.9  # probabilities: the 8 x 8 grid starts at 0, chroma has half the resolution
STRENGTH = 3, 25  # range of the standard deviation of noise, on a scale of 0..255
STRONG, RANGES = 0.8, ((8, 41), (41, 96))  # probability of the first of these ranges of JPEG quality


def jpeg(picture: Array, scale: int, rng: np.random.Generator) -> Array:
    """Add Gaussian noise and compress as JPEG; 15 % of the images stay clean, so that such are left alone.

    Noise (12 % of the others) has a standard deviation of 3 to 25 of 255 levels. JPEG has a quality of 8 to 95,
    mostly below 41, and mostly halved chroma. One image in ten has been cropped since: its grid of 8 x 8 blocks
    starts at a random offset. With more noise and such crops, a small network learns to remove less of JPEG.

    Args:
        picture: uint8 [H, W, 3]; downsampled with `bicubic` first if the scale is not 1.
        scale: an integer, usually 1.
        rng: the only source of randomness.

    Returns:
        uint8 [H // scale, W // scale, 3].
    """
    import cv2

    x = bicubic(picture, scale) if scale > 1 else picture
    if rng.random() < CLEAN:
        return x
    if rng.random() < NOISY:
        x = rounded(x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(*STRENGTH)))
        if rng.random() < UNCOMPRESSED:
            return x
    top, left = (0, 0) if rng.random() < ALIGNED else rng.integers(8, size=2)
    padded = np.pad(x, ((top, 0), (left, 0), (0, 0)), "edge")
    quality = int(rng.integers(*RANGES[int(rng.random() >= STRONG)]))
    halved = rng.random() < HALVED
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if halved else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(padded[..., ::-1]), settings)
    decoded: Array = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[top:, left:, ::-1]


# ------------------------------------------------------------------------------------------ the real world


class Stage(NamedTuple):
    """Parameters of one round of the degradation chain; ranges are sampled uniformly.

    Attributes:
        blur: probability of blurring.
        sigma: standard deviation of the blur kernel, in pixels.
        resize: probabilities of upsampling, downsampling and neither.
        factor: range of the resize factor.
        noise: standard deviation of Gaussian noise, on a scale of 0..255.
        photons: strength of Poisson noise.
    """

    blur: float
    sigma: tuple[float, float]
    resize: tuple[float, float, float]
    factor: tuple[float, float]
    noise: tuple[float, float]
    photons: tuple[float, float]


FIRST = Stage(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0))
SECOND = Stage(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))
QUALITY = (30, 96)  # JPEG quality
RADIUS = (3, 11)  # radius of blur kernels, in pixels
SINC, LAST_SINC = 0.1, 0.8  # probability of a sinc kernel, in each round and at the end
GREY = 0.4  # probability that all channels share the same noise


def real_world(picture: Array, scale: int, rng: np.random.Generator) -> Array:
    """Degrade an image as in the wild: two rounds of blur, resizing, noise and JPEG compression.

    Each round blurs with a random kernel (Gaussian, generalized Gaussian, plateau-shaped or sinc), resizes with a
    random filter, and adds Gaussian or Poisson noise. JPEG compression follows the first round. The second round
    resizes to roughly the target size, so that its noise is not averaged out. Finally the image is resized to the
    exact size and sinc-filtered, before or after another JPEG compression.

    Args:
        picture: uint8 [H, W, 3]; cropped at the bottom and right to a multiple of `scale`.
        scale: an integer.
        rng: the only source of randomness.

    Returns:
        uint8 [H // scale, W // scale, 3].

    Source:
        Wang et al., arXiv:2107.10833, section 3 and the settings of its published code, except that the
        high-resolution image is not sharpened.
    """
    height, width = (side // scale for side in picture.shape[:2])
    size = height * scale, width * scale
    x = picture[: size[0], : size[1]].astype(np.float32) / 255
    x = compressed(one_round(x, FIRST, size, rng), rng)
    x = one_round(x, SECOND, (height, width), rng)
    if rng.random() < 0.5:
        x = compressed(rung(resized(x, (height, width), rng), rng), rng)
    else:
        x = rung(resized(compressed(x, rng), (height, width), rng), rng)
    return rounded(x * 255)


def one_round(x: Array, stage: Stage, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Blur, resize relative to `size` and add noise: float32 [h, w, 3] in 0..1 -> float32 [h', w', 3] in 0..1."""
    import cv2

    if rng.random() < stage.blur:
        kernel = ringing(rng) if rng.random() < SINC else bell(stage.sigma, rng)
        x = cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    low, high = stage.factor
    way = rng.choice(3, p=stage.resize)
    factor = (rng.uniform(1, high), rng.uniform(low, 1), 1.0)[way]
    x = resized(x, (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))), rng)
    return noisy(x, stage, rng)


def resized(x: Array, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Resize to (height, width) with a random filter: area, bilinear or bicubic."""
    import cv2

    way = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    return cv2.resize(x, size[::-1], interpolation=way)


def noisy(x: Array, stage: Stage, rng: np.random.Generator) -> Array:
    """Add Gaussian or Poisson noise, either shared by all channels or independent, and clip to 0..1."""
    gaussian, grey = rng.random() < 0.5, rng.random() < GREY
    shape = (*x.shape[:2], 1) if grey else x.shape
    if gaussian:
        noise = rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(*stage.noise) / 255)
    else:
        light = x @ np.array([[0.299], [0.587], [0.114]], np.float32) if grey else x
        light = light.clip(0, 1)
        photons = float(2 ** np.ceil(np.log2(len(np.unique(rounded(light * 255))))))
        noise = (rng.poisson(light * photons) / photons - light).astype(np.float32)
        noise *= np.float32(rng.uniform(*stage.photons))
    return (x + noise).clip(0, 1)


def compressed(x: Array, rng: np.random.Generator) -> Array:
    """Compress as JPEG at a random quality and decode again."""
    import cv2

    quality = int(rng.integers(*QUALITY))
    levels = np.ascontiguousarray(rounded(x * 255)[..., ::-1])
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Array = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].astype(np.float32) / 255


def rung(x: Array, rng: np.random.Generator) -> Array:
    """Apply a sinc filter with probability `LAST_SINC`."""
    import cv2

    if rng.random() >= LAST_SINC:
        return x
    return cv2.filter2D(x, -1, ringing(rng), borderType=cv2.BORDER_REFLECT_101).clip(0, 1)


def bell(sigma: tuple[float, float], rng: np.random.Generator) -> Array:
    """Return an isotropic or anisotropic blur kernel: Gaussian, generalized Gaussian or plateau-shaped."""
    wide = rng.uniform(*sigma)
    narrow = wide if rng.random() < 0.69 else rng.uniform(*sigma)
    angle, kind = rng.uniform(-np.pi, np.pi), rng.random()
    y, x = offsets(rng)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    distance = (along / wide) ** 2 + (across / narrow) ** 2
    if kind < 0.7:
        kernel = np.exp(-distance / 2)
    elif kind < 0.85:
        kernel = np.exp(-(distance ** steepness(0.5, 4, rng)) / 2)
    else:
        kernel = 1 / (1 + distance ** steepness(1, 2, rng))
    return (kernel / kernel.sum()).astype(np.float32)


def ringing(rng: np.random.Generator) -> Array:
    """Return a 2D sinc kernel, a circular low-pass filter that causes ringing around edges.

    Source: arXiv:2107.10833, eq. 6.
    """
    y, x = offsets(rng)
    cutoff = rng.uniform(np.pi / 3 if len(y) < 13 else np.pi / 5, np.pi)
    r = np.hypot(x, y).clip(1e-9)
    kernel = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy() / (2 * np.pi * r)
    kernel[len(y) // 2, len(x) // 2] = cutoff**2 / (4 * np.pi)
    return (kernel / kernel.sum()).astype(np.float32)


def offsets(rng: np.random.Generator) -> Array:
    """Return row and column offsets from the centre of a kernel of random size: [2, K, K]."""
    radius = int(rng.integers(*RADIUS))
    return np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)


def steepness(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw an exponent, below 1 half of the time if `low` allows."""
    return rng.uniform(low, 1) if rng.random() < 0.5 and low < 1 else rng.uniform(1, high)


DEGRADATIONS: dict[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "bicubic": bicubic,
    "jpeg": jpeg,
    "real_world": real_world,
}
