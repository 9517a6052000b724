"""The task `videogan`: clips from noise, optionally class-conditional. MoCoGAN and DVD-GAN are configs of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.init import trunc_normal_

from i2i import ConfigError, Loss, Network
from i2i.data import class_names, class_numbers, number, refuse_other_codes, refuse_other_labels
from i2i.modalities import Clip
from i2i.networks import Augmentation, in_parts

from .game import ClipGame, refuse_other_clips

COLUMNS = 3  # of generated clips in samples/
AT_ONCE = 16  # clips generated at a time


class VideoGAN(ClipGame):
    """A generator of clips from codes z ~ N(0, I), against a discriminator of pictures and one of clips.

    Players: "D_picture", "D_clip", then "G". All three turns of a step use the same generated clips, which have the
    labels of the real ones in the batch.

    Args:
        generator: network (channels, size, frames, classes) with an attribute `latent`: codes [N, latent] and labels
            [N] -> clips [N, frames, channels, size, size].
        picture_discriminator: network (channels, size, classes): frames [N, K, C, H, W] and labels -> logits, or a
            pair of them and the logits of the classes, which adds the category loss of MoCoGAN for it and for G.
        clip_discriminator: network (channels, size, frames, classes): clips and labels -> the same.
        gan: the objective, such as vanilla or hinge.
        frames: frames of a clip.
        pictures: how many random frames of each clip the picture discriminator sees: 1 in MoCoGAN, 8 in DVD-GAN.
        channels: 1 for grey, 3 for colour.
        size: height and width in pixels.
        classes: class names, or how many there are; null for none.
        lambda_category: weight of the category loss.
        augment: augmentations of all that the discriminators see, the same for all frames of a clip, in this order:
            colour, translation, cutout, flip (arXiv:2006.10738). For data sets of few clips.

    Source: arXiv:1707.04993, eq. 6 and 7; arXiv:1907.06571, section 3.
    """

    def __init__(
        self,
        generator: Network,
        picture_discriminator: Network,
        clip_discriminator: Network,
        gan: Loss,
        frames: PositiveInt = 16,
        pictures: PositiveInt = 1,
        channels: PositiveInt = 3,
        size: PositiveInt = 64,
        classes: PositiveInt | tuple[str, ...] | None = None,
        lambda_category: Annotated[float, Ge(0)] = 1.0,
        augment: tuple[Augmentation, ...] = (),
    ) -> None:
        super().__init__()
        if pictures > frames:
            raise ConfigError(f"videogan: pictures={pictures} of clips with frames={frames}: use at most {frames}")
        self.frames, self.pictures_seen, self.channels, self.size = frames, pictures, channels, size
        self.makes = Clip(size=size, channels=channels, frames=frames)
        self.classes = class_names(classes)
        self.generator = generator(channels, size, frames, len(self.classes))
        self.picture_discriminator = picture_discriminator(channels, size, len(self.classes))
        self.clip_discriminator = clip_discriminator(channels, size, frames, len(self.classes))
        self.gan, self.lambda_category, self.augment = gan(), lambda_category, augment
        self.latent = int(self.generator.latent)  # type: ignore[arg-type]

    def check(self, batch: dict[str, Any]) -> None:
        """Raise ConfigError if a label is not one of the classes."""
        refuse_other_labels(batch, "videogan", self.classes)

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `clip` [N, T, C, H, W] in [-1, 1] and, with classes, `label` int64 [N]."""
        real, label = self._given(batch)
        yield from self.turns(real, self.generator(self.prior(len(real)), label), label)

    def _given(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Return the clips and, with classes, the labels of a batch; raise ConfigError if they do not fit."""
        shape = self.frames, self.channels, self.size, self.size
        refuse_other_clips(batch, "videogan", {"clip": shape}, self.classes)
        return batch["clip"], batch["label"] if self.classes else None

    def prior(self, n: int, truncation: float | str | None = None) -> Tensor:
        """Return `n` codes [n, latent] from N(0, I), each component within `truncation` of 0 if it is given."""
        z = torch.randn(n, self.latent, device=next(self.generator.parameters()).device)
        if truncation is None:
            return z
        rule = "a number above 0, such as 0.5; leave it out for none"
        most = number("truncation", truncation, rule, lambda value: 0 < value < float("inf"))
        return trunc_normal_(z, a=-most, b=most)

    def decode(self, z: Tensor, label: Any = None) -> Tensor:
        """Return the clips [N, T, C, H, W] in [-1, 1] of codes [N, latent]; `label` as in `sample`."""
        refuse_other_codes(z, self.latent)
        return in_parts(self.generator, z, class_numbers(self.classes, len(z), label, z.device), most=AT_ONCE)

    def sample(self, n: int, label: Any = None, truncation: float | str | None = None) -> Tensor:
        """Return `n` new clips [n, T, C, H, W] in [-1, 1].

        Args:
            n: how many.
            label: a class by number or name, or a list of n of them; null draws all classes equally often.
            truncation: draws codes from N(0, I) with each component within this distance of 0; null for none.

        Raises:
            ConfigError: no such class, or a truncation that is not a number above 0.
        """
        return self.decode(self.prior(n, truncation), label)

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return how often each discriminator gives the real clip of a pair the higher logit, 0.5 to 1."""
        real, label = self._given(batch)
        return self.balance(real, self.generator(self.prior(len(real)), label), label)

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Real clips, and columns of generated ones with the same labels, from fixed codes."""
        clip, label = self._given(batch)
        codes = torch.randn(COLUMNS, len(clip), self.latent, generator=torch.Generator().manual_seed(0))
        made = {f"made {n + 1}": self.generator(z.to(clip.device), label) for n, z in enumerate(codes)}
        return {"real": clip, **made}
