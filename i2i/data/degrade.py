"""Making the low-resolution picture of a high-resolution one: as papers do it, or as the world does.

    data: {use: superres, degradation: real_world, scale: 4, root: data/photos}     # in a config

Papers: `bicubic` is everybody's protocol, `real_world` is Real-ESRGAN's, arXiv:2107.10833. A degradation takes a
picture uint8 [H, W, 3], the scale and a random generator, its only source of chance, and returns uint8
[H / scale, W / scale, 3]. `DEGRADATIONS` lists them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

Array = np.ndarray


def bicubic(picture: Array, scale: int, rng: np.random.Generator | None = None) -> Array:
    """Shrink a picture as the published protocol does: MATLAB's bicubic `imresize` with antialiasing.

    The kernel (a = -0.5) is stretched by the scale, rows come first, the result of each direction is rounded to 8
    bits, and pixels beyond the border equal those at it. It gives, bit for bit, the low-resolution pictures of Set5
    and Set14 that were published with SelfExSR (x2 and x4, 38 files). Pillow takes columns first and treats the
    border otherwise, and is up to 14 levels away (mean 0.2).

    Args:
        picture: uint8 [H, W, C]; what exceeds a multiple of `scale` is cut off at the bottom and at the right.
        scale: a whole number.
        rng: not used.

    Returns:
        uint8 [H // scale, W // scale, C].

    Source:
        Keys, IEEE ASSP 29(6), 1981, eq. 15; https://github.com/jbhuang0604/SelfExSR for the pictures.

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
    """Return the matrix [size / scale, size] that shrinks a line of pixels by antialiased bicubic interpolation."""
    centre = (np.arange(size // scale) + 0.5) * scale - 0.5
    taps = np.floor(centre - 2 * scale).astype(int)[:, None] + np.arange(4 * scale + 2)
    weight = keys((centre[:, None] - taps) / scale)
    weight /= weight.sum(1, keepdims=True)
    matrix = np.zeros((len(centre), size))
    np.add.at(matrix, (np.arange(len(centre))[:, None], taps.clip(0, size - 1)), weight)
    return matrix.astype(np.float32)


def keys(x: Array) -> Array:
    """Return Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def rounded(values: Array) -> Array:
    """Return the nearest levels uint8; halves are rounded up, as MATLAB does."""
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------ the real world


class Stage(NamedTuple):
    """How one round of the chain treats a picture; ranges are drawn from evenly.

    Attributes:
        blur: probability of a blur.
        sigma: width of a blur, in pixels.
        resize: probabilities of enlarging, shrinking and neither.
        factor: by how much.
        noise: standard deviation of Gaussian noise, of 255.
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
QUALITY = (30, 96)  # of a JPEG
RADIUS = (3, 11)  # of a blur kernel, in pixels
SINC, LAST_SINC = 0.1, 0.8  # how often a kernel rings, in each round and at the end
GREY = 0.4  # how often all channels have the same noise


def real_world(picture: Array, scale: int, rng: np.random.Generator) -> Array:
    """Shrink a picture as it may have happened to one found somewhere: twice blurred, resized, noisy, compressed.

    Each round blurs by a random kernel (Gaussian, flatter or more peaked, or ringing), resizes by a random filter,
    and adds Gaussian or Poisson noise. A compression as JPEG lies between the rounds. The second round resizes to
    about the size wanted, so that its noise stays. In the end come exactly that size, ringing, and another
    compression, in either order.

    Args:
        picture: uint8 [H, W, 3]; what exceeds a multiple of `scale` is cut off at the bottom and at the right.
        scale: a whole number.
        rng: the only source of chance.

    Returns:
        uint8 [H // scale, W // scale, 3].

    Source:
        Wang et al., arXiv:2107.10833, section 3 and the settings of its published code, but for the sharpening of the
        large picture.
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
    """Blur, resize relative to `size` and add noise: float32 [h, w, 3] in 0..1 -> the same with another size."""
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
    """Resize to (height, width) by a filter drawn from area, bilinear and bicubic."""
    import cv2

    way = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    return cv2.resize(x, size[::-1], interpolation=way)


def noisy(x: Array, stage: Stage, rng: np.random.Generator) -> Array:
    """Add Gaussian or Poisson noise, of all channels alike or of each, and clip to 0..1."""
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
    """Write as JPEG of a random quality and read again."""
    import cv2

    quality = int(rng.integers(*QUALITY))
    levels = np.ascontiguousarray(rounded(x * 255)[..., ::-1])
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Array = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].astype(np.float32) / 255


def rung(x: Array, rng: np.random.Generator) -> Array:
    """Filter by a ringing kernel, mostly."""
    import cv2

    if rng.random() >= LAST_SINC:
        return x
    return cv2.filter2D(x, -1, ringing(rng), borderType=cv2.BORDER_REFLECT_101).clip(0, 1)


def bell(sigma: tuple[float, float], rng: np.random.Generator) -> Array:
    """Return a blur kernel, round or elongated in any direction: Gaussian, of other steepness, or with a plateau."""
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
    """Return a circular low-pass kernel, a sinc in two dimensions, which leaves halos around edges.

    Source: arXiv:2107.10833, eq. 6.
    """
    y, x = offsets(rng)
    cutoff = rng.uniform(np.pi / 3 if len(y) < 13 else np.pi / 5, np.pi)
    r = np.hypot(x, y).clip(1e-9)
    kernel = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy() / (2 * np.pi * r)
    kernel[len(y) // 2, len(x) // 2] = cutoff**2 / (4 * np.pi)
    return (kernel / kernel.sum()).astype(np.float32)


def offsets(rng: np.random.Generator) -> Array:
    """Return the rows and columns of a kernel of random size, counted from its middle: [2, K, K]."""
    radius = int(rng.integers(*RADIUS))
    return np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)


def steepness(low: float, high: float, rng: np.random.Generator) -> float:
    """Draw an exponent, half of the time below 1."""
    return rng.uniform(low, 1) if rng.random() < 0.5 and low < 1 else rng.uniform(1, high)


DEGRADATIONS: dict[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "bicubic": bicubic,
    "real_world": real_world,
}
