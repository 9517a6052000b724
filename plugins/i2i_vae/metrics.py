"""Numbers over all validation pictures that only a VAE has: the likelihood itself, and which latent numbers count.

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
from i2i.metrics.base import batches

from .task import VAE


class ImportanceNLL:
    """The negative log-likelihood of the validation pictures in nats, by importance sampling from the encoder.

    -log (1/k sum of p(x, z) / q(z | x)): an upper bound on the negative log-likelihood that falls towards it as k
    grows; with k = 1 it is the usual bound. The codes are drawn from torch's generator, which the run seeds.

    Args:
        k: codes for each picture.
        pictures: how many validation pictures are used, always the same ones; null for all.
        at_once: codes decoded at a time.

    Raises:
        ConfigError: the task is no `vae`, or there are no validation samples.

    Source: arXiv:1509.00519 eq. 8.
    """

    def __init__(
        self, k: PositiveInt = 200, pictures: PositiveInt | None = None, at_once: PositiveInt = 4000
    ) -> None:
        self.k, self.pictures, self.at_once = k, pictures, at_once

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before anything is trained, where the numbers could not be given."""
        refuse_others(task, data)

    @torch.no_grad()
    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {"nats": ..., "pictures": how many were used}."""
        total, n = 0.0, 0
        part = min(self.k, self.at_once)
        for image in pictures_of(task, data, max(1, self.at_once // part), self.pictures):
            parts = [min(part, self.k - done) for done in range(0, self.k, part)]
            weights = torch.cat([task.log_weights(image, each) for each in parts], 1).double()
            total -= (weights.logsumexp(1) - math.log(self.k)).sum().item()
            n += len(image)
        return {"nats": total / n, "pictures": float(n)}


class ActiveUnits:
    """How many latent numbers say something: those whose mean varies over the validation pictures.

    Args:
        threshold: the variance of a unit's mean above which it is active.

    Raises:
        ConfigError: the task is no `vae`, or there are no validation samples.

    Source: arXiv:1509.00519, section 5.2: Cov_x(E[u | x]) > 0.01.
    """

    def __init__(self, threshold: Annotated[float, Gt(0)] = 0.01) -> None:
        self.threshold = threshold

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before anything is trained, where the numbers could not be given."""
        refuse_others(task, data)

    @torch.no_grad()
    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {"count": active ones, "of": the latent numbers there are}."""
        codes = torch.cat([task.encode(image) for image in pictures_of(task, data, 500)]).double()
        active = codes.var(0, unbiased=False) > self.threshold
        return {"count": float(active.sum()), "of": float(len(active))}


def refuse_others(task: Any, data: Data) -> None:
    """Raise ConfigError where the task is no `vae`, or the data has no validation samples."""
    if not isinstance(task, VAE):
        raise ConfigError(f"this metric is for the task vae, and not for {type(task).__name__}: leave it away")
    if not len(data.validation()):
        raise ConfigError(f"this metric needs validation samples, and {type(data).__name__} has none")


def pictures_of(task: Any, data: Data, n: int, most: int | None = None) -> Iterator[Tensor]:
    """Give the validation pictures [N, C, H, W] in batches of `n`, on the device of the task."""
    refuse_others(task, data)
    samples = data.validation()
    count = min(len(samples), most or len(samples))
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:count])  # evenly spread would skip classes
    device = next(task.decoder.parameters()).device
    for batch in batches((samples[int(i)]["image"] for i in chosen), n):
        yield default_collate(batch).to(device)
