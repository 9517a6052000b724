"""Sampled codes with predicted attributes: examples for directions if a model cannot encode, such as a GAN.

A small network learns to predict the attributes of the training images, whose attributes are known. Then codes are
sampled and decoded, and the network predicts the attributes of these images.

Source: InterFaceGAN, arXiv:1907.10786, section 3. Its predictor is a ResNet-50, and it fits a hyperplane between the
codes with the lowest and the highest predictions; here `learned.directions` is fitted to all of them.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.base import Data
from ..devices import random_state_kept
from ..errors import ConfigError
from ..metrics.base import device_of
from ..model import Model
from ..networks import in_parts
from ..runs.progress import Line
from .codes import BATCH, decode, prior, unit
from .examples import attributes_of, batches

SIDE = 64  # pixels: the longest side of the images that the predictor sees
STEPS = 600  # of its training
HELD_OUT = 5  # it learns from all but one in five of the training images, and is tested on these
AGREEMENT = 0.5  # smallest correlation of predicted and known attributes on these, for a direction
SPREAD = 0.1  # smallest standard deviation of predictions for generated images, relative to the known attributes


class Sampled(NamedTuple):
    """Sampled codes and their predicted attributes.

    Attributes:
        attributes: names of the K attributes that can be predicted.
        codes: [N, ...].
        values: predictions in [0, 1], float64 [N, K].
        examples: number of training images used.
        agreement: the correlation of each attribute with its predictions on held-out training images.
        refused: why any of the other attributes cannot have a direction, one sentence each.
    """

    attributes: tuple[str, ...]
    codes: Tensor
    values: Tensor
    examples: int
    agreement: dict[str, float]
    refused: dict[str, str]


class Predictor(nn.Module):
    """Predicts K attributes of images, uint8 [N, C, H, W]: logits [N, K].

    Args:
        channels: image channels.
        size: the shorter side of the images; convolutions of stride 2 halve it to 4.
        attributes: how many.
        exclusive: exactly one of them is 1 and the others are 0, as with classes.
    """

    def __init__(self, channels: int, size: int, attributes: int, exclusive: bool) -> None:
        super().__init__()
        self.exclusive = exclusive
        widths = [channels, *(16, 32, 48, 64)[: max(0, (size - 1).bit_length() - 2)]]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * widths[-1], attributes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [N, K]; in training, images get noise, because generated ones are not as clean."""
        x = image.float() / 127.5 - 1
        if self.training:
            x = x + 0.2 * torch.rand(len(x), 1, 1, 1, device=x.device) * torch.randn_like(x)
        logits: Tensor = self.layers(x)
        return logits

    def predict(self, images: Tensor) -> Tensor:
        """Return predictions in [0, 1], float64 [N, K] on the CPU; exclusive ones sum to 1, to double precision."""
        device = next(self.parameters()).device
        with torch.inference_mode():
            logits = in_parts(lambda part: self(part.to(device)).cpu(), images, most=BATCH).double()
            return (logits.softmax(1) if self.exclusive else logits.sigmoid()).clone()


def sampled(model: Model, data: Data, n: int) -> Sampled:
    """Sample `n` codes, and predict the attributes of their images.

    It shows its progress on stderr. Labels of class-conditional models are sampled as well. The results are the same
    each time.

    Args:
        model: a model whose task can decode and sample codes.
        data: its labelled training data.
        n: number of codes, and maximum number of training images.

    Raises:
        ConfigError: no attribute can be predicted, or these are the classes that the model gets as its label.
    """
    names = attributes_of(data)
    classes = not getattr(data, "attributes", ())
    if classes and conditional(model):
        raise ConfigError(
            f"{model.source}: this model is given the class as a label, so it is not in the codes and has no "
            f"direction there: use -c label=..., or a model that is trained without task.classes"
        )
    line = Line()
    predictor, agreement, values = taught(model, data, n, classes, line)

    # The label that a class-conditional model draws depends on the seed, so that each batch has another one.
    codes, predictions = prior(model, n), []
    for number, part in enumerate(codes.split(BATCH)):
        predictions.append(predictor.predict(seen(decode(model, part, seed=number))))
        if number % 10 == 9:
            line.note(f"directions: {min(n, BATCH * (number + 1))} of {n} sampled codes decoded")
    predicted = torch.cat(predictions)
    line.say(f"directions: learned from {len(values)} training images and {n} sampled codes")

    spread = predicted.std(0) / values.double().std(0)
    refused = {
        name: why
        for name, agrees, spreads in zip(names, agreement.tolist(), spread.tolist(), strict=True)
        if (why := objection(name, agrees, spreads))
    }
    if len(refused) == len(names):
        raise ConfigError(f"{model.source}: none of {', '.join(names)} has a direction; {refused[names[0]]}")
    places = [place for place, name in enumerate(names) if name not in refused]
    found = tuple(names[place] for place in places)
    agreements = dict(zip(names, agreement.tolist(), strict=True))
    return Sampled(found, codes, predicted[:, places], len(values), agreements, refused)


