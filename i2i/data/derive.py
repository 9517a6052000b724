"""Making A of B: what goes in is computed from the picture that should come out, so any photograph is a pair.

    data: {use: derived, derive: grey, root: data/caltech101}     # in a config

A deriver takes a picture uint8 [H, W, 3] and a random generator, its only source of chance, and returns a picture
of the same shape. `DERIVERS` lists them.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def grey(picture: Array, rng: np.random.Generator) -> Array:
    """Return the grey picture of the same lightness L*, for colorization: [H, W, 3], three times the same.

    It is the relative luminance of ITU-R BT.709, taken of linear light, as a grey value again. (Pillow's grey weighs
    the encoded values instead, which makes saturated blue and red darker than they look.)
    """
    luminance = linear(picture) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return np.repeat(encoded(luminance)[..., None], 3, axis=2)


def edges(picture: Array, rng: np.random.Generator) -> Array:
    """Return the outlines in black on white, one pixel wide: [H, W, 3].

    Canny's edges after a blur, with thresholds that follow the contrast of the picture.
    """
    import cv2

    soft = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    steep = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    high = max(40.0, float(np.quantile(steep, 0.9)))
    lines = cv2.Canny(soft, 0.4 * high, high, L2gradient=True)
    return np.repeat((255 - lines)[..., None], 3, axis=2)


def low_light(picture: Array, rng: np.random.Generator) -> Array:
    """Return the picture as a camera takes it with a tenth to a third of the light: dark, with noise.

    The noise is added to linear light, as the photons (variance in proportion to the light) and the sensor add it.
    """
    light = linear(picture) * np.float32(rng.uniform(0.1, 0.33))
    photons, sensor = rng.uniform(0.0005, 0.002), rng.uniform(0.001, 0.004)
    spread = np.sqrt(photons * light + sensor**2)
    return encoded(light + spread * rng.standard_normal(light.shape, np.float32))


def noise(picture: Array, rng: np.random.Generator) -> Array:
    """Return the picture with Gaussian noise of a standard deviation between 10 and 50 of 255."""
    noisy = picture + np.float32(rng.uniform(10, 50)) * rng.standard_normal(picture.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


DERIVERS = {"grey": grey, "edges": edges, "low_light": low_light, "noise": noise}


def linear(picture: Array) -> Array:
    """Return the linear light of sRGB values 0..255: float32 in 0..1. Source: IEC 61966-2-1."""
    v = np.arange(256, dtype=np.float32) / 255
    table = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return table[picture]


def encoded(light: Array) -> Array:
    """Return the sRGB values uint8 of linear light; what is beyond 0..1 is clipped."""
    light = np.clip(light, 0, 1)
    v = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(v * 255).astype(np.uint8)
