"""Cases of scores: PSNR and its crop, SSIM, the Fréchet distance of FID, KID."""

from __future__ import annotations

import numpy as np
from store import Files, case, picture

STUDIO = np.array([65.481, 128.553, 24.966]) / 255


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Return a picture and a version with an error that is larger at the border, uint8 [H, W, 3]."""
    real = picture(40, 52, 11)
    error = np.random.default_rng(12).normal(0, 6, real.shape)
    error *= [1, 0.5, 2]
    error[:4] *= 4
    error[:, -4:] *= 4
    return np.floor(real + error + 0.5).clip(0, 255).astype(np.uint8), real


def cropped(image: np.ndarray, crop: int) -> np.ndarray:
    """Crop the same number of pixels at each edge."""
    return image[crop : len(image) - crop, crop : image.shape[1] - crop]


def luma(image: np.ndarray) -> np.ndarray:
    """Return Y of BT.601 in the studio range."""
    return 16 + image @ STUDIO


def psnr_of(a: np.ndarray, b: np.ndarray) -> float:
    """Return 10 log10(255^2 / mean squared error)."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@case("PSNR and its crop", 1e-3, "dB")
def psnr() -> Files:
    """Convention: 10 log10(255^2 / MSE) with the MSE over all channels, on 8-bit levels. Super-resolution papers
    crop as many pixels as the scale at each edge and compare Y of the studio range, with 255 as the peak although Y
    ends at 235 (`y_crop_4`).

    Trap: No crop, RGB instead of Y, full-range luma, or floats that were not rounded as in the file. A mean of the
    PSNRs of channels is not the PSNR of their mean error; a data set's score is the mean of the PSNRs of its images.

    Made: by the formula, in float64. The error of this pair is larger within 4 pixels of two edges.
    """
    fake, real = pair()
    inner = cropped(fake, 4), cropped(real, 4)
    full = [image @ np.array([0.299, 0.587, 0.114]) for image in inner]
    expected = {
        "rgb": psnr_of(fake, real),
        "rgb_crop_4": psnr_of(*inner),
        "y": psnr_of(luma(fake), luma(real)),
        "y_crop_4": psnr_of(luma(inner[0]), luma(inner[1])),
    }
    by_channel = np.mean([psnr_of(fake[..., c], real[..., c]) for c in range(3)])
    traps = {
        "rgb": float(by_channel),
        "rgb_crop_4": expected["rgb"],
        "y": psnr_of(fake.mean(-1), real.mean(-1)),
        "y_crop_4": psnr_of(*full),
    }
    return {"input_fake.png": fake, "input_real.png": real, "expected.json": expected, "trap.json": traps}


def blurred(x: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Filter along both axes where the window lies inside."""
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(x, len(window), axis)
        x = windows @ window
    return x


def ssim_of(a: np.ndarray, b: np.ndarray, window: np.ndarray) -> float:
    """Return the mean SSIM of two grey images with levels of 0..255."""
    a, b = a.astype(float), b.astype(float)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = blurred(a, window), blurred(b, window)
    variances = blurred(a * a, window) - mean_a**2 + blurred(b * b, window) - mean_b**2
    covariance = blurred(a * b, window) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))).mean())


@case("SSIM", 1e-5, "of 1")
def ssim() -> Files:
    """Convention: As published: a Gaussian window of 11 x 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255,
    only where the window lies inside. For RGB the mean over the channels; for super-resolution Y, cropped as for
    PSNR.

    Trap: scikit-image's default is a flat window of 7 pixels with the variance divided by n - 1; padding at the
    border, or L = 1 for levels of 0..255, gives other numbers.

    Made: by the formulas of Wang et al., 2004, in float64.
    """
    fake, real = pair()
    gauss = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    gauss, flat = gauss / gauss.sum(), np.full(7, 1 / 7)
    inner = luma(cropped(fake, 4)), luma(cropped(real, 4))

    def of_colour(window: np.ndarray) -> float:
        return float(np.mean([ssim_of(fake[..., c], real[..., c], window) for c in range(3)]))

    return {
        "input_fake.png": fake,
        "input_real.png": real,
        "expected.json": {"rgb": of_colour(gauss), "y_crop_4": ssim_of(*inner, gauss)},
        "trap_flat_window.json": {"rgb": of_colour(flat), "y_crop_4": ssim_of(*inner, flat)},
    }


def features() -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of features, [12, 4] and [9, 4]."""
    chance = np.random.default_rng(13)
    mix = chance.normal(size=(4, 4))
    return chance.normal(size=(12, 4)) @ mix, chance.normal(size=(9, 4)) @ mix * 0.7 + 0.5


def root(values: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric matrix."""
    found, vectors = np.linalg.eigh(values)
    return (vectors * np.sqrt(found.clip(0))) @ vectors.T


@case("Fréchet distance", 1e-6, "of the squared unit of the features")
def frechet() -> Files:
    """Convention: |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), with the covariances divided by n - 1.

    Trap: Dividing by n; or taking the square root of the distance. FID falls with n: scores of different numbers of
    images do not compare, whatever the formula.

    Made: in float64, with tr (C C')^(1/2) as tr (C^(1/2) C' C^(1/2))^(1/2) from eigenvalues.
    """
    x, y = features()

    def distance(divisor: int) -> float:
        c, d = (np.cov(values.T, ddof=divisor) for values in (x, y))
        half = root(c)
        return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d - 2 * root(half @ d @ half)))

    return {
        "input_x.npy": x,
        "input_y.npy": y,
        "expected.json": {"distance": distance(1)},
        "trap_n.json": {"distance": distance(0)},
    }


@case("Kernel distance (KID)", 1e-6, "of the kernel")
def kid() -> Files:
    """Convention: The unbiased squared MMD with the kernel (x . y / d + 1)^3: pairs of an item with itself are left
    out, so that good scores may be negative.

    Trap: The biased estimate, which includes them and is never negative; a kernel without the division by the
    dimension d; tables that multiply by 1000 without saying so.

    Made: by loops over all pairs, in float64.
    """
    x, y = features()

    def mean(a: np.ndarray, b: np.ndarray, skip: bool) -> float:
        values = [(p @ q / 4 + 1) ** 3 for m, p in enumerate(a) for n, q in enumerate(b) if not (skip and m == n)]
        return float(np.mean(values))

    def distance(unbiased: bool) -> float:
        return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)

    return {
        "input_x.npy": x,
        "input_y.npy": y,
        "expected.json": {"distance": distance(True)},
        "trap_biased.json": {"distance": distance(False)},
    }
