"""SPADE: photographs from label maps, in the style of a picture. arXiv:1903.07291.

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
from torch.nn.functional import l1_loss

from i2i import Catalog, ConfigError, DataError, Loss, Network, Task, hookimpl
from i2i.data.conditions import number
from i2i.data.conditions import seed as whole_seed
from i2i.data.segmaps import Classes, coloured, palette
from i2i.losses import Objective, feature_matching
from i2i.losses.adversarial import average
from i2i.modalities import Image, LabelMap, Modality

Weight = Annotated[float, Ge(0)]


class SPADE(Task):
    """A generator that paints label maps, and with an encoder one that paints them in the style of a picture.

    Label maps come as class indices; the networks see one channel a class. `classes` and `ignore` say which numbers
    may occur, and must be those of the data set.

    Without a style, a generator with an encoder draws a code from `seed`, the same for every picture.

    Args:
        generator: called with the channels of the label map and the length of the style code (0 for none).
        discriminator: called with the channels of label map and picture; gives its maps at each scale.
        gan: adversarial objective, the hinge in the paper.
        classes: how many classes there are, not counting the ignored one.
        ignore: the number in label maps of what belongs to no class; null where there is none.
        unknown: what networks see of it: a "channel" of its own as published, or "zeros" in all channels.
        edges: one more channel shows the outlines of instances, from maps of instances that the data set gives.
        encoder: makes the mean and the log-variance of a style code from a picture, as a VAE does; null for none.
        perceptual: distance of fake and real in a fixed network; null for none.
        lambda_feature: weight of the matching of discriminator features, 10 in the paper.
        lambda_perceptual: weight of the perceptual distance, 10 in the paper.
        lambda_kl: weight of the divergence of codes from N(0, 1), of each picture; 0.05 in the paper, which adds up
            the pictures of one GPU where this is their mean.
        reuse_fake: let the discriminator learn from the fakes of the generator's turn. As published it is off: then
            the generator, which has just moved, paints once more.

    Raises:
        ConfigError: an objective that looks at more than single logits, such as one with a penalty of slopes.

    Source: arXiv:1903.07291; the order of updates, fake and real in one batch, and the weights are those of the
    published code (NVlabs/SPADE, models/pix2pix_model.py).
    """

    conditions: Mapping[str, Modality] = {"style": Image(), "instance": LabelMap()}
    table: Tensor

    def __init__(
        self,
        generator: Network,
        discriminator: Network,
        gan: Loss,
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
    ) -> None:
        super().__init__()
        self.classes, self.edges, self.reuse_fake = Classes(classes, ignore), edges, reuse_fake
        self.seen = classes + (ignore is not None and unknown == "channel")
        channels = self.seen + edges
        self.E = encoder() if encoder is not None else None
        self.z = self.E.z if self.E is not None else 0
        self.G, self.D = generator(channels, self.z), discriminator(channels + 3)
        self.ema = ("G",) if self.E is None else ("G", "E")  # type: ignore[misc]  # what this one has
        self.gan = gan()
        self.perceptual = perceptual() if perceptual is not None else None
        self.lambda_feature, self.lambda_perceptual = lambda_feature, lambda_perceptual
        self.lambda_kl = lambda_kl
        self.takes = LabelMap.of(self.G)
        self.register_buffer("table", torch.from_numpy(self.classes.table()), persistent=False)
        if type(self.gan).discriminator is not Objective.discriminator:
            raise ConfigError(
                "task.gan: spade judges real and fake in one batch, so it takes objectives that look at single "
                "logits only: hinge, lsgan, vanilla or minimax"
            )

    def players(self) -> dict[str, list[Any]]:
        """The generator, together with the encoder, and the discriminator."""
        return {"G": [self.G] if self.E is None else [self.G, self.E], "D": [self.D]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on label maps `A`, int64 [N, 1, H, W], and photographs `B` [N, 3, H, W] in [-1, 1].

        `instance`, int64 [N, 1, H, W], is needed with `edges`.

        Raises:
            ConfigError: samples of another kind.
        """
        if not {"A", "B"} <= set(batch):
            raise ConfigError(
                f'spade needs label maps "A" and photographs "B", and the data gives {", ".join(batch)}'
            )
        real = batch["B"]
        segmap = self.segmap(batch["A"], batch.get("instance"))

        # The generator: paint the label map, with the style of the photograph itself.
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

        # The discriminator: tell photographs from paintings, as the generator makes them now.
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
        """Return what the networks see of label maps int64 [N, 1, H, W]: one channel a class, and outlines.

        Raises:
            DataError: a number that is no class, or maps of other sizes.
        """
        known = (label >= 0) & (label < len(self.table))
        places = self.table[label.where(known, 0)].where(known, -1)
        if (places < 0).any():
            raise DataError(f"the label map {self.classes.complaint(label.unique().tolist())}")
        shape = (len(label), len(self.classes.values), *label.shape[2:])
        channels = [torch.zeros(shape, device=label.device).scatter_(1, places, 1.0)[:, : self.seen]]
        if self.edges:
            channels.append(outlines(label if instance is None else self.fitted(instance, label)))
        return torch.cat(channels, 1)

    def fitted(self, instance: Tensor, label: Tensor) -> Tensor:
        """Return a map of instances as int64 [N, 1, H, W], padded where the border has padded its label map.

        Raises:
            DataError: it cannot be read, or is of another size.
        """
        if instance.shape == label.shape:
            return instance
        height, width = instance.shape[-2:]
        # What the border saw of the label map before it padded it must have been as large as the instances.
        fitted, again = (self.takes.fit({"A": x}, "A")[0]["A"] for x in (instance, label[..., :height, :width]))
        if fitted.shape != label.shape or not torch.equal(again, label):
            raise DataError(
                f"the instance map is {list(instance.shape)} and the label map, padded, {list(label.shape)}: both "
                f"must have the same size"
            )
        return fitted

    def drawn(self, image: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return style codes [N, z] drawn for pictures, and their divergence from N(0, 1), a scalar."""
        if self.E is None:
            return None, None
        mu, logvar = self.E(image)
        divergence = -0.5 * (1 + logvar - mu.square() - logvar.exp()).sum(1).mean()
        return mu + torch.randn_like(mu) * (0.5 * logvar).exp(), divergence

    def judged(self, segmap: Tensor, fake: Tensor, real: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return the discriminator's maps of fake and of real pictures, seen in one batch beside their label maps."""
        pairs = torch.cat([torch.cat([segmap, fake], 1), torch.cat([segmap, real], 1)])
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
        """Paint label maps int64 [N, 1, H, W], H and W divisible by `multiple`.

        Args:
            image: the label maps.
            style: pictures [N or 1, 3, h, w] in [-1, 1] of any size, or a list of such, between whose styles the
                result lies.
            weights: how much each style of a list counts; equally by default. They are divided by their sum. The
                command line gives them as `-c weights=3,1`.
            seed: chooses a style where none is given; the same seed gives the same one.
            instance: for a task with `edges` maps of instances, int64 [N, 1, H, W];
                without them the classes' outlines are taken.

        Raises:
            ConfigError: a style for a task without an encoder, weights that do not fit the styles, or instances for a
                task without `edges`.
            DataError: a number that is no class, or instances of another size.
        """
        if instance is not None and not self.edges:
            raise ConfigError("this model does not look at instances: train one with task.edges, or leave them away")
        if weights is not None and style is None:
            raise ConfigError(f"weights={weights}: they are for styles, and no style is given")
        segmap = self.segmap(image, instance)
        if self.E is None:
            if style is not None:
                raise ConfigError("this model has no encoder, so it cannot take a style: train one with task.encoder")
            return self.G(segmap)
        if style is None:
            chance = torch.Generator().manual_seed(whole_seed(seed))
            z = torch.randn(1, self.z, generator=chance).to(segmap.device)
        else:
            z = self.blend([style] if isinstance(style, Tensor) else style, weights)
        return self.G(segmap, z.expand(len(segmap), -1))

    def blend(self, styles: Sequence[Tensor], weights: Sequence[float] | str | None = None) -> Tensor:
        """Return the weighted mean of the codes of pictures, each [N or 1, 3, h, w]: [N or 1, z]."""
        given = [1.0] * len(styles) if weights is None else weights
        asked = given.split(",") if isinstance(given, str) else given if hasattr(given, "__iter__") else [given]
        shares = torch.tensor([number("weights", weight, "numbers, one for each style") for weight in asked])
        if len(shares) != len(styles) or not shares.sum():
            raise ConfigError(
                f"weights: {shares.tolist()} for {len(styles)} styles; give one for each, not all of them 0"
            )
        codes = [share * self.encode(style) for share, style in zip(shares / shares.sum(), styles, strict=True)]
        return torch.stack(torch.broadcast_tensors(*codes)).sum(0)

    def encode(self, image: Tensor) -> Tensor:
        """Return the style codes [N, z] of pictures [N, 3, H, W] in [-1, 1]: the means, nothing is drawn.

        Raises:
            ConfigError: there is no encoder.
        """
        return self.E(image)[0] if self.E is not None else super().encode(image)

    def predict(self, batch: dict[str, Any]) -> Tensor:
        """Return the painting of `A`, in the style of `style` where the batch has one; `B` itself stays unseen.

        The published code gives the encoder the photograph itself, which would tell it the colours of the answer.
        """
        style = batch.get("style") if self.E is not None else None
        return self.translate(batch["A"], style=style, instance=self.outlined(batch))

    def outlined(self, batch: dict[str, Any]) -> Any:
        """Return the instances of a batch, or None where there are none or the networks do not see them."""
        return batch.get("instance") if self.edges else None

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the mean absolute error in units of [-1, 1]; if there is a style, also without it."""
        found = {"l1": l1_loss(self.predict(batch), batch["B"]).item()}
        if self.E is not None and "style" in batch:
            plain = self.translate(batch["A"], instance=self.outlined(batch))
            found["l1_without_style"] = l1_loss(plain, batch["B"]).item()
        return found

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The label map, what is made of it, and the photograph; with an encoder also one style for all rows."""
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
    """Return where a neighbour to the left, right, above or below is another instance: [N, 1, H, W] -> floats 0, 1.

    Source: pix2pixHD, arXiv:1711.11585, section 3.3.
    """
    edge = torch.zeros_like(instance, dtype=torch.bool)
    across = instance[..., :, 1:] != instance[..., :, :-1]
    down = instance[..., 1:, :] != instance[..., :-1, :]
    edge[..., :, 1:] |= across
    edge[..., :, :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge.float()


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `spade`."""
    catalog.task("spade", SPADE)
