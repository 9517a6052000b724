"""Super-resolution: a pixel stage as in SRResNet, a GAN stage as in SRGAN (arXiv:1609.04802), ESRGAN (1809.00219).

i2i run configs/superres.yaml            # embedded images, minutes
i2i run configs/real/superres.yaml       # photographs, scored on Set5 and Set14
i2i run configs/paper/esrgan.yaml        # the published recipes: srresnet, srgan, msrresnet, esrgan, edsr
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from i2i import Catalog, ConfigError, Loss, Network, Task, hookimpl
from i2i.checkpoint import Steps
from i2i.modalities import Image

from .adopt import adopted

Weight = Annotated[float, Ge(0)]
Count = Annotated[int, Ge(0)]


def charbonnier(fake: Tensor, real: Tensor) -> Tensor:
    """Return the mean of sqrt(d^2 + 0.002^2): L1, but smooth at 0. Source: arXiv:1704.03915, eq. 2."""
    return ((fake - real).square() + 4e-6).sqrt().mean()


PIXEL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss, "charbonnier": charbonnier}


class SuperResolution(Task):
    """A generator that upscales images, trained on a pixel loss and then, with a discriminator, for realism.

    Without a discriminator there is only the pixel stage. With one, the first `pixel_steps` steps are that stage, and
    after them the generator minimises
    lambda_pixel * pixel + lambda_perceptual * perceptual + lambda_gan * adversarial.

    Args:
        generator: network [N, 3, H, W] -> [N, 3, H * scale, W * scale] in `values`, with an attribute `scale`.
        discriminator: network [N, 3, H * scale, W * scale] -> logits; null for the pixel stage only.
        gan: adversarial objective: "vanilla" in SRGAN, "relativistic" in ESRGAN.
        perceptual: distance of images in the features of a fixed network; null for none.
        pixel: the pixel loss: "l1", "l2" or "charbonnier".
        luma: weight of the same loss of the luma (BT.601), which is added to that of RGB. Published PSNR is that
            of the luma, and many JPEGs store colour at half the resolution, so their luma is the better target.
        pixel_steps: steps of the pixel stage, if there is a discriminator.
        lambda_pixel: weight of the pixel loss in the GAN stage; it is 1 in the pixel stage.
        lambda_perceptual: weight of the perceptual loss in the GAN stage.
        lambda_gan: weight of the generator's adversarial loss.
        values: the least and the greatest value of the images that the generator takes and gives: [-1, 1], or that of
            published weights, such as [0, 1] or [0, 255].

    Raises:
        ConfigError: a discriminator without `gan` or vice versa, a network without `scale`, or an empty range.

    Source: arXiv:1609.04802 eq. 3 for the loss; arXiv:1809.00219 eq. 3, default weights from the published code.
    """

    ema: ClassVar[tuple[str, ...]] = ("G",)

    def __init__(
        self,
        generator: Network,
        discriminator: Network | None = None,
        gan: Loss | None = None,
        perceptual: Loss | None = None,
        pixel: Literal["l1", "l2", "charbonnier"] = "l1",
        luma: Weight = 0.0,
        pixel_steps: Count = 0,
        lambda_pixel: Weight = 0.01,
        lambda_perceptual: Weight = 1.0,
        lambda_gan: Weight = 0.005,
        values: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        if (discriminator is None) != (gan is None):
            raise ConfigError("superres: `discriminator` and `gan` belong together: give both (GAN stage) or neither")
        if discriminator is None and perceptual is not None:
            raise ConfigError("superres: `perceptual` belongs to the GAN stage: give `discriminator` and `gan` too")
        if values[0] >= values[1]:
            raise ConfigError(f"superres: values [{values[0]:g}, {values[1]:g}] is empty: give the smaller first")
        self.G, self.values = generator(), values
        self.scale = getattr(self.G, "scale", 0)
        if not self.scale:
            raise ConfigError(f"superres: {type(self.G).__name__} has no `scale`: use a network that has one")
        self.D = discriminator() if discriminator is not None else None
        self.gan = gan() if gan is not None else None
        self.perceptual = perceptual() if perceptual is not None else None
        self.distance, self.luma, self.pixel_steps = PIXEL[pixel], luma, pixel_steps
        self.lambda_pixel, self.lambda_perceptual, self.lambda_gan = lambda_pixel, lambda_perceptual, lambda_gan
        self.takes, self.makes = Image.of(self.G), Image(scale=self.scale)
        self.multiple = getattr(self.G, "multiple", 1)
        self.done = Steps(self, "done")

    def players(self) -> dict[str, list[Any]]:
        """Return the generator, and the discriminator if there is one."""
        return {"G": [self.G]} if self.D is None else {"G": [self.G], "D": [self.D]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `A` [N, 3, H, W] and `B` [N, 3, H * scale, W * scale], in [-1, 1]."""
        low, real = batch["A"], batch["B"]
        self._check(low, real)
        done = int(self.done)
        if done == 0 and self.perceptual is not None:
            self.perceptual(real, real)  # a missing weights file is reported now, not after the pixel stage
        fake = self.enlarge(low)

        # The pixel stage.
        if self.D is None or self.gan is None or done < self.pixel_steps:
            yield "G", {"pixel": self.pixel(fake, real)}

        # The GAN stage: adversarial, pixel and perceptual loss for the generator; then the discriminator.
        else:
            losses = {"gan": self.lambda_gan * self.gan.generator(self.D, fake, real)}
            if self.lambda_pixel > 0:
                losses["pixel"] = self.lambda_pixel * self.pixel(fake, real)
            if self.perceptual is not None:
                losses["perceptual"] = self.lambda_perceptual * self.perceptual(fake, real)
            yield "G", losses
            yield "D", {"gan": self.gan.discriminator(self.D, real, fake)}

        self.done.number = done + 1  # not += 1: micro-batches in lockstep are one step

    def pixel(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the pixel loss of images [N, 3, H, W], a scalar."""
        loss = self.distance(fake, real)
        if self.luma == 0:
            return loss
        from kornia.color import rgb_to_grayscale

        return loss + self.luma * self.distance(rgb_to_grayscale(fake), rgb_to_grayscale(real))

    def _check(self, low: Tensor, real: Tensor) -> None:
        """Raise ConfigError if data and network disagree about the scale."""
        if real.shape[-2:] != tuple(side * self.scale for side in low.shape[-2:]):
            raise ConfigError(
                f"superres: the generator upscales {self.scale} times, but the data has {list(low.shape[-2:])} "
                f"pixels for {list(real.shape[-2:])}: set data.scale and task.generator.scale to the same number"
            )

    def enlarge(self, image: Tensor) -> Tensor:
        """Upscale images [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale] around [-1, 1]."""
        height, width = image.shape[-2:]  # of validation images: any
        missing = (-width % self.multiple, -height % self.multiple)
        if any(missing):
            image = F.pad(image, (0, missing[0], 0, missing[1]), mode="replicate")
        low, half = self.values[0], (self.values[1] - self.values[0]) / 2
        enlarged = self.G(image) if half == 1 and low == -1 else (self.G((image + 1) * half + low) - low) / half - 1
        return enlarged[..., : height * self.scale, : width * self.scale] if any(missing) else enlarged

    def translate(self, image: Tensor) -> Tensor:
        """Upscale images [N, 3, H, W] in [-1, 1] to [N, 3, H * scale, W * scale] in [-1, 1]."""
        return self.enlarge(image).clamp(-1, 1)

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the input, bicubic upsampling, the output and the truth: the columns of `samples/`."""
        low, real = batch["A"], batch["B"]
        size = tuple(real.shape[-2:])
        bicubic = F.interpolate(low, size, mode="bicubic", antialias=True).clamp(-1, 1)
        return {"A": low, "bicubic": bicubic, "enlarged": self.translate(low), "B": real}


def milestones(at: list[Count], factor: Annotated[float, Gt(0)] = 0.5) -> Callable[[int, int], float]:
    """Return a factor that starts at 1 and is multiplied by `factor` at each of the steps `at`."""
    return lambda epoch, step: factor ** sum(step >= milestone for milestone in at)


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task `superres` and `milestones`, the schedule of its published recipes."""
    catalog.task("superres", SuperResolution)
    catalog.schedule("milestones", milestones)


@hookimpl
def adopt_weights(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], str] | None:
    """Recognise ESRGAN, Compact, SPAN, MSRResNet, EDSR, RFDN and RLFN, also in ncnn files of the first three."""
    return adopted(tensors, metadata)
