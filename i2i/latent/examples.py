"""The pictures a model was trained on, in its latent space: the nearest ones, and sums of their codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from .. import config
from ..data.base import Data
from ..errors import ConfigError
from ..model import Model
from ..plugins import registry
from .codes import BATCH, encoded, need, prepared, unit

Space = Literal["latent", "pixel"]


def data_of(model: Model, root: str | None = None) -> Data:
    """Return the data set that a model was trained on, as its config names it.

    Args:
        model: its config says which.
        root: where its files lie now, if they were moved.

    Raises:
        ConfigError: the config does not fit what is installed, or the data set has no files whose place could change.
        DataError: the files are not there.
    """
    data = model.config.get("data") or {}
    if root is not None:
        if "root" not in data:
            raise ConfigError(f"{model.source}: was trained on {data.get('use')}, which needs no files: give no root")
        data = {**data, "root": root}
    return config.from_dict(
        {**model.config, "data": data, "metrics": []}, registry().catalog, str(model.source)
    ).data()


def batches(model: Model, data: Data, n: int | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (numbers [B], pictures [B, C, H, W] in [-1, 1], attributes [B, K]) of training samples.

    Where only `n` of them are asked for, they are drawn, always the same ones. Attributes are those of the data set
    in [0, 1]; where it has classes, 1 for the own and 0 for the others.

    Raises:
        ConfigError: its samples have no "image".
    """
    count = min(n or len(data), len(data))
    # Evenly spread ones would skip classes that come in turn.
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:count].sort().values
    names = attributes_of(data)
    for part in chosen.split(BATCH):
        samples = [data.sample(int(i), np.random.default_rng(int(i))) for i in part]
        if "image" not in samples[0]:
            raise ConfigError(f'samples of {model.source} have no "image", but {", ".join(samples[0])}')
        values = torch.zeros(len(part), len(names))
        if "attributes" in samples[0]:
            values = torch.stack([sample["attributes"] for sample in samples]).float()
        elif names:
            values[torch.arange(len(part)), torch.stack([sample["label"] for sample in samples])] = 1
        yield part, model.task.makes.sized(torch.stack([sample["image"] for sample in samples])), values


def attributes_of(data: Data) -> tuple[str, ...]:
    """Return the names of what is known about each picture: its attributes, or else the classes."""
    classes = getattr(data, "classes", ())  # those of label maps are of pixels, and no list of names
    return tuple(getattr(data, "attributes", ())) or (tuple(classes) if isinstance(classes, list | tuple) else ())


class Neighbours(NamedTuple):
    """The nearest training pictures.

    Attributes:
        numbers: theirs in the data set, int64 [N, k], nearest first.
        distance: [N, k]: between codes (Euclid), or between pixels in [0, 1] (root of the mean square).
        pictures: themselves, [N, k, C, H, W] in [0, 1].
    """

    numbers: Tensor
    distance: Tensor
    pictures: Tensor


def neighbours(model: Model, pictures: Any, data: Data, k: int = 5, space: Space = "latent") -> Neighbours:
    """Find the training pictures that are nearest to others.

    Args:
        model: in the latent space, its task encodes.
        pictures: see `prepared`.
        data: the data set, as `data_of(model)`.
        k: how many.
        space: compare "latent" codes or "pixel"s.

    Raises:
        ConfigError: the task cannot encode, or no such space.
        DataError: a picture cannot be read.
    """
    if space not in get_args(Space):
        raise ConfigError(f"space '{space}' is not known: use {' or '.join(get_args(Space))}")
    if space == "latent":
        need(model, "encode")
    x = prepared(model, pictures)

    def place(x: Tensor) -> Tensor:
        return encoded(model, x).flatten(1) if space == "latent" else x.flatten(1) / (2 * math.sqrt(x[0].numel()))

    # Keep the best k while going through the data once.
    here = place(x)
    best = torch.full((len(x), 0), math.inf)
    index = torch.zeros(len(x), 0, dtype=torch.long)
    for numbers, images_, _ in batches(model, data):
        best = torch.cat([best, torch.cdist(here, place(images_), compute_mode="donot_use_mm_for_euclid_dist")], 1)
        index = torch.cat([index, numbers.expand(len(x), -1)], 1)
        best, order = best.topk(min(k, best.shape[1]), 1, largest=False)
        index = index.gather(1, order)
    found = {int(i): data.sample(int(i), np.random.default_rng(int(i)))["image"] for i in index.unique()}
    rows = [model.task.makes.sized(torch.stack([found[int(i)] for i in row])) for row in index]
    return Neighbours(index, best, unit(model, torch.stack(rows)))


def arithmetic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a - b + c [1, ...], where each is the average of codes [N, ...].

    Source: arXiv:1511.06434, figure 7: "smiling woman - neutral woman + neutral man", each of several examples.
    """
    return a.mean(0, keepdim=True) - b.mean(0, keepdim=True) + c.mean(0, keepdim=True)
