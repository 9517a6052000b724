"""Scores a translation between the embedded horses and zebras, where the truth is known.

    metrics: [{use: animal_truth}]      # in a config whose data is horses_zebras

A classifier alone is easily fooled, so three more numbers say whether what it called a zebra also looks like one
and whether the rest of the picture was left alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.animals import CLASSIFIER, render, scene
from ..data.base import Data, Sample
from ..data.transforms import to_tensor
from ..errors import ConfigError
from ..task import Task

SIZE = 64  # what the classifier looks at, in pixels
NEEDED = ("A", "B", "truth_A", "truth_B", "mask_A", "mask_B")


class AnimalTruth:
    """Compares translated animals with the true other animal of the same scene, both ways.

    For each direction, "AtoB" (horse to zebra) and "BtoA", of all validation samples:

    - `called`: the share that an independent classifier calls the other animal. 1 is best.
    - `saturation`: the mean over the animal's pixels of max(R, G, B) - min(R, G, B), divided by that of the true
      other animal. 1 is best. (This is the chroma S V of HSV: the S of a nearly black pixel is only noise.)
    - `stripes`: the mean square, over the animal's pixels, of the luminance in the band of the stripes, divided
      by that of the true other animal. 1 is best.
    - `background_psnr`: in dB, of the pixels outside the animal, output against input, in units where black is -1
      and white 1, so the peak is 2. The mean over the pictures; pictures that are equal count as 100 dB.

    and `classifier/accuracy`, that of the classifier on the true pictures.

    Args:
        batch_size: pictures translated at a time.

    Raises:
        ConfigError: the validation samples have no truth.

    Example:
        `AnimalTruth()(task, data)["AtoB/called"]`
    """

    def __init__(self, batch_size: int = 16) -> None:
        self.batch_size = batch_size

    def __call__(self, task: Task, data: Data) -> dict[str, float]:
        """Return the scores of `task` on `data.validation()`."""
        samples = data.validation()
        if not len(samples) or any(name not in samples[0] for name in NEEDED):
            raise ConfigError(
                "the metric animal_truth needs to know the truth, which only the data set horses_zebras does: "
                "use that data set or another metric"
            )
        judge = classifier()
        right: list[Tensor] = []
        scores = {}
        for name, source, other, label in (("AtoB", "A", "B", 1), ("BtoA", "B", "A", 0)):
            parts = [
                self._compare(judge, task, name, label, *stacked(samples, start, self.batch_size, source))
                for start in range(0, len(samples), self.batch_size)
            ]
            called, right_here, psnr, chroma, true_chroma, stripes, true_stripes = (torch.cat(p) for p in zip(*parts))
            right.append(right_here)
            scores[f"{name}/called"] = called.mean().item()
            scores[f"{name}/saturation"] = (chroma.mean() / true_chroma.mean()).item()
            scores[f"{name}/stripes"] = (stripes.mean() / true_stripes.mean()).item()
            scores[f"{name}/background_psnr"] = psnr.mean().item()
        scores["classifier/accuracy"] = torch.cat(right).mean().item()
        return scores

    def _compare(
        self, judge: nn.Module, task: Task, direction: str, label: int, real: Tensor, truth: Tensor, mask: Tensor
    ) -> tuple[Tensor, ...]:
        device = next((p.device for p in task.parameters()), real.device) if isinstance(task, nn.Module) else real.device
        fake = task.translate(real.to(device), direction=direction).float().cpu().clamp(-1, 1)
        called = says(judge, fake) == label
        right = (torch.stack([says(judge, truth) == label, says(judge, real) != label]).float()).mean(0)
        return (
            called.float(), right, background_psnr(real, fake, mask),
            chroma(fake, mask), chroma(truth, mask), stripe_energy(fake, mask), stripe_energy(truth, mask),
        )


def stacked(samples: Sequence[Sample], start: int, n: int, source: str) -> tuple[Tensor, ...]:
    """Return batches of what is to be translated, of the truth about it, and of its mask."""
    chosen = [samples[i] for i in range(start, min(start + n, len(samples)))]
    return tuple(torch.stack([sample[name] for sample in chosen]) for name in (source, f"truth_{source}", f"mask_{source}"))


def inside(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values [N, 1, H, W] where the mask [N, 1, H, W] is 1: [N]."""
    return (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)


