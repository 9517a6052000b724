"""Metrics of sets: the distance between generated and real images in the feature space of a fixed network.

    metrics: [{use: kid, extractor: squeezenet}, {use: frechet, extractor: squeezenet}]

If the validation samples have "A" and "B", the predictions for "A" are compared with "B". If they have "image"
instead, the same number of images is sampled, always from the same random numbers, and compared with these.

Each score is named after its extractor (`kid/squeezenet`). Published KID and FID use Inception, so do not compare
scores of other extractors with them, nor with each other: they only rank models against one another.
Papers: KID arXiv:1801.01401, Fréchet distance as in FID arXiv:1706.08500.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..data.base import Data
from ..devices import chosen
from ..errors import ConfigError, DataError
from ..modalities import Image
from .base import Needs, answers, device_of, sampled
from .features import Name, check, features, prepared_as

_real: WeakKeyDictionary[Data, dict[Any, Tensor]] = WeakKeyDictionary()


class SetDistance:
    """What the metrics of sets share; a subclass has the distance between two sets of features."""

    needs = Needs(makes=Image)

    def __init__(self, extractor: Name = "random_conv", weights_dir: str | None = None) -> None:
        check(extractor, weights_dir)
        self.extractor, self.weights_dir = extractor, weights_dir

    def distance(self, fake: Tensor, real: Tensor) -> float:
        """Return the distance between two sets of features, [N, D] and [M, D]."""
        raise NotImplementedError

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError unless there are at least two real images to compare with."""
        truth_of(task, data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {extractor: distance} of a `Task` on `data.validation()`."""
        return {self.extractor: self.distance(*both(task, data, self.extractor, self.weights_dir))}

    def between(self, fake: Iterable[Tensor], real: Iterable[Tensor]) -> dict[str, float]:
        """Return {extractor: distance} of two sets of images, [1 or 3, H, W] in [-1, 1], of any sizes."""
        return {self.extractor: self.distance(*two_sets(fake, real, self.extractor, self.weights_dir))}

    def protocol(self) -> str:
        """Return how images are prepared."""
        return prepared_as(self.extractor)


class KID(SetDistance):
    """Kernel distance between generated images and the real ones of all validation samples.

    The unbiased estimate of the squared maximum mean discrepancy with the cubic kernel, over all images at once and
    not multiplied by 1000. Lower is better; two sets from the same distribution score 0 on average, so good scores
    may be slightly negative. Suited to sets of about a hundred images, where a Fréchet distance is unreliable.
    Papers average over subsets of 1,000 instead, a less precise estimate of the same quantity.

    Args:
        extractor: "squeezenet" for photographs, "resnet20" for tiny ones, "lenet" for digits, "vgg19" or "inception"
            if its weights are available, or "random_conv", which needs no weights and captures only colours and
            textures.
        weights_dir: another folder to search for the extractor's weights.

    Raises:
        WeightsError: the extractor's weights are missing; the message states where to get them.
        ConfigError: there are fewer than two validation samples.

    Source:
        Binkowski et al., arXiv:1801.01401, section 4; Gretton et al., JMLR 13, 2012, lemma 6.
    """

    def distance(self, fake: Tensor, real: Tensor) -> float:
        """Return the distance between two sets of features, [N, D] and [M, D]."""
        return kernel_distance(fake, real)


class Frechet(SetDistance):
    """Fréchet distance between Gaussians fitted to the features of generated and of real images.

    0 is best. It decreases with the number of images, even between sets from the same distribution: compare only
    equal numbers of images, and prefer `kid` for fewer than a few thousand.

    Args and Raises: as `KID`.

    Source:
        Dowson and Landau, J. Multivariate Analysis 12, 1982; Heusel et al., arXiv:1706.08500, eq. 6.
    """

    def distance(self, fake: Tensor, real: Tensor) -> float:
        """Return the distance between two sets of features, [N, D] and [M, D]."""
        return frechet_distance(fake, real)


def two_sets(
    fake: Iterable[Tensor], real: Iterable[Tensor], extractor: Name, weights_dir: str | None
) -> tuple[Tensor, Tensor]:
    """Return the features of two sets of images, on an accelerator if there is one.

    Raises:
        DataError: a set has fewer than two images.
    """
    device = str(chosen())
    found = features(fake, extractor, weights_dir, device), features(real, extractor, weights_dir, device)
    if min(map(len, found)) < 2:
        raise DataError(
            f"a distance between sets needs at least two images in each, but there are {len(found[0])} and "
            f"{len(found[1])}"
        )
    return found


def both(task: Any, data: Data, extractor: Name, weights_dir: str | None) -> tuple[Tensor, Tensor]:
    """Return the features of the generated images and of the real ones, which are computed once per data set."""
    device, samples, truth = str(device_of(task)), data.validation(), truth_of(task, data)
    fake = features(made_by(task, data), extractor, weights_dir, device)
    known = _real.setdefault(data, {})
    key = extractor, weights_dir, device, truth
    if key not in known:
        known[key] = features((samples[i][truth] for i in range(len(samples))), extractor, weights_dir, device)
    return fake, known[key]


def made_by(task: Any, data: Data) -> Iterator[Tensor]:
    """Return the translations of all validation samples, or as many samples."""
    if truth_of(task, data) != task.target:
        return sampled(task, len(data.validation()))
    return (image for _, image in answers(task, data))


def truth_of(task: Any, data: Data) -> str:
    """Return the entry of the validation samples that generated images are compared with.

    It is the task's target if the samples have its source, and "image" for a task that generates.

    Raises:
        ConfigError: there are fewer than two validation samples, or they have neither.
    """
    samples = data.validation()
    if len(samples) == 1:
        raise ConfigError("a distance between sets needs at least two validation samples, but there is only 1")
    known = set(samples[0]) if len(samples) else set()
    if {task.source, task.target} <= known:
        return str(task.target)
    if "image" in known and task.source not in known:
        return "image"
    raise ConfigError(
        f'a distance between sets needs validation samples with "{task.source}" and "{task.target}", or with "image" '
        f"for a task that generates, but {type(data).__name__} has {', '.join(sorted(known)) or 'none'}: use other "
        f"data or remove the metric"
    )


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Return the unbiased squared MMD of features [N, D] and [M, D] for the kernel (x . y / D + 1)^3."""
    x, y = x.double(), y.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return (within(x) + within(y) - 2 * kernel(x, y).mean()).item()


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return |mean difference|^2 + tr(C + C' - 2 (C C')^(1/2)) of features [N, D] and [M, D].

    With centred X and Y, C = X^T X / (N - 1) and C' likewise, the roots of the eigenvalues of C C' are the singular
    values of X Y^T over the root of (N - 1)(M - 1); triangular R with R^T R = X^T X can replace X.
    """
    x, y = x.double(), y.double()
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(x) - 1, len(y) - 1
    corners = (torch.linalg.qr(centred, mode="r").R for centred in (a, b))
    first, second = corners
    root = torch.linalg.svdvals(first @ second.T).sum() / (n * m) ** 0.5
    apart = (x.mean(0) - y.mean(0)).square().sum()
    return (apart + a.square().sum() / n + b.square().sum() / m - 2 * root).item()
