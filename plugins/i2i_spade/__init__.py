"""SPADE: photographs from label maps, in the style of a given image. arXiv:1903.07291.

i2i run configs/spade.yaml                        # embedded landscapes, minutes
i2i run configs/real/spade_camvid.yaml            # street scenes, 367 pairs
i2i run configs/paper/spade_ade20k.yaml           # a published recipe, on folders
i2i translate LABELS -o OUT -m runs/spade -c style=PHOTO
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn.functional import l1_loss, pad

from i2i import Catalog, ConfigError, DataError, Loss, Network, Task, hookimpl
from i2i.data import Classes, coloured, number, palette, whole_seed
from i2i.devices import recording
from i2i.losses import Objective, average, feature_matching
from i2i.modalities import Image, LabelMap, Modality

from .published import adopted

Weight = Annotated[float, Ge(0)]


class SPADE(Task):
    """A generator of images from label maps, with an encoder also in the style of a given image.

    Label maps are class indices, one-hot encoded for the networks. `classes` and `ignore` define the valid indices,
    and must match the data set.

    Without a style, a generator with a style code samples one from `seed`, the same for every image.

    Args:
        generator: called with the channels of the label map and the length of the style code (0 for none).
        discriminator: called with the channels of label map and image together; returns its maps at each scale. Null
            for a model that only generates.
        gan: adversarial objective, hinge in the paper; null if and only if there is no discriminator.
        classes: number of classes, not counting the ignored one.
        ignore: the index of unlabelled pixels; null if there is none.
        unknown: how networks see these pixels: a "channel" of their own as published, or "zeros" in all channels.
        edges: adds a channel with instance boundaries, from the instance maps of the data set.
        encoder: predicts mean and log-variance of a style code from an image, as in a VAE; null for none.
        z: length of a random style code for a generator without an encoder; 0 for none.
        perceptual: distance of fake and real in a fixed network; null for none.
        lambda_feature: weight of the feature matching loss, 10 in the paper.
        lambda_perceptual: weight of the perceptual distance, 10 in the paper.
        lambda_kl: weight of the KL divergence of codes from N(0, 1), averaged over images; 0.05 in the paper, which
            sums over the images of one GPU instead.
        reuse_fake: train the discriminator on the fakes of the generator's update. Off, as published, the updated
            generator generates them again.

    Raises:
        ConfigError: an objective that needs more than single logits, such as one with a gradient penalty, a
            discriminator without an objective or the reverse, or `z` with an encoder, which has its own.

    Source: arXiv:1903.07291; the update order, fake and real in one batch, and the weights follow the published
    code (NVlabs/SPADE, models/pix2pix_model.py).
    """

    conditions: Mapping[str, Modality] = {"style": Image(), "instance": LabelMap()}
    table: Tensor

    def __init__(
        self,
        generator: Network,
        discriminator: Network | None = None,
        gan: Loss | None = None,
        *,
        classes: PositiveInt,
        ignore: NonNegativeInt | None = None,
        unknown: Literal["channel", "zeros"] = "channel",
        edges: bool = False,
        encoder: Network | None = None,
        perceptual: Loss | None = None,
        lambda_feature: Weight = 10.0,
        lambda_perceptual: Weight = 10.0,
        lambda_kl: Weight = 0.05,
        reuse_fake: bool = False,
        z: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        if (discriminator is None) != (gan is None):
            raise ConfigError("task: give both `discriminator` and `gan`, or neither for a model that only generates")
        if z and encoder is not None:
            raise ConfigError(f"task: z is {z}, but with an encoder set it there (task.encoder.z)")
        self.classes, self.edges, self.reuse_fake = Classes(classes, ignore), edges, reuse_fake
        self.seen = classes + (ignore is not None and unknown == "channel")
        channels = self.seen + edges
        self.E = encoder() if encoder is not None else None
        self.z = self.E.z if self.E is not None else z
        self.G = generator(channels, self.z)
        self.D = discriminator(channels + 3) if discriminator is not None else None
        self.ema = ("G",) if self.E is None else ("G", "E")  # type: ignore[misc]  # what this one has
        self.gan = gan() if gan is not None else None
        self.perceptual = perceptual() if perceptual is not None else None
        self.lambda_feature, self.lambda_perceptual = lambda_feature, lambda_perceptual
        self.lambda_kl = lambda_kl
        self.takes = LabelMap.of(self.G)
        self.register_buffer("table", torch.from_numpy(self.classes.table()), persistent=False)
        if self.gan is not None and type(self.gan).discriminator is not Objective.discriminator:
            raise ConfigError(
                "task.gan: spade evaluates real and fake in one batch, so it supports only objectives on single "
                "logits: hinge, lsgan, vanilla or minimax"
            )

    def players(self) -> dict[str, list[Any]]:
        """The generator, together with the encoder, and the discriminator.

        Raises:
            ConfigError: there is no discriminator.
        """
        if self.D is None:
            raise ConfigError("task: without a discriminator it only generates; give `discriminator` and `gan`")
        return {"G": [self.G] if self.E is None else [self.G, self.E], "D": [self.D]}

    def check(self, batch: dict[str, Any]) -> None:
        """Raise DataError if a label map `A` contains an unknown class index."""
        if "A" in batch:
            self.check_labels(batch["A"])

    def check_labels(self, label: Tensor) -> None:
        """Raise DataError if label maps int64 [N, 1, H, W] contain an unknown class index; reads their values."""
        if label.is_meta or recording():  # has no values, or those of a single recording
            return
        table = self.table.to(label.device)
        known = (label >= 0) & (label < len(table))
        if not (known & (table[label.where(known, 0)] >= 0)).all():
            raise DataError(f"the label map {self.classes.complaint(label.unique().tolist())}")

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on label maps `A`, int64 [N, 1, H, W], and photographs `B` [N, 3, H, W] in [-1, 1].

        `instance`, int64 [N, 1, H, W], is optional, for `edges`.

        Raises:
            ConfigError: samples without "A" or "B".
        """
        if not {"A", "B"} <= set(batch):
            raise ConfigError(f'spade needs label maps "A" and photographs "B", but the data has {", ".join(batch)}')
        assert self.gan is not None
        real = batch["B"]
        segmap = self.segmap(batch["A"], batch.get("instance"))

        # The generator: render the label map, in the style of the photograph itself.
        z, divergence = self.drawn(real)
        fake = self.G(segmap, z)
        fakes, reals = self.judged(segmap, fake, real)
        losses = {
            "gan": average(self.gan.convince, [maps[-1] for maps in fakes]),
            "feature": self.lambda_feature * feature_matching(fakes, reals),
        }
        if self.perceptual is not None:
            losses["perceptual"] = self.lambda_perceptual * self.perceptual(fake, real)
        if divergence is not None:
            losses["kl"] = self.lambda_kl * divergence
        yield "G", losses

        # The discriminator: tell photographs from the updated generator's outputs.
        with torch.no_grad():
            fake = fake.detach() if self.reuse_fake else self.G(segmap, self.drawn(real)[0])
        fakes, reals = self.judged(segmap, fake, real)
        yield (
            "D",
            {
                "fake": self.gan.lambda_d * average(self.gan.on_fake, [maps[-1] for maps in fakes]),
                "real": self.gan.lambda_d * average(self.gan.on_real, [maps[-1] for maps in reals]),
            },
        )

    def segmap(self, label: Tensor, instance: Any = None) -> Tensor:
        """Encode label maps int64 [N, 1, H, W] for the networks: one channel per class, and boundaries with `edges`.

        Their class indices have been checked.

        Raises:
            DataError: maps of different sizes.
        """
        numbers = torch.arange(self.seen, device=label.device)[:, None, None]
        channels = [(self.table[label] == numbers).float()]
        if self.edges:
            channels.append(outlines(label if instance is None else self.fitted(instance, label)))
        return torch.cat(channels, 1)

    def fitted(self, instance: Tensor, label: Tensor) -> Tensor:
        """Return an instance map as int64 [N, 1, H, W], padded as its label map was.

        Raises:
            DataError: its size differs.
        """
        if instance.shape == label.shape:
            return instance
        height, width = instance.shape[-2:]
        # The label map before padding must have had the size of the instance map.
        fitted, again = (self.takes.fit({"A": x}, "A")[0]["A"] for x in (instance, label[..., :height, :width]))
        if fitted.shape != label.shape or not torch.equal(again, label):
            raise DataError(
                f"the instance map is {list(instance.shape)} and the padded label map {list(label.shape)}: both must "
                f"have the same size"
            )
        return fitted

    def drawn(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return style codes [N, z] sampled for images, and their KL divergence from N(0, 1), a scalar."""
        if self.E is None:
            return torch.randn(len(image), self.z, device=image.device) if self.z else None, None
        mu, logvar = self.E(image)
        divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp(), divergence

    def judged(self, segmap: Tensor, fake: Tensor, real: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return the discriminator's maps for fake and real images, concatenated with label maps, in one batch."""
        pairs = torch.cat([torch.cat([segmap, fake], 1), torch.cat([segmap, real], 1)])
        assert self.D is not None
        halves = [[maps.chunk(2) for maps in scale] for scale in self.D.maps(pairs)]
        return [[fake for fake, _ in scale] for scale in halves], [[real for _, real in scale] for scale in halves]

    def translate(
        self,
        image: Tensor,
        style: Tensor | Sequence[Tensor] | None = None,
        weights: Sequence[float] | str | None = None,
        seed: int | str = 0,
        instance: Any = None,
    ) -> Tensor:
        """Generate images from label maps int64 [N, 1, H, W], H and W divisible by `multiple`.

        Args:
            image: the label maps.
            style: images [N or 1, 3, h, w] in [-1, 1] of any size, or a list of these, whose styles are blended.
            weights: the weight of each style in a list, normalised to sum to 1; equal by default. On the command
                line, `-c weights=3,1`.
            seed: samples a style if none is given; the same seed gives the same style.
            instance: for a task with `edges`, instance maps int64 [N, 1, H, W]; by default the class boundaries
                are used.

        Raises:
            ConfigError: a style for a task without an encoder, weights that do not match the styles, or instances
                for a task without `edges`.
            DataError: an unknown class index, or instances of another size.
        """
        if instance is not None and not self.edges:
            raise ConfigError("this model does not use instances: train one with task.edges, or leave them out")
        if weights is not None and style is None:
            raise ConfigError(f"weights={weights}: weights are for styles, but no style is given")
        self.check_labels(image)
        segmap = self.segmap(image, instance)
        if self.E is None and style is not None:
            raise ConfigError("this model has no encoder, so it cannot use a style: train one with task.encoder")
        if not self.z:
            return self.G(segmap)
        if style is None:
            chance = torch.Generator().manual_seed(whole_seed(seed))
            z = torch.randn(1, self.z, generator=chance).to(segmap.device)
        else:
            z = self.blend([style] if isinstance(style, Tensor) else style, weights)
        return self.G(segmap, z.expand(segmap.shape[0], -1))

    def blend(self, styles: Sequence[Tensor], weights: Sequence[float] | str | None = None) -> Tensor:
        """Return the weighted mean of the codes of images, each [N or 1, 3, h, w]: [N or 1, z]."""
        given = [1.0] * len(styles) if weights is None else weights
        asked = given.split(",") if isinstance(given, str) else given if hasattr(given, "__iter__") else [given]
        shares = torch.tensor([number("weights", weight, "numbers, one for each style") for weight in asked])
        if len(shares) != len(styles) or not shares.sum():
            raise ConfigError(f"weights: {shares.tolist()} for {len(styles)} styles; give one for each, not all 0")
        codes = [share * self.encode(style) for share, style in zip(shares / shares.sum(), styles, strict=True)]
        return torch.stack(torch.broadcast_tensors(*codes)).sum(0)

    def encode(self, image: Tensor) -> Tensor:
        """Return the style codes [N, z] of images [N, 3, H, W] in [-1, 1]: the means, without sampling.

        Raises:
            ConfigError: the task has no encoder.
        """
        return self.E(image)[0] if self.E is not None else super().encode(image)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return the output for `A`, in the style of `style` if the batch has one, without access to `B`.

        The published code feeds `B` itself to the encoder, which would reveal the colours of the target.
        """
        style = batch.get("style") if self.E is not None else None
        return self.translate(batch["A"], style=style, instance=self.outlined(batch))

    def outlined(self, batch: dict[str, Any]) -> Any:
        """Return the instance map of a batch, or None if there is none or the networks do not use it."""
        return batch.get("instance") if self.edges else None

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the mean absolute error in units of [-1, 1]; with styles, also the error without them."""
        found = {"l1": l1_loss(self.predict(batch), batch["B"]).item()}
        if self.E is not None and "style" in batch:
            plain = self.translate(batch["A"], instance=self.outlined(batch))
            found["l1_without_style"] = l1_loss(plain, batch["B"]).item()
        return found

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The label map, the output and the photograph; with an encoder also a style and the output in it."""
        shown = {
            "label": coloured(self.table[batch["A"]], torch.from_numpy(palette(self.classes))),
            "fake": self.translate(batch["A"], instance=self.outlined(batch)),
            "real": batch["B"],
        }
        if self.E is not None:
            style = batch.get("style", batch["B"].roll(1, 0))
            shown |= {
                "style": style,
                "in that style": self.translate(batch["A"], style=style, instance=self.outlined(batch)),
            }
        return shown


def outlines(instance: Tensor) -> Tensor:
    """Mark pixels with a 4-neighbour of another instance: [N, 1, H, W] -> floats 0 or 1.

    Source: pix2pixHD, arXiv:1711.11585, section 3.3.
    """
    across = (instance[..., :, 1:] != instance[..., :, :-1]).float()  # ONNX does not pad truth values
    down = (instance[..., 1:, :] != instance[..., :-1, :]).float()
    sides = pad(across, (1, 0)) + pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) + pad(down, (0, 0, 0, 1))
    return (sides > 0).float()


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `spade`."""
    catalog.task("spade", SPADE)


@hookimpl
def adopt_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise a generator of NVlabs/SPADE, alone or in a folder with its encoder."""
    return adopted(tensors)