def chroma(image: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of max(R, G, B) - min(R, G, B), in [0, 1], inside the mask: [N]."""
    return inside((image.amax(1, keepdim=True) - image.amin(1, keepdim=True)) / 2, mask)


def background_psnr(real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """Return the PSNR in dB of images [N, 3, H, W] in [-1, 1] outside the mask, at most 100: [N]."""
    error = inside(((fake - real) ** 2).mean(1, keepdim=True), 1 - mask)
    return 10 * torch.log10(4 / error.clamp_min(4e-10))


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur [N, 1, H, W] with a Gaussian of `sigma` pixels; beyond the border is 0."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).to(image)
    kernel = kernel / kernel.sum()
    rows = F.conv2d(image, kernel[None, None, :, None], padding=(reach, 0))
    return F.conv2d(rows, kernel[None, None, None], padding=(0, reach))


def stripe_energy(image: Tensor, mask: Tensor) -> Tensor:
    """Return the energy of the luminance in the band of a zebra's stripes, inside the mask: [N].

    The band is a difference of two Gaussians on either side of the stripes' period, which follows from the area of
    the animal. Both average over the animal only, so that neither its outline nor the background counts.
    """
    luminance = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    energies = []
    for light, where in zip(luminance[:, None], mask[:, None]):
        period = PERIOD * math.sqrt(max(float(where.sum()), 1.0))
        fine, coarse = (blurred(light * where, s) / blurred(where, s).clamp_min(1e-3) for s in (0.2 * period, 0.6 * period))
        energies.append(inside((fine - coarse) ** 2, where))
    return torch.cat(energies)


PERIOD = 0.118 / math.sqrt(0.62)  # of the stripes / square root of the animal's area


# ------------------------------------------------------------------------------------------- the classifier


def says(judge: nn.Module, image: Tensor) -> Tensor:
    """Return 0 for a horse and 1 for a zebra: int64 [N] for images [N, 3, H, W] in [-1, 1]."""
    return (judge(F.interpolate(image, (SIZE, SIZE), mode="area"))[:, 0] > 0).long()


def network() -> nn.Module:
    """Return a small convolutional classifier: [N, 3, 64, 64] -> a logit [N, 1], positive for a zebra."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))


@functools.lru_cache(1)
def classifier(scenes: int = 240, steps: int = 400, batch: int = 32) -> nn.Module:
    """Return the classifier, trained once in each process on scenes that are in no other set.

    It must not be satisfied by a little: a horse through which a third of a zebra shines is a horse to it. And
    neither colour nor noise alone decides: it sees grey, tinted, blurred and noisy pictures.
    """
    horses, zebras = (
        torch.stack([to_tensor(render(scene(CLASSIFIER + i), animal, SIZE)) for i in range(scenes)])
        for animal in ("horse", "zebra")
    )
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        chance = torch.Generator().manual_seed(0)
        judge = network()
        optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(scenes, (batch,), generator=chance)
            label = torch.randint(2, (batch,), generator=chance).float()
            share = 0.35 * torch.rand(batch, generator=chance) * (torch.rand(batch, generator=chance) < 0.5)
            zebra = (label - share).abs()[:, None, None, None]
            image = altered(zebra * zebras[chosen] + (1 - zebra) * horses[chosen], chance)
            loss = F.binary_cross_entropy_with_logits(judge(image)[:, 0], label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


def altered(image: Tensor, chance: torch.Generator) -> Tensor:
    """Return the images [N, 3, H, W] with other colours, contrast, place, sharpness and noise."""

    def some(probability: float) -> Tensor:
        return (torch.rand(len(image), 1, 1, 1, generator=chance) < probability).float()

    def between(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(len(image), channels, 1, 1, generator=chance)

    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * (1 - some(0.4) * between(0, 1))
    image = image * between(0.7, 1.2) * between(0.85, 1.15, 3) + between(-0.2, 0.2)
    image = image + some(0.3) * between(0, 0.2) * torch.randn(image.shape, generator=chance)
    image = image + some(0.25) * (F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1) - image)
    mirrored = some(0.5)
    image = mirrored * image.flip(3) + (1 - mirrored) * image
    shift = tuple(torch.randint(-6, 7, (2,), generator=chance).tolist())
    return image.roll(shift, (2, 3)).clamp(-1, 1)