def taught(model: Model, data: Data, n: int, exclusive: bool, line: Line) -> tuple[Predictor, Tensor, Tensor]:
    """Train a predictor on the labelled images of a data set; always the same one.

    Returns:
        The predictor; its agreement with the truth on held-out images, a correlation for each attribute, float64 [K];
        and the attributes of all images, [N, K] with N <= n.
    """
    pictures, known = [], []
    for _, x, part in batches(model, data, n):
        pictures.append(seen(unit(model, x)))
        known.append(part)
    images, values = torch.cat(pictures), torch.cat(known)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out = len(order) // HELD_OUT
    with random_state_kept(device_of(model.task)):
        torch.manual_seed(0)
        predictor = Predictor(images.shape[1], min(images.shape[2:]), values.shape[1], exclusive)
        teach(predictor.to(device_of(model.task)), images[order[held_out:]], values[order[held_out:]], line)
    tested = order[: max(1, held_out)]
    return predictor, correlation(predictor.predict(images[tested]), values[tested]), values


def objection(name: str, agreement: float, spread: float) -> str:
    """Return why an attribute has no direction, or "" if it has one; NaN does not count as agreement."""
    if not agreement >= AGREEMENT:
        return (
            f"'{name}' cannot be predicted from the images, so it has no direction: the correlation of predicted and "
            f"known values is {agreement:.2f} on held-out images, and must be at least {AGREEMENT}"
        )
    if not spread >= SPREAD:
        return (
            f"generated images hardly differ in '{name}', so it has no direction: the standard deviation is "
            f"{spread:.2f} of that of the training data, and must be at least {SPREAD}"
        )
    return ""


def conditional(model: Model) -> bool:
    """Return whether a model's task decodes codes to images of a given class."""
    return "label" in inspect.signature(model.task.decode).parameters and bool(getattr(model.task, "classes", ()))


def seen(images: Tensor) -> Tensor:
    """Return images [N, C, H, W] in [0, 1] as the predictor sees them: uint8, with no side longer than `SIDE`."""
    share = SIDE / max(images.shape[2:])
    if share < 1:
        size = [max(1, round(share * side)) for side in images.shape[2:]]
        images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return (255 * images).round().byte()


def teach(predictor: Predictor, images: Tensor, values: Tensor, line: Line) -> None:
    """Train the predictor on images, uint8 [N, C, H, W], with attributes [N, K] in [0, 1]."""
    device = next(predictor.parameters()).device
    loss_of = F.cross_entropy if predictor.exclusive else F.binary_cross_entropy_with_logits
    optimizer = torch.optim.AdamW(predictor.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        chosen = torch.randint(len(images), (BATCH,))
        loss = loss_of(predictor(images[chosen].to(device)), values[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            line.note(f"directions: predictor of the attributes: step {step}/{STEPS}  loss {loss.item():.3f}")
    predictor.eval().requires_grad_(False)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each column of a and b [N, K]: float64 [K], 0 if a column is constant."""
    a, b = (side.double() - side.double().mean(0) for side in (a, b))
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).nan_to_num(0.0, 0.0, 0.0)
