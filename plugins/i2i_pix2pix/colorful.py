"""Colorization as classification: a distribution over colours for each pixel, not one grey average. arXiv:1603.08511.

i2i run configs/colorful.yaml                           # embedded drawn animals, minutes
i2i run configs/real/colorful.yaml data.root=DIR        # grey photographs to colour
i2i translate photo.jpg -o OUT -m RUN -c vivid=0.8      # more colour
i2i translate photo.jpg -o OUT -m RUN -c balance=0.95   # fewer wrong colours
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from i2i import ConfigError, Network, Task
from i2i.data import number
from i2i.devices import recording
from i2i.modalities import Image

from .bins import annealed_mean, bins, encode, rebalancing, smoothed
from .lab import from_lab, to_lab

Share = Annotated[float, Ge(0), Le(1)]


class ColorfulColorization(Task):
    """Colorization of greyscale images by classifying the colour of each pixel, with rare colours weighted up.

    The average of the colours that a thing may have is brown. So the network predicts a probability for each of 313
    colours, and the output is between their mean and the most probable one, as `vivid` says. The lightness of the
    input is kept, see `Colorization`.

    The distribution of colours in the training set, from which the weights of the classes follow, is counted during
    training and stored with the weights as the buffer `counts`. A step uses the counts of the steps before it; the
    first one weights all classes equally.

    Args:
        generator: network [N, 1, H, W] -> logits [N, 313, h, w], of any fraction of the size.
        vivid: default of the condition of `translate`: 0 is the mean of the predicted colours, 1 the most probable
            colour. It is 1 - T of the paper, where T = 0.38 is recommended.
        balance: 1 weights all colours equally, near 0 by 1 / frequency; lambda in eq. 4. Also the default of the
            condition of `translate`.
        work_size: larger images are shrunk until the short side has this many pixels before the network sees them;
            the predicted colours are enlarged again. Choose about the size of the training images, at which the
            network recognises things; null for no limit.

    Raises:
        ConfigError: the network predicts another number of classes.

    Source: arXiv:1603.08511, section 2; see `bins` for each formula.
    """

    ema: ClassVar[tuple[str, ...]] = ("G",)
    makes = Image(colour=True)  # greyscale inputs give colour outputs
    centres: Tensor
    counts: Tensor

    def __init__(
        self,
        generator: Network,
        vivid: Share = 0.62,
        balance: Annotated[float, Gt(0), Le(1)] = 0.5,
        work_size: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        super().__init__()
        self.G = generator()
        self.vivid, self.balance, self.work_size = vivid, balance, work_size
        self.takes = Image.of(self.G)
        self.register_buffer("centres", bins().clone())
        self.register_buffer("counts", torch.zeros(len(self.centres), dtype=torch.int64))

    def players(self) -> dict[str, list[Any]]:
        """The generator alone."""
        return {"G": [self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on pairs [N, 3, H, W] in [-1, 1]: uses the lightness of `A` and the colour of `B`."""
        logits = self.logits(to_lab(batch["A"])[:, :1])
        numbers, weights = encode(self.truth(batch, logits), self.centres)
        rare = rebalancing(smoothed(self.counts, self.centres), self.balance)[numbers[:, 0]]  # eq. 3 and 4
        yield "G", {"classes": (rare * cross_entropy(logits, numbers, weights)).mean()}  # eq. 2
        self.over_processes(self.count, numbers[:, 0])

    def count(self, numbers: Tensor) -> Tensor:
        """Add colours to the distribution of the training set; `numbers` are those of their bins."""
        found = numbers.flatten()  # not `bincount`, which reads the greatest number
        self.counts.scatter_add_(0, found, torch.ones_like(found))
        return numbers

    def logits(self, lightness: Tensor) -> Tensor:
        """Return the logits [N, 313, h, w] for lightness [N, 1, H, W] in [-1, 1]."""
        logits = self.G(lightness)
        if logits.shape[1] != len(self.centres):
            raise ConfigError(
                f"task.generator predicts {logits.shape[1]} classes, but there are {len(self.centres)} colours: give "
                f"it as many output channels"
            )
        return logits.float()

    def truth(self, batch: dict[str, Any], logits: Tensor) -> Tensor:
        """Return the true a and b [N, 2, h, w], of the image shrunk to the size of the logits."""
        height, width = logits.shape[-2:]
        return to_lab(adaptive_avg_pool2d(batch["B"], (height, width)))[:, 1:] * 110

    def translate(
        self, image: Tensor, vivid: float | str | None = None, balance: float | str | None = None
    ) -> Tensor:
        """Colorize images [N, 3, H, W] in [-1, 1], H and W divisible by `multiple`.

        Args:
            image: the input images; their colour is ignored.
            vivid: how colourful, from 0 to 1, see the class; None for the default of the config.
            balance: the probabilities are converted to those of a network trained with this balance, above 0 and up
                to 1; the larger, the less colourful and the closer to the truth. None for that of the training.

        Raises:
            ConfigError: `vivid` or `balance` is not a number in its range.
        """
        amount = (
            self.vivid if vivid is None else number("vivid", vivid, "a number from 0 to 1", lambda x: 0 <= x <= 1)
        )
        lightness = to_lab(image)[:, :1]
        logits = self.logits(self.fitted(lightness))
        if balance is not None:
            wanted = number("balance", balance, "a number above 0 and up to 1", lambda x: 0 < x <= 1)
            prior = smoothed(self.counts, self.centres)
            trained, other = rebalancing(prior, self.balance), rebalancing(prior, wanted)
            logits = logits + (other / trained).log()[:, None, None]  # a weighted class is that much more probable
        ab = annealed_mean(logits, self.centres, 1 - amount)
        ab = interpolate(ab, image.shape[-2:], mode="bilinear", align_corners=False)
        return from_lab(torch.cat([lightness, ab / 110], 1))

    def fitted(self, lightness: Tensor) -> Tensor:
        """Shrink images [N, 1, H, W] whose short side is over `work_size`."""
        if self.work_size is None:
            return lightness
        sides, multiple = lightness.shape[-2:], getattr(self.G, "multiple", 1)
        if not recording() and min(sides) <= self.work_size:  # an exported file has no branches
            return lightness
        return interpolate(
            lightness, shrunk(sides, self.work_size, multiple), mode="bilinear", align_corners=False, antialias=True
        )

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the cross-entropy in nats, without rebalancing."""
        logits = self.logits(to_lab(batch["A"])[:, :1])
        return {
            "cross_entropy": cross_entropy(logits, *encode(self.truth(batch, logits), self.centres)).mean().item()
        }

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The input, the mean, the output and the truth: the columns of `samples/`."""
        mean, output = (self.translate(batch["A"], vivid=amount) for amount in (0.0, None))
        return {"A": batch["A"], "vivid=0": mean, f"vivid={self.vivid:g}": output, "B": batch["B"]}


def cross_entropy(logits: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy of each pixel [N, h, w] with a soft encoding, both of its tensors [N, 5, h, w]."""
    return -(weights * logits.log_softmax(1).gather(1, numbers)).sum(1)


def shrunk(sides: Any, short: int, multiple: int) -> list[Any]:
    """Return sides, shrunk so that the short one has at most `short` pixels, as the nearest multiples.

    Sides are integers; in an exported file, of any size, they are tensors or symbols, so there are no branches.

    Example:
        >>> shrunk((512, 260), 128, 16)
        [256, 128]
    """
    smaller, larger = (
        (torch.minimum, torch.maximum) if isinstance(sides[0], Tensor) else (torch.sym_min, torch.sym_max)
    )
    least = larger(smaller(*sides), 0 * sides[0] + short) * multiple  # a side becomes side * short / least multiples
    return [larger((2 * side * short + least) // (2 * least), 0 * side + 1) * multiple for side in sides]
