"""Conversion: a picture of any kind -> float32 [N, 3, H, W] in [-1, 1] (`take`), and back (`Picture.restore`).

16-bit and float pixels are scaled by their type, never by their maximum. Ambiguous input raises an error that states
the rule. `pad_to_multiple` pads any size to one that a network accepts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from ..errors import DataError, NumericError, PluginError
from ..files.scratch import release
from .axes import axes_of, from_nchw, to_nchw
from .carried import NOTHING, Carried, photograph
from .decode import Photo, read_labels, read_photo
from .large import read_large
from .levels import bands, unit_floats
from .notes import note
from .pixels import WHITE, check_floats, rescaled, to_image
from .profile import Convert, Space, way_back
from .spill import empty

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Picture:
    """A picture as a tensor, with what is needed to convert a result back to the original type.

    Attributes:
        tensor: float32 [N, 3, H, W] in [-1, 1], or `levels`; grey is repeated. N is 1 unless the input has four
            dimensions. For a label map int64 [N, 1, H, W].
        alpha: float32 [N, 1, H, W] in [0, 1], or `levels`, which the network does not see; None if there was none.
        grey: the input has a single colour channel.
        dtype: its depth: uint8, uint16 or (any float) float32.
        back: converts a tensor [N, C, H, W] in [0, 1] to the original type.
        given: the original type: "pil" (also for paths and bytes), "array" or "tensor".
        carried: its metadata, with the profile that its pixels had; nothing for an array or tensor.
    """

    tensor: Tensor
    alpha: Tensor | None
    grey: bool
    dtype: np.dtype[Any]
    back: Callable[[Tensor], Any]
    given: Literal["pil", "array", "tensor"] = "pil"
    carried: Carried = NOTHING

    def pixels(self, tensor: Tensor, colour: bool = False, *, strip: bool = False) -> tuple[np.ndarray, Carried]:
        """Convert the result for one picture to pixels for a file, as `restore`.

        Args:
            tensor: as for `restore`.
            colour: the same.
            strip: drop the metadata, and with it the profile: the pixels are sRGB.

        Returns:
            [H', W', C] in the depth of the input, and its metadata.
        """
        if len(self.tensor) > 1:
            raise DataError(f"{len(self.tensor)} pictures given, but only one is possible; save them one by one")
        self._check(tensor)
        carried, size = NOTHING if strip else self.carried, (tensor.shape[2], tensor.shape[3])
        transparent, channels = self.alpha is not None, 1 if self.grey and not colour else 3
        convert, icc = way_back(carried.icc, channels + transparent)
        adapted = replace(carried, icc=icc).at(size[1], size[0])
        if not transparent and convert is None and tensor.shape[1] == channels:
            as_stored = tensor[0].permute(1, 2, 0).cpu().numpy()
            if as_stored.dtype == self.dtype and self.dtype.kind != "f":
                return as_stored, adapted
        values, alpha_of = empty((*size, channels + transparent), self.dtype), self._alpha(size)
        for rows in bands(*size):  # floats of all pixels would take many times the memory
            unit = self._unit(tensor[..., rows, :], alpha_of(rows), colour)
            values[rows] = to_pixels(unit, self.dtype, convert)
            release()
        return values, adapted

    def restore(self, tensor: Tensor, colour: bool = False) -> Any:
        """Convert a result to the original type, at the size of the result; alpha is resized to it.

        Args:
            tensor: [N, 1 or 3, H', W'] in [-1, 1], where values outside are clipped, or `levels`.
            colour: return RGB even if the input was grey (for a task that adds colour).

        Raises:
            NumericError: it contains NaN or infinity.
            PluginError: it does not have the shape of a picture.
        """
        import torch

        if len(self.tensor) > 1 or (self.dtype.kind == "f" and self.given != "pil"):
            self._check(tensor)
            return self.back(self._unit(tensor, self._alpha((tensor.shape[2], tensor.shape[3]))(slice(None)), colour))
        values, carried = self.pixels(tensor, colour)
        if self.given == "pil":
            return photo_of(values, carried)
        return self.back(torch.from_numpy(values).permute(2, 0, 1)[None])

    def _check(self, tensor: Tensor) -> None:
        if tensor.ndim != 4 or len(tensor) != len(self.tensor) or tensor.shape[1] not in (1, 3):
            shapes = f"{list(tensor.shape)} for pictures {list(self.tensor.shape)}"
            raise PluginError(f"the result has shape {shapes}; it must be [N, 1 or 3, H, W] with the same N")

    def _alpha(self, size: tuple[int, int]) -> Callable[[slice], Tensor | None]:
        """Return what gives rows of alpha in the size of a result, as floats."""
        alpha = self.alpha
        if alpha is None:
            return lambda rows: None
        if alpha.shape[2:] == size:
            return lambda rows: of_alpha(alpha[..., rows, :])
        scale, rest = divmod(size[0], alpha.shape[2])
        if not alpha.is_floating_point() and not rest and size[1] == scale * alpha.shape[3]:
            return lambda rows: enlarged(alpha, scale, rows)
        whole = resized(of_alpha(alpha), size)
        return lambda rows: whole[..., rows, :]

    def _unit(self, tensor: Tensor, alpha: Tensor | None, colour: bool) -> Tensor:
        """Return rows of a result as float32 [N, C, h, W'] in [0, 1], with the channels of the input."""
        from torch import cat

        if not tensor.isfinite().all():
            raise NumericError("the result contains NaN or infinity and cannot become a picture; check the weights")
        unit = unit_floats(tensor)
        if self.grey and not colour and unit.shape[1] == 3:
            weights = unit.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as in Pillow
            unit = (unit * weights[:, None, None]).sum(1, keepdim=True)
        elif unit.shape[1] == 1 and (colour or not self.grey):
            unit = unit.expand(-1, 3, -1, -1)
        return unit if alpha is None else cat([unit, alpha.to(unit.device)], 1)


def of_alpha(values: Tensor) -> Tensor:
    """Return alpha in [0, 1], or levels of it, as float32 in [0, 1]."""
    return values if values.is_floating_point() else unit_floats(values)


def resized(alpha: Tensor, size: tuple[int, int]) -> Tensor:
    """Return alpha [N, 1, H, W] in another size."""
    from torch.nn.functional import interpolate

    return interpolate(alpha, size, mode="bilinear", antialias=True)


def enlarged(alpha: Tensor, scale: int, rows: slice) -> Tensor:
    """Return rows of alpha, given as levels, `scale` times as large; from the few rows that they depend on."""
    first, last = max(0, rows.start // scale - 2), -(-rows.stop // scale) + 2
    near = of_alpha(alpha[..., first:last, :])
    made = resized(near, (near.shape[2] * scale, near.shape[3] * scale))
    return made[..., rows.start - first * scale : rows.stop - first * scale, :]


def kind_of(img: Any) -> Literal["pil", "array", "tensor"]:
    """Return the type of an image, as in `Picture.given`."""
    import torch

    return "tensor" if isinstance(img, torch.Tensor) else "array" if isinstance(img, np.ndarray) else "pil"


def take(img: Any, *, layout: str | None = None, limit: int | None = None, large: bool = False) -> Picture:
    """Convert a picture of any kind to a tensor; the input is not modified.

    Args:
        img: PIL image, path, open binary file, encoded bytes, numpy array or tensor.
        layout: the axes of an array or tensor, e.g. "HWC", if its shape is ambiguous.
        limit: the maximum number of pixels (H * W); by default that of `limits`.
        large: hold it as `levels` instead of floats, unless it consists of floats.

    Returns:
        The picture. Its `restore` returns a PIL image for PIL images, paths and bytes: upright, with the metadata and
        colour profile of the original, and its mode if that is L, LA, RGB, RGBA, I;16 or F (1 becomes L, I becomes
        I;16, all others RGB or RGBA). For an array or tensor, dtype, axes and device are the same.

    Raises:
        DataError: it cannot be read, or is ambiguous; the message states the rule.

    Example:
        >>> picture = take(np.zeros((8, 5, 3), np.uint8))
        >>> picture.restore(picture.tensor).shape
        (8, 5, 3)
    """
    import torch

    back: Callable[[Tensor], Any]
    carried, space = NOTHING, None
    if isinstance(img, torch.Tensor):
        depths = {torch.uint8: np.uint8, torch.uint16: np.uint16}
        clear = img.layout == torch.strided and (img.dtype in depths or img.is_floating_point())
        axes = axes_of("tensor", img.shape, str(img.dtype), clear, layout)
        dtype, values = np.dtype(depths.get(img.dtype, np.float32)), img.detach()
        back = partial(_to_tensor, axes=axes, dtype=img.dtype, device=img.device)
    else:
        own = isinstance(img, np.ndarray)
        read = read_large if large else read_photo
        array, carried, space = Photo(img, NOTHING, None) if own else read(img, limit=limit)
        axes = "" if own else "HWC"
        floats, native = array.dtype.kind == "f", array.dtype.newbyteorder("=")
        axes = axes or axes_of("array", array.shape, str(native), floats or native in WHITE, layout)
        dtype = np.dtype(np.float32) if floats else native
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is rejected below
            values = torch.from_numpy(np.array(array, dtype) if own else np.ascontiguousarray(array, dtype))
        back = partial(to_array, axes=axes, dtype=array.dtype) if own else partial(_to_pil, dtype=dtype)
    values = to_nchw(values, axes)
    if large and dtype.kind != "f":
        return _large(values, space, partial(Picture, dtype=dtype, back=back, given=kind_of(img), carried=carried))
    unit = values.to(torch.float32, copy=True, memory_format=torch.contiguous_format).div_(WHITE[dtype])
    if space is not None:
        unit = in_srgb(unit, space)
    if dtype.kind == "f":
        try:
            check_floats(*(float(bound) for bound in unit.aminmax()))
        except DataError as error:
            raise DataError(f"the given {type(img).__name__} {error}") from None
    grey, transparent = unit.shape[1] <= 2, unit.shape[1] in (2, 4)
    unit.clamp_(0, 1)
    alpha = unit[:, -1:].clone() if transparent else None
    colour = (unit[:, :1] if grey else unit[:, :3]).mul_(2).sub_(1)
    return Picture(colour.expand(-1, 3, -1, -1).contiguous(), alpha, grey, dtype, back, kind_of(img), carried)


def _large(values: Tensor, space: Space | None, made: Callable[..., Picture]) -> Picture:
    """Return integers [N, C, H, W] as a picture of `levels`; they get 16 bits if a profile has to be applied."""
    import torch

    if space is not None:
        count, channels, height, width = values.shape
        room = torch.from_numpy(empty((count, height, width, channels), np.uint16)).permute(0, 3, 1, 2)
        for rows in bands(height, width):
            unit = in_srgb(unit_floats(values[..., rows, :]), space)
            room[..., rows, :] = unit.clamp(0, 1).mul_(65535).round_().to(torch.uint16)
            release()
        values = room
    grey, transparent = values.shape[1] <= 2, values.shape[1] in (2, 4)
    colour = values[:, :1].expand(-1, 3, -1, -1) if grey else values[:, :3]
    return made(colour, values[:, -1:] if transparent else None, grey)


def in_srgb(unit: Tensor, space: Space) -> Tensor:
    """Convert the colours of one picture [1, C, H, W] in [0, 1] from a profile to sRGB, in place."""
    import torch

    colours = len(space.curves)
    converted = torch.from_numpy(space.to_srgb(unit[0, :colours].permute(1, 2, 0).numpy()))
    unit[:, :colours] = converted.permute(2, 0, 1)
    return unit


def take_labels(img: Any, *, limit: int | None = None) -> Picture:
    """Convert a label map to a tensor of class indices, without scaling.

    Args:
        img: PIL image, path or encoded bytes with one channel; or an array or tensor of integers, [H, W], [1, H, W]
            or [N, 1, H, W].
        limit: the maximum number of pixels (H * W); by default that of `limits`.

    Returns:
        The label map, with `tensor` int64 [N, 1, H, W]. `restore` converts an image generated from it to RGB: a PIL
        image for PIL images, paths and bytes, uint8 [H, W, 3] for an array [H, W], channels first for the others.

    Raises:
        DataError: it cannot be read, or is not a label map; the message states the rule.

    Example:
        >>> take_labels(np.array([[0, 1], [2, 3]])).tensor.shape
        torch.Size([1, 1, 2, 2])
    """
    import torch

    back: Callable[[Tensor], Any]
    if isinstance(img, torch.Tensor | np.ndarray):
        given = f"the given {type(img).__name__}, {img.dtype} of shape {list(img.shape)},"
        values = torch.as_tensor(img) if isinstance(img, torch.Tensor) else torch.from_numpy(np.array(img))
        whole = not (values.is_floating_point() or values.is_complex())
        if not whole or values.ndim not in (2, 3, 4) or (values.ndim > 2 and values.shape[-3] != 1) or 0 in img.shape:
            raise DataError(
                f"{given} is not a label map; possible are integers shaped [H, W], [1, H, W] or [N, 1, H, W]"
            )
        if values.min() < 0:
            raise DataError(f"{given} has negative values; a label map contains class indices")
        axes = {2: "HW", 3: "CHW", 4: "NCHW"}[values.ndim]
        if isinstance(img, torch.Tensor):
            back = partial(_to_tensor, axes=axes if "C" in axes else "CHW", dtype=torch.uint8, device=img.device)
        else:
            back = partial(to_array, axes=axes, dtype=np.dtype(np.uint8))
    else:
        values, axes = torch.from_numpy(read_labels(img, limit=limit)), "HW"
        back = partial(_to_pil, dtype=np.dtype(np.uint8))
    labels = to_nchw(values.long(), axes)
    return Picture(labels, None, False, np.dtype(np.uint8), back, kind_of(img))


def _to_tensor(unit: Tensor, axes: str, dtype: Any, device: Any) -> Tensor:
    values = from_nchw(unit, axes).to(device)
    if not dtype.is_floating_point and unit.is_floating_point():
        values = (values * (255 if dtype.itemsize == 1 else 65535)).round()
    return values.to(dtype).contiguous()


def to_array(unit: Tensor, axes: str, dtype: Any) -> np.ndarray:
    """Return [N, C, H, W] in [0, 1], or levels of this dtype, as an array with these axes."""
    values = np.ascontiguousarray(from_nchw(unit, axes).cpu().numpy())
    return (values if dtype.kind == "f" else rescaled(values, dtype.newbyteorder("="))).astype(dtype, copy=False)


def to_pixels(unit: Tensor, dtype: Any, convert: Convert | None = None) -> np.ndarray:
    """Return [1, C, H, W] in [0, 1] as [H, W, C] of this dtype, in the profile of the input if `convert` is given."""
    if convert is None:
        return to_array(unit, "HWC", dtype)
    values = to_array(unit, "HWC", np.dtype(np.float32))
    colours = 1 if values.shape[2] <= 2 else 3  # all but alpha
    return rescaled(np.concatenate([convert(values[..., :colours]), values[..., colours:]], 2), dtype)


def _to_pil(unit: Tensor, dtype: Any) -> Image.Image:
    return photo_of(to_pixels(unit, dtype), NOTHING)


def photo_of(values: np.ndarray, carried: Carried) -> Image.Image:
    """Return pixels [H, W, C] as a PIL image with what the picture carries."""
    if values.dtype == np.uint16 and values.shape[2] > 1:
        note("16-bit colour", "8-bit result", "has 8 bits as a PIL image; `i2i translate` and arrays keep 16")
    return photograph(to_image(values), carried)
