"""GAN objectives: the losses of generator and discriminator as functions of logits.

Papers: GAN arXiv:1406.2661 (minimax and non-saturating), LSGAN arXiv:1611.04076, hinge arXiv:1705.02894,
WGAN-GP arXiv:1704.00028, relativistic average arXiv:1807.00734. Named in a config as `gan: {use: lsgan}`; run with
`i2i run configs/cyclegan.yaml`.

In the formulas D is the logit, s the sigmoid, and E the mean over images and patches. If a discriminator returns
several maps (scales), all count the same, whatever their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, relu, softplus

from ..errors import ConfigError
from .regularisers import gradient_penalty

Discriminator = Callable[[Tensor], Tensor | Sequence[Tensor]]


class Objective:
    """Base class of the objectives: subclasses define `convince`, `on_real` and `on_fake` on logits.

    Publications differ by a constant factor on the discriminator's loss. Here it is `lambda_d`, and its default is
    that of the best-known implementation of each objective.

    Args:
        lambda_d: factor on the discriminator's two terms.
    """

    def __init__(self, lambda_d: float = 1.0) -> None:
        self.lambda_d = lambda_d

    def generator(self, D: Discriminator, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss, a scalar.

        Args:
            D: images -> logits of any shape, or a list of them.
            fake: generated images [N, C, H, W], attached to the graph.
            real: images [N, C, H, W]; only `Relativistic` uses them.
        """
        return average(self.convince, D(fake))

    def discriminator(self, D: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, a scalar; `fake` is detached here.

        Args:
            D: images -> logits of any shape, or a list of them; called on `real` first.
            real: images [N, C, H, W].
            fake: generated images [N, C, H, W].
        """
        real_term = average(self.on_real, D(real))
        return (real_term + average(self.on_fake, D(fake.detach()))) * self.lambda_d

    def convince(self, logits: Tensor) -> Tensor:
        """Return the generator's loss on the logits of fakes, a scalar."""
        raise NotImplementedError

    def on_real(self, logits: Tensor) -> Tensor:
        """Return the discriminator's loss on the logits of real images, a scalar."""
        raise NotImplementedError

    def on_fake(self, logits: Tensor) -> Tensor:
        """Return the discriminator's loss on the logits of fakes, a scalar."""
        raise NotImplementedError


def average(term: Callable[[Tensor], Tensor], logits: Tensor | Sequence[Tensor]) -> Tensor:
    """Return `term` of the logits, or its mean over a list of them."""
    if isinstance(logits, Tensor):
        return term(logits)
    return torch.stack([term(scale) for scale in logits]).mean()


class Vanilla(Objective):
    """The non-saturating GAN, on logits.

    G minimises -E log s(D(fake)); D -(E log s(D(real)) + E log(1 - s(D(fake)))) * lambda_d.

    Source: arXiv:1406.2661, end of section 3. The factor 1/2 is pix2pix's; in the GAN paper lambda_d = 1.
    """

    def __init__(self, lambda_d: float = 0.5) -> None:
        super().__init__(lambda_d)

    def convince(self, logits: Tensor) -> Tensor:
        """-log s(D) = softplus(-D), which does not overflow."""
        return softplus(-logits).mean()

    def on_real(self, logits: Tensor) -> Tensor:
        """-log s(D)."""
        return softplus(-logits).mean()

    def on_fake(self, logits: Tensor) -> Tensor:
        """-log(1 - s(D)) = softplus(D)."""
        return softplus(logits).mean()


class Minimax(Vanilla):
    """The saturating GAN of equation 1: G minimises E log(1 - s(D(fake))), D as in `Vanilla`.

    The generator learns slowly while D easily spots the fakes: its gradient is -s(D), that of `Vanilla` -(1 - s(D)).

    Source: arXiv:1406.2661 eq. 1, where lambda_d = 1, the default here.
    """

    def __init__(self, lambda_d: float = 1.0) -> None:
        super().__init__(lambda_d)

    def convince(self, logits: Tensor) -> Tensor:
        """log(1 - s(D)) = -softplus(D)."""
        return -softplus(logits).mean()


class LSGAN(Objective):
    """Least squares: G minimises E (D(fake) - 1)^2; D (E (D(real) - 1)^2 + E D(fake)^2) / 2.

    Source: arXiv:1611.04076 eq. 9, with CycleGAN's factors: 1/2 for D but not for G.
    """

    def __init__(self, lambda_d: float = 0.5) -> None:
        super().__init__(lambda_d)

    def convince(self, logits: Tensor) -> Tensor:
        """(D - 1)^2."""
        return mse_loss(logits, torch.ones_like(logits))

    def on_real(self, logits: Tensor) -> Tensor:
        """(D - 1)^2."""
        return mse_loss(logits, torch.ones_like(logits))

    def on_fake(self, logits: Tensor) -> Tensor:
        """D^2."""
        return mse_loss(logits, torch.zeros_like(logits))


class Hinge(Objective):
    """Hinge loss: G minimises -E D(fake); D E max(0, 1 - D(real)) + E max(0, 1 + D(fake)).

    Source: arXiv:1705.02894 section 3; SNGAN, SAGAN, BigGAN and SPADE use it with lambda_d = 1.
    """

    def convince(self, logits: Tensor) -> Tensor:
        """-D."""
        return -logits.mean()

    def on_real(self, logits: Tensor) -> Tensor:
        """max(0, 1 - D)."""
        return relu(1 - logits).mean()

    def on_fake(self, logits: Tensor) -> Tensor:
        """max(0, 1 + D)."""
        return relu(1 + logits).mean()


class WGANGP(Objective):
    """Wasserstein loss: G minimises -E D(fake); D E D(fake) - E D(real) + lambda_gp * gradient penalty.

    Source: arXiv:1704.00028 eq. 3, algorithm 1. D must not use batch norm, which mixes the images of a batch, while
    the gradient is penalised per image.

    Args:
        lambda_gp: weight of the gradient penalty, 10 in the paper.
        lambda_d: factor on D's two terms, but not on the penalty.
    """

    def __init__(self, lambda_gp: float = 10.0, lambda_d: float = 1.0) -> None:
        super().__init__(lambda_d)
        self.lambda_gp = lambda_gp

    def discriminator(self, D: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """Return the critic's loss including the penalty, a scalar; arguments as in `Objective`."""
        return super().discriminator(D, real, fake) + self.lambda_gp * gradient_penalty(D, real, fake)

    def convince(self, logits: Tensor) -> Tensor:
        """-D."""
        return -logits.mean()

    def on_real(self, logits: Tensor) -> Tensor:
        """-D."""
        return -logits.mean()

    def on_fake(self, logits: Tensor) -> Tensor:
        """D."""
        return logits.mean()


class Relativistic(Objective):
    """The relativistic average GAN: compares each logit with the average logit of the opposite kind.

    With r = D(real) - mean D(fake) and f = D(fake) - mean D(real), D minimises -(E log s(r) + E log(1 - s(f))) *
    lambda_d, and G -(E log s(f) + E log(1 - s(r))) / 2. The means are over all patches of a micro-batch on one
    process.

    Source: arXiv:1807.00734; ESRGAN, arXiv:1809.00219 eq. 1 and 2, with the factors 1/2 of its code.
    """

    def __init__(self, lambda_d: float = 0.5) -> None:
        super().__init__(lambda_d)

    def generator(self, D: Discriminator, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss, a scalar; arguments as in `Objective`.

        Raises:
            ConfigError: the task passes no real images, so it does not support this objective.
        """
        if real is None:
            raise ConfigError(
                "the objective 'relativistic' needs real images, which this task does not pass: use another"
            )
        with torch.no_grad():
            real_logits = D(real)
        return self.apart(D(fake), real_logits) / 2

    def discriminator(self, D: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, a scalar; arguments as in `Objective`."""
        return self.apart(D(real), D(fake.detach())) * self.lambda_d

    @staticmethod
    def apart(high: Tensor | Sequence[Tensor], low: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss that pushes logits `high` above the mean of `low`, and `low` below the mean of `high`."""
        high, low = ([x] if isinstance(x, Tensor) else list(x) for x in (high, low))
        pairs = zip(high, low, strict=True)
        return torch.stack([softplus(b.mean() - a).mean() + softplus(b - a.mean()).mean() for a, b in pairs]).mean()
