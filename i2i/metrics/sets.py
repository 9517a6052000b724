"""Metrics of sets: how far all made pictures together are from all true ones, in the features of a fixed network.

    metrics: [{use: kid, extractor: squeezenet}, {use: frechet, extractor: squeezenet}]

Where the validation samples have "A" and "B", the predictions for "A" are compared with "B". Where they have "image"
instead, as many pictures are sampled, always from the same random numbers, and compared with those.

Each score bears the name of its extractor (`kid/squeezenet`). The published KID and FID look through Inception, so
no number from here can be compared with them, nor with one of another extractor: only models with one another.
Papers: KID arXiv:1801.01401, Fréchet distance as in FID arXiv:1706.08500.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..data.base import Data
from ..errors import ConfigError
from ..modalities import Image
from .base import Needs, answers, device_of, sampled
from .features import Name, check, features

_real: WeakKeyDictionary[Data, dict[Any, Tensor]] = WeakKeyDictionary()


class KID:
    """Kernel distance between the made pictures and the true ones of all validation samples.

    The unbiased estimate of the squared maximum mean discrepancy with the cubic kernel, over all pictures at once
    and not times 1000. 0 is what two sets of one kind have on average, so a good one may be a little below it.
    It is meant for sets of a hundred pictures or so, where a Fréchet distance says little. Papers average over
    subsets of 1,000 instead, which estimates the same number, less exactly.

    Args:
        extractor: "squeezenet" for photographs, "resnet20" for tiny ones, "lenet" for digits, "vgg19" where its
            file is there, or "random_conv", which needs no file and knows of colours and textures only.
        weights_dir: where else to look for the extractor's file.

    Raises:
        WeightsError: the extractor's file is missing; the message says where to get it.
        ConfigError: there are fewer than two validation samples.

    Source:
        Binkowski et al., arXiv:1801.01401, section 4; Gretton et al., JMLR 13, 2012, lemma 6.
    """

    needs = Needs(makes=Image)

    def __init__(self, extractor: Name = "random_conv", weights_dir: str | None = None) -> None:
        check(extractor, weights_dir)
        self.extractor, self.weights_dir = extractor, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError where there are not two true images at least to compare with."""
        truth_of(task, data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {extractor: distance} of a `Task` on `data.validation()`."""
        return {self.extractor: kernel_distance(*both(task, data, self.extractor, self.weights_dir))}


class Frechet:
    """Fréchet distance between Gaussians fitted to the features of the made pictures and of the true ones.

    0 is best. It falls as the number of pictures grows, also for sets of one kind: compare only equal numbers of
    pictures, and prefer `kid` where there are fewer than some thousands.

    Args and Raises: as `KID`.

    Source:
        Dowson and Landau, J. Multivariate Analysis 12, 1982; Heusel et al., arXiv:1706.08500, eq. 6.
    """

    needs = Needs(makes=Image)

    def __init__(self, extractor: Name = "random_conv", weights_dir: str | None = None) -> None:
        check(extractor, weights_dir)
        self.extractor, self.weights_dir = extractor, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError where there are not two true images at least to compare with."""
        truth_of(task, data)

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return {extractor: distance} of a `Task` on `data.validation()`."""
        return {self.extractor: frechet_distance(*both(task, data, self.extractor, self.weights_dir))}


def both(task: Any, data: Data, extractor: Name, weights_dir: str | None) -> tuple[Tensor, Tensor]:
    """Return the features of the made pictures and, computed once for each data set, of the true ones."""
    device, samples, truth = str(device_of(task)), data.validation(), truth_of(task, data)
    generated = truth != task.target
    made = sampled(task, len(samples)) if generated else (image for _, image in answers(task, data))
    fake = features(made, extractor, weights_dir, device)
    known = _real.setdefault(data, {})
    key = extractor, weights_dir, device
    if key not in known:
        known[key] = features((samples[i][truth] for i in range(len(samples))), extractor, weights_dir, device)
    return fake, known[key]


def truth_of(task: Any, data: Data) -> str:
    """Return the entry of the validation samples that made images are compared with.

    It is the task's target where samples have what it translates, and "image" where the task generates.

    Raises:
        ConfigError: there are fewer than two validation samples, or they have neither.
    """
    samples = data.validation()
    if len(samples) == 1:
        raise ConfigError("a distance between sets needs at least two validation samples, and there is 1")
    known = set(samples[0]) if len(samples) else set()
    if {task.source, task.target} <= known:
        return str(task.target)
    if "image" in known and task.source not in known:
        return "image"
    raise ConfigError(
        f'a distance between sets needs validation samples with "{task.source}" and "{task.target}", or with "image" '
        f"for a task that generates, and {type(data).__name__} has {', '.join(sorted(known)) or 'none'}: use other "
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
    values of X Y^T over the root of (N - 1)(M - 1); triangles R with R^T R = X^T X do in place of X.
    """
    x, y = x.double(), y.double()
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(x) - 1, len(y) - 1
    corners = (torch.linalg.qr(centred, mode="r").R for centred in (a, b))
    first, second = corners
    root = torch.linalg.svdvals(first @ second.T).sum() / (n * m) ** 0.5
    apart = (x.mean(0) - y.mean(0)).square().sum()
    return (apart + a.square().sum() / n + b.square().sum() / m - 2 * root).item()
