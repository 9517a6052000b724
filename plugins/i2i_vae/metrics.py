"""Metrics for VAEs on the validation images: the likelihood itself, and the number of active latent dimensions.

    metrics: [{use: importance_nll, k: 200}, {use: active_units}]

Papers: importance-weighted estimate arXiv:1312.6114 appendix D and arXiv:1509.00519; active units arXiv:1509.00519.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import default_collate

from i2i import ConfigError, Data
from i2i.metrics import batches

from .task import VAE


class ImportanceNLL:
    """The negative log-likelihood of the validation images in nats, by importance sampling from the encoder.

    -log (1/k sum of p(x, z) / q(z | x)): an upper bound on the negative log-likelihood that approaches it as k
    grows; k = 1 gives the usual bound. Lower is better. The codes are sampled from torch's generator, which
    the run seeds.

    - `nats`: the mean over the images.
    - `pictures`: how many images that is.

    Args:
        k: codes per image.
        pictures: number of validation images, always the same ones; null for all.
        at_once: codes decoded at a time.

    Raises:
        ConfigError: the task is not a `vae`, or there are no validation samples.

    Source: arXiv:1509.00519 eq. 8.
    """

    def __init__(
        self, k: PositiveInt = 200, pictures: PositiveInt | None = None, at_once: PositiveInt = 4000
    ) -> None:
        self.k, self.pictures, self.at_once = k, pictures, at_once

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the metric cannot be computed."""
        refuse_others(task, data)

    @torch.no_grad()
    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {"nats": ..., "pictures": the number of images used}."""
        total, n = 0.0, 0
        part = min(self.k, self.at_once)
        for image in pictures_of(task, data, max(1, self.at_once // part), self.pictures):
            parts = [min(part, self.k - done) for done in range(0, self.k, part)]
            weights = torch.cat([task.log_weights(image, each) for each in parts], 1).double()
            total -= (weights.logsumexp(1) - math.log(self.k)).sum().item()
            n += len(image)
        return {"nats": total / n, "pictures": float(n)}


class ActiveUnits:
    """The number of active latent dimensions: those whose mean varies over the validation images.

    - `count`: the active ones; 0 if the decoder ignores its code (posterior collapse).
    - `of`: all of them.

    Args:
        threshold: the variance of a unit's mean above which it is active.

    Raises:
        ConfigError: the task is not a `vae`, or there are no validation samples.

    Source: arXiv:1509.00519, section 5.2: Cov_x(E[u | x]) > 0.01.
    """

    def __init__(self, threshold: Annotated[float, Gt(0)] = 0.01) -> None:
        self.threshold = threshold

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the metric cannot be computed."""
        refuse_others(task, data)

    @torch.no_grad()
    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {"count": active dimensions, "of": all of them}."""
        codes = torch.cat([task.encode(image) for image in pictures_of(task, data, 500)]).double()
        active = codes.var(0, unbiased=False) > self.threshold
        return {"count": float(active.sum()), "of": float(len(active))}


def refuse_others(task: Any, data: Data) -> None:
    """Raise ConfigError if the task is not a `vae`, or the data has no validation samples."""
    if not isinstance(task, VAE):
        raise ConfigError(f"this metric is for the task vae, not for {type(task).__name__}: remove it")
    if not len(data.validation()):
        raise ConfigError(f"this metric needs validation samples, but {type(data).__name__} has none")


def pictures_of(task: Any, data: Data, n: int, most: int | None = None) -> Iterator[Tensor]:
    """Yield the validation images [N, C, H, W] in batches of `n`, on the task's device."""
    refuse_others(task, data)
    samples = data.validation()
    count = min(len(samples), most or len(samples))
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:count])  # an even spread could skip classes
    device = next(task.decoder.parameters()).device
    for batch in batches((samples[int(i)]["image"] for i in chosen), n):
        yield default_collate(batch).to(device)
