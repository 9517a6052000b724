"""The task `gan`: a generator, a discriminator, and the game between them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i import ConfigError, Loss, Network, Task
from i2i.data import class_names, class_numbers, number, refuse_other_codes, refuse_other_labels, refuse_other_samples
from i2i.losses import WGANGP, Relativistic, average, r1_penalty
from i2i.modalities import Image
from i2i.networks import Augmentation, augmented, in_parts

from .watch import Watch, diversity, ranked

Weight = Annotated[float, Ge(0)]
COLUMNS = 8  # of generated images in samples/


class GAN(Task):
    """A generator of images from codes z ~ N(0, I), optionally class-conditional, against a discriminator.

    Players: "D", with `d_steps` updates, each on its own share of the batch, and then "G". A batch of the data set
    therefore contains `d_steps` batches for D.

    In training, generated images take the labels of the real images in the batch, so class frequencies match.

    Args:
        generator: network (channels, size, latent, classes): codes [N, latent] and labels [N] -> [N, C, H, W].
        discriminator: network (channels, size, classes): [N, C, H, W] and labels [N] -> logits [N, ...].
        gan: the objective: vanilla, minimax, lsgan, hinge, wgan_gp or relativistic.
        latent: latent dimensions.
        channels: image channels: 1 for greyscale, 3 for colour.
        size: image height and width in pixels.
        classes: class names, or how many there are; null for none.
        d_steps: updates of D per update of G.
        g_share: images in an update of G, as a multiple of those in an update of D; 2 in SNGAN.
        reuse: update G with the images that D was just trained on instead of new ones, as much published code does;
            it takes less time and more memory.
        lambda_r1: weight gamma of the R1 gradient penalty on real images (arXiv:1801.04406); 0 for none.
        augment: augmentations of all D inputs, in this order: colour, translation, cutout, flip (arXiv:2006.10738).
        alarm_after: batches in a row that must look wrong before a warning.

    Source: arXiv:1406.2661, algorithm 1; arXiv:1802.05637 for classes.
    """

    ema: ClassVar[tuple[str, ...]] = ("generator",)

    def __init__(
        self,
        generator: Network,
        discriminator: Network,
        gan: Loss,
        latent: PositiveInt = 128,
        channels: PositiveInt = 1,
        size: PositiveInt = 32,
        classes: PositiveInt | tuple[str, ...] | None = None,
        d_steps: PositiveInt = 1,
        g_share: PositiveInt = 1,
        reuse: bool = False,
        lambda_r1: Weight = 0.0,
        augment: tuple[Augmentation, ...] = (),
        alarm_after: PositiveInt = 500,
    ) -> None:
        super().__init__()
        if reuse and g_share > 1:
            raise ConfigError(f"gan: reuse=true with g_share={g_share}: D saw too few images; set g_share to 1")
        self.latent, self.channels, self.size = latent, channels, size
        self.makes = Image(channels=channels, size=size)
        self.classes = class_names(classes)
        self.generator = generator(channels, size, latent, len(self.classes))
        self.discriminator = discriminator(channels, size, len(self.classes))
        self.gan = gan()
        self.d_steps, self.g_share, self.reuse = d_steps, g_share, reuse
        self.lambda_r1, self.augment = lambda_r1, augment
        self.watch = Watch(alarm_after, certain=not isinstance(self.gan, WGANGP), turns=d_steps)

    def players(self) -> dict[str, list[nn.Module]]:
        """The discriminator and the generator."""
        return {"G": [self.generator], "D": [self.discriminator]}

    def check(self, batch: dict[str, Any]) -> None:
        """Raise ConfigError if a label is not one of the classes."""
        refuse_other_labels(batch, "gan", self.classes)

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `image` [N, C, H, W] in [-1, 1] and, with classes, `label` int64 [N]."""
        images, labels = self._given(batch)
        if len(images) % self.d_steps:
            raise ConfigError(
                f"gan: {len(images)} images cannot be split into {self.d_steps} updates of D (task.d_steps): make "
                f"data.batch_size a multiple of it"
            )
        shares = zip(
            images.chunk(self.d_steps), labels.chunk(self.d_steps) if labels is not None else [None] * self.d_steps
        )
        for real, label in shares:
            # The discriminator: ascend on real and generated images (algorithm 1, inner loop).
            with torch.set_grad_enabled(self.reuse):
                fake = self.generator(self.prior(len(real)), label)
            logits: list[Tensor] = []
            losses = {"gan": self.gan.discriminator(partial(self._judged, label, logits), real, fake)}
            if self.lambda_r1:
                losses["r1"] = r1_penalty(partial(self._judged, label, []), real, self.lambda_r1)
            yield "D", losses | self.watch(real, fake.detach(), logits[0].detach(), logits[1].detach(), label)

        # The generator: images that D classifies as real (section 3), new ones unless it may `reuse` D's.
        if not self.reuse:
            label = label.repeat(self.g_share) if label is not None else None
            fake = self.generator(self.prior(len(real) * self.g_share), label)
        yield "G", {"gan": self.gan.generator(partial(self._judged, label, []), fake, real)}

    def _judged(self, label: Tensor | None, kept: list[Tensor], image: Tensor) -> Tensor:
        """Return D's logits on augmented images, and append them to `kept`; uses the first len(image) labels."""
        kept.append(
            self.discriminator(augmented(image, self.augment), None if label is None else label[: len(image)])
        )
        return kept[-1]

    def _given(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Return the images and, with classes, the labels of a batch; raise ConfigError if they do not fit."""
        refuse_other_samples(batch, "gan", (self.channels, self.size, self.size), self.classes)
        return batch["image"], batch["label"] if self.classes else None

    def prior(self, n: int, truncation: float | str | None = None) -> Tensor:
        """Return `n` codes [n, latent] from N(0, I), with each component within `truncation` of 0 if given."""
        device = next(self.generator.parameters()).device
        if truncation is None:
            return torch.randn(n, self.latent, device=device)
        rule = "a number above 0, such as 0.5; leave it out for none"
        return truncated(n, self.latent, number("truncation", truncation, rule, lambda most: most > 0), device)

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        """Return the images [N, C, H, W] in [-1, 1] of codes [N, latent]; `label` as in `sample`."""
        refuse_other_codes(z, self.latent)
        return in_parts(self.generator, z, class_numbers(self.classes, z.shape[0], label, z.device))

    def sample(self, n: int, label: Any = None, truncation: float | str | None = None) -> Tensor:
        """Return `n` new images [n, C, H, W] in [-1, 1].

        Args:
            n: how many.
            label: a class by number or name, or a list of n of them; null draws all classes equally often.
            truncation: draws codes from N(0, I) with each component within this distance of 0: smaller values trade
                diversity for fidelity (arXiv:1809.11096, section 3.1); null for no truncation.

        Raises:
            ConfigError: no such class, or a truncation that is not a number above 0.
        """
        return self.decode(self.prior(n, truncation), label)

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Evaluate D and G on images that D has not seen.

        Returns:
            value: of the game, in the units of the objective, signed so that D maximises it: for vanilla and minimax
                E log D(x) + E log(1 - D(G(z))) in nats, which is 2 JSD - log 4 for the optimal D;
            accuracy and diversity: as logged in training (see `watch`). An accuracy far below the one in training
                means that D has memorised the training images.
        """
        real, label = self._given(batch)
        fake = self.generator(self.prior(len(real)), label)
        on_real, on_fake = self.discriminator(real, label), self.discriminator(fake, label)
        paid = (
            self.gan.apart(on_real, on_fake)
            if isinstance(self.gan, Relativistic)
            else average(self.gan.on_real, on_real) + average(self.gan.on_fake, on_fake)
        )
        found = {"value": -paid, "accuracy": ranked(on_real, on_fake), "diversity": diversity(real, fake, label)}
        return {name: number.item() for name, number in found.items()}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Real images, and columns of generated ones with the same labels, from fixed codes."""
        image, label = self._given(batch)
        codes = torch.randn(COLUMNS, len(image), self.latent, generator=torch.Generator().manual_seed(0))
        made = {f"made {n + 1}": self.generator(z.to(image.device), label) for n, z in enumerate(codes)}
        return {"real": image, **made}


def truncated(n: int, latent: int, most: float, device: torch.device) -> Tensor:
    """Return codes [n, latent] from N(0, I) with each component truncated to within `most` of 0.

    Uses the inverse distribution function, which is equivalent to resampling until the value fits.
    """
    inside = math.erf(most / math.sqrt(2))
    u = 2 * torch.rand(n, latent, device=device, dtype=torch.float64) - 1
    return (math.sqrt(2) * torch.erfinv(u * inside)).clamp(-most, most).float()
