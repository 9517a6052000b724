"""Cases of resizing: centres of pixels, bicubic of MATLAB and Pillow, FID's resize, padding of odd sizes."""

from __future__ import annotations

import numpy as np
from store import Files, case, picture


def cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel; IEEE ASSP 29(6), 1981, eq. 15 for a = -0.5."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def tent(x: np.ndarray) -> np.ndarray:
    """The kernel of bilinear interpolation."""
    return np.maximum(1 - np.abs(x), 0)


def matrix(old: int, new: int, kernel: object = cubic, radius: int = 2, antialias: bool = True, border: str = "edge"):
    """Return the matrix [new, old] of resampling along an axis, with half-pixel centres.

    Args:
        old, new: sizes.
        kernel, radius: it is 0 beyond.
        antialias: stretch the kernel when downscaling.
        border: what lies outside: "edge" and "mirror" repeat samples, "renormalise" has nothing there.
    """
    factor = old / new
    stretch = max(1.0, factor) if antialias else 1.0
    result = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * factor - 0.5
        taps = np.arange(int(np.floor(centre - radius * stretch)), int(np.ceil(centre + radius * stretch)) + 1)
        if border == "renormalise":
            taps = taps[(taps >= 0) & (taps < old)]
        weights = kernel((taps - centre) / stretch)  # type: ignore[operator]
        weights = weights / weights.sum()
        inside = (
            taps.clip(0, old - 1)
            if border != "mirror"
            else np.minimum(taps % (2 * old), -1 - taps % (2 * old) + 2 * old)
        )
        np.add.at(result[row], inside, weights)
    return result


def along(values: np.ndarray, axis: int, weights: np.ndarray) -> np.ndarray:
    """Apply a matrix along an axis."""
    return np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)


def level(values: np.ndarray) -> np.ndarray:
    """Round to 8 bits, halves up."""
    return np.floor(values + 0.5).clip(0, 255)


def separable(image: np.ndarray, size: tuple[int, int], axes: tuple[int, int], **options: object) -> np.ndarray:
    """Resize uint8 [H, W, C] along one axis after the other, rounding to 8 bits after each."""
    values = image.astype(float)
    for axis in axes:
        values = level(along(values, axis, matrix(image.shape[axis], size[axis], **options)))  # type: ignore[arg-type]
    return values.astype(np.uint8)


@case("Half-pixel centres (align_corners)", 1e-5, "of the input's unit")
def align_corners() -> Files:
    """Convention: Pixel i covers i to i + 1 and its centre is at i + 0.5, so that output i is read at (i + 0.5) *
    old / new - 0.5: align_corners=False. Outside the picture its border is repeated.

    Trap: align_corners=True matches the centres of the corner pixels and so shifts content by up to half a pixel, by
    an amount that depends on the size: results of tiles or of other sizes no longer fit.

    Made: bilinear interpolation x4 of 5 x 6 numbers by the formula, in float64.
    """
    x = np.random.default_rng(0).normal(size=(5, 6))

    def bilinear(aligned: bool) -> np.ndarray:
        y = x
        for axis, old in enumerate(x.shape):
            new = old * 4
            at = np.arange(new) * (old - 1) / (new - 1) if aligned else (np.arange(new) + 0.5) / 4 - 0.5
            at = at.clip(0, old - 1)
            y = along(y, axis, tent(at[:, None] - np.arange(old)))
        return y

    return {"input.npy": x, "expected.npy": bilinear(False), "trap_aligned.npy": bilinear(True)}


def nearest(labels: np.ndarray, size: tuple[int, int], shift: float) -> np.ndarray:
    """Resize by nearest neighbour: output i is input floor((i + shift) * old / new)."""
    rows, columns = (
        np.floor((np.arange(new) + shift) * old / new).astype(int) for old, new in zip(labels.shape, size)
    )
    return labels[rows[:, None], columns]


@case("Nearest neighbour of label maps", 0, "classes")
def nearest_labels() -> Files:
    """Convention: A label map is resized with its photograph, so with the same half-pixel centres: output i is input
    floor((i + 0.5) * old / new), as in Pillow, and in torch as mode="nearest-exact".

    Trap: torch's mode="nearest" and OpenCV's INTER_NEAREST take floor(i * old / new): the map moves up and left by
    up to half an input pixel against its photograph, or by four pixels when shrinking by 8.

    Made: by the formula, from 12 x 15 to 5 x 6 (not between two pixels) and to 17 x 22.
    """
    labels = np.random.default_rng(1).integers(0, 9, (12, 15)).astype(np.uint8)
    return {
        "input.png": labels[..., None],
        "expected_down.npy": nearest(labels, (5, 6), 0.5),
        "expected_up.npy": nearest(labels, (17, 22), 0.5),
        "trap_down_floor.npy": nearest(labels, (5, 6), 0),
        "trap_up_floor.npy": nearest(labels, (17, 22), 0),
    }


