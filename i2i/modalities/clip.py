"""`Clip`: video clips <-> float32 [N, T, 3, H, W] in [-1, 1]; files are read and written by `i2i.images.video`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import images
from ..errors import DataError, PluginError
from .base import Modality, Taken, relative

if TYPE_CHECKING:
    from torch import Tensor

SHAPES = "[T, H, W, 3] (a tensor: [T, 3, H, W]), uint8 or floats in 0..1"


@dataclass(frozen=True)
class Clip(Modality):
    """Video clips, float32 [N, T, C, H, W] in [-1, 1] as tensors.

    Args:
        frames: for `takes`, `sample` and `encode`: the number of frames T; None for any.
        size: for `sample`, `decode` and `encode`: the height and width of the networks, in pixels; None for any.
        channels: for `sample`, `decode` and `encode`: 3, or 1 for grey.
        fps: frames per second of results that do not get their times from an input.
    """

    name: ClassVar[str] = "clip"
    plural: ClassVar[str] = "clips"
    suffixes: ClassVar[tuple[str, ...]] = (".gif", ".webp", ".png", ".apng")

    frames: int | None = None
    size: int | None = None
    channels: int = 3
    fps: float = 12

    def take(self, given: Any) -> Taken:
        """Convert a path, encoded bytes, a `Video`, an array [T, H, W, 3] or a tensor [T, 3, H, W]."""
        import torch

        if isinstance(given, str | Path | bytes):
            given = images.read_video(given, fps=self.fps)
        if isinstance(given, images.Video):
            picture = images.take(given.frames, layout="NHWC")
            return Taken(picture.tensor[None], given)
        if not isinstance(given, np.ndarray | torch.Tensor) or given.ndim != 4:
            shape = f" of shape {list(given.shape)}" if hasattr(given, "shape") else ""
            raise DataError(f"a {type(given).__name__}{shape} is not a clip; possible: a file, or {SHAPES}")
        picture = images.take(given)
        return Taken(picture.tensor[None], picture)

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Convert one clip [1, T, C, H, W] to the type of the input: an array, a tensor, or a `Video` for all others.

        A `Video` keeps the times of the input; without an input it has `fps`.
        """
        if isinstance(like, images.Picture):
            return replace(like, tensor=values[0]).restore(values[0])
        video = images.Video.of(self.show(values)[0], self.fps)
        if isinstance(like, images.Video) and len(like) == len(video):
            video = replace(video, times=like.times)
        return video

    def write(self, thing: Any, path: Path) -> None:
        """Write one clip, anything that `take` accepts, in the format given by the suffix."""
        if not isinstance(thing, images.Video):
            thing = images.Video.of(self.show(self.take(thing).values)[0], self.fps)
        images.write_video(path, thing)

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find animations, and folders of still pictures, which are the frames of a clip."""
        paths, skipped = images.find_clips(source)
        names = [Path(path.name) if path == Path(source) else relative(path, source) for path in paths]
        return list(zip(paths, names, strict=True)), skipped

    def show(self, values: Tensor) -> np.ndarray:
        """Return frames, uint8 [N, T, H, W, 3]."""
        flat = images.to_uint8(values.flatten(0, 1))
        return flat.reshape(*values.shape[:2], *flat.shape[1:])

    def release(self, values: Tensor) -> Tensor:
        """Return clips as float32 [N, T, C, H, W] in [0, 1]."""
        return ((values + 1) / 2).clamp(0, 1)

    def accept(self, values: Any, who: str) -> Tensor:
        """Check that the output is finite clips [N, T, 1 or 3, H, W], and clip them to [-1, 1]."""
        values = super().accept(values, who)
        if values.ndim != 5 or values.shape[2] not in (1, 3) or not values.is_floating_point():
            raise PluginError(
                f"{who} made {values.dtype} {list(values.shape)}; clips are floats [N, T, 1 or 3, H, W] in [-1, 1]"
            )
        return values.clamp(-1, 1)
