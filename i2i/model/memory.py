"""How much memory a translation takes and how much is free: `chosen_tile` decides whether it has to run in tiles.

    i2i translate large.png -o out -m upscale-x4

Whether a picture fits is estimated before it is decoded, because Linux kills a process that takes too much, and with
it the whole folder. What the network takes is counted on two small pictures of noise and extrapolated; what pictures
take on both sides of it was measured (benchmarks/memory.py, which compares the estimates with what was taken).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..devices.host import of_cgroups, of_limit, of_machine
from ..errors import ConfigError, PluginError, ResourceError
from ..images import Output
from ..images.large import can_be_cut
from ..images.notes import note
from ..images.write import IN_ROWS
from ..modalities import Image, LabelMap
from .budget import Mode

if TYPE_CHECKING:
    from .trained import Model

# Bytes a pixel of the input and of the result, without the network; pictures of 8 bits.
WHOLE_IN, WHOLE_OUT, TILED_IN, TILED_OUT, FLOATS = 45, 36, 40, 8, 12
FIXED, TILED_FIXED = 200e6, 40e6  # bytes for any picture: buffers of convolutions, and freed memory in between
IN_HAND = 8  # bytes a pixel of a row of tiles, of input and result: a few are decoded, computed and encoded at a time
SCRATCH, TILED_SCRATCH = 1.15, 4.0  # memory of a network / that of its tensors: convolutions need some of their own
TILES = (1024, 512, 256, 128)  # sides to choose from, in pixels
PROBE = 64  # side of the smaller picture of noise, in pixels
HUGE = 16_000  # bytes a pixel of the larger of input and result, which no known network exceeds
USABLE = 0.9  # of the memory that is free
GB = 1e9
sharing = 1  # processes that translate at the same time, set by each of them


def free(mapped: float = 0.0) -> float | None:
    """Return how many bytes this process can still use, by machine, cgroups and `ulimit -v`; None if unknown.

    `mapped` are bytes of temporary files that it will use like memory; only `ulimit -v` counts them.
    """
    found = [*of_machine(), *of_cgroups()]
    found = [left / sharing for left in found] + [left - mapped for left in of_limit()]
    return max(0.0, min(found)) if found else None


def keep_few(network: nn.Module) -> None:
    """Let oneDNN keep what it prepares for a few sizes of pictures, instead of 1024 convolutions.

    Each takes about 60 kB, so a folder of pictures of many sizes would take 70 MB more. The numbers are read at the
    first convolution of a process; those that the user has set are kept. A training keeps 1024.
    """
    layers = sum(parameter.ndim > 2 for parameter in network.parameters())
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(max(64, 2 * layers)))


class Live(Mode):
    """Counts the bytes of the tensors made inside the `with` block that live at the same time: `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self.owners: dict[int, int] = {}  # tensors of each storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it returns."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                place, size = storage.data_ptr(), storage.nbytes()
                self.now += size if place not in self.owners else 0
                self.owners[place] = self.owners.get(place, 0) + 1
                weakref.finalize(tensor, self._gone, place, size)
        self.peak = max(self.peak, self.now)
        return made

    def _gone(self, place: int, size: int) -> None:
        self.owners[place] -= 1
        if not self.owners[place]:
            del self.owners[place]
            self.now -= size


class Need(NamedTuple):
    """Bytes that a network needs for `pixels` of input: linear * pixels + square * pixels ** 2."""

    linear: float
    square: float

    def of(self, pixels: float) -> float:
        """Return the bytes for this many pixels."""
        return self.linear * pixels + self.square * pixels**2


def need_of(network: Callable[[Tensor], Tensor], takes: Image) -> Need:
    """Count what a network needs, on two sizes of noise (or empty label maps); attention grows with their square."""
    counted: list[tuple[int, int]] = []
    noise = torch.Generator().manual_seed(0)
    for wanted in (PROBE, 2 * PROBE):
        side = -(-max(wanted, takes.minimum) // takes.multiple) * takes.multiple
        if counted and side**2 <= counted[0][0]:
            side *= 2
        given = torch.rand((1, 3, side, side), generator=noise) * 2 - 1
        if isinstance(takes, LabelMap):
            given = torch.zeros(1, 1, side, side, dtype=torch.int64)
        with torch.inference_mode(), Live() as live:
            network(given)
        counted.append((side**2, live.peak))
    (few, small), (many, large) = counted
    square = max(0.0, (large / many - small / few) / (many - few))
    return Need(max(small / few - square * few, large / many - square * many), square)


class Stage(NamedTuple):
    """A network of a model, or of a chain.

    Attributes:
        model: it.
        condition: its arguments, prepared.
        before: size of its input / size of the input of the chain.
        after: the same of its result.
    """

    model: Model
    condition: dict[str, Any]
    before: int
    after: int


class Plan(NamedTuple):
    """What is known of a translation before its input is decoded.

    Attributes:
        size: height and width of the input.
        stages: the networks that it goes through.
        output: what is asked of the result.
        cut: in tiles, the input is decoded a few rows at a time; see `i2i.images.large`.
        rows: in tiles, the result is written row by row.
    """

    size: tuple[int, int]
    stages: list[Stage]
    output: Output
    cut: bool = False
    rows: bool = False

    @property
    def pixels(self) -> int:
        """Number of pixels of the input."""
        return self.size[0] * self.size[1]

    @property
    def mapped(self) -> float:
        """Bytes of the temporary files of a translation in tiles: 8-bit levels of the input and of the result."""
        return 3.0 * self.pixels * (self.cut + self.rows * self.stages[-1].after ** 2)

    def needs(self, tile: int | None) -> float:
        """Return the bytes that the whole translation takes, in tiles of this side or in one piece."""
        result = self.pixels * self.stages[-1].after ** 2
        if tile is None:
            outside = FIXED + self.pixels * WHOLE_IN + result * WHOLE_OUT
        else:
            outside = TILED_FIXED + self.pixels * TILED_IN * (not self.cut) + result * TILED_OUT * (not self.rows)
            outside += IN_HAND * tile * self.size[1] * (1 + self.stages[-1].after ** 2)
        outside += sum(2 * FLOATS * self.pixels * stage.before**2 for stage in self.stages[1:])
        if self.output.size is not None or self.output.scale is not None:
            outside += 2 * FLOATS * result
        return outside + max(self.network(stage, tile) for stage in self.stages)

    def network(self, stage: Stage, tile: int | None) -> float:
        """Return the bytes that one of the networks takes."""
        pixels = float(self.pixels * stage.before**2)
        if tile is not None:
            tiler = stage.model.tiler(stage.condition)
            if not tiler.in_pieces:
                return float(tiler.needs(tile))
            pixels = min(pixels, (tile + 2 * tiler.overlap) ** 2)
        return (SCRATCH if tile is None else TILED_SCRATCH) * stage.model.need(stage.condition).of(pixels)


def chosen_tile(
    model: Model, given: Any, output: Output, condition: dict[str, Any], name: str, path: Path | None = None
) -> int | None:
    """Return the side of the tiles in which an input is translated; None for the whole.

    Args:
        model, condition: what translates it.
        given: the input.
        output: what is asked of the result; its `tile` is kept.
        name: of the input, for messages.
        path: the file to write; None if it is not written.

    Raises:
        ResourceError: it does not fit into memory, not even in tiles.
    """
    asked: int | None = output.tile
    size, stages, left = model.task.takes.size_of(given), model.stages(condition), free()
    if asked is not None and size is not None and asked >= max(size):
        asked = None  # one tile would be the whole
    if size is None or stages is None or left is None:
        return asked
    pixels, largest = size[0] * size[1], max(stage.after for stage in stages)
    if pixels * largest**2 * HUGE < left * USABLE / 2:
        return asked
    plan = Plan(size, stages, output, can_be_cut(given), path is not None and path.suffix.lower() in IN_ROWS)
    if asked is not None:
        left = free(plan.mapped) or 0.0
    try:
        fits = plan.needs(asked) < left * USABLE
    except PluginError:  # the network fails on noise: how it fails on the picture says more
        return asked
    if fits:
        return asked
    about = f"{size[1]}x{size[0]} pixels need about {plan.needs(asked) / GB:.1f} GB of memory"
    only = f"and only {left / GB:.1f} GB are free"
    if asked is not None:
        smaller = any(tile < asked and plan.needs(tile) < left * USABLE for tile in TILES)
        todo = "use smaller tiles or a smaller picture" if smaller else "use a smaller picture"
        raise ResourceError(f"{about} in tiles of {asked}, {only}: {todo}")
    try:
        for tile in TILES:
            if plan.needs(tile) < (free(plan.mapped) or 0) * USABLE:
                note(
                    name,
                    "in tiles",
                    f"would take about {plan.needs(None) / GB:.1f} GB of memory, {only}: it is "
                    f"translated in tiles of {tile} pixels",
                )
                return tile
    except ConfigError:
        raise ResourceError(f"{about}, {only}, and this model cannot work in tiles: use a smaller picture") from None
    least = plan.needs(TILES[-1])
    if least < left * USABLE:  # `ulimit -v` counts the temporary files as well
        least += plan.mapped
    raise ResourceError(
        f"{size[1]}x{size[0]} pixels need about {least / GB:.1f} GB of memory even in tiles, {only}: "
        "use a smaller picture"
    )
