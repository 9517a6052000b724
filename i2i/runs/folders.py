"""Compare two folders of pictures without a model: `i2i evaluate results truth --metrics psnr,ssim,kid`.

Every metric is the one that configs use. One that compares sets, such as `kid`, gets all pictures of both
folders. The others compare pairs: two pictures of the same name, whatever the suffix, in the same subfolder.

Pictures are read as for training: 8 bits, sRGB, transparent pixels on white. All are read once before anything is
measured, so that every metric leaves out the same files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from .. import config, images
from ..data import to_tensor
from ..data.base import Data, Sample
from ..errors import DataError, blame, counted
from ..metrics.base import check_needs
from ..plugins import registry
from ..task import Task

Say = Callable[[str], None]
SHOWN = 3  # names in a message; the rest is counted


class Given(Task):
    """A task whose predictions are the pictures of the first folder."""

    def translate(self, image: Tensor) -> Tensor:
        """Return the pictures as they are."""
        return image


@dataclass
class Pairs(Data, Sequence[Sample]):
    """Pairs of pictures in two folders, read when they are needed.

    Args:
        pairs: the two paths of each.
    """

    pairs: list[tuple[Path, Path]]

    def validation(self) -> Sequence[Sample]:
        """Return "A" of the first folder and "B" of the second, [3, H, W]."""
        return self

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Return one pair.

        Raises:
            DataError: a picture cannot be read, or they differ in size.
        """
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        first, second = self.pairs[index]
        a, b = read(first), read(second)
        if a.shape != b.shape:
            sizes = [f"{images.shown(path)} has {x.shape[2]}x{x.shape[1]}" for path, x in ((first, a), (second, b))]
            raise DataError(f"{' pixels, but '.join(sizes)}: paired metrics need equal sizes; kid and frechet do not")
        return {"A": a, "B": b}


def read(path: Path) -> Tensor:
    """Return a picture, float32 [3, H, W] in [-1, 1]."""
    return to_tensor(images.read_rgb(path))


def evaluate_folders(
    first: str, second: str, metrics: str | Sequence[Any] | None = None, say: Say | None = None
) -> dict[str, float]:
    """Compare the pictures of two folders, the first of which is judged.

    Args:
        first, second: the folders, which are searched recursively.
        metrics: names, "kid,lpips" or ["kid", "lpips"], or what `metrics` may be in a config; else psnr and ssim.
        say: called with a sentence about what is compared with what; by default printed on stderr.

    Returns:
        "pictures/first" and "pictures/second", "pairs" if a metric needs them, and the scores by name.

    Raises:
        DataError: a folder has no pictures that can be read, two pictures of one have the same name, no names match,
            or the sizes of a pair differ.
        ConfigError: an unknown metric, or one that cannot judge pictures alone.
        WeightsError: a metric needs a file that is missing.
    """
    say = say or to_stderr
    parts = config.metrics_of(metrics or "psnr,ssim", registry().catalog)
    chosen = [(name, build()) for name, build in parts]
    found = readable(first, say), readable(second, say)
    numbers: dict[str, float] = {"pictures/first": len(found[0]), "pictures/second": len(found[1])}
    data: Pairs | None = None
    task = Given()
    if any(not hasattr(metric, "between") for _, metric in chosen):
        data = paired(first, second, found, say)
        numbers["pairs"] = len(data)
        for name, metric in chosen:
            if not hasattr(metric, "between"):
                check_needs(name, metric, task, data)
    for name, metric in chosen:
        with blame(metric, "an evaluation"), torch.no_grad():
            if hasattr(metric, "between"):
                scores = metric.between(*(stream(paths) for paths in found))
                about = f"{len(found[0])} and {counted(len(found[1]), 'picture')}, {metric.protocol()}"
            else:
                scores, about = metric(task, data), f"mean of {counted(len(data or ()), 'pair')}"
        say(f"{', '.join(f'{name}/{key}' for key in scores)}: {about}")
        numbers |= {f"{name}/{key}": float(value) for key, value in scores.items()}
    return numbers


def to_stderr(text: str) -> None:
    """Print a sentence on stderr."""
    print(f"i2i: {text}", file=sys.stderr)


def readable(folder: str, say: Say) -> list[Path]:
    """Return the pictures in a folder, and say which files of pictures cannot be read and are left out.

    Raises:
        DataError: there are none.
    """
    named, skipped = images.find(folder)
    broken = [
        f"{images.shown(path)}: {why}"
        for path, why in skipped
        if (path.suffix.lower() in images.SUFFIXES and why != "hidden") or why.startswith(images.UNSUPPORTED)
    ]
    found = []
    for path in named:
        try:
            images.read_rgb(path)
        except DataError as error:
            broken.append(str(error))
        else:
            found.append(path)
    for sentence in broken:
        say(sentence)
    if not found:
        raise DataError(f"{images.shown(folder)}: contains no images" + " that can be read" * bool(broken))
    if broken:
        say(f"left out of {images.shown(folder)}, not in any score: {len(broken)} of {len(broken) + len(found)}")
    return found


def stream(paths: Sequence[Path]) -> Iterator[Tensor]:
    """Read pictures one by one."""
    return (read(path) for path in paths)


def paired(first: str, second: str, found: Sequence[list[Path]], say: Say) -> Pairs:
    """Return the pairs by name, and say what has no partner."""
    names = [by_name(folder, paths) for folder, paths in zip((first, second), found, strict=True)]
    common = [name for name in names[0] if name in names[1]]
    if not common:
        some = [images.shown(paths[0].name) for paths in found]
        raise DataError(
            f"no picture in {images.shown(first)} has the name of one in {images.shown(second)} (such as {some[0]} "
            f"and {some[1]}): rename them, or use metrics of sets, such as kid"
        )
    for folder, own, others in ((first, names[0], names[1]), (second, names[1], names[0])):
        alone = [images.shown(path.name) for name, path in own.items() if name not in others]
        if alone:
            more = f" and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
            say(f"only in {images.shown(folder)}, not compared: {', '.join(alone[:SHOWN])}{more}")
    return Pairs([(names[0][name], names[1][name]) for name in common])


def by_name(folder: str, paths: Sequence[Path]) -> dict[str, Path]:
    """Return the pictures of a folder by their relative path without the suffix."""
    names: dict[str, Path] = {}
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if names.setdefault(name, path) != path:
            raise DataError(
                f"{images.shown(names[name])} and {images.shown(path)} have the same name without the suffix, so "
                f"pairs are not clear: rename or remove one"
            )
    return names
