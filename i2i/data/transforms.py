"""Per-sample augmentation: resize, random crop, random flip, and any albumentations transform by name.

This is the published recipe of CycleGAN and pix2pix (arXiv:1703.10593, 1611.07004): resize to `load_size` squared
with Pillow's bicubic filter, randomly crop to `size` squared, flip half of the images, scale to [-1, 1]. A few lines
of Pillow and NumPy reproduce the published pixels exactly, and the resize, the only slow step, is deterministic, so
that `cache` can store its result. The optional `extra` steps come from albumentations and run between the flip and
the scaling. It takes 1.3 s to import, so it is imported only if there are such steps.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import PositiveInt
from torch import Tensor

from ..errors import ConfigError

Extra = Mapping[str, Mapping[str, Any]]
Size = PositiveInt | tuple[PositiveInt, PositiveInt]
"""Size in pixels: one number for a square, or height and width."""


class Augment:
    """Apply the same crop, flip and extra steps to all arrays of a sample.

    The shape tells the kind of array: uint8 [H, W, C] is an image (resized bicubically, scaled to [-1, 1]), integers
    [H, W] are a label map (resized by nearest neighbour, class indices kept). The given generator is the only source
    of randomness and is always used in the same order, so equal generators give equal samples in any process.

    Args:
        size: height and width of the output, in pixels; one number or two.
        load_size: height and width before the crop, at least `size`; defaults to size * 286 / 256, rounded.
        flip: flip half of the samples horizontally.
        extra: extra steps, albumentations transform name -> its arguments.

    Raises:
        ConfigError: load_size is smaller than size, or an extra step is not an albumentations transform.

    Source:
        Isola et al., arXiv:1611.07004, 6.2: random jitter by resizing 256 to 286 and cropping back.

    Example:
        >>> augment = Augment(64)
        >>> sample = {"image": np.zeros((90, 70, 3), np.uint8), "label": np.ones((90, 70), np.uint8)}
        >>> {name: tuple(x.shape) for name, x in augment(np.random.default_rng(0), sample).items()}
        {'image': (3, 64, 64), 'label': (64, 64)}
    """

    def __init__(
        self, size: Size, load_size: Size | None = None, flip: bool = True, extra: Extra | None = None
    ) -> None:
        if load_size is None:
            jittered = [round(side * 286 / 256) for side in sides(size)]
            load_size = jittered[0] if isinstance(size, int) else (jittered[0], jittered[1])
        self.size, self.load_size, self.flip = size, load_size, flip
        self.extra = dict(extra or {})
        self._composed: Any = None
        if any(load < side for load, side in zip(sides(load_size), sides(size), strict=True)):
            raise ConfigError(
                f"load_size {load_size} is smaller than size {size}: images are resized to load_size, then cropped "
                f"to size, so make load_size at least {size}"
            )
        if self.extra:
            self._composed = compose(self.extra)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Resize an array to load_size: the deterministic part of the augmentation.

        As published, this ignores the aspect ratio.
        """
        return resize(image, *sides(self.load_size))

    def __call__(self, rng: np.random.Generator, images: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Return the augmented arrays as tensors.

        Args:
            rng: the only source of randomness.
            images: images uint8 [H, W, C] and label maps [H, W] by name, of any sizes.

        Returns:
            Images as float32 [C, H, W] in [-1, 1], label maps as int64 [H, W], where H and W are `size`.
        """
        return {name: to_tensor(crop) for name, crop in self.crops(rng, images).items()}

    def crops(self, rng: np.random.Generator, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the augmented arrays as arrays of unchanged dtype; takes the arguments of `__call__`."""
        # Always draw everything first, so that the random numbers do not depend on the arrays.
        (height, width), (load_height, load_width) = sides(self.size), sides(self.load_size)
        top, left = rng.integers(load_height - height + 1), rng.integers(load_width - width + 1)
        mirrored = self.flip & (rng.random() < 0.5)
        seed = int(rng.integers(2**31)) if self.extra else 0
        crops = {}
        for name, image in images.items():
            crop = self.resize(image)[top : top + height, left : left + width]
            crops[name] = crop[:, ::-1] if mirrored else crop
        return self._more(crops, seed) if self.extra else crops

    def _more(self, crops: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        if self._composed is None:  # after unpickling in a worker process
            self._composed = compose(self.extra)
        first = next((name for name, crop in crops.items() if crop.ndim == 3), None)
        if first is None:  # albumentations requires an image, so add a blank one to a lone label map
            return {k: v for k, v in self._more({**crops, "": blank(crops)}, seed).items() if k}
        others = {name: "image" if crop.ndim == 3 else "mask" for name, crop in crops.items() if name != first}
        self._composed.add_targets(others)
        self._composed.set_random_seed(seed)
        called = {name: "image" if name == first else name for name in crops}
        done = self._composed(**{called[name]: np.ascontiguousarray(crop) for name, crop in crops.items()})
        return {name: done[called[name]] for name in crops}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_composed": None}


def compose(extra: Extra) -> Any:
    """Build the albumentations pipeline of the named steps.

    Raises:
        ConfigError: an unknown transform, or arguments that it rejects.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # disable its online version check
    import albumentations

    steps = []
    for name, arguments in extra.items():
        step = getattr(albumentations, name, None)
        if not (isinstance(step, type) and issubclass(step, albumentations.BasicTransform)):
            near = difflib.get_close_matches(name, dir(albumentations), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see its documentation"
            raise ConfigError(f"albumentations has no transform '{name}': {hint}")
        try:
            steps.append(step(**arguments))
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"albumentations rejects the arguments of {name}: {why}") from error
    return albumentations.Compose(steps)


def blank(crops: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a black image of the same size as the given crops."""
    height, width = next(iter(crops.values())).shape
    return np.zeros((height, width, 3), np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image uint8 [H, W, C] with Pillow's bicubic filter, or a label map [H, W] by nearest neighbour."""
    old_height, old_width = image.shape[:2]
    if (old_height, old_width) == (height, width):
        return image
    if image.ndim == 2:
        rows = (np.arange(height) * 2 + 1) * old_height // (2 * height)
        columns = (np.arange(width) * 2 + 1) * old_width // (2 * width)
        return image[rows[:, None], columns]
    if image.shape[2] == 1:
        return resize_pillow(image[:, :, 0], height, width)[:, :, None]
    return resize_pillow(image, height, width)


def resize_pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W] or [H, W, 3] with the filter of the published code."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def fit(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize to just cover `size` and centre-crop: [H, W, ...] -> [*size, ...]."""
    (height, width), (old_height, old_width) = sides(size), image.shape[:2]
    scale = max(height / old_height, width / old_width)
    image = resize(image, max(height, round(old_height * scale)), max(width, round(old_width * scale)))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def sides(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def to_tensor(image: np.ndarray) -> Tensor:
    """Convert an image uint8 [H, W, C] to float32 [C, H, W] in [-1, 1], or a label map to int64 [H, W]."""
    if image.ndim == 2:
        return torch.from_numpy(image.astype(np.int64))
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    return torch.from_numpy(planes).div_(127.5).sub_(1)  # bit-identical to (x / 255 - 0.5) / 0.5
