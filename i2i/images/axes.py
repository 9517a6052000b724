"""The axes of arrays and tensors, as letters of NCHW: infer them, and convert to and from [N, C, H, W]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

AXES = ("HW", "HWC", "CHW", "NHWC", "NCHW")
RULE = (
    "possible are uint8, uint16 or floats in 0..1, shaped [H, W], [H, W, C], [C, H, W] or these with N in "
    "front, where C is 1 (grey), 3 (RGB), 4 (RGBA) or, if it comes last, 2 (grey and alpha); tensors have their "
    "channels first; an array of shape [4, W, 3] is RGB; if this is ambiguous, give a PIL image, or layout='HWC' to "
    "`i2i.images.take`"
)


def axes_of(kind: str, shape: tuple[int, ...], dtype: str, clear: bool, layout: str | None) -> str:
    """Return the axes of an array or tensor as letters of NCHW; raise DataError if they are ambiguous or none fit."""

    def fits(axes: str) -> bool:
        if len(axes) != len(shape) or (kind == "tensor" and axes[-1] == "C" and not layout):
            return False
        if "C" not in axes or axes[-1] == "C":
            return "C" not in axes or shape[-1] in (1, 2, 3, 4)
        # Two channels in front are more likely two pictures than grey and alpha. Four in front of a last axis of 3
        # are four rows of RGB: nobody has a picture with alpha that is 3 pixels wide.
        rows = shape[axes.index("C")] == 4 and shape[-1] == 3 and kind == "array" and not layout
        return shape[axes.index("C")] in (1, 3, 4) and not rows

    found = [axes for axes in AXES if fits(axes) and layout in (None, axes)]
    if len(found) == 1 and clear and 0 not in shape:
        return found[0]
    problem = f"could be {' or '.join(found)}" if len(found) > 1 else "is not a picture"
    raise DataError(f"the given {kind}, {dtype} of shape {list(shape)}, {problem}; {RULE}")


def to_nchw(values: Tensor, axes: str) -> Tensor:
    """Return values with these axes as [N, C, H, W]; missing axes get size 1."""
    values = values.permute([axes.index(axis) for axis in "NCHW" if axis in axes])
    for place, axis in enumerate("NCHW"):
        values = values if axis in axes else values.unsqueeze(place)
    return values


def from_nchw(unit: Tensor, axes: str) -> Tensor:
    """Return [N, C, H, W] with these axes."""
    axes += "C" if "C" not in axes and unit.shape[1] > 1 else ""  # a grey [H, W] that became colour
    here = "NCHW"
    for axis in "NC":
        if axis not in axes:
            unit, here = unit.select(here.index(axis), 0), here.replace(axis, "")
    return unit.permute([here.index(axis) for axis in axes])
