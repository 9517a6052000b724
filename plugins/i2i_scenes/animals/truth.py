"""Scores translations between drawn horses and zebras, whose ground truth is known.

    metrics: [{use: animal_truth}]      # in a config whose data is horses_zebras

A classifier alone is easily fooled, so three more scores tell whether what it calls a zebra also looks like one, and
whether the rest of the picture is unchanged.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from i2i import ConfigError, Data
from i2i.data import Sample, to_tensor
from i2i.devices import threads_kept

from .pictures import render
from .scene import CLASSIFIER, scene

SIZE = 64  # input of the classifier, in pixels
HORSE, ZEBRA, NEITHER = range(3)  # its classes
NEEDED = ("A", "B", "truth_A", "truth_B", "mask_A", "mask_B")


class AnimalTruth:
    """Compares translated animals with the other animal rendered in the same scene, in both directions.

    For each direction, "AtoB" (horse to zebra) and "BtoA", over all validation samples:

    - `called`: the share that an independent classifier takes for the other animal. 1 is best.
    - `saturation`: the mean over the animal's pixels of max(R, G, B) - min(R, G, B), divided by the same for
      the true other animal. 1 is best. (This is the chroma S V of HSV; the S of a nearly black pixel is only noise.)
    - `stripes`: the mean square, over the animal's pixels, of the luminance in the band of the stripes, divided
      by the same for the true other animal. 1 is best.
    - `background_psnr`: PSNR in dB of the output against the input, outside the animal; black is -1 and white 1, so
      the peak is 2. The mean over the pictures; equal pictures count as 100 dB.

    Also `classifier/accuracy`, the accuracy of the classifier on the true pictures.

    Args:
        batch_size: pictures translated at a time.

    Raises:
        ConfigError: the validation samples lack the ground truth.

    Example:
        `AnimalTruth()(task, data)["AtoB/called"]`
    """

    def __init__(self, batch_size: PositiveInt = 16) -> None:
        self.batch_size = batch_size

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores, on `data.validation()`, of a `Task` that translates in both directions."""
        samples = data.validation()
        if not len(samples) or any(name not in samples[0] for name in NEEDED):
            raise ConfigError(
                "the metric animal_truth needs ground truth, which only the data set horses_zebras has: "
                "use this data set or another metric"
            )
        judge = classifier()
        right: list[Tensor] = []
        scores = {}
        for name, source, label in (("AtoB", "A", ZEBRA), ("BtoA", "B", HORSE)):
            parts = [
                self._compare(judge, task, name, label, *stacked(samples, start, self.batch_size, source))
                for start in range(0, len(samples), self.batch_size)
            ]
            called, right_here, psnr, colour, true_colour, stripes, true_stripes = (torch.cat(p) for p in zip(*parts))
            right.append(right_here)
            scores[f"{name}/called"] = called.mean().item()
            scores[f"{name}/saturation"] = (colour.mean() / true_colour.mean()).item()
            scores[f"{name}/stripes"] = (stripes.mean() / true_stripes.mean()).item()
            scores[f"{name}/background_psnr"] = psnr.mean().item()
        scores["classifier/accuracy"] = torch.cat(right).mean().item()
        return scores

    def _compare(
        self, judge: nn.Module, task: Any, direction: str, label: int, real: Tensor, truth: Tensor, mask: Tensor
    ) -> tuple[Tensor, ...]:
        device = next((p.device for p in task.parameters()), real.device)
        fake = task.translate(real.to(device), direction=direction).float().cpu().clamp(-1, 1)
        other = ZEBRA if label == HORSE else HORSE
        right = ((says(judge, truth) == label).float() + (says(judge, real) == other).float()) / 2
        called = (says(judge, fake) == label).float()
        energies = stripe_energy(fake, mask), stripe_energy(truth, mask)
        return called, right, background_psnr(real, fake, mask), chroma(fake, mask), chroma(truth, mask), *energies


def stacked(samples: Sequence[Sample], start: int, n: int, source: str) -> tuple[Tensor, ...]:
    """Return batches of the pictures to translate, of their ground truth, and of their masks."""
    chosen = [samples[i] for i in range(start, min(start + n, len(samples)))]
    names = (source, f"truth_{source}", f"mask_{source}")
    return tuple(torch.stack([sample[name] for sample in chosen]) for name in names)


