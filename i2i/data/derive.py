"""Functions that compute the input A from the target B, so that any photograph becomes a training pair.

    data: {use: derived, derive: grey, root: data/caltech101}     # in a config

A deriver takes an image uint8 [H, W, 3] and a random generator, its only source of randomness, and returns an image
of the same shape. `DERIVERS` lists them.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def grey(picture: Array, rng: np.random.Generator) -> Array:
    """Convert to grey of the same lightness L*, for colorization: [H, W, 3] with three equal channels.

    Computes the ITU-R BT.709 relative luminance in linear light and encodes it as sRGB again. (Pillow weights the
    encoded values instead, which renders saturated blue and red darker than they look.)
    """
    luminance = linear(picture) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return np.repeat(encoded(luminance)[..., None], 3, axis=2)


def edges(picture: Array, rng: np.random.Generator) -> Array:
    """Return one-pixel-wide black outlines on white: [H, W, 3].

    Canny edges of the blurred image, with thresholds that adapt to its contrast.
    """
    import cv2

    soft = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    steep = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    high = max(40.0, float(np.quantile(steep, 0.9)))
    lines = cv2.Canny(soft, 0.4 * high, high, L2gradient=True)
    return np.repeat((255 - lines)[..., None], 3, axis=2)


def low_light(picture: Array, rng: np.random.Generator) -> Array:
    """Simulate a camera exposure with 10 to 33 % of the light: dark and noisy.

    Noise is added in linear light: shot noise, with variance proportional to the light, and read noise of the sensor.
    """
    light = linear(picture) * np.float32(rng.uniform(0.1, 0.33))
    photons, sensor = rng.uniform(0.0005, 0.002), rng.uniform(0.001, 0.004)
    spread = np.sqrt(photons * light + sensor**2)
    return encoded(light + spread * rng.standard_normal(light.shape, np.float32))


def noise(picture: Array, rng: np.random.Generator) -> Array:
    """Add Gaussian noise with a standard deviation between 10 and 50, on a scale of 0..255."""
    noisy = picture + np.float32(rng.uniform(10, 50)) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


DERIVERS = {"grey": grey, "edges": edges, "low_light": low_light, "noise": noise}


def linear(picture: Array) -> Array:
    """Decode sRGB values 0..255 to linear light: float32 in 0..1. Source: IEC 61966-2-1."""
    v = np.arange(256, dtype=np.float32) / 255
    table = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return table[picture]


def encoded(light: Array) -> Array:
    """Encode linear light as sRGB uint8; values outside 0..1 are clipped."""
    light = np.clip(light, 0, 1)
    v = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(v * 255).astype(np.uint8)