@case("Nearest neighbour inside SPADE", 0, "classes")
def nearest_spade() -> Files:
    """Convention: SPADE resizes the label map inside its generator with torch's mode="nearest", floor(i * old /
    new): of each block the pixel at the top left. Published weights need this one, although `nearest_labels` is
    right for data.

    Trap: Pillow's rule, or mode="nearest-exact", takes the pixel to the lower right of the middle.

    Made: by the formula, from 16 x 24 down by 2, 4 and 8.
    """
    labels = np.random.default_rng(2).integers(0, 9, (16, 24)).astype(np.uint8)
    files: Files = {"input.png": labels[..., None]}
    for n in (2, 4, 8):
        files[f"expected_by_{n}.npy"] = nearest(labels, (16 // n, 24 // n), 0)
        files[f"trap_by_{n}_centre.npy"] = nearest(labels, (16 // n, 24 // n), 0.5)
    return files


@case("Bicubic of MATLAB", 0, "levels")
def bicubic_matlab() -> Files:
    """Convention: The low-resolution pictures of super-resolution come from MATLAB's imresize(x, 1 / scale,
    "bicubic"): Keys' kernel with a = -0.5, stretched by the scale (antialiasing), half-pixel centres, weights that
    sum to 1, rows before columns, rounded to 8 bits after each. The border is repeated, as in the published pictures
    of Set5 and Set14; newer versions of MATLAB, and BasicSR, mirror it (`mirrored_*`).

    Trap: OpenCV's and torch's bicubic has a = -0.75 and no antialiasing: aliased pictures, unlike the
    published one. Pillow's differs at the border and in the order of the axes.

    Made: by the formula, in float64, x2, x3 and x4.
    """
    image = picture(24, 36, 6)
    files: Files = {"input.png": image}
    for scale in (2, 3, 4):
        size = 24 // scale, 36 // scale
        files[f"expected_x{scale}.npy"] = separable(image, size, (0, 1))
        files[f"mirrored_x{scale}.npy"] = separable(image, size, (0, 1), border="mirror")
        files[f"trap_x{scale}_aliased.npy"] = separable(
            image, size, (0, 1), kernel=lambda x: cubic(x, -0.75), antialias=False
        )
    return files


@case("Bicubic of Pillow", 1, "levels")
def bicubic_pillow() -> Files:
    """Convention: CycleGAN, pix2pix and most loaders since resize with Pillow: Keys' kernel with a = -0.5, stretched
    when shrinking, half-pixel centres, columns before rows, rounded to 8 bits after each. At the border the kernel
    is cut off and its weights divided by their sum.

    Trap: cv2.INTER_CUBIC and torch's bicubic without antialias=True: a = -0.75, aliased when shrinking.

    Made: by the formula, in float64, from 30 x 41 to 13 x 17 and to 45 x 62. Pillow itself computes with integer
    weights, hence the tolerance of one level.
    """
    image, files = picture(30, 41, 7), Files()
    files["input.png"] = image
    for name, size in (("down", (13, 17)), ("up", (45, 62))):
        files[f"expected_{name}.npy"] = separable(image, size, (1, 0), border="renormalise")
        files[f"trap_{name}_aliased.npy"] = separable(
            image, size, (1, 0), kernel=lambda x: cubic(x, -0.75), antialias=False
        )
    return files


@case("Resize of FID", 1e-3, "levels")
def fid_resize() -> Files:
    """Convention: The Inception of FID resizes to 299 x 299 as TensorFlow 1 did: bilinear without antialiasing,
    output i read at i * old / 299, without half-pixel centres, and the last pixels repeated. Its input is (v - 128)
    / 128.

    Trap: Half-pixel centres, antialiasing (Pillow, as in clean-fid) or (v / 255 - mean) / std change FID by several
    points, more than many a published improvement.

    Made: by the formula, in float64, from 20 x 32; of the result rows and columns 0, 13, 26 ... 286 and 298 are
    kept.
    """
    image, kept = picture(20, 32, 8), [*range(0, 299, 13), 298]

    def resized(shift: float) -> np.ndarray:
        values = image.astype(float)
        for axis in (0, 1):
            old = values.shape[axis]
            at = ((np.arange(299) + shift) * old / 299 - shift).clip(0, old - 1)
            values = along(values, axis, tent(at[:, None] - np.arange(old)))
        return values[kept][:, kept].transpose(2, 0, 1)

    return {"input.png": image, "expected.npy": resized(0), "trap_half_pixel.npy": resized(0.5)}


@case("Padding of odd sizes", 1e-6, "of the input's unit")
def odd_sizes() -> Files:
    """Convention: A picture whose sides are not multiples of what the network needs is padded at the right and at
    the bottom by reflection, without repeating the border pixel, and the result is cropped at the right and the
    bottom. Where one reflection is not enough, it goes back and forth.

    Trap: Resizing to a multiple blurs and changes proportions; zeros leave a visible border; padding on both sides
    moves the picture against the grid of the network.

    Made: by the formula, 5 x 7 to multiples of 4, and 2 x 3 to multiples of 8.
    """
    large, small = (np.random.default_rng(9).normal(size=size) for size in ((5, 7), (2, 3)))
    rows, columns = [0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 2, 1, 0, 1, 2, 1]
    return {
        "input_by_4.npy": large,
        "input_by_8.npy": small,
        "expected_by_4.npy": large[[0, 1, 2, 3, 4, 3, 2, 1]][:, [0, 1, 2, 3, 4, 5, 6, 5]],
        "expected_by_8.npy": small[rows][:, columns],
        "trap_by_4_symmetric.npy": np.pad(large, ((0, 3), (0, 1)), "symmetric"),
        "trap_by_4_zeros.npy": np.pad(large, ((0, 3), (0, 1))),
    }
