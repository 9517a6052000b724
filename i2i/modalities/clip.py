"""`Clip`: video clips <-> float32 [N, T, 3, H, W] in [-1, 1]; files are read and written by `i2i.images.video`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import images
from ..errors import DataError, PluginError
from ..images.notes import note
from ..images.video import READ
from .base import Modality, Taken, relative
from .image import Image

if TYPE_CHECKING:
    from torch import Tensor, nn
    from typing_extensions import Self

    from .base import Undo

SHAPES = "[T, H, W, 1 or 3], or tensors [T, 1 or 3, H, W], of uint8, uint16 or floats in 0..1"


@dataclass
class Arrays:
    """What `Clip.restore` needs to return the type of an array or tensor."""

    picture: images.Picture


@dataclass(frozen=True)
class Clip(Modality):
    """Video clips, float32 [N, T, C, H, W] in [-1, 1] as tensors.

    Args:
        frames: for `takes` and `encode`: the number of frames T that the network needs; None for any. Longer clips
            are cut after the first T, with a warning.
        multiple: for `takes`: the network needs H and W divisible by this; inputs are padded and results cropped.
        minimum: for `takes`: the network needs H and W of at least this.
        scale: for `makes`: height of the result / height of the input.
        size: for `sample`, `decode` and `encode`: the height and width of the networks, in pixels; None for any.
        channels: for `sample`, `decode` and `encode`: 3, or 1 for grey.
        fps: frames per second of results that do not get their times from an input.

    Example:
        >>> Clip(frames=4), Clip()                 # takes and makes of a task that predicts what happens next
        (Clip(frames=4), Clip())
    """

    name: ClassVar[str] = "clip"
    plural: ClassVar[str] = "clips"
    suffixes: ClassVar[tuple[str, ...]] = images.MOVING

    frames: int | None = None
    multiple: int = 1
    minimum: int = 1
    scale: int = 1
    size: int | None = None
    channels: int = 3
    fps: float = 12

    __repr__ = Image.__repr__

    @classmethod
    def of(cls, network: nn.Module, **others: Any) -> Self:
        """Return the modality that a network takes, by its attributes `multiple` and `minimum`."""
        return cls(multiple=getattr(network, "multiple", 1), minimum=getattr(network, "minimum", 1), **others)

    def take(self, given: Any) -> Taken:
        """Convert a path, encoded bytes, a `Video`, an array [T, H, W, 3] or a tensor [T, 3, H, W].

        A path is that of a file, or of a folder of frames. Floats are in 0..1; the rules are in `i2i.images.take`. A
        list is several clips, never the frames of one.
        """
        read, like = self._read(given)
        if self.frames is not None and read.tensor.shape[0] != self.frames:
            read, like = self._cut(read, like, given)
        return Taken(read.tensor[None], like)

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Convert one clip [1, T, C, H, W] to the type of the input.

        An array or tensor for an array or tensor, else a `Video`, whose `frames` are uint8 [T, H, W, 3]. It has the
        times and colour tags of an input file; if it has more or fewer frames, the frame rate; without a file `fps`.
        """
        if isinstance(like, Arrays):
            return replace(like.picture, tensor=values[0]).restore(values[0])
        frames = self.show(values)[0]
        if not isinstance(like, images.Video):
            return images.Video.of(frames, self.fps)
        if len(like) == len(frames):
            return replace(like, frames=frames)
        return images.Video.of(frames, like.fps, like.tags)

    def write(self, thing: Any, path: Path) -> None:
        """Write one clip, anything that `take` accepts, in the format given by the suffix.

        The rules are in `i2i.images.write_video`. A `Video` keeps its times; all others are written with `fps`.
        """
        if not isinstance(thing, images.Video):
            thing = images.Video.of(images.to_uint8(self._read(thing)[0].tensor), self.fps)
        images.write_video(path, thing)

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find animations and videos by their first bytes, and folders of still pictures: the frames of a clip."""
        paths, skipped = images.find_clips(source)
        names = [Path(path.resolve().name) if path == Path(source) else relative(path, source) for path in paths]
        return list(zip(paths, names, strict=True)), skipped

    def file_name(self, name: Path) -> Path:
        """Keep a suffix that can be written; other suffixes of videos become .mp4; append .gif to all others."""
        if name.suffix.lower() in (".m4v", ".mov", ".mkv", ".avi"):
            return name.with_suffix(".mp4")
        return super().file_name(name)

    def show(self, values: Tensor) -> np.ndarray:
        """Return frames, uint8 [N, T, H, W, 3]."""
        frames = images.to_uint8(values.flatten(0, 1))
        return frames.reshape(*values.shape[:2], *frames.shape[1:])

    def release(self, values: Tensor) -> Tensor:
        """Return clips as float32 [N, T, C, H, W] in [0, 1]."""
        return ((values + 1) / 2).clamp(0, 1)

    def gather(self, things: Any) -> Tensor:
        """Return clips as one batch [N, T, C, H, W] with the channels and the size of the task.

        Raises:
            DataError: a clip cannot be read, or they differ in size or length and the task does not fix these.
        """
        import torch

        given = things if isinstance(things, list | tuple) else [things]
        if not given:
            raise DataError("no clips given: pass at least one")
        taken = [self.sized(self.take(thing).values) for thing in given]
        shapes = sorted({(clip.shape[1], *clip.shape[3:]) for clip in taken})
        if len(shapes) > 1:
            shown = ", ".join(f"{length} frames of {width}x{height}" for length, height, width in shapes)
            raise DataError(f"the clips differ ({shown}) and the model accepts any: cut and resize them alike")
        return torch.cat(taken)

    def sized(self, values: Tensor) -> Tensor:
        """Convert clips [N, T, C, H, W] to the length, the channels and the size of the task."""
        values = values[:, : self.frames]
        frames = Image(multiple=self.multiple, channels=self.channels, size=self.size).sized(values.flatten(0, 1))
        return frames.unflatten(0, values.shape[:2])

    def accept(self, values: Any, who: str) -> Tensor:
        """Check that the output is finite clips [N, T, 1 or 3, H, W], and clip them to [-1, 1]."""
        values = super().accept(values, who)
        if values.ndim != 5 or values.shape[2] not in (1, 3) or not values.is_floating_point():
            raise PluginError(
                f"{who} made {values.dtype} {list(values.shape)}; clips are floats [N, T, 1 or 3, H, W] in [-1, 1]"
            )
        return values.clamp(-1, 1)

    def unlike(self, values: Any) -> str:
        """Return what a batch of clips is, unless `values` are floats with five axes."""
        floats = getattr(values, "ndim", 0) == 5 and values.is_floating_point()
        return "" if floats else "floats [frames, channels, height, width] in [-1, 1]"

    def fit(self, batch: dict[str, Any], source: str) -> tuple[dict[str, Any], Undo]:
        """Reflection-pad the clips to translate, and every other clip with the same height and width."""
        given, fitted = batch[source], dict(batch)
        for name, value in batch.items():
            if getattr(value, "ndim", 0) == 5 and value.shape[-2:] == given.shape[-2:]:
                frames, _ = images.pad_to_multiple(value.flatten(0, 1), self.multiple, minimum=self.minimum)
                fitted[name] = frames.unflatten(0, value.shape[:2])

        def undo(made: Tensor, makes: Modality, who: str) -> Tensor:
            if not isinstance(makes, Clip):
                return made
            height, width = (side * makes.scale for side in given.shape[3:])
            made = made[..., :height, :width]
            if made.ndim != 5 or (len(made), *made.shape[3:]) != (len(given), height, width):
                raise PluginError(
                    f"{who} made {list(made.shape)} from {list(given.shape)}; with scale {makes.scale} it must keep "
                    f"N and give {height}x{width} pixels"
                )
            return made

        return fitted, undo

    def receive(self, values: Tensor, made: Modality, like: Any = None) -> Tensor:
        """Return the first frames, with three channels."""
        if self.frames is not None and values.shape[1] < self.frames:
            raise DataError(
                f"the clip has {values.shape[1]} frames here, but the next model takes {self.frames}: "
                f"give a longer clip"
            )
        return values[:, : self.frames].expand(-1, -1, 3, -1, -1)

    def _read(self, given: Any) -> tuple[images.Picture, Any]:
        """Return the frames as [T, 3, H, W], and what `restore` needs."""
        if isinstance(given, str) and not given:  # pathlib would read it as the current folder
            raise DataError("the name of the file is empty")
        if isinstance(given, str | Path | bytes | bytearray | memoryview):
            given = images.read_video(given, fps=self.fps)
        if isinstance(given, images.Video):
            return images.take(given.frames, layout="NHWC"), given
        shape = list(getattr(given, "shape", ()))
        tensor = hasattr(given, "detach")
        if len(shape) != 4 or 0 in shape or shape[1 if tensor else 3] not in (1, 3):
            shown = f" of shape {shape}" if shape else ""
            raise DataError(f"{type(given).__name__}{shown} is not a clip; possible: {READ}, or {SHAPES}")
        picture = images.take(given, layout="NCHW" if tensor else "NHWC")
        return picture, Arrays(picture)

    def _cut(self, read: images.Picture, like: Any, given: Any) -> tuple[images.Picture, Any]:
        """Return the first frames of what `_read` returned."""
        length, frames = read.tensor.shape[0], self.frames or 0
        name = images.shown(given) if isinstance(given, str | Path) else f"the given {type(given).__name__}"
        if length < frames:
            raise DataError(f"{name}: has {length} frames, but the model takes {frames}: give a longer clip")
        note(name, "clip cut", f"has {length} frames, of which the first {frames} are used")
        read = replace(read, tensor=read.tensor[:frames])
        if isinstance(like, images.Video):
            return read, replace(like, frames=like.frames[:frames], times=like.times[: frames + 1])
        return read, Arrays(read)
