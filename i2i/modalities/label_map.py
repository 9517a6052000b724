"""`LabelMap`: images whose pixels are class indices <-> int64 [N, 1, H, W], e.g. the input of SPADE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import PIL.Image

from .. import images
from ..errors import ConfigError, DataError, PluginError
from .base import Modality, Taken
from .image import Image

if TYPE_CHECKING:
    from torch import Tensor

    from .base import Translate

LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, repr=False)
class LabelMap(Image):
    """Label maps, int64 [N, 1, H, W]; same arguments as `Image`."""

    name: ClassVar[str] = "label map"
    plural: ClassVar[str] = "label maps"

    def take(self, given: Any) -> Taken:
        """Convert a one-channel file, PIL image or integer array, unscaled; see `i2i.images.take_labels`."""
        picture = images.take_labels(given)
        return Taken(picture.tensor, picture)

    def restore(self, values: Tensor, like: Any = None) -> Any:
        """Convert class indices to the type of the input.

        Arrays are int64 [H, W] or [N, H, W], tensors [N, 1, H, W]. For all other types, a PIL image of mode L (or a
        list of them) with at most 256 classes.
        """
        given = like.given if isinstance(like, images.Picture) else "pil"
        if given == "tensor":
            return values
        maps = values[:, 0].numpy()
        if given == "array":
            return maps[0] if len(maps) == 1 else maps
        pictures = [grey(labels) for labels in maps]
        return pictures[0] if len(pictures) == 1 else pictures

    def write(self, thing: Any, path: Path) -> None:
        """Write one label map in a lossless format, in 8 bits."""
        if path.suffix.lower() not in LOSSLESS:
            raise DataError(f"{images.shown(path)}: label maps are written as {', '.join(LOSSLESS)}")
        images.save(grey(self.take(thing).values[0, 0].numpy()), path)

    def check(self, output: images.Output) -> None:
        """Reject all options: class indices cannot be resampled, and have no metadata."""
        Modality.check(self, output)

    def foresee(self, given: Taken, takes: Modality, output: images.Output, path: Path | None, name: str) -> None:
        """Accept everything."""

    def resized(self, values: Tensor, output: images.Output) -> Tensor:
        """Return the class indices as they are."""
        return values

    def save(self, values: Tensor, like: Any, path: Path, output: images.Output) -> None:
        """Write one label map."""
        Modality.save(self, values, like, path, output)

    def file_name(self, name: Path) -> Path:
        """Keep the suffix of a lossless format; otherwise append .png, or replace another image suffix with it."""
        if name.suffix.lower() in LOSSLESS:
            return name
        return name.with_suffix(".png") if name.suffix.lower() in self.suffixes else Path(f"{name}.png")

    def show(self, values: Tensor) -> np.ndarray:
        """Paint each class in its own colour: uint8 [N, H, W, 3]."""
        return images.label_colours(int(values.max()) + 1)[values[:, 0].cpu().numpy()]

    def release(self, values: Tensor) -> Tensor:
        """Return label maps as int64 [N, 1, H, W]."""
        return values

    def gather(self, things: Any) -> Tensor:
        """Return label maps of the same size as one batch, int64 [N, 1, H, W]."""
        return Modality.gather(self, things)

    def tiler(self, translate: Translate, like: Tensor, makes: Modality) -> Callable[..., Translate]:
        """Run the network in stages: its margin cannot be measured, as class indices have no gradients."""
        from ..staged import Staged, why_not

        if type(makes) is not Image:
            return Modality.tiler(self, translate, like, makes)
        reason, _ = why_not(translate, like.new_zeros((1, 1, *[max(self.minimum, self.multiple)] * 2)))
        if reason is not None:
            raise ConfigError(f"this model cannot be run in tiles, because {reason}: do not use --tile")
        return Staged(like.device)

    def receive(self, values: Tensor, made: Modality, like: Any = None) -> Tensor:
        """Return the class indices as they are."""
        return values

    def accept(self, values: Any, who: str) -> Tensor:
        """Check that the output is integers [N, 1, H, W]."""
        values = Modality.accept(self, values, who)
        if values.ndim != 4 or values.shape[1] != 1 or values.is_floating_point():
            raise PluginError(f"{who} made {values.dtype} {list(values.shape)}; label maps are integers [N, 1, H, W]")
        return values

    def unlike(self, values: Any) -> str:
        """Return what a batch of label maps is, unless `values` are integers with four axes."""
        whole = getattr(values, "ndim", 0) == 4 and not values.is_floating_point()
        return "" if whole else "whole numbers [1, height, width]"


def grey(labels: np.ndarray) -> PIL.Image.Image:
    """Return class indices [H, W] as a PIL image of mode L.

    Raises:
        DataError: a class does not fit into 8 bits.
    """
    if labels.max(initial=0) > 255:
        raise DataError(f"class {labels.max()} does not fit into an 8-bit image: use an array instead of a file")
    return PIL.Image.fromarray(labels.astype(np.uint8))
