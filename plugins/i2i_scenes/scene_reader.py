"""What does a picture of coloured shapes show? A convolutional network, trained within half a minute, reads it.

    read(pictures)[0]     # Scene(groups=(Group("red", "circle", 2),), layout="top")

It is trained on drawn scenes that are in no data set, held-out combinations included, and is the judge of
`caption_truth`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from i2i.data import to_tensor
from i2i.metrics import batches, squared

from .captioned import chosen, drawn
from .captions import COLOURS, COUNTS, ORDERS, PLACES, SHAPES, Group, Scene
from .teaching import taught

DRAWN = 1 << 61  # first seed of the pictures that the reader is trained on, beyond all seeds of the data set
SIZE = 32  # its input, in pixels
LAYOUTS = (*PLACES, *ORDERS)
COLOUR, SHAPE, COUNT = tuple(COLOURS), tuple(SHAPES), tuple(COUNTS)
KINDS = (COLOUR, SHAPE, COUNT)  # of a group
ABSENT = -100  # the label of what a second group would show, ignored by `cross_entropy`


class Reader(nn.Module):
    """A small convolutional classifier of scenes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 2), (64, 128, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.sizes = [len(LAYOUTS), *(len(values) for _ in range(2) for values in KINDS)]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 256), nn.ReLU())
        self.logits = nn.Linear(256, sum(self.sizes))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the logits of the layout, then of colour, shape and count of both groups, for [N, 3, 32, 32]."""
        return list(self.logits(self.features(image)).split(self.sizes, 1))


def read(images: Iterable[Tensor]) -> list[Scene]:
    """Return what pictures [3, H, W] in [-1, 1], of any size, show."""
    judge, found = reader(), []
    with torch.no_grad():
        for some in batches(images, 200):
            logits = judge(torch.stack([squared(image, SIZE) for image in some]))
            found += [scene_of(numbers) for numbers in torch.stack([part.argmax(1) for part in logits], 1).tolist()]
    return found


def scene_of(numbers: Sequence[int]) -> Scene:
    """Return the scene of the numbers of its layout, and of colour, shape and count of both groups."""
    layout = LAYOUTS[numbers[0]]
    groups = tuple(
        Group(COLOUR[numbers[at]], SHAPE[numbers[at + 1]], COUNT[numbers[at + 2]])
        for at in ((1, 4) if layout in ORDERS else (1,))
    )
    return Scene(groups, layout)


def numbers_of(scene: Scene) -> list[int]:
    """Return the numbers of a scene, as `scene_of` takes them; ABSENT for a second group that is not there."""
    found = [LAYOUTS.index(scene.layout)]
    for group in scene.groups:
        found += [COLOUR.index(group.colour), SHAPE.index(group.shape), COUNT.index(group.count)]
    return found + [ABSENT] * (7 - len(found))


@functools.lru_cache(1)
def reader(pictures: int = 8000, steps: int = 450, batch: int = 64) -> nn.Module:
    """Return the classifier, trained once per process.

    Pictures are blurred, faded, shifted and made noisy at random, so it can also read imperfect generated ones.
    """
    some = chosen(DRAWN, pictures, 0.4, unseen=None)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        image = torch.stack([to_tensor(picture) for picture in drawn(some, DRAWN, SIZE)])
        label = torch.from_numpy(np.array([numbers_of(scene) for scene in some]))
        torch.manual_seed(0)
        judge = Reader()

        def loss(at: Tensor) -> Tensor:
            logits = judge(altered(image[at]))
            return torch.stack([cross_entropy(one, label[at, n]) for n, one in enumerate(logits)]).sum()

        optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.01)
        return taught(judge, loss, len(image), optimizer, steps, batch)


def altered(image: Tensor) -> Tensor:
    """Return pictures [N, 3, 32, 32] with random changes of contrast, sharpness, noise and position."""

    def some(share: float) -> Tensor:
        return (torch.rand(len(image), 1, 1, 1) < share).float()

    soft = (image + image.roll(1, 2)) / 2
    image = torch.lerp(image, (soft + soft.roll(1, 3)) / 2, some(0.3))
    image = (image + 1) * (0.85 + 0.3 * torch.rand(len(image), 1, 1, 1)) - 1
    image = image + some(0.3) * 0.15 * torch.randn_like(image)
    top, left = torch.randint(3, (2,)).tolist()
    return pad(image, (1, 1, 1, 1), mode="replicate")[..., top : top + SIZE, left : left + SIZE].clamp(-1, 1)
