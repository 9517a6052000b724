"""`Image`: pictures of any type, size, depth and orientation <-> float32 [N, 3, H, W] in [-1, 1].

Decoding and encoding are in `i2i.images`; this module pads images to what a task's network accepts, tiles them if
requested, and returns the original type at `scale` times the size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .. import images
from ..errors import ConfigError, DataError, PluginError
from ..images.decode import size_of
from ..images.levels import floats
from ..images.tile import Tiler
from ..images.write import QUALITY, check_holds, write
from .base import Modality, Taken, relative

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
    from typing_extensions import Self

    from .base import Translate, Undo

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow converts to grey


@dataclass(frozen=True)
class Image(Modality):
    """Images, float32 [N, C, H, W] in [-1, 1] as tensors.

    Args:
        multiple: for `takes`: the network needs H and W divisible by this; inputs are padded and results cropped.
        minimum: for `takes`: the network needs H and W of at least this.
        reach: for `takes`: how far the input affects a pixel of the result, in pixels; None to measure it for tiles.
        scale: for `makes`: size of the result / size of the input.
        colour: for `makes`: the result has colour even if the input is grey.
        channels: for `sample`, `decode` and `encode`: 3, or 1 for grey.
        size: for `sample`, `decode` and `encode`: the height and width of the networks, in pixels; None for any.

    Example:
        >>> Image(multiple=8), Image(scale=4)                 # takes and makes of a super-resolution task
        (Image(multiple=8), Image(scale=4))
    """

    name: ClassVar[str] = "image"
    plural: ClassVar[str] = "images"
    suffixes: ClassVar[tuple[str, ...]] = (".png", *(suffix for suffix in images.SUFFIXES if suffix != ".png"))

    multiple: int = 1
    minimum: int = 1
    scale: int = 1
    colour: bool = False
    channels: int = 3
    size: int | None = None
    reach: int | None = None

    def __repr__(self) -> str:
        set_ = {k: v for k, v in vars(self).items() if v != getattr(type(self), k)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in set_.items())})"

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """Return the modality that a network takes, by its attributes `multiple` and `minimum`."""
        return cls(multiple=getattr(network, "multiple", 1), minimum=getattr(network, "minimum", 1))

    def take(self, given: Any) -> Taken:
        """Convert a PIL image, path, encoded bytes, array or tensor; the rules are in `i2i.images.take`."""
        return self._taken(given)

    def take_large(self, given: Any) -> Taken:
        """As `take`, with the pixels as `i2i.images.levels`."""
        return self._taken(given, large=True) if type(self).take is Image.take else self.take(given)

    def _taken(self, given: Any, large: bool = False) -> Taken:
        if isinstance(given, str) and not given:  # pathlib would read it as the current folder
            raise DataError("the name of the file is empty")
        picture = images.take(given, large=large)
        if picture.alpha is None:
            return Taken(picture.tensor, picture)
        return Taken(images.fill_hidden(picture.tensor, picture.alpha), picture)

    def size_of(self, given: Any) -> tuple[int, int] | None:
        """Return height and width; as the header of a file says."""
        return size_of(given)

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Convert images [N, 1 or 3, H, W] in [-1, 1] to the type of the input image; without one, PIL images."""
        if isinstance(like, images.Picture):
            return like.restore(values, self.colour)
        pictures = [images.to_pil(image) for image in (values + 1) / 2]
        return pictures[0] if len(pictures) == 1 else pictures

    def write(self, thing: Any, path: Path) -> None:
        """Write one image in the format given by the suffix; the rules are in `i2i.images.save`."""
        images.save(thing, path)

    def check(self, output: images.Output) -> None:
        """Accept all options."""

    def foresee(self, given: Taken, takes: Modality, output: images.Output, path: Path | None, name: str) -> None:
        """Check that the size asked for does not distort the image, and that the format can hold it."""
        if not isinstance(takes, Image):
            return
        height, width = (side * self.scale for side in given.values.shape[-2:])
        try:
            height, width = output.size_of(height, width, self.scale)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        if path is not None:
            check_holds(path, width, height)

    def resized(self, values: Tensor, output: images.Output) -> Tensor:
        """Resample once: bicubic, antialiased, in sRGB as encoded, like the images that networks learn from."""
        from torch.nn.functional import interpolate

        height, width = values.shape[-2:]
        size = output.size_of(height, width, self.scale)
        if size == (height, width):
            return values
        return interpolate(floats(values), size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)

    def save(self, values: Tensor, like: Any, path: Path, output: images.Output) -> None:
        """Write one image with the depth and the metadata of the input."""
        quality, strip = output.quality or QUALITY, output.strip
        if isinstance(like, images.Picture):
            write(like, values, path, colour=self.colour, quality=quality, strip=strip)
        else:
            images.save(self.restore(values, like), path, quality=quality, strip=strip)

    def show(self, values: Tensor) -> np.ndarray:
        """Return uint8 [N, H, W, 3]."""
        return images.to_uint8(values)

    def find(self, source: str) -> tuple[list[tuple[Any, Path]], list[tuple[Path, str]]]:
        """Find images in files, folders and globs by their first bytes, whatever their names."""
        paths, skipped = images.find(source)
        return [(path, relative(path, source)) for path in paths], skipped

    def file_name(self, name: Path) -> Path:
        """Keep a suffix that can be written; otherwise append .png, or replace .gif with it."""
        return images.writable_name(name)

    def release(self, values: Tensor) -> Tensor:
        """Return images as float32 [N, C, H, W] in [0, 1]."""
        return ((values + 1) / 2).clamp(0, 1)

    def gather(self, things: Any) -> Tensor:
        """Return images as one batch [N, C, H, W] with the channels and the size of the task.

        With one channel, colour is converted to grey. Images are resized to cover the size, and center-cropped.

        Raises:
            DataError: an image cannot be read, or they differ in size and the task does not fix one.
        """
        import torch

        given = things if isinstance(things, list | tuple) else [things]
        if not given:
            raise DataError("no images given: pass at least one")
        taken = [self.sized(self.take(thing).values) for thing in given]
        sizes = sorted({tuple(image.shape[2:]) for image in taken})
        if len(sizes) > 1:
            shown = ", ".join(f"{height}x{width}" for height, width in sizes)
            raise DataError(f"the images differ in size ({shown}) and the model accepts any: resize them to one size")
        return torch.cat(taken)

    def accept(self, values: Any, who: str) -> Tensor:
        """Check that the output is finite images [N, 1 or 3, H, W], and clip them to [-1, 1]."""
        values = super().accept(values, who)
        if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.is_floating_point():
            raise PluginError(
                f"{who} made {values.dtype} {list(values.shape)}; images are floats [N, 1 or 3, H, W] in [-1, 1]"
            )
        return values.clamp(-1, 1)

    def unlike(self, values: Any) -> str:
        """Return what a batch of images is, unless `values` are floats with four axes."""
        floats = getattr(values, "ndim", 0) == 4 and values.is_floating_point()
        return "" if floats else "floats [channels, height, width] in [-1, 1]"

    def fit(self, batch: dict[str, Any], source: str) -> tuple[dict[str, Any], Undo]:
        """Reflection-pad the images to translate, and every other entry with the same height and width."""
        given = batch[source]
        size, fitted = given.shape[-2:], dict(batch)
        for name, value in batch.items():
            if getattr(value, "ndim", 0) >= 3 and value.shape[-2:] == size:
                fitted[name], crop = images.pad_to_multiple(value, self.multiple, minimum=self.minimum)

        def undo(made: Tensor, makes: Modality, who: str) -> Tensor:
            if not isinstance(makes, Image):
                return made
            made = crop(made, makes.scale)
            expected = (len(given), size[0] * makes.scale, size[1] * makes.scale)
            if made.ndim != 4 or (len(made), *made.shape[2:]) != expected:
                raise PluginError(
                    f"{who} made {list(made.shape)} from {list(given.shape)}; with scale {makes.scale} it must keep "
                    f"N and give {expected[1]}x{expected[2]} pixels"
                )
            return made

        return fitted, undo

    def tiler(self, translate: Translate, like: Tensor, makes: Modality) -> Callable[..., Translate]:
        """Run a network that sees the whole picture in stages; tile others with a margin that is measured.

        See `i2i.staged` and `i2i.images.reach`.
        """
        from ..staged import Staged, why_not

        if not isinstance(makes, Image) or makes.name != self.name:
            return super().tiler(translate, like, makes)
        if self.reach is not None:
            return Tiler(self.reach, makes.scale, self.multiple)
        # Large enough that no convolution of a usual network is a whole one.
        side = -(-max(self.minimum, 64) // self.multiple) * self.multiple
        like = like.new_zeros((1, like.shape[1], side, side))
        reason, staged = why_not(translate, floats(like))
        if staged:
            return Staged(like.device)
        overlap = images.reach(translate, floats(like), self.multiple)
        if overlap is not None:
            return Tiler(overlap, makes.scale, self.multiple)
        if reason is None:
            return Staged(like.device)
        raise ConfigError(
            f"this model cannot be run in tiles, because every pixel of its result depends on the whole image, and "
            f"{reason}: do not use --tile"
        )

    def then(self, makes: Modality) -> Modality:
        """Multiply the scales; the result has colour if either adds it, or if the first is not an image."""
        if not isinstance(makes, Image):
            return makes
        colour = self.colour or makes.colour or self.name != makes.name
        return replace(makes, scale=self.scale * makes.scale, colour=colour)

    def receive(self, values: Tensor, made: Modality, like: Any = None) -> Tensor:
        """Return three channels; as for a single task, grey stays grey until one adds colour."""
        if isinstance(like, images.Picture) and like.grey and not (isinstance(made, Image) and made.colour):
            values = grey(values)
        return values.expand(-1, 3, -1, -1)

    def sized(self, x: Tensor) -> Tensor:
        """Convert images [N, 3 or 1, H, W] to the channels and the size of the task."""
        from torch.nn.functional import interpolate

        if self.channels == 3:
            x = x.expand(-1, 3, -1, -1)
        else:
            x = grey(x)
        if self.size is None and self.multiple == 1:
            return x
        old = x.shape[-2:]
        if self.size is None:
            height, width = (max(side // self.multiple, 1) * self.multiple for side in old)
        else:
            height = width = self.size
        scale = max(height / old[0], width / old[1]) if self.size else 1.0
        wanted = max(height, round(old[0] * scale)), max(width, round(old[1] * scale))
        if wanted != tuple(old):
            x = interpolate(x, wanted, mode="bilinear", antialias=True, align_corners=False)
        top, left = (wanted[0] - height) // 2, (wanted[1] - width) // 2
        return x[..., top : top + height, left : left + width]


def grey(x: Tensor) -> Tensor:
    """Return the luma of images [N, 3 or 1, H, W] as [N, 1, H, W]."""
    return x if x.shape[1] == 1 else (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
