"""Per-sample augmentation: resize, random crop, flip, and whatever else albumentations offers by name.

The published recipe of CycleGAN and pix2pix (arXiv:1703.10593, 1611.07004): resize to `load_size` squared
with Pillow's bicubic filter, crop `size` squared at random, mirror half of the pictures, scale to [-1, 1].
These steps are done here in a few lines of Pillow and numpy: they give the published pixels exactly, and the
resize, the only slow one, does not depend on chance, so that `cache` can keep its result. albumentations
serves the optional `extra` steps, between the flip and the scaling. It takes 1.3 s to import and is imported
where such steps are asked for.
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
"""Pixels: one number for a square, or height and width."""


class Augment:
    """Augments all arrays of one sample alike: the same crop, the same flip, the same extra steps.

    What an array is shows in its shape: uint8 [H, W, C] is a picture (bicubic, scaled to [-1, 1]), integers
    [H, W] are a label map (nearest neighbour, class indices kept). Chance comes from the given generator
    only, always in the same order: equal generators give equal samples in any process, after any history.

    Args:
        size: height and width of what comes out, in pixels; one number or two.
        load_size: height and width before the crop, at least `size`; by default size * 286 / 256, rounded.
        flip: mirror half of the samples left to right.
        extra: further steps: the name of an albumentations transform -> its arguments.

    Raises:
        ConfigError: load_size is smaller than size, or an extra step is none of albumentations'.

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
                f"load_size {load_size} is smaller than size {size}: pictures are resized to load_size, "
                f"then cropped to size, so make load_size at least {size}"
            )
        if self.extra:
            self._composed = compose(self.extra)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Return the array at load_size: the part of the augmentation that is the same each time.

        Both sides become those of `load_size`, as published, so a picture of other proportions is squeezed.
        """
        return resize(image, *sides(self.load_size))

    def __call__(self, rng: np.random.Generator, images: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Return the augmented arrays as tensors.

        Args:
            rng: the only source of chance.
            images: pictures uint8 [H, W, C] and label maps [H, W] by name, of any sizes.

        Returns:
            Pictures as float32 [C, H, W] in [-1, 1], label maps as int64 [H, W], where H and W are `size`.
        """
        return {name: to_tensor(crop) for name, crop in self.crops(rng, images).items()}

    def crops(self, rng: np.random.Generator, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the augmented arrays as arrays, of the types they had; arguments as when called."""
        # Draw everything first and always, so that what is drawn does not depend on the arrays.
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
        if self._composed is None:  # in another process
            self._composed = compose(self.extra)
        first = next((name for name, crop in crops.items() if crop.ndim == 3), None)
        if first is None:  # albumentations wants a picture, so a lone label map gets a blank one as company
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
    """Return the albumentations pipeline of the named steps.

    Raises:
        ConfigError: a name that albumentations does not have, or arguments that it refuses.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or it asks the network for a newer version
    import albumentations

    steps = []
    for name, arguments in extra.items():
        step = getattr(albumentations, name, None)
        if not (isinstance(step, type) and issubclass(step, albumentations.BasicTransform)):
            near = difflib.get_close_matches(name, dir(albumentations), n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "its documentation lists them"
            raise ConfigError(f"albumentations has no transform '{name}': {hint}")
        try:
            steps.append(step(**arguments))
        except (TypeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"albumentations refuses the arguments of {name}: {why}") from error
    return albumentations.Compose(steps)


def blank(crops: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a black picture of the size of the given crops."""
    height, width = next(iter(crops.values())).shape
    return np.zeros((height, width, 3), np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture uint8 [H, W, C] with Pillow's bicubic filter, a label map to the nearest pixel."""
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
    """Resize uint8 [H, W] or [H, W, 3] with the filter that the published code uses."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def fit(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize until `size` is just covered and keep the middle: [H, W, ...] -> [*size, ...]."""
    (height, width), (old_height, old_width) = sides(size), image.shape[:2]
    scale = max(height / old_height, width / old_width)
    image = resize(image, max(height, round(old_height * scale)), max(width, round(old_width * scale)))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def sides(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def to_tensor(image: np.ndarray) -> Tensor:
    """Turn a picture uint8 [H, W, C] into float32 [C, H, W] in [-1, 1], a label map into int64 [H, W]."""
    if image.ndim == 2:
        return torch.from_numpy(image.astype(np.int64))
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    return torch.from_numpy(planes).div_(127.5).sub_(1)  # bit for bit (x / 255 - 0.5) / 0.5
