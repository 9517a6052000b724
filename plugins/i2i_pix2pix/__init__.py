"""pix2pix: paired image-to-image translation, and colorization with it. arXiv:1611.07004.

`colorful` colorizes by classification, without a discriminator: see `colorful.py`.

i2i run configs/facades.yaml                  # embedded drawn facades, minutes
i2i run configs/colorization.yaml             # embedded images, minutes
i2i run configs/paper/facades.yaml            # the published recipe, on folders
i2i run configs/real/colorization.yaml        # grey photographs to colour
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import instance_norm, l1_loss

from i2i import Catalog, ConfigError, Loss, Network, Task, WeightsError, hookimpl
from i2i.data import whole_seed
from i2i.devices import recording
from i2i.modalities import Image
from i2i.networks import augmented, published_generator

from .colorful import ColorfulColorization
from .lab import from_lab, to_lab
from .networks import ColorfulVGG, ColourUnet

__all__ = [
    "ColorfulColorization",
    "ColorfulVGG",
    "Colorization",
    "ColourUnet",
    "Pix2Pix",
    "as_in_training",
    "from_lab",
    "to_lab",
]

Weight = Annotated[float, Ge(0)]


class Pix2Pix(Task):
    """A generator that learns A -> B from pairs, with a discriminator conditioned on A.

    `test_mode` sets how dropout and batch norm behave in `translate`. "train" is as published: dropout stays on, as
    the only source of noise, and batch norm uses the statistics of the image itself. `translate` then processes one
    image at a time, draws dropout from `seed`, and updates no running statistics. "eval" is the usual behaviour: no
    dropout, and the running statistics from training.

    Args:
        generator: network [N, C, H, W] -> [N, C', H, W] in [-1, 1].
        discriminator: network [N, C + C', H, W] -> logits; null trains on the L1 distance alone.
        gan: adversarial objective, vanilla in the paper; null if and only if there is no discriminator.
        lambda_l1: weight of the L1 distance (eq. 4), 100 in the paper.
        test_mode: dropout and batch norm in `translate`, see above.
        augment: augmentations of all that the discriminator sees, the same for both images of a pair, for small data
            sets: translation, cutout, flip (arXiv:2006.10738).

    Raises:
        ConfigError: a discriminator without an objective, or the reverse.

    Source: arXiv:1611.07004; the update order (the discriminator first) and the factor 1/2 on its loss follow the
    published code (pytorch-CycleGAN-and-pix2pix, models/pix2pix_model.py).
    """

    ema: ClassVar[tuple[str, ...]] = ("G",)

    def __init__(
        self,
        generator: Network,
        discriminator: Network | None = None,
        gan: Loss | None = None,
        lambda_l1: Weight = 100.0,
        test_mode: Literal["train", "eval"] = "train",
        augment: tuple[Literal["translation", "cutout", "flip"], ...] = (),
    ) -> None:
        super().__init__()
        if (discriminator is None) != (gan is None):
            raise ConfigError(
                "task: give both `discriminator` and `gan`, or neither to train on the L1 distance alone"
            )
        self.G = generator()
        self.D = discriminator() if discriminator is not None else None
        self.gan = gan() if gan is not None else None
        self.lambda_l1, self.test_mode, self.augment = lambda_l1, test_mode, augment
        self.takes = Image.of(self.G)
        if (getattr(self.G, "in_channels", 3), getattr(self.G, "out_channels", 1)) == (1, 3):
            self.makes = Image(colour=True)  # of a grey sketch

    def players(self) -> dict[str, list[Any]]:
        """The generator, and the discriminator if there is one."""
        return {"G": [self.G]} if self.D is None else {"D": [self.D], "G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on pairs: `A` [N, C, H, W] and `B` [N, C', H, W] in [-1, 1]."""
        a, b = batch["A"], batch["B"]
        fake = self.G(a)
        losses = {"l1": self.lambda_l1 * l1_loss(fake, b)}  # eq. 3

        if self.D is not None and self.gan is not None:
            # The discriminator: tell the pair (A, B) from (A, fake) (eq. 1).
            real_pair, fake_pair = torch.cat([a, b], 1), torch.cat([a, fake], 1)
            yield "D", {"pairs": self.gan.discriminator(self._judge, real_pair, fake_pair)}
            losses["gan"] = self.gan.generator(self._judge, fake_pair)

        # The generator: fool the updated discriminator, and stay close to B (eq. 4).
        yield "G", losses

    def _judge(self, pair: Tensor) -> Tensor:
        """Return the discriminator's logits on augmented pairs."""
        assert self.D is not None
        return self.D(augmented(pair, self.augment))

    def translate(self, image: Tensor, seed: int | str = 0) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1], H and W divisible by `multiple`.

        Args:
            image: the input images.
            seed: seeds the dropout if `test_mode` is "train"; the same seed gives the same result.

        Colour images are converted to grey for a generator with one input channel.
        """
        if getattr(self.G, "in_channels", 3) == 1:
            image = Image(channels=1).sized(image)
        if self.test_mode == "eval":
            return self.G(image)
        if recording():  # a loop would have the number of images of the recording
            return as_in_training(self.G, whole_seed(seed))(image)
        return torch.cat([as_in_training(self.G, whole_seed(seed))(one) for one in image.split(1)])

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the mean absolute error in units of [-1, 1]."""
        return {"l1": l1_loss(self.predict(batch), batch["B"]).item()}

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The input, the output and the truth: the columns of `samples/`."""
        return {"A": batch["A"], "made of A": self.predict(batch), "B": batch["B"]}


class Colorization(Pix2Pix):
    """Colorization of greyscale images: from lightness L to the channels a and b of CIE Lab.

    Inputs and outputs are RGB. The network sees L / 50 - 1 and predicts a / 110 and b / 110, so the generator has 1
    input and 2 output channels, the discriminator 3 input channels. The output keeps the input's lightness: the
    chroma of out-of-gamut colours is reduced until they are displayable.

    Args:
        generator: network [N, 1, H, W] -> [N, 2, H, W] in [-1, 1].
        discriminator: network [N, 3, H, W] -> logits; null trains on the L1 distance alone.
        gan: adversarial objective; null if and only if there is no discriminator.
        lambda_l1: weight of the L1 distance between true and predicted a and b.
        test_mode: dropout and batch norm in `translate`, see `Pix2Pix`.

    Raises:
        ConfigError: a discriminator without an objective, or the reverse.

    Source: arXiv:1611.07004, section 4.2, and the published code for the scales (data/colorization_dataset.py).
    """

    makes = Image(colour=True)  # greyscale inputs give colour outputs

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on pairs [N, 3, H, W] in [-1, 1]: uses the lightness of `A` and the colour of `B`."""
        yield from super().step({"A": to_lab(batch["A"])[:, :1], "B": to_lab(batch["B"])[:, 1:]})

    def translate(self, image: Tensor, seed: int | str = 0) -> Tensor:
        """Colorize images [N, 3, H, W] in [-1, 1]; arguments as in `Pix2Pix`."""
        lightness = to_lab(image)[:, :1]
        return from_lab(torch.cat([lightness, super().translate(lightness, seed)], 1))


class Forgetful(nn.Module):
    """Dropout with its own random generator, so that threads do not affect one another.

    The generator is the CPU's, so that a seed gives the same on every device.
    """

    def __init__(self, p: float, chance: torch.Generator) -> None:
        super().__init__()
        self.p, self.chance = p, chance

    def forward(self, x: Tensor) -> Tensor:
        """Set each value of x to 0 with probability p, and scale the others by 1 / (1 - p)."""
        if recording():
            raise ConfigError(
                "this model draws dropout from a seed, which a file cannot: export it with task.test_mode=eval, "
                "without dropout"
            )
        kept = torch.rand(x.shape, generator=self.chance).to(x.device) >= self.p
        return x * kept / (1 - self.p)


class OfOneImage(nn.Module):
    """Batch norm with the statistics of each image by itself, as published for inference."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [N, C, H, W]; the shape is unchanged."""
        return instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


def as_in_training(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy in training mode that shares the weights but updates no running statistics.

    Args:
        network: the network to copy; it is not modified, so several threads can do this at once.
        seed: seeds the dropout.
    """
    shared = {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())}
    twin = copy.deepcopy(network, shared)
    chance = torch.Generator().manual_seed(seed)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, OfOneImage(child))
            if isinstance(child, nn.Dropout):
                setattr(module, name, Forgetful(child.p, chance))
    return twin.train()


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the tasks `pix2pix`, `colorization` and `colorful`, and the networks of the last."""
    catalog.task("pix2pix", Pix2Pix)
    catalog.task("colorization", Colorization)
    catalog.task("colorful", ColorfulColorization)
    catalog.network("colour_unet", ColourUnet)
    catalog.network("colorful_vgg", ColorfulVGG)


@hookimpl
def adopt_weights(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise a generator of pytorch-CycleGAN-and-pix2pix or CUT; one from 1 to 2 channels colorizes."""
    found = published_generator(tensors)
    if found is None:
        return None
    generator, own, said = found
    if generator["in_channels"] not in (1, 3) or generator["out_channels"] not in (1, 2, 3):
        raise WeightsError(f"{said.partition(';')[0]}: only colour and grey pictures can be translated")
    as_trained = generator["norm"] == "batch" or generator["dropout"] > 0
    colorizes = generator["in_channels"] == 1 and generator["out_channels"] == 2
    config = {
        "use": "colorization" if colorizes else "pix2pix",
        "generator": generator,
        "test_mode": "train" if as_trained else "eval",
    }
    if as_trained:
        said += ", batch norm and dropout as in training (as published; task.test_mode=eval turns that off)"
    return config, {f"G.{name}": value for name, value in own.items()}, said
