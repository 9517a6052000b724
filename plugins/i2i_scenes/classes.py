"""Do generated pictures show what they should? An independent classifier, the judge, reads them.

    metrics: [{use: class_accuracy, judge: embedded}, {use: class_share, judge: embedded}]

    embedded    trained within seconds on drawn digits that are in no data set; for `digits`
    lenet       LeNet-5 trained on MNIST, read from its file; for `mnist`

Both read grey digits of any size. Their answer for a picture without a digit is meaningless.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from i2i import ConfigError, Data
from i2i.data import classes_of
from i2i.metrics import batches, check_weights, lenet_logits, sampled, squared

from .digits import drawn
from .teaching import taught

Name = Literal["embedded", "lenet"]

DRAWN = 1 << 61  # first seed of the judge's training digits, beyond all seeds of the data set
SIZE = 32  # input of the judges, in pixels
PRESENT = 0.01  # smallest share of a class that counts as present
DIGITS = tuple("0123456789")  # the classes of both judges


class Judge(NamedTuple):
    """A classifier of grey pictures.

    Attributes:
        classes: the names of its classes.
        logits: [N, 1, 32, 32] in [-1, 1] -> [N, K].
    """

    classes: tuple[str, ...]
    logits: Callable[[Tensor], Tensor]


class ClassAccuracy:
    """How often generated pictures are read as the requested class.

    The same number of each class is sampled, always from the same random numbers.

    - `mean`: the share that is read as requested; 1 is best. Chance is 1 / the number of classes.
    - `smallest`: the smallest such share of any class.
    - `judge`: the share of validation pictures that the judge reads as their "label", if they have one: the upper
      limit to expect of generated pictures.

    Args:
        judge: "embedded" for drawn digits, "lenet" for MNIST.
        per_class: pictures of each class; with 100, `mean` of ten classes is good to 0.03 at worst (2 standard
            errors), and `smallest` to 0.1.
        weights_dir: another folder to look for the judge's file in.

    Raises:
        WeightsError: the judge's file is missing; the message says where to get it.
        ConfigError: the task has no `classes`, or the judge does not know them, or the pictures are in colour.

    Example:
        `ClassAccuracy("lenet")(task, data)["mean"]`
    """

    def __init__(
        self, judge: Name = "embedded", per_class: PositiveInt = 100, weights_dir: str | None = None
    ) -> None:
        if judge == "lenet":
            check_weights("lenet", weights_dir)
        self.judge, self.per_class, self.weights_dir = judge, per_class, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the scores cannot be computed."""
        asked = classes_of(task)
        known = classes_of(data) or asked
        if not asked and not classes_of(data):
            raise ConfigError(
                f"class_accuracy generates pictures of each class, but {type(data).__name__} has no classes: remove "
                f"this metric, or use data with classes"
            )
        if not asked:
            raise ConfigError(
                f"class_accuracy generates pictures of each class, but {type(task).__name__} has no classes: train "
                f"it with task.classes, or use class_share"
            )
        if len(known) != len(asked):
            raise ConfigError(
                f"class_accuracy: the data has {len(known)} classes and {type(task).__name__} {len(asked)}: set "
                f"task.classes to the classes of the data"
            )
        refuse_others(self.judge, known, data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that takes `sample(n, label=[...])`."""
        self.refuse(task, data)
        asked = classes_of(task)
        known = classes_of(data) or asked
        judge = judged_by(self.judge, self.weights_dir)
        wanted = numbers(self.judge, known).repeat(self.per_class)  # 0 1 2 ... 0 1 2 ...: every batch has all classes
        labels = list(asked) * self.per_class
        right = read(self.judge, judge, sampled(task, len(labels), label=labels)) == wanted
        shares = right.double().unflatten(0, (self.per_class, len(asked))).mean(0)
        found = {"mean": shares.mean().item(), "smallest": shares.min().item()}
        return found | self._on_real_pictures(judge, known, data)

    def _on_real_pictures(self, judge: Judge, known: Sequence[str], data: Data) -> dict[str, float]:
        samples = data.validation()
        if not len(samples) or not {"image", "label"} <= samples[0].keys():
            return {}
        wanted = numbers(self.judge, known)[[int(samples[i]["label"]) for i in range(len(samples))]]
        said = read(self.judge, judge, (samples[i]["image"] for i in range(len(samples))))
        return {"judge": (said == wanted).double().mean().item()}


class ClassShare:
    """How evenly classes occur among unconditionally generated pictures, and whether any is missing.

    - `smallest`: the share of the class that is read least often. 1 / the number of classes is best for balanced
      data; 0 means that a class is missing.
    - `entropy`: the entropy of the shares, divided by its maximum: 1 if all are equal, 0 if all pictures are of one
      class.
    - `present`: the number of classes with a share of at least 0.01.

    Args:
        judge: "embedded" for drawn digits, "lenet" for MNIST.
        samples: the number of pictures to generate, always from the same random numbers.
        weights_dir: another folder to look for the judge's file in.

    Raises:
        WeightsError: the judge's file is missing; the message says where to get it.
        ConfigError: the task does not generate pictures, or they are in colour, or the judge does not know the
            classes of the data.
    """

    def __init__(self, judge: Name = "embedded", samples: PositiveInt = 1000, weights_dir: str | None = None) -> None:
        if judge == "lenet":
            check_weights("lenet", weights_dir)
        self.judge, self.samples, self.weights_dir = judge, samples, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the scores cannot be computed."""
        refuse_others(self.judge, classes_of(data) or classes_of(task), data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that takes `sample(n)`."""
        self.refuse(task, data)
        judge = judged_by(self.judge, self.weights_dir)
        expected = numbers(self.judge, classes_of(data) or classes_of(task) or judge.classes)
        said = read(self.judge, judge, sampled(task, self.samples))
        shares = said.bincount(minlength=len(judge.classes))[expected].double() / self.samples
        entropy = torch.special.entr(shares).sum().item() / math.log(max(2, len(shares)))
        return {
            "smallest": shares.min().item(),
            "entropy": entropy,
            "present": float((shares >= PRESENT).sum()),
        }


def numbers(name: Name, classes: Sequence[str]) -> Tensor:
    """Return the indices of classes among those of the judges: int64 [K]."""
    strange = [one for one in classes if one not in DIGITS]
    if strange:
        raise ConfigError(
            f"the judge {name} reads {', '.join(DIGITS)}, but not {', '.join(strange[:3])}: remove this metric, or "
            f"use data with these classes"
        )
    return torch.tensor([DIGITS.index(one) for one in classes])


def read(name: Name, judge: Judge, images: Iterable[Tensor]) -> Tensor:
    """Return the classes that the judge reads in pictures [1, H, W] in [-1, 1] of any size: int64 [N]."""
    said = []
    with torch.no_grad():
        for some in batches(images, 100):
            for image in some:
                refuse_colour(name, image)
            said.append(judge.logits(torch.stack([squared(image, SIZE)[:1] for image in some])).argmax(1))
    return torch.cat(said)


def refuse_others(name: Name, classes: Sequence[str], data: Data) -> None:
    """Raise ConfigError for classes or pictures that the judge cannot read; the judge is not loaded."""
    numbers(name, classes)
    samples = data.validation()
    if len(samples) and "image" in samples[0]:
        refuse_colour(name, samples[0]["image"])


def refuse_colour(name: Name, image: Tensor) -> None:
    """Raise ConfigError if a picture [C, H, W] is not grey."""
    if len(image) != 1:
        raise ConfigError(
            f"the judge {name} reads grey pictures, but these have {len(image)} channels: remove this metric, or "
            f"train on grey data"
        )


# ---- the judges


def judged_by(name: Name, weights_dir: str | None = None) -> Judge:
    """Return a judge, on the CPU."""
    if name == "embedded":
        return Judge(DIGITS, reader())
    return Judge(DIGITS, lenet_logits(weights_dir))


def network() -> nn.Module:
    """Return a small convolutional classifier: [N, 1, 32, 32] -> logits [N, 10]."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 10))


@functools.lru_cache(1)
def reader(digits: int = 6000, steps: int = 600, batch: int = 64) -> nn.Module:
    """Return the classifier of drawn digits, trained once per process on digits that are in no data set.

    Half of them are drawn at 28 pixels, like most pictures it will read. They are blurred, faded, shifted and made
    noisy at random, so it can also read slightly blurred generated digits.
    """
    half = digits // 2
    small, large = drawn(DRAWN, half, 28).batch(range(half)), drawn(DRAWN + half, half, SIZE).batch(range(half))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        image = torch.cat([interpolate(small["image"], (SIZE, SIZE), mode="bilinear"), large["image"]])
        label = torch.cat([small["label"], large["label"]])
        torch.manual_seed(0)
        judge = network()

        def loss(chosen: Tensor) -> Tensor:
            return cross_entropy(judge(altered(image[chosen])), label[chosen])

        return taught(judge, loss, len(image), torch.optim.Adam(judge.parameters()), steps, batch)


def altered(image: Tensor) -> Tensor:
    """Return pictures [N, 1, 32, 32] with random changes of contrast, sharpness, noise and position."""

    def some(share: float) -> Tensor:
        return (torch.rand(len(image), 1, 1, 1) < share).float()

    soft = (image + image.roll(1, 2)) / 2
    image = torch.lerp(image, (soft + soft.roll(1, 3)) / 2, some(0.3))
    image = image * (0.8 + 0.2 * torch.rand(len(image), 1, 1, 1))
    image = image + some(0.3) * 0.3 * torch.randn_like(image)
    top, left = torch.randint(5, (2,)).tolist()
    return pad(image, (2, 2, 2, 2), value=-1.0)[..., top : top + SIZE, left : left + SIZE].clamp(-1, 1)
