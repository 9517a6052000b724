"""Training images in the latent space of a model: nearest neighbours and arithmetic on codes."""

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
    """Return the data set that a model was trained on, according to its config.

    Args:
        model: a trained model, whose config names the data set.
        root: the new folder of the data set, if it was moved.

    Raises:
        ConfigError: the config does not match what is installed or names no data set, as those of bundled models, or
            `root` is given for a data set without files.
        DataError: the files do not exist.
    """
    data = model.config.get("data")
    if not data:
        raise ConfigError(
            f"{model.source}: its config does not say which data it was trained on, so there are no examples: use a "
            f"model of your own training, such as a run of faces_vae"
        )
    if root is not None:
        if "root" not in data:
            raise ConfigError(f"{model.source}: was trained on {data.get('use')}, which has no files: give no root")
        data = {**data, "root": root}
    return config.from_dict(
        {**model.config, "data": data, "metrics": []}, registry().catalog, str(model.source)
    ).data()


def batches(model: Model, data: Data, n: int | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (indices [B], images [B, C, H, W] in [-1, 1], attributes [B, K]) of training samples.

    With `n`, they are a random subset, always the same one. Attributes are those of the data set in [0, 1], or else
    its classes, one-hot.

    Raises:
        ConfigError: the samples have no "image".
    """
    count = min(n or len(data), len(data))
    # Random, because evenly spaced samples would miss classes that alternate.
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
    """Return the names of a data set's attributes, or else of its classes."""
    classes = getattr(data, "classes", ())  # classes of label maps belong to pixels, and are not a list of names
    return tuple(getattr(data, "attributes", ())) or (tuple(classes) if isinstance(classes, list | tuple) else ())


class Neighbours(NamedTuple):
    """The nearest training images.

    Attributes:
        numbers: their indices in the data set, int64 [N, k], nearest first.
        distance: [N, k], Euclidean between codes, or root mean square between pixels in [0, 1].
        pictures: the images, [N, k, C, H, W] in [0, 1].
    """

    numbers: Tensor
    distance: Tensor
    pictures: Tensor


def neighbours(model: Model, pictures: Any, data: Data, k: int = 5, space: Space = "latent") -> Neighbours:
    """Find the training images nearest to the given images.

    Args:
        model: a model, whose task can encode if `space` is "latent".
        pictures: see `prepared`.
        data: the data set, e.g. `data_of(model)`.
        k: number of neighbours.
        space: compare "latent" codes or "pixel" values.

    Raises:
        ConfigError: the task cannot encode, or unknown space.
        DataError: an image cannot be read.
    """
    if space not in get_args(Space):
        raise ConfigError(f"unknown space '{space}': use {' or '.join(get_args(Space))}")
    if space == "latent":
        need(model, "encode")
    x = prepared(model, pictures)

    def features(x: Tensor) -> Tensor:
        return encoded(model, x).flatten(1) if space == "latent" else x.flatten(1) / (2 * math.sqrt(x[0].numel()))

    # One pass over the data, keeping the k nearest so far.
    query = features(x)
    best = torch.full((len(x), 0), math.inf)
    index = torch.zeros(len(x), 0, dtype=torch.long)
    for numbers, images_, _ in batches(model, data):
        best = torch.cat(
            [best, torch.cdist(query, features(images_), compute_mode="donot_use_mm_for_euclid_dist")], 1
        )
        index = torch.cat([index, numbers.expand(len(x), -1)], 1)
        best, order = best.topk(min(k, best.shape[1]), 1, largest=False)
        index = index.gather(1, order)
    found = {int(i): data.sample(int(i), np.random.default_rng(int(i)))["image"] for i in index.unique()}
    rows = [model.task.makes.sized(torch.stack([found[int(i)] for i in row])) for row in index]
    return Neighbours(index, best, unit(model, torch.stack(rows)))


def arithmetic(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return mean(a) - mean(b) + mean(c) [1, ...] of codes [N, ...].

    Source: arXiv:1511.06434, figure 7: "smiling woman - neutral woman + neutral man", averaged over examples.
    """
    return a.mean(0, keepdim=True) - b.mean(0, keepdim=True) + c.mean(0, keepdim=True)
