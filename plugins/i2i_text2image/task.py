"""The task `text2image`: a generator of pictures of captions, against a discriminator that reads them too.

i2i run configs/text2image.yaml
i2i translate "two red circles above a blue square" -m runs/text2image -o out
i2i sample 8 -m runs/text2image -o out -c text="a green star" -c truncation=0.7
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import interpolate

from i2i import ConfigError, Loss, Network
from i2i.checkpoint import Steps
from i2i.losses import WGANGP, Relativistic
from i2i.modalities import Image
from i2i.networks import Augmentation, augmented

from .inference import Painter
from .matching import contrastive, equal_rows, matching_penalty, mismatched
from .stackgan import Condition

Weight = Annotated[float, Ge(0)]
COLUMNS = 4  # of generated images in samples/


class Text2Image(Painter):
    """Pictures of captions. DF-GAN, a projection GAN and StackGAN differ in their networks and losses.

    Players: "G" and then "D", which sees real pictures, generated ones, and real ones with captions of others. The
    text encoder is trained with D, the only one that sees which captions belong to which pictures; with
    `augmentation`, where D sees the output of that, it is trained with G. One that was trained before is fixed.

    Args:
        generator: network (channels, size, latent, text): codes [N, latent] and sentences [N, text] -> [N, C, H, W].
        discriminator: network (channels, size, text) with `features(image)` and `judge(features, sentence)`.
        encoder: text encoder: word_encoder, character_encoder, sentence_encoder or matching_encoder.
        gan: the objective: hinge, vanilla, minimax or lsgan.
        latent: latent dimensions.
        channels: image channels: 1 for greyscale, 3 for colour.
        size: height and width in pixels of the images; `generator` makes smaller ones if there is a refiner.
        lambda_match: weight of the contrastive loss between pictures and captions, for D and for G; needs a
            discriminator with `similarity`; 0 for none.
        lambda_matching: weight of a contrastive loss of G between its pictures and their captions; needs a
            matching_encoder that is trained; 0 for none.
        lambda_alike: weight of a contrastive loss of G between its pictures and real ones of the same captions; needs
            the same encoder; 0 for none.
        augment: augmentations of all pictures that D and a matching_encoder see, in this order: colour, translation,
            cutout, flip (arXiv:2006.10738).
        lambda_gradient: weight of the matching-aware gradient penalty, 2 in DF-GAN; 0 for none.
        augmentation: network (text): conditioning augmentation of sentences, in StackGAN; null for none.
        lambda_kl: weight of its KL divergence.
        refiner: network (channels, text): images of the generator and conditions -> images that are `scale`, an
            attribute of it, times as large, in StackGAN; null for none.
        refiner_discriminator: its discriminator, as `discriminator`.
        refine_from: the step from which on the refiner is trained, and the generator no longer.

    Raises:
        ConfigError: arguments that do not fit together.

    Source: arXiv:2008.05865 section 3, arXiv:1612.03242 section 3, arXiv:1802.05637, arXiv:2101.04702.
    """

    refined: Tensor  # whether the refiner has been trained

    def __init__(
        self,
        generator: Network,
        discriminator: Network,
        encoder: Network,
        gan: Loss,
        latent: PositiveInt = 100,
        channels: PositiveInt = 3,
        size: PositiveInt = 64,
        lambda_match: Weight = 0.0,
        lambda_matching: Weight = 0.0,
        lambda_alike: Weight = 0.0,
        augment: tuple[Augmentation, ...] = (),
        lambda_gradient: Weight = 0.0,
        augmentation: Network | None = None,
        lambda_kl: Weight = 2.0,
        refiner: Network | None = None,
        refiner_discriminator: Network | None = None,
        refine_from: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if (refiner is None) != (refiner_discriminator is None):
            raise ConfigError(
                "text2image: `refiner` and `refiner_discriminator` belong together: give both or neither"
            )
        self.latent, self.channels, self.size = latent, channels, size
        self.lambda_match, self.lambda_matching, self.lambda_alike = lambda_match, lambda_matching, lambda_alike
        self.lambda_gradient, self.lambda_kl = lambda_gradient, lambda_kl
        self.augment = augment
        self.refine_from = refine_from
        self.makes = Image(channels=channels, size=size)
        self.encoder = encoder()
        self.text = self.encoder.width
        self.augmentation = augmentation(self.text) if augmentation else None
        condition = self.augmentation.width if self.augmentation else self.text
        self.refiner = refiner(channels, condition) if refiner else None
        self.small = size // self.refiner.scale if self.refiner else size  # of what `generator` makes
        self.generator = generator(channels, self.small, latent, condition)
        self.discriminator = discriminator(channels, self.small, condition)
        self.refiner_augmentation = augmentation(self.text) if augmentation and refiner else None
        judge = refiner_discriminator
        self.refiner_discriminator = judge(channels, size, condition) if judge else None
        self.gan = gan()
        self.fixed = getattr(self.encoder, "fixed", False)  # trained before
        self._check_losses()
        parts = (
            *(() if self.fixed else ("encoder",)),
            "augmentation",
            "generator",
            "refiner_augmentation",
            "refiner",
        )
        self.ema = tuple(name for name in parts if getattr(self, name) is not None)  # type: ignore[misc]
        if self.refiner:
            self.register_buffer("refined", torch.zeros((), dtype=torch.bool))
            self.register_load_state_dict_pre_hook(refined_of)
        self.done = Steps(self, "done")

    def _check_losses(self) -> None:
        """Raise ConfigError if a loss does not suit the task or the discriminators."""
        if isinstance(self.gan, WGANGP | Relativistic):
            raise ConfigError("text2image: `gan` must be hinge, vanilla, minimax or lsgan")
        if (self.lambda_matching or self.lambda_alike) and not self.fixed:
            raise ConfigError(
                "text2image: lambda_matching and lambda_alike need an encoder that was trained to match pictures: "
                "{use: matching_encoder, fixed: true} and train.start_from=RUN, a run of text_matching; or use 0"
            )
        for network in (self.discriminator, self.refiner_discriminator):
            if self.lambda_match and network and not hasattr(network, "similarity"):
                raise ConfigError(
                    f"text2image: lambda_match needs a discriminator with `similarity`, such as "
                    f"text_projection_discriminator, and {type(network).__name__} has none: use 0"
                )

    def players(self) -> dict[str, list[nn.Module]]:
        """The generators, the discriminators, and the text encoder with one of them."""
        makers = [self.generator, self.augmentation, self.refiner, self.refiner_augmentation]
        judges = [self.discriminator, self.refiner_discriminator]
        (makers if self.augmentation else judges).append(self.encoder)
        return {"G": [part for part in makers if part], "D": [part for part in judges if part]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `image` [N, C, H, W] in [-1, 1] and its captions `text`, code points int64 [N, L]."""
        done = int(self.done)
        if done == 0 and self.fixed:
            self.encoder.begin()
        refines = self.refiner is not None and done >= self.refine_from
        D, real = self._stage(self._checked(batch), refines)
        tokens = self.over_processes(partial(self.encoder.tokens, learn=True), batch["text"])
        same = equal_rows(tokens).to(real.device)

        # The generator: pictures that look real and match their captions.
        sentence = self.encoder(tokens)
        read = sentence if self.augmentation and not refines else sentence.detach()
        condition = self._condition(read, refines)
        fake = self._made(self._noise(len(real)), read, condition, refines)
        given = condition.mean.detach()
        features = self._seen(D, fake)
        logits = D.judge(features, given)
        losses = {"gan": self.gan.convince(logits) * logits.shape[1]}
        if self.augmentation:
            losses["kl"] = self.lambda_kl * condition.kl
        if self.lambda_match:
            losses["match"] = self.lambda_match * contrastive(D.similarity(features, given), same)
        if self.lambda_matching or self.lambda_alike:
            losses |= self._matching(fake, real, read, same)
        yield "G", losses

        # The discriminator: real with the right caption, against generated, and real with a wrong caption.
        given = given if self.augmentation else sentence
        wrong, exists = mismatched(tokens)
        others = exists.nonzero()[:, 0].to(real.device)  # a picture alone has no wrong caption
        features = self._seen(D, real)
        on_fake = D.judge(self._seen(D, fake.detach()), given)
        on_wrong = D.judge(features, given[wrong.to(real.device)])[others, :1]
        heads = on_fake.shape[1]
        losses = {
            "real": self.gan.on_real(D.judge(features, given)),
            "fake": self.gan.on_fake(on_fake) * heads / (heads + 1),
            "mismatched": (self.gan.on_fake(on_wrong) if len(on_wrong) else on_fake.sum() * 0) / (heads + 1),
        }
        losses = {name: loss * self.gan.lambda_d for name, loss in losses.items()}
        if self.lambda_match:
            losses["match"] = self.lambda_match * contrastive(D.similarity(features, given), same)
        if self.lambda_gradient:
            losses["gradient"] = matching_penalty(D, real, given, self.lambda_gradient)
        yield "D", losses
        self.done.number = done + 1  # not += 1: micro-batches in lockstep are one step
        if refines:
            self.refined.fill_(True)

    def _matching(self, fake: Tensor, real: Tensor, sentence: Tensor, same: Tensor) -> dict[str, Tensor]:
        """Return the losses of generated images by a matching encoder: with their sentences, and with real images."""
        made = self.encoder.of_pictures(augmented(fake, self.augment)) / self.encoder.TEMPERATURE
        with torch.no_grad():
            right, like = self.encoder.of_sentences(sentence), self.encoder.of_pictures(augmented(real, self.augment))
        return {
            "matching": self.lambda_matching * contrastive(made @ right.T, same),
            "alike": self.lambda_alike * contrastive(made @ like.T, same),
        }

    def _seen(self, D: Any, image: Tensor) -> Tensor:
        """Return D's features of augmented images."""
        return D.features(augmented(image, self.augment))

    def _stage(self, real: Tensor, refines: bool) -> tuple[Any, Tensor]:
        """Return the discriminator of a stage and the images in the size that it judges."""
        if self.refiner is None or refines:
            return self.refiner_discriminator or self.discriminator, real
        return self.discriminator, interpolate(real, self.small, mode="area")

    def _condition(self, sentence: Tensor, refines: bool) -> Condition:
        """Return what G and D of a stage are given of sentences [N, text]."""
        augment = self.refiner_augmentation if refines else self.augmentation
        return augment(sentence) if augment else Condition(sentence, sentence, sentence.new_zeros(()))

    def _made(self, noise: Tensor, sentence: Tensor, condition: Condition, refines: bool) -> Tensor:
        """Return the pictures of a stage; those of stage II have no gradient of stage I."""
        if self.refiner is None or not refines:
            return self.generator(noise, condition.drawn)
        with torch.no_grad():
            small = self.generator(noise, self._condition(sentence, False).drawn)
        return self.refiner(small, condition.drawn)

    def made(self, noise: Tensor, sentence: Tensor) -> Tensor:
        """Return images [N, C, H, W] in [-1, 1] of noise [N, latent] and sentences [N, text]."""
        image = self.generator(noise, self._condition(sentence, False).drawn)
        if self.refiner is None:
            return image
        refined = self.refiner(image, self._condition(sentence, True).drawn)
        return torch.where(self.refined, refined, interpolate(image, self.size))

    def _checked(self, batch: dict[str, Any]) -> Tensor:
        """Return the images of a batch; raise ConfigError if it does not fit the task."""
        for name in ("image", "text"):
            if name not in batch:
                raise ConfigError(
                    f'text2image needs samples with "image" and "text", and these have {", ".join(sorted(batch))}: '
                    f"use data with captions, such as captioned_scenes or captions"
                )
        image: Tensor = batch["image"]
        shape = (self.channels, self.size, self.size)
        if tuple(image.shape[1:]) != shape:
            raise ConfigError(
                f"text2image: the images are {list(image.shape[1:])}, but the task makes {list(shape)}: set "
                f"data.size, task.size and task.channels to fit"
            )
        return image

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Evaluate D and the text encoder on pictures that they have not seen.

        Returns:
            unknown_words: share of words that are not in the vocabulary;
            matched: share of pictures for which D prefers the right caption to a different one;
            real: share of pictures that D prefers to a generated one for the same caption.
        """
        refines = self.refiner is not None and bool(self.refined)
        D, real = self._stage(self._checked(batch), refines)
        tokens = self.encoder.tokens(batch["text"])
        sentence = self.encoder(tokens)
        condition = self._condition(sentence, refines)
        wrong, exists = mismatched(tokens)
        features = D.features(real)
        wrongly = condition.mean[wrong.to(real.device)]
        judged, other = (D.judge(features, given)[:, :1] for given in (condition.mean, wrongly))
        fake = self._made(self._noise(len(real)), sentence, condition, refines)
        on_fake = D(fake, condition.mean)[:, :1]
        return {
            "unknown_words": self.encoder.unknown_share(tokens).item(),
            "matched": (judged > other)[exists].float().mean().nan_to_num(1.0).item(),
            "real": (judged > on_fake).float().mean().item(),
        }

    def pictures(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The captions, the real images, and columns of generated ones from fixed noise."""
        sentence = self.encoder(self.encoder.tokens(batch["text"]))
        noise = torch.randn(COLUMNS, len(sentence), self.latent, generator=torch.Generator().manual_seed(0))
        made = {f"made {n + 1}": self.made(z.to(sentence.device), sentence) for n, z in enumerate(noise)}
        return {"text": (self.takes, batch["text"]), "real": batch["image"], **made}


def refined_of(task: Text2Image, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Read from a state of an older version, which has the number of steps, whether the refiner was trained."""
    if f"{prefix}done" in state:
        state[f"{prefix}refined"] = state[f"{prefix}done"] > task.refine_from
