"""Do pictures made from nothing show what they should? An independent classifier, the judge, reads them.

    metrics: [{use: class_accuracy, judge: embedded}, {use: class_share, judge: embedded}]

    embedded    trained within seconds on drawn digits that are in no data set; for the data set `digits`
    lenet       a LeNet-5 trained on MNIST, by its file; for `mnist`

Both read grey digits, of any size. What they read in a picture without a digit means nothing.
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
from i2i.metrics import batches, check_weights, lenet_logits, sampled, squared

from .digits import drawn

Name = Literal["embedded", "lenet"]

DRAWN = 1 << 61  # the first seed of the judge's own digits; those of the data set end long before
SIZE = 32  # what the judges look at, in pixels
PRESENT = 0.01  # the share from which on a class counts as one that is made
DIGITS = tuple("0123456789")  # what both judges read


class Judge(NamedTuple):
    """A classifier of grey pictures.

    Attributes:
        classes: the names of what it tells apart.
        logits: [N, 1, 32, 32] in [-1, 1] -> [N, K].
    """

    classes: tuple[str, ...]
    logits: Callable[[Tensor], Tensor]


class ClassAccuracy:
    """Whether pictures of the class that was asked for are read as that class.

    As many of each class are sampled, always from the same random numbers.

    - `mean`: the share that is read as asked. Guessing gives 1 / the number of classes.
    - `smallest`: this share of the class in which it is smallest.
    - `judge`: the share of the validation pictures that the judge reads as their "label", where they have one. No
      picture can be expected to be read better than real ones.

    Args:
        judge: who reads: "embedded" for drawn digits, "lenet" for MNIST.
        per_class: pictures of each class; with 100, `mean` of ten classes is good to 0.03 at worst (2 standard
            errors), and `smallest` to 0.1.
        weights_dir: where else to look for the judge's file.

    Raises:
        WeightsError: the judge's file is missing; the message says where to get it.
        ConfigError: the task declares no `classes`, or the judge does not know them, or the pictures have colour.

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
        """Raise ConfigError, before anything is trained, where the scores could not be given."""
        asked = classes_of(task)
        known = classes_of(data) or asked
        if not asked and not classes_of(data):
            raise ConfigError(
                f"class_accuracy asks for pictures of each class, and {type(data).__name__} has none: leave this "
                f"metric away, or use data with classes"
            )
        if not asked:
            raise ConfigError(
                f"class_accuracy asks for pictures of each class, and {type(task).__name__} knows no classes: train "
                f"it with task.classes, or use class_share"
            )
        if len(known) != len(asked):
            raise ConfigError(
                f"class_accuracy: the data has {len(known)} classes and {type(task).__name__} {len(asked)}: set "
                f"task.classes to those of the data"
            )
        refuse_others(self.judge, known, data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that takes `sample(n, label=[...])`."""
        self.refuse(task, data)
        asked = classes_of(task)
        known = classes_of(data) or asked
        judge = judged_by(self.judge, self.weights_dir)
        wanted = numbers(self.judge, known).repeat(self.per_class)  # 0 1 2 ... 0 1 2 ...: no batch of one kind
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
    """How often each class is among pictures for which none was asked: what a model makes, and what it leaves out.

    - `smallest`: the share of the class that is read least often. 1 / the number of classes is best, where the data
      has as many of each; 0 says that one is missing.
    - `entropy`: of the shares in nats, divided by the highest possible one. 1 when all are equal, 0 when all
      pictures are of one class.
    - `present`: how many classes have a share of 0.01 or more.

    Args:
        judge: who reads: "embedded" for drawn digits, "lenet" for MNIST.
        samples: how many pictures are made, always from the same random numbers.
        weights_dir: where else to look for the judge's file.

    Raises:
        WeightsError: the judge's file is missing; the message says where to get it.
        ConfigError: the task makes no pictures from nothing, or they have colour, or the judge does not know the
            classes that the data declares.
    """

    def __init__(self, judge: Name = "embedded", samples: PositiveInt = 1000, weights_dir: str | None = None) -> None:
        if judge == "lenet":
            check_weights("lenet", weights_dir)
        self.judge, self.samples, self.weights_dir = judge, samples, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before anything is trained, where the scores could not be given."""
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


def classes_of(owner: Any) -> tuple[str, ...]:
    """Return the names of the classes that a task or a data set declares, by number; () for none."""
    return tuple(map(str, getattr(owner, "classes", None) or ()))


def numbers(name: Name, classes: Sequence[str]) -> Tensor:
    """Return the numbers by which the judges call classes: int64 [K]."""
    strange = [one for one in classes if one not in DIGITS]
    if strange:
        raise ConfigError(
            f"the judge {name} reads {', '.join(DIGITS)}, and {', '.join(strange[:3])} is none of these: "
            f"leave this metric away, or use data of its classes"
        )
    return torch.tensor([DIGITS.index(one) for one in classes])


def read(name: Name, judge: Judge, images: Iterable[Tensor]) -> Tensor:
    """Return what the judge reads in pictures [1, H, W] in [-1, 1] of any sizes: int64 [N]."""
    said = []
    with torch.no_grad():
        for some in batches(images, 100):
            for image in some:
                refuse_colour(name, image)
            said.append(judge.logits(torch.stack([squared(image, SIZE)[:1] for image in some])).argmax(1))
    return torch.cat(said)


def refuse_others(name: Name, classes: Sequence[str], data: Data) -> None:
    """Raise ConfigError for classes or pictures that the judge does not read; it need not be there yet."""
    numbers(name, classes)
    samples = data.validation()
    if len(samples) and "image" in samples[0]:
        refuse_colour(name, samples[0]["image"])


def refuse_colour(name: Name, image: Tensor) -> None:
    """Raise ConfigError where a picture [C, H, W] is not grey."""
    if len(image) != 1:
        raise ConfigError(
            f"the judge {name} reads grey pictures, and these have {len(image)} channels: leave this metric away, or "
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
    """Return the classifier of drawn digits, trained once in each process on digits that are in no other set.

    Half of them are drawn at 28 pixels, as most pictures it will read, and it sees them softer, paler, noisier and
    elsewhere, so that it reads what a model makes a little too soft.
    """
    half = digits // 2
    small, large = drawn(DRAWN, half, 28).batch(range(half)), drawn(DRAWN + half, half, SIZE).batch(range(half))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        image = torch.cat([interpolate(small["image"], (SIZE, SIZE), mode="bilinear"), large["image"]])
        label = torch.cat([small["label"], large["label"]])
        torch.manual_seed(0)
        judge = network()
        optimizer = torch.optim.Adam(judge.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(image), (batch,))
            loss = cross_entropy(judge(altered(image[chosen])), label[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


def altered(image: Tensor) -> Tensor:
    """Return pictures [N, 1, 32, 32] with other contrast, sharpness, noise and place."""

    def some(share: float) -> Tensor:
        return (torch.rand(len(image), 1, 1, 1) < share).float()

    soft = (image + image.roll(1, 2)) / 2
    image = torch.lerp(image, (soft + soft.roll(1, 3)) / 2, some(0.3))
    image = image * (0.8 + 0.2 * torch.rand(len(image), 1, 1, 1))
    image = image + some(0.3) * 0.3 * torch.randn_like(image)
    top, left = torch.randint(5, (2,)).tolist()
    return pad(image, (2, 2, 2, 2), value=-1.0)[..., top : top + SIZE, left : left + SIZE].clamp(-1, 1)