def inside(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values [N, 1, H, W] inside the mask [N, 1, H, W]: [N]."""
    return (values * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)


def chroma(image: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of max(R, G, B) - min(R, G, B), in [0, 1], inside the mask: [N]."""
    return inside((image.amax(1, keepdim=True) - image.amin(1, keepdim=True)) / 2, mask)


def background_psnr(real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """Return the PSNR in dB of images [N, 3, H, W] in [-1, 1] outside the mask, at most 100: [N]."""
    error = inside(((fake - real) ** 2).mean(1, keepdim=True), 1 - mask)
    return 10 * torch.log10(4 / error.clamp_min(4e-10))


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur images [N, 1, H, W] with a Gaussian of `sigma` pixels, with zero padding."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).to(image)
    kernel = kernel / kernel.sum()
    rows = F.conv2d(image, kernel[None, None, :, None], padding=(reach, 0))
    return F.conv2d(rows, kernel[None, None, None], padding=(0, reach))


def stripe_energy(image: Tensor, mask: Tensor) -> Tensor:
    """Return the energy of the luminance in the band of a zebra's stripes, inside the mask: [N].

    The band is a difference of two Gaussians around the period of the stripes, which is estimated from the area of
    the animal. Both average over the animal only, without its rim, so neither the outline nor the background counts.
    """
    luminance = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    rim = max(1, round(image.shape[-1] / 64))
    kept = 1 - F.max_pool2d(1 - mask, 2 * rim + 1, 1, rim)
    energies = []
    for light, where, all_of_it in zip(luminance[:, None], kept[:, None], mask[:, None]):
        period = 0.112 * math.sqrt(max(float(all_of_it.sum()), 1.0))  # on the barrel, in pixels
        fine, coarse = (
            blurred(light * where, sigma * period) / blurred(where, sigma * period).clamp_min(1e-3)
            for sigma in (0.12, 0.35)
        )
        energies.append(inside((fine - coarse) ** 2, where))
    return torch.cat(energies)


# ------------------------------------------------------------------------------------------- the classifier


def says(judge: nn.Module, image: Tensor) -> Tensor:
    """Return HORSE, ZEBRA or NEITHER for each picture: int64 [N] for images [N, 3, H, W] in [-1, 1]."""
    return judge(F.interpolate(image, (SIZE, SIZE), mode="area")).argmax(1)


def network() -> nn.Module:
    """Return a small convolutional classifier: [N, 3, 64, 64] -> logits [N, 3]."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3))


@functools.lru_cache(1)
def classifier(scenes: int = 192, steps: int = 300, batch: int = 32) -> nn.Module:
    """Return the classifier, trained once per process on scenes that are in no data set.

    It must not be easily convinced: a horse with a third of a zebra blended in counts as a horse, and an animal
    covered with noise as neither. Nor may it rely on colour: it is trained on grey, tinted and inverted pictures.
    """
    drawn = (scene(CLASSIFIER + i) for i in range(scenes))
    pairs = [[to_tensor(render(one, animal, SIZE)) for animal in ("horse", "zebra")] for one in drawn]
    horses, zebras = map(torch.stack, zip(*pairs, strict=True))
    with threads_kept(), torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.set_num_threads(1)  # it is too small for more, and is then the same for any number
        torch.manual_seed(0)
        chance = torch.Generator().manual_seed(0)
        judge = network()
        optimizer = torch.optim.Adam(judge.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(scenes, (batch,), generator=chance)
            image, label = mingled(horses[chosen], zebras[chosen], chance)
            loss = F.cross_entropy(judge(altered(image, chance)), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


def mingled(horse: Tensor, zebra: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures [N, 3, H, W] of either animal, some with a little of the other, and their classes [N].

    Half of the animals get another colour and brightness, so there are grey horses and brown zebras. Some are covered
    with noise as strong as stripes, and are neither.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(horse), *shape, generator=chance)

    label = (uniform(0, 1) < 0.5).long()
    shines = uniform(0, 0.35) * (uniform(0, 1) < 0.5)
    share = (label - shines).abs()[:, None, None, None]
    image = share * zebra + (1 - share) * horse
    where = (horse != zebra).any(1, keepdim=True)
    grey = image.mean(1, keepdim=True)
    other = grey + uniform(0, 1, 1, 1, 1) * (image - grey) + uniform(-0.3, 0.3, 1, 1, 1)
    other = other * uniform(0.7, 1.2, 3, 1, 1)
    image = torch.where(where & (uniform(0, 1, 1, 1, 1) < 0.5), other, image)
    noisy, grain = uniform(0, 1) < 0.2, int(torch.randint(1, 4, (), generator=chance))
    noise = uniform(-1.2, 1.2, 1, -(-SIZE // grain), -(-SIZE // grain))
    noise = F.interpolate(noise, scale_factor=grain, mode="nearest")[..., :SIZE, :SIZE]
    image = torch.where(where & noisy[:, None, None, None], 0.4 * image + noise, image)
    return image, torch.where(noisy, NEITHER, label)


def altered(image: Tensor, chance: torch.Generator) -> Tensor:
    """Return images [N, 3, H, W] with random changes of colour, contrast, position, sharpness and noise."""

    def some(probability: float) -> Tensor:
        return (torch.rand(len(image), 1, 1, 1, generator=chance) < probability).float()

    def between(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(len(image), channels, 1, 1, generator=chance)

    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * (1 - some(0.4) * between(0, 1))
    image = image * between(0.7, 1.2) * between(0.85, 1.15, 3) * (1 - 2 * some(0.15)) + between(-0.2, 0.2)
    image = image + some(0.3) * between(0, 0.35) * (2 * torch.rand(image.shape, generator=chance) - 1)
    soft = (image + image.roll(1, 2)) / 2
    image = torch.where(some(0.3) > 0, (soft + soft.roll(1, 3)) / 2, image)
    if torch.rand((), generator=chance) < 0.5:
        image = image.flip(3)
    top, left = torch.randint(9, (2,), generator=chance).tolist()
    moved = F.pad(image, (4, 4, 4, 4), mode="replicate")[..., top : top + SIZE, left : left + SIZE]
    return moved.clamp(-1, 1)
