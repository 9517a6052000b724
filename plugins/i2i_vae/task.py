"""The task `vae`: its networks, its step, its latent space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from math import inf
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from i2i import ConfigError, Loss, Network, Task
from i2i.checkpoint import Steps
from i2i.data import number, refuse_other_codes, refuse_other_samples
from i2i.modalities import Image
from i2i.networks import in_parts

from .likelihoods import Bernoulli

Weight = Annotated[float, Ge(0)]


class VAE(Task):
    """An encoder q(z | x) and a decoder p(x | z), trained to maximise a bound on log p(x).

    The step minimises -E log p(x | z) + beta KL(q(z | x) || p(z)), in nats per image, with one sample of z per image.
    p(z) is N(0, I), or its transform by a `flow`.

    Args:
        encoder: network (channels, size, 2 * latent): [N, C, H, W] -> mu and log sigma^2, side by side.
        decoder: network (channels, size, latent): [N, latent] -> [N, C, H, W], the parameters of the likelihood.
        latent: latent dimensions.
        channels: image channels, 1 for greyscale.
        size: image height and width in pixels.
        likelihood: distribution of an image given the decoder's output: "bernoulli" or "gaussian".
        beta: weight of the KL term: 1 for the bound itself, more for simpler and more disentangled codes
            (arXiv:1804.03599). The logged `kl` includes this weight, that of `validate` does not.
        flow: invertible network (latent) from N(0, I) to codes; null for none. See `coupling_flow`.
        warm_up: steps over which the weight rises from 0 to beta, so that fewer units collapse early in training
            (arXiv:1602.02282).

    Source: arXiv:1312.6114 eq. 10 and appendix B; beta arXiv:1804.03599 eq. 4 (as in the beta-VAE, 2017);
    a flow as p(z) arXiv:1611.02731.
    """

    ema: ClassVar[tuple[str, ...]] = ("encoder", "decoder")

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        latent: PositiveInt = 20,
        channels: PositiveInt = 1,
        size: PositiveInt = 28,
        likelihood: Loss = Bernoulli,
        beta: Weight = 1.0,
        warm_up: NonNegativeInt = 0,
        flow: Network | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder(channels, size, 2 * latent)
        self.decoder = decoder(channels, size, latent)
        self.likelihood = likelihood()
        self.flow = flow(latent) if flow is not None else None
        if self.flow is not None and not hasattr(self.flow, "inverse"):
            raise ConfigError(
                f"task.flow: {type(self.flow).__name__} is not invertible (it has no `inverse`): use a "
                f"network such as coupling_flow"
            )
        if self.flow is not None:
            self.ema = (*self.ema, "flow")  # type: ignore[misc]  # what this one has
        self.latent, self.channels, self.size = latent, channels, size
        self.makes = Image(channels=channels, size=size)
        self.beta, self.warm_up = beta, warm_up
        self.seen = Steps(self, "seen")

    def players(self) -> dict[str, list[Any]]:
        """All parts share one optimizer."""
        return {"vae": [self.encoder, self.decoder, self.likelihood, *([self.flow] if self.flow is not None else [])]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `image` [N, C, H, W] in [-1, 1]."""
        target = self._target(batch)
        mu, logvar = self.posterior(target)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        reconstruction = -self.likelihood.log_prob(self.decoder(z), target).mean()

        # The bound (eq. 10), with the KL in closed form (appendix B) if p(z) has one.
        now = int(self.seen) + 1
        weight = self.beta * min(now / self.warm_up, 1) if self.warm_up else self.beta
        yield "vae", {"reconstruction": reconstruction, "kl": weight * self.divergence(mu, logvar, z).mean()}
        self.seen.number = now  # not += 1: micro-batches in lockstep are one step

    def _target(self, batch: dict[str, Any]) -> Tensor:
        """Return the images of a batch on the scale of the likelihood; raise ConfigError if they do not fit."""
        refuse_other_samples(batch, "vae", (self.channels, self.size, self.size))
        return self.likelihood.scaled(batch["image"])

    def posterior(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and log sigma^2 of q(z | x), each [N, latent], for images on the scale of the likelihood."""
        mu, logvar = self.encoder(target).float().chunk(2, 1)
        return mu, logvar

    def divergence(self, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """Return KL(q(z | x) || p(z)) in nats [N]; with a flow, estimated from one sample z [N, latent] of q each."""
        if self.flow is None:
            return divergence(mu, logvar)
        noise, volume = self.flow.inverse(z)
        # log q(z) is replaced by its mean over z: the estimate stays unbiased, with less variance.
        return 0.5 * (noise.square() - 1 - logvar).sum(1) - volume

    def log_weights(self, image: Tensor, k: int) -> Tensor:
        """Return log p(x, z) - log q(z | x) [N, k] for `k` codes drawn from q of each image [N, C, H, W] in [-1, 1].

        Their mean is the bound; log mean exp over many approaches log p(x) (arXiv:1509.00519 eq. 8).
        """
        target = self._target({"image": image})
        mu, logvar = (each.repeat_interleave(k, 0) for each in self.posterior(target))
        noise = torch.randn_like(mu)
        z = mu + torch.exp(logvar / 2) * noise
        origin, volume = (z, 0.0) if self.flow is None else self.flow.inverse(z)
        # log p(z) - log N(z; mu, sigma^2), without the terms that cancel.
        prior_over_q = 0.5 * (noise.square() + logvar - origin.square()).sum(1) + volume
        return (self.likelihood.log_prob(self.decoder(z), target.repeat_interleave(k, 0)) + prior_over_q).unflatten(
            0, (-1, k)
        )

    def prior(self, n: int, temperature: float | str = 1.0) -> Tensor:
        """Return `n` codes [n, latent] from p(z), with the noise scaled by `temperature`."""
        drawn = torch.randn(n, self.latent, device=next(self.decoder.parameters()).device)
        degree = number(
            "temperature", temperature, "a number from 0 up: 1 samples as in training", lambda t: 0 <= t < inf
        )
        return self._placed(drawn * degree)

    def _placed(self, noise: Tensor) -> Tensor:
        """Map noise from N(0, I) to codes [N, latent]: unchanged without a flow."""
        return noise if self.flow is None else self.flow(noise)

    def encode(self, image: Tensor) -> Tensor:
        """Return the means [N, latent] of q(z | x) of images [N, C, H, W] in [-1, 1]."""
        return self.posterior(self._target({"image": image}))[0]

    def decode(self, z: Tensor) -> Tensor:
        """Return the expected images [N, C, H, W] in [-1, 1] of codes [N, latent]."""
        refuse_other_codes(z, self.latent)
        return in_parts(lambda part: self.likelihood.mean(self.decoder(part)), z)

    def sample(self, n: int, temperature: float | str = 1.0) -> Tensor:
        """Return `n` new images [n, C, H, W] in [-1, 1], from codes sampled by `prior`."""
        return self.decode(self.prior(n, temperature))

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the bound and its terms in nats per image, whatever beta is: elbo = -reconstruction - kl."""
        target = self._target(batch)
        mu, logvar = self.posterior(target)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        reconstruction = -self.likelihood.log_prob(self.decoder(z), target).mean().item()
        kl = self.divergence(mu, logvar, z).mean().item()
        return {"elbo": -reconstruction - kl, "reconstruction": reconstruction, "kl": kl}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Reconstructions and samples; with two latent dimensions the plane: z1 to the right, z2 downwards."""
        image = batch["image"]
        shown = {"image": image, "reconstruction": self.decode(self.encode(image))}
        if self.latent != 2:
            return shown | {"sampled": self.sample(len(image)), "more samples": self.sample(len(image))}
        values = quantiles().to(image.device)
        for value in values:
            column = torch.stack([value.expand_as(values), values], 1)
            shown[f"z1 = {value:.2f}"] = self.decode(self._placed(column))
        return shown


def divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, sigma^2) || N(0, I)) in nats [N]. Source: arXiv:1312.6114, appendix B."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)


def quantiles(n: int = 10) -> Tensor:
    """Return the midpoints of `n` equally likely intervals of N(0, 1), [n] in ascending order."""
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return (math.sqrt(2) * torch.erfinv(2 * middles - 1)).float()
